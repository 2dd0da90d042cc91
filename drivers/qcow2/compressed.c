/* SPDX-License-Identifier: MIT */
/*
 * Compressed clusters. Node's loop; the codecs run on worker threads.
 *
 * 1. Compressed data is read inside an epoch, as any data: the cluster that
 *    holds it keeps its owners until it has been read.
 * 2. The last decompressed cluster is kept for reads that come in small pieces.
 *    Its descriptor identifies it until any compressed cluster is freed.
 * 3. At most DECOMPRESSING_MAX clusters are worked on at a time, which bounds the
 *    memory.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/compress.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/task.h"

#define DECOMPRESSING_MAX 8

struct codec_call {
	enum qcow2_compression type;
	const void *in;
	size_t bytes_in;
	void *out;
	size_t bytes_out;
	int64_t result;
};

static int decompress_call(void *arg)
{
	struct codec_call *c = arg;

	return qcow2_decompress(c->type, c->in, c->bytes_in, c->out, c->bytes_out);
}

static int compress_call(void *arg)
{
	struct codec_call *c = arg;

	c->result = qcow2_compress(c->type, c->in, c->bytes_in, c->out, c->bytes_out);
	return 0;
}

void qcow2_compressed_forget(struct qcow2 *q)
{
	if (q->decompressed)
		buffer_put(q->loop, q->decompressed, q->cluster_bytes);
	q->decompressed = NULL;
	q->decompressed_descriptor = 0;
	q->decompressed_generation++;
}

static bool copy_from_kept(struct qcow2 *q, uint64_t descriptor, uint64_t skip, uint64_t bytes,
			   struct vec v)
{
	if (!q->decompressed || q->decompressed_descriptor != descriptor)
		return false;
	vec_from_buffer(v, q->decompressed + skip, bytes);
	q->decompressed_used = true;
	return true;
}

/* Read and decompress; on success *ret is a buffer of a cluster. Leaves the epoch. */
static int co_fn fetch(struct qcow2 *q, uint64_t descriptor, unsigned parity, uint8_t **ret)
{
	uint64_t offset, bytes;

	qcow2_compressed_range(q, descriptor, &offset, &bytes);
	uint8_t *in = malloc(bytes), *out = buffer_get(q->loop, q->cluster_bytes);
	int r = in && out ? 0 : -ENOMEM;

	/* The last sector may lie behind the end of the file, the first one may not. */
	if (r == 0 && offset >= qcow2_file_size(q))
		r = -EIO;
	qcow2_event(q, BLKDEBUG_EVENT_READ_COMPRESSED);
	if (r == 0)
		r = edge_read(q->node->file, offset, bytes, in, 0);
	qcow2_epoch_leave(q, parity);
	if (r == 0) {
		struct codec_call c = {q->header.compression_type, in, bytes, out,
				       q->cluster_bytes, 0};

		r = co_blocking(decompress_call, &c);
	}
	free(in);
	if (r < 0 && out)
		buffer_put(q->loop, out, q->cluster_bytes);
	else if (r == 0)
		*ret = out;
	return r;
}

int co_fn qcow2_read_compressed(struct qcow2 *q, uint64_t descriptor, uint64_t skip,
				uint64_t bytes, struct vec v)
{
	unsigned parity = qcow2_epoch_enter(q);
	/* As of the look-up: freed while we wait below, the descriptor is another's afterwards. */
	uint64_t generation = q->decompressed_generation;
	uint8_t *data = NULL;

	while (!copy_from_kept(q, descriptor, skip, bytes, v)) {
		if (q->decompressing == DECOMPRESSING_MAX) {
			co_queue_wait(&q->decompress_waiters);
			continue;
		}
		q->decompressing++;
		int r = fetch(q, descriptor, parity, &data);

		q->decompressing--;
		co_queue_wake_all(&q->decompress_waiters);
		if (r < 0)
			return r;
		vec_from_buffer(v, data + skip, bytes);
		if (generation != q->decompressed_generation) {
			buffer_put(q->loop, data, q->cluster_bytes);
			return 0;
		}
		qcow2_compressed_forget(q);
		q->decompressed = data;
		q->decompressed_descriptor = descriptor;
		q->decompressed_used = true;
		return 0;
	}
	qcow2_epoch_leave(q, parity);
	return 0;
}

