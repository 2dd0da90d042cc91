/* SPDX-License-Identifier: MIT */
/*
 * Requests to a cluster that is gone cannot be taken back, and their buffers cannot be
 * given up while the process lives. So the daemon ends around them: what else there
 * is has been closed, or at least flushed, before the process goes with requests in
 * flight. Nobody has been told that those had succeeded.
 *
 * There is silence while no node has an answer. Storage of this machine is always waited
 * for: a slow disk is no dead one. But while users still work, on other disks, because jobs
 * are being waited for, the silence of one node is enough.
 */
#include "daemon/farewell.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "block/bitmap.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/node_internal.h"
#include "blockjobs/job.h"
#include "daemon/daemon.h"
#include "protocol/nbd/server.h"

#define NS_PER_MS UINT64_C(1000000)

/* Silence that is long enough to go: a busy server may need seconds for a flush. */
#define PATIENCE_NS (10000 * NS_PER_MS)
/* The same once something has been left behind. */
#define SHORT_PATIENCE_NS (1000 * NS_PER_MS)
#define TICK_NS (100 * NS_PER_MS)

static struct {
	struct loop_timer tick;
	co_entry *end;
	void *arg;
	uint64_t answers;  /* at the last look */
	uint64_t since_ns; /* of the silence */
	uint64_t patience_ns;
	bool has_remote;   /* there is, or was, a node that may never answer */
	bool is_closing_local;
	bool has_begun;
	bool has_given_up, has_ended;
	struct co_group flushes;
	struct coroutine *flusher;
} farewell;

static bool has_request(const struct node *n)
{
	return !list_is_empty(&n->requests) || n->flush_lock.owner;
}

/* Whether @n is a disk of this machine that is at work. */
static bool is_busy_local(const struct node *n)
{
	return !n->driver->is_remote && list_is_empty(&n->children) && has_request(n);
}

static bool is_local_busy(void)
{
	const struct node *n;
	list_for_each (n, &the_daemon.graph->nodes, link) {
		if (is_busy_local(n))
			return true;
	}
	list_for_each (n, &the_daemon.graph->closing, closing_link) {
		if (is_busy_local(n))
			return true;
	}
	return false;
}

static bool is_any_remote(void)
{
	const struct node *n;
	list_for_each (n, &the_daemon.graph->nodes, link) {
		if (n->driver->is_remote)
			return true;
	}
	list_for_each (n, &the_daemon.graph->closing, closing_link) {
		if (n->driver->is_remote)
			return true;
	}
	return false;
}

static uint64_t count_answers(void)
{
	uint64_t answers = 0;
	const struct node *n;
	list_for_each (n, &the_daemon.graph->nodes, link)
		answers += n->answers;
	list_for_each (n, &the_daemon.graph->closing, closing_link)
		answers += n->answers;
	return answers;
}

/* Tell whose fault it is. */
static void name_the_silent(void)
{
	const struct node *n;
	list_for_each (n, &the_daemon.graph->nodes, link) {
		if (n->driver->is_remote)
			log_error("the storage of node '%s' may not answer: ending without it",
				  n->name);
	}
	list_for_each (n, &the_daemon.graph->closing, closing_link) {
		if (n->driver->is_remote)
			log_error("the storage of node '%s', which is being closed, may not "
				  "answer: ending without it", n->name);
	}
}

static void give_up(void)
{
	if (!farewell.has_given_up)
		name_the_silent();
	farewell.has_given_up = true;
	farewell.patience_ns = SHORT_PATIENCE_NS;
	if (farewell.flusher) {
		co_wake(TAKE(farewell.flusher));
		return;
	}
	if (job_table_abandon(the_daemon.jobs) || nbd_server_abandon(the_daemon.nbd) ||
	    farewell.has_ended)
		return;
	farewell.has_ended = true;
	co_start(the_daemon.loop, farewell.end, farewell.arg);
}

