/* SPDX-License-Identifier: MIT */
/*
 * Simulated disks with a volatile write cache, and what is left of them after
 * a crash.
 *
 * A store is a set of named disks that share one record of all that happens to
 * them: each request's beginning and its end are events, numbered from 0. A
 * crash is thought of afterwards: a replay walks the record, and at any event
 * it can make the store that a power failure there might have left: what was
 * flushed, and of the rest each 512-byte sector or not, by seed.
 *
 * Disks belong to no loop. The data functions at the end are the engine's
 * (aio_sim.h). One thread.
 */
#ifndef BASE_AIO_SIM_DISK_H
#define BASE_AIO_SIM_DISK_H

#include "base/aio_engine.h"
#include "base/list.h"

#define SIM_SECTOR 512

/* Longest disk, in bytes. */
#define SIM_DISK_MAX (UINT64_C(1) << 40)

struct sim_store;
struct sim_disk;
struct sim_replay;

struct sim_store *sim_store_create(void);
/* NULL is allowed. No request may be under way. */
void sim_store_destroy(struct sim_store *store);

/* A new empty disk; the name must be new. It belongs to the store and is there after any crash. */
struct sim_disk *sim_store_add(struct sim_store *store, const char *name);
struct sim_disk *sim_store_find(struct sim_store *store, const char *name);
/* All disks in turn: the one added after @disk, or the first (NULL); NULL at the end. */
struct sim_disk *sim_store_next(struct sim_store *store, struct sim_disk *disk);
const char *sim_disk_name(const struct sim_disk *disk);
/* How many events the record has: what has happened up to now lies before it. */
uint64_t sim_store_position(const struct sim_store *store);
/* Take all that the disks hold now as durable and begin an empty record. Nothing is under way. */
void sim_store_settle(struct sim_store *store);

uint64_t sim_disk_size(const struct sim_disk *disk);
/* The current content, as a read would see it; @bytes of it from @offset; zeroes beyond the end. */
void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, void *p, uint64_t bytes);

/* What goes wrong. */
struct sim_fault {
	unsigned operations;   /* 1 << AIO_READ, ...: those it may strike */
	uint64_t offset, bytes;/* and where; bytes 0: anywhere */
	uint64_t pass;         /* lets so many matching requests pass first */
	uint64_t strikes;      /* then strikes so often; UINT64_MAX: for ever */
	int error;             /* negative errno; 0: only late */
	uint64_t delay_ns;     /* is done so much later */
};

/* Add @fault, which is copied, to @disk. */
void sim_disk_add_fault(struct sim_disk *disk, const struct sim_fault *fault);
void sim_disk_clear_faults(struct sim_disk *disk);
/* Refuse, with -ENOSPC, whatever would make the disk longer than @bytes. */
void sim_disk_limit(struct sim_disk *disk, uint64_t bytes);

/* Walk the record of @store, which must not go on meanwhile, from its beginning. */
struct sim_replay *sim_replay_create(const struct sim_store *store);
void sim_replay_destroy(struct sim_replay *replay);
/* Go on to just before event @position, which must not lie behind. */
void sim_replay_to(struct sim_replay *replay, uint64_t position);
/* A new store: what a crash here leaves when @seed is fate. */
struct sim_store *sim_replay_crash(const struct sim_replay *replay, uint64_t seed);
/* Describe event @position to @p, such as "write 7 of 4096 at 65536 begins". */
void sim_store_describe(const struct sim_store *store, uint64_t position, char *p, size_t bytes);

/* A reproducible generator of 64 random bits. */
uint64_t sim_random(uint64_t *state);

/* For the engine. */

struct sim_op;
/*
 * @r begins: checks it, decides its fate, records it. Returns how much later
 * than usual it shall end. *@random is the engine's generator.
 */
uint64_t sim_disk_begin(struct sim_disk *disk, struct aio_request *r, uint64_t *random,
			struct sim_op **ret_op);
/* @r ends: it takes effect, and r->result is set. */
void sim_disk_end(struct sim_disk *disk, struct aio_request *r, uint64_t *random,
		  struct sim_op *op);

#endif
