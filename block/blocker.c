/* SPDX-License-Identifier: MIT */
/*
 * Blockers: who forbids which operation on a node, and why. Loop's thread.
 */
#include "block/blocker.h"

#include "base/cleanup.h"

void blocker_add(struct blocker *b, struct node *n, unsigned operations, const char *reason)
{
	*b = (struct blocker){.node = n, .operations = operations, .reason = xstrdup(reason)};
	list_add_tail(&n->blockers, &b->link);
}

void blocker_remove(struct blocker *b)
{
	list_del_init(&b->link);
	free(TAKE(b->reason));
	b->node = NULL;
}

int blocker_check(struct node *n, enum block_operation op, struct error **errp)
{
	struct blocker *b;
	list_for_each (b, &n->blockers, link) {
		if (b->operations & op)
			return error_set(errp, -EBUSY, "Node '%s' is busy: %s", n->name, b->reason);
	}
	return 0;
}
