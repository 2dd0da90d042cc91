/* SPDX-License-Identifier: MIT */
/*
 * Errors. Everything here is free of state and may run on any thread.
 */
#include "base/error.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static int set_message(struct error **errp, enum error_class class, int code, char *message)
{
	assert(!*errp);
	struct error *e = NEW(struct error);
	*e = (struct error){.code = code, .class = class, .message = message};
	*errp = e;
	return code;
}

int error_set(struct error **errp, int code, const char *format, ...)
{
	assert(code < 0);
	if (!errp)
		return code;

	va_list args;
	va_start(args, format);
	char *message = xvasprintf(format, args);
	va_end(args);
	return set_message(errp, ERROR_GENERIC, code, message);
}

int error_set_class(struct error **errp, enum error_class class, int code, const char *format, ...)
{
	assert(code < 0);
	if (!errp)
		return code;

	va_list args;
	va_start(args, format);
	char *message = xvasprintf(format, args);
	va_end(args);
	return set_message(errp, class, code, message);
}

int error_set_errno(struct error **errp, int code, const char *format, ...)
{
	assert(code < 0);
	if (!errp)
		return code;

	va_list args;
	va_start(args, format);
	char *message = xvasprintf(format, args);
	va_end(args);

	/* The GNU strerror_r(): safe against other threads, unlike strerror(). */
	char storage[128];
	const char *reason = strerror_r(-code, storage, sizeof(storage));
	char *whole = xasprintf("%s: %s", message, reason);
	free(message);
	return set_message(errp, ERROR_GENERIC, code, whole);
}

void error_prefix(struct error **errp, const char *format, ...)
{
	if (!errp || !*errp)
		return;

	va_list args;
	va_start(args, format);
	char *prefix = xvasprintf(format, args);
	va_end(args);

	char *whole = xasprintf("%s%s", prefix, (*errp)->message);
	free(prefix);
	free((*errp)->message);
	(*errp)->message = whole;
}

void error_hint(struct error **errp, const char *format, ...)
{
	if (!errp || !*errp)
		return;

	va_list args;
	va_start(args, format);
	char *line = xvasprintf(format, args);
	va_end(args);

	/* A newline from a file's name must not forge another line. */
	for (char *c = line; *c; c++)
		if (*c == '\n')
			*c = ' ';
	char *old = (*errp)->hint;
	(*errp)->hint = xasprintf("%s%s\n", old ? old : "", line);
	free(line);
	free(old);
}

void error_detail(struct error **errp, const char *format, ...)
{
	if (!errp || !*errp)
		return;

	assert(!(*errp)->detail);
	va_list args;
	va_start(args, format);
	(*errp)->detail = xvasprintf(format, args);
	va_end(args);
	error_hint(errp, "%s", (*errp)->detail);
}

char *error_text(const struct error *error)
{
	if (!error->hint)
		return xstrdup(error->message);
	return xasprintf("%s\n%.*s", error->message, (int)strlen(error->hint) - 1, error->hint);
}

int error_move(struct error **errp, struct error *src)
{
	int code = src->code;
	if (!errp) {
		error_free(src);
		return code;
	}
	assert(!*errp);
	*errp = src;
	return code;
}

void error_free(struct error *error)
{
	if (!error)
		return;
	free(error->message);
	free(error->hint);
	free(error->detail);
	free(error);
}

const char *error_class_name(enum error_class class)
{
	static const char *const names[] = {
		[ERROR_GENERIC] = "GenericError",
		[ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
		[ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
		[ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound",
	};
	assert(class < ARRAY_SIZE(names));
	return names[class];
}
