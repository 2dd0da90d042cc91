/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the simulated disks share: disks, operations and the
 * record. Only the simulation's own files include this.
 */
#ifndef BASE_AIO_SIM_STORE_H
#define BASE_AIO_SIM_STORE_H

#include "base/aio_sim_content.h"
#include "base/cleanup.h"

/* One operation, from its beginning to its end; kept for the replay. */
struct sim_op {
	struct sim_disk *disk;
	enum aio_operation operation;
	int mode;
	int result; /* 0 or a negative errno */
	uint64_t offset, bytes;
	uint64_t effective_bytes; /* of them, done: all, or the first part when it fails */
	uint8_t *data;            /* of a write */
	uint64_t begin, end;      /* places in the record; UINT64_MAX: not yet */
};

struct sim_event {
	struct sim_op *op;
	bool ends;
};

struct sim_disk {
	struct list link; /* in the store */
	struct sim_store *store;
	char *name;
	unsigned index;
	struct sim_content now;     /* what a read sees */
	struct sim_content settled; /* durable where the record begins */
	uint64_t limit;
	struct sim_fault *faults;
	size_t fault_count;
};

struct sim_store {
	struct list disks;
	unsigned disk_count;
	struct sim_event *events;
	size_t event_count, event_capacity;
};

/* Add an event; returns its place. The record owns @op. */
uint64_t sim_store_record(struct sim_store *store, struct sim_op *op, bool ends);

/* Decides whether one sector survives. */
typedef bool sim_sector_filter(uint64_t *random);
/* Do to @c what @op does, marking it @stamp; with @filter only to the sectors that it lets pass. */
void sim_op_apply(struct sim_content *c, const struct sim_op *op, uint64_t stamp,
		  sim_sector_filter *filter, uint64_t *random);

#endif
