/* SPDX-License-Identifier: MIT */
/*
 * json: file names, to and from options of a node. Any thread.
 */
#include "schema/json_name.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "schema/json.h"
#include "schema/keyval.h"
#include "schema/walk.h"

#define PREFIX "json:"
#define NBD_DEFAULT_PORT "10809"

bool json_name_is(const char *name)
{
	return string_starts_with(name, PREFIX);
}

/* An object with a file name and no driver is a file. */
static void guess_driver(json_t *object)
{
	if (json_object_get(object, "filename") && !json_object_get(object, "driver"))
		json_object_set_new(object, "driver", json_string("file"));
}

static bool has_value(const json_t *object, const char *key, const char *value)
{
	return string_equal(json_string_value(json_object_get(object, key)), value);
}

/* Names of servers of GlusterFS once had a type "tcp", and a "socket" where there is a path now. */
static void modernise_gluster(json_t *object)
{
	size_t i;
	json_t *server;
	json_array_foreach (json_object_get(object, "server"), i, server) {
		json_t *socket = json_object_get(server, "socket");
		if (has_value(server, "type", "tcp"))
			json_object_set_new(server, "type", json_string("inet"));
		if (!socket || !has_value(server, "type", "unix") || json_object_get(server, "path"))
			continue;
		json_object_set(server, "path", socket);
		json_object_del(server, "socket");
	}
}

/* Move member @key of @object into @target, unless there is none. */
static void move_member(json_t *object, const char *key, json_t *target)
{
	json_t *value = json_object_get(object, key);
	if (!value)
		return;
	json_object_set(target, key, value);
	json_object_del(object, key);
}

/* Names of NBD exports once had the members of the server's address among their own. */
static void modernise_nbd(json_t *object)
{
	bool has_host = json_object_get(object, "host"), has_path = json_object_get(object, "path");
	if (json_object_get(object, "server") || has_host == has_path)
		return;
	json_t *server = json_object();
	json_object_set_new(server, "type", json_string(has_host ? "inet" : "unix"));
	if (has_host)
		json_object_set_new(server, "port", json_string(NBD_DEFAULT_PORT));
	move_member(object, "host", server);
	move_member(object, has_host ? "port" : "path", server);
	json_object_set_new(object, "server", server);
}

static void modernise(json_t *object)
{
	if (has_value(object, "driver", "gluster"))
		modernise_gluster(object);
	else if (has_value(object, "driver", "nbd"))
		modernise_nbd(object);
}

/* Say what older names leave out, or say otherwise. */
static void straighten(json_t *root)
{
	json_t *storage[16], **next;
	struct worklist l = WORKLIST(storage);

	*(json_t **)worklist_push(&l) = root;
	while ((next = worklist_pop(&l))) {
		json_t *object = *next, *child;
		const char *key;

		guess_driver(object);
		modernise(object);
		json_object_foreach(object, key, child)
			if (json_is_object(child))
				*(json_t **)worklist_push(&l) = child;
	}
	worklist_finish(&l);
}

/* Parse and straighten out. On success *ret is an object. */
static int parse(const char *text, json_t **ret, struct error **errp)
{
	json_t *json;
	int r = json_text_parse(text, strlen(text), &json, errp);

	if (r < 0) {
		error_prefix(errp, "Could not parse the JSON options: ");
		return r;
	}
	if (!json_is_object(json))
		r = error_set(errp, -EINVAL, "Invalid JSON object given");
	else
		r = keyval_expand(&json, errp);
	if (r == 0 && !json_is_object(json))
		r = error_set(errp, -EINVAL, "Invalid JSON object given");
	if (r < 0)
		json_release(json);
	else
		*ret = json;
	return r;
}

int schema_decode_json_text(const struct schema_type *t, const char *text, void **ret,
			    struct error **errp)
{
	json_t *json;
	int r = parse(text, &json, errp);

	if (r < 0)
		return r;
	straighten(json);
	r = schema_decode_input(t, json, SCHEMA_INPUT_EITHER, NULL, ret, errp);
	json_release(json);
	return r;
}

bool json_name_has_driver(const char *name)
{
	json_t *json;

	if (parse(name + strlen(PREFIX), &json, NULL) < 0)
		return true;
	straighten(json);
	bool has = json_object_get(json, "driver") != NULL;
	json_release(json);
	return has;
}

int json_name_decode(const char *name, const char *default_driver, struct blockdev_options **ret,
		     struct error **errp)
{
	json_t *json;
	void *options;
	int r = parse(name + strlen(PREFIX), &json, errp);

	if (r < 0)
		return r;
	straighten(json);
	if (default_driver && !json_object_get(json, "driver"))
		json_object_set_new(json, "driver", json_string(default_driver));
	r = schema_decode_input(&blockdev_options_type, json, SCHEMA_INPUT_EITHER, NULL, &options,
				errp);
	if (r == 0)
		*ret = options;
	json_release(json);
	return r;
}

char *json_name_encode(const struct blockdev_options *options)
{
	_cleanup_free_ char *text = schema_encode_json_text(&blockdev_options_type, options);

	return xasprintf(PREFIX "%s", text);
}
