/* SPDX-License-Identifier: MIT */
/*
 * The table of the vmdk driver. Node's loop.
 */
#include "drivers/vmdk/state.h"

const struct driver vmdk_driver = {
	.name = "vmdk",
	.state_size = sizeof(struct vmdk),
	.is_format = true,
	.supports_backing = true,
	.can_compress = true,
	.open = vmdk_open,
	.close = vmdk_close,
	.read_some = vmdk_read_some,
	.write = vmdk_write,
	.zero = vmdk_zero,
	.flush = vmdk_flush,
	.status = vmdk_status,
	.allocated_bytes = vmdk_allocated_bytes,
	.reopen_prepare = vmdk_reopen_prepare,
	.limits = vmdk_limits,
	.info = vmdk_info,
	.specific_info = vmdk_specific_info,
	.check = vmdk_check,
	.create = vmdk_create,
	.further_file = vmdk_further_file,
	.probe = vmdk_probe,
};
