/* SPDX-License-Identifier: MIT */
/*
 * The driver nbd: an export of an NBD server, by way of libnbd.
 */
#ifndef DRIVERS_NBD_NBD_H
#define DRIVERS_NBD_NBD_H

#include "block/driver.h"

/* Without libnbd it refuses every node and says what is missing. */
extern const struct driver nbd_driver;

#endif
