/* SPDX-License-Identifier: MIT */
/* base/log.c: levels, priorities, and one line for each message whatever it holds. */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "tests/unit/unit.h"

/* Everything written to stderr since begin_capture(). */
static char captured[8192];
static int capture_pipe[2], real_stderr;

static void begin_capture(void)
{
	ck_assert_int_eq(pipe(capture_pipe), 0);
	real_stderr = dup(STDERR_FILENO);
	dup2(capture_pipe[1], STDERR_FILENO);
	close(capture_pipe[1]);
}

static const char *end_capture(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	ssize_t n = read(capture_pipe[0], captured, sizeof(captured) - 1);
	ck_assert_int_ge(n, 0);
	captured[n] = '\0';
	close(capture_pipe[0]);
	return captured;
}

START_TEST(levels_above_the_chosen_are_silent)
{
	unsetenv("JOURNAL_STREAM");
	log_set_program("prog");
	begin_capture();
	log_error("a %d", 1);
	log_warning("b");
	log_info("c");
	log_debug("d");
	ck_assert_str_eq(end_capture(), "prog: a 1\nprog: warning: b\n");

	log_set_level(LOG_LEVEL_DEBUG);
	begin_capture();
	log_info("c");
	log_debug("d");
	ck_assert_str_eq(end_capture(), "prog: c\nprog: debug: d\n");
}
END_TEST

START_TEST(below_the_journal_lines_carry_priorities)
{
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_set_program("prog");
	begin_capture();
	log_error("a");
	log_warning("b");
	ck_assert_str_eq(end_capture(), "<3>prog: a\n<4>prog: warning: b\n");
}
END_TEST

START_TEST(a_message_cannot_forge_a_second_line)
{
	unsetenv("JOURNAL_STREAM");
	log_set_program("prog");
	begin_capture();
	log_error("name '%s'", "x\n<3>prog: fake");
	ck_assert_str_eq(end_capture(), "prog: name 'x <3>prog: fake'\n");
}
END_TEST

START_TEST(long_messages_are_cut_to_one_line)
{
	unsetenv("JOURNAL_STREAM");
	char big[5000];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (unsigned prefix = 0; prefix < 2; prefix++) {
		log_set_program(prefix ? big : "prog");
		begin_capture();
		log_error("%s", big);
		const char *out = end_capture();
		ck_assert_uint_lt(strlen(out), 1025);
		ck_assert_uint_gt(strlen(out), 1000);
		ck_assert_ptr_eq(strchr(out, '\n'), out + strlen(out) - 1);
	}
}
END_TEST

START_TEST(long_messages_keep_their_end)
{
	unsetenv("JOURNAL_STREAM");
	log_set_program("prog");
	char big[5000];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	begin_capture();
	log_error("name %s: too long", big);
	const char *out = end_capture();
	ck_assert(strncmp(out, "prog: name xxx", 14) == 0);
	ck_assert_ptr_nonnull(strstr(out, "x[...]x"));
	ck_assert_str_eq(out + strlen(out) - 14, "xxx: too long\n");
	ck_assert_uint_eq(strlen(out), 1023);
}
END_TEST

START_TEST(errno_survives_logging)
{
	begin_capture();
	errno = ENOSPC;
	log_error("x");
	ck_assert_int_eq(errno, ENOSPC);
	end_capture();
}
END_TEST

START_TEST(levels_have_names)
{
	enum log_level level;
	ck_assert_int_eq(log_level_from_name("info", &level), 0);
	ck_assert_int_eq(level, LOG_LEVEL_INFO);
	ck_assert_int_eq(log_level_from_name("error", &level), 0);
	ck_assert_int_eq(level, LOG_LEVEL_ERROR);
	ck_assert_int_eq(log_level_from_name("loud", &level), -EINVAL);
	ck_assert_int_eq(level, LOG_LEVEL_ERROR);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(levels_above_the_chosen_are_silent),
	UNIT_TEST(below_the_journal_lines_carry_priorities),
	UNIT_TEST(a_message_cannot_forge_a_second_line),
	UNIT_TEST(long_messages_are_cut_to_one_line),
	UNIT_TEST(long_messages_keep_their_end),
	UNIT_TEST(errno_survives_logging),
	UNIT_TEST(levels_have_names),
};

UNIT_MAIN("log", tests)
