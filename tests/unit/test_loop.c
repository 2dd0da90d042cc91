/* SPDX-License-Identifier: MIT */
/* base/loop.c and loop_uv.c: turns, deferred calls, posts from threads, timers, watches. */
#include "base/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "tests/unit/unit.h"

static struct loop *new_loop(void)
{
	struct error *error = NULL;
	struct loop *loop = loop_new_uv(&error);
	ck_assert_msg(loop != NULL, "%s", error ? error->message : "no loop");
	return loop;
}

START_TEST(a_loop_belongs_to_its_thread)
{
	ck_assert_ptr_null(loop_current());
	struct loop *loop = new_loop();
	ck_assert_ptr_eq(loop_current(), loop);
	ck_assert_ptr_nonnull(loop_uv(loop));
	ck_assert_ptr_nonnull(loop_engine(loop));
	ck_assert(!loop_is_simulated(loop));
	loop_free(loop);
	ck_assert_ptr_null(loop_current());
	loop_free(new_loop());
}
END_TEST

static void co_fn nothing(void *arg)
{
}

START_TEST(running_again_after_a_stop)
{
	struct loop *loop = new_loop();
	for (int i = 0; i < 3; i++)
		loop_run_coroutine(loop, nothing, NULL);
	loop_stop(loop);
	loop_run(loop);
	loop_run_coroutine(loop, nothing, NULL);
	loop_free(loop);
}
END_TEST

static void co_fn stop_and_go_on(void *arg)
{
	loop_stop(loop_current());
	co_sleep_ns(2000000);
	*(bool *)arg = true;
}

START_TEST(a_foreign_stop_does_not_end_run_coroutine)
{
	struct loop *loop = new_loop();
	bool done = false;
	loop_run_coroutine(loop, stop_and_go_on, &done);
	ck_assert(done);
	loop_free(loop);
}
END_TEST

struct deferring {
	struct loop_deferred deferred;
	struct loop_deferred cancelled;
	unsigned calls;
	unsigned calls_seen[3];
};

static void deferred_call(struct loop_deferred *d)
{
	ck_assert_ptr_null(co_self());
	container_of(d, struct deferring, deferred)->calls++;
}

static void never_called(struct loop_deferred *d)
{
	ck_abort_msg("cancelled, but called");
}

static void co_fn defer_often(void *arg)
{
	struct deferring *d = arg;
	struct loop *loop = loop_current();
	for (unsigned i = 0; i < 3; i++) {
		loop_defer(loop, &d->deferred);
		loop_defer(loop, &d->deferred);
		loop_defer(loop, &d->cancelled);
		/* Everything ready runs before the deferred call. */
		co_reschedule();
		loop_deferred_cancel(&d->cancelled);
		d->calls_seen[i] = d->calls;
		co_sleep_ns(1);
	}
}

START_TEST(a_deferred_call_comes_once_at_the_end_of_the_turn)
{
	struct loop *loop = new_loop();
	struct deferring d = {0};
	loop_deferred_init(&d.deferred, deferred_call);
	loop_deferred_init(&d.cancelled, never_called);
	loop_run_coroutine(loop, defer_often, &d);
	ck_assert_uint_eq(d.calls, 3);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(d.calls_seen[i], i);
	loop_free(loop);
}
END_TEST

#define THREADS 4
#define POSTS 5000

struct posting {
	struct loop *loop;
	pthread_t loop_thread;
	unsigned received, last[THREADS];
	struct numbered_post {
		struct loop_post post;
		struct posting *posting;
		unsigned thread, number;
	} posts[THREADS][POSTS];
};

static void post_received(struct loop_post *post)
{
	struct numbered_post *n = container_of(post, struct numbered_post, post);
	struct posting *p = n->posting;

	ck_assert(pthread_equal(pthread_self(), p->loop_thread));
	ck_assert_uint_eq(n->number, p->last[n->thread]++); /* in the order of each sender */
	if (++p->received == THREADS * POSTS)
		loop_stop(p->loop);
}

static void *post_many(void *arg)
{
	struct numbered_post *posts = arg;
	for (unsigned i = 0; i < POSTS; i++) {
		loop_post(posts[i].posting->loop, &posts[i].post);
		if (i % 500 == 0)
			usleep(1000); /* let the loop fall asleep */
	}
	return NULL;
}

START_TEST(posts_from_threads_all_arrive)
{
	static struct posting p;
	p.loop = new_loop();
	p.loop_thread = pthread_self();
	pthread_t threads[THREADS];

	for (unsigned t = 0; t < THREADS; t++) {
		for (unsigned i = 0; i < POSTS; i++)
			p.posts[t][i] = (struct numbered_post){
				.post = {.fn = post_received}, .posting = &p, .thread = t,
				.number = i};
		pthread_create(&threads[t], NULL, post_many, p.posts[t]);
	}
	loop_run(p.loop);
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	ck_assert_uint_eq(p.received, THREADS * POSTS);
	loop_free(p.loop);
}
END_TEST

