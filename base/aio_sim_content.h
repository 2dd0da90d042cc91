/* SPDX-License-Identifier: MIT */
/*
 * The content of a simulated disk: sparse, and each sector knows which
 * operation wrote it. Only the simulation's own files include this.
 */
#ifndef BASE_AIO_SIM_CONTENT_H
#define BASE_AIO_SIM_CONTENT_H

#include "base/aio_sim_disk.h"

struct sim_chunk;

struct sim_content {
	struct sim_chunk **chunks; /* NULL where all is zero and nothing was ever written */
	size_t count;
	uint64_t size;       /* bytes */
	uint64_t size_stamp; /* of the operation that set the size */
};

void sim_content_finish(struct sim_content *c);
void sim_content_copy(struct sim_content *to, const struct sim_content *from);
/* Forget all stamps: everything is older than whatever comes. */
void sim_content_settle(struct sim_content *c);
void sim_content_read(const struct sim_content *c, uint64_t offset, uint8_t *p, uint64_t bytes);
/*
 * Write one sector (@data NULL: zeroes), unless something with a younger @stamp
 * is there. @grows: the size follows.
 */
void sim_content_write(struct sim_content *c, uint64_t sector, const uint8_t *data,
		       uint64_t stamp, bool grows);
/* Set the size, unless that was done with a younger @stamp; what is cut off becomes zero. */
void sim_content_truncate(struct sim_content *c, uint64_t size, uint64_t stamp);

#endif
