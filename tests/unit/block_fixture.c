/* SPDX-License-Identifier: MIT */
/*
 * Disks, formats and users for the tests of block/.
 */
#include "tests/unit/block_fixture.h"

#include <assert.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "schema/schema.h"

static struct fixture *current;

struct disk *disk_new(struct fixture *f, const char *name, uint64_t size)
{
	struct disk *d = NEW(struct disk);
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->data = xalloc(1, DISK_BYTES_MAX);
	d->durable = xalloc(1, DISK_BYTES_MAX);
	d->size = size;
	list_add_tail(&f->disks, &d->link);
	return d;
}

static struct disk *find_disk(const char *name)
{
	struct disk *d;
	list_for_each (d, &current->disks, link) {
		if (strcmp(d->name, name) == 0)
			return d;
	}
	return NULL;
}

static struct disk *disk_of(const struct node *n)
{
	return *(struct disk **)n->state;
}

/* A request begins: it is legal, and takes its time. */
static struct disk *co_fn disk_begin(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct disk *d = disk_of(n);
	const struct node_limits *l = &n->limits;
	ck_assert_uint_gt(bytes, 0);
	ck_assert(is_aligned(offset, l->request_alignment));
	ck_assert(is_aligned(bytes, l->request_alignment));
	ck_assert_uint_le(offset + bytes, DISK_BYTES_MAX);
	d->in_flight++;
	d->most_in_flight = MAX(d->most_in_flight, d->in_flight);
	if (d->delay_ns > 0)
		co_sleep_ns(d->varies ? loop_random(n->loop) % d->delay_ns : d->delay_ns);
	while (d->held)
		co_sleep_ns(1000000);
	return d;
}

static void check_memory(struct node *n, struct vec v, uint64_t bytes)
{
	const struct node_limits *l = &n->limits;
	ck_assert(vec_is_aligned(v, bytes, l->memory_alignment));
	if (l->max_transfer != 0)
		ck_assert_uint_le(bytes, l->max_transfer);
}

static int disk_result(struct disk *d, int error)
{
	d->in_flight--;
	return error;
}

static int co_fn disk_driver_open(struct node *n, const struct blockdev_options *options, void *arg,
				  struct error **errp)
{
	struct disk *d = options ? find_disk(options->u.file.filename) : arg;
	if (!d)
		return error_set_errno(errp, -ENOENT, "Could not open '%s'",
				       options->u.file.filename);
	*(struct disk **)n->state = d;
	n->size = d->size;
	n->filename = xstrdup(d->name);
	d->opens++;
	return 0;
}

static void co_fn disk_driver_close(struct node *n)
{
	disk_of(n)->closes++;
}

static int co_fn disk_driver_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
				  unsigned flags)
{
	check_memory(n, v, bytes);
	struct disk *d = disk_begin(n, offset, bytes);
	d->reads++;
	if (d->read_error)
		return disk_result(d, d->read_error);
	vec_from_buffer(v, d->data + offset, bytes);
	return disk_result(d, 0);
}

static int co_fn disk_driver_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
				   unsigned flags)
{
	check_memory(n, v, bytes);
	ck_assert(n->driver->supports_fua || !(flags & REQUEST_FUA));
	/* The first half lands at once and the rest at the end. */
	struct disk *d = disk_of(n);
	if (!d->write_error)
		vec_to_buffer(v, d->data + offset, bytes / 2);
	disk_begin(n, offset, bytes);
	d->writes++;
	d->fua_writes += !!(flags & REQUEST_FUA);
	if (d->write_error)
		return disk_result(d, d->write_error);
	vec_to_buffer(v, d->data + offset, bytes);
	if (flags & REQUEST_FUA)
		memcpy(d->durable + offset, d->data + offset, bytes);
	if (offset + bytes > d->size) {
		ck_assert(n->driver->grows_on_write);
		d->size = offset + bytes;
	}
	return disk_result(d, 0);
}

