/* SPDX-License-Identifier: MIT */
/*
 * Options as key=value text, in which the core puts together what it then has
 * the schema decode: so what is not said gets its default in one place only.
 * Results are freed with free().
 */
#ifndef BLOCK_TEXT_H
#define BLOCK_TEXT_H

#include "base/coroutine.h"
#include "base/error.h"

struct driver;
struct graph;

/* @s with its commas doubled, as a value. */
char *text_escape(const char *s);
/* The contrary: doubled commas are one. */
char *text_unescape(const char *s);
/* Whether @word stands in @text as a pair without a value. */
bool text_has_word(const char *text, const char *word);
/* @text with @prefix before each of its keys. */
char *text_prefix_keys(const char *text, const char *prefix);
/* @text without the pairs of @key. */
char *text_without_key(const char *text, const char *key);
/* The comma or NUL that ends the pair at @pair: two commas are one of its value's. */
const char *text_pair_end(const char *pair);
/* The last value of @key, which has no comma in it; NULL when it is absent. Free with free(). */
char *text_value(const char *text, const char *key);

/*
 * "driver=nbd,..." of the protocol that @filename begins with, or of the file or
 * device that it is. Returns 0, -ENOENT for an unknown protocol, or -EINVAL.
 */
int co_fn text_from_filename(struct graph *g, const char *filename, char **ret,
			     struct error **errp);

/*
 * The same where it is to be a node of @d, which is no format: whatever @filename
 * begins with, a driver with paths takes it for one, and the others refuse what is not theirs.
 */
int co_fn text_from_filename_of(struct graph *g, const struct driver *d, const char *filename,
				char **ret, struct error **errp);

/* The same where @d has names of its own, without waiting. */
int text_from_name_of(const struct driver *d, const char *filename, char **ret,
		      struct error **errp);

/* True for a letter, then letters, digits, '-', '.' and '_': what users may call things. */
bool text_is_identifier(const char *s);

#endif
