/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of an image, which have names and no other IDs. Node's loop; the calls
 * of librbd wait, on threads of their own.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "drivers/rbd/rbd.h"

struct call {
	rbd_image_t image;
	const char *name;
	int (*fn)(rbd_image_t image, const char *name);
};

static int run_blocking(void *arg)
{
	const struct call *c = arg;
	return c->fn(c->image, c->name);
}

/* Have @fn done to snapshot @name; @what is for the error. */
static int co_fn run(struct node *n, const char *name, int (*fn)(rbd_image_t, const char *),
		     const char *what, struct error **errp)
{
	struct rbd *rbd = n->state;
	struct call c = {.image = rbd->image->handle, .name = name, .fn = fn};
	rbd->generation++;
	int r = co_detached(run_blocking, &c, NULL, 0);
	rbd->generation++;
	if (r < 0)
		return error_set_errno(errp, r, "failed to %s snapshot '%s'", what, name);
	return 0;
}

struct listing {
	rbd_image_t image;
	rbd_snap_info_t *snapshots;
	int count, capacity; /* count may be a negative errno */
};

static int list_blocking(void *arg)
{
	struct listing *l = arg;
	/* librbd says how many there are when there is no room for them. */
	do {
		l->snapshots = xrealloc(l->snapshots, (size_t)l->capacity + 1,
					sizeof(l->snapshots[0]));
		l->count = rbd_snap_list(l->image, l->snapshots, &l->capacity);
	} while (l->count == -ERANGE);
	return l->count;
}

int co_fn rbd_node_snapshot_list(struct node *n, struct snapshot_info_list *ret,
				 struct error **errp)
{
	struct rbd *rbd = n->state;
	struct listing l = {.image = rbd->image->handle, .capacity = 16};
	int r = co_detached(list_blocking, &l, NULL, 0);
	for (int i = 0; i < l.count; i++) {
		struct snapshot_info *info = NEW(struct snapshot_info);
		*info = (struct snapshot_info){
			.id = xstrdup(l.snapshots[i].name),
			.name = xstrdup(l.snapshots[i].name),
			.vm_state_size = (int64_t)l.snapshots[i].size,
		};
		snapshot_info_list_append(ret, info);
	}
	if (l.count > 0)
		rbd_snap_list_end(l.snapshots);
	free(l.snapshots);
	return r < 0 ? error_set_errno(errp, r, "failed to list snapshots") : 0;
}

int co_fn rbd_node_snapshot_create(struct node *n, const char *name, struct error **errp)
{
	return run(n, name, rbd_snap_create, "create", errp);
}

static int co_fn update_size(struct node *n, struct error **errp)
{
	struct rbd *rbd = n->state;
	uint64_t size;
	int r = image_ask_size(rbd->image, &size);
	if (r < 0)
		return error_set_errno(errp, r, "failed to get the size of the image");
	node_set_size(n, size);
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
