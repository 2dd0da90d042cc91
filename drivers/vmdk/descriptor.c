/* SPDX-License-Identifier: MIT */
/*
 * Parsing and composing descriptors.
 *
 * 1. A line whose first word is an access mode is about an extent and must be
 *    understood: leaving it out would move all that is behind it.
 * 2. Other lines that say nothing to us are ignored, as is what follows a NUL.
 */
#include "drivers/vmdk/descriptor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define SECTOR_BYTES 512

static const char *const type_names[] = {
	[VMDK_FLAT] = "FLAT",
	[VMDK_VMFS] = "VMFS",
	[VMDK_SPARSE] = "SPARSE",
	[VMDK_VMFSSPARSE] = "VMFSSPARSE",
	[VMDK_SESPARSE] = "SESPARSE",
	[VMDK_ZERO] = "ZERO",
};

const char *vmdk_extent_type_name(enum vmdk_extent_type type)
{
	return type_names[type];
}

/* --- Lines ------------------------------------------------------------------------ */

struct line {
	const char *start, *end;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Take the next line of the text from *at to @end, without blanks around it. */
static bool next_line(const char **at, const char *end, struct line *ret)
{
	if (*at == end)
		return false;
	const char *newline = memchr(*at, '\n', end - *at);
	struct line l = {*at, newline ? newline : end};

	*at = newline ? newline + 1 : end;
	while (l.start < l.end && is_blank(*l.start))
		l.start++;
	while (l.end > l.start && is_blank(l.end[-1]))
		l.end--;
	*ret = l;
	return true;
}

/* The text proper ends at the first NUL. */
static const char *end_of_text(const char *text, size_t bytes)
{
	const char *nul = memchr(text, '\0', bytes);

	return nul ? nul : text + bytes;
}

/* The value of "key=value", without quotes around it. False for another line. */
static bool value_of(struct line l, const char *key, struct line *ret)
{
	size_t length = strlen(key);

	if ((size_t)(l.end - l.start) <= length || memcmp(l.start, key, length) != 0)
		return false;
	l.start += length;
	while (l.start < l.end && is_blank(*l.start))
		l.start++;
	if (l.start == l.end || *l.start != '=')
		return false;
	l.start++;
	while (l.start < l.end && is_blank(*l.start))
		l.start++;
	if (l.end - l.start >= 2 && *l.start == '"' && l.end[-1] == '"') {
		l.start++;
		l.end--;
	}
	*ret = l;
	return true;
}

static char *copy(struct line l)
{
	return xasprintf("%.*s", (int)(l.end - l.start), l.start);
}

/* --- Values ----------------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int parse_cid(struct line value, uint32_t *ret)
{
	uint64_t n = 0;

	if (value.start == value.end)
		return -EINVAL;
	for (const char *p = value.start; p < value.end; p++) {
		int digit = hex_digit(*p);

		if (digit < 0 || n > UINT32_MAX >> 4)
			return -EINVAL;
		n = n << 4 | (unsigned)digit;
	}
	*ret = (uint32_t)n;
	return 0;
}

/* Take a word from the front of @l, up to a blank. */
static struct line take_word(struct line *l)
{
	struct line word = *l;

