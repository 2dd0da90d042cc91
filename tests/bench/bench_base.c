/* SPDX-License-Identifier: MIT */
/*
 * What the loop and the coroutines cost, in nanoseconds per operation.
 *
 * Prints one line per operation: its name, the best of several rounds and their
 * median. With an argument, only operations whose name contains it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/socket.h"

#define ROUNDS 7

struct operation {
	const char *name;
	uint64_t (*run)(uint64_t *ret_count); /* the nanoseconds that *ret_count took */
};

static struct loop *loop;

struct turns {
	unsigned left;
	struct co_group group;
};

static void co_fn take_turns(void *arg)
{
	struct turns *t = arg;
	while (t->left > 0) {
		t->left--;
		co_reschedule();
	}
	co_group_done(&t->group);
}

static void co_fn take_turns_together(void *arg)
{
	struct turns t = {.left = *(uint64_t *)arg};
	co_group_init(&t.group);
	for (unsigned i = 0; i < 2; i++) {
		co_group_add(&t.group);
		co_start(loop, take_turns, &t);
	}
	co_group_wait(&t.group);
}

/* Two coroutines take turns: one time through the ready list and two switches each. */
static uint64_t run_reschedule(uint64_t *ret_count)
{
	*ret_count = 4000000;
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run_coroutine(loop, take_turns_together, ret_count);
	return loop_now_ns(loop) - begin_ns;
}

static void co_fn end_at_once(void *arg)
{
	++*(uint64_t *)arg;
}

/* As many coroutines as a batch of requests: start, run, end. */
static void co_fn start_batches(void *arg)
{
	uint64_t ended = 0;
	for (unsigned i = 0; i < 30000; i++) {
		for (unsigned n = 0; n < 64; n++)
			co_start(loop, end_at_once, &ended);
		co_reschedule();
	}
	*(uint64_t *)arg = ended;
}

static uint64_t run_start(uint64_t *ret_count)
{
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run_coroutine(loop, start_batches, ret_count);
	return loop_now_ns(loop) - begin_ns;
}

struct request {
	struct coroutine *co;
	uint64_t ended;
};

#define DEPTH 64
static struct request requests[DEPTH];

static void co_fn serve(void *arg)
{
	struct request *r = arg;
	r->co = co_self();
	co_yield();
	r->ended++;
}

/* A request that waits once, as for a completion: start, suspend, wake, end. */
static void co_fn serve_batches(void *arg)
{
	for (unsigned i = 0; i < 20000; i++) {
		for (unsigned n = 0; n < DEPTH; n++)
			co_start(loop, serve, &requests[n]);
		co_reschedule();
		for (unsigned n = 0; n < DEPTH; n++)
			co_wake(requests[n].co);
		co_reschedule();
	}
	*(uint64_t *)arg = 20000 * DEPTH;
}

static uint64_t run_request(uint64_t *ret_count)
{
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run_coroutine(loop, serve_batches, ret_count);
	return loop_now_ns(loop) - begin_ns;
}

static void co_fn lock_and_unlock(void *arg)
{
	struct co_mutex m;
	co_mutex_init(&m);
	for (unsigned i = 0; i < 5000000; i++) {
		co_mutex_lock(&m);
		co_mutex_unlock(&m);
	}
	*(uint64_t *)arg = 5000000;
}

static uint64_t run_mutex(uint64_t *ret_count)
{
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run_coroutine(loop, lock_and_unlock, ret_count);
	return loop_now_ns(loop) - begin_ns;
}

static struct loop_post own_post;
static uint64_t posts_left;

static void post_again(struct loop_post *post)
{
	if (--posts_left == 0)
		loop_stop(loop);
	else
		loop_post(loop, post);
}

/* From the loop's own thread, which is awake: one turn of libuv for each few. */
static uint64_t run_post(uint64_t *ret_count)
{
	posts_left = *ret_count = 300000;
	own_post.fn = post_again;
	loop_post(loop, &own_post);
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run(loop);
	return loop_now_ns(loop) - begin_ns;
}

