/* SPDX-License-Identifier: MIT */
/*
 * Credentials for TLS. Loop's thread, but for reading keys.
 */
#include "block/tls_creds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/graph.h"

/* Longest line of a file of keys. */
#define KEY_LINE_MAX 4096

struct tls_creds *tls_creds_create(struct graph *g, const struct tls_creds *c)
{
	struct tls_creds *new = xmemdup(c, sizeof(*c));
	new->id = xstrdup(c->id);
	new->dir = xstrdup(c->dir);
	new->username = xstrdup(c->username);
	new->priority = xstrdup(c->priority);
	new->password = xstrdup(c->password);
	new->passwordid = xstrdup(c->passwordid);
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
	free(c->priority);
	if (c->password)
		explicit_bzero(c->password, strlen(c->password));
	free(c->password);
	free(c->passwordid);
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

/* The key in a line of @username, or NULL. */
static const char *key_of(char *line, const char *username)
{
	size_t length = strlen(username);
	if (line[0] == '#' || strncmp(line, username, length) != 0 || line[length] != ':')
		return NULL;
	line[strcspn(line, "\r\n")] = '\0';
	return line + length + 1;
}

int tls_creds_read_key(const struct tls_creds *c, char **ret, struct error **errp)
{
	char *path _cleanup_free_ = xasprintf("%s/keys.psk", c->dir);
	FILE *f = fopen(path, "re");
	if (!f)
		return error_set_errno(errp, -errno, "Unable to access credentials %s", path);
	char line[KEY_LINE_MAX];
	const char *key = NULL;
	while (!key && fgets(line, sizeof(line), f))
		key = key_of(line, c->username);
	fclose(f);
	*ret = xstrdup(key);
	explicit_bzero(line, sizeof(line));
	return *ret ? 0 : error_set(errp, -ENOENT, "Username %s not found in PSK file %s",
				    c->username, path);
}
