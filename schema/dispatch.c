/* SPDX-License-Identifier: MIT */
/*
 * Calling a command by its description. Runs in a coroutine of the control
 * thread.
 */
#include "schema/dispatch.h"

#include "base/error.h"
#include "schema/json.h"
#include "schema/walk.h"

const struct schema_command *schema_command_find(const char *name)
{
	size_t low = 0, high = SCHEMA_COMMAND_COUNT;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct schema_command *c = &schema_commands[schema_command_order[middle]];
		int order = strcmp(name, c->name);

		if (order == 0)
			return c;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* Decode into *ret_args, which stays NULL for a command that takes nothing. */
static int decode_arguments(const struct schema_command *command, json_t *arguments,
			    void **ret_args, struct error **errp)
{
	json_t *empty;
	int r;

	if (command->args && arguments)
		return schema_decode(command->args, arguments, NULL, ret_args, errp);
	if (!command->args) {
		const char *key = json_object_iter_key(json_object_iter(arguments));

		return key ? error_set(errp, -EINVAL, "Parameter '%s' is unexpected", key) : 0;
	}
	empty = json_object();
	r = schema_decode(command->args, empty, NULL, ret_args, errp);
	json_decref(empty);
	return r;
}

/* The largest thing that a handler fills in. */
union result {
	void *pointer;
	struct schema_list list;
	int64_t scalar;
};

static void free_result(const struct schema_type *t, union result *result)
{
	if (t->kind == SCHEMA_LIST)
		schema_finish(t, result);
	else if (schema_is_pointer(t))
		schema_free(t, result->pointer);
}

static void write_result(struct json_writer *w, const struct schema_type *t, union result *result)
{
	if (t) {
		schema_write(w, t, schema_is_pointer(t) ? result->pointer : result);
		return;
	}
	json_writer_begin_object(w);
	json_writer_end_object(w);
}

int co_fn schema_call(const struct schema_command *command, schema_handler *handler,
		      struct json_t *arguments, struct json_writer *reply, struct error **errp)
{
	union result result = {.list = {0, NULL}};
	void *args = NULL;
	int r = decode_arguments(command, arguments, &args, errp);

	if (r < 0)
		return r;
	r = handler(args, &result, errp);
	if (args)
		schema_free(command->args, args);
	if (r < 0)
		return r;
	write_result(reply, command->ret, &result);
	if (command->ret)
		free_result(command->ret, &result);
	return 0;
}
