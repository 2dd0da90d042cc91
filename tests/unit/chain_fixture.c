/* SPDX-License-Identifier: MIT */
/*
 * Chains of qcow2 images on disks in memory.
 */
#include "tests/unit/chain_fixture.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "blockjobs/commit.h"
#include "blockjobs/mirror.h"
#include "blockjobs/stream.h"
#include "drivers/filters.h"
#include "drivers/qcow2/qcow2.h"
#include "drivers/table.h"
#include "schema/schema.h"

static struct chain *current;

/* --- Disks --------------------------------------------------------------------- */

static struct chain_disk *find_disk(const char *name)
{
	struct chain_disk *d;
	list_for_each (d, &current->disks, link) {
		if (strcmp(d->name, name) == 0)
			return d;
	}
	return NULL;
}

/* Disks of former chains, all zeroes: new memory would take longer than most trials do. */
static struct list spares = LIST_INIT(spares);

static struct chain_disk *new_disk(void)
{
	struct chain_disk *d = NEW(struct chain_disk);
	d->data = xalloc(1, CHAIN_DISK_MAX);
	d->durable = xalloc(1, CHAIN_DISK_MAX);
	d->crashed = xalloc(1, CHAIN_DISK_MAX);
	return d;
}

static struct chain_disk *make_disk(const char *name)
{
	struct chain_disk *d;
	if (list_is_empty(&spares)) {
		d = new_disk();
	} else {
		d = list_first(&spares, struct chain_disk, link);
		list_del_init(&d->link);
	}
	snprintf(d->name, sizeof(d->name), "%s", name);
	list_add_tail(&current->disks, &d->link);
	return d;
}

static void recycle(struct chain_disk *d)
{
	memset(d->data, 0, d->used);
	memset(d->durable, 0, d->used);
	memset(d->crashed, 0, d->used);
	d->size = d->crashed_size = d->used = 0;
	list_del_init(&d->link);
	list_add_tail(&spares, &d->link);
}

/* Of each sector that is not durable, either state may survive. */
void chain_crash(struct chain *c)
{
	struct chain_disk *d;
	list_for_each (d, &c->disks, link) {
		for (uint64_t i = 0; i < d->used; i += 512) {
			bool survives = loop_random(c->loop) % 2;
			memcpy(d->crashed + i, (survives ? d->data : d->durable) + i, 512);
		}
		d->crashed_size = d->size;
	}
	c->crashed = true;
	if (c->on_crash)
		c->on_crash(c);
}

static struct chain_disk *disk_of(const struct node *n)
{
	return *(struct chain_disk **)n->state;
}

/* One event: 0 or the error that it shall have. */
static int co_fn disk_event(struct node *n)
{
	struct chain *c = current;
	uint64_t event = ++c->events;
	bool fails = c->fail_at > 0 && (c->fails_on ? event >= c->fail_at : event == c->fail_at) &&
		     (!c->fail_disk || strcmp(disk_of(n)->name, c->fail_disk) == 0);
	int error = fails ? c->fail_error : 0;
	if (c->delay_ns > 0)
		co_sleep_ns(1 + loop_random(c->loop) % c->delay_ns);
	while (c->slow_disk && strcmp(disk_of(n)->name, c->slow_disk) == 0)
		co_sleep_ns(10000000);
	if (event == c->crash_at && !c->crashed)
		chain_crash(c);
	return error;
}

static int co_fn disk_open(struct node *n, const struct blockdev_options *options, void *arg,
			   struct error **errp)
{
	struct chain_disk *d = find_disk(options->u.file.filename);
	if (!d)
		return error_set_errno(errp, -ENOENT, "Could not open '%s'",
				       options->u.file.filename);
	*(struct chain_disk **)n->state = d;
	n->size = d->size;
	n->filename = xstrdup(d->name);
	return 0;
}

