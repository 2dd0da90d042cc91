/* SPDX-License-Identifier: MIT */
/*
 * The table of the qcow2 driver. Node's loop.
 */
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/snapshot.h"

const struct driver qcow2_driver = {
	.name = "qcow2",
	.state_size = sizeof(struct qcow2),
	.is_format = true,
	.supports_backing = true,
	.can_be_inactive = true,
	.activate = qcow2_activate,
	.open = qcow2_open,
	.close = qcow2_close,
	.read_some = qcow2_read_some,
	.write = qcow2_write,
	.zero = qcow2_zero,
	.discard = qcow2_discard,
	.flush = qcow2_flush,
	.status = qcow2_status,
	.can_compress = true,
	.truncate = qcow2_truncate,
	.reopen_options = qcow2_reopen_options,
	.reopen_prepare = qcow2_reopen_prepare,
	.reopen_commit = qcow2_reopen_commit,
	.reopen_abort = qcow2_reopen_abort,
	.limits = qcow2_limits,
	.info = qcow2_info,
	.specific_info = qcow2_specific_info,
	.change_backing = qcow2_change_backing,
	.check = qcow2_check,
	.snapshot_list = qcow2_snapshot_list,
	.snapshot_create = qcow2_snapshot_create,
	.snapshot_apply = qcow2_snapshot_apply,
	.snapshot_delete = qcow2_snapshot_delete,
	.snapshot_show = qcow2_snapshot_show,
	.can_store_bitmap = qcow2_can_store_bitmap,
	.remove_bitmap = qcow2_remove_bitmap,
	.change_bitmaps = qcow2_change_bitmaps,
	.create = qcow2_create,
	.amend = qcow2_amend,
	.make_empty = qcow2_make_empty,
	.measure = qcow2_measure,
	.probe = qcow2_probe,
};
