/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: limits that several nodes share, each getting its turn. Loop's
 * thread.
 *
 * A group belongs to the graph from throttle_group_create() until its destruction;
 * members hold it.
 */
#ifndef BLOCK_THROTTLE_GROUP_H
#define BLOCK_THROTTLE_GROUP_H

#include "base/loop.h"
#include "block/throttle.h"

struct graph;

struct throttle_group {
	struct list link; /* in graph.throttle_groups */
	struct graph *graph;
	char *name;
	struct throttle throttle;
	struct list members; /* struct throttle_member.link; the first is the next to have its turn */
	/* For each direction: who waits for all members, and for when. */
	unsigned waiting[THROTTLE_DIRECTIONS];
	struct throttle_timer {
		struct loop_timer timer;
		struct throttle_group *group;
	} timers[THROTTLE_DIRECTIONS];
	bool is_open; /* the daemon is about to end: nobody waits */
};

/* A node in a group. In the caller's memory. */
struct throttle_member {
	struct list link;
	struct throttle_group *group;
	struct list queues[THROTTLE_DIRECTIONS]; /* requests that wait, first come first served */
	unsigned opened; /* drains under which nobody waits here */
};

/* -EEXIST for a taken name. The config has been checked. */
int throttle_group_create(struct graph *g, const char *name, const struct throttle_config *c,
			  struct throttle_group **ret, struct error **errp);
/* -EBUSY while it has members. */
int throttle_group_destroy(struct throttle_group *group);
/* The group called @name, or NULL. */
struct throttle_group *throttle_group_find(struct graph *g, const char *name);
/* Give it other limits, from now on and for those who wait as well. The config has been checked. */
void throttle_group_set(struct throttle_group *group, const struct throttle_config *c);
/* Let all requests of all groups pass from now on: the daemon is about to end. */
void throttle_groups_open(struct graph *g);

/* In the caller's memory, until throttle_member_finish(). */
void throttle_member_init(struct throttle_member *m, struct throttle_group *group);
/* No request waits. */
void throttle_member_finish(struct throttle_member *m);
/* Be in another group from now on. No request waits. */
void throttle_member_move(struct throttle_member *m, struct throttle_group *group);
/* Between the two, which may nest, requests of the member pass at once, and are counted. */
void throttle_member_open(struct throttle_member *m);
void throttle_member_close(struct throttle_member *m);

/* Wait until a request of @bytes may begin. */
void co_fn throttle_member_wait(struct throttle_member *m, enum throttle_direction d,
				uint64_t bytes);

#endif
