/* SPDX-License-Identifier: MIT */
/*
 * Guessing formats. Node's loop.
 *
 * Who opens an image without naming its format trusts its first bytes. A guest
 * that owns a raw image could write another format's header there, with a
 * backing file of its choice, and read that file after the next opening.
 * Therefore a node that is raw by guess refuses such a write.
 */
#include "block/probe.h"

#include <string.h>

#include "base/buffer.h"
#include "block/driver.h"
#include "block/io_internal.h"

/* Of @bytes at @data. @filename may decide between equals. */
static const struct driver *probe_format(const struct graph *g, const void *data, size_t bytes,
					 const char *filename)
{
	const struct driver *best = NULL;
	int best_score = 0;
	for (const struct driver *const *d = g->drivers; *d; d++) {
		int score = (*d)->probe ? (*d)->probe(data, bytes, filename) : 0;
		if (score > best_score) {
			best = *d;
			best_score = score;
		}
	}
	return best;
}

int co_fn probe_node(struct node *n, const struct driver **ret, struct error **errp)
{
	void *data = buffer_get(n->loop, PROBE_BYTES);
	if (!data)
		return error_set_errno(errp, -ENOMEM, "Could not read '%s'", n->filename);
	struct iovec storage;
	size_t bytes = MIN(n->size, PROBE_BYTES);
	int r = io_read(n, 0, PROBE_BYTES, vec_flat(&storage, data, PROBE_BYTES), 0);
	if (r >= 0)
		*ret = probe_format(n->graph, data, bytes, n->filename);
	buffer_put(n->loop, data, PROBE_BYTES);
	if (r < 0)
		return error_set_errno(errp, r, "Could not read '%s' for determining its format",
				       n->filename);
	return 0;
}

int co_fn probe_check_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v)
{
	if (offset >= PROBE_BYTES)
		return 0;
	char *data = buffer_get(n->loop, PROBE_BYTES);
	if (!data)
		return -ENOMEM;
	struct iovec storage;
	int r = io_read(n, 0, PROBE_BYTES, vec_flat(&storage, data, PROBE_BYTES), 0);
	if (r >= 0) {
		vec_to_buffer(v, data + offset, MIN(bytes, PROBE_BYTES - offset));
		const struct driver *format =
			probe_format(n->graph, data, PROBE_BYTES, n->filename);
		if (format && format != n->driver)
			r = -EPERM;
	}
	buffer_put(n->loop, data, PROBE_BYTES);
	return r;
}
