/* SPDX-License-Identifier: MIT */
/*
 * File names of Ceph's images, both ways. Any thread.
 */
#include "drivers/rbd/name.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

/* What the two timeouts of a node are called in Ceph's configuration. */
#define CONNECT_TIMEOUT "client_mount_timeout"
#define REQUEST_TIMEOUT "rados_osd_op_timeout"

/* The end of the part at @s: its first character of @ends that no backslash precedes, or NUL. */
static const char *part_end(const char *s, const char *ends)
{
	while (*s && !strchr(ends, *s))
		s += s[0] == '\\' && s[1] ? 2 : 1;
	return s;
}

/* The characters from @s to @end without their backslashes, fit to be a value: commas doubled. */
static char *part_value(const char *s, const char *end)
{
	char *value = xalloc(1, 2 * (size_t)(end - s) + 1), *out = value;
	for (; s < end; s++) {
		if (*s == '\\' && s + 1 < end)
			s++;
		*out++ = *s;
		if (*s == ',')
			*out++ = ',';
	}
	return value;
}

/* Text that grows. */
static void append(char **text, char *more)
{
	char *longer = xasprintf("%s%s", *text, more);
	free(*text);
	free(more);
	*text = longer;
}

/* "pool/[namespace/]image[@snapshot]" up to @end. */
static int parse_image(const char *s, const char *end, char **text, struct error **errp)
{
	const char *pool_end = part_end(s, "/:");
	if (*pool_end != '/' || pool_end == s)
		return error_set(errp, -EINVAL, "Pool name is required");
	char *pool _cleanup_free_ = part_value(s, pool_end);
	append(text, xasprintf(",pool=%s", pool));

	const char *image = pool_end + 1;
	const char *snapshot = part_end(image, "@:");
	const char *slash = part_end(image, "/@:");
	if (*slash == '/') {
		char *namespace _cleanup_free_ = part_value(image, slash);
		if (*namespace)
			append(text, xasprintf(",namespace=%s", namespace));
		image = slash + 1;
	}
	if (image == snapshot)
		return error_set(errp, -EINVAL, "The image's name is missing");
	char *name _cleanup_free_ = part_value(image, snapshot);
	append(text, xasprintf(",image=%s", name));
	if (*snapshot == '@') {
		char *value _cleanup_free_ = part_value(snapshot + 1, end);
		/* As for the rival, none where its name is empty. */
		if (*value)
			append(text, xasprintf(",snapshot=%s", value));
	}
	return 0;
}

/* ":name=value" at @s, which is followed by another or ends; *@count settings came before it. */
static int parse_setting(const char **s, unsigned *count, char **text, struct error **errp)
{
	const char *start = *s + 1;
	const char *mark = part_end(start, "=:");
	char *name _cleanup_free_ = part_value(start, mark);
	if (*mark != '=' || !*name)
		return error_set(errp, -EINVAL, "conf option %s has no value", name);
	*s = part_end(mark + 1, ":");
	char *value _cleanup_free_ = part_value(mark + 1, *s);
	if (strcmp(name, "id") == 0) {
		append(text, xasprintf(",user=%s", value));
	} else if (strcmp(name, "conf") == 0) {
		append(text, xasprintf(",conf=%s", value));
	} else {
		append(text, xasprintf(",settings.%u.name=%s,settings.%u.value=%s", *count, name,
				       *count, value));
		++*count;
	}
	return 0;
}

int rbd_name_parse(const char *name, char **ret, struct error **errp)
{
	if (!string_starts_with(name, "rbd:"))
		return error_set(errp, -ENOENT, "Unknown protocol '%.*s'",
				 (int)strcspn(name, ":"), name);
	const char *s = name + strlen("rbd:");
	const char *end = part_end(s, ":");
	char *text = xstrdup("driver=rbd");
	unsigned settings = 0;
	int r = parse_image(s, end, &text, errp);
	while (r >= 0 && *end)
		r = parse_setting(&end, &settings, &text, errp);
	if (r < 0) {
		free(text);
		return r;
	}
	*ret = text;
	return 0;
}

/* @s with a backslash before each of the @special characters, and before backslashes. */
static char *escape(const char *s, const char *special)
{
	char *escaped = xalloc(1, 2 * strlen(s) + 1), *out = escaped;
	for (; *s; s++) {
		if (*s == '\\' || strchr(special, *s))
			*out++ = '\\';
		*out++ = *s;
	}
	return escaped;
}

/* Append @before and the escaped @s, unless it is NULL. */
static void append_part(char **text, const char *before, const char *s)
{
	if (!s)
		return;
	char *part _cleanup_free_ = escape(s, "/:@");
	append(text, xasprintf("%s%s", before, part));
}

static void append_setting(char **text, const char *name, const char *value)
{
	if (!value)
		return;
	char *escaped_name _cleanup_free_ = escape(name, ":=@");
	/* Some readers look for a snapshot in all of the name. */
	char *escaped_value _cleanup_free_ = escape(value, ":@");
	append(text, xasprintf(":%s=%s", escaped_name, escaped_value));
}

const char *rbd_namespace(const struct blockdev_options_rbd *o)
{
	return o->namespace && *o->namespace ? o->namespace : NULL;
}

static char *print_name(const struct blockdev_options_rbd *o)
{
	char *name = xstrdup("rbd:");
	append_part(&name, "", o->pool);
	append_part(&name, "/", rbd_namespace(o));
	append_part(&name, "/", o->image);
	append_part(&name, "@", o->snapshot);
	append_setting(&name, "id", o->user);
	append_setting(&name, "conf", o->conf);
	if (o->has_connect_timeout)
		append(&name, xasprintf(":" CONNECT_TIMEOUT "=%" PRIu32, o->connect_timeout));
	if (o->has_request_timeout)
		append(&name, xasprintf(":" REQUEST_TIMEOUT "=%" PRIu32, o->request_timeout));
	for (size_t i = 0; i < o->settings.count; i++)
		append_setting(&name, o->settings.items[i]->name, o->settings.items[i]->value);
	return name;
}

char *rbd_name_print(const struct blockdev_options_rbd *o)
{
	if (o->has_server || o->has_auth_client_required || o->key_secret || o->encrypt)
		return NULL;
	return print_name(o);
}

char *rbd_name_print_part(const struct blockdev_options *options)
{
	return print_name(&options->u.rbd);
}