static int co_fn disk_driver_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct disk *d = disk_begin(n, offset, bytes);
	d->zeroes++;
	d->unmaps += !!(flags & REQUEST_MAY_UNMAP);
	d->longest_zero = MAX(d->longest_zero, bytes);
	d->last_zero_offset = offset;
	d->last_zero_bytes = bytes;
	ck_assert_uint_le(offset + bytes, align_up(d->size, n->limits.request_alignment));
	if (d->zero_error)
		return disk_result(d, d->zero_error);
	memset(d->data + offset, 0, bytes);
	return disk_result(d, 0);
}

static int co_fn disk_driver_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct disk *d = disk_begin(n, offset, bytes);
	d->discards++;
	if (d->discard_error)
		return disk_result(d, d->discard_error);
	memset(d->data + offset, 0, bytes);
	return disk_result(d, 0);
}

static int co_fn disk_driver_flush(struct node *n)
{
	struct disk *d = disk_of(n);
	/* Only what was written before the flush began is promised. */
	unsigned char *snapshot _cleanup_free_ = xmemdup(d->data, d->size);
	uint64_t size = d->size;
	d->flushes++;
	if (d->delay_ns > 0)
		co_sleep_ns(d->delay_ns);
	if (d->flush_error)
		return d->flush_error;
	memcpy(d->durable, snapshot, size);
	return 0;
}

static int co_fn disk_driver_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct disk *d = disk_of(n);
	uint64_t left = ret->bytes;
	*ret = (struct extent){
		.flags = EXTENT_DATA | EXTENT_OFFSET_VALID, .node = n, .offset = offset, .bytes = left};
	if (!d->holes)
		return 0;
	bool zero = all_bytes(d->data + offset, MIN(left, 512), 0);
	uint64_t bytes = 0;
	while (bytes < left && all_bytes(d->data + offset + bytes, MIN(left - bytes, 512), 0) == zero)
		bytes += 512;
	ret->bytes = MIN(bytes, left);
	if (zero)
		ret->flags |= EXTENT_ZERO;
	return 0;
}

static int co_fn disk_driver_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
				      struct error **errp)
{
	struct disk *d = disk_of(n);
	if (size > DISK_BYTES_MAX)
		return error_set(errp, -EFBIG, "The disk is full");
	d->truncates++;
	if (d->truncate_error) {
		co_sleep_ns(d->delay_ns);
		return error_set_errno(errp, d->truncate_error, "The disk does not change");
	}
	if (size > d->size)
		memset(d->data + d->size, 0, size - d->size);
	d->size = size;
	return 0;
}

static void disk_driver_limits(struct node *n)
{
	n->limits = disk_of(n)->limits;
}

static int disk_check_permissions(struct node *n, unsigned permissions, unsigned shared,
				  struct error **errp)
{
	struct disk *d = disk_of(n);
	d->checks++;
	if (d->check_error)
		return error_set(errp, d->check_error, "Failed to get the lock of '%s'", d->name);
	return 0;
}

static void disk_set_permissions(struct node *n, unsigned permissions, unsigned shared)
{
	struct disk *d = disk_of(n);
	d->sets++;
	d->set_permissions = permissions;
	d->set_shared = shared;
}

static void disk_abort_permissions(struct node *n)
{
	disk_of(n)->aborts++;
}

static bool disk_same_medium(const struct node *a, const struct node *b)
{
	return disk_of(a) == disk_of(b);
}

static int co_fn disk_reopen_prepare(struct reopen *r, struct error **errp)
{
	struct disk *d = disk_of(r->node);
	if (d->prepare_error)
		return error_set_errno(errp, d->prepare_error, "Could not reopen '%s'", d->name);
	ck_assert_int_eq(r->read_only, r->node->read_only);
	d->prepares++;
	r->state = d;
	return 0;
}

static void disk_reopen_commit(struct reopen *r)
{
	((struct disk *)r->state)->commits++;
}

