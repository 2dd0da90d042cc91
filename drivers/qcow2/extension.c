/* SPDX-License-Identifier: MIT */
/*
 * Header extensions: typed blocks between the header and the backing name.
 *
 * 1. Each is 8 bytes of type and length, then data padded to 8; type 0 ends the
 *    area, as does its end.
 * 2. Those that we do not know are written back unchanged.
 * 3. The bitmaps extension comes first, then the table of feature names, which has a
 *    fixed size. Everything of ours ends in the first sector, so that changing the
 *    backing format or the bitmaps is one sector.
 */
#include "drivers/qcow2/header.h"

static const struct {
	uint8_t type, bit;
	const char *name;
} feature_names[] = {
	{0, 0, "dirty bit"},
	{0, 1, "corrupt bit"},
	{0, 2, "external data file"},
	{0, 3, "compression type"},
	{0, 4, "extended L2 entries"},
	{1, 0, "lazy refcounts"},
	{2, 0, "bitmaps"},
};

#define FEATURE_TABLE_BYTES (ARRAY_SIZE(feature_names) * FEATURE_ENTRY_BYTES)
#define HEAD_BYTES 8

static int decode_format(const uint8_t *data, uint32_t bytes, char **ret, struct error **errp)
{
	if (bytes > BACKING_FORMAT_MAX)
		return error_set(errp, -EINVAL,
				 "Backing format name of %" PRIu32 " bytes is too large (>=%u)",
				 bytes, BACKING_FORMAT_MAX + 1);
	free(*ret);
	*ret = xasprintf("%.*s", (int)bytes, (const char *)data);
	return 0;
}

int qcow2_extensions_decode(const uint8_t *data, size_t bytes, struct list *extensions,
			    char **ret_backing_format, struct error **errp)
{
	size_t at = 0;

	while (bytes - at >= HEAD_BYTES) {
		uint32_t type = load_be32(data + at), length = load_be32(data + at + 4);

		at += HEAD_BYTES;
		if (type == EXTENSION_END)
			break;
		if (length > bytes - at)
			return error_set(errp, -EINVAL, "Header extension too large");
		if (type == EXTENSION_BACKING_FORMAT) {
			int r = decode_format(data + at, length, ret_backing_format, errp);

			if (r < 0)
				return r;
		} else {
			struct qcow2_extension *e = NEW(struct qcow2_extension);

			e->type = type;
			e->bytes = length;
			e->data = xmemdup(data + at, length);
			list_add_tail(extensions, &e->link);
		}
		at += MIN(align_up(length, 8), bytes - at);
	}
	return 0;
}

void qcow2_extensions_free(struct list *extensions)
{
	struct qcow2_extension *e, *following;

	list_for_each_safe(e, following, extensions, link) {
		list_del_init(&e->link);
		free(e->data);
		free(e);
	}
}

struct qcow2_extension *qcow2_extension_find(const struct list *extensions, uint32_t type)
{
	struct qcow2_extension *e;

	list_for_each(e, extensions, link) {
		if (e->type == type)
			return e;
	}
	return NULL;
}

/* Append one extension at *at; false when it does not fit. @data NULL leaves its place zero. */
static bool append(uint8_t *ret, size_t limit, size_t *at, uint32_t type, const void *data,
		   size_t bytes)
{
	size_t padded = align_up(bytes, 8);

	if (HEAD_BYTES + padded > limit - *at)
		return false;
	store_be32(ret + *at, type);
	store_be32(ret + *at + 4, bytes);
	if (data && bytes > 0)
		memcpy(ret + *at + HEAD_BYTES, data, bytes);
	*at += HEAD_BYTES + padded;
	return true;
}

static void fill_feature_names(uint8_t *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(feature_names); i++) {
		uint8_t *entry = ret + i * FEATURE_ENTRY_BYTES;

		entry[0] = feature_names[i].type;
		entry[1] = feature_names[i].bit;
		memcpy(entry + 2, feature_names[i].name, strlen(feature_names[i].name));
	}
}

int64_t qcow2_extensions_encode(const struct list *extensions, const char *backing_format,
				bool with_feature_names, uint8_t *ret, size_t limit)
{
	struct qcow2_extension *e = qcow2_extension_find(extensions, EXTENSION_BITMAPS);
	size_t at = 0;

	if (e && !append(ret, limit, &at, e->type, e->data, e->bytes))
		return -ENOSPC;
	if (with_feature_names) {
		uint8_t *table = ret + at + HEAD_BYTES;

		if (!append(ret, limit, &at, EXTENSION_FEATURE_NAMES, NULL, FEATURE_TABLE_BYTES))
			return -ENOSPC;
		fill_feature_names(table);
	}
	if (backing_format && !append(ret, limit, &at, EXTENSION_BACKING_FORMAT, backing_format,
				      strlen(backing_format)))
		return -ENOSPC;
	list_for_each(e, extensions, link) {
		if (e->type == EXTENSION_FEATURE_NAMES || e->type == EXTENSION_BITMAPS)
			continue;
		if (!append(ret, limit, &at, e->type, e->data, e->bytes))
			return -ENOSPC;
	}
	if (!append(ret, limit, &at, EXTENSION_END, NULL, 0))
		return -ENOSPC;
	return at;
}

/* A copy of @bytes of outside text without control characters. Free with free(). */
static char *printable(const uint8_t *text, uint32_t bytes)
{
	char *copy = xasprintf("%.*s", (int)bytes, (const char *)text);

	for (char *c = copy; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	}
	return copy;
}

/* The image's own name for the incompatible feature @bit, or NULL. Free with free(). */
static char *feature_name(const struct qcow2_extension *names, unsigned bit)
{
	for (size_t at = 0; names && at + FEATURE_ENTRY_BYTES <= names->bytes;
	     at += FEATURE_ENTRY_BYTES) {
		const uint8_t *entry = names->data + at;

		if (entry[0] == 0 && entry[1] == bit && entry[2] != '\0')
			return printable(entry + 2, FEATURE_NAME_BYTES);
	}
	return NULL;
}

char *qcow2_feature_names(const struct list *extensions, uint64_t features)
{
	const struct qcow2_extension *names =
		qcow2_extension_find(extensions, EXTENSION_FEATURE_NAMES);
	char *text = xstrdup("");

	for (unsigned bit = 0; bit < 64; bit++) {
		_cleanup_free_ char *name = NULL, *old = text;

		if (!(features >> bit & 1) || !(name = feature_name(names, bit))) {
			TAKE(old);
			continue;
		}
		features &= ~(UINT64_C(1) << bit);
		text = xasprintf("%s%s%s", old, old[0] ? ", " : "", name);
	}
	if (features != 0) {
		_cleanup_free_ char *old = text;

		text = xasprintf("%s%sUnknown incompatible feature: %" PRIx64, old,
				 old[0] ? ", " : "", features);
	}
	return text;
}