struct timing {
	struct loop_timer timers[3];
	unsigned fired;
	uint64_t late_ns;
};

static struct timing timing;

static void timer_fired(struct loop_timer *t)
{
	uint64_t now_ns = loop_now_ns(t->loop);
	ck_assert_uint_ge(now_ns, t->deadline_ns);
	ck_assert(!loop_timer_is_set(t));
	ck_assert_ptr_eq(t, &timing.timers[timing.fired]);
	timing.late_ns = MAX(timing.late_ns, now_ns - t->deadline_ns);
	if (++timing.fired == 3)
		loop_stop(t->loop);
}

START_TEST(timers_fire_in_order_and_not_too_late)
{
	struct loop *loop = new_loop();
	uint64_t now_ns = loop_now_ns(loop);
	for (unsigned i = 0; i < 3; i++)
		loop_timer_init(loop, &timing.timers[i], timer_fired);
	loop_timer_set(&timing.timers[2], now_ns + 1000000);
	loop_timer_set(&timing.timers[1], now_ns + 4000000);
	loop_timer_set(&timing.timers[0], now_ns - 1000000);
	loop_timer_set(&timing.timers[2], now_ns + 9000000); /* moved */
	loop_run(loop);
	ck_assert_uint_eq(timing.fired, 3);
	ck_assert_uint_lt(timing.late_ns, UINT64_C(20000000000));
	loop_free(loop);
}
END_TEST

static void co_fn spin_until_fired(void *arg)
{
	while (timing.fired == 0)
		co_reschedule();
}

static void first_fired(struct loop_timer *t)
{
	timing.fired++;
}

START_TEST(a_ready_list_that_refills_does_not_starve_timers)
{
	struct loop *loop = new_loop();
	loop_timer_init(loop, &timing.timers[0], first_fired);
	loop_timer_set(&timing.timers[0], loop_now_ns(loop) + 5000000);
	loop_run_coroutine(loop, spin_until_fired, NULL);
	ck_assert_uint_eq(timing.fired, 1);
	loop_free(loop);
}
END_TEST

static void on_signal(uv_signal_t *handle, int number)
{
	timing.fired++;
}

START_TEST(a_ready_list_that_refills_does_not_starve_signals)
{
	struct loop *loop = new_loop();
	uv_signal_t handle;
	uv_signal_init(loop_uv(loop), &handle);
	uv_signal_start(&handle, on_signal, SIGUSR1);
	kill(getpid(), SIGUSR1);
	loop_run_coroutine(loop, spin_until_fired, NULL);
	uv_close((uv_handle_t *)&handle, NULL);
	loop_free(loop);
}
END_TEST

struct watching {
	struct loop *loop;
	int fds[2];
	struct loop_fd *watch;
	unsigned calls, writable_calls, quota;
};

static void start_watching(struct watching *w, void (*fn)(void *arg, unsigned events))
{
	*w = (struct watching){.loop = new_loop()};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, w->fds), 0);
	w->watch = loop_fd_new(w->loop, w->fds[0], fn, w);
}

static void stop_watching(struct watching *w)
{
	loop_fd_free(w->watch);
	close(w->fds[0]);
	close(w->fds[1]);
	loop_free(w->loop);
}

/* Takes one byte of several: level-triggered, the rest is reported again. */
static void read_one(void *arg, unsigned events)
{
	struct watching *w = arg;
	char c;
	ck_assert_uint_eq(events, LOOP_FD_READ);
	ck_assert_int_eq(read(w->fds[0], &c, 1), 1);
	if (++w->calls == 3)
		loop_stop(w->loop);
}

START_TEST(a_watch_is_level_triggered)
{
	struct watching w;
	start_watching(&w, read_one);
	ck_assert_int_eq(write(w.fds[1], "abc", 3), 3);
	loop_fd_set_events(w.watch, LOOP_FD_READ);
	loop_run(w.loop);
	ck_assert_uint_eq(w.calls, 3);
	stop_watching(&w);
}
END_TEST

static void count_events(void *arg, unsigned events)
{
	struct watching *w = arg;
	if (events & LOOP_FD_READ)
		w->calls++;
	if (events & LOOP_FD_WRITE)
		w->writable_calls++;
	if (w->calls + w->writable_calls >= w->quota)
		loop_fd_set_events(w->watch, 0);
}

