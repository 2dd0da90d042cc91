/* SPDX-License-Identifier: MIT */
/*
 * base/coroutine.c and the switch below it. Built twice: with the machine's
 * assembly, and with ucontext as the reference.
 */
#include "base/coroutine.h"

#include <fenv.h>
#include <float.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/coroutine_internal.h"
#include "base/loop_internal.h"
#include "tests/unit/unit.h"

/* Runs each test once in each world. */
static struct loop *new_loop(bool simulated)
{
	struct error *error = NULL;
	struct loop *loop = simulated ? loop_new_sim(1) : loop_new_uv(&error);
	ck_assert_msg(loop != NULL, "%s", error ? error->message : "no loop");
	return loop;
}

struct counting {
	unsigned started, ended;
};

static void co_fn count(void *arg)
{
	struct counting *c = arg;
	c->started++;
	co_reschedule();
	c->ended++;
}

static void co_fn start_many(void *arg)
{
	struct counting *c = arg;
	for (unsigned i = 0; i < 1000; i++)
		co_start(loop_current(), count, c);
	ck_assert_uint_eq(c->started, 0); /* starting runs nobody */
	while (c->ended < 1000)
		co_reschedule();
}

START_TEST(many_start_suspend_and_end)
{
	for (int simulated = 0; simulated < 2; simulated++) {
		struct loop *loop = new_loop(simulated);
		struct counting c = {0};
		loop_run_coroutine(loop, start_many, &c);
		ck_assert_uint_eq(c.started, 1000);
		loop_free(loop);
	}
}
END_TEST

static void co_fn rest(void *arg)
{
	co_sleep_ns(UINT64_C(1500000000));
}

START_TEST(stacks_of_a_burst_are_given_back)
{
	struct loop *loop = new_loop(false);
	struct counting c = {0};
	loop_run_coroutine(loop, start_many, &c);
	ck_assert_uint_gt(loop->coroutines.count, 1000);
	loop_run_coroutine(loop, rest, NULL);
	/* The one that rested was not idle. */
	ck_assert_uint_le(loop->coroutines.count, CO_POOL_IDLE_KEPT + 1);
	ck_assert_uint_eq(loop->coroutines.count, loop->coroutines.idle_count);
	loop_free(loop);
}
END_TEST

static void co_fn start_sequence(void *arg)
{
	struct counting *c = arg;
	for (unsigned i = 0; i < 1000; i++) {
		co_start(loop_current(), count, c);
		while (c->ended <= i)
			co_reschedule();
	}
}

START_TEST(one_after_the_other_reuses_a_stack)
{
	struct loop *loop = new_loop(false);
	struct counting c = {0};
	loop_run_coroutine(loop, start_sequence, &c);
	ck_assert_uint_eq(c.ended, 1000);
	ck_assert_uint_le(loop->coroutines.count, 3);
	loop_free(loop);
}
END_TEST

struct order {
	char trace[64];
	unsigned length;
	struct coroutine *sleeper;
};

static void note(struct order *o, char c)
{
	o->trace[o->length++] = c;
}

static void co_fn sleeper(void *arg)
{
	struct order *o = arg;
	note(o, 'b');
	co_yield();
	note(o, 'e');
}

static void co_fn waker(void *arg)
{
	struct order *o = arg;
	ck_assert_ptr_nonnull(co_self());
	note(o, 'a');
	o->sleeper = co_start(loop_current(), sleeper, o);
	co_reschedule();
	note(o, 'c');
	co_wake(o->sleeper);
	note(o, 'd'); /* a wake only queues */
	co_reschedule();
	note(o, 'f');
}

START_TEST(a_wake_queues_behind_the_waker)
{
	struct loop *loop = new_loop(false);
	struct order o = {0};
	ck_assert_ptr_null(co_self());
	loop_run_coroutine(loop, waker, &o);
	ck_assert_str_eq(o.trace, "abcdef");
	ck_assert_ptr_null(co_self());
	loop_free(loop);
}
END_TEST

/* Fills the callee-saved registers with values that differ for each coroutine, across switches. */
static uint64_t co_fn __attribute__((noinline)) mix(uint64_t a, unsigned depth)
{
	uint64_t b = a * 3, c = a ^ 0x5555, d = a + 77, e = ~a, f = a << 7, g = a >> 9;
	double x = a / 3.0, y = a * 1.5;
	if (depth > 0)
		a = mix(a + 1, depth - 1);
	co_reschedule();
	b += c * d;
	co_reschedule();
	return (a ^ b ^ e) + (f ^ g) + (uint64_t)(x * 2 + y) + c + d;
}

static uint64_t __attribute__((noinline)) mix_plain(uint64_t a, unsigned depth)
{
	uint64_t b = a * 3, c = a ^ 0x5555, d = a + 77, e = ~a, f = a << 7, g = a >> 9;
	double x = a / 3.0, y = a * 1.5;
	if (depth > 0)
		a = mix_plain(a + 1, depth - 1);
	b += c * d;
	return (a ^ b ^ e) + (f ^ g) + (uint64_t)(x * 2 + y) + c + d;
}

