/* SPDX-License-Identifier: MIT */
/*
 * The loop on libuv, for the control thread.
 *
 * libuv polls; our turn runs in a prepare handle, which is the last thing
 * before the poll. When the turn leaves work behind, an active idle handle
 * keeps libuv from sleeping; so it does while the lookout would rather look for
 * the next event than sleep. One uv_timer stands for the heap of timers, one
 * eventfd for all posts. The loop's thread only, except uv_world_interrupt().
 *
 * A uv_async would do for the posts, but libuv makes the loop wait, at first
 * without sleeping, for a sender that has woken it and lost the processor to it
 * before its call was over. With few processors that is the usual case.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/lookout.h"
#include "base/loop_internal.h"

#define NS_PER_MS UINT64_C(1000000)

struct uv_world {
	struct loop loop;
	uv_loop_t uv;
	uv_prepare_t turn;
	uv_check_t woken;
	uv_idle_t busy;
	int interrupt_fd; /* an eventfd */
	struct loop_fd *interrupt;
	uv_timer_t timer;
	uint64_t armed_ms; /* when timer expires, in uv_now(); UINT64_MAX: not armed */
	struct loop_fd *engine_fd;
	struct lookout lookout;
	struct list always_ready; /* loop_fd of files that cannot be polled, with events wanted */
};

struct loop_fd {
	uv_poll_t poll;
	struct uv_world *world;
	void (*fn)(void *arg, unsigned events);
	void *arg;
	unsigned wanted;
	unsigned polled;  /* what libuv polls for: may be more than wanted */
	uint64_t look_ns; /* how long its events are looked for at most; 0: not at all */
	bool pollable;    /* false for a regular file, which is always ready */
	bool freed;
	struct list link; /* in always_ready */
};

static const struct loop_world uv_world_ops;

static struct uv_world *world_of(struct loop *loop)
{
	assert(loop->world == &uv_world_ops);
	return container_of(loop, struct uv_world, loop);
}

static void on_timer(uv_timer_t *timer)
{
	struct uv_world *w = container_of(timer, struct uv_world, timer);
	w->armed_ms = UINT64_MAX;
	loop_run_timers(&w->loop, loop_now_ns(&w->loop));
}

/* Set the uv_timer to the first deadline, rounded up to libuv's milliseconds. */
static void arm_timer(struct uv_world *w)
{
	struct loop_timer *first = timer_heap_first(&w->loop.timers);
	uint64_t wanted_ms = first ? div_round_up(first->deadline_ns, NS_PER_MS) : UINT64_MAX;
	if (wanted_ms == w->armed_ms)
		return;

	w->armed_ms = wanted_ms;
	if (!first) {
		uv_timer_stop(&w->timer);
		return;
	}
	/* libuv's clock is ours, cut to milliseconds and read when its turn began. */
	uint64_t now_ms = uv_now(&w->uv);
	uv_timer_start(&w->timer, on_timer, wanted_ms > now_ms ? wanted_ms - now_ms : 0, 0);
}

static void serve_always_ready(struct uv_world *w)
{
	struct list now;
	list_init(&now);
	list_splice_tail(&now, &w->always_ready);

	struct loop_fd *f;
	while ((f = list_first(&now, struct loop_fd, link))) {
		list_del_init(&f->link);
		list_add_tail(&w->always_ready, &f->link);
		f->fn(f->arg, f->wanted);
	}
}

static void on_busy(uv_idle_t *busy)
{
	/* Being active is all that this handle is for. */
}

static void set_busy(struct uv_world *w, bool busy)
{
	if (busy)
		uv_idle_start(&w->busy, on_busy);
	else
		uv_idle_stop(&w->busy);
}

/* Nothing to do: whether to look again at once. A disk takes longer than looking does. */
static bool look_again(struct uv_world *w)
{
	struct aio_engine *engine = w->loop.engine;
	return !engine->ops->has_pending(engine) && lookout_waits(&w->lookout, loop_now_ns(&w->loop));
}

