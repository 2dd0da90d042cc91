/* SPDX-License-Identifier: MIT */
/*
 * Who may come in. Loop's thread.
 */
#include "block/authz.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/graph.h"

struct authz *authz_create(struct graph *g, const struct authz *a)
{
	struct authz *new = xmemdup(a, sizeof(*a));
	new->id = xstrdup(a->id);
	new->rules = a->count > 0 ? xmemdup(a->rules, a->count * sizeof(*a->rules)) : NULL;
	for (size_t i = 0; i < a->count; i++)
		new->rules[i].match = xstrdup(a->rules[i].match);
	list_add_tail(&g->authz, &new->link);
	return new;
}

void authz_destroy(struct authz *a)
{
	list_del_init(&a->link);
	for (size_t i = 0; i < a->count; i++)
		free(a->rules[i].match);
	free(a->rules);
	free(a->id);
	free(a);
}

static bool rule_fits(const struct authz_rule *r, const char *name)
{
	return r->is_pattern ? fnmatch(r->match, name, 0) == 0 : strcmp(r->match, name) == 0;
}

static bool decide(const struct authz *a, const char *name)
{
	for (size_t i = 0; i < a->count; i++) {
		if (rule_fits(&a->rules[i], name))
			return a->rules[i].allows;
	}
	return a->allows_others;
}

bool authz_allows(const struct graph *g, const char *id, const char *name)
{
	const struct authz *a;
	list_for_each (a, &g->authz, link) {
		if (strcmp(a->id, id) == 0)
			return decide(a, name);
	}
	return false;
}
