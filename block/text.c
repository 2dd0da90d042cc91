/* SPDX-License-Identifier: MIT */
/*
 * Options as key=value text. Control thread.
 */
#include "block/text.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/options.h"

char *text_escape(const char *s)
{
	size_t commas = 0;
	for (const char *p = s; *p; p++)
		commas += *p == ',';
	char *escaped = xalloc(1, strlen(s) + commas + 1), *out = escaped;
	for (const char *p = s; *p; p++) {
		*out++ = *p;
		if (*p == ',')
			*out++ = ',';
	}
	return escaped;
}

char *text_unescape(const char *s)
{
	char *plain = xalloc(1, strlen(s) + 1), *out = plain;
	for (const char *p = s; *p; p++) {
		*out++ = *p;
		p += p[0] == ',' && p[1] == ',';
	}
	return plain;
}

const char *text_pair_end(const char *pair)
{
	while (*pair && !(pair[0] == ',' && pair[1] != ','))
		pair += pair[0] == ',' ? 2 : 1;
	return pair;
}

char *text_prefix_keys(const char *text, const char *prefix)
{
	char *result = xstrdup("");
	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = text_pair_end(text);
		char *longer = xasprintf("%s%s%s%.*s", result, *result ? "," : "", prefix,
					 (int)(end - text), text);
		free(result);
		result = longer;
	}
	return result;
}

char *text_value(const char *text, const char *key)
{
	size_t length = strlen(key), bytes = 0;
	const char *value = NULL;
	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = text_pair_end(text);
		if (strncmp(text, key, length) == 0 && text[length] == '=') {
			value = text + length + 1;
			bytes = end - value;
		}
	}
	return value ? xasprintf("%.*s", (int)bytes, value) : NULL;
}

char *text_without_key(const char *text, const char *key)
{
	size_t length = strlen(key);
	char *result = xstrdup("");
	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = text_pair_end(text);
		if (strncmp(text, key, length) == 0 && text[length] == '=')
			continue;
		char *longer = xasprintf("%s%s%.*s", result, *result ? "," : "", (int)(end - text),
					 text);
		free(result);
		result = longer;
	}
	return result;
}

bool text_has_word(const char *text, const char *word)
{
	for (const char *end; *text; text = *end ? end + 1 : end) {
		end = text_pair_end(text);
		if ((size_t)(end - text) == strlen(word) && strncmp(text, word, strlen(word)) == 0)
			return true;
	}
	return false;
}

static int is_device(void *path)
{
	struct stat st;
	return stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode));
}

/* True when nodes of @d are told by a file name: what follows the colon is one. */
static bool has_filename(const struct driver *d)
{
	struct blockdev_options o = {0};
	return blockdev_driver_from_name(d->name, &o.driver) >= 0 && options_find(&o, "filename");
}

/* How long the protocol before @filename is: a colon makes one only before the first slash. */
static size_t protocol_length(const char *filename)
{
	size_t length = strcspn(filename, ":/");
	return filename[length] == ':' ? length : 0;
}

static bool has_protocol(const struct driver *d, const char *filename)
{
	size_t length = protocol_length(filename);
	if (d->parse_name)
		length = MIN(strcspn(filename, "+"), length);
	return d->protocol && strlen(d->protocol) == length &&
	       strncmp(filename, d->protocol, length) == 0;
}

static char *filename_option(const struct driver *d, const char *path)
{
	char *escaped _cleanup_free_ = text_escape(path);
	return xasprintf("driver=%s,filename=%s", d->name, escaped);
}

int text_from_name_of(const struct driver *d, const char *filename, char **ret,
		      struct error **errp)
{
	if (d->parse_name && !has_protocol(d, filename))
		return error_set(errp, -EINVAL, "File name must start with '%s:': '%s'",
				 d->protocol, filename);
	if (d->parse_name)
		return d->parse_name(filename, ret, errp);
	if (d->protocol && (!has_protocol(d, filename) ||
			    strcmp(filename + strlen(d->protocol), "://") != 0))
		return error_set(errp, -EINVAL,
				 "The only allowed filename for this driver is '%s://'",
				 d->protocol);
	*ret = xasprintf("driver=%s", d->name);
	return 0;
}

