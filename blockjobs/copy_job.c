/* SPDX-License-Identifier: MIT */
/*
 * What jobs that copy have in common. Control thread.
 */
#include "blockjobs/copy_job.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/dirty_bitmap.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/open.h"
#include "blockjobs/filter.h"

/* Pieces last a quarter of a second at least, at slow rates. */
#define PIECES_PER_S 4
#define BACK_OFF_NS UINT64_C(100000000)
/* So long after a request users are taken to be at work. */
#define USERS_AT_WORK_NS UINT64_C(50000000)

/* How many pieces may be in flight, where the type says how many bytes; else 0. */
static unsigned workers(const struct copy_job *c)
{
	uint64_t pieces = c->buffer_limit / COPY_PIECE_MIN;
	return c->buffer_limit > 0 ? (unsigned)MAX(MIN(pieces, COPY_WORKERS_DEFAULT), 1) : 0;
}

static uint64_t piece_limit(const struct copy_job *c)
{
	uint64_t limit = COPY_PIECE_MAX;
	if (c->job.speed > 0)
		limit = c->job.speed / PIECES_PER_S;
	if (c->buffer_limit > 0)
		limit = MIN(limit, c->buffer_limit / workers(c));
	return limit;
}

/* True when users have requests in flight, or had just now. */
static bool users_are_at_work(const struct copy_job *c)
{
	const struct node *n = c->users;
	if (!n)
		return false;
	uint64_t last_ns = n->stats.last_access_ns;
	return !list_is_empty(&n->requests) ||
	       (last_ns > 0 && loop_now_ns(n->loop) - last_ns < USERS_AT_WORK_NS);
}

int co_fn copy_job_admit(struct copy_job *c, uint64_t bytes)
{
	struct job *j = &c->job;
	if (c->failure < 0)
		return c->failure;
	if (c->finishing)
		return job_is_cancelled(j) ? -ECANCELED : 0;
	if (job_must_pause(j))
		copy_wait_idle(c->copy);
	if (c->backs_off) {
		c->backs_off = false;
		if (!job_must_pause(j))
			job_sleep_ns(j, BACK_OFF_NS);
	}
	copy_limit_piece(c->copy, piece_limit(c));
	/* The first one waits for nothing, and shows early that the job is at work. */
	if (bytes > 0)
		c->first_piece = 0;
	copy_fix_piece(c->copy, j->speed > 0 ? c->first_piece : 0);
	copy_set_considerate(c->copy, users_are_at_work(c));
	return bytes > 0 ? job_throttle(j, bytes) : job_pause_point(j);
}

static enum copy_verdict judge(struct copy_job *c, bool is_read, int error)
{
	enum blockdev_on_error policy = is_read ? c->on_source_error : c->on_target_error;
	enum block_error_action action = job_request_failed(
		&c->job, c->finishing ? BLOCKDEV_ON_ERROR_REPORT : policy,
		is_read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE, error);
	if (action == BLOCK_ERROR_ACTION_REPORT)
		return COPY_GIVE_UP;
	if (action == BLOCK_ERROR_ACTION_STOP)
		copy_forgive_in_flight(c->copy);
	if (action == BLOCK_ERROR_ACTION_IGNORE && c->leaves_out) {
		if (c->left_out == 0)
			c->left_out = error;
		return COPY_LEAVE_OUT;
	}
	c->backs_off = true;
	c->retries++;
	return COPY_TRY_AGAIN;
}

bool copy_job_failed(struct copy_job *c, bool is_read, int error)
{
	return judge(c, is_read, error) != COPY_GIVE_UP;
}

void copy_job_update_left(struct copy_job *c)
{
	job_progress_set_left(&c->job,
			      dirty_bitmap_count(c->bitmap) + copy_bytes_in_flight(c->copy));
}

static int co_fn admit(void *arg, uint64_t bytes)
{
	return copy_job_admit(arg, bytes);
}

static enum copy_verdict failed(void *arg, bool is_read, int error)
{
	return judge(arg, is_read, error);
}

static void advanced(void *arg, uint64_t bytes)
{
	struct copy_job *c = arg;
	job_progress_add(&c->job, bytes);
	if (c->bitmap)
		copy_job_update_left(c);
}

static const struct copy_hooks copy_hooks = {
	.admit = admit,
	.failed = failed,
	.advanced = advanced,
};

void copy_job_begin(struct copy_job *c)
{
	const struct copy_settings settings = {
		.consumer = &c->job.consumer,
		.source = c->source,
		.target = c->target,
		.hooks = &copy_hooks,
		.arg = c,
		.workers = workers(c),
		.allocates_zeroes = c->allocates_zeroes,
	};
	c->copy = copy_create(&settings);
}

