/* SPDX-License-Identifier: MIT */
/*
 * A simulated machine. Everything runs in its one loop.
 */
#include "tests/sim/world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/aio.h"
#include "base/cleanup.h"
#include "block/driver.h"
#include "drivers/filters.h"
#include "drivers/qcow2/qcow2.h"
#include "drivers/table.h"
#include "schema/schema.h"
#include "tests/sim/sim_driver.h"

static const struct driver *const drivers[] = {&copy_on_read_driver, &copy_before_write_driver,
					       &sim_driver, &raw_driver, &qcow2_driver, NULL};

/* Far from those of the guest. */
uint64_t world_backing_number = UINT64_C(0xbac0000000000001);

void world_init(struct world *w, const struct plan *plan, struct sim_store *store, uint64_t seed)
{
	*w = (struct world){.plan = plan, .store = store, .random = seed * 77 + 5};
	sim_driver_use(store);
	w->loop = loop_new_sim(seed);
	aio_sim_set_latency(w->loop, plan->latency_min_ns, plan->latency_max_ns);
	w->graph = graph_new(w->loop, drivers);
}

void world_finish(struct world *w)
{
	free(w->tops);
	free(w->backups);
	free(w->kept);
	graph_free(w->graph);
	loop_free(w->loop);
}

struct call {
	struct world *world;
	void co_fn (*fn)(struct world *w);
};

static void co_fn call_entry(void *arg)
{
	struct call *c = arg;
	c->fn(c->world);
}

void world_run(struct world *w, void co_fn (*fn)(struct world *w))
{
	struct call c = {w, fn};
	loop_run_coroutine(w->loop, call_entry, &c);
}

void world_fault(struct world *w, char *sentence)
{
	if (w->fault)
		free(sentence);
	else
		w->fault = sentence;
}

/* Fill the backing file with sectors that tell where they come from. */
static int co_fn fill_backing(struct world *w)
{
	struct sim_disk *disk = sim_store_add(w->store, BACKING_NAME);
	int fd = aio_sim_open(w->loop, disk);
	uint8_t p[SIM_SECTOR];
	int r = 0;
	for (uint64_t s = 0; r >= 0 && s < w->plan->backing_size / SIM_SECTOR; s++) {
		struct iovec iov;
		oracle_fill(world_backing_number, s, p);
		r = aio_write(w->loop, fd, s * SIM_SECTOR, SIM_SECTOR,
			      vec_flat(&iov, p, SIM_SECTOR), 0);
	}
	aio_sim_close(w->loop, fd);
	return r;
}

static int co_fn create(struct world *w, const char *json, struct error **errp)
{
	void *object;
	int r = schema_decode_json_text(&blockdev_create_options_type, json, &object, errp);
	if (r < 0)
		return r;
	const struct blockdev_create_options *options = object;
	const struct driver *driver =
		graph_find_driver(w->graph, blockdev_driver_name(options->driver));
	r = driver->create(w->graph, options, errp);
	blockdev_create_options_free(object);
	return r;
}

int co_fn world_create(struct world *w, const char *name, uint64_t bytes, bool has_backing,
		       struct error **errp)
{
	const struct plan *p = w->plan;
	_cleanup_free_ char *file =
		xasprintf("{\"driver\":\"file\",\"filename\":\"%s\",\"size\":0}", name);
	_cleanup_free_ char *image = xasprintf(
		"{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"},"
		"\"size\":%" PRIu64 ",\"version\":\"v%u\",\"cluster-size\":%u,"
		"\"refcount-bits\":%u,\"lazy-refcounts\":%s%s}",
		name, bytes, p->version, 1u << p->cluster_bits, p->refcount_bits,
		p->lazy_refcounts ? "true" : "false",
		has_backing ? ",\"backing-file\":\"" BACKING_NAME "\",\"backing-fmt\":\"raw\"" : "");
	int r = create(w, file, errp);
	return r >= 0 ? create(w, image, errp) : r;
}

