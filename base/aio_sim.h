/* SPDX-License-Identifier: MIT */
/*
 * The simulated engine: aio_*() on the disks of aio_sim_disk.h, in the virtual
 * time of a loop made by loop_new_sim().
 *
 * How long each request takes follows from the seed, so that requests overtake
 * each other. Runs on the loop's thread.
 */
#ifndef BASE_AIO_SIM_H
#define BASE_AIO_SIM_H

#include "base/aio_sim_disk.h"

/* Open @disk, which must outlive the descriptor; returns what aio_*() take for it. */
int aio_sim_open(struct loop *loop, struct sim_disk *disk);
/* No request may be under way. */
void aio_sim_close(struct loop *loop, int fd);

/* Bounds of the time that one request takes. Default: 20 us to 2 ms, most of them short. */
void aio_sim_set_latency(struct loop *loop, uint64_t min_ns, uint64_t max_ns);

#endif
