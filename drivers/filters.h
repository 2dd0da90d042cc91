/* SPDX-License-Identifier: MIT */
/*
 * Filter drivers without a folder of their own.
 */
#ifndef DRIVERS_FILTERS_H
#define DRIVERS_FILTERS_H

struct driver;

/*
 * Without options, as a job opens it, the argument of open is the node that
 * `bottom` would name, or NULL; the child is the job's to attach.
 */
extern const struct driver copy_on_read_driver;
extern const struct driver compress_driver;
extern const struct driver preallocate_driver;

#endif
