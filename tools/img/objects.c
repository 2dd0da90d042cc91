/* SPDX-License-Identifier: MIT */
/*
 * --object: what the descriptions of images refer to by ID. Main thread.
 */
#include "block/objects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/authz.h"
#include "block/iothread.h"
#include "block/secret.h"
#include "block/text.h"
#include "block/throttle_group.h"
#include "schema/option_help.h"
#include "schema/schema.h"
#include "tls/creds.h"
#include "tools/img/img.h"

struct object {
	enum object_type type;
	char *id;
	union {
		struct authz *authz;
		struct iothread *iothread;
		struct secret *secret;
		struct throttle_group *throttle_group;
		struct tls_creds *tls_creds;
	};
};

static struct object *objects;
static size_t object_count;

static bool is_taken(const char *id)
{
	for (size_t i = 0; i < object_count; i++) {
		if (strcmp(objects[i].id, id) == 0)
			return true;
	}
	return false;
}

static int co_fn make(const struct object_options *o, struct object *ret, struct error **errp)
{
	if (!text_is_identifier(o->id)) {
		error_set(errp, -EINVAL, "Parameter 'id' expects an identifier");
		error_hint(errp, "Identifiers consist of letters, digits, '-', '.', '_', starting "
			   "with a letter.");
		return -EINVAL;
	}
	if (is_taken(o->id))
		return error_set(errp, -EEXIST, "attempt to add duplicate property '%s' to object "
				 "(type 'container')", o->id);
	ret->type = o->qom_type;
	switch (o->qom_type) {
	case OBJECT_TYPE_AUTHZ_LIST:
		ret->authz = authz_make_list(the_img.graph, o->id, &o->u.authz_list);
		return 0;
	case OBJECT_TYPE_AUTHZ_SIMPLE:
		ret->authz = authz_make_simple(the_img.graph, o->id, &o->u.authz_simple);
		return 0;
	case OBJECT_TYPE_IOTHREAD: /* nothing refers to it */
		return iothread_make(the_img.graph, o->id, &o->u.iothread, &ret->iothread, errp);
	case OBJECT_TYPE_SECRET:
		return secret_make(the_img.graph, o->id, &o->u.secret, &ret->secret, errp);
	case OBJECT_TYPE_THROTTLE_GROUP:
		return throttle_group_make(the_img.graph, o->id, &o->u.throttle_group,
					   &ret->throttle_group, errp);
	case OBJECT_TYPE_TLS_CREDS_PSK:
		return tls_creds_make_psk(the_img.graph, o->id, &o->u.tls_creds_psk,
					  &ret->tls_creds, errp);
	case OBJECT_TYPE_TLS_CREDS_X509:
		return tls_creds_make_x509(the_img.graph, o->id, &o->u.tls_creds_x509,
					   &ret->tls_creds, errp);
	default:
		return error_set(errp, -EINVAL, "Objects of this type have no use here");
	}
}

int co_fn img_object_add(const char *text)
{
	struct error *error = NULL;
	struct object object = {0};
	void *options;

	if (option_wants_help(text)) {
		char *help = option_help(&object_options_type, text, true,
					 "List of user creatable objects:");

		fputs(help, stdout);
		free(help);
		return -1;
	}
	int r = schema_decode_keyval(&object_options_type, text, "qom-type", &options, &error);

	if (r < 0)
		return img_report(error);
	r = make(options, &object, &error);
	if (r >= 0) {
		object.id = xstrdup(((struct object_options *)options)->id);
		objects = xrealloc(objects, object_count + 1, sizeof(*objects));
		objects[object_count++] = object;
	}
	object_options_free(options);
	return r < 0 ? img_report(error) : 0;
}

/* Nobody uses it any more. */
static void destroy(struct object *o)
{
	switch (o->type) {
	case OBJECT_TYPE_AUTHZ_LIST:
	case OBJECT_TYPE_AUTHZ_SIMPLE:
		authz_destroy(o->authz);
		break;
	case OBJECT_TYPE_IOTHREAD:
		iothread_destroy(o->iothread);
		break;
	case OBJECT_TYPE_SECRET:
		secret_destroy(o->secret);
		break;
	case OBJECT_TYPE_THROTTLE_GROUP:
		throttle_group_destroy(o->throttle_group);
		break;
	case OBJECT_TYPE_TLS_CREDS_PSK:
	case OBJECT_TYPE_TLS_CREDS_X509:
		tls_creds_destroy(o->tls_creds);
		break;
	default:
		break;
	}
}

void img_objects_delete(void)
{
	while (object_count > 0) {
		struct object *o = &objects[--object_count];

		destroy(o);
		free(o->id);
	}
	free(objects);
	objects = NULL;
}
