/* SPDX-License-Identifier: MIT */
/*
 * From a command's name to its typed handler.
 *
 * schema_handlers[] lives in the generated handlers.c, which only a program that
 * has all the handlers links (meson variable schema_handlers_source). Handlers
 * run in a coroutine of the control thread.
 */
#ifndef SCHEMA_DISPATCH_H
#define SCHEMA_DISPATCH_H

#include "base/coroutine.h"
#include "schema/tables.h"

struct json_t;
struct json_writer;

/*
 * Calls one qmp_*() handler. @args is the decoded object or NULL; @ret points at
 * cleared room for the result: a pointer for an object or string, a list by value.
 */
typedef int co_fn schema_handler(const void *args, void *ret, struct error **errp);

/* Parallel to schema_commands[]. */
extern schema_handler *const schema_handlers[SCHEMA_COMMAND_COUNT];

/* The command of that name, or NULL. */
const struct schema_command *schema_command_find(const char *name);

/*
 * Decode @arguments (NULL for none given) for @command, run @handler, and append
 * the value that it returned to @reply; an empty object when there is none.
 * @reply is untouched on failure. Returns 0 or the handler's negative errno;
 * -EINVAL for arguments that do not fit.
 */
int co_fn schema_call(const struct schema_command *command, schema_handler *handler,
		      struct json_t *arguments, struct json_writer *reply, struct error **errp);

#endif
