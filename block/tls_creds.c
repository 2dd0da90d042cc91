/* SPDX-License-Identifier: MIT */
/*
 * Credentials for TLS. Loop's thread.
 */
#include "block/tls_creds.h"

#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/graph.h"

struct tls_creds *tls_creds_create(struct graph *g, const struct tls_creds *c)
{
	struct tls_creds *new = xmemdup(c, sizeof(*c));
	new->id = xstrdup(c->id);
	new->dir = xstrdup(c->dir);
	new->username = xstrdup(c->username);
	new->users = 0;
	list_add_tail(&g->tls_creds, &new->link);
	return new;
}

int tls_creds_destroy(struct tls_creds *c)
{
	if (c->users > 0)
		return -EBUSY;
	list_del_init(&c->link);
	free(c->id);
	free(c->dir);
	free(c->username);
	free(c);
	return 0;
}

static struct tls_creds *find(struct graph *g, const char *id)
{
	struct tls_creds *c;
	list_for_each (c, &g->tls_creds, link) {
		if (strcmp(c->id, id) == 0)
			return c;
	}
	return NULL;
}

struct tls_creds *tls_creds_hold(struct graph *g, const char *id, bool is_server,
				 struct error **errp)
{
	struct tls_creds *c = find(g, id);
	if (!c) {
		error_set(errp, -ENOENT, "No TLS credentials with id '%s'", id);
		return NULL;
	}
	if (c->is_server != is_server) {
		error_set(errp, -EINVAL, "Expected TLS credentials for a %s endpoint",
			  is_server ? "server" : "client");
		return NULL;
	}
	c->users++;
	return c;
}

void tls_creds_release(struct tls_creds *c)
{
	if (c)
		c->users--;
}
