/* SPDX-License-Identifier: MIT */
/*
 * Converting with the copy engine: each piece is read, divided into what is zero
 * and what is not, and written when its turn has come.
 */
#include "tools/img/conversion.h"

#include <inttypes.h>
#include <string.h>

#include "base/buffer.h"
#include "block/copy.h"
#include "block/driver.h"
#include "blockjobs/ratelimit.h"

#define SALVAGE_BYTES 512
/* Clusters of one piece that are compressed at a time: as many as threads may work on. */
#define COMPRESSING_MAX 16

struct work {
	const struct conversion *c;
	const struct image *source; /* the present one */
	uint64_t base;              /* where it begins in the target */
	uint64_t total, done;       /* bytes of all sources */
	uint64_t cluster;           /* of the target, when it compresses; else 0 */
	struct ratelimit ratelimit;

	/* Pieces write in the order in which they began. */
	uint64_t tickets, turn;
	struct co_queue turns;

	uint64_t failed_at; /* offset in the target of the first failure */
	bool failed_status; /* which was to learn what the source holds */
	bool failed_read;
};

/* --- Writing ------------------------------------------------------------------------ */

static int co_fn write_zeroes(struct work *w, uint64_t offset, uint64_t bytes)
{
	const struct conversion *c = w->c;

	if (c->target_is_zero)
		return 0;
	return edge_zero(c->target->edge, offset, bytes,
			 REQUEST_MAY_UNMAP | c->target->write_flags);
}

/* A cluster on its way into a compressed image. */
struct cluster_write {
	struct work *work;
	struct co_group *group;
	uint64_t offset, bytes;
	const char *data;
	int result;
};

static void co_fn write_cluster(void *arg)
{
	struct cluster_write *cw = arg;
	struct image *target = cw->work->c->target;

	cw->result = edge_write(target->edge, cw->offset, cw->bytes, cw->data,
				REQUEST_COMPRESSED | target->write_flags);
	co_group_done(cw->group);
}

/* At most COMPRESSING_MAX clusters at once. */
static int co_fn write_clusters(struct work *w, uint64_t offset, uint64_t bytes, const char *data)
{
	struct cluster_write writes[COMPRESSING_MAX];
	struct co_group group;
	unsigned n = 0;
	int r = 0;

	co_group_init(&group);
	for (uint64_t at = 0; at < bytes; at += w->cluster) {
		writes[n] = (struct cluster_write){
			.work = w, .group = &group, .offset = offset + at,
			.bytes = MIN(w->cluster, bytes - at), .data = data + at};
		co_group_add(&group);
		co_start(the_img.loop, write_cluster, &writes[n++]);
	}
	co_group_wait(&group);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = writes[i].result;
	return r;
}

