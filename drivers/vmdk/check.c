/* SPDX-License-Identifier: MIT */
/*
 * Checking an image: that every grain begins inside its file. Node's loop.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "drivers/vmdk/state.h"

struct check {
	const struct vmdk_extent *x;
	struct image_check *result;
};

static int check_grain(void *arg, uint64_t grain, uint32_t sector)
{
	const struct check *c = arg;
	const struct vmdk_extent *x = c->x;

	if (sector * VMDK_SECTOR_BYTES < vmdk_file_size(x))
		return 0;
	if (c->result->report) {
		char text[100];

		snprintf(text, sizeof(text),
			 "ERROR: cluster offset for sector %" PRIu64 " points after EOF",
			 x->start / VMDK_SECTOR_BYTES + grain * x->header.grain);
		c->result->report(c->result->report_arg, text);
	}
	return -EINVAL;
}

int co_fn vmdk_check(struct node *n, unsigned fix, struct image_check *ret, struct error **errp)
{
	struct vmdk *v = n->state;
	int r = fix ? -ENOTSUP : vmdk_flush(n);

	for (unsigned i = 0; i < v->count && r == 0; i++) {
		struct check c = {&v->extents[i], ret};

		if (v->extents[i].is_sparse)
			r = vmdk_visit_grains(&v->extents[i], check_grain, &c);
	}
	if (r < 0)
		return error_set(errp, r, "%s", fix ? "This image format does not support repairs"
						    : strerror(-r));
	return 0;
}