static void disk_reopen_abort(struct reopen *r)
{
	((struct disk *)r->state)->reopen_aborts++;
}

static int co_fn disk_create(struct graph *g, const struct blockdev_create_options *options,
			     struct error **errp)
{
	struct disk *d = find_disk(options->u.file.filename);
	if (!d)
		d = disk_new(current, options->u.file.filename, 0);
	memset(d->data, 0, DISK_BYTES_MAX);
	d->size = options->u.file.size;
	return 0;
}

const struct driver disk_driver = {
	.name = "file",
	.state_size = sizeof(struct disk *),
	.grows_on_write = true,
	.open = disk_driver_open,
	.close = disk_driver_close,
	.read = disk_driver_read,
	.write = disk_driver_write,
	.zero = disk_driver_zero,
	.discard = disk_driver_discard,
	.flush = disk_driver_flush,
	.status = disk_driver_status,
	.truncate = disk_driver_truncate,
	.limits = disk_driver_limits,
	.check_permissions = disk_check_permissions,
	.set_permissions = disk_set_permissions,
	.abort_permissions = disk_abort_permissions,
	.same_medium = disk_same_medium,
	.reopen_prepare = disk_reopen_prepare,
	.reopen_commit = disk_reopen_commit,
	.reopen_abort = disk_reopen_abort,
	.create = disk_create,
};

const struct driver plain_disk_driver = {
	.name = "plain",
	.state_size = sizeof(struct disk *),
	.supports_fua = true,
	.open = disk_driver_open,
	.close = disk_driver_close,
	.read = disk_driver_read,
	.write = disk_driver_write,
	.truncate = disk_driver_truncate,
	.limits = disk_driver_limits,
};

/* The header of the "qcow2" of the tests, one cluster long. */
struct cow_header {
	char magic[8];
	uint64_t size;
	char backing[200], backing_format[16];
};

struct cow {
	uint64_t clusters;
	unsigned char *map;
	bool map_dirty;
};

static const char cow_magic[8] = "COWTEST";

static uint64_t cow_data_offset(const struct cow *c, uint64_t offset)
{
	return COW_CLUSTER + align_up(c->clusters, COW_CLUSTER) + offset;
}

void disk_format_cow(struct disk *d, uint64_t size, const char *backing,
		     const char *backing_format)
{
	struct cow_header h = {.size = size};
	memcpy(h.magic, cow_magic, sizeof(h.magic));
	snprintf(h.backing, sizeof(h.backing), "%s", backing ? backing : "");
	snprintf(h.backing_format, sizeof(h.backing_format), "%s",
		 backing_format ? backing_format : "");
	memset(d->data, 0, DISK_BYTES_MAX);
	memcpy(d->data, &h, sizeof(h));
	d->size = COW_CLUSTER + align_up(div_round_up(size, COW_CLUSTER), COW_CLUSTER);
}

static int co_fn cow_open(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp)
{
	struct cow *c = n->state;
	struct edge *file;
	int r = node_open_child(n, options->u.qcow2.file, "file",
				EDGE_DATA | EDGE_METADATA | EDGE_PRIMARY, &file, errp);
	if (r < 0)
		return r;
	struct cow_header h;
	r = edge_read(file, 0, sizeof(h), &h, 0);
	if (r < 0)
		return error_set_errno(errp, r, "Could not read the header");
	if (memcmp(h.magic, cow_magic, sizeof(h.magic)) != 0)
		return error_set(errp, -EINVAL, "Image is not in qcow2 format");
	n->size = h.size;
	if (h.backing[0])
		n->backing_name = xstrdup(h.backing);
	if (h.backing_format[0])
		n->backing_format = xstrdup(h.backing_format);
	c->clusters = div_round_up(h.size, COW_CLUSTER);
	c->map = xalloc(1, align_up(c->clusters, COW_CLUSTER));
	r = edge_read(file, COW_CLUSTER, align_up(c->clusters, COW_CLUSTER), c->map, 0);
	if (r < 0) {
		free(c->map);
		return error_set_errno(errp, r, "Could not read the map");
	}
	return 0;
}

