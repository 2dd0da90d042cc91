/* SPDX-License-Identifier: MIT */
/*
 * The simulated engine: keeps requests in the order in which they are due. Runs
 * on the loop's thread; the loop's virtual clock calls reap() at the time of
 * the next one.
 */
#include "base/aio_sim.h"

#include <assert.h>
#include <stdlib.h>

#include "base/coroutine.h"
#include "base/loop.h"

/* The first descriptor: far from those of real files, so that a mistake shows. */
#define FIRST_FD 1000000

#define LATENCY_MIN_NS UINT64_C(20000)
#define LATENCY_MAX_NS UINT64_C(2000000)

struct aio_sim {
	struct aio_engine engine;
	struct sim_disk **disks; /* by descriptor; NULL when closed */
	size_t disk_count;
	struct list due; /* struct aio_request.link, earliest first */
	uint64_t random;
	uint64_t latency_min_ns, latency_max_ns;
};

static struct aio_sim *from_loop(struct loop *loop)
{
	return container_of(loop_engine(loop), struct aio_sim, engine);
}

int aio_sim_open(struct loop *loop, struct sim_disk *disk)
{
	struct aio_sim *sim = from_loop(loop);
	sim->disks = xrealloc(sim->disks, sim->disk_count + 1, sizeof(*sim->disks));
	sim->disks[sim->disk_count] = disk;
	return FIRST_FD + (int)sim->disk_count++;
}

static struct sim_disk *find_disk(struct aio_sim *sim, int fd)
{
	size_t i = (size_t)fd - FIRST_FD;
	return fd >= FIRST_FD && i < sim->disk_count ? sim->disks[i] : NULL;
}

void aio_sim_close(struct loop *loop, int fd)
{
	struct aio_sim *sim = from_loop(loop);
	assert(find_disk(sim, fd));
	sim->disks[fd - FIRST_FD] = NULL;
}

void aio_sim_set_latency(struct loop *loop, uint64_t min_ns, uint64_t max_ns)
{
	struct aio_sim *sim = from_loop(loop);
	assert(min_ns <= max_ns);
	sim->latency_min_ns = min_ns;
	sim->latency_max_ns = max_ns;
}

/* Many short ones and a few that last: the minimum of two is more often small. */
static uint64_t choose_latency_ns(struct aio_sim *sim)
{
	uint64_t span = sim->latency_max_ns - sim->latency_min_ns + 1;
	uint64_t a = sim_random(&sim->random) % span, b = sim_random(&sim->random) % span;
	return sim->latency_min_ns + MIN(a, b);
}

static void sim_queue(struct aio_engine *engine, struct aio_request *r)
{
	struct aio_sim *sim = container_of(engine, struct aio_sim, engine);
	struct sim_disk *disk = find_disk(sim, r->fd);
	r->sim.op = NULL;
	r->sim.due_ns = loop_now_ns(engine->loop) + choose_latency_ns(sim);
	if (disk)
		r->sim.due_ns += sim_disk_begin(disk, r, &sim->random, &r->sim.op);

	struct aio_request *before;
	list_for_each(before, &sim->due, link) {
		if (before->sim.due_ns > r->sim.due_ns)
			break;
	}
	list_add_tail(&before->link, &r->link);
}

/* What was queued is on its way already. */
static void sim_submit(struct aio_engine *engine)
{
}

static bool sim_reap(struct aio_engine *engine)
{
	struct aio_sim *sim = container_of(engine, struct aio_sim, engine);
	uint64_t now_ns = loop_now_ns(engine->loop);
	bool woken = false;
	struct aio_request *r;
	while ((r = list_first(&sim->due, struct aio_request, link)) && r->sim.due_ns <= now_ns) {
		list_del_init(&r->link);
		if (r->sim.op)
			sim_disk_end(find_disk(sim, r->fd), r, &sim->random, r->sim.op);
		else
			r->result = -EBADF;
		co_wake(r->co);
		woken = true;
	}
	return woken;
}

static int sim_fd(struct aio_engine *engine)
{
	return -1;
}

static bool sim_has_pending(struct aio_engine *engine)
{
	return !list_is_empty(&container_of(engine, struct aio_sim, engine)->due);
}

static uint64_t sim_next_event_ns(struct aio_engine *engine)
{
	struct aio_sim *sim = container_of(engine, struct aio_sim, engine);
	struct aio_request *r = list_first(&sim->due, struct aio_request, link);
	return r ? r->sim.due_ns : UINT64_MAX;
}

static void sim_destroy(struct aio_engine *engine)
{
	struct aio_sim *sim = container_of(engine, struct aio_sim, engine);
	free(sim->disks);
	free(sim);
}

static const struct aio_engine_ops sim_ops = {
	.name = "sim",
	.has_truncate = true,
	.queue = sim_queue,
	.submit = sim_submit,
	.reap = sim_reap,
	.fd = sim_fd,
	.has_pending = sim_has_pending,
	.next_event_ns = sim_next_event_ns,
	.destroy = sim_destroy,
};

struct aio_engine *aio_sim_create(struct loop *loop, uint64_t seed)
{
	struct aio_sim *sim = NEW(struct aio_sim);
	sim->engine = (struct aio_engine){.ops = &sim_ops, .loop = loop};
	list_init(&sim->due);
	sim->random = seed;
	sim->latency_min_ns = LATENCY_MIN_NS;
	sim->latency_max_ns = LATENCY_MAX_NS;
	return &sim->engine;
}
