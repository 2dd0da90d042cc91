/* SPDX-License-Identifier: MIT */
/*
 * From one JSON value of a client to the text of its reply. Runs in a coroutine
 * of the loop's thread.
 */
#include "protocol/qmp/dispatch.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "schema/json.h"
#include "schema/tables.h"

/* The members of a request, all borrowed. */
struct envelope {
	const char *command;
	bool is_oob;
	json_t *arguments; /* NULL for none */
	json_t *id;        /* NULL for none */
};

bool qmp_is_out_of_band(struct json_t *json)
{
	return json_object_get(json, "exec-oob") && !json_object_get(json, "execute");
}

enum qmp_order qmp_order(struct json_t *json)
{
	const char *name = json_string_value(json_object_get(json, "execute"));
	const struct schema_command *command = name ? schema_command_find(name) : NULL;
	if (!command)
		return QMP_IN_TURN;
	return command->instant ? QMP_INSTANT : command->concurrent ? QMP_CONCURRENT : QMP_IN_TURN;
}

static int take_command(struct envelope *e, const char *key, json_t *value, struct error **errp)
{
	if (!json_is_string(value))
		return error_set(errp, -EINVAL, "QMP input member '%s' must be a string", key);
	if (e->command)
		return error_set(errp, -EINVAL,
				 "QMP input member 'execute' clashes with 'exec-oob'");
	e->command = json_string_value(value);
	e->is_oob = strcmp(key, "exec-oob") == 0;
	return 0;
}

/* Also fills in e->id of a request that is refused. */
static int open_envelope(json_t *json, bool oob_enabled, struct envelope *e, struct error **errp)
{
	const char *key;
	json_t *value;

	if (!json_is_object(json))
		return error_set(errp, -EINVAL, "QMP input must be a JSON object");
	e->id = json_object_get(json, "id");
	json_object_foreach(json, key, value) {
		int r = 0;
		if (strcmp(key, "execute") == 0 || (oob_enabled && strcmp(key, "exec-oob") == 0)) {
			r = take_command(e, key, value, errp);
		} else if (strcmp(key, "arguments") == 0) {
			if (!json_is_object(value))
				r = error_set(errp, -EINVAL,
					      "QMP input member 'arguments' must be an object");
			e->arguments = value;
		} else if (strcmp(key, "id") != 0) {
			r = error_set(errp, -EINVAL, "QMP input member '%s' is unexpected", key);
		}
		if (r < 0)
			return r;
	}
	if (!e->command)
		return error_set(errp, -EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static int find_command(const struct envelope *e, const struct qmp_mode *mode,
			const struct schema_command **ret, struct error **errp)
{
	if (!mode->negotiated && strcmp(e->command, "qmp_capabilities") != 0)
		return error_set_class(errp, ERROR_COMMAND_NOT_FOUND, -ENOENT,
				       "Expecting capabilities negotiation with "
				       "'qmp_capabilities'");
	const struct schema_command *command = schema_command_find(e->command);
	if (!command)
		return error_set_class(errp, ERROR_COMMAND_NOT_FOUND, -ENOENT,
				       "The command %s has not been found", e->command);
	if (e->is_oob && !command->oob)
		return error_set(errp, -EINVAL, "The command %s does not support OOB", e->command);
	*ret = command;
	return 0;
}

static int co_fn execute(struct qmp_server *server, const struct qmp_mode *mode,
			 const struct envelope *e, struct json_writer *reply,
			 struct error **errp)
{
	const struct schema_command *command = NULL;
	int r = find_command(e, mode, &command, errp);
	if (r < 0)
		return r;

	log_debug("monitor: %s", e->command);
	json_writer_begin_object(reply);
	json_writer_key(reply, "return");
	r = schema_call(command, server->handlers[command - schema_commands], e->arguments, reply,
			errp);
	if (r < 0)
		return r;
	if (e->id) {
		json_writer_key(reply, "id");
		json_writer_json(reply, e->id);
	}
	json_writer_end_object(reply);
	return 0;
}

void qmp_write_error(struct json_writer *reply, const struct error *error, struct json_t *id)
{
	json_writer_begin_object(reply);
	if (id) {
		json_writer_key(reply, "id");
		json_writer_json(reply, id);
	}
	json_writer_key(reply, "error");
	json_writer_begin_object(reply);
	json_writer_key(reply, "class");
	json_writer_str(reply, error_class_name(error->class));
	json_writer_key(reply, "desc");
	/* Other hints are for terminals. */
	_cleanup_free_ char *whole =
		error->detail ? xasprintf("%s. %s", error->message, error->detail) : NULL;
	json_writer_str(reply, whole ? whole : error->message);
	json_writer_end_object(reply);
	json_writer_end_object(reply);
}

void co_fn qmp_dispatch(struct qmp_server *server, const struct qmp_mode *mode,
			struct json_t *json, struct json_writer *reply)
{
	struct envelope e = {0};
	struct error *error = NULL;
	struct json_writer before = *reply;

	int r = open_envelope(json, mode->oob_enabled, &e, &error);
	if (r >= 0)
		r = execute(server, mode, &e, reply, &error);
	if (r >= 0)
		return;

	/* Take back what has been written of a success. */
	reply->length = before.length;
	reply->depth = before.depth;
	reply->has_item = before.has_item;
	reply->has_key = before.has_key;
	qmp_write_error(reply, error, e.id);
	if (error->hint && server->on_hint)
		server->on_hint(e.command, error);
	error_free(error);
}

void qmp_write_greeting(struct json_writer *reply, const struct version_info *version)
{
	json_writer_begin_object(reply);
	json_writer_key(reply, "QMP");
	json_writer_begin_object(reply);
	json_writer_key(reply, "version");
	schema_write(reply, &version_info_type, version);
	json_writer_key(reply, "capabilities");
	json_writer_begin_list(reply);
	for (unsigned i = 0; i < QMP_CAPABILITY__COUNT; i++)
		json_writer_str(reply, qmp_capability_name(i));
	json_writer_end_list(reply);
	json_writer_end_object(reply);
	json_writer_end_object(reply);
}