static void co_fn cow_close(struct node *n)
{
	struct cow *c = n->state;
	free(c->map);
}

/* The run of clusters of one kind at @offset: its kind, and *bytes cut to its length. */
static unsigned char cow_run(struct cow *c, uint64_t offset, uint64_t *bytes)
{
	uint64_t i = offset / COW_CLUSTER, end = i + 1;
	while (end < c->clusters && c->map[end] == c->map[i] && end * COW_CLUSTER < offset + *bytes)
		end++;
	*bytes = MIN(*bytes, end * COW_CLUSTER - offset);
	return c->map[i];
}

static int co_fn cow_read_some(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			       unsigned flags)
{
	struct cow *c = n->state;
	switch (cow_run(c, offset, bytes)) {
	case 0:
		return READ_FROM_BACKING;
	case 1:
		return edge_readv(n->file, cow_data_offset(c, offset), *bytes, v, 0);
	default:
		vec_fill(v, 0, *bytes);
		return 0;
	}
}

/* Complete the cluster around @offset from below before a part of it is written. */
static int co_fn cow_complete(struct node *n, uint64_t offset)
{
	struct cow *c = n->state;
	uint64_t start = align_down(offset, COW_CLUSTER);
	if (c->map[start / COW_CLUSTER] == 1)
		return 0;
	unsigned char buffer[COW_CLUSTER] = {0};
	int r = 0;
	if (c->map[start / COW_CLUSTER] == 0 && n->backing)
		r = edge_read(n->backing, start, COW_CLUSTER, buffer, 0);
	if (r >= 0)
		r = edge_write(n->file, cow_data_offset(c, start), COW_CLUSTER, buffer, 0);
	return r;
}

static int co_fn cow_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	struct cow *c = n->state;
	int r = cow_complete(n, offset);
	if (r >= 0)
		r = cow_complete(n, offset + bytes - 1);
	if (r >= 0)
		r = edge_writev(n->file, cow_data_offset(c, offset), bytes, v, 0);
	if (r < 0)
		return r;
	for (uint64_t i = offset / COW_CLUSTER; i * COW_CLUSTER < offset + bytes; i++)
		c->map[i] = 1;
	c->map_dirty = true;
	return 0;
}

static int co_fn cow_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct cow *c = n->state;
	if (!is_aligned(offset, COW_CLUSTER) ||
	    (!is_aligned(bytes, COW_CLUSTER) && offset + bytes != n->size))
		return -ENOTSUP;
	for (uint64_t i = offset / COW_CLUSTER; i * COW_CLUSTER < offset + bytes; i++)
		c->map[i] = 2;
	c->map_dirty = true;
	return 0;
}

static int co_fn cow_flush(struct node *n)
{
	struct cow *c = n->state;
	if (!c->map_dirty)
		return 0;
	int r = edge_write(n->file, COW_CLUSTER, align_up(c->clusters, COW_CLUSTER), c->map, 0);
	if (r >= 0)
		c->map_dirty = false;
	return r;
}

static int co_fn cow_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct cow *c = n->state;
	switch (cow_run(c, offset, &ret->bytes)) {
	case 0:
		ret->flags = 0;
		return 0;
	case 1:
		ret->flags = EXTENT_DATA | EXTENT_OFFSET_VALID | EXTENT_RECURSE;
		ret->node = n->file->child;
		ret->offset = cow_data_offset(c, offset);
		return 0;
	default:
		ret->flags = EXTENT_ZERO;
		return 0;
	}
}

