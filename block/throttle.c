/* SPDX-License-Identifier: MIT */
/*
 * Leaky buckets. Free of state but what is passed in.
 */
#include "block/throttle.h"

#include <inttypes.h>

#include "base/util.h"

#define NS_PER_S 1e9
/* 30 years. */
#define DELAY_MAX_NS 1e18
#define VALUE_MAX UINT64_C(1000000000000000)
/* Without a burst rate a bucket holds this part of a second's worth. */
#define PART_OF_SECOND 10

/* The members of struct throttle_limits, by kind. */
#define FOR_EACH_KIND(row)                                                                         \
	row(THROTTLE_BPS_TOTAL, bps_total, "bps-total")                                            \
	row(THROTTLE_BPS_READ, bps_read, "bps-read")                                               \
	row(THROTTLE_BPS_WRITE, bps_write, "bps-write")                                            \
	row(THROTTLE_IOPS_TOTAL, iops_total, "iops-total")                                         \
	row(THROTTLE_IOPS_READ, iops_read, "iops-read")                                            \
	row(THROTTLE_IOPS_WRITE, iops_write, "iops-write")

void throttle_config_init(struct throttle_config *c)
{
	*c = (struct throttle_config){0};
	for (unsigned i = 0; i < THROTTLE_KINDS; i++)
		c->limits[i].length_s = 1;
}

static int apply_length(uint32_t *ret, int64_t value, const char *name, struct error **errp)
{
	if (value < 0 || value > UINT32_MAX)
		return error_set(errp, -EINVAL,
				 "%s-max-length value must be in the range [0, %" PRIu32 "]", name,
				 UINT32_MAX);
	*ret = (uint32_t)value;
	return 0;
}

