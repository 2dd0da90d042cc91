/* SPDX-License-Identifier: MIT */
/*
 * The driver blkdebug: a filter that lets requests fail or take time, by rules.
 */
#ifndef DRIVERS_BLKDEBUG_BLKDEBUG_H
#define DRIVERS_BLKDEBUG_BLKDEBUG_H

extern const struct driver blkdebug_driver;

#endif
