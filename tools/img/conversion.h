/* SPDX-License-Identifier: MIT */
/*
 * Copying what images show into another image: the work of convert and dd.
 */
#ifndef TOOLS_IMG_CONVERSION_H
#define TOOLS_IMG_CONVERSION_H

#include "tools/img/image.h"

struct conversion {
	struct image *sources; /* one after the other into the target */
	unsigned source_count;
	struct image *target;
	uint64_t sparse_bytes;   /* runs of zeroes from this length on are not written; 0: all are */
	uint64_t rate;           /* bytes a second; 0 for no limit */
	unsigned workers;        /* pieces in flight at most */
	bool only_top;           /* what the only source's backing file shows, the target's shows */
	bool target_is_zero;     /* before anything is written */
	bool compresses;
	bool out_of_order;       /* writes need not follow each other */
	bool salvages;           /* what cannot be read becomes zeroes */
};

/* Do it, with progress. Returns 0, or 1 after saying what is wrong. */
int co_fn conversion_run(const struct conversion *c);

#endif
