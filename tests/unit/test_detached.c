/* SPDX-License-Identifier: MIT */
/* base/detached.c: results come back, and a call that hangs is left alone. */
#include "base/detached.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/util.h"
#include "tests/unit/unit.h"

static sem_t gate, done;
static atomic_int calls, releases;

static int count_call(void *arg)
{
	atomic_fetch_add(&calls, 1);
	return *(int *)arg;
}

static int wait_for_gate(void *arg)
{
	sem_wait(&gate);
	return count_call(arg);
}

static void release(void *arg)
{
	atomic_fetch_add(&releases, 1);
	*(int *)arg = 0;
	sem_post(&done);
}

static void run(co_entry *fn)
{
	sem_init(&gate, 0, 0);
	sem_init(&done, 0, 0);
	struct loop *loop = loop_new_uv(NULL);
	loop_run_coroutine(loop, fn, NULL);
	loop_free(loop);
}

static void co_fn call_twice(void *arg)
{
	int value = -5;
	ck_assert_int_eq(co_detached(count_call, &value, NULL, 0), -5);
	value = 0;
	ck_assert_int_eq(co_detached(count_call, &value, release, UINT64_C(60000000000)), 0);
	ck_assert_int_eq(atomic_load(&releases), 0);
	ck_assert_int_eq(atomic_load(&calls), 2);
}

START_TEST(results_come_back)
{
	run(call_twice);
}
END_TEST

static void co_fn abandon(void *arg)
{
	int value = 3;
	ck_assert_int_eq(co_detached(wait_for_gate, &value, release, 1000000), DETACHED_ABANDONED);
	ck_assert_int_eq(atomic_load(&releases), 0);
	sem_post(&gate);
	sem_wait(&done);
	ck_assert_int_eq(atomic_load(&calls), 1);
	ck_assert_int_eq(atomic_load(&releases), 1);
	ck_assert_int_eq(value, 0);
}

START_TEST(who_does_not_wait_gives_the_argument_away)
{
	run(abandon);
}
END_TEST

static int hung = 1;
static int exit_fd;

static void on_exit_handler(void)
{
	if (write(exit_fd, "x", 1) < 0)
		abort();
}

static void co_fn leave(void *arg)
{
	ck_assert_int_eq(co_detached(wait_for_gate, &hung, release, 1000000), DETACHED_ABANDONED);
}

START_TEST(a_hung_call_outlives_the_loop)
{
	run(leave);
	sem_post(&gate);
	sem_wait(&done);
	ck_assert_int_eq(hung, 0);
}
END_TEST

/* In a process of its own: what an exit handler has to say, and the status. */
static bool is_handled(bool hangs)
{
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	pid_t child = fork();
	if (child == 0) {
		exit_fd = fds[1];
		atexit(on_exit_handler);
		run(hangs ? leave : call_twice);
		detached_exit(7);
	}
	close(fds[1]);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 7);
	char byte;
	bool ret = read(fds[0], &byte, 1) == 1;
	close(fds[0]);
	return ret;
}

START_TEST(a_hung_call_meets_no_exit_handlers)
{
	ck_assert(is_handled(false));
	ck_assert(!is_handled(true));
}
END_TEST

#define PARALLEL 20

static void co_fn wait_too(void *arg)
{
	int value = -1;
	ck_assert_int_eq(co_detached(wait_for_gate, &value, NULL, 0), -1);
	co_group_done(arg);
}

static void co_fn run_parallel(void *arg)
{
	struct co_group group;
	co_group_init(&group);
	for (int i = 0; i < PARALLEL; i++) {
		co_group_add(&group);
		co_start(loop_current(), wait_too, &group);
	}
	/* However many hang, other blocking calls are served. */
	co_reschedule();
	int value = 9;
	ck_assert_int_eq(co_blocking(count_call, &value), 9);
	for (int i = 0; i < PARALLEL; i++)
		sem_post(&gate);
	co_group_wait(&group);
	ck_assert_int_eq(atomic_load(&calls), PARALLEL + 1);
}

START_TEST(hung_calls_hold_up_nobody)
{
	run(run_parallel);
}
END_TEST

static void co_fn run_simulated(void *arg)
{
	int value = -4;
	ck_assert_int_eq(co_detached(count_call, &value, NULL, 0), -4);
}

START_TEST(a_simulation_has_no_threads)
{
	struct loop *loop = loop_new_sim(1);
	loop_run_coroutine(loop, run_simulated, NULL);
	loop_free(loop);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(results_come_back),
	UNIT_TEST(who_does_not_wait_gives_the_argument_away),
	UNIT_TEST(a_hung_call_outlives_the_loop),
	UNIT_TEST(a_hung_call_meets_no_exit_handlers),
	UNIT_TEST(hung_calls_hold_up_nobody),
	UNIT_TEST(a_simulation_has_no_threads),
};

UNIT_MAIN("detached", tests)
