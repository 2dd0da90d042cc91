/* SPDX-License-Identifier: MIT */
/*
 * One simulated machine: a loop, a graph with the real drivers on the disks of a
 * store, an opened image and its user. It lives between two crashes.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "base/loop.h"
#include "block/consumer.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/node.h"
#include "tests/sim/oracle.h"
#include "tests/sim/plan.h"

#define IMAGE_NAME "image"
#define BACKING_NAME "backing"

struct world {
	const struct plan *plan;
	struct sim_store *store;
	struct loop *loop;
	struct graph *graph;
	struct node *node; /* the image, when it is open */
	struct consumer consumer;
	struct edge *edge;
	uint64_t random;

	uint64_t sectors;      /* of the image, as far as the guest knows */
	bool is_resizing;
	struct oracle *oracle; /* of the guest; NULL before it lives */
	unsigned requests_left; /* that the guest is to send */
	struct co_group workers;
	bool tells; /* print each request of the guest */

	/* Which disk holds the active image, and since when; the first entry is how it began. */
	struct top {
		uint64_t position; /* of the record */
		char name[32];
	} *tops;
	size_t top_count;
	bool guest_is_done;
	uint64_t snapshots, commits, streams; /* that succeeded */

	char *fault; /* the first thing that went wrong, as a sentence */
};

/* Make the machine; @seed decides its schedule. */
void world_init(struct world *w, const struct plan *plan, struct sim_store *store, uint64_t seed);
/* Free what world_init() made; w->fault is the caller's. */
void world_finish(struct world *w);
/* Run @fn(@w) in a coroutine to its end. */
void world_run(struct world *w, void co_fn (*fn)(struct world *w));

/* Note that something went wrong; the first sentence counts. Takes @sentence. */
void world_fault(struct world *w, char *sentence);

/* Create the image, and its backing file, as the plan has it. */
void co_fn world_create_image(struct world *w);
/*
 * Open the image on disk @name for a user that reads and writes. 0, or a negative
 * errno with w->fault set.
 */
int co_fn world_open(struct world *w, const char *name);
void co_fn world_close(struct world *w);

/* The guest is about to do something: note which image is the active one. */
void world_note_top(struct world *w);
/* The disk that holds the active image at @position. */
const char *world_top_at(const struct top *tops, size_t count, uint64_t position);

/* The number that the backing file's sectors carry. */
extern uint64_t world_backing_number;

/* guest.c: the guest's life: requests until none is left. */
void co_fn guest_live(struct world *w);

/* manager.c: take snapshots and merge them until the guest is done. */
void co_fn manager_live(struct world *w);

#endif
