/* SPDX-License-Identifier: MIT */
/*
 * Lanes for writes into the page cache. run_lane() and what it calls are on a
 * worker thread and own the requests in lane->running; the rest is on the
 * loop's thread.
 */
#include "base/aio_lane.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/coroutine.h"
#include "base/loop_internal.h"

/* Files that are written at the same time. More of them wait for a thread. */
#define THREADS_MAX 32

/* Writes reported at a time: the loop answers them while the next are done. */
#define REPORT_MAX 8

struct lane {
	struct list link;
	struct aio_lanes *lanes;
	int fd;
	bool busy;
	struct list queued;  /* struct aio_request.link: for the next run */
	struct list running; /* the worker's, while busy */
	struct worker_job job;
};

struct aio_lanes {
	struct loop *loop;
	struct list all; /* struct lane.link, the last used first */
	struct workers *workers;
	unsigned pending;  /* requests */
	unsigned startable;/* lanes that are not busy and have requests */
};

struct aio_lanes *aio_lanes_create(struct loop *loop)
{
	struct aio_lanes *lanes = NEW(struct aio_lanes);
	lanes->loop = loop;
	list_init(&lanes->all);
	lanes->workers = workers_create(loop, THREADS_MAX);
	return lanes;
}

static int64_t write_once(const struct aio_request *r)
{
	ssize_t n = pwritev2(r->fd, r->iov, (int)r->iov_count, (off_t)r->offset, r->mode);
	return n < 0 ? -errno : n;
}

/* Loop's thread: @post belongs to the last request of a report, and leads to the others. */
static void take_report(struct loop_post *post)
{
	struct aio_request *last = container_of(post, struct aio_request, lane.post);
	struct aio_lanes *lanes = last->lane.lanes;
	struct list report;
	list_init(&report);
	list_splice_tail(&report, &last->lane.report);
	struct aio_request *r;
	while ((r = list_first(&report, struct aio_request, link))) {
		list_del_init(&r->link);
		lanes->pending--;
		co_wake(r->co);
	}
	lanes->pending--;
	co_wake(last->co);
}

static void run_lane(struct worker_job *job)
{
	struct lane *lane = container_of(job, struct lane, job);
	struct list report;
	list_init(&report);
	unsigned count = 0;
	struct aio_request *r;
	while ((r = list_first(&lane->running, struct aio_request, link))) {
		list_del_init(&r->link);
		r->result = write_once(r);
		if (++count < REPORT_MAX && !list_is_empty(&lane->running)) {
			list_add_tail(&report, &r->link);
			continue;
		}
		list_init(&r->lane.report);
		list_splice_tail(&r->lane.report, &report);
		r->lane.lanes = lane->lanes;
		r->lane.post.fn = take_report;
		loop_post(lane->lanes->loop, &r->lane.post); /* gone from here on */
		count = 0;
	}
}

static void start_lane(struct lane *lane);

static void lane_done(struct worker_job *job)
{
	struct lane *lane = container_of(job, struct lane, job);
	lane->busy = false;
	if (!list_is_empty(&lane->queued)) {
		lane->lanes->startable++;
		start_lane(lane);
	}
}

static void start_lane(struct lane *lane)
{
	list_splice_tail(&lane->running, &lane->queued);
	lane->busy = true;
	lane->lanes->startable--;
	lane->job.run = run_lane;
	lane->job.done = lane_done;
	workers_submit(lane->lanes->workers, &lane->job);
}

static bool is_idle(const struct lane *lane)
{
	return !lane->busy && list_is_empty(&lane->queued);
}

/* The lane of @fd: the one that works for it, or an idle one, or a new one. */
static struct lane *find_lane(struct aio_lanes *lanes, int fd)
{
	struct lane *lane, *idle = NULL;
	list_for_each(lane, &lanes->all, link) {
		if (lane->fd == fd)
			return lane;
		if (is_idle(lane))
			idle = lane;
	}
	if (!idle) {
		idle = NEW(struct lane);
		idle->lanes = lanes;
		list_init(&idle->link);
		list_init(&idle->queued);
		list_init(&idle->running);
	}
	idle->fd = fd;
	list_del_init(&idle->link);
	list_add_head(&lanes->all, &idle->link);
	return idle;
}

void aio_lanes_queue(struct aio_lanes *lanes, struct aio_request *r)
{
	struct lane *lane = find_lane(lanes, r->fd);
	if (is_idle(lane))
		lanes->startable++;
	list_add_tail(&lane->queued, &r->link);
	lanes->pending++;
}

void aio_lanes_submit(struct aio_lanes *lanes)
{
	struct lane *lane;
	if (lanes->startable == 0)
		return;
	list_for_each(lane, &lanes->all, link) {
		if (!lane->busy && !list_is_empty(&lane->queued))
			start_lane(lane);
	}
}

bool aio_lanes_has_pending(const struct aio_lanes *lanes)
{
	return lanes->pending != 0;
}

void aio_lanes_destroy(struct aio_lanes *lanes)
{
	workers_destroy(lanes->workers);
	/* The last report woke its coroutines before the thread could tell that the lane is idle. */
	loop_run_posts(lanes->loop);
	struct lane *lane, *following;
	list_for_each_safe(lane, following, &lanes->all, link)
		free(lane);
	free(lanes);
}
