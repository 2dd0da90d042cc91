/* SPDX-License-Identifier: MIT */
/*
 * The header and its extensions: to and from the disk.
 */
#ifndef DRIVERS_QCOW2_HEADER_H
#define DRIVERS_QCOW2_HEADER_H

#include "drivers/qcow2/state.h"

/*
 * Decode and check a header of @bytes read from the start of the file, up to
 * where it ends. Nothing about its extensions. unknown_fields is the caller's.
 */
int qcow2_header_decode(const uint8_t *data, size_t bytes, struct qcow2_header *ret,
			struct error **errp);
/* The fixed part, without extensions, to @ret of header.length bytes. */
void qcow2_header_encode(const struct qcow2_header *h, uint8_t *ret);
/* Check the places and sizes of the tables that @h names against the limits and the format. */
int qcow2_header_check_tables(const struct qcow2_header *h, struct error **errp);
/* Write the fixed part of q->header (one sector) and make it durable. */
int co_fn qcow2_header_update(struct qcow2 *q);
/* Set and clear incompatible feature bits, durably; no write when nothing changes. */
int co_fn qcow2_header_set_incompatible(struct qcow2 *q, uint64_t set, uint64_t clear);
/*
 * The header could not be written to name another table: which one it names is
 * unknown, so that nothing more may be written. Returns @r.
 */
int qcow2_header_lost(struct qcow2 *q, int r);
/*
 * Write header, extensions and backing name anew, durably, so that a crash
 * leaves the old or the new.
 */
int co_fn qcow2_header_rewrite(struct qcow2 *q, struct error **errp);
/* The same with other names, which become the node's; NULL for none. */
int co_fn qcow2_header_rename(struct qcow2 *q, const char *backing_name,
			      const char *backing_format, struct error **errp);
/*
 * Lay out a whole header cluster in @ret (a cluster, zeroed). The backing name
 * goes to @name_at or behind the extensions, whichever is further. Sets
 * h->backing_offset and h->backing_bytes. Returns where the extensions end, or
 * -ENOSPC when it does not fit.
 */
int64_t qcow2_header_compose(struct qcow2_header *h, const struct list *extensions,
			     const char *backing_name, const char *backing_format,
			     uint64_t name_at, uint8_t *ret, struct error **errp);

/*
 * Decode the area of extensions, @bytes of @data. *ret_backing_format is NULL
 * or the caller's; the others go to @extensions, whole.
 */
int qcow2_extensions_decode(const uint8_t *data, size_t bytes, struct list *extensions,
			    char **ret_backing_format, struct error **errp);
void qcow2_extensions_free(struct list *extensions);
struct qcow2_extension *qcow2_extension_find(const struct list *extensions, uint32_t type);
/*
 * Encode the area, ending included, to at most @limit bytes at @ret. Our table
 * of feature names, if wanted, replaces any other. Returns the bytes used, or
 * -ENOSPC.
 */
int64_t qcow2_extensions_encode(const struct list *extensions, const char *backing_format,
				bool with_feature_names, uint8_t *ret, size_t limit);
/* The names of the incompatible @features, by the image's own table. Free with free(). */
char *qcow2_feature_names(const struct list *extensions, uint64_t features);

#endif
