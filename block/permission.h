/* SPDX-License-Identifier: MIT */
/*
 * What an edge does to its child, and what it lets others do.
 *
 * The bit numbers are part of the protocol between processes: the file driver
 * locks byte 100 + bit for each permission held and byte 200 + bit for each
 * permission not shared.
 */
#ifndef BLOCK_PERMISSION_H
#define BLOCK_PERMISSION_H

enum permission {
	PERM_CONSISTENT_READ = 1 << 0, /* sees what a guest would see */
	PERM_WRITE = 1 << 1,           /* changes the visible data */
	PERM_WRITE_UNCHANGED = 1 << 2, /* writes without changing what is visible */
	PERM_RESIZE = 1 << 3,          /* changes the size */

	PERM_ALL = PERM_CONSISTENT_READ | PERM_WRITE | PERM_WRITE_UNCHANGED | PERM_RESIZE,
};

/* What a child is to its parent; a set of bits. */
enum edge_role {
	EDGE_DATA = 1 << 0,     /* holds the parent's guest-visible data */
	EDGE_METADATA = 1 << 1, /* holds the parent's own tables */
	EDGE_FILTERED = 1 << 2, /* the parent is a filter and shows this child's data */
	EDGE_COW = 1 << 3,      /* a backing file: shows through where the parent has nothing */
	EDGE_PRIMARY = 1 << 4,  /* the one child that stands for the parent's storage */
};

struct node;

/* "write", "consistent read", ... joined with ", ", as error messages show them. Free with free(). */
char *permission_names(unsigned permissions);

/*
 * What @n needs of a child by @role when its own parents together need
 * @permissions and let others have @shared, if its driver does not know better.
 * Drivers with a child_permissions of their own may start from this.
 */
void permission_for_child(struct node *n, unsigned role, unsigned permissions, unsigned shared,
			  unsigned *ret_permissions, unsigned *ret_shared);

#endif