/* Whether @n, which has something to do, has not had an answer for long. */
static bool is_silent(struct node *n, uint64_t now_ns)
{
	if (!n->driver->is_remote)
		return false;
	if (n->silent_since_ns == 0 || n->answers != n->seen_answers || !has_request(n)) {
		n->seen_answers = n->answers;
		n->silent_since_ns = now_ns;
	}
	return now_ns - n->silent_since_ns >= farewell.patience_ns;
}

static bool is_any_silent(uint64_t now_ns)
{
	bool silent = false;
	struct node *n;
	list_for_each (n, &the_daemon.graph->nodes, link)
		silent |= is_silent(n, now_ns);
	list_for_each (n, &the_daemon.graph->closing, closing_link)
		silent |= is_silent(n, now_ns);
	return silent;
}

static void on_tick(struct loop_timer *t)
{
	uint64_t now_ns = loop_now_ns(the_daemon.loop), answers = count_answers();
	farewell.has_remote |= is_any_remote();
	/* Nodes that have gone take their answers along. */
	if (answers > farewell.answers || !farewell.has_remote || farewell.is_closing_local ||
	    is_local_busy())
		farewell.since_ns = now_ns;
	farewell.answers = answers;
	bool is_job_stuck = is_any_silent(now_ns) && job_table_is_awaited(the_daemon.jobs);
	if (is_job_stuck || now_ns - farewell.since_ns >= farewell.patience_ns) {
		farewell.since_ns = now_ns;
		give_up();
	}
	loop_timer_set(t, now_ns + TICK_NS);
}

void farewell_init(co_entry *end, void *arg)
{
	farewell.end = end;
	farewell.arg = arg;
}

void farewell_begin(void)
{
	if (farewell.has_begun)
		return;
	farewell.has_begun = true;
	farewell.patience_ns = PATIENCE_NS;
	farewell.since_ns = loop_now_ns(the_daemon.loop);
	farewell.answers = count_answers();
	farewell.has_remote = is_any_remote();
	loop_timer_init(the_daemon.loop, &farewell.tick, on_tick);
	loop_timer_set(&farewell.tick, farewell.since_ns + TICK_NS);
}

void farewell_close_begin(bool is_remote)
{
	farewell.is_closing_local = !is_remote;
}

void farewell_close_end(bool has_hung)
{
	farewell.is_closing_local = false;
	if (!has_hung)
		farewell.since_ns = loop_now_ns(the_daemon.loop);
}

bool farewell_has_given_up(void)
{
	return farewell.has_given_up;
}

static void co_fn flush_node(void *arg)
{
	struct node *n = arg;
	(void)node_flush(n); /* nobody is left to be told */
	co_group_done(&farewell.flushes);
}

static void co_fn wait_for_flushes(void *arg)
{
	co_group_wait(&farewell.flushes);
	if (farewell.flusher)
		co_wake(TAKE(farewell.flusher));
}

void co_fn farewell_flush(void)
{
	co_group_init(&farewell.flushes);
	struct node *n;
	list_for_each (n, &the_daemon.graph->nodes, link) {
		if (!n->is_open)
			continue;
		node_ref(n); /* for as long as the process lives */
		co_group_add(&farewell.flushes);
		co_start(the_daemon.loop, flush_node, n);
	}
	farewell.flusher = co_self();
	co_start(the_daemon.loop, wait_for_flushes, NULL);
	co_yield();
}

static void tell_of_bitmaps(struct node *n)
{
	if (!n->read_only && bitmaps_have_persistent(n))
		log_error("the persistent dirty bitmaps of node '%s' are not stored: those that its "
			  "image has are inconsistent", n->name);
}

void farewell_tell_losses(void)
{
	struct node *n;
	list_for_each (n, &the_daemon.graph->nodes, link)
		tell_of_bitmaps(n);
	list_for_each (n, &the_daemon.graph->closing, closing_link)
		tell_of_bitmaps(n);
}

void farewell_finish(void)
{
	loop_timer_cancel(&farewell.tick);
}