int throttle_config_apply(struct throttle_config *c, const struct throttle_limits *l,
			  struct error **errp)
{
	int r = 0;
	/* Negative values become larger than any that is permitted. */
#define APPLY(kind, member, name)                                                                  \
	if (l->has_##member)                                                                       \
		c->limits[kind].rate = (uint64_t)l->member;                                        \
	if (l->has_##member##_max)                                                                 \
		c->limits[kind].burst = (uint64_t)l->member##_max;                                 \
	if (l->has_##member##_max_length && r >= 0)                                                \
		r = apply_length(&c->limits[kind].length_s, l->member##_max_length, name, errp);
	FOR_EACH_KIND(APPLY)
#undef APPLY
	if (l->has_iops_size)
		c->iops_size = (uint64_t)l->iops_size;
	return r;
}

struct throttle_limits *throttle_config_describe(const struct throttle_config *c)
{
	struct throttle_limits *l = NEW(struct throttle_limits);
#define DESCRIBE(kind, member, name)                                                               \
	l->has_##member = l->has_##member##_max = l->has_##member##_max_length = true;             \
	l->member = (int64_t)c->limits[kind].rate;                                                 \
	l->member##_max = (int64_t)c->limits[kind].burst;                                          \
	l->member##_max_length = c->limits[kind].length_s;
	FOR_EACH_KIND(DESCRIBE)
#undef DESCRIBE
	l->has_iops_size = true;
	l->iops_size = (int64_t)c->iops_size;
	return l;
}

static bool is_mixed(const struct throttle_limit *total, const struct throttle_limit *read,
		     const struct throttle_limit *write)
{
	return (total->rate && (read->rate || write->rate)) ||
	       (total->burst && (read->burst || write->burst));
}

static int check_limit(const struct throttle_limit *l, struct error **errp)
{
	if (l->rate > VALUE_MAX || l->burst > VALUE_MAX)
		return error_set(errp, -EINVAL, "bps/iops/max values must be within [0, %" PRIu64 "]",
				 VALUE_MAX);
	if (l->length_s == 0)
		return error_set(errp, -EINVAL, "the burst length cannot be 0");
	if (l->length_s > 1 && l->burst == 0)
		return error_set(errp, -EINVAL, "burst length set without burst rate");
	if (l->burst != 0 && l->length_s > VALUE_MAX / l->burst)
		return error_set(errp, -EINVAL, "burst length too high for this burst rate");
	if (l->burst != 0 && l->rate == 0)
		return error_set(errp, -EINVAL,
				 "bps_max/iops_max require corresponding bps/iops values");
	if (l->burst != 0 && l->burst < l->rate)
		return error_set(errp, -EINVAL, "bps_max/iops_max cannot be lower than bps/iops");
	return 0;
}

int throttle_config_check(const struct throttle_config *c, struct error **errp)
{
	const struct throttle_limit *l = c->limits;
	if (is_mixed(&l[THROTTLE_BPS_TOTAL], &l[THROTTLE_BPS_READ], &l[THROTTLE_BPS_WRITE]) ||
	    is_mixed(&l[THROTTLE_IOPS_TOTAL], &l[THROTTLE_IOPS_READ], &l[THROTTLE_IOPS_WRITE]))
		return error_set(errp, -EINVAL, "bps/iops/max total values and read/write values "
				 "cannot be used at the same time");
	if (c->iops_size != 0 && l[THROTTLE_IOPS_TOTAL].rate == 0 &&
	    l[THROTTLE_IOPS_READ].rate == 0 && l[THROTTLE_IOPS_WRITE].rate == 0)
		return error_set(errp, -EINVAL, "iops size requires an iops value to be set");
	int r = 0;
	for (unsigned i = 0; i < THROTTLE_KINDS && r >= 0; i++)
		r = check_limit(&l[i], errp);
	return r;
}

void throttle_set(struct throttle *t, const struct throttle_config *c, uint64_t now_ns)
{
	*t = (struct throttle){.config = *c, .leaked_ns = now_ns};
}

static double leak(double level, uint64_t rate, double seconds)
{
	return MAX(level - (double)rate * seconds, 0);
}

static void leak_all(struct throttle *t, uint64_t now_ns)
{
	double seconds = (double)(now_ns - t->leaked_ns) / NS_PER_S;
	for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
		const struct throttle_limit *l = &t->config.limits[i];
		t->buckets[i].level = leak(t->buckets[i].level, l->rate, seconds);
		t->buckets[i].burst_level = leak(t->buckets[i].burst_level, l->burst, seconds);
	}
	t->leaked_ns = now_ns;
}

/* Nanoseconds until @level, which falls by @rate a second, is down to @rim. */
static double time_to_rim(double level, double rim, uint64_t rate)
{
	return level > rim ? (level - rim) / (double)rate * NS_PER_S : 0;
}

static double bucket_delay(const struct throttle *t, unsigned kind)
{
	const struct throttle_limit *l = &t->config.limits[kind];
	if (l->rate == 0)
		return 0;
	double rim = l->burst == 0 ? (double)l->rate / PART_OF_SECOND
				   : (double)l->burst * l->length_s;
	double delay = time_to_rim(t->buckets[kind].level, rim, l->rate);
	if (l->length_s > 1 && delay == 0)
		delay = time_to_rim(t->buckets[kind].burst_level, (double)l->burst / PART_OF_SECOND,
				    l->burst);
	return delay;
}

/* The four buckets that concern a direction. */
static const unsigned kinds_of[THROTTLE_DIRECTIONS][4] = {
	[THROTTLE_READ] = {THROTTLE_BPS_TOTAL, THROTTLE_BPS_READ, THROTTLE_IOPS_TOTAL,
			   THROTTLE_IOPS_READ},
	[THROTTLE_WRITE] = {THROTTLE_BPS_TOTAL, THROTTLE_BPS_WRITE, THROTTLE_IOPS_TOTAL,
			    THROTTLE_IOPS_WRITE},
};

uint64_t throttle_delay_ns(struct throttle *t, enum throttle_direction d, uint64_t now_ns)
{
	leak_all(t, now_ns);
	double delay = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds_of[d]); i++)
		delay = MAX(delay, bucket_delay(t, kinds_of[d][i]));
	/* What drains have let pass may add up to ages. */
	delay = MIN(delay, DELAY_MAX_NS);
	/* A fraction is a whole one, lest the same moment come again and again. */
	return delay > 0 ? (uint64_t)delay + 1 : 0;
}

void throttle_take(struct throttle *t, enum throttle_direction d, uint64_t bytes)
{
	uint64_t unit = t->config.iops_size;
	double operations = unit != 0 && bytes > unit ? (double)bytes / (double)unit : 1;
	for (unsigned i = 0; i < ARRAY_SIZE(kinds_of[d]); i++) {
		unsigned kind = kinds_of[d][i];
		double amount = kind < THROTTLE_IOPS_TOTAL ? (double)bytes : operations;
		if (t->config.limits[kind].rate == 0)
			continue;
		t->buckets[kind].level += amount;
		if (t->config.limits[kind].length_s > 1)
			t->buckets[kind].burst_level += amount;
	}
}