static int co_fn cow_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp)
{
	struct cow *c = n->state;
	uint64_t clusters = div_round_up(size, COW_CLUSTER);
	if (align_up(clusters, COW_CLUSTER) != align_up(c->clusters, COW_CLUSTER))
		return error_set(errp, -ENOTSUP, "The map of the image has no room");
	for (uint64_t i = clusters; i < c->clusters; i++)
		c->map[i] = 0;
	c->clusters = clusters;
	return edge_write(n->file, offsetof(struct cow_header, size), sizeof(size), &size, 0);
}

static int co_fn cow_info(struct node *n, struct driver_info *ret)
{
	ret->cluster_size = COW_CLUSTER;
	return 0;
}

static int co_fn cow_create(struct graph *g, const struct blockdev_create_options *options,
			    struct error **errp)
{
	const struct blockdev_create_options_qcow2 *o = &options->u.qcow2;
	struct node *file;
	int r = node_open_ref(g, o->file, &file, errp);
	if (r < 0)
		return r;
	disk_format_cow(disk_of(file), o->size, o->backing_file,
			o->has_backing_fmt ? blockdev_driver_name(o->backing_fmt) : NULL);
	node_unref(file);
	return 0;
}

static int cow_probe(const uint8_t *data, size_t bytes, const char *filename)
{
	return bytes >= sizeof(cow_magic) && memcmp(data, cow_magic, sizeof(cow_magic)) == 0 ? 100
											      : 0;
}

const struct driver cow_driver = {
	.name = "qcow2",
	.state_size = sizeof(struct cow),
	.is_format = true,
	.supports_backing = true,
	.open = cow_open,
	.close = cow_close,
	.read_some = cow_read_some,
	.write = cow_write,
	.zero = cow_zero,
	.flush = cow_flush,
	.status = cow_status,
	.truncate = cow_truncate,
	.info = cow_info,
	.create = cow_create,
	.probe = cow_probe,
};

static int co_fn raw_open(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp)
{
	int r = node_open_child(n, options->u.raw.file, "file", EDGE_FILTERED | EDGE_PRIMARY, NULL,
				errp);
	if (r >= 0)
		n->size = n->file->child->size;
	return r;
}

static int co_fn raw_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags)
{
	return edge_readv(n->file, offset, bytes, v, flags);
}

static int co_fn raw_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	return edge_writev(n->file, offset, bytes, v, flags);
}

static int co_fn raw_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	return edge_zero(n->file, offset, bytes, flags);
}

static int co_fn raw_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	return edge_discard(n->file, offset, bytes);
}

static void raw_child_resized(struct node *n, struct edge *e)
{
	node_set_size(n, e->child->size);
}

static int raw_probe(const uint8_t *data, size_t bytes, const char *filename)
{
	return 1;
}

unsigned raw_found_prepared;

static int co_fn raw_reopen_prepare(struct reopen *r, struct error **errp)
{
	const struct node *below = r->node->file->child;
	if (below->driver == &disk_driver)
		raw_found_prepared = (*(struct disk **)below->state)->prepares;
	return 0;
}

static const char *const raw_strong[] = {"offset", "size", NULL};
static const char *const raw_reopen[] = {"offset", "size", NULL};

const struct driver raw_driver = {
	.name = "raw",
	.is_format = true,
	.supports_fua = true,
	.strong_options = raw_strong,
	.reopen_options = raw_reopen,
	.reopen_prepare = raw_reopen_prepare,
	.open = raw_open,
	.read = raw_read,
	.write = raw_write,
	.zero = raw_zero,
	.discard = raw_discard,
	.child_resized = raw_child_resized,
	.probe = raw_probe,
};

static int co_fn null_open(struct node *n, const struct blockdev_options *options, void *arg,
			   struct error **errp)
{
	n->size = options->u.null_co.size;
	if (!options->u.null_co.has_size && !options->u.null_co.has_read_zeroes)
		n->filename = xstrdup("null-co://");
	return 0;
}

static int co_fn null_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	vec_fill(v, 0, bytes);
	return 0;
}

