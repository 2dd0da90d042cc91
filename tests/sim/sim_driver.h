/* SPDX-License-Identifier: MIT */
/*
 * The block driver of the simulation: a "file" whose name is that of a disk in
 * the current store. It stands in the place of the real one, so that options,
 * backing names and creation mean simulated disks. One thread.
 */
#ifndef TESTS_SIM_SIM_DRIVER_H
#define TESTS_SIM_SIM_DRIVER_H

#include "base/aio_sim.h"
#include "block/driver.h"

extern const struct driver sim_driver;

/* The store in which names are looked up, until the next call. */
void sim_driver_use(struct sim_store *store);

#endif
