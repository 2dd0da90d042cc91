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
/* Open the image for a user that reads and writes; 0 or a negative errno with w->fault set. */
int co_fn world_open(struct world *w);
void co_fn world_close(struct world *w);

/* The number that the backing file's sectors carry. */
extern uint64_t world_backing_number;

/* guest.c: the guest's life: requests until none is left. */
void co_fn guest_live(struct world *w);

#endif
