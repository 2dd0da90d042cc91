/* SPDX-License-Identifier: MIT */
/*
 * The log on stderr. The level and the program's name are set once by main()
 * before other threads start; writing is safe from any thread.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"

/* Longer lines are cut, so that a line stays one write(2) without allocation. */
#define LOG_LINE_MAX 1024

static const char *program = "cairn";
static enum log_level level_shown = LOG_LEVEL_WARNING;

static const struct {
	const char *name;
	const char *label;
	char priority; /* of syslog(3) */
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", "", '3'},
	[LOG_LEVEL_WARNING] = {"warning", "warning: ", '4'},
	[LOG_LEVEL_INFO] = {"info", "", '6'},
	[LOG_LEVEL_DEBUG] = {"debug", "debug: ", '7'},
};

void log_set_program(const char *name)
{
	program = name;
}

void log_set_level(enum log_level level)
{
	level_shown = level;
}

int log_level_from_name(const char *name, enum log_level *ret_level)
{
	for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*ret_level = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* How much of @line a snprintf() that answered @n has filled; the newline keeps its place. */
static size_t filled(int n)
{
	return n < 0 ? 0 : MIN((size_t)n, (size_t)LOG_LINE_MAX - 2);
}

void log_at(enum log_level level, const char *format, ...)
{
	if (level > level_shown)
		return;

	int saved_errno = errno;
	char line[LOG_LINE_MAX];
	size_t n = 0;

	if (getenv("JOURNAL_STREAM"))
		n += filled(snprintf(line, sizeof(line), "<%c>", levels[level].priority));
	n += filled(snprintf(line + n, sizeof(line) - n, "%s: %s", program, levels[level].label));
	n = MIN(n, (size_t)LOG_LINE_MAX - 2);

	va_list args;
	va_start(args, format);
	n += filled(vsnprintf(line + n, sizeof(line) - 1 - n, format, args));
	va_end(args);
	n = MIN(n, (size_t)LOG_LINE_MAX - 2);

	/* One message is one line: a newline from a file's name must not forge another. */
	for (size_t i = 0; i < n; i++)
		if (line[i] == '\n')
			line[i] = ' ';
	line[n++] = '\n';

	/* A log that cannot be written has nowhere to report that. */
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
	errno = saved_errno;
}