static int co_fn disk_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	int r = disk_event(n);
	if (r >= 0)
		vec_from_buffer(v, disk_of(n)->data + offset, bytes);
	return r;
}

static int co_fn disk_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			    unsigned flags)
{
	struct chain_disk *d = disk_of(n);
	int r = disk_event(n);
	if (r >= 0 && offset + bytes > CHAIN_DISK_MAX)
		r = -ENOSPC;
	if (r < 0)
		return r;
	vec_to_buffer(v, d->data + offset, bytes);
	d->size = MAX(d->size, offset + bytes);
	d->used = MAX(d->used, d->size);
	return 0;
}

static int co_fn disk_flush(struct node *n)
{
	struct chain_disk *d = disk_of(n);
	uint64_t size = d->size;
	bool may_wait = current->delay_ns > 0 || current->slow_disk;
	uint8_t *before _cleanup_free_ = may_wait ? xmemdup(d->data, size) : NULL;
	int r = disk_event(n);
	if (current->unflushable && strcmp(d->name, current->unflushable) == 0)
		r = -EIO;
	if (r >= 0)
		memcpy(d->durable, before ? before : d->data, size);
	return r;
}

static int co_fn disk_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			       struct error **errp)
{
	struct chain_disk *d = disk_of(n);
	if (size > CHAIN_DISK_MAX)
		return error_set(errp, -ENOSPC, "The disk is full");
	if (size < d->size)
		memset(d->data + size, 0, d->size - size);
	d->size = size;
	return 0;
}

static int co_fn disk_create(struct graph *g, const struct blockdev_create_options *options,
			     struct error **errp)
{
	const char *name = options->u.file.filename;
	if (strchr(name, '/'))
		return error_set_errno(errp, -ENOENT, "Could not create '%s'", name);
	struct chain_disk *d = find_disk(name);
	if (!d)
		d = make_disk(name);
	/* A slow file system, so that several can be seen under way at once. */
	co_sleep_ns(1000000);
	memset(d->data, 0, d->used);
	d->size = options->u.file.size;
	return 0;
}

static bool disk_same_medium(const struct node *a, const struct node *b)
{
	return disk_of(a) == disk_of(b);
}

static const struct driver disk_driver = {
	.name = "file",
	.state_size = sizeof(struct chain_disk *),
	.grows_on_write = true,
	.open = disk_open,
	.read = disk_read,
	.write = disk_write,
	.flush = disk_flush,
	.truncate = disk_truncate,
	.create = disk_create,
	.same_medium = disk_same_medium,
};

/* --- Far disks -------------------------------------------------------------------- */

static void co_fn far_close(struct node *n)
{
	current->is_closing = true;
	while (!current->may_close)
		co_sleep_ns(10000000);
}

static struct driver far_driver;

void chain_make_far(struct node *n)
{
	far_driver = disk_driver;
	far_driver.is_remote = true;
	far_driver.close = far_close;
	n->file->child->driver = &far_driver;
}

void co_fn chain_expect_to_close_apart(struct chain *c)
{
	for (int i = 0; i < 200000 && !c->is_closing; i++)
		co_sleep_ns(100000);
	ck_assert(c->is_closing);
	ck_assert(!graph_is_changing(c->graph));
	ck_assert_msg(!chain_log_has(c, "concluded"), "%s", c->log);
	c->may_close = true;
}

static const struct driver *const drivers[] = {
	&disk_driver,		   &qcow2_driver,	    &copy_on_read_driver,
	&copy_before_write_driver, &snapshot_access_driver, NULL,
};

/* --- What jobs announce ------------------------------------------------------------ */

static void note(const struct job *j, const char *what)
{
	struct chain *c = container_of(j->table, struct chain, jobs);
	size_t used = strlen(c->log);
	if (strcmp(j->id, "j") == 0)
		snprintf(c->log + used, sizeof(c->log) - used, "%s ", what);
	else
		snprintf(c->log + used, sizeof(c->log) - used, "%s:%s ", j->id, what);
}