static int co_fn null_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			    unsigned flags)
{
	return 0;
}

static const char *const null_strong[] = {"size", "read-zeroes", NULL};

static const struct driver null_driver = {
	.name = "null-co",
	.protocol = "null-co",
	.strong_options = null_strong,
	.supports_fua = true,
	.open = null_open,
	.read = null_read,
	.write = null_write,
};

static int co_fn filter_open(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	struct node *child = arg;
	struct graph_tx tx;
	graph_tx_begin(&tx, n->graph);
	int r = graph_tx_attach_node(&tx, n, "file", child, EDGE_FILTERED | EDGE_PRIMARY, NULL,
				     errp);
	if (r >= 0)
		r = graph_tx_prepare(&tx, errp);
	if (r < 0)
		graph_tx_abort(&tx);
	else
		graph_tx_commit(&tx);
	return r;
}

const struct driver filter_driver = {
	.name = "test-filter",
	.is_filter = true,
	.open = filter_open,
};

static const struct driver *const drivers[] = {
	&disk_driver, &cow_driver, &raw_driver, &null_driver, NULL,
};

struct run {
	struct fixture fixture;
	void co_fn (*fn)(struct fixture *f);
};

static void co_fn run_entry(void *arg)
{
	struct run *r = arg;
	r->fn(&r->fixture);
}

static void run_on(struct loop *loop, void co_fn (*fn)(struct fixture *f))
{
	struct run r = {.fn = fn};
	struct fixture *f = &r.fixture;
	current = f;
	list_init(&f->disks);
	f->loop = loop;
	f->graph = graph_new(f->loop, drivers);
	loop_run_coroutine(f->loop, run_entry, &r);
	graph_free(f->graph);
	loop_free(f->loop);

	struct disk *d, *following;
	list_for_each_safe (d, following, &f->disks, link) {
		ck_assert_uint_eq(d->opens, d->closes);
		ck_assert_uint_eq(d->in_flight, 0);
		free(d->data);
		free(d->durable);
		free(d);
	}
}

void fixture_run_seed(uint64_t seed, void co_fn (*fn)(struct fixture *f))
{
	run_on(loop_new_sim(seed), fn);
}

void fixture_run(void co_fn (*fn)(struct fixture *f))
{
	fixture_run_seed(1, fn);
}

void fixture_run_real(void co_fn (*fn)(struct fixture *f))
{
	struct loop *loop = loop_new_uv(NULL);
	ck_assert_ptr_nonnull(loop);
	run_on(loop, fn);
}

struct node *co_fn disk_open(struct fixture *f, struct disk *d, const struct driver *driver)
{
	struct node *n = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, driver, NULL, false, d, &n, NULL), 0);
	n->discard_unmap = true;
	return n;
}

struct blockdev_options *options_text(const char *text)
{
	void *object;
	struct error *error _cleanup_error_ = NULL;
	int r = schema_decode_keyval(&blockdev_options_type, text, NULL, &object, &error);
	ck_assert_msg(r >= 0, "%s: %s", text, error ? error->message : "no error");
	return object;
}

int co_fn open_text(struct fixture *f, const char *text, struct node **ret, struct error **errp)
{
	struct blockdev_options *options = options_text(text);
	int r = node_open(f->graph, options, ret, errp);
	blockdev_options_free(options);
	return r;
}

struct node *co_fn open_ok(struct fixture *f, const char *text)
{
	struct node *n = NULL;
	struct error *error _cleanup_error_ = NULL;
	int r = open_text(f, text, &n, &error);
	ck_assert_msg(r >= 0, "%s: %s", text, error ? error->message : "no error");
	return n;
}

int co_fn open_filename(struct fixture *f, const char *filename, const char *format,
			bool read_only, struct node **ret, struct error **errp)
{
	struct blockdev_options *options;
	bool probed;
	int r = options_from_filename(f->graph, filename, format, &options, &probed, errp);
	if (r < 0)
		return r;
	options->has_read_only = true;
	options->read_only = read_only;
	r = node_open(f->graph, options, ret, errp);
	blockdev_options_free(options);
	if (r >= 0)
		(*ret)->probed = probed;
	return r;
}