#define THREAD_POSTS 300000
static struct loop_post thread_posts[THREAD_POSTS];

static void count_post(struct loop_post *post)
{
	if (--posts_left == 0)
		loop_stop(loop);
}

static void *post_all(void *arg)
{
	for (unsigned i = 0; i < THREAD_POSTS; i++)
		loop_post(loop, &thread_posts[i]);
	return NULL;
}

static uint64_t run_thread_post(uint64_t *ret_count)
{
	posts_left = *ret_count = THREAD_POSTS;
	for (unsigned i = 0; i < THREAD_POSTS; i++)
		thread_posts[i].fn = count_post;
	uint64_t begin_ns = loop_now_ns(loop);
	pthread_t thread;
	pthread_create(&thread, NULL, post_all, NULL);
	loop_run(loop);
	pthread_join(thread, NULL);
	return loop_now_ns(loop) - begin_ns;
}

static struct loop_timer timers[1000];

static void timer_unused(struct loop_timer *t)
{
}

static uint64_t run_timer(uint64_t *ret_count)
{
	uint64_t begin_ns = loop_now_ns(loop);
	for (unsigned i = 0; i < 1000; i++)
		loop_timer_init(loop, &timers[i], timer_unused);
	for (unsigned round = 0; round < 500; round++)
		for (unsigned i = 0; i < 1000; i++)
			loop_timer_set(&timers[i], begin_ns + loop_random(loop) % 1000000);
	for (unsigned i = 0; i < 1000; i++)
		loop_timer_cancel(&timers[i]);
	*ret_count = 500000;
	return loop_now_ns(loop) - begin_ns;
}

static int do_nothing(void *arg)
{
	return 0;
}

static void co_fn call_blocking(void *arg)
{
	for (unsigned i = 0; i < 20000; i++)
		co_blocking(do_nothing, NULL);
	*(uint64_t *)arg = 20000;
}

static uint64_t run_blocking(uint64_t *ret_count)
{
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run_coroutine(loop, call_blocking, ret_count);
	return loop_now_ns(loop) - begin_ns;
}

#define ROUND_TRIPS 50000

struct echo {
	struct socket_stream *stream;
	struct co_group group;
};

static void co_fn echo(void *arg)
{
	struct echo *e = arg;
	char c;
	while (socket_read(e->stream, &c, 1) == 1) {
		struct iovec iov = {&c, 1};
		socket_writev(e->stream, &iov, 1);
	}
	socket_stream_free(e->stream);
	co_group_done(&e->group);
}

static void co_fn ask(void *arg)
{
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		abort();
	struct socket_stream *s = socket_stream_new(loop, fds[0]);
	struct echo e = {.stream = socket_stream_new(loop, fds[1])};
	co_group_init(&e.group);
	co_group_add(&e.group);
	co_start(loop, echo, &e);
	for (unsigned i = 0; i < ROUND_TRIPS; i++) {
		char c = 'x';
		struct iovec iov = {&c, 1};
		socket_writev(s, &iov, 1);
		socket_read(s, &c, 1);
	}
	socket_stream_free(s);
	co_group_wait(&e.group);
	*(uint64_t *)arg = ROUND_TRIPS;
}

/* Client and server on one loop: four socket calls and two polls for each round trip. */
static uint64_t run_socket(uint64_t *ret_count)
{
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run_coroutine(loop, ask, ret_count);
	return loop_now_ns(loop) - begin_ns;
}

/*
 * The least that a server of 4 KiB reads does: 28 bytes in and 4112 out for each
 * request, a coroutine each, one send for all replies of a turn. The client is
 * a thread that keeps 64 requests in flight and throws the data away.
 */
#define BATCH_REQUEST_BYTES 28
#define BATCH_REPLY_BYTES 4112
#define BATCH_REQUESTS 1000000

struct batch {
	struct socket_stream *stream;
	struct loop_deferred flush;
	struct iovec replies[DEPTH];
	unsigned ready;
};

static char batch_reply[BATCH_REPLY_BYTES];