static void on_status(const struct job *j)
{
	note(j, job_status_name(j->status));
}

static void on_ready(const struct job *j)
{
	note(j, "READY");
}

static void on_pending(const struct job *j)
{
	note(j, "PENDING");
}

static void on_completed(const struct job *j)
{
	note(j, j->error ? "FAILED" : "COMPLETED");
}

static void on_cancelled(const struct job *j)
{
	note(j, "CANCELLED");
}

static void on_failed(const struct job *j, enum io_operation_type operation,
		      enum block_error_action action)
{
	note(j, block_error_action_name(action));
}

static const struct job_observer observer = {
	.status_changed = on_status,
	.ready = on_ready,
	.pending = on_pending,
	.completed = on_completed,
	.cancelled = on_cancelled,
	.failed = on_failed,
};

bool chain_log_has(const struct chain *c, const char *word)
{
	const char *found = strstr(c->log, word);
	return found && found[strlen(word)] == ' ' && (found == c->log || found[-1] == ' ');
}

void co_fn chain_wait_for(struct chain *c, const char *word)
{
	for (int i = 0; i < 200000 && !chain_log_has(c, word); i++)
		co_sleep_ns(100000);
	ck_assert_msg(chain_log_has(c, word), "waiting for %s: %s", word, c->log);
}

void chain_expect_log(struct chain *c, const char *expected)
{
	ck_assert_str_eq(c->log, expected);
	c->log[0] = '\0';
}

void chain_expect_error(struct error **error, const char *message)
{
	ck_assert_ptr_nonnull(*error);
	ck_assert_str_eq((*error)->message, message);
	error_free(TAKE(*error));
}

/* --- The stage ------------------------------------------------------------------------ */

struct call {
	struct chain *chain;
	void co_fn (*fn)(struct chain *c);
};

static void co_fn call_entry(void *arg)
{
	struct call *call = arg;
	call->fn(call->chain);
}

void chain_run(uint64_t seed, void co_fn (*fn)(struct chain *c))
{
	/* Disks come from the kernel, which clears no more than is used; what is smaller is kept. */
	mallopt(M_MMAP_THRESHOLD, CHAIN_DISK_MAX);
	mallopt(M_TRIM_THRESHOLD, 16 * CHAIN_DISK_MAX);
	struct chain *c = NEW(struct chain);
	current = c;
	list_init(&c->disks);
	c->model = xalloc(1, CHAIN_DISK_MAX);
	c->loop = loop_new_sim(seed);
	c->graph = graph_new(c->loop, drivers);
	job_table_init(&c->jobs, c->graph, &observer);
	struct call call = {c, fn};
	loop_run_coroutine(c->loop, call_entry, &call);
	job_table_finish(&c->jobs);
	graph_free(c->graph);
	loop_free(c->loop);

	struct chain_disk *d, *following;
	list_for_each_safe (d, following, &c->disks, link)
		recycle(d);
	free(c->model);
	free(c);
}

void co_fn chain_make(struct chain *c, const char *name, uint64_t size, const char *backing)
{
	make_disk(name);
	char *text _cleanup_free_ = xasprintf(
		"driver=qcow2,file.driver=file,file.filename=%s,size=%" PRIu64
		",cluster-size=%d%s%s%s",
		name, size, CHAIN_CLUSTER, backing ? ",backing-fmt=qcow2,backing-file=" : "",
		backing ? backing : "", "");
	void *options;
	struct error *error _cleanup_error_ = NULL;
	ck_assert_int_eq(
		schema_decode_keyval(&blockdev_create_options_type, text, NULL, &options, &error),
		0);
	int r = qcow2_driver.create(c->graph, options, &error);
	ck_assert_msg(r >= 0, "%s: %s", text, error ? error->message : "no error");
	schema_free(&blockdev_create_options_type, options);
}