static int co_fn write_data(struct work *w, uint64_t offset, uint64_t bytes, const char *data)
{
	struct image *target = w->c->target;

	if (w->cluster == 0)
		return edge_write(target->edge, offset, bytes, data, target->write_flags);
	for (uint64_t at = 0; at < bytes;) {
		uint64_t n = MIN(bytes - at, COMPRESSING_MAX * w->cluster);
		int r = write_clusters(w, offset + at, n, data + at);

		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

/* Length of the run of blocks at the start of @data that are all zero, or all not. */
static uint64_t find_run(const char *data, uint64_t offset, uint64_t bytes, uint64_t block,
			 bool *ret_is_zero)
{
	uint64_t at = 0;

	do {
		/* Blocks lie as they would in the whole target. */
		uint64_t n = MIN(block - (offset + at) % block, bytes - at);
		bool is_zero = buffer_is_zero(data + at, n);

		if (at == 0)
			*ret_is_zero = is_zero;
		else if (is_zero != *ret_is_zero)
			break;
		at += n;
	} while (at < bytes);
	return at;
}

/* Write what is not zero, and have the rest zero. */
static int co_fn write_sparsely(struct work *w, uint64_t offset, uint64_t bytes, const char *data)
{
	uint64_t block = MAX(w->c->sparse_bytes, w->cluster);
	int r = 0;

	if (w->c->sparse_bytes == 0)
		return write_data(w, offset, bytes, data);
	while (bytes > 0 && r >= 0) {
		bool is_zero;
		uint64_t n = find_run(data, offset, bytes, block, &is_zero);

		r = is_zero ? write_zeroes(w, offset, n) : write_data(w, offset, n, data);
		offset += n;
		data += n;
		bytes -= n;
	}
	return r;
}

/* --- Pieces ------------------------------------------------------------------------- */

/* Read sector by sector what cannot be read at once; what cannot be read at all is zero. */
static void co_fn salvage(struct work *w, uint64_t offset, uint64_t bytes, char *data)
{
	for (uint64_t at = 0; at < bytes; at += SALVAGE_BYTES) {
		uint64_t n = MIN(SALVAGE_BYTES, bytes - at);
		int r = edge_read(w->source->edge, offset + at, n, data + at, 0);

		if (r >= 0)
			continue;
		img_warn("error while reading offset %" PRIu64 ": %s", offset + at, strerror(-r));
		memset(data + at, 0, n);
	}
}

static int co_fn read_data(struct work *w, uint64_t offset, uint64_t bytes, char *data)
{
	int r = edge_read(w->source->edge, offset, bytes, data, 0);

	if (r < 0 && w->c->salvages) {
		salvage(w, offset, bytes, data);
		return 0;
	}
	return r;
}

static void co_fn await_turn(struct work *w, uint64_t ticket)
{
	while (!w->c->out_of_order && w->turn != ticket)
		co_queue_wait(&w->turns);
}

static void pass_turn(struct work *w)
{
	w->turn++;
	co_queue_wake_all(&w->turns);
}

static int co_fn move(struct work *w, uint64_t ticket, uint64_t offset, uint64_t bytes,
		      bool is_zero, char *data, bool *ret_is_read)
{
	int r = is_zero ? 0 : read_data(w, offset, bytes, data);

	await_turn(w, ticket);
	*ret_is_read = r < 0;
	if (r >= 0 && is_zero && w->c->sparse_bytes > 0)
		r = write_zeroes(w, w->base + offset, bytes);
	else if (r >= 0)
		r = write_sparsely(w, w->base + offset, bytes, data);
	pass_turn(w);
	return r;
}

static int co_fn transfer(void *arg, uint64_t offset, uint64_t bytes, bool is_zero,
			  bool *ret_is_read)
{
	struct work *w = arg;
	uint64_t ticket = w->tickets++;
	/* Without a look at zeroes they are written as they are. */
	bool needs_buffer = !is_zero || w->c->sparse_bytes == 0;
	char *data = needs_buffer ? buffer_get(the_img.loop, bytes) : NULL;
	int r;

	*ret_is_read = true;
	if (needs_buffer && !data) {
		await_turn(w, ticket);
		pass_turn(w);
		r = -ENOMEM;
	} else {
		if (is_zero && data)
			memset(data, 0, bytes);
		r = move(w, ticket, offset, bytes, is_zero, data, ret_is_read);
	}
	if (data)
		buffer_put(the_img.loop, data, bytes);
	if (r < 0 && w->failed_status) {
		w->failed_status = false;
		w->failed_at = w->base + offset;
	}
	return r;
}

static int co_fn admit(void *arg, uint64_t bytes)
{
	struct work *w = arg;
	uint64_t delay_ns = ratelimit_delay_ns(&w->ratelimit, loop_now_ns(the_img.loop));

	if (bytes == 0)
		return 0;
	if (delay_ns > 0)
		co_sleep_ns(delay_ns);
	ratelimit_take(&w->ratelimit, bytes, loop_now_ns(the_img.loop));
	return 0;
}

static enum copy_verdict failed(void *arg, bool is_read, int error)
{
	struct work *w = arg;

	w->failed_read = is_read;
	return COPY_GIVE_UP;
}

static void advanced(void *arg, uint64_t bytes)
{
	struct work *w = arg;

	w->done += bytes;
	img_progress(w->done, w->total);
}

static const struct copy_hooks hooks = {
	.admit = admit,
	.failed = failed,
	.advanced = advanced,
	.transfer = transfer,
};

/* --- The whole ------------------------------------------------------------------------ */

static void tell_failure(const struct work *w, int r)
{
	if (w->failed_status)
		img_error("error while reading block status of '%s': %s", w->source->name,
			  strerror(-r));
	else
		img_error("error while %s at byte %" PRIu64 ": %s",
			  w->failed_read ? "reading" : "writing", w->failed_at, strerror(-r));
}

/* What the copy engine does in operations of its own, inside ours. */
static int co_fn convert_source(struct work *w, struct image *source)
{
	const struct conversion *c = w->c;
	struct copy_settings settings = {
		.consumer = &source->consumer,
		.source = source->edge,
		.target = c->target->edge,
		.hooks = &hooks,
		.arg = w,
		.workers = c->workers,
		.cluster = w->cluster,
		.copies_holes = true,
	};
	struct copy *copy = copy_create(&settings);
	struct node *base = c->only_top ? node_backing(source->node) : NULL;

	w->source = source;
	w->tickets = w->turn = 0;
	w->failed_status = true; /* until a piece fails */
	int r = copy_allocated(copy, base, source->node->size);

	copy_destroy(copy);
	return r;
}

/* A target that may hold anything is best emptied at once, where that is quick. */
static bool co_fn empty_target(struct work *w)
{
	return edge_zero(w->c->target->edge, 0, w->total,
			 REQUEST_MAY_UNMAP | REQUEST_NO_FALLBACK) >= 0;
}

/* The cluster to compress at a time; 0 where nothing is to be compressed. */
static int co_fn find_cluster(const struct conversion *c, uint64_t *ret)
{
	struct driver_info info = {0};
	struct node *n = c->target->node;
	int r = n->driver->info ? n->driver->info(n, &info) : -ENOTSUP;

	/* Some images have nothing else, whether it was asked for or not. */
	if (!c->compresses && (r < 0 || !info.needs_compressed_writes))
		return 0;
	if (r < 0 || info.cluster_size == 0)
		return img_error("The target's format has no clusters to compress");
	*ret = info.cluster_size;
	return 0;
}

int co_fn conversion_run(const struct conversion *c)
{
	struct conversion own = *c;
	struct work w = {.c = &own};
	int r = 0;

	co_queue_init(&w.turns);
	ratelimit_set(&w.ratelimit, c->rate, loop_now_ns(the_img.loop));
	for (unsigned i = 0; i < c->source_count; i++)
		w.total += c->sources[i].node->size;
	if (find_cluster(c, &w.cluster) != 0)
		return 1;
	if (!own.target_is_zero && !own.only_top && own.sparse_bytes > 0)
		own.target_is_zero = empty_target(&w);
	for (unsigned i = 0; i < c->source_count && r >= 0; i++) {
		r = convert_source(&w, &c->sources[i]);
		w.base += c->sources[i].node->size;
	}
	if (r < 0) {
		tell_failure(&w, r);
		return 1;
	}
	r = edge_flush(c->target->edge);
	return r < 0 ? img_error("error while flushing '%s': %s", c->target->name, strerror(-r)) : 0;
}
