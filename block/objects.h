/* SPDX-License-Identifier: MIT */
/*
 * What users make beside nodes and refer to by ID: from the properties of the
 * schema to what block/ has of them. Loop's thread. The ID is well-formed and not
 * taken; *ret belongs to the graph until it is destroyed.
 */
#ifndef BLOCK_OBJECTS_H
#define BLOCK_OBJECTS_H

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

struct authz;
struct graph;
struct iothread;
struct secret;
struct throttle_config;
struct throttle_group;

/* Never fail. */
struct authz *authz_make_simple(struct graph *g, const char *id,
				const struct auth_z_simple_properties *p);
struct authz *authz_make_list(struct graph *g, const char *id,
			      const struct auth_z_list_properties *p);

/* -EINVAL for values out of range. */
int iothread_properties_check(const struct iothread_properties *p, struct error **errp);
int iothread_make(struct graph *g, const char *id, const struct iothread_properties *p,
		  struct iothread **ret, struct error **errp);

/*
 * Read, decode and decrypt a secret. Waits for the file. -EINVAL for properties that contradict
 * each other or data that is no such thing, -ENOENT for a missing key, or what reading returns.
 */
int co_fn secret_make(struct graph *g, const char *id, const struct secret_properties *p,
		      struct secret **ret, struct error **errp);

/* -EINVAL for limits that cannot be, -EEXIST for a taken name. */
int throttle_group_make(struct graph *g, const char *id, const struct throttle_group_properties *p,
			struct throttle_group **ret, struct error **errp);
/* Apply the limits, either of which may be NULL, to *c, which changes only when all is well. */
int throttle_config_change(struct throttle_config *c, const struct throttle_limits *first,
			   const struct throttle_limits *second, struct error **errp);

#endif
