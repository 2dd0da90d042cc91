/* SPDX-License-Identifier: MIT */
/*
 * Operations that a node's user forbids to others while it works, with the
 * sentence that a person gets: "Node 'x' is busy: block device is in use by
 * block job: commit".
 */
#ifndef BLOCK_BLOCKER_H
#define BLOCK_BLOCKER_H

#include "block/node.h"

enum block_operation {
	BLOCK_OP_COMMIT_SOURCE = 1 << 0,
	BLOCK_OP_COMMIT_TARGET = 1 << 1,
	BLOCK_OP_STREAM = 1 << 2,
	BLOCK_OP_MIRROR_SOURCE = 1 << 3,
	BLOCK_OP_MIRROR_TARGET = 1 << 4,
	BLOCK_OP_BACKUP_SOURCE = 1 << 5,
	BLOCK_OP_BACKUP_TARGET = 1 << 6,
	BLOCK_OP_EXTERNAL_SNAPSHOT = 1 << 7,
	BLOCK_OP_INTERNAL_SNAPSHOT = 1 << 8,
	BLOCK_OP_INTERNAL_SNAPSHOT_DELETE = 1 << 9,
	BLOCK_OP_CHANGE = 1 << 10,
	BLOCK_OP_RESIZE = 1 << 11,
	BLOCK_OP_REPLACE = 1 << 12,
	BLOCK_OP_DRIVE_DEL = 1 << 13,
	BLOCK_OP_LEAVE = 1 << 14,        /* taking the node away from below another */
	BLOCK_OP_BACKING_NAME = 1 << 15, /* writing another backing file's name to the image */
	BLOCK_OP_ALL = (1 << 16) - 1,
};

/* How a blocker is told of. */
enum blocker_manner {
	BLOCKER_IS_USER = 1 << 0,       /* who closes the node hears no more than that it is in use */
	BLOCKER_AFTER_OVERLAY = 1 << 1, /* where an overlay forbids the same, that is the reason */
};

struct blocker {
	struct list link;
	struct node *node;
	unsigned operations;
	unsigned manner; /* enum blocker_manner; 0 at first, the owner may change it */
	char *reason;
};

/*
 * Forbid @operations on @n until blocker_remove(), which must come before @n goes
 * away. @b is the caller's memory; @reason is copied.
 */
void blocker_add(struct blocker *b, struct node *n, unsigned operations, const char *reason);
void blocker_remove(struct blocker *b);
/*
 * 0, or -EBUSY with "Node 'N' is busy: REASON". A backing file is busy for what
 * its overlays could not bear without a blocker of theirs.
 */
int blocker_check(struct node *n, enum block_operation op, struct error **errp);
/* Whether a blocker on @n is one of @manner (enum blocker_manner). */
bool node_is_blocked_as(const struct node *n, unsigned manner);
/* Whether @n is the backing file of another node, also through filters. */
bool node_has_overlay(const struct node *n);
/* Whether no node stands upon @n, and no job is at work on it. */
bool node_is_root(const struct node *n);
/*
 * Refuse a command on @n with @error, which is given away, or with "Need a root block node" where
 * @n is none: the reference program asks for that first, also where nothing speaks against it here.
 */
int node_refuse_as_root(const struct node *n, struct error *error, struct error **errp);

#endif
