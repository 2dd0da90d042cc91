/* SPDX-License-Identifier: MIT */
/*
 * A judge of qcow2 images that shares nothing with the driver: it reads a
 * simulated disk by the public specification of the format.
 */
#ifndef TESTS_SIM_IMAGE_CHECK_H
#define TESTS_SIM_IMAGE_CHECK_H

#include "base/aio_sim_disk.h"

/*
 * Check that each cluster of the image on @disk that is referred to is counted,
 * lies inside the file, and is referred to once; and that the flags in the tables
 * agree. Clusters that are counted and unused are no fault: *ret_leaks tells how
 * many. With the dirty bit set, refcounts and flags may be anything. Returns NULL,
 * or the first fault as a sentence to free.
 *
 * With @has_snapshots there may be internal ones, or have been: each table of theirs
 * may refer once to what others refer to. A crash while one is taken or deleted leaves
 * flags that are out of date, but what is flagged as one's own must be that.
 */
char *image_check(const struct sim_disk *disk, bool has_snapshots, uint64_t *ret_leaks);

/* What the header names as the backing file; NULL for none. Free with free(). */
char *image_backing_name(const struct sim_disk *disk);
/* Whether the header is marked: refcounts may be stale. */
bool image_is_dirty(const struct sim_disk *disk);
/* Whether there is a qcow2 header. */
bool image_is_qcow2(const struct sim_disk *disk);

#endif
