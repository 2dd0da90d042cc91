/* SPDX-License-Identifier: MIT */
/*
 * The one table of all block drivers.
 */
#ifndef DRIVERS_TABLE_H
#define DRIVERS_TABLE_H

#include "block/driver.h"

/* Ends with NULL; for graph_new(). */
extern const struct driver *const driver_table[];

extern const struct driver copy_before_write_driver;
extern const struct driver file_driver;
extern const struct driver gluster_row;
extern const struct driver host_device_driver;
extern const struct driver nbd_row;
extern const struct driver null_aio_driver;
extern const struct driver null_co_driver;
extern const struct driver raw_driver;
extern const struct driver rbd_row;
extern const struct driver snapshot_access_driver;
extern const struct driver throttle_driver;

#endif
