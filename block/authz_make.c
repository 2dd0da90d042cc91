/* SPDX-License-Identifier: MIT */
/*
 * Who may come in: from the properties of the schema. Loop's thread.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/authz.h"
#include "block/objects.h"

struct authz *authz_make_simple(struct graph *g, const char *id,
				const struct auth_z_simple_properties *p)
{
	struct authz_rule rule = {.match = p->identity, .allows = true};
	return authz_create(g, &(struct authz){.id = (char *)id, .count = 1, .rules = &rule});
}

struct authz *authz_make_list(struct graph *g, const char *id,
			      const struct auth_z_list_properties *p)
{
	struct authz_rule *rules _cleanup_free_ = xalloc(MAX(p->rules.count, 1u), sizeof(rules[0]));
	for (size_t i = 0; i < p->rules.count; i++) {
		const struct q_auth_z_list_rule *r = p->rules.items[i];
		rules[i] = (struct authz_rule){
			.match = r->match,
			.is_pattern = r->format == Q_AUTH_Z_LIST_FORMAT_GLOB,
			.allows = r->policy == Q_AUTH_Z_LIST_POLICY_ALLOW,
		};
	}
	return authz_create(g, &(struct authz){
		.id = (char *)id,
		.allows_others = p->policy == Q_AUTH_Z_LIST_POLICY_ALLOW,
		.count = p->rules.count,
		.rules = rules,
	});
}
