/* SPDX-License-Identifier: MIT */
/*
 * The table of drivers: one row each, by name.
 */
#include "drivers/table.h"

#include "drivers/blkdebug/blkdebug.h"
#include "drivers/filters.h"
#include "drivers/qcow2/qcow2.h"
#include "drivers/quorum/quorum.h"
#include "drivers/vmdk/vmdk.h"

const struct driver *const driver_table[] = {
	&blkdebug_driver,
	&compress_driver,
	&copy_before_write_driver,
	&copy_on_read_driver,
	&file_driver,
	&gluster_row,
	&host_device_driver,
	&nbd_row,
	&null_aio_driver,
	&null_co_driver,
	&preallocate_driver,
	&qcow2_driver,
	&quorum_driver,
	&raw_driver,
	&rbd_row,
	&snapshot_access_driver,
	&throttle_driver,
	&vmdk_driver,
	NULL,
};