int co_fn chain_open_text(struct chain *c, const char *text, struct node **ret,
			  struct error **errp)
{
	void *options;
	int r = schema_decode_keyval(&blockdev_options_type, text, NULL, &options, errp);
	if (r < 0)
		return r;
	r = node_open(c->graph, options, ret, errp);
	schema_free(&blockdev_options_type, options);
	return r;
}

static struct node *co_fn open_text(struct chain *c, const char *text)
{
	struct node *n;
	struct error *error _cleanup_error_ = NULL;
	int r = chain_open_text(c, text, &n, &error);
	ck_assert_msg(r >= 0, "%s: %s", text, error ? error->message : "no error");
	return n;
}

struct node *co_fn chain_open(struct chain *c, const char *name)
{
	char *text _cleanup_free_ = xasprintf(
		"driver=qcow2,node-name=%s,file.driver=file,file.filename=%s", name, name);
	return open_text(c, text);
}

struct node *co_fn chain_open_above(struct chain *c, const char *name, const char *backing)
{
	char *text _cleanup_free_ =
		xasprintf("driver=qcow2,node-name=%s,backing=%s,file.driver=file,file.filename=%s",
			  name, backing, name);
	return open_text(c, text);
}

void co_fn chain_open_all(struct chain *c, const char *const *names, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		char *text _cleanup_free_ = xasprintf(
			"driver=qcow2,node-name=%s,file.driver=file,file.filename=%s%s%s%s",
			names[i], names[i], i > 0 ? ",backing=" : "", i > 0 ? names[i - 1] : "",
			i + 1 < count ? ",read-only=on" : "");
		open_text(c, text)->monitor_owned = true;
	}
}

struct node *chain_find(struct chain *c, const char *name)
{
	struct node *n = node_find(c->graph, name);
	ck_assert_msg(n, "there is no node %s", name);
	return n;
}

const char *chain_below(struct chain *c, const char *name)
{
	struct node *n = chain_find(c, name);
	return n->backing ? n->backing->child->name : "";
}

void co_fn chain_close_all(struct chain *c)
{
	for (;;) {
		struct node *n, *found = NULL;
		list_for_each (n, &c->graph->nodes, link) {
			if (n->monitor_owned && list_is_empty(&n->parents))
				found = n;
		}
		if (!found)
			break;
		found->monitor_owned = false;
		node_unref(found);
	}
	ck_assert(list_is_empty(&c->graph->nodes));
}

static void co_fn fill(struct chain *c, struct node *n)
{
	struct chain_user u;
	chain_user_init(&u, c, n);
	consumer_enter(&u.consumer);
	for (uint64_t i = 0; i < CHAIN_SIZE / CHAIN_CLUSTER; i++) {
		uint8_t data[512];
		uint64_t choice = loop_random(c->loop) % 8;
		uint64_t offset = i * CHAIN_CLUSTER;
		if (choice == 0) {
			ck_assert_int_eq(edge_zero(u.edge, offset, CHAIN_CLUSTER, 0), 0);
			memset(c->model + offset, 0, CHAIN_CLUSTER);
		} else if (choice < 3) {
			offset += loop_random(c->loop) % 8 * 512;
			memset(data, (int)(1 + loop_random(c->loop) % 255), sizeof(data));
			ck_assert_int_eq(edge_write(u.edge, offset, sizeof(data), data, 0), 0);
			memcpy(c->model + offset, data, sizeof(data));
		}
	}
	ck_assert_int_eq(edge_flush(u.edge), 0);
	consumer_leave(&u.consumer);
	chain_user_finish(&u);
}

void co_fn chain_make_all(struct chain *c, const char *const *names, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		chain_make(c, names[i], CHAIN_SIZE, i > 0 ? names[i - 1] : NULL);
		struct node *n = chain_open(c, names[i]);
		fill(c, n);
		node_unref(n);
	}
	struct chain_disk *d;
	list_for_each (d, &c->disks, link)
		memcpy(d->durable, d->data, d->used);
	c->events = 0;
}

