/* SPDX-License-Identifier: MIT */
/*
 * Content IDs: an image has another one whenever its content has changed, and an overlay knows
 * that of the image it was made on. Node's loop.
 *
 * 1. The ID is changed once after each opening, durably before anything else is written: an
 *    overlay can then never take the changed image for the one that it was made on.
 * 2. What is not in an overlay is not read from a backing file that is another one by now.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "drivers/vmdk/state.h"

#define CID_DIGITS 8

static bool is_known(const struct vmdk *v, const struct node *parent)
{
	return v->known_parent == parent && strcmp(v->known_parent_name, parent->name) == 0;
}

int vmdk_check_parent(struct node *n)
{
	struct vmdk *v = n->state;
	const struct node *parent = node_skip_filters(n->backing->child);

	/* It may be changed from then on, as by a job that writes down what lies above it. */
	if (is_known(v, parent))
		return 0;
	if (parent->driver != &vmdk_driver || ((struct vmdk *)parent->state)->cid != v->parent_cid)
		return -EINVAL;
	v->known_parent = parent;
	strcpy(v->known_parent_name, parent->name);
	return 0;
}

static uint32_t new_cid(struct node *n)
{
	uint32_t cid;

	do
		cid = (uint32_t)loop_random(n->loop);
	while (cid == VMDK_NO_CID || cid == ((struct vmdk *)n->state)->cid);
	return cid;
}

/* Put the digits in the place of those in @text, which has room for some more. */
static int co_fn replace(struct node *n, char *text, uint64_t bytes, const char *digits)
{
	struct vmdk *v = n->state;
	size_t offset, length;

	if (!vmdk_descriptor_find_cid(text, bytes, &offset, &length))
		return 0;
	if (length == CID_DIGITS)
		return edge_write(n->file, v->descriptor_offset + offset, CID_DIGITS, digits, 0);
	/* Of another length, it moves what is behind it. */
	size_t end = strnlen(text, bytes), rest = end - offset - length;
	size_t new_end = offset + CID_DIGITS + rest;

	if (length > CID_DIGITS || (!v->is_text && new_end > bytes))
		return -EFBIG;
	memmove(text + offset + CID_DIGITS, text + offset + length, rest);
	memcpy(text + offset, digits, CID_DIGITS);
	return edge_write(n->file, v->descriptor_offset + offset, new_end - offset, text + offset, 0);
}

static int co_fn change_cid(struct node *n)
{
	struct vmdk *v = n->state;
	uint32_t cid = new_cid(n);
	char digits[CID_DIGITS + 1];
	_cleanup_free_ char *text = calloc(1, v->descriptor_bytes + CID_DIGITS + 1);

	snprintf(digits, sizeof(digits), "%08" PRIx32, cid);
	int r = text ? edge_read(n->file, v->descriptor_offset, v->descriptor_bytes, text, 0) : -ENOMEM;

	if (r == 0)
		r = replace(n, text, v->descriptor_bytes, digits);
	if (r == 0)
		r = edge_flush(n->file);
	if (r == 0)
		v->cid = cid;
	return r;
}

int co_fn vmdk_begin_writing(struct node *n)
{
	struct vmdk *v = n->state;
	int r = 0;

	if (v->has_new_cid)
		return 0;
	co_mutex_lock(&v->cid_lock);
	if (!v->has_new_cid && v->has_cid)
		r = change_cid(n);
	if (r == 0)
		v->has_new_cid = true;
	co_mutex_unlock(&v->cid_lock);
	return r;
}