static void co_fn change_masks(void *arg)
{
	struct watching *w = arg;
	co_sleep_ns(3000000);
	ck_assert_uint_eq(w->calls, 0); /* nothing is asked for yet */

	w->quota = 2;
	loop_fd_set_events(w->watch, LOOP_FD_READ);
	co_sleep_ns(3000000);
	ck_assert_uint_eq(w->calls, 2);
	ck_assert_uint_eq(w->writable_calls, 0);

	w->quota = 3;
	loop_fd_set_events(w->watch, LOOP_FD_WRITE);
	co_sleep_ns(3000000);
	ck_assert_uint_eq(w->calls, 2);
	ck_assert_uint_eq(w->writable_calls, 1);

	w->quota = 5;
	loop_fd_set_events(w->watch, LOOP_FD_READ | LOOP_FD_WRITE);
	co_sleep_ns(3000000);
	ck_assert_uint_eq(w->calls, 3);
	ck_assert_uint_eq(w->writable_calls, 2);
}

START_TEST(only_the_events_asked_for_are_reported)
{
	struct watching w;
	start_watching(&w, count_events);
	ck_assert_int_eq(write(w.fds[1], "abc", 3), 3);
	loop_run_coroutine(w.loop, change_masks, &w);
	stop_watching(&w);
}
END_TEST

static void free_watch(void *arg, unsigned events)
{
	struct watching *w = arg;
	w->calls++;
	loop_fd_free(w->watch);
	w->watch = NULL;
	/* The number may be used again at once. */
	close(w->fds[0]);
	w->fds[0] = eventfd(1, EFD_NONBLOCK);
	w->watch = loop_fd_new(w->loop, w->fds[0], count_events, w);
	w->quota = w->calls + 1;
	loop_fd_set_events(w->watch, LOOP_FD_READ);
}

static void co_fn wait_for_two_calls(void *arg)
{
	struct watching *w = arg;
	while (w->calls < 2)
		co_sleep_ns(1000000);
}

START_TEST(a_watch_may_free_itself)
{
	struct watching w;
	start_watching(&w, free_watch);
	ck_assert_int_eq(write(w.fds[1], "abc", 3), 3);
	loop_fd_set_events(w.watch, LOOP_FD_READ);
	loop_run_coroutine(w.loop, wait_for_two_calls, &w);
	stop_watching(&w);
}
END_TEST

static void read_end(void *arg, unsigned events)
{
	struct watching *w = arg;
	char c;
	ck_assert_int_eq(read(w->fds[0], &c, 1), 0);
	w->calls++;
	loop_fd_set_events(w->watch, 0);
	loop_stop(w->loop);
}

START_TEST(the_end_of_a_stream_is_readable)
{
	struct watching w;
	start_watching(&w, read_end);
	loop_fd_set_events(w.watch, LOOP_FD_READ);
	shutdown(w.fds[1], SHUT_RDWR);
	loop_run(w.loop);
	ck_assert_uint_eq(w.calls, 1);
	stop_watching(&w);
}
END_TEST

static void write_broken(void *arg, unsigned events)
{
	struct watching *w = arg;
	ck_assert_uint_eq(events, LOOP_FD_WRITE);
	ck_assert_int_eq(write(w->fds[0], "x", 1), -1);
	if (++w->calls == 3)
		loop_stop(w->loop);
}

START_TEST(an_error_is_reported_for_as_long_as_it_is_watched)
{
	struct watching w;
	int pipe_fds[2];
	start_watching(&w, write_broken);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe2(pipe_fds, O_NONBLOCK), 0);
	loop_fd_free(w.watch);
	close(w.fds[0]);
	w.fds[0] = pipe_fds[1];
	w.watch = loop_fd_new(w.loop, w.fds[0], write_broken, &w);
	loop_fd_set_events(w.watch, LOOP_FD_WRITE);
	close(pipe_fds[0]); /* EPOLLERR on the writing end */
	loop_run(w.loop);
	ck_assert_uint_ge(w.calls, 3);
	stop_watching(&w);
}
END_TEST

static void read_file(void *arg, unsigned events)
{
	struct watching *w = arg;
	ck_assert_uint_eq(events, LOOP_FD_READ);
	if (++w->calls == 5)
		loop_fd_set_events(w->watch, 0);
}

static void co_fn sleep_20_ms(void *arg)
{
	co_sleep_ns(20000000);
}

START_TEST(a_regular_file_is_always_ready)
{
	struct watching w;
	start_watching(&w, read_file);
	loop_fd_free(w.watch);
	close(w.fds[0]);
	w.fds[0] = open("/proc/self/exe", O_RDONLY);
	w.watch = loop_fd_new(w.loop, w.fds[0], read_file, &w);
	loop_run_coroutine(w.loop, sleep_20_ms, NULL);
	ck_assert_uint_eq(w.calls, 0);
	loop_fd_set_events(w.watch, LOOP_FD_READ);
	loop_run_coroutine(w.loop, sleep_20_ms, NULL);
	ck_assert_uint_eq(w.calls, 5);
	stop_watching(&w);
}
END_TEST

