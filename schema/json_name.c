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

/* The secret of a user of Ceph was a password once. */
static void modernise_rbd(json_t *object)
{
	json_t *secret = json_object_get(object, "password-secret");

	if (!secret || json_object_get(object, "key-secret"))
		return;
	json_object_set(object, "key-secret", secret);
	json_object_del(object, "password-secret");
}

static void modernise(json_t *object)
{
	if (has_value(object, "driver", "gluster"))
		modernise_gluster(object);
	else if (has_value(object, "driver", "nbd"))
		modernise_nbd(object);
	else if (has_value(object, "driver", "rbd"))
		modernise_rbd(object);
}

/* Put the members of @more, but its driver, into @object, unless that says otherwise. */
static int add_members(json_t *object, json_t *more, struct error **errp)
{
	const char *key;
	json_t *value;

	json_object_foreach(more, key, value) {
		json_t *old = json_object_get(object, key);

		if (strcmp(key, "driver") == 0)
			continue;
		if (old && !json_equal(old, value))
			return error_set(errp, -EINVAL,
					 "Parameter '%s' says otherwise than 'filename'", key);
		json_object_set(object, key, value);
	}
	return 0;
}

/* Nodes of some drivers once had a "filename", which was a whole name. */
static int expand_filename(json_t *object, const struct json_name_drivers *drivers,
			   struct error **errp)
{
	const char *driver = json_string_value(json_object_get(object, "driver"));
	const char *filename = json_string_value(json_object_get(object, "filename"));
	_cleanup_free_ char *text = NULL;
	json_t *members;

	if (!drivers || !driver || !filename)
		return 0;
	int r = drivers->read_filename(drivers, driver, filename, &text, errp);
	if (r < 0 || !text)
		return r;
	r = keyval_parse(text, NULL, &members, errp);
	if (r < 0)
		return r;
	json_object_del(object, "filename");
	r = add_members(object, members, errp);
	json_release(members);
	return r;
}

static int straighten_object(json_t *object, const struct json_name_drivers *drivers,
			     struct error **errp)
{
	guess_driver(object);
	modernise(object);
	return expand_filename(object, drivers, errp);
}

static void push_children(struct worklist *l, json_t *json)
{
	const char *key;
	json_t *child;
	size_t i;

	json_object_foreach(json, key, child)
		*(json_t **)worklist_push(l) = child;
	json_array_foreach (json, i, child)
		*(json_t **)worklist_push(l) = child;
}

/* Say what older names leave out, or say otherwise. */
static int straighten(json_t *root, const struct json_name_drivers *drivers, struct error **errp)
{
	json_t *storage[16], **next;
	struct worklist l = WORKLIST(storage);
	int r = 0;

	*(json_t **)worklist_push(&l) = root;
	while (r == 0 && (next = worklist_pop(&l))) {
		json_t *json = *next;

		if (json_is_object(json))
			r = straighten_object(json, drivers, errp);
		push_children(&l, json);
	}
	worklist_finish(&l);
	return r;
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

static int decode(const struct schema_type *t, json_t *json, const struct json_name_drivers *drivers,
		  void **ret, struct error **errp)
{
	int r = straighten(json, drivers, errp);

	return r < 0 ? r : schema_decode_input(t, json, SCHEMA_INPUT_EITHER, NULL, ret, errp);
}

int schema_decode_json_text(const struct schema_type *t, const char *text, void **ret,
			    struct error **errp)
{
	json_t *json;
	int r = parse(text, &json, errp);

	if (r < 0)
		return r;
	r = decode(t, json, NULL, ret, errp);
	json_release(json);
	return r;
}

char *json_name_driver(const char *name)
{
	json_t *json;

	if (parse(name + strlen(PREFIX), &json, NULL) < 0)
		return NULL;
	guess_driver(json);
	const char *driver = json_string_value(json_object_get(json, "driver"));
	char *copy = driver ? xstrdup(driver) : NULL;
	json_release(json);
	return copy;
}

int json_name_decode(const char *name, const char *driver, const struct json_name_drivers *drivers,
		     struct blockdev_options **ret, struct error **errp)
{
	json_t *json;
	void *options;
	int r = parse(name + strlen(PREFIX), &json, errp);

	if (r < 0)
		return r;
	if (driver)
		json_object_set_new(json, "driver", json_string(driver));
	r = decode(&blockdev_options_type, json, drivers, &options, errp);
	if (r == 0)
		*ret = options;
	json_release(json);
	return r;
}

int json_name_decode_below(const char *name, const char *driver,
			   const struct json_name_drivers *drivers, struct blockdev_options **ret,
			   struct error **errp)
{
	json_t *json;
	void *options;
	int r = parse(name + strlen(PREFIX), &json, errp);

	if (r < 0)
		return r;
	json_t *above = json_object();
	json_object_set_new(above, "driver", json_string(driver));
	json_object_set_new(above, "file", json);
	r = decode(&blockdev_options_type, above, drivers, &options, errp);
	if (r == 0)
		*ret = options;
	json_release(above);
	return r;
}

char *json_name_encode(const struct blockdev_options *options)
{
	_cleanup_free_ char *text = schema_encode_json_text(&blockdev_options_type, options);

	return xasprintf(PREFIX "%s", text);
}

/* What @filename says of @object, which describes a node of @driver, is left to it. */
static void leave_to_filename(json_t *object, const char *driver, const char *filename,
			      const struct json_name_drivers *drivers)
{
	_cleanup_free_ char *text = NULL;
	const char *key;
	json_t *members, *value;

	if (drivers->read_filename(drivers, driver, filename, &text, NULL) < 0 || !text ||
	    keyval_parse(text, NULL, &members, NULL) < 0)
		return;
	json_object_foreach(members, key, value)
		if (strcmp(key, "driver") != 0)
			json_object_del(object, key);
	json_object_set_new(object, "filename", json_string(filename));
	json_release(members);
}

/* Settings of Ceph are known to older readers as parts of file names only. */
static void age_rbd(json_t *object, const struct json_name_drivers *drivers)
{
	void *options;

	if (schema_decode_input(&blockdev_options_type, object, SCHEMA_INPUT_STRICT, NULL, &options,
				NULL) < 0)
		return;
	_cleanup_free_ char *filename = drivers->print_filename(drivers, options);
	if (filename)
		leave_to_filename(object, "rbd", filename, drivers);
	blockdev_options_free(options);
}

char *json_name_encode_readable(const struct blockdev_options *options,
				const struct json_name_drivers *drivers)
{
	_cleanup_free_ char *text = schema_encode_json_text(&blockdev_options_type, options);
	json_t *storage[16], **next, *root;
	struct worklist l = WORKLIST(storage);
	struct json_writer w = {0};

	if (!strstr(text, "\"settings\"") || json_text_parse(text, strlen(text), &root, NULL) < 0)
		return xasprintf(PREFIX "%s", text);
	*(json_t **)worklist_push(&l) = root;
	while ((next = worklist_pop(&l))) {
		json_t *json = *next;

		if (has_value(json, "driver", "rbd") && json_object_get(json, "settings"))
			age_rbd(json, drivers);
		push_children(&l, json);
	}
	worklist_finish(&l);
	json_writer_json(&w, root);
	json_release(root);
	_cleanup_free_ char *aged = json_writer_take(&w);
	return xasprintf(PREFIX "%s", aged);
}
