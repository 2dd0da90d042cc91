/* SPDX-License-Identifier: MIT */
/*
 * The qcow2 format driver: the part of it that other files may use.
 *
 * The folder holds one noun per file. Data flows through read.c, write.c,
 * zero.c and drop.c; they look clusters up in l2.c, take new ones from
 * allocate.c, hand old ones to free.c, and hold each other off through task.c.
 * Tables live in cache.c and table.c until flush.c writes them in the one order
 * that survives a crash. Everything runs on the node's loop.
 */
#ifndef DRIVERS_QCOW2_QCOW2_H
#define DRIVERS_QCOW2_QCOW2_H

#include "block/driver.h"

/*
 * driver->open() without options (node_open_internal()) takes as its argument
 * the struct node that holds the image; it is attached as "file".
 */
extern const struct driver qcow2_driver;

#endif
