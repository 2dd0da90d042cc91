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

/* Longer lines are shortened. */
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

/*
 * Of a text of @length bytes that does not fit in @room, which is filled with its
 * begin, show the end as well: there stands the reason.
 */
static void __attribute__((format(printf, 4, 0)))
leave_out_middle(char *begin, size_t room, size_t length, const char *format, va_list args)
{
	static const char gap[] = "[...]";
	char *whole = room > 2 * sizeof(gap) ? malloc(length + 1) : NULL;
	if (!whole)
		return;
	vsnprintf(whole, length + 1, format, args);
	size_t kept = room / 2;
	memcpy(begin + kept, gap, strlen(gap));
	kept += strlen(gap);
	memcpy(begin + kept, whole + length - (room - kept), room - kept);
	free(whole);
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

	va_list args, again;
	va_start(args, format);
	va_copy(again, args);
	size_t room = LOG_LINE_MAX - 2 - n;
	int length = vsnprintf(line + n, room + 1, format, args);
	if (length > 0 && (size_t)length > room)
		leave_out_middle(line + n, room, (size_t)length, format, again);
	n += length < 0 ? 0 : MIN((size_t)length, room);
	va_end(again);
	va_end(args);

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
