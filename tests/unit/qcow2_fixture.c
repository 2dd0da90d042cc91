/* SPDX-License-Identifier: MIT */
/*
 * A qcow2 image on a disk in memory, on a simulated loop.
 */
#include "tests/unit/qcow2_fixture.h"

#include <assert.h>
#include <sys/mman.h>

#include "drivers/blkdebug/blkdebug.h"
#include "drivers/qcow2/qcow2.h"
#include "drivers/vmdk/vmdk.h"

struct disk_state {
	struct disk *disk;
};

static struct disk *disk_of(const struct node *n)
{
	return ((struct disk_state *)n->state)->disk;
}

static int co_fn disk_open(struct node *n, const struct blockdev_options *options, void *arg,
			   struct error **errp)
{
	((struct disk_state *)n->state)->disk = arg;
	n->size = disk_of(n)->size;
	return 0;
}

static void co_fn pass_time(struct node *n)
{
	struct disk *d = disk_of(n);

	d->in_flight++;
	d->most_in_flight = MAX(d->most_in_flight, d->in_flight);
	if (d->delay_ns > 0)
		co_sleep_ns(1 + loop_random(n->loop) % d->delay_ns);
	d->in_flight--;
}

static bool fails(const struct disk *d, uint64_t offset, uint64_t bytes)
{
	return offset < d->fail_to && d->fail_from < offset + bytes;
}

static int co_fn disk_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	struct disk *d = disk_of(n);

	bool fails_once = ++d->reads == d->fails_once;

	while (d->hold_reads)
		co_queue_wait(&d->held);
	pass_time(n);
	if (fails_once)
		return -EIO;
	if (d->read_error && fails(d, offset, bytes))
		return d->read_error;
	vec_from_buffer(v, d->data + offset, bytes);
	return 0;
}

/* Let some sectors of a write, or all, or none, reach what is left after the power cut. */
static void cut_write(struct disk *d, uint64_t offset, uint64_t bytes)
{
	if (!d->after_cut || d->flushes > d->cut_at)
		return;
	for (uint64_t at = offset; at < offset + bytes; at = align_down(at, 512) + 512) {
		uint64_t end = MIN(align_down(at, 512) + 512, offset + bytes);

		d->cut_random = d->cut_random * 6364136223846793005u + 1442695040888963407u;
		if (d->flushes == d->cut_at && d->cut_random >> 63)
			continue;
		memcpy(d->after_cut + at, d->data + at, end - at);
		d->cut_size = MAX(d->cut_size, end);
	}
}

static int co_fn disk_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			    unsigned flags)
{
	struct disk *d = disk_of(n);

	bool fails_once = ++d->writes == d->write_fails_once;

	while (d->hold_writes)
		co_queue_wait(&d->held);
	pass_time(n);
	if (fails_once)
		return -EIO;
	if (offset + bytes > DISK_BYTES_MAX)
		return -ENOSPC;
	if (d->write_error && fails(d, offset, bytes))
		return d->write_error;
	vec_to_buffer(v, d->data + offset, bytes);
	cut_write(d, offset, bytes);
	d->bytes_written += bytes;
	d->size = MAX(d->size, offset + bytes);
	return 0;
}

static int co_fn disk_flush(struct node *n)
{
	struct disk *d = disk_of(n);

	bool fails_once = ++d->flushes == d->flush_fails_once;

	pass_time(n);
	return fails_once ? -EIO : d->flush_error;
}

/* What is discarded must not be read again: it becomes garbage. */
static int co_fn disk_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct disk *d = disk_of(n);

	d->discards++;
	d->bytes_discarded += bytes;
	while (d->hold_discards)
		co_queue_wait(&d->held);
	pass_time(n);
	memset(d->data + offset, 0xdd, bytes);
	return 0;
}

static int co_fn disk_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			       struct error **errp)
{
	struct disk *d = disk_of(n);

	if (size > DISK_BYTES_MAX)
		return error_set(errp, -ENOSPC, "disk full");
	if (size < d->size)
		memset(d->data + size, 0, d->size - size);
	d->size = size;
	return 0;
}

static const struct driver disk_driver = {
	.name = "file",
	.state_size = sizeof(struct disk_state),
	.grows_on_write = true,
	.open = disk_open,
	.read = disk_read,
	.write = disk_write,
	.flush = disk_flush,
	.discard = disk_discard,
	.truncate = disk_truncate,
};

static const struct driver *const drivers[] = {&blkdebug_driver, &disk_driver, &qcow2_driver,
					       &vmdk_driver, NULL};