void copy_job_adopt(struct copy_job *c, struct copy *copy, struct dirty_bitmap *bitmap,
		    const struct copy_settings *s)
{
	struct copy_settings settings = {0};
	if (copy) {
		settings = *s;
		settings.consumer = &c->job.consumer;
		settings.hooks = &copy_hooks;
		settings.arg = c;
	}
	if (copy || c->copy)
		copy_configure(copy ? copy : c->copy, &settings);
	c->copy = copy;
	c->bitmap = bitmap;
}

void copy_job_end(struct copy_job *c)
{
	bitmap_view_end(&c->shown);
	copy_destroy(TAKE(c->copy));
	free(TAKE(c->frozen));
}

int co_fn copy_job_flush(struct copy_job *c, struct error **errp)
{
	const char *name = c->target->child->name;
	for (;;) {
		consumer_enter(&c->job.consumer);
		int r = edge_flush(c->target);
		consumer_leave(&c->job.consumer);
		if (r >= 0)
			return 0;
		if (!copy_job_failed(c, false, r))
			return error_set_errno(errp, r, "Could not flush '%s'", name);
		r = copy_job_admit(c, 0);
		if (r < 0)
			return error_set_errno(errp, r, "Could not flush '%s'", name);
	}
}

int copy_job_check_root(const struct node *device, struct error **errp)
{
	struct edge *e;
	list_for_each (e, &device->parents, child_link) {
		if (e->parent && !node_is_job_filter(e->parent))
			return error_set(errp, -EINVAL, "Need a root block node");
	}
	return 0;
}

int copy_job_check_base(struct node *top, struct error **errp)
{
	struct node *base = node_backing(top);
	/* Filters of users stay. */
	if (!base || base->options)
		return 0;
	return blocker_check(base, BLOCK_OP_COMMIT_TARGET, errp);
}

/* What an image says of its backing file. */
struct naming {
	char *name, *format; /* NULL: nothing */
};

static void naming_finish(struct naming *x)
{
	free(x->name);
	free(x->format);
}

/* What is to be said of @base; as copy_job_rename_backing(). */
static struct naming choose_naming(struct node *base, const char *name, bool masks_protocol)
{
	if (!base)
		return (struct naming){.name = xstrdup(name)};
	struct node *image = node_skip_filters(base);
	bool is_masked = masks_protocol && !image->driver->is_format;
	return (struct naming){
		.name = xstrdup(name ? name : image->filename),
		.format = xstrdup(is_masked ? "raw" : image->driver->name),
	};
}

static int check_can_name(const struct node *n, struct error **errp)
{
	if (!n->driver->change_backing)
		return error_set(errp, -ENOTSUP,
				 "Driver '%s' of node '%s' cannot name a backing file",
				 n->driver->name, n->name);
	return 0;
}

int co_fn copy_job_rename_backing(struct node *n, struct node *base, const char *name,
				  bool masks_protocol, struct error **errp)
{
	int r = check_can_name(n, errp);
	if (r < 0)
		return r;
	bool was_read_only = n->read_only;
	r = node_set_read_only(n, false, errp);
	if (r < 0)
		return r;
	struct naming x = choose_naming(base, name, masks_protocol);
	r = node_change_backing(n, x.name, x.format, errp);
	naming_finish(&x);
	/* The name is durable whatever becomes of this. */
	if (was_read_only)
		node_set_read_only(n, true, NULL);
	return r;
}

/* *ret_was is what @n has said before. */
static int co_fn rename_one(struct node *n, const struct naming *x, struct naming *ret_was,
			    struct error **errp)
{
	int r = check_can_name(n, errp);
	if (r < 0)
		return r;
	*ret_was = (struct naming){xstrdup(n->backing_name), xstrdup(n->backing_format)};
	return node_write_backing(n, x->name, x->format, errp);
}

int co_fn copy_job_rename_ahead(struct node *const *nodes, size_t count, struct node *base,
				const char *name, bool masks_protocol, bool *ret_is_done,
				struct error **errp)
{
	struct naming x = choose_naming(base, name, masks_protocol);
	struct naming *was _cleanup_free_ = xalloc(MAX(count, 1), sizeof(was[0]));
	size_t done = 0;
	int r = 0;
	while (done < count && (r = rename_one(nodes[done], &x, &was[done], errp)) >= 0)
		done++;
	*ret_is_done = r >= 0 && count > 0 && !graph_is_changing(nodes[0]->graph);
	while (!*ret_is_done && done-- > 0) {
		int back = node_write_backing(nodes[done], was[done].name, was[done].format,
					      r < 0 ? NULL : errp);
		r = r < 0 ? r : back;
	}
	for (size_t i = 0; i < count; i++)
		naming_finish(&was[i]);
	naming_finish(&x);
	return r;
}
