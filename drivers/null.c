/* SPDX-License-Identifier: MIT */
/*
 * The drivers null-co and null-aio: nothing is stored, everything succeeds. For
 * measuring what the rest costs. Node's loop.
 */
#include "block/driver.h"

#define SIZE_MAX_BYTES (INT64_MAX / 512 * 512 - 511 * 512)

struct null {
	uint64_t latency_ns;
	bool read_zeroes;
};

static int co_fn null_open(struct node *n, const struct blockdev_options *options, void *arg,
			   struct error **errp)
{
	struct null *null = n->state;
	const struct blockdev_options_null *o = options->driver == BLOCKDEV_DRIVER_NULL_CO
							? &options->u.null_co
							: &options->u.null_aio;
	if (o->size < 0 || o->size > SIZE_MAX_BYTES)
		return error_set(errp, -EINVAL, "size is invalid");
	if (o->latency_ns > INT64_MAX)
		return error_set(errp, -EINVAL, "latency-ns is invalid");
	null->latency_ns = o->latency_ns;
	null->read_zeroes = o->read_zeroes;
	n->size = align_up((uint64_t)o->size, 512);
	/* A name says nothing of the options. */
	if (!o->has_size && !o->has_read_zeroes)
		n->filename = xasprintf("%s://", n->driver->name);
	return 0;
}

static int co_fn take_time(struct node *n)
{
	const struct null *null = n->state;
	if (null->latency_ns != 0)
		co_sleep_ns(null->latency_ns);
	return 0;
}

static int co_fn null_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	const struct null *null = n->state;
	if (null->read_zeroes)
		vec_fill(v, 0, bytes);
	return take_time(n);
}

static int co_fn null_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			    unsigned flags)
{
	return take_time(n);
}

static int co_fn null_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	return take_time(n);
}

static int co_fn null_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	return take_time(n);
}

static int co_fn null_status(struct node *n, uint64_t offset, struct extent *ret)
{
	const struct null *null = n->state;
	ret->flags = EXTENT_ALLOCATED | EXTENT_OFFSET_VALID | (null->read_zeroes ? EXTENT_ZERO : 0);
	ret->node = n;
	ret->offset = offset;
	return 0;
}

static int64_t co_fn null_allocated_bytes(struct node *n)
{
	return 0;
}

static const char *const strong_options[] = {"size", "read-zeroes", NULL};

#define NULL_DRIVER(its_name)                                                                      \
	{                                                                                          \
		.name = its_name,                                                                  \
		.protocol = its_name,                                                              \
		.state_size = sizeof(struct null),                                                 \
		.can_be_inactive = true,                                                           \
		.strong_options = strong_options,                                                  \
		.supports_fua = true,                                                              \
		.open = null_open,                                                                 \
		.read = null_read,                                                                 \
		.write = null_write,                                                               \
		.zero = null_zero,                                                                 \
		.discard = null_discard,                                                           \
		.flush = take_time,                                                                \
		.status = null_status,                                                             \
		.allocated_bytes = null_allocated_bytes,                                           \
	}

const struct driver null_co_driver = NULL_DRIVER("null-co");
const struct driver null_aio_driver = NULL_DRIVER("null-aio");
