/* SPDX-License-Identifier: MIT */
/*
 * Requests of users: reading, writing, copy-on-write, zeroing, discarding.
 */
#ifndef DRIVERS_QCOW2_DATA_H
#define DRIVERS_QCOW2_DATA_H

#include "drivers/qcow2/state.h"

int co_fn qcow2_read_some(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			  unsigned flags);
/* Read bytes of the guest's disk, backing file included, and say whether all are zero by the tables
 * alone, in which case @p is not touched. For copy-on-write. */
int co_fn qcow2_read_guest(struct qcow2 *q, uint64_t offset, uint64_t bytes, void *p,
			   bool *ret_zero);

int co_fn qcow2_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
		      unsigned flags);
/* Write zeroes as data. */
int co_fn qcow2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t bytes);
/* ZEROES_BYTES of zeroes. */
const uint8_t *qcow2_zeroes(void);
/* Write zeroes to the file, beyond its end, too. */
int co_fn qcow2_zero_host(struct qcow2 *q, uint64_t offset, uint64_t bytes);

/* A write into clusters that no table points at yet, with the old data around it. */
struct cow {
	uint64_t guest, bytes;      /* the data */
	uint64_t host;              /* where it goes */
	uint64_t head, tail;        /* bytes to copy before and behind it */
	bool fresh;                 /* the clusters read as zeroes already */
};

/* Copy and write. The tables still show the old clusters, and will until this returns. */
int co_fn qcow2_cow_write(struct qcow2 *q, const struct cow *c, struct vec v);

int co_fn qcow2_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags);
/* Zero a part of one cluster: by subclusters where that can be, else as data. */
int co_fn qcow2_zero_part(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned flags);
int co_fn qcow2_discard(struct node *n, uint64_t offset, uint64_t bytes);

/* How zero and discard change entries. */
enum drop_mode {
	DROP_ZERO,       /* to zero, keeping host clusters */
	DROP_ZERO_UNMAP, /* to zero, giving host clusters back */
	DROP_DISCARD,    /* what a discard makes of it */
	DROP_ALL,        /* to unallocated, beyond the end of a shrunk image */
};

/*
 * Change whole clusters, the last of which may be given in part where the image
 * ends in it: -ESTALE when it has grown meanwhile. -ENOTSUP where version 2 cannot
 * express it.
 */
int co_fn qcow2_drop(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum drop_mode mode);

#endif
