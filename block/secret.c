/* SPDX-License-Identifier: MIT */
/*
 * Secrets. Loop's thread.
 */
#include "block/secret.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/graph.h"
#include "schema/json_string.h"

struct secret *secret_create(struct graph *g, const char *id, const void *data, size_t bytes)
{
	struct secret *s = NEW(struct secret);
	s->id = xstrdup(id);
	s->data = xalloc(1, bytes + 1);
	memcpy(s->data, data, bytes);
	s->bytes = bytes;
	list_add_tail(&g->secrets, &s->link);
	return s;
}

void secret_destroy(struct secret *s)
{
	list_del_init(&s->link);
	explicit_bzero(s->data, s->bytes);
	free(s->data);
	free(s->id);
	free(s);
}

const struct secret *secret_find(const struct graph *g, const char *id, struct error **errp)
{
	struct secret *s;
	list_for_each (s, &g->secrets, link) {
		if (strcmp(s->id, id) == 0)
			return s;
	}
	error_set(errp, -ENOENT, "No secret with id '%s'", id);
	return NULL;
}

const char *secret_find_text(const struct graph *g, const char *id, struct error **errp)
{
	const struct secret *s = secret_find(g, id, errp);
	if (!s)
		return NULL;
	const char *p = (const char *)s->data, *end = p + s->bytes;
	while (p < end) {
		if (json_utf8_next(&p, end) < 0) {
			error_set(errp, -EINVAL, "Data from secret %s is not valid UTF-8", id);
			return NULL;
		}
	}
	return (const char *)s->data;
}
