/* SPDX-License-Identifier: MIT */
/*
 * The simulated loop: one thread, virtual time, and a seed for every choice.
 *
 * Time stands still while anything is ready, then jumps to the next timer or
 * the next completion of the simulated engine. Which of the ready coroutines
 * runs next is drawn at random, so that seeds try schedules that a real machine
 * would show once in a year; the same seed gives the same run.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/loop_internal.h"

/* How far from the front of the ready list the next coroutine may be. */
#define CHOICE_MAX 32

/* 2020-01-01 00:00:00 UTC. */
#define EPOCH_US UINT64_C(1577836800000000)

/* The engine draws from a seed of its own: more I/O does not change the schedule's draws. */
#define ENGINE_SEED UINT64_C(0x5851f42d4c957f2d)

struct sim_world {
	struct loop loop;
	uint64_t now_ns;
};

static struct sim_world *world_of(struct loop *loop)
{
	return container_of(loop, struct sim_world, loop);
}

static struct coroutine *sim_world_pick_ready(struct loop *loop)
{
	unsigned choices = 0;
	struct list *l;
	for (l = loop->ready.next; l != &loop->ready && choices < CHOICE_MAX; l = l->next)
		choices++;

	struct list *chosen = loop->ready.next;
	for (unsigned i = loop_random(loop) % choices; i > 0; i--)
		chosen = chosen->next;
	list_del_init(chosen);
	return container_of(chosen, struct coroutine, link);
}

static uint64_t next_event_ns(struct loop *loop)
{
	struct loop_timer *first = timer_heap_first(&loop->timers);
	uint64_t timer_ns = first ? first->deadline_ns : UINT64_MAX;
	uint64_t engine_ns = loop->engine->ops->next_event_ns(loop->engine);
	return MIN(timer_ns, engine_ns);
}

/* Let time pass until something happens. False: nothing ever will. */
static bool advance(struct sim_world *w)
{
	struct loop *loop = &w->loop;
	uint64_t next_ns = next_event_ns(loop);
	if (next_ns == UINT64_MAX)
		return false;

	w->now_ns = MAX(w->now_ns, next_ns);
	if (loop->engine->ops->next_event_ns(loop->engine) <= w->now_ns)
		loop->engine->ops->reap(loop->engine);
	loop_run_timers(loop, w->now_ns);
	return true;
}

static void sim_world_run(struct loop *loop)
{
	while (!loop->stop_requested) {
		if (!loop_turn(loop) && !loop->stop_requested && !advance(world_of(loop)))
			return;
	}
}

static uint64_t sim_world_now_ns(struct loop *loop)
{
	return world_of(loop)->now_ns;
}

static uint64_t sim_world_realtime_us(struct loop *loop)
{
	return EPOCH_US + world_of(loop)->now_ns / 1000;
}

static void sim_world_interrupt(struct loop *loop)
{
	/* A simulated loop never sleeps, and posts come from its own thread. */
}

static void sim_world_free(struct loop *loop)
{
	loop_finish(loop);
	free(world_of(loop));
}

static const struct loop_world sim_world_ops = {
	.run = sim_world_run,
	.now_ns = sim_world_now_ns,
	.realtime_us = sim_world_realtime_us,
	.pick_ready = sim_world_pick_ready,
	.interrupt = sim_world_interrupt,
	.free = sim_world_free,
	.simulated = true,
};

struct loop *loop_new_sim(uint64_t seed)
{
	struct sim_world *w = NEW(struct sim_world);
	loop_init(&w->loop, &sim_world_ops, seed);
	w->now_ns = 1; /* so that a deadline of 0 lies in the past */
	w->loop.engine = aio_sim_create(&w->loop, seed ^ ENGINE_SEED);
	return &w->loop;
}
