/* SPDX-License-Identifier: MIT */
/*
 * Limits on the rate of requests: arithmetic on buckets that leak, without clock,
 * node or waiting.
 *
 * 1. Each limit is a bucket. A request pours its bytes, or its count of
 *    operations, into every bucket that concerns it; the bucket leaks at the limit's
 *    rate. A request may begin while no such bucket is over its rim.
 * 2. A bucket holds what its burst rate lets through in its burst length; without a
 *    burst rate, a tenth of a second's worth of its rate.
 * 3. With a burst length of more than a second a second bucket leaks at the burst
 *    rate, so that a burst does not exceed that.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "base/error.h"
#include "schema/types.h"

enum throttle_direction { THROTTLE_READ, THROTTLE_WRITE, THROTTLE_DIRECTIONS };

enum throttle_kind {
	THROTTLE_BPS_TOTAL,
	THROTTLE_BPS_READ,
	THROTTLE_BPS_WRITE,
	THROTTLE_IOPS_TOTAL,
	THROTTLE_IOPS_READ,
	THROTTLE_IOPS_WRITE,
	THROTTLE_KINDS
};

struct throttle_limit {
	uint64_t rate;     /* per second; 0 for no limit */
	uint64_t burst;    /* per second; 0 for none */
	uint32_t length_s; /* of a burst */
};

struct throttle_config {
	struct throttle_limit limits[THROTTLE_KINDS];
	uint64_t iops_size; /* a request counts as one per so many bytes; 0: as one */
};

struct throttle {
	struct throttle_config config;
	struct {
		double level, burst_level;
	} buckets[THROTTLE_KINDS];
	uint64_t leaked_ns; /* when they have last leaked */
};

/* No limits. */
void throttle_config_init(struct throttle_config *c);
/* Take over what @l says; what it leaves out stays. -EINVAL: *c may have changed in part. */
int throttle_config_apply(struct throttle_config *c, const struct throttle_limits *l,
			  struct error **errp);
/* All of @c, as a new object. Free with throttle_limits_free(). */
struct throttle_limits *throttle_config_describe(const struct throttle_config *c);
/* 0, or -EINVAL when the limits contradict each other. */
int throttle_config_check(const struct throttle_config *c, struct error **errp);

/* Take over @c, with empty buckets. */
void throttle_set(struct throttle *t, const struct throttle_config *c, uint64_t now_ns);
/* How long a request must wait at least; 0 when it may begin. */
uint64_t throttle_delay_ns(struct throttle *t, enum throttle_direction d, uint64_t now_ns);
/* A request of @bytes begins. */
void throttle_take(struct throttle *t, enum throttle_direction d, uint64_t bytes);

#endif
