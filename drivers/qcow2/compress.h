/* SPDX-License-Identifier: MIT */
/*
 * Compressed clusters.
 */
#ifndef DRIVERS_QCOW2_COMPRESS_H
#define DRIVERS_QCOW2_COMPRESS_H

#include "drivers/qcow2/state.h"

/* Decompress to exactly @bytes_out; 0 or -EIO. Thread-safe. */
int qcow2_decompress(enum qcow2_compression type, const void *in, size_t bytes_in, void *out,
		     size_t bytes_out);
/* The compressed size, or -ENOMEM, or -ENOSPC when it would not be below @limit. Thread-safe. */
int64_t qcow2_compress(enum qcow2_compression type, const void *in, size_t bytes_in, void *out,
		       size_t limit);

/* Copy @bytes from @skip bytes into the cluster. */
int co_fn qcow2_read_compressed(struct qcow2 *q, uint64_t descriptor, uint64_t skip,
				uint64_t bytes, struct vec v);
int co_fn qcow2_write_compressed(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct vec v);
/* Forget the decompressed cluster. */
void qcow2_compressed_forget(struct qcow2 *q);

#endif