/* What is in flight fits into the socket's buffer. */
static void batch_flush(struct loop_deferred *d)
{
	struct batch *b = container_of(d, struct batch, flush);
	if (socket_try_writev(b->stream, b->replies, b->ready) !=
	    (int64_t)b->ready * BATCH_REPLY_BYTES)
		abort();
	b->ready = 0;
}

static void co_fn batch_serve(void *arg)
{
	struct batch *b = arg;
	b->replies[b->ready++] = (struct iovec){batch_reply, sizeof(batch_reply)};
	loop_defer(loop, &b->flush);
}

static void *batch_client(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static char requests_out[DEPTH * BATCH_REQUEST_BYTES], in[DEPTH * BATCH_REPLY_BYTES];
	uint64_t received = 0, answered = 0;
	if (write(fd, requests_out, sizeof(requests_out)) < 0)
		abort();
	while (received < (uint64_t)BATCH_REQUESTS * BATCH_REPLY_BYTES) {
		ssize_t n = read(fd, in, sizeof(in));
		if (n <= 0)
			abort();
		received += n;
		uint64_t now = received / BATCH_REPLY_BYTES - answered;
		uint64_t left = BATCH_REQUESTS - MIN(answered + DEPTH, BATCH_REQUESTS);
		answered += now;
		now = MIN(now, left) * BATCH_REQUEST_BYTES;
		if (now > 0 && write(fd, requests_out, now) != (ssize_t)now)
			abort();
	}
	close(fd);
	return NULL;
}

static void co_fn batch_receive(void *arg)
{
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
		abort();
	struct batch *b = NEW(struct batch);
	b->stream = socket_stream_new(loop, fds[0]);
	loop_deferred_init(&b->flush, batch_flush);
	pthread_t client;
	pthread_create(&client, NULL, batch_client, (void *)(intptr_t)fds[1]);

	char *in = xalloc(DEPTH, BATCH_REQUEST_BYTES);
	size_t partial = 0;
	for (;;) {
		int64_t n = socket_read(b->stream, in + partial,
					DEPTH * BATCH_REQUEST_BYTES - partial);
		if (n <= 0)
			break;
		n += partial;
		for (unsigned i = 0; i < n / BATCH_REQUEST_BYTES; i++)
			co_start(loop, batch_serve, b);
		partial = n % BATCH_REQUEST_BYTES;
	}
	pthread_join(client, NULL);
	socket_stream_free(b->stream);
	free(in);
	free(b);
	*(uint64_t *)arg = BATCH_REQUESTS;
}

static uint64_t run_batch(uint64_t *ret_count)
{
	uint64_t begin_ns = loop_now_ns(loop);
	loop_run_coroutine(loop, batch_receive, ret_count);
	return loop_now_ns(loop) - begin_ns;
}

static const struct operation operations[] = {
	{"reschedule", run_reschedule},
	{"start-end", run_start},
	{"start-wait-end", run_request},
	{"mutex", run_mutex},
	{"timer-set", run_timer},
	{"post-own-thread", run_post},
	{"post-other-thread", run_thread_post},
	{"blocking-call", run_blocking},
	{"socket-round-trip", run_socket},
	{"socket-batch-4k", run_batch},
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	struct error *error = NULL;
	loop = loop_new_uv(&error);
	if (!loop) {
		fprintf(stderr, "bench_base: %s\n", error->message);
		return 1;
	}
	printf("%-20s %10s %10s\n", "operation", "best ns", "median ns");
	for (unsigned i = 0; i < ARRAY_SIZE(operations); i++) {
		const struct operation *o = &operations[i];
		if (argc > 1 && !strstr(o->name, argv[1]))
			continue;
		double each[ROUNDS];
		for (unsigned round = 0; round < ROUNDS; round++) {
			uint64_t count;
			uint64_t ns = o->run(&count);
			each[round] = (double)ns / count;
		}
		qsort(each, ROUNDS, sizeof(each[0]), compare);
		printf("%-20s %10.1f %10.1f\n", o->name, each[0], each[ROUNDS / 2]);
	}
	loop_free(loop);
	return 0;
}