static void on_turn(uv_prepare_t *turn)
{
	struct uv_world *w = container_of(turn, struct uv_world, turn);

	if (!list_is_empty(&w->always_ready))
		serve_always_ready(w);
	if (loop_has_posts(&w->loop))
		lookout_calls_off(&w->lookout);
	bool busy = loop_turn(&w->loop) || !list_is_empty(&w->always_ready);
	if (w->loop.stop_requested)
		uv_stop(&w->uv);
	else if (!busy)
		busy = look_again(w) || !loop_prepare_sleep(&w->loop);
	arm_timer(w);
	set_busy(w, busy);
}

static void on_woken(uv_check_t *woken)
{
	loop_end_sleep(&container_of(woken, struct uv_world, woken)->loop);
}

/* The turn that follows takes the posts. */
static void on_interrupt(void *arg, unsigned events)
{
	struct uv_world *w = arg;
	eventfd_t count;
	(void)eventfd_read(w->interrupt_fd, &count);
}

static void uv_world_interrupt(struct loop *loop)
{
	/* It fails only when the count is at its limit, and then the loop wakes anyway. */
	(void)eventfd_write(world_of(loop)->interrupt_fd, 1);
}

static void uv_world_run(struct loop *loop)
{
	if (!loop->stop_requested)
		uv_run(&world_of(loop)->uv, UV_RUN_DEFAULT);
}

static uint64_t read_clock(clockid_t clock, uint64_t units_per_s)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * units_per_s + (uint64_t)t.tv_nsec / (1000000000 / units_per_s);
}

static uint64_t uv_world_now_ns(struct loop *loop)
{
	return read_clock(CLOCK_MONOTONIC, 1000000000);
}

static uint64_t uv_world_realtime_us(struct loop *loop)
{
	return read_clock(CLOCK_REALTIME, 1000000);
}

/* Close what libuv holds for us; the handles of others are closed already. */
static void close_uv(struct uv_world *w)
{
	uv_close((uv_handle_t *)&w->turn, NULL);
	uv_close((uv_handle_t *)&w->woken, NULL);
	uv_close((uv_handle_t *)&w->busy, NULL);
	loop_fd_free(w->interrupt);
	uv_close((uv_handle_t *)&w->timer, NULL);
	uv_run(&w->uv, UV_RUN_NOWAIT);

	int r = uv_loop_close(&w->uv);
	assert(r == 0); /* a watch or a handle of daemon/ is still open */
	close(w->interrupt_fd);
}

static void uv_world_free(struct loop *loop)
{
	struct uv_world *w = world_of(loop);

	/* The engine's fd must not be watched when it closes; its threads may interrupt until then. */
	loop_fd_free(w->engine_fd);
	loop_finish(loop);
	close_uv(w);
	free(w);
}

static const struct loop_world uv_world_ops = {
	.run = uv_world_run,
	.now_ns = uv_world_now_ns,
	.realtime_us = uv_world_realtime_us,
	.interrupt = uv_world_interrupt,
	.free = uv_world_free,
};

static void on_engine_ready(void *arg, unsigned events)
{
	struct aio_engine *engine = arg;
	engine->ops->reap(engine);
}

static int start_engine(struct uv_world *w, struct error **errp)
{
	struct aio_engine *engine;
	struct error *uring_error = NULL;
	/* For tests, and for a kernel whose io_uring misbehaves. */
	bool threads_wanted = string_equal(getenv("CAIRN_AIO_ENGINE"), "threads");

	if (threads_wanted || aio_uring_create(&w->loop, &engine, &uring_error) < 0) {
		/* A kernel or a container that refuses io_uring is no failure. */
		error_free(uring_error);
		int r = aio_worker_create(&w->loop, &engine);
		if (r < 0)
			return error_set_errno(errp, r, "Failed to start an I/O engine");
	}
	w->loop.engine = engine;

	int fd = engine->ops->fd ? engine->ops->fd(engine) : -1;
	if (fd >= 0) {
		w->engine_fd = loop_fd_new(&w->loop, fd, on_engine_ready, engine);
		loop_fd_set_events(w->engine_fd, LOOP_FD_READ);
	}
	return 0;
}

