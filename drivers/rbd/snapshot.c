/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of an image, which have names and no other IDs. Node's loop; the calls
 * of librbd wait, on threads of their own.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "base/loop.h"
#include "drivers/rbd/rbd.h"

#define NS_PER_S UINT64_C(1000000000)

/* How long a cluster may take to tell. librbd nearly always knows by itself. */
#define LIST_NS (5 * NS_PER_S)
/* Where there was no answer, nobody asks again for so long. */
#define SILENCE_NS (30 * NS_PER_S)

struct call {
	struct image *image;
	const char *name;
	int (*fn)(rbd_image_t image, const char *name);
};

static int run_blocking(void *arg)
{
	const struct call *c = arg;
	return image_explain(c->image, c->fn(c->image->handle, c->name));
}

/* Have @fn done to snapshot @name; @what is for the error. */
static int co_fn run(struct node *n, const char *name, int (*fn)(rbd_image_t, const char *),
		     const char *what, struct error **errp)
{
	struct rbd *rbd = n->state;
	struct call c = {.image = rbd->image, .name = name, .fn = fn};
	rbd->generation++;
	image_forget(rbd->image);
	early_wait(&rbd->image->early);
	int r = co_detached(run_blocking, &c, NULL, 0);
	rbd->generation++;
	image_forget(rbd->image);
	if (r < 0)
		return error_set_errno(errp, r, "failed to %s snapshot '%s'", what, name);
	return 0;
}

struct listing {
	struct image *image; /* which is not closed before the thread has ended */
	rbd_snap_info_t *snapshots;
	int count, capacity; /* count may be a negative errno */
	bool has_run;
};

static int list_blocking(void *arg)
{
	struct listing *l = arg;
	l->has_run = true;
	/* librbd says how many there are when there is no room for them. */
	do {
		l->snapshots = xrealloc(l->snapshots, (size_t)l->capacity + 1,
					sizeof(l->snapshots[0]));
		l->count = rbd_snap_list(l->image->handle, l->snapshots, &l->capacity);
	} while (l->count == -ERANGE);
	atomic_fetch_sub(&l->image->listers, 1);
	return MIN(l->count, 0);
}

static void listing_free(void *arg)
{
	struct listing *l = arg;
	if (l->count > 0)
		rbd_snap_list_end(l->snapshots);
	free(l->snapshots);
	free(l);
}

/* The listing, which the caller frees; NULL and *errp when there is none. */
static struct listing *co_fn list(struct rbd *rbd, struct error **errp)
{
	struct listing *l = NEW(struct listing);
	*l = (struct listing){.image = rbd->image, .capacity = 16};
	atomic_fetch_add(&l->image->listers, 1);
	int r = co_detached(list_blocking, l, listing_free, LIST_NS);
	if (r == DETACHED_ABANDONED) {
		/* Each question leaves a thread that waits. */
		rbd->silent_until_ns = loop_now_ns(loop_current()) + SILENCE_NS;
		error_set(errp, -ETIMEDOUT, "failed to list snapshots: the Ceph cluster does not "
			  "answer");
		return NULL;
	}
	if (!l->has_run)
		atomic_fetch_sub(&l->image->listers, 1);
	if (r >= 0)
		return l;
	error_set_errno(errp, r, "failed to list snapshots");
	listing_free(l);
	return NULL;
}

int co_fn rbd_node_snapshot_list(struct node *n, struct snapshot_info_list *ret,
				 struct error **errp)
{
	struct rbd *rbd = n->state;
	if (loop_now_ns(n->loop) < rbd->silent_until_ns)
		return error_set(errp, -ETIMEDOUT, "failed to list snapshots: the Ceph cluster has "
				 "not answered");
	struct listing *l = list(rbd, errp);
	if (!l)
		return -EIO;
	for (int i = 0; i < l->count; i++) {
		struct snapshot_info *info = NEW(struct snapshot_info);
		*info = (struct snapshot_info){
			.id = xstrdup(l->snapshots[i].name),
			.name = xstrdup(l->snapshots[i].name),
			.vm_state_size = (int64_t)l->snapshots[i].size,
		};
		snapshot_info_list_append(ret, info);
	}
	listing_free(l);
	return 0;
}

int co_fn rbd_node_snapshot_create(struct node *n, const char *name, struct error **errp)
{
	const struct rbd *rbd = n->state;
	int r = early_wait(&rbd->image->early);
	if (r < 0)
		return error_set_errno(errp, r, "failed to create snapshot '%s'", name);
	return run(n, name, rbd_snap_create, "create", errp);
}

static int co_fn update_size(struct node *n, struct error **errp)
{
	struct rbd *rbd = n->state;
	uint64_t size;
	int r = image_ask_size(rbd->image, &size);
	if (r < 0)
		return error_set_errno(errp, r, "failed to get the size of the image");
	node_set_size(n, align_up(size, RBD_SECTOR_BYTES));
	return 0;
}

int co_fn rbd_node_snapshot_apply(struct node *n, const char *id, struct error **errp)
{
	int r = run(n, id, rbd_snap_rollback, "apply", errp);
	return r < 0 ? r : update_size(n, errp);
}

int co_fn rbd_node_snapshot_show(struct node *n, const char *id, struct error **errp)
{
	int r = run(n, id, rbd_snap_set, "load", errp);
	return r < 0 ? r : update_size(n, errp);
}

int co_fn rbd_node_snapshot_delete(struct node *n, const char *id, struct error **errp)
{
	return run(n, id, rbd_snap_remove, "delete", errp);
}
