/* SPDX-License-Identifier: MIT */
/*
 * What the files of the mirror job share. Only they include it.
 */
#ifndef BLOCKJOBS_MIRROR_INTERNAL_H
#define BLOCKJOBS_MIRROR_INTERNAL_H

#include "block/graph.h"
#include "blockjobs/mirror.h"
#include "blockjobs/sync.h"

/* Which nodes: found by name, without references. */
struct mirror_nodes {
	struct node *source, *target;
	struct node *replaces; /* whose users the target gets; mostly the source */
};

/* What drive-mirror knows of the image that it has opened. */
struct mirror_image {
	struct node *node;
	bool is_new;           /* made for this: it shows zeroes */
	bool allocates_zeroes;
	struct node *backing;  /* that it gets; NULL for none */
};

/* The node to copy, which nodes do not use. The caller holds the change lock, as for the others. */
int mirror_find_source(struct graph *g, const char *name, struct node **ret, struct error **errp);
/* The node that the target replaces; @name NULL means @source itself. */
int mirror_find_replaced(struct node *source, const char *name, struct node **ret,
			 struct error **errp);
/* True when the users of @n may get a copy of @source instead: they see the same, or outvote it. */
bool mirror_can_replace(struct node *source, const struct node *n);
/* Find the nodes that @args name, and check the other arguments. */
int mirror_select(struct graph *g, const struct blockdev_mirror_args *args,
		  struct mirror_nodes *ret, struct error **errp);

/* @image is NULL where the user has named the target. The caller holds the change lock. */
int co_fn mirror_start_locked(struct job_table *t, const struct blockdev_mirror_args *args,
			      const struct mirror_image *image, struct error **errp);

#endif
