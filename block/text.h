/* SPDX-License-Identifier: MIT */
/*
 * Options as key=value text, in which the core puts together what it then has
 * the schema decode: so what is not said gets its default in one place only.
 * Only block/ includes it. Results are freed with free().
 */
#ifndef BLOCK_TEXT_H
#define BLOCK_TEXT_H

#include "base/coroutine.h"
#include "base/error.h"

struct graph;

/* @s with its commas doubled, as a value. */
char *text_escape(const char *s);
/* @text with @prefix before each of its keys. */
char *text_prefix_keys(const char *text, const char *prefix);
/* The value of @key, which has no comma in it; NULL when it is absent. */
char *text_value(const char *text, const char *key);

/*
 * "driver=nbd,..." of the protocol that @filename begins with, or of the file or
 * device that it is. Returns 0, -ENOENT for an unknown protocol, or -EINVAL.
 */
int co_fn text_from_filename(struct graph *g, const char *filename, char **ret,
			     struct error **errp);

#endif
