/* SPDX-License-Identifier: MIT */
/*
 * Objects, and what their types consist of. Control thread.
 */
#ifndef DAEMON_OBJECT_INTERNAL_H
#define DAEMON_OBJECT_INTERNAL_H

#include "base/list.h"
#include "daemon/object.h"

struct object {
	struct list link;
	const struct object_class *class;
	struct object_options *options; /* as given */
	void *engine; /* what it stands for: a struct throttle_group, a struct secret, ... */
};

struct object_property {
	const char *name, *type;
};

struct object_class {
	const char *parent; /* its name is that of @type */
	enum object_type type;
	const struct object_property *properties; /* besides "type"; up to one without a name */
	/* Set o->engine. */
	int co_fn (*create)(struct object *o, struct error **errp);
	/* -EBUSY while it is in use. */
	int (*delete)(struct object *o);
	/* The value of a property of the list. */
	struct json_t *(*get)(const struct object *o, const char *property);
	/* Change a property of the list: @settable, or each where that is NULL. NULL where none can be. */
	int (*set)(struct object *o, const char *property, struct json_t *value,
		   struct error **errp);
	const char *settable;
};

extern const struct object_class authz_list_class, authz_simple_class, iothread_class,
	secret_class, throttle_group_class, tls_creds_psk_class, tls_creds_x509_class;

#endif
