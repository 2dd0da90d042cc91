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

struct job_table;

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
	uint64_t snapshots, commits, streams, mirrors; /* that succeeded */
	/* Backups that did. */
	struct backup_copy {
		uint64_t position;    /* of the record: from here on it is there after any crash */
		uint64_t from, until; /* tokens of the oracle around the moment that it shows */
		char name[32];        /* of the disk */
	} *backups;
	size_t backup_count;
	/* Internal snapshots of this life, also those that failed or are gone. */
	struct kept_snapshot {
		uint64_t made, dropped; /* of the record: it is certainly there from and up to here */
		uint64_t from, until;   /* tokens of the oracle around the moment that it shows */
		char name[32];
	} *kept;
	size_t kept_count;
	char bitmap_name[16]; /* of the bitmap of this life, which begins names of snapshots */

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

/* Create an image of @bytes on disk @name, with the plan's backing file or none. 0 or a negative errno. */
int co_fn world_create(struct world *w, const char *name, uint64_t bytes, bool has_backing,
		       struct error **errp);
/* Open the image on disk @name as a node, by that name. Takes the change lock. */
int co_fn world_open_node(struct world *w, const char *name, struct node **ret,
			  struct error **errp);

/* Create the image, and its backing file, as the plan has it. */
void co_fn world_create_image(struct world *w);
/*
 * Open the image on disk @name for a user that reads and writes. 0, or a negative
 * errno with w->fault set.
 */
int co_fn world_open(struct world *w, const char *name);
/* The same for one that only reads. */
int co_fn world_open_to_read(struct world *w, const char *name);
void co_fn world_close(struct world *w);

/* The guest is about to do something: note which image is the active one. */
void world_note_top(struct world *w);
/* The disk that holds the active image at @position. */
const char *world_top_at(const struct top *tops, size_t count, uint64_t position);

/* The number that the backing file's sectors carry. */
extern uint64_t world_backing_number;

/* guest.c: the guest's life: requests until none is left. */
void co_fn guest_live(struct world *w);

/* manager.c: take snapshots, merge them, and copy the disk until the guest is done. */
void co_fn manager_live(struct world *w);
/* Stay with the job "job" until it has gone: complete it when it is ready, or perhaps give up. */
void co_fn manager_follow_job(struct world *w, struct job_table *jobs);
/* Print what it does, if that is wanted: @what, a detail, and the result. */
void manager_tell(struct world *w, const char *what, const char *detail, int r);

/* copier.c: let the guest move to a copy; make a copy of a moment, noted in w->backups. */
void co_fn copier_mirror(struct world *w, struct job_table *jobs);
void co_fn copier_backup(struct world *w, struct job_table *jobs);

/* keeper.c: take and delete internal snapshots, and change options, until the guest is done. */
void co_fn keeper_live(struct world *w);
/*
 * After a crash at @position: those of @kept that are in the image on disk @top show their
 * moments, and those are there that must be. *ret_right: how many were.
 */
void co_fn keeper_judge(struct world *w, const struct oracle *o, const struct kept_snapshot *kept,
			size_t count, uint64_t position, const char *top, uint64_t *ret_right);

/* bitmaps.c: before the guest lives: make the bitmap w->bitmap_name. */
void co_fn bitmaps_begin(struct world *w);
/*
 * After a crash: the bitmaps called @name of the chain's images must be inconsistent or
 * have each sector that does not hold its number in @initial. *ret_right: how many
 * had them.
 */
void co_fn bitmaps_judge(struct world *w, const char *name, const uint64_t *initial,
			 uint64_t *ret_right);

#endif
