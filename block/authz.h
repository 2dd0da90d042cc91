/* SPDX-License-Identifier: MIT */
/*
 * Who may come in: objects that decide by names. Loop's thread.
 */
#ifndef BLOCK_AUTHZ_H
#define BLOCK_AUTHZ_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"

struct graph;

struct authz_rule {
	char *match; /* a name, or a pattern with '*', '?' and '[...]' */
	bool is_pattern, allows;
};

struct authz {
	struct list link; /* in graph.authz */
	char *id;
	bool allows_others; /* whom no rule fits */
	size_t count;
	struct authz_rule *rules; /* the first that fits decides */
};

/* Make one; @a is copied. The ID is not taken. */
struct authz *authz_create(struct graph *g, const struct authz *a);
/* Forget it. Whoever refers to it by its ID lets nobody in from then on. */
void authz_destroy(struct authz *a);
/* Whether the object called @id lets @name in. False when there is none. */
bool authz_allows(const struct graph *g, const char *id, const char *name);

#endif