void co_fn world_create_image(struct world *w)
{
	const struct plan *p = w->plan;
	_cleanup_error_ struct error *error = NULL;
	if (p->backing_size && fill_backing(w) < 0)
		world_fault(w, xstrdup("could not fill the backing file"));
	if (world_create(w, IMAGE_NAME, p->size, p->backing_size > 0, &error) < 0)
		world_fault(w, xasprintf("could not create the image: %s", error->message));
}

static char *describe(const struct consumer *c)
{
	return xstrdup("the guest");
}

static const struct consumer_ops guest_ops = {.describe = describe};

/* With the change lock. */
static int co_fn open_node(struct world *w, const char *name, bool read_only, struct node **ret,
			   struct error **errp)
{
	const struct plan *p = w->plan;
	_cleanup_free_ char *json = xasprintf(
		"{\"driver\":\"qcow2\",\"read-only\":%s,\"discard\":\"%s\",\"file\":{\"driver\":\"file\","
		"\"filename\":\"%s\"},\"l2-cache-size\":%" PRIu64 ",\"l2-cache-entry-size\":%" PRIu64
		",\"refcount-cache-size\":%" PRIu64 "}",
		read_only ? "true" : "false", p->discards_pass ? "unmap" : "ignore", name,
		p->l2_cache_bytes, p->l2_entry_bytes,
		p->refcount_cache_bytes);
	void *options;
	int r = schema_decode_json_text(&blockdev_options_type, json, &options, errp);
	if (r < 0)
		return r;
	r = node_open(w->graph, options, ret, errp);
	blockdev_options_free(options);
	return r;
}

int co_fn world_open_node(struct world *w, const char *name, struct node **ret,
			  struct error **errp)
{
	graph_change_begin(w->graph);
	int r = open_node(w, name, false, ret, errp);
	graph_change_end(w->graph);
	return r;
}

static int co_fn open_image(struct world *w, const char *name, bool read_only,
			    struct error **errp)
{
	graph_change_begin(w->graph);
	int r = open_node(w, name, read_only, &w->node, errp);
	if (r >= 0) {
		consumer_init(&w->consumer, w->graph, &guest_ops);
		unsigned changes = PERM_WRITE | (w->plan->weights.resize ? PERM_RESIZE : 0);
		r = edge_attach_consumer(&w->consumer, "guest", w->node,
					 PERM_CONSISTENT_READ | (read_only ? 0 : changes), PERM_ALL,
					 &w->edge, errp);
		if (r < 0) {
			consumer_finish(&w->consumer);
			node_unref(w->node);
		}
	}
	graph_change_end(w->graph);
	return r;
}

void world_note_top(struct world *w)
{
	const struct node *n = node_skip_filters(w->edge->child);
	const char *name = n->file->child->filename;
	if (w->top_count > 0 && string_equal(w->tops[w->top_count - 1].name, name))
		return;
	w->tops = xrealloc(w->tops, w->top_count + 1, sizeof(*w->tops));
	struct top *top = &w->tops[w->top_count++];
	top->position = sim_store_position(w->store);
	snprintf(top->name, sizeof(top->name), "%s", name);
}

const char *world_top_at(const struct top *tops, size_t count, uint64_t position)
{
	size_t i = count - 1;
	while (i > 0 && tops[i].position > position)
		i--;
	return tops[i].name;
}

static int co_fn open_for(struct world *w, const char *name, bool read_only)
{
	_cleanup_error_ struct error *error = NULL;
	int r = open_image(w, name, read_only, &error);
	if (r < 0) {
		w->node = NULL;
		world_fault(w, xasprintf("could not open the image: %s", error->message));
	} else {
		w->sectors = w->node->size / SIM_SECTOR;
		world_note_top(w);
	}
	return r;
}

int co_fn world_open(struct world *w, const char *name)
{
	return open_for(w, name, false);
}

int co_fn world_open_to_read(struct world *w, const char *name)
{
	return open_for(w, name, true);
}

void co_fn world_close(struct world *w)
{
	graph_change_begin(w->graph);
	edge_detach(w->edge);
	consumer_finish(&w->consumer);
	node_unref(w->node);
	w->node = NULL;
	graph_change_end(w->graph);
}
