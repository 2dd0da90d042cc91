/* SPDX-License-Identifier: MIT */
/*
 * The image as a whole: opening, closing, reopening, making, resizing, damage.
 */
#ifndef DRIVERS_QCOW2_IMAGE_H
#define DRIVERS_QCOW2_IMAGE_H

#include "drivers/qcow2/state.h"

/* @options NULL stands for defaults. The geometry in @q is known. */
int qcow2_settings_init(struct qcow2_settings *s, struct qcow2 *q,
			const struct blockdev_options *options, struct error **errp);

int co_fn qcow2_open(struct node *n, const struct blockdev_options *options, void *arg,
		     struct error **errp);
void co_fn qcow2_close(struct node *n);
int qcow2_probe(const uint8_t *data, size_t bytes, const char *filename);
/*
 * Make the image fit for writing, once: load the refcount table, repair a dirty
 * image, clear autoclear bits. Everything that changes the image calls it first.
 */
int co_fn qcow2_begin_writing(struct qcow2 *q, struct error **errp);
/* Bring everything to the file, durably. */
int co_fn qcow2_settle(struct qcow2 *q);
/* The same, and mark the image clean. */
int co_fn qcow2_end_writing(struct qcow2 *q);
/* Tell that @bytes at @offset, a table's, could not be read because of @r; returns @r. */
int qcow2_table_error(const struct qcow2 *q, const char *table, uint64_t offset, uint64_t bytes,
		      int r, struct error **errp);
/* Load the refcount table if that has not been done. */
int co_fn qcow2_load_reftable(struct qcow2 *q, struct error **errp);
/* In memory: refcounts are 1 << @order bits wide. The cache is made anew afterwards. */
void qcow2_set_refcount_order(struct qcow2 *q, unsigned order);
/* Empty caches according to the settings. */
void qcow2_caches_init(struct qcow2 *q);
/* The same for the cache of refcount blocks alone. */
void qcow2_refcount_cache_init(struct qcow2 *q);
/* Something is cached: have it cleaned after cache-clean-interval. */
void qcow2_arm_clean_timer(struct qcow2 *q);

extern const char *const qcow2_reopen_options[];
int co_fn qcow2_reopen_prepare(struct reopen *r, struct error **errp);
void qcow2_reopen_commit(struct reopen *r);
void qcow2_reopen_abort(struct reopen *r);
int co_fn qcow2_activate(struct node *n, struct error **errp);

/*
 * The one place for damaged tables found at run time: keep the first sentence,
 * mark the image corrupt when it is writable, and stop writing. Returns -EIO.
 */
int co_fn qcow2_signal_corruption(struct qcow2 *q, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same, before a write of @bytes at @offset of the file that would make it worse. */
int co_fn qcow2_signal_bad_write(struct qcow2 *q, uint64_t offset, uint64_t bytes,
				 const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for damage that is no danger to other data: writing goes on. */
int qcow2_signal_damage(struct qcow2 *q, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

int co_fn qcow2_status(struct node *n, uint64_t offset, struct extent *ret);
int co_fn qcow2_info(struct node *n, struct driver_info *ret);
struct image_info_specific *qcow2_specific_info(struct node *n);
void qcow2_limits(struct node *n);

int co_fn qcow2_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			 struct error **errp);
/* Give every cluster of the range a host cluster that reads as zeroes. */
int co_fn qcow2_preallocate(struct qcow2 *q, uint64_t offset, uint64_t bytes,
			    enum preallocation preallocation, struct error **errp);
int co_fn qcow2_create(struct graph *g, const struct blockdev_create_options *options,
		       struct error **errp);
/* 0, or -EINVAL: the size of clusters or the width of refcounts is none that the format has. */
int qcow2_check_geometry(const struct blockdev_create_options_qcow2 *o, struct error **errp);
int qcow2_check_refcount_bits(int64_t bits, struct error **errp);
int co_fn qcow2_amend(struct node *n, const struct blockdev_create_options *options,
		      struct error **errp);
int co_fn qcow2_make_empty(struct node *n, struct error **errp);
int co_fn qcow2_measure(const struct blockdev_create_options *options, struct node *source,
			struct image_measure *ret, struct error **errp);
int co_fn qcow2_change_backing(struct node *n, const char *name, const char *format,
			       struct error **errp);

#endif