static uint64_t make_descriptor(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	uint64_t sectors = ((offset + bytes - 1) >> 9) - (offset >> 9);

	return ENTRY_COMPRESSED | sectors << qcow2_compressed_shift(q) | offset;
}

/* Store @bytes of compressed data as the cluster at @offset, inside its exclusive task. */
static int co_fn store_in_task(struct qcow2 *q, uint64_t offset, const uint8_t *data,
			       uint64_t bytes)
{
	struct slice *slice;
	uint64_t host;
	int r = qcow2_l2_slice_for_write(q, offset, &slice);

	if (r < 0)
		return r;
	struct l2_entry old = qcow2_l2_load(q, slice, offset);

	r = qcow2_l2_is_possible(q, old) ? qcow2_allocate_bytes(q, bytes, &host)
					 : qcow2_l2_corrupt(q, old, offset);
	if (r == 0) {
		qcow2_event(q, BLKDEBUG_EVENT_WRITE_COMPRESSED);
		r = edge_write(q->node->file, host, bytes, data, 0);
		if (r < 0)
			qcow2_unallocate(q, align_down(host, q->cluster_bytes),
					 ((host + bytes - 1) >> q->cluster_bits) -
						 (host >> q->cluster_bits) + 1);
	}
	if (r == 0) {
		struct l2_entry new = {.descriptor = make_descriptor(q, host, bytes)};

		qcow2_event(q, BLKDEBUG_EVENT_L2_UPDATE_COMPRESSED);
		qcow2_l2_free(q, old, FREE_OTHER);
		qcow2_l2_store(q, slice, offset, new);
	}
	qcow2_cache_put(&q->l2_cache, slice);
	return r;
}

/*
 * The compressed cluster at @offset, of which the guest has written @given bytes. -ESTALE when
 * these no longer reach to the end of the image.
 */
static int co_fn store(struct qcow2 *q, uint64_t offset, uint64_t given, const uint8_t *data,
		       uint64_t bytes)
{
	uint64_t cluster = offset >> q->cluster_bits;
	struct task t;
	int r;

	do {
		r = q->node->corrupt ? -EIO : qcow2_task_exclusive(q, &t, cluster, cluster);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	r = given < q->cluster_bytes && offset + given < q->node->size
		    ? -ESTALE
		    : store_in_task(q, offset, data, bytes);
	qcow2_task_end(&t);
	return r < 0 ? r : qcow2_reclaim_some(q, false);
}

/* One cluster, of which @bytes are given and the rest lies behind the end of the image. */
static int co_fn write_cluster(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct vec v)
{
	uint8_t *in = buffer_get(q->loop, q->cluster_bytes), *out = malloc(q->cluster_bytes);
	int r = in && out ? 0 : -ENOMEM;

	if (r == 0) {
		struct codec_call c = {q->header.compression_type, in, q->cluster_bytes, out,
				       q->cluster_bytes, 0};

		vec_to_buffer(v, in, bytes);
		memset(in + bytes, 0, q->cluster_bytes - bytes);
		r = co_blocking(compress_call, &c);
		if (r == 0 && c.result == -ENOSPC)
			r = -ESTALE; /* does not get smaller */
		else if (r == 0)
			r = c.result < 0 ? c.result : store(q, offset, bytes, out, c.result);
		if (r == -ESTALE)
			r = qcow2_write(q->node, offset, bytes, v, 0);
	}
	if (in)
		buffer_put(q->loop, in, q->cluster_bytes);
	free(out);
	return r;
}

int co_fn qcow2_write_compressed(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct vec v)
{
	while (bytes > 0) {
		uint64_t n = MIN(bytes, q->cluster_bytes - qcow2_in_cluster(q, offset));
		bool is_whole = qcow2_in_cluster(q, offset) == 0 &&
				(n == q->cluster_bytes || offset + n >= q->node->size);
		int r = is_whole ? write_cluster(q, offset, n, v)
				 : qcow2_write(q->node, offset, n, v, 0);

		if (r < 0)
			return r;
		offset += n;
		bytes -= n;
		v = vec_advance(v, n);
	}
	return 0;
}