static void co_fn expect_bytes(struct chain *c, struct node *n, uint64_t bytes)
{
	struct chain_user u;
	chain_user_init(&u, c, n);
	uint8_t *data _cleanup_free_ = xalloc(1, bytes);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_read(u.edge, 0, bytes, data, 0), 0);
	consumer_leave(&u.consumer);
	for (uint64_t i = 0; i < bytes && memcmp(data, c->model, bytes) != 0; i++)
		ck_assert_msg(data[i] == c->model[i], "%s: byte %" PRIu64 " is %02x, not %02x",
			      n->name, i, data[i], c->model[i]);
	chain_user_finish(&u);
}

void co_fn chain_expect(struct chain *c, struct node *n)
{
	expect_bytes(c, n, n->size);
}

void co_fn chain_expect_image(struct chain *c, const char *name)
{
	char *text _cleanup_free_ =
		xasprintf("driver=qcow2,file.driver=file,file.filename=%s", name);
	struct node *n = open_text(c, text);
	chain_expect(c, n);
	struct image_check check = {0};
	ck_assert_int_eq(n->driver->check(n, 0, &check, NULL), 0);
	ck_assert_uint_eq(check.corruptions, 0);
	node_unref(n);
}

void co_fn chain_expect_after_crash(struct chain *c, const char *name)
{
	ck_assert(list_is_empty(&c->graph->nodes));
	ck_assert(c->crashed);
	chain_reboot(c);
	chain_expect_image(c, name);
}

void chain_reboot(struct chain *c)
{
	c->crash_at = c->fail_at = 0;
	struct chain_disk *d;
	list_for_each (d, &c->disks, link) {
		memcpy(d->data, d->crashed, d->used);
		d->size = d->crashed_size;
	}
}

/* --- Users ------------------------------------------------------------------------------ */

static char *user_describe(const struct consumer *c)
{
	return xstrdup("user");
}

static const struct consumer_ops user_ops = {.describe = user_describe};

void co_fn chain_user_init(struct chain_user *u, struct chain *c, struct node *n)
{
	*u = (struct chain_user){.chain = c, .ended = true};
	consumer_init(&u->consumer, c->graph, &user_ops);
	unsigned permissions = PERM_CONSISTENT_READ | (n->read_only ? 0 : PERM_WRITE);
	struct error *error _cleanup_error_ = NULL;
	int r = edge_attach_consumer(&u->consumer, "root", n, permissions,
				     PERM_ALL & ~(unsigned)PERM_RESIZE, &u->edge, &error);
	ck_assert_msg(r >= 0, "%s", error ? error->message : "no error");
}

static void co_fn user_step(struct chain_user *u)
{
	struct chain *c = u->chain;
	uint64_t sectors = u->edge->child->size / 512;
	uint64_t first = loop_random(c->loop) % sectors;
	uint64_t count = 1 + loop_random(c->loop) % 24;
	count = MIN(count, sectors - first);
	uint8_t *data _cleanup_free_ = xalloc(1, count * 512);
	int kind = (int)(loop_random(c->loop) % 10);
	if (kind > 1)
		memset(data, (int)(1 + loop_random(c->loop) % 255), count * 512);

	consumer_enter(&u->consumer);
	int r = kind == 0 ? edge_zero(u->edge, first * 512, count * 512, REQUEST_MAY_UNMAP)
			  : edge_write(u->edge, first * 512, count * 512, data, 0);
	if (r >= 0 && kind == 9)
		r = edge_flush(u->edge);
	consumer_leave(&u->consumer);
	ck_assert_int_eq(r, 0);
	memcpy(c->model + first * 512, data, count * 512);
	u->writes++;
}

static void co_fn user_main(void *arg)
{
	struct chain_user *u = arg;
	while (!u->stop) {
		user_step(u);
		if (u->pause_ns > 0)
			co_sleep_ns(1 + loop_random(u->chain->loop) % u->pause_ns);
		else
			co_reschedule();
	}
	u->ended = true;
}

