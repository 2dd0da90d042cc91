/* SPDX-License-Identifier: MIT */
/*
 * Lanes for writes into the page cache.
 *
 * Most file systems take one such write per file at a time and may sleep in it,
 * so that neither io_uring (which hands each to a thread of the kernel) nor a
 * crowd of threads is fast. A lane is one worker that carries out a file's
 * writes one after the other and reports them by the handful. Measured on ext4
 * with two processors, 4 KiB at depth 64: 470-520 k/s at 1.7-2.4 us of CPU time
 * each, against 420-710 k/s at 2.6-2.8 us for io_uring while the disk is idle,
 * and 2.1-2.5 times its rate while dirty pages are written back.
 *
 * Only the engines include this. Loop's thread, except for the writes.
 */
#ifndef BASE_AIO_LANE_H
#define BASE_AIO_LANE_H

#include "base/aio_engine.h"

struct aio_lanes;

struct aio_lanes *aio_lanes_create(struct loop *loop);
/* Take @r, a write, to be started by the next aio_lanes_submit(). */
void aio_lanes_queue(struct aio_lanes *lanes, struct aio_request *r);
void aio_lanes_submit(struct aio_lanes *lanes);
bool aio_lanes_has_pending(const struct aio_lanes *lanes);
/* Nothing is pending. */
void aio_lanes_destroy(struct aio_lanes *lanes);

#endif