static void *map_zeroes(void)
{
	/* Zero pages until they are written to. */
	void *data = mmap(NULL, DISK_BYTES_MAX, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(data != MAP_FAILED);
	return data;
}

static void disk_init(struct disk *d)
{
	*d = (struct disk){.data = map_zeroes(), .fail_to = UINT64_MAX};
	co_queue_init(&d->held);
}

void disk_cut_begin(struct disk *d, unsigned flushes, uint64_t seed)
{
	d->after_cut = map_zeroes();
	memcpy(d->after_cut, d->data, d->size);
	d->cut_size = d->size;
	d->cut_at = d->flushes + flushes;
	d->cut_random = seed;
}

void disk_cut_end(struct disk *d)
{
	munmap(d->data, DISK_BYTES_MAX);
	d->data = d->after_cut;
	d->size = d->cut_size;
	d->after_cut = NULL;
}

struct call {
	struct image *image;
	void co_fn (*fn)(struct image *i);
};

static void co_fn call_entry(void *arg)
{
	struct call *c = arg;
	struct image *i = c->image;

	/* Fuzzers come through here, too, who run no test. */
	int r = node_open_internal(i->graph, &disk_driver, "disk", false, &i->disk, &i->disk_node,
				   NULL);

	assert(r == 0);
	i->disk_node->discard_unmap = true;
	c->fn(i);
	image_close(i);
	node_unref(i->disk_node);
	node_unref(i->backing_node);
}

void image_run(uint64_t seed, void co_fn (*fn)(struct image *i))
{
	struct image *i = NEW(struct image);
	struct call c = {i, fn};

	i->loop = loop_new_sim(seed);
	i->graph = graph_new(i->loop, drivers);
	disk_init(&i->disk);
	disk_init(&i->backing_disk);
	loop_run_coroutine(i->loop, call_entry, &c);
	graph_free(i->graph);
	loop_free(i->loop);
	munmap(i->disk.data, DISK_BYTES_MAX);
	munmap(i->backing_disk.data, DISK_BYTES_MAX);
	free(i);
}

/* The sentence of @error, or NULL when there is none. Frees @error. */
static char *sentence(struct error *error)
{
	char *text = error ? xstrdup(error->message) : NULL;

	error_free(error);
	return text;
}

static const char *format_of(const struct image *i)
{
	return i->format ? i->format : "qcow2";
}

char *co_fn image_create_error(struct image *i, const char *options)
{
	_cleanup_free_ char *text = xasprintf("driver=%s,file=disk,%s", format_of(i), options);
	struct error *error = NULL;
	void *o;

	if (schema_decode_keyval(&blockdev_create_options_type, text, NULL, &o, &error) == 0) {
		graph_find_driver(i->graph, format_of(i))->create(i->graph, o, &error);
		schema_free(&blockdev_create_options_type, o);
	}
	return sentence(error);
}

void co_fn image_create_ok(struct image *i, const char *options)
{
	_cleanup_free_ char *error = image_create_error(i, options);

	ck_assert_msg(!error, "%s: %s", options, error);
}

static char *describe(const struct consumer *c)
{
	return xstrdup("a test");
}

static const struct consumer_ops consumer_ops = {.describe = describe};

static int co_fn open_image(struct image *i, const char *options, struct error **errp)
{
	_cleanup_free_ char *text =
		xasprintf("driver=%s,node-name=image,%s%s%s%s", format_of(i),
			  i->file ? i->file : "file=disk",
			  i->backing_node ? ",backing=backing" : "", options[0] ? "," : "", options);
	void *o;
	int r = schema_decode_keyval(&blockdev_options_type, text, NULL, &o, errp);

	if (r < 0)
		return r;
	if (!i->backing_node) { /* whatever the header says */
		struct blockdev_options *image = o;

		struct blockdev_ref_or_null **backing = image->driver == BLOCKDEV_DRIVER_VMDK
								? &image->u.vmdk.backing
								: &image->u.qcow2.backing;

		*backing = NEW(struct blockdev_ref_or_null);
		(*backing)->kind = BLOCKDEV_REF_OR_NULL_NULL;
	}
	r = node_open(i->graph, o, &i->node, errp);
	blockdev_options_free(o);
	if (r < 0)
		return r;
	i->q = i->node->state;
	consumer_init(&i->consumer, i->graph, &consumer_ops);
	r = edge_attach_consumer(&i->consumer, "root", i->node,
				 i->node->read_only ? PERM_CONSISTENT_READ
						    : PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE,
				 PERM_ALL, &i->edge, errp);
	if (r == 0)
		consumer_enter(&i->consumer);
	return r;
}

char *co_fn image_open_error(struct image *i, const char *options)
{
	struct error *error = NULL;

	open_image(i, options, &error);
	return sentence(error);
}

void co_fn image_open_ok(struct image *i, const char *options)
{
	_cleanup_free_ char *error = image_open_error(i, options);

	ck_assert_msg(!error, "%s: %s", options, error);
}

void co_fn image_close(struct image *i)
{
	if (!i->node)
		return;
	if (i->edge) {
		consumer_leave(&i->consumer);
		edge_detach(i->edge);
	}
	consumer_finish(&i->consumer);
	node_unref(i->node);
	i->node = NULL;
	i->edge = NULL;
}

void co_fn image_reopen(struct image *i, const char *options)
{
	image_close(i);
	image_open_ok(i, options);
}

void co_fn image_set_backing(struct image *i, uint64_t size, int byte)
{
	memset(i->backing_disk.data, byte, size);
	i->backing_disk.size = size;
	ck_assert_int_eq(node_open_internal(i->graph, &disk_driver, "backing", false,
					    &i->backing_disk, &i->backing_node, NULL), 0);
}

static int co_fn write_bytes(struct image *i, uint64_t offset, uint64_t bytes, int byte,
			     unsigned flags)
{
	void *p = buffer_get(i->loop, bytes);

	memset(p, byte, bytes);
	int r = edge_write(i->edge, offset, bytes, p, flags);

	buffer_put(i->loop, p, bytes);
	return r;
}

void co_fn image_write(struct image *i, uint64_t offset, uint64_t bytes, int byte)
{
	ck_assert_int_eq(write_bytes(i, offset, bytes, byte, 0), 0);
}

void co_fn image_write_compressed(struct image *i, uint64_t offset, uint64_t bytes, int byte)
{
	ck_assert_int_eq(write_bytes(i, offset, bytes, byte, REQUEST_COMPRESSED), 0);
}

void co_fn image_zero(struct image *i, uint64_t offset, uint64_t bytes, unsigned flags)
{
	ck_assert_int_eq(edge_zero(i->edge, offset, bytes, flags), 0);
}

void co_fn image_discard(struct image *i, uint64_t offset, uint64_t bytes)
{
	ck_assert_int_eq(edge_discard(i->edge, offset, bytes), 0);
}

void co_fn image_flush(struct image *i)
{
	ck_assert_int_eq(edge_flush(i->edge), 0);
}

/* Read; -EILSEQ when something else than @byte is there. */
static int co_fn read_bytes(struct image *i, uint64_t offset, uint64_t bytes, int byte)
{
	uint8_t *p = buffer_get(i->loop, bytes);
	int r = edge_read(i->edge, offset, bytes, p, 0);

	for (uint64_t at = 0; r == 0 && at < bytes; at++) {
		if (p[at] != (uint8_t)byte)
			r = -EILSEQ;
	}
	buffer_put(i->loop, p, bytes);
	return r;
}

void co_fn image_expect(struct image *i, uint64_t offset, uint64_t bytes, int byte)
{
	ck_assert_msg(read_bytes(i, offset, bytes, byte) == 0,
		      "%#" PRIx64 " bytes at %#" PRIx64 " are not all %#x", bytes, offset, byte);
}

void co_fn image_expect_check(struct image *i, uint64_t leaks, uint64_t corruptions)
{
	struct image_check c = {0};

	ck_assert_int_eq(qcow2_check(i->node, 0, &c, NULL), 0);
	ck_assert_uint_eq(c.errors, 0);
	ck_assert_uint_eq(c.corruptions, corruptions);
	ck_assert_uint_eq(c.leaks, leaks);
}

struct run co_fn image_map(struct image *i, uint64_t offset)
{
	struct run run = {0};

	ck_assert_int_eq(qcow2_map(i->q, offset, 1, &run), 0);
	return run;
}

static void co_fn background_entry(void *arg)
{
	struct background *b = arg;

	switch (b->kind) {
	case BACKGROUND_READ:
		b->result = read_bytes(b->image, b->offset, b->bytes, b->byte);
		break;
	case BACKGROUND_WRITE:
		b->result = write_bytes(b->image, b->offset, b->bytes, b->byte, 0);
		break;
	case BACKGROUND_DISCARD:
		b->result = edge_discard(b->image->edge, b->offset, b->bytes);
		break;
	case BACKGROUND_FLUSH:
		b->result = edge_flush(b->image->edge);
		break;
	}
	b->is_done = true;
}

void background_start(struct background *b)
{
	b->is_done = false;
	co_start(b->image->loop, background_entry, b);
}

void co_fn background_wait(struct background *b)
{
	for (unsigned i = 0; i < 10000 && !b->is_done; i++)
		co_sleep_ns(1000000);
	ck_assert_msg(b->is_done, "a request is stuck");
}

void co_fn settle(void)
{
	co_sleep_ns(1000000000);
}

void disk_release(struct disk *d)
{
	d->hold_reads = d->hold_writes = d->hold_discards = false;
	co_queue_wake_all(&d->held);
}
