/* SPDX-License-Identifier: MIT */
/*
 * The vmdk format driver: the part of it that other files may use.
 *
 * The folder holds one noun per file. descriptor.c and header.c are pure parsers of
 * what is in files; open.c and extent.c turn it into extents; table.c keeps the grain
 * tables of an extent in memory, which read.c, write.c, zero.c and compress.c use.
 * Everything runs on the node's loop.
 */
#ifndef DRIVERS_VMDK_VMDK_H
#define DRIVERS_VMDK_VMDK_H

#include "block/driver.h"

extern const struct driver vmdk_driver;

#endif