static struct user *user_of(const struct consumer *c)
{
	return container_of((struct consumer *)c, struct user, consumer);
}

static char *user_describe(const struct consumer *c)
{
	return xasprintf("user '%s'", user_of(c)->name);
}

static void user_resized(struct consumer *c)
{
	user_of(c)->resizes++;
}

static void user_quiesce(struct consumer *c)
{
	user_of(c)->quiesces++;
}

static void user_resume(struct consumer *c)
{
	user_of(c)->resumes++;
}

static void user_drained(struct consumer *c)
{
	ck_assert_uint_eq(c->operations, 0);
	user_of(c)->drains++;
}

static const struct consumer_ops user_ops = {
	.describe = user_describe,
	.resized = user_resized,
	.quiesce = user_quiesce,
	.resume = user_resume,
	.drained = user_drained,
};

int co_fn user_init(struct user *u, const char *name, struct node *n, unsigned permissions,
		    unsigned shared, struct error **errp)
{
	*u = (struct user){.name = name};
	consumer_init(&u->consumer, n->graph, &user_ops);
	int r = edge_attach_consumer(&u->consumer, "root", n, permissions, shared, &u->edge, errp);
	if (r < 0)
		consumer_finish(&u->consumer);
	return r;
}

void co_fn user_init_ok(struct user *u, struct node *n)
{
	struct error *error _cleanup_error_ = NULL;
	int r = user_init(u, "u", n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, &error);
	ck_assert_msg(r >= 0, "%s", error ? error->message : "no error");
}

void co_fn user_finish(struct user *u)
{
	edge_detach(u->edge);
	consumer_finish(&u->consumer);
}

int co_fn user_read(struct user *u, uint64_t offset, uint64_t bytes, void *p)
{
	consumer_enter(&u->consumer);
	int r = edge_read(u->edge, offset, bytes, p, 0);
	consumer_leave(&u->consumer);
	return r;
}

int co_fn user_write(struct user *u, uint64_t offset, uint64_t bytes, const void *p,
		     unsigned flags)
{
	consumer_enter(&u->consumer);
	int r = edge_write(u->edge, offset, bytes, p, flags);
	consumer_leave(&u->consumer);
	return r;
}

int co_fn user_fill(struct user *u, uint64_t offset, uint64_t bytes, int byte)
{
	void *p _cleanup_free_ = xalloc(1, bytes);
	memset(p, byte, bytes);
	return user_write(u, offset, bytes, p, 0);
}

int co_fn user_flush(struct user *u)
{
	consumer_enter(&u->consumer);
	int r = edge_flush(u->edge);
	consumer_leave(&u->consumer);
	return r;
}

bool co_fn user_sees(struct user *u, uint64_t offset, uint64_t bytes, int byte)
{
	void *p _cleanup_free_ = xalloc(1, bytes);
	memset(p, ~byte, bytes);
	ck_assert_int_eq(user_read(u, offset, bytes, p), 0);
	return all_bytes(p, bytes, byte);
}

void error_expect(struct error **error, const char *message)
{
	ck_assert_ptr_nonnull(*error);
	ck_assert_str_eq((*error)->message, message);
	error_free(TAKE(*error));
}

void error_expect_part(struct error **error, const char *part)
{
	ck_assert_ptr_nonnull(*error);
	ck_assert_msg(strstr((*error)->message, part), "'%s' lacks '%s'", (*error)->message, part);
	error_free(TAKE(*error));
}

bool all_bytes(const void *p, size_t bytes, int byte)
{
	const unsigned char *b = p;
	for (size_t i = 0; i < bytes; i++) {
		if (b[i] != (unsigned char)byte)
			return false;
	}
	return true;
}
