/* SPDX-License-Identifier: MIT */
/*
 * Secrets, such as passwords, that nodes refer to by name. Loop's thread.
 */
#ifndef BLOCK_SECRET_H
#define BLOCK_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"

struct graph;

struct secret {
	struct list link; /* in graph.secrets */
	char *id;
	uint8_t *data; /* @bytes of it, and a NUL behind them */
	size_t bytes;
};

/* Make a secret with @data, which it copies. The ID is not taken. */
struct secret *secret_create(struct graph *g, const char *id, const void *data, size_t bytes);
/* Forget it, and overwrite its memory. */
void secret_destroy(struct secret *s);
/* The secret called @id, for as long as nothing waits; NULL and *errp when there is none. */
const struct secret *secret_find(const struct graph *g, const char *id, struct error **errp);
/* The same for a secret that is text: its data; NULL and *errp when that is not UTF-8, too. */
const char *secret_find_text(const struct graph *g, const char *id, struct error **errp);

#endif
