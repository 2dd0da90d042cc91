/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps of nodes: which parts of a node have been written, since the bitmap was
 * made or cleared. The data path marks every write, zeroing and discard in each
 * recording bitmap of the node, when the request has ended and before it is
 * answered; a bitmap follows the size of its node, and what is new is clean. What
 * a write marks after somebody has cleared the bit and read the data is therefore
 * never lost, as long as clearing comes before reading.
 *
 * A bitmap is named, for users, or anonymous, for a job or a frozen one's writes.
 * Who relies on a named bitmap over a wait makes it busy: users then can neither
 * change nor remove it, and its pointer stays valid. A busy bitmap that records
 * goes on recording. To read one as it is at a moment, freeze it.
 *
 * Node's loop. Nothing here waits.
 */
#ifndef BLOCK_BITMAP_H
#define BLOCK_BITMAP_H

#include "block/dirty_bitmap.h"
#include "block/node.h"

/* Longest name, in bytes. */
#define BITMAP_NAME_MAX 1023

struct bitmap {
	struct list link; /* in node.bitmaps, the youngest first */
	struct node *node;
	char *name; /* NULL for an anonymous one */
	/* As of size node->size. Changed by who has made it busy, or has just seen that nobody has. */
	struct dirty_bitmap *bits;
	bool enabled;      /* records writes, unless frozen */
	bool busy;         /* in use, or about to be removed */
	bool persistent;   /* stored in the image when the node is closed or becomes read-only */
	bool read_only;    /* loaded from an image that cannot be written: nothing may change */
	bool inconsistent; /* bits are missing: good for nothing but removal; records nothing */
	uint64_t cut_end;  /* the node was as long before it was cut: what comes back is dirty */
	struct bitmap *successor; /* of a frozen one: the anonymous bitmap that records for it */
};

/* --- Making, finding, removing ------------------------------------------------ */

/*
 * Give @n a clean, recording bitmap. @name NULL makes an anonymous one, for the
 * caller alone. -EINVAL for an unfit name or granularity, -EEXIST for a taken
 * name, -ENOMEM.
 */
int bitmap_create(struct node *n, const char *name, uint32_t granularity, struct bitmap **ret,
		  struct error **errp);
/* 0, or -EINVAL with the sentence. */
int bitmap_check_granularity(uint32_t granularity, struct error **errp);
/* The granularity that bitmaps get for which none is given: the cluster size, within limits. */
uint32_t co_fn bitmap_default_granularity(struct node *n);
/* Take @b, busy or not, from its node and free it, with its successor. NULL is allowed. */
void bitmap_destroy(struct bitmap *b);
/* As bitmap_destroy(), for all that @n has; when a node is freed. */
void bitmaps_destroy_all(struct node *n);
/* The same for those that are stored in the image, none of which is busy. The image keeps them. */
void bitmaps_destroy_persistent(struct node *n);

/* The named bitmap of @n alone, or NULL. */
struct bitmap *bitmap_find(struct node *n, const char *name);
/* The bitmap @name of the node called @node, or NULL with the rival's sentence in *errp. */
struct bitmap *bitmap_find_error(struct graph *g, const char *node, const char *name,
				 struct error **errp);
/* The bitmap after @b, or the first for NULL; anonymous ones, too. NULL at the end. */
struct bitmap *bitmap_next(struct node *n, struct bitmap *b);
/* Whether one of them is stored in the image, or shall be. */
bool bitmaps_have_persistent(struct node *n);

/* What a use of a bitmap cannot bear. */
enum bitmap_obstacle {
	BITMAP_BUSY = 1 << 0,
	BITMAP_READ_ONLY = 1 << 1,
	BITMAP_INCONSISTENT = 1 << 2,
	BITMAP_UNREADABLE = BITMAP_BUSY | BITMAP_INCONSISTENT, /* for those who read the bits */
	BITMAP_UNWRITABLE = BITMAP_UNREADABLE | BITMAP_READ_ONLY, /* for those who change them */
};
/* 0, or -EBUSY, -EACCES or -EINVAL with the sentence when one of @obstacles is there. */
int bitmap_check(const struct bitmap *b, unsigned obstacles, struct error **errp);

/* --- State ------------------------------------------------------------------ */

/* True when writes reach @b or, for a frozen one, its successor. */
bool bitmap_is_recording(const struct bitmap *b);
/* Bytes in dirty granules, the last one counted whole, as queries tell. */
uint64_t bitmap_count(const struct dirty_bitmap *bits);
/* The bits as 64-bit words, hashed: 64 hexadecimal digits and a NUL. */
void bitmap_sha256(const struct bitmap *b, char ret[65]);
/*
 * 0 when dirty_bitmap_merge() may be used on the bits of the two, or -EINVAL with the
 * sentence when they are of different sizes. Granularities may differ.
 */
int bitmap_check_merge(const struct bitmap *target, const struct bitmap *source,
		       struct error **errp);

/* --- Freezing: for jobs that consume a bitmap ----------------------------------- */

/*
 * Let the bits of @b stand still: it becomes busy, and if it was enabled, a
 * successor records what is written from now on. To be consistent with data that
 * are read, the node is drained around this and the start of the reading. Checks
 * BITMAP_UNWRITABLE first. Ends with one of the two below, or with the node.
 */
int bitmap_freeze(struct bitmap *b, struct error **errp);
/*
 * The bits have been dealt with: only what the successor has recorded remains, and
 * @b goes on with it. @b is no longer busy.
 */
void bitmap_abdicate(struct bitmap *b);
/*
 * They have not: @b gets what its successor has recorded on top. @b is no longer
 * busy. The caller may set bits before, or clear those that were dealt with.
 */
void bitmap_reclaim(struct bitmap *b);

/* --- Showing bits that are not a bitmap of the node ------------------------------ */

/*
 * Bits of a job or a filter that tell something of a node, so that queries list them as
 * an anonymous bitmap. Nothing but queries looks at them here.
 */
struct bitmap_view {
	struct list link;  /* in node.bitmap_views, the youngest first */
	struct node *node; /* NULL: shows nothing */
	const struct dirty_bitmap *bits;
	bool is_recording; /* marks what is written */
};

/* Show @bits, which stay until bitmap_view_end(). @v is the caller's memory and stays in place. */
void bitmap_view_begin(struct bitmap_view *v, struct node *n, const struct dirty_bitmap *bits,
		       bool is_recording);
/* May be repeated; also when nothing was begun, or the node has gone. */
void bitmap_view_end(struct bitmap_view *v);
/* The node goes away: end all that are left. */
void bitmap_views_end_all(struct node *n);

/* --- For the data path ---------------------------------------------------------- */

/* Mark the range in all bitmaps of @n that record. */
void bitmaps_mark(struct node *n, uint64_t offset, uint64_t bytes);
/* n->size has changed. A bitmap for which there is no memory becomes inconsistent. */
void bitmaps_resize(struct node *n);

#endif