START_TEST(clocks_and_randomness)
{
	struct loop *loop = new_loop();
	uint64_t a = loop_now_ns(loop), b = loop_now_ns(loop);
	ck_assert_uint_ge(b, a);
	ck_assert_uint_gt(loop_realtime_us(loop), UINT64_C(1600000000000000));
	ck_assert_uint_ne(loop_random(loop), loop_random(loop));
	loop_free(loop);
}
END_TEST

START_TEST(freeing_a_loop_with_an_open_watch_aborts)
{
	struct watching w;
	start_watching(&w, count_events);
	loop_free(w.loop);
}
END_TEST

START_TEST(an_idle_loop_does_not_spin)
{
	struct loop *loop = new_loop();
	clock_t begin = clock();
	for (int i = 0; i < 10; i++)
		loop_run_coroutine(loop, sleep_20_ms, NULL);
	/* 200 ms of sleep; spinning would burn as much of the processor. */
	ck_assert_int_lt(clock() - begin, CLOCKS_PER_SEC / 10);
	loop_free(loop);
}
END_TEST

#define PINGS 500u

/* The other end: as soon as one byte is back it sends the next. */
static void *ping(void *arg)
{
	int fd = *(int *)arg;
	char c = 0;
	for (unsigned i = 0; i < PINGS; i++) {
		if (send(fd, &c, 1, 0) != 1 || recv(fd, &c, 1, 0) != 1)
			return arg;
	}
	return NULL;
}

static void pong(void *arg, unsigned events)
{
	struct watching *w = arg;
	char c;
	ck_assert_int_eq(read(w->fds[0], &c, 1), 1);
	ck_assert_int_eq(write(w->fds[0], &c, 1), 1);
	if (++w->calls == PINGS)
		loop_stop(w->loop);
}

static void count_turn(uv_prepare_t *turn)
{
	++*(unsigned *)turn->data;
}

/* How many turns the pings took. */
static unsigned turns_of_pings(uint64_t look_ns)
{
	struct watching w;
	start_watching(&w, pong);
	loop_fd_look_for(w.watch, look_ns);
	loop_fd_set_events(w.watch, LOOP_FD_READ);
	ck_assert_int_eq(fcntl(w.fds[1], F_SETFL, 0), 0);

	unsigned turns = 0;
	uv_prepare_t turn = {.data = &turns};
	uv_prepare_init(loop_uv(w.loop), &turn);
	uv_prepare_start(&turn, count_turn);
	pthread_t thread;
	void *failure;
	ck_assert_int_eq(pthread_create(&thread, NULL, ping, &w.fds[1]), 0);
	loop_run(w.loop);
	ck_assert_int_eq(pthread_join(thread, &failure), 0);
	ck_assert_ptr_null(failure);
	uv_close((uv_handle_t *)&turn, NULL);
	stop_watching(&w);
	return turns;
}

START_TEST(what_is_not_looked_for_is_slept_for)
{
	/* Each turn but the last ends with an event then, however short the waits are. */
	ck_assert_uint_le(turns_of_pings(0), PINGS + 2);
	/* Whether looking pays depends on the machine; it must lose nothing. */
	ck_assert_uint_ge(turns_of_pings(UINT64_MAX), PINGS);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(a_loop_belongs_to_its_thread),
	UNIT_TEST(running_again_after_a_stop),
	UNIT_TEST(a_foreign_stop_does_not_end_run_coroutine),
	UNIT_TEST(a_deferred_call_comes_once_at_the_end_of_the_turn),
	UNIT_TEST(posts_from_threads_all_arrive),
	UNIT_TEST(timers_fire_in_order_and_not_too_late),
	UNIT_TEST(a_ready_list_that_refills_does_not_starve_timers),
	UNIT_TEST(a_ready_list_that_refills_does_not_starve_signals),
	UNIT_TEST(a_watch_is_level_triggered),
	UNIT_TEST(only_the_events_asked_for_are_reported),
	UNIT_TEST(a_watch_may_free_itself),
	UNIT_TEST(the_end_of_a_stream_is_readable),
	UNIT_TEST(an_error_is_reported_for_as_long_as_it_is_watched),
	UNIT_TEST(a_regular_file_is_always_ready),
	UNIT_TEST(clocks_and_randomness),
	UNIT_TEST_ABORTS(freeing_a_loop_with_an_open_watch_aborts),
	UNIT_TEST(an_idle_loop_does_not_spin),
	UNIT_TEST(what_is_not_looked_for_is_slept_for),
};

UNIT_MAIN("loop", tests)
