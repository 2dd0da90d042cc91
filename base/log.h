/* SPDX-License-Identifier: MIT */
/*
 * The log on stderr, with levels.
 *
 * Only daemon/ and tools/ log above debug level; code below returns errors.
 * Thread-safe. A line is written with one write(2). Below systemd
 * (JOURNAL_STREAM set) lines carry the <N> priority prefix.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* The name before each line; must stay valid. */
void log_set_program(const char *name);
/* Default: warnings and errors. */
void log_set_level(enum log_level level);
/* Returns 0, or -EINVAL for an unknown name ("error", "warning", "info", "debug"). */
int log_level_from_name(const char *name, enum log_level *ret_level);

void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
