/* SPDX-License-Identifier: MIT */
/*
 * What every unit test needs around Check: a main() from a table of tests.
 *
 * Each test runs in a process of its own (unless CK_FORK=no), so that a test
 * may expect an assertion to fire. With an argument only tests whose name
 * contains it are run.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * Each assertion that holds writes its place to Check's parent process, which names the last one when
 * the test crashes. For assertions in loops that takes far longer than the test: a place is told once.
 */
static inline void unit_mark_point(const char *file, int line)
{
	static bool is_told[4096]; /* by line; other files have their own */
	bool *place = &is_told[(unsigned)line % 4096];
	if (!__atomic_exchange_n(place, true, __ATOMIC_RELAXED))
		_mark_point(file, line);
}
#define _mark_point unit_mark_point

struct unit_test {
	const char *name;
	const TTest **test; /* as START_TEST() defines it */
	int expected_signal; /* 0: must return; SIGABRT: must fail an assertion */
};

#define UNIT_TEST(fn) {#fn, &fn, 0}
#define UNIT_TEST_ABORTS(fn) {#fn, &fn, SIGABRT}

static inline int unit_main(const char *name, const struct unit_test *tests, unsigned count,
			    int argc, char **argv)
{
	Suite *suite = suite_create(name);
	SRunner *runner = srunner_create(suite);
	bool forks = srunner_fork_status(runner) == CK_FORK;

	for (unsigned i = 0; i < count; i++) {
		if (argc > 1 && !strstr(tests[i].name, argv[1]))
			continue;
		if (tests[i].expected_signal != 0 && !forks)
			continue;
		TCase *tcase = tcase_create(tests[i].name);
		tcase_set_timeout(tcase, 60);
		if (tests[i].expected_signal != 0)
			tcase_add_test_raise_signal(tcase, *tests[i].test, tests[i].expected_signal);
		else
			tcase_add_test(tcase, *tests[i].test);
		suite_add_tcase(suite, tcase);
	}
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_MAIN(name, tests)                                                                     \
	int main(int argc, char **argv)                                                            \
	{                                                                                          \
		return unit_main(name, tests, sizeof(tests) / sizeof((tests)[0]), argc, argv);     \
	}

#endif