	while (l->start < l->end && !is_blank(*l->start))
		l->start++;
	word.end = l->start;
	while (l->start < l->end && is_blank(*l->start))
		l->start++;
	return word;
}

static bool is_word(struct line l, const char *word)
{
	size_t length = strlen(word);

	return (size_t)(l.end - l.start) == length && memcmp(l.start, word, length) == 0;
}

/* A number of sectors, as bytes. */
static int parse_sectors(struct line word, uint64_t *ret)
{
	uint64_t n = 0;

	if (word.start == word.end)
		return -EINVAL;
	for (const char *p = word.start; p < word.end; p++) {
		if (*p < '0' || *p > '9' || n > INT64_MAX / SECTOR_BYTES / 10)
			return -EINVAL;
		n = n * 10 + (unsigned)(*p - '0');
	}
	if (n > INT64_MAX / SECTOR_BYTES)
		return -EINVAL;
	*ret = n * SECTOR_BYTES;
	return 0;
}

static int parse_type(struct line word, enum vmdk_extent_type *ret)
{
	for (unsigned i = 0; i < ARRAY_SIZE(type_names); i++) {
		if (is_word(word, type_names[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* A name in quotes, which may hold blanks. */
static int take_name(struct line *l, char **ret)
{
	if (l->end - l->start < 2 || *l->start != '"')
		return -EINVAL;
	const char *quote = memchr(l->start + 1, '"', l->end - l->start - 1);
	struct line name = {l->start + 1, quote};

	if (!quote || name.start == quote || quote - name.start > VMDK_NAME_MAX)
		return -EINVAL;
	*ret = copy(name);
	l->start = quote + 1;
	while (l->start < l->end && is_blank(*l->start))
		l->start++;
	return 0;
}

/* What follows the access mode. */
static int parse_line(struct line l, struct vmdk_line *ret)
{
	int r = parse_sectors(take_word(&l), &ret->bytes);

	if (r == 0 && ret->bytes == 0)
		r = -EINVAL;
	if (r == 0)
		r = parse_type(take_word(&l), &ret->type);
	if (r < 0 || ret->type == VMDK_ZERO)
		return r;
	r = take_name(&l, &ret->name);
	if (r < 0)
		return r;
	if (ret->type == VMDK_FLAT)
		return parse_sectors(take_word(&l), &ret->offset);
	return l.start == l.end ? 0 : -EINVAL;
}

static struct vmdk_line *add_line(struct vmdk_descriptor *d)
{
	if (is_power_of_2(d->count) || d->count == 0)
		d->lines = xrealloc(d->lines, d->count == 0 ? 1 : 2 * (size_t)d->count,
				    sizeof(d->lines[0]));
	d->lines[d->count] = (struct vmdk_line){0};
	return &d->lines[d->count++];
}

/* A line about an extent, or another one. */
static int parse_extent(struct vmdk_descriptor *d, struct line whole, struct error **errp)
{
	struct line l = whole, mode = take_word(&l);
	bool is_inaccessible = is_word(mode, "NOACCESS"), is_read_only = is_word(mode, "RDONLY");

	if (!is_inaccessible && !is_read_only && !is_word(mode, "RW"))
		return 0;
	if (d->count == VMDK_EXTENTS_MAX)
		return error_set(errp, -EFBIG, "More than %d extents are not supported",
				 VMDK_EXTENTS_MAX);
	struct vmdk_line *line = add_line(d);
	int shown = (int)MIN(whole.end - whole.start, 256);

	line->read_only = is_read_only;
	if (parse_line(l, line) < 0)
		return error_set(errp, -EINVAL, "Invalid extent line: %.*s", shown, whole.start);
	if (is_inaccessible)
		return error_set(errp, -EACCES, "Extent is not accessible: %.*s", shown,
				 whole.start);
	return 0;
}

static int bad_cid(struct line l, struct error **errp)
{
	return error_set(errp, -EINVAL, "Invalid content ID: %.*s",
			 (int)MIN(l.end - l.start, 64), l.start);
}

/* The first of several lines with a key counts. */
static int parse_key(struct vmdk_descriptor *d, struct line l, bool *has_cid, bool *has_parent_cid,
		     struct error **errp)
{
	struct line value;

	if (!*has_cid && value_of(l, "CID", &value)) {
		*has_cid = true;
		return parse_cid(value, &d->cid) < 0 ? bad_cid(l, errp) : 0;
	}
	if (!*has_parent_cid && value_of(l, "parentCID", &value)) {
		*has_parent_cid = true;
		return parse_cid(value, &d->parent_cid) < 0 ? bad_cid(l, errp) : 0;
	}
	if (!d->create_type && value_of(l, "createType", &value))
		d->create_type = copy(value);
	if (!d->parent_name && value_of(l, "parentFileNameHint", &value)) {
		if (value.end - value.start > VMDK_NAME_MAX)
			return error_set(errp, -EINVAL, "Backing file name too long");
		if (value.start < value.end)
			d->parent_name = copy(value);
	}
	return 0;
}

int vmdk_descriptor_parse(const char *text, size_t bytes, bool has_lines,
			  struct vmdk_descriptor *ret, struct error **errp)
{
	const char *at = text, *end = end_of_text(text, bytes);
	bool has_cid = false, has_parent_cid = false;
	struct line l;

	*ret = (struct vmdk_descriptor){.cid = VMDK_NO_CID, .parent_cid = VMDK_NO_CID};
	while (next_line(&at, end, &l)) {
		if (l.start == l.end || *l.start == '#')
			continue;
		int r = parse_key(ret, l, &has_cid, &has_parent_cid, errp);

		if (r == 0 && has_lines)
			r = parse_extent(ret, l, errp);
		if (r < 0)
			return r;
	}
	return has_parent_cid ? 0 : error_set(errp, -EINVAL, "invalid VMDK image descriptor");
}

void vmdk_descriptor_finish(struct vmdk_descriptor *d)
{
	for (unsigned i = 0; i < d->count; i++)
		free(d->lines[i].name);
	free(d->lines);
	free(d->create_type);
	free(d->parent_name);
	*d = (struct vmdk_descriptor){0};
}

bool vmdk_descriptor_probe(const char *text, size_t bytes)
{
	static const char *const versions[] = {"version=1", "version=2", "version=3"};
	const char *at = text, *end = end_of_text(text, bytes);

	while (at < end) {
		const char *newline = memchr(at, '\n', end - at);
		struct line l = {at, newline ? newline : end};

		/* What is cut off by the end of the text is not known. */
		if (!newline)
			return false;
		at = newline + 1;
		if (l.end > l.start && l.end[-1] == '\r')
			l.end--;
		if (l.start < l.end && *l.start == '#')
			continue;
		while (l.start < l.end && *l.start == ' ')
			l.start++;
		if (l.start == l.end)
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(versions); i++)
			if (is_word(l, versions[i]))
				return true;
		return false;
	}
	return false;
}

bool vmdk_descriptor_find_cid(const char *text, size_t bytes, size_t *ret_offset,
			      size_t *ret_length)
{
	const char *at = text, *end = end_of_text(text, bytes);
	struct line l, value;

	while (next_line(&at, end, &l)) {
		if (l.start == l.end || *l.start == '#' || !value_of(l, "CID", &value))
			continue;
		*ret_offset = value.start - text;
		*ret_length = value.end - value.start;
		return true;
	}
	return false;
}

/* --- Composing -------------------------------------------------------------------- */

char *vmdk_descriptor_compose(const struct vmdk_description *d)
{
	/* The geometry of an IDE disk, and that of SCSI adapters. */
	unsigned heads = strcmp(d->adapter_type, "ide") == 0 ? 16 : 255, sectors = 63;
	char *hint _cleanup_free_ =
		d->parent_name ? xasprintf("parentFileNameHint=\"%s\"", d->parent_name) : xstrdup("");

	return xasprintf("# Disk DescriptorFile\n"
			 "version=1\n"
			 "CID=%08" PRIx32 "\n"
			 "parentCID=%08" PRIx32 "\n"
			 "createType=\"%s\"\n"
			 "%s\n"
			 "# Extent description\n"
			 "%s\n"
			 "# The Disk Data Base\n"
			 "#DDB\n"
			 "\n"
			 "ddb.virtualHWVersion = \"%s\"\n"
			 "ddb.geometry.cylinders = \"%" PRIu64 "\"\n"
			 "ddb.geometry.heads = \"%u\"\n"
			 "ddb.geometry.sectors = \"%u\"\n"
			 "ddb.adapterType = \"%s\"\n"
			 "ddb.toolsVersion = \"%s\"\n",
			 d->cid, d->parent_cid, d->create_type, hint, d->extent_lines,
			 d->hardware_version, d->size / SECTOR_BYTES / (heads * sectors), heads,
			 sectors, d->adapter_type, d->tools_version);
}