struct mixing {
	uint64_t seed, result;
	unsigned *left;
};

static void co_fn mix_entry(void *arg)
{
	struct mixing *m = arg;
	m->result = mix(m->seed, 20);
	--*m->left;
}

static void co_fn mix_all(void *arg)
{
	struct mixing *m = arg;
	unsigned left = 50;
	for (unsigned i = 0; i < 50; i++) {
		m[i] = (struct mixing){.seed = i * UINT64_C(0x12345677), .left = &left};
		co_start(loop_current(), mix_entry, &m[i]);
	}
	while (left > 0)
		co_reschedule();
}

START_TEST(registers_survive_switches)
{
	for (int simulated = 0; simulated < 2; simulated++) {
		struct loop *loop = new_loop(simulated);
		struct mixing m[50];
		loop_run_coroutine(loop, mix_all, m);
		for (unsigned i = 0; i < 50; i++)
			ck_assert_uint_eq(m[i].result, mix_plain(m[i].seed, 20));
		loop_free(loop);
	}
}
END_TEST

static void co_fn check_alignment(void *arg)
{
	/* The compiler may move these with aligned vector instructions. */
	struct {
		_Alignas(16) volatile char bytes[64];
	} a = {{1}}, b;
	b = a;
	char text[64];
	snprintf(text, sizeof(text), "%.3f %d", 0.125, b.bytes[0]);
	ck_assert_str_eq(text, "0.125 1");
	ck_assert_uint_eq((uintptr_t)&b % 16, 0);
	ck_assert_uint_eq((uintptr_t)__builtin_frame_address(0) % 16, 0);
}

START_TEST(stacks_are_aligned)
{
	struct loop *loop = new_loop(false);
	loop_run_coroutine(loop, check_alignment, NULL);
	loop_free(loop);
}
END_TEST

#ifndef CO_UCONTEXT
static void co_fn set_rounding(void *arg)
{
	fesetround(FE_UPWARD);
}

START_TEST(the_rounding_mode_belongs_to_the_thread)
{
	struct loop *loop = new_loop(false);
	loop_run_coroutine(loop, set_rounding, NULL);
	ck_assert_int_eq(fegetround(), FE_UPWARD);
	fesetround(FE_TONEAREST);
	loop_free(loop);
}
END_TEST
#endif

static void co_fn use_stack(void *arg)
{
	/* Most of the stack is there to be used. */
	volatile char big[48 * 1024];
	for (size_t i = 0; i < sizeof(big); i += 512)
		big[i] = 1;
	co_reschedule();
	ck_assert_int_eq(big[512], 1);
}

START_TEST(forty_eight_kib_of_stack_are_usable)
{
	struct loop *loop = new_loop(false);
	loop_run_coroutine(loop, use_stack, NULL);
	loop_free(loop);
}
END_TEST

#if !defined(CO_ASAN) && !defined(CO_TSAN) /* they would catch the signal first */
static void co_fn overrun(void *arg)
{
	/* One write below the stack, as a frame that is too large would do. */
	volatile char *guard = loop_current()->current->mapping + 100;
	*guard = 1;
}

START_TEST(beyond_the_stack_is_a_guard_page)
{
	loop_run_coroutine(new_loop(false), overrun, NULL);
}
END_TEST
#endif

static jmp_buf escape;
static bool may_escape;

static void co_fn __attribute__((noinline)) throw_far(unsigned depth)
{
	co_reschedule();
	if (depth > 0)
		throw_far(depth - 1);
	else if (may_escape)
		longjmp(escape, 1);
}

static void co_fn jump_within(void *arg)
{
	may_escape = true;
	if (setjmp(escape) == 0)
		throw_far(10);
	*(bool *)arg = true;
}

START_TEST(a_long_jump_inside_one_stack_works)
{
	struct loop *loop = new_loop(false);
	bool done = false;
	loop_run_coroutine(loop, jump_within, &done);
	ck_assert(done);
	loop_free(loop);
}
END_TEST

static void co_fn sleep_a_bit(void *arg)
{
	struct loop *loop = loop_current();
	uint64_t begin_ns = loop_now_ns(loop);
	co_sleep_ns(3000000);
	uint64_t slept_ns = loop_now_ns(loop) - begin_ns;
	ck_assert_uint_ge(slept_ns, 3000000);
	if (loop_is_simulated(loop))
		ck_assert_uint_eq(slept_ns, 3000000);
	co_sleep_ns(0);
}

START_TEST(sleep_lasts_at_least_as_asked)
{
	for (int simulated = 0; simulated < 2; simulated++) {
		struct loop *loop = new_loop(simulated);
		loop_run_coroutine(loop, sleep_a_bit, NULL);
		loop_free(loop);
	}
}
END_TEST

struct blocking {
	pthread_t thread;
	int answer;
	unsigned *left;
};