static int from_protocol(struct graph *g, const char *filename, char **ret, struct error **errp)
{
	size_t length = protocol_length(filename);
	for (const struct driver *const *d = g->drivers; *d; d++) {
		if (!has_protocol(*d, filename))
			continue;
		if (!has_filename(*d))
			return text_from_name_of(*d, filename, ret, errp);
		*ret = filename_option(*d, filename + length + 1);
		return 0;
	}
	return error_set(errp, -ENOENT, "Unknown protocol '%.*s'", (int)length, filename);
}

static const struct driver *find_wrapper(struct graph *g, const char *filename)
{
	for (const struct driver *const *d = g->drivers; *d; d++) {
		if ((*d)->wrapped_child && has_protocol(*d, filename))
			return *d;
	}
	return NULL;
}

/* "PROTOCOL:OPTION:NAME" of @d as options without the child; *filename becomes NAME. */
static int take_wrapper(const struct driver *d, const char **filename, char **ret,
			struct error **errp)
{
	const char *option = *filename + strlen(d->protocol) + 1;
	const char *colon = strchr(option, ':');
	if (!colon)
		return error_set(errp, -EINVAL, "%s requires both %s file and image path", d->name,
				 d->wrapped_option);
	char *value _cleanup_free_ = xasprintf("%.*s", (int)(colon - option), option);
	char *escaped _cleanup_free_ = text_escape(value);
	*ret = *value ? xasprintf("driver=%s,%s=%s", d->name, d->wrapped_option, escaped)
		      : xasprintf("driver=%s", d->name);
	*filename = colon + 1;
	return 0;
}

/* Append to *text, which may be NULL, the keys of @more with @prefix before them. */
static void append_keys(char **text, const char *more, const char *prefix)
{
	char *prefixed _cleanup_free_ = text_prefix_keys(more, prefix);
	char *old _cleanup_free_ = *text;
	*text = xasprintf("%s%s%s", old ? old : "", old ? "," : "", prefixed);
}

static int co_fn from_plain(struct graph *g, const char *filename, char **ret, struct error **errp)
{
	const char *path = filename;
	if (string_starts_with(filename, "file:"))
		path = filename + strlen("file:");
	else if (protocol_length(filename) > 0)
		return from_protocol(g, filename, ret, errp);

	char *escaped _cleanup_free_ = text_escape(path);
	*ret = xasprintf("driver=%s,filename=%s",
			 co_blocking(is_device, (void *)path) ? "host_device" : "file", escaped);
	return 0;
}

int co_fn text_from_filename(struct graph *g, const char *filename, char **ret,
			     struct error **errp)
{
	char *text _cleanup_free_ = NULL, *prefix _cleanup_free_ = xstrdup("");
	const struct driver *d;
	while ((d = find_wrapper(g, filename))) {
		char *own _cleanup_free_ = NULL;
		int r = take_wrapper(d, &filename, &own, errp);
		if (r < 0)
			return r;
		append_keys(&text, own, prefix);
		char *deeper = xasprintf("%s%s.", prefix, d->wrapped_child);
		free(prefix);
		prefix = deeper;
	}
	char *plain _cleanup_free_ = NULL;
	int r = from_plain(g, filename, &plain, errp);
	if (r < 0)
		return r;
	append_keys(&text, plain, prefix);
	*ret = TAKE(text);
	return 0;
}

int co_fn text_from_filename_of(struct graph *g, const struct driver *d, const char *filename,
				char **ret, struct error **errp)
{
	if (!has_filename(d))
		return text_from_name_of(d, filename, ret, errp);
	char *text _cleanup_free_ = NULL, *name _cleanup_free_ = NULL;
	if (text_from_filename(g, filename, &text, NULL) >= 0)
		name = text_value(text, "driver");
	const struct driver *meant = name ? graph_find_driver(g, name) : NULL;
	*ret = meant && has_filename(meant) ? TAKE(text) : filename_option(d, filename);
	return 0;
}

bool text_is_identifier(const char *s)
{
	if (!isalpha((unsigned char)*s))
		return false;
	while (isalnum((unsigned char)*s) || (*s && strchr("-._", *s)))
		s++;
	return !*s;
}
