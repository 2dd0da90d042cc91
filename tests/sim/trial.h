/* SPDX-License-Identifier: MIT */
/*
 * One trial: a seed's guest lives on its image, the power fails at many points of
 * its life, and each time the remains are judged.
 */
#ifndef TESTS_SIM_TRIAL_H
#define TESTS_SIM_TRIAL_H

#include "tests/sim/plan.h"

struct trial_options {
	uint64_t crashes;      /* points in each life; 0: each event */
	uint64_t qemu_img_each;/* have qemu-img check one of so many remains; 0: none */
	bool faults_allowed;
	bool tells;            /* print the requests and events */
};

struct trial_stats {
	uint64_t requests, snapshots, commits, streams, mirrors, backups, events, crashes;
	uint64_t qemu_img_checks, leaks;
	uint64_t bitmaps_right, backups_right, kept_right; /* found after crashes */
};

/* Returns false when something was wrong, after telling what. Adds to @stats. */
bool trial_run(uint64_t seed, const struct trial_options *options, struct trial_stats *stats);

#endif