struct loop *loop_new_uv(struct error **errp)
{
	int interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (interrupt_fd < 0) {
		error_set_errno(errp, -errno, "Failed to start an event loop");
		return NULL;
	}
	struct uv_world *w = NEW(struct uv_world);
	w->interrupt_fd = interrupt_fd;
	int r = uv_loop_init(&w->uv);
	if (r < 0) {
		error_set(errp, r, "Failed to start an event loop: %s", uv_strerror(r));
		close(interrupt_fd);
		free(w);
		return NULL;
	}

	uint64_t seed = read_clock(CLOCK_REALTIME, 1000000000);
	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed ^= (uint64_t)getpid() << 32; /* early in boot; not for secrets anyway */
	loop_init(&w->loop, &uv_world_ops, seed);
	list_init(&w->always_ready);
	w->armed_ms = UINT64_MAX;

	uv_prepare_init(&w->uv, &w->turn);
	uv_check_init(&w->uv, &w->woken);
	uv_idle_init(&w->uv, &w->busy);
	uv_timer_init(&w->uv, &w->timer);
	uv_prepare_start(&w->turn, on_turn);
	uv_check_start(&w->woken, on_woken);
	w->interrupt = loop_fd_new(&w->loop, interrupt_fd, on_interrupt, w);
	loop_fd_set_events(w->interrupt, LOOP_FD_READ);

	if (start_engine(w, errp) < 0) {
		loop_free(&w->loop);
		return NULL;
	}
	return &w->loop;
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
	return loop_is_simulated(loop) ? NULL : &world_of(loop)->uv;
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Have libuv poll for exactly @events. Costs up to two system calls. */
static void poll_for(struct loop_fd *f, unsigned events)
{
	if (events == f->polled)
		return;
	f->polled = events;
	int r = events ? uv_poll_start(&f->poll, events, on_poll) : uv_poll_stop(&f->poll);
	assert(r == 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct loop_fd *f = container_of(poll, struct loop_fd, poll);

	if (status < 0) {
		/* An error on the socket: libuv has stopped; reading or writing will tell which. */
		f->polled = 0;
		events = f->wanted;
	}
	unsigned unwanted = events & ~f->wanted;
	unsigned came = events & f->wanted;
	if (came) {
		if (f->look_ns > 0)
			lookout_ends_wait(&f->world->lookout, loop_now_ns(&f->world->loop),
					  f->look_ns);
		f->fn(f->arg, came);
	}
	if (f->freed)
		return; /* libuv keeps the memory until on_closed() */
	if (unwanted || status < 0)
		poll_for(f, f->wanted);
}

struct loop_fd *loop_fd_new(struct loop *loop, int fd,
			    void (*fn)(void *arg, unsigned events), void *arg)
{
	struct uv_world *w = world_of(loop);
	assert(loop == loop_of_thread);

	struct loop_fd *f = NEW(struct loop_fd);
	f->world = w;
	f->fn = fn;
	f->arg = arg;
	list_init(&f->link);

	int r = uv_poll_init(&w->uv, &f->poll, fd);
	assert(r == 0 || r == UV_EPERM); /* else closed, or watched already */
	f->pollable = r == 0;
	return f;
}

void loop_fd_look_for(struct loop_fd *f, uint64_t most_ns)
{
	f->look_ns = most_ns;
}

/*
 * libuv takes one system call to drop a poll and another to start one, so an
 * event that is no longer wanted stays until it comes in vain. A reader that
 * waits, reads and waits again costs nothing here.
 */
void loop_fd_set_events(struct loop_fd *f, unsigned events)
{
	assert(f->world->loop.world == &uv_world_ops && &f->world->loop == loop_of_thread);
	f->wanted = events;
	if (f->pollable) {
		if (events & ~f->polled)
			poll_for(f, events);
	} else if (!events) {
		list_del_init(&f->link);
	} else if (!list_is_linked(&f->link)) {
		list_add_tail(&f->world->always_ready, &f->link);
	}
}

static void on_closed(uv_handle_t *handle)
{
	free(container_of((uv_poll_t *)handle, struct loop_fd, poll));
}

void loop_fd_free(struct loop_fd *f)
{
	if (!f)
		return;
	if (!f->pollable) {
		list_del_init(&f->link);
		free(f);
		return;
	}
	f->freed = true;
	uv_close((uv_handle_t *)&f->poll, on_closed);
}