static int block(void *arg)
{
	struct blocking *b = arg;
	b->thread = pthread_self();
	usleep(1000);
	return b->answer;
}

static void co_fn call_blocking(void *arg)
{
	struct blocking *b = arg;
	ck_assert_int_eq(co_blocking(block, b), b->answer);
	if (loop_is_simulated(loop_current()))
		ck_assert(pthread_equal(b->thread, pthread_self()));
	else
		ck_assert(!pthread_equal(b->thread, pthread_self()));
	--*b->left;
}

static void co_fn call_all_blocking(void *arg)
{
	struct blocking b[40];
	unsigned left = ARRAY_SIZE(b);
	for (unsigned i = 0; i < ARRAY_SIZE(b); i++) {
		b[i] = (struct blocking){.answer = -(int)i, .left = &left};
		co_start(loop_current(), call_blocking, &b[i]);
	}
	while (left > 0)
		co_sleep_ns(500000);
}

START_TEST(blocking_calls_run_elsewhere_and_answer)
{
	for (int simulated = 0; simulated < 2; simulated++) {
		struct loop *loop = new_loop(simulated);
		loop_run_coroutine(loop, call_all_blocking, NULL);
		loop_free(loop);
	}
}
END_TEST

static void co_fn wake_self(void *arg)
{
	co_wake(co_self());
}

START_TEST(waking_the_running_coroutine_aborts)
{
	loop_run_coroutine(new_loop(false), wake_self, NULL);
}
END_TEST

static void co_fn only_yield(void *arg)
{
	co_yield();
}

static void co_fn wake_twice(void *arg)
{
	struct coroutine *co = co_start(loop_current(), only_yield, NULL);
	co_reschedule();
	co_wake(co);
	co_wake(co);
}

START_TEST(waking_twice_aborts)
{
	loop_run_coroutine(new_loop(false), wake_twice, NULL);
}
END_TEST

static void *wake_from_thread(void *co)
{
	co_wake(co);
	return NULL;
}

static void co_fn wake_elsewhere(void *arg)
{
	struct coroutine *co = co_start(loop_current(), only_yield, NULL);
	co_reschedule();
	pthread_t thread;
	pthread_create(&thread, NULL, wake_from_thread, co);
	pthread_join(thread, NULL);
}

START_TEST(waking_from_another_thread_aborts)
{
	loop_run_coroutine(new_loop(false), wake_elsewhere, NULL);
}
END_TEST

static void co_fn wait_in_queue(void *arg)
{
	co_queue_wait(arg);
}

static void co_fn wake_past_queue(void *arg)
{
	struct co_queue q;
	co_queue_init(&q);
	struct coroutine *co = co_start(loop_current(), wait_in_queue, &q);
	co_reschedule();
	co_wake(co);
}

START_TEST(waking_past_the_queue_aborts)
{
	loop_run_coroutine(new_loop(false), wake_past_queue, NULL);
}
END_TEST

START_TEST(yield_outside_a_coroutine_aborts)
{
	new_loop(false);
	co_yield();
}
END_TEST

static void co_fn leave_one_behind(void *arg)
{
	co_start(loop_current(), only_yield, NULL);
	co_reschedule();
}

START_TEST(freeing_a_loop_with_a_live_coroutine_aborts)
{
	struct loop *loop = new_loop(false);
	loop_run_coroutine(loop, leave_one_behind, NULL);
	loop_free(loop);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(many_start_suspend_and_end),
	UNIT_TEST(stacks_of_a_burst_are_given_back),
	UNIT_TEST(one_after_the_other_reuses_a_stack),
	UNIT_TEST(a_wake_queues_behind_the_waker),
	UNIT_TEST(registers_survive_switches),
	UNIT_TEST(stacks_are_aligned),
#ifndef CO_UCONTEXT
	UNIT_TEST(the_rounding_mode_belongs_to_the_thread),
#endif
	UNIT_TEST(forty_eight_kib_of_stack_are_usable),
#if !defined(CO_ASAN) && !defined(CO_TSAN)
	{"beyond_the_stack_is_a_guard_page", &beyond_the_stack_is_a_guard_page, SIGSEGV},
#endif
	UNIT_TEST(a_long_jump_inside_one_stack_works),
	UNIT_TEST(sleep_lasts_at_least_as_asked),
	UNIT_TEST(blocking_calls_run_elsewhere_and_answer),
	UNIT_TEST_ABORTS(waking_the_running_coroutine_aborts),
	UNIT_TEST_ABORTS(waking_twice_aborts),
	UNIT_TEST_ABORTS(waking_from_another_thread_aborts),
	UNIT_TEST_ABORTS(waking_past_the_queue_aborts),
	UNIT_TEST_ABORTS(yield_outside_a_coroutine_aborts),
	UNIT_TEST_ABORTS(freeing_a_loop_with_a_live_coroutine_aborts),
};

UNIT_MAIN("coroutine", tests)