void chain_user_start(struct chain_user *u)
{
	u->ended = false;
	co_start(u->chain->loop, user_main, u);
}

void co_fn chain_user_finish(struct chain_user *u)
{
	u->stop = true;
	while (!u->ended)
		co_sleep_ns(100000);
	edge_detach(u->edge);
	consumer_finish(&u->consumer);
}

/* --- Commands ------------------------------------------------------------------------------ */

/* @text as arguments of @type, with the job called "j" unless said. Free with schema_free(). */
static int decode_job(const struct schema_type *type, const char *text, void **ret,
		      struct error **errp)
{
	char *with_id _cleanup_free_ =
		xasprintf("%s%s", strstr(text, "job-id=") ? "" : "job-id=j,", text);
	return schema_decode_keyval(type, with_id, NULL, ret, errp);
}

int co_fn chain_commit(struct chain *c, const char *text, struct error **errp)
{
	void *args;
	int r = decode_job(&block_commit_args_type, text, &args, errp);
	if (r < 0)
		return r;
	r = commit_start(&c->jobs, args, errp);
	schema_free(&block_commit_args_type, args);
	return r;
}

int co_fn chain_stream(struct chain *c, const char *text, struct error **errp)
{
	void *args;
	int r = decode_job(&block_stream_args_type, text, &args, errp);
	if (r < 0)
		return r;
	r = stream_start(&c->jobs, args, errp);
	schema_free(&block_stream_args_type, args);
	return r;
}

int co_fn chain_mirror(struct chain *c, const char *text, struct error **errp)
{
	void *args;
	int r = decode_job(&blockdev_mirror_args_type, text, &args, errp);
	if (r < 0)
		return r;
	r = mirror_start(&c->jobs, args, errp);
	schema_free(&blockdev_mirror_args_type, args);
	return r;
}

static struct job *newest_job(struct chain *c, const char *text, int r, const struct error *error)
{
	ck_assert_msg(r >= 0, "%s: %s", text, error ? error->message : "no error");
	return list_first(&c->jobs.jobs, struct job, link);
}

struct job *co_fn chain_commit_ok(struct chain *c, const char *text)
{
	struct error *error _cleanup_error_ = NULL;
	int r = chain_commit(c, text, &error);
	return newest_job(c, text, r, error);
}

struct job *co_fn chain_stream_ok(struct chain *c, const char *text)
{
	struct error *error _cleanup_error_ = NULL;
	int r = chain_stream(c, text, &error);
	return newest_job(c, text, r, error);
}

struct job *co_fn chain_mirror_ok(struct chain *c, const char *text)
{
	struct error *error _cleanup_error_ = NULL;
	int r = chain_mirror(c, text, &error);
	return newest_job(c, text, r, error);
}

struct look {
	struct chain *chain;
	const char *name;
	bool is_over, has_found;
};

static void co_fn look(void *arg)
{
	struct look *l = arg;
	graph_change_begin(l->chain->graph);
	l->has_found = node_find(l->chain->graph, l->name);
	graph_change_end(l->chain->graph);
	l->is_over = true;
}

void co_fn chain_expect_to_leave_at_once(struct chain *c, struct job *j, const char *filter)
{
	struct look l = {.chain = c, .name = filter};
	graph_change_begin(c->graph);
	ck_assert_int_eq(job_verb_finalize(j, NULL), 0);
	co_sleep_ns(1000000000);
	ck_assert_ptr_nonnull(node_find(c->graph, filter));
	/* Its turn comes when the job has left, and before the job takes the lock once more. */
	co_start(c->loop, look, &l);
	co_sleep_ns(1000000000);
	graph_change_end(c->graph);
	chain_wait_for(c, "null");
	ck_assert(l.is_over && !l.has_found);
}
