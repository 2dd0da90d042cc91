/* SPDX-License-Identifier: MIT */
/*
 * Simulated disks: the state that running code sees, faults, and the record.
 *
 * An operation takes effect when it ends. Its data is taken when it begins or
 * when it ends, by chance, as a device would, so that a buffer which changes
 * meanwhile shows. The stamp of what it writes is the number of its end in the
 * record. One thread.
 */
#include "base/aio_sim_disk.h"

#include <assert.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>

#include "base/aio_sim_content.h"
#include "base/aio_sim_store.h"

uint64_t sim_random(uint64_t *state)
{
	return random_next(state);
}

uint64_t sim_disk_size(const struct sim_disk *disk)
{
	return disk->now.size;
}

void sim_disk_peek(const struct sim_disk *disk, uint64_t offset, void *p, uint64_t bytes)
{
	sim_content_read(&disk->now, offset, p, bytes);
}

void sim_disk_add_fault(struct sim_disk *disk, const struct sim_fault *fault)
{
	disk->faults = xrealloc(disk->faults, disk->fault_count + 1, sizeof(*fault));
	disk->faults[disk->fault_count++] = *fault;
}

void sim_disk_clear_faults(struct sim_disk *disk)
{
	disk->fault_count = 0;
}

void sim_disk_limit(struct sim_disk *disk, uint64_t bytes)
{
	disk->limit = bytes;
}

/* Whether @fault strikes @r, which counts as one more that it has met. */
static bool fault_strikes(struct sim_fault *fault, const struct aio_request *r)
{
	if (!(fault->operations & 1u << r->operation) || fault->strikes == 0)
		return false;
	if (fault->bytes != 0 && (r->offset >= fault->offset + fault->bytes ||
				  r->offset + r->bytes <= fault->offset))
		return false;
	if (fault->pass > 0) {
		fault->pass--;
		return false;
	}
	if (fault->strikes != UINT64_MAX)
		fault->strikes--;
	return true;
}

/* The size that @op would give the disk at least. */
static uint64_t size_wanted(const struct sim_op *op)
{
	if (op->operation == AIO_TRUNCATE)
		return op->offset;
	if (op->operation == AIO_WRITE)
		return op->offset + op->bytes;
	if (op->operation == AIO_FALLOCATE && !(op->mode & FALLOC_FL_KEEP_SIZE))
		return op->offset + op->bytes;
	return 0;
}

/* What is wrong with the request itself; 0 or a negative errno. */
static int check_request(const struct sim_disk *disk, const struct sim_op *op)
{
	if (op->operation == AIO_FLUSH)
		return 0;
	if (op->offset > SIM_DISK_MAX || op->bytes > SIM_DISK_MAX - op->offset)
		return -EFBIG;
	if (op->offset % SIM_SECTOR != 0 || op->bytes % SIM_SECTOR != 0)
		return -EINVAL;
	if (op->operation == AIO_FALLOCATE && op->bytes == 0)
		return -EINVAL;
	uint64_t wanted = size_wanted(op);
	if (wanted > disk->limit && wanted > disk->now.size)
		return -ENOSPC;
	return 0;
}

static void gather(const struct aio_request *r, uint8_t *p)
{
	for (unsigned i = 0; i < r->iov_count; i++) {
		memcpy(p, r->iov[i].iov_base, r->iov[i].iov_len);
		p += r->iov[i].iov_len;
	}
}

static void scatter(const struct aio_request *r, const uint8_t *p, uint64_t bytes)
{
	for (unsigned i = 0; i < r->iov_count && bytes > 0; i++) {
		size_t n = MIN(r->iov[i].iov_len, bytes);
		memcpy(r->iov[i].iov_base, p, n);
		p += n;
		bytes -= n;
	}
}

uint64_t sim_disk_begin(struct sim_disk *disk, struct aio_request *r, uint64_t *random,
			struct sim_op **ret_op)
{
	struct sim_op *op = NEW(struct sim_op);
	*op = (struct sim_op){
		.disk = disk,
		.operation = r->operation,
		.mode = r->mode,
		.offset = r->offset,
		.bytes = r->bytes,
		.end = UINT64_MAX,
	};
	op->result = check_request(disk, op);
	op->effective_bytes = op->result < 0 ? 0 : op->bytes;

	uint64_t delay_ns = 0;
	for (size_t i = 0; i < disk->fault_count && op->result == 0; i++) {
		struct sim_fault *fault = &disk->faults[i];
		if (!fault_strikes(fault, r))
			continue;
		delay_ns += fault->delay_ns;
		op->result = fault->error;
		/* What fails may have been done in part. */
		if (fault->error < 0)
			op->effective_bytes =
				sim_random(random) % (op->bytes / SIM_SECTOR + 1) * SIM_SECTOR;
	}
	if (r->operation == AIO_WRITE && op->effective_bytes > 0) {
		op->data = xalloc(1, op->bytes);
		gather(r, op->data);
	}
	op->begin = sim_store_record(disk->store, op, false);
	*ret_op = op;
	return delay_ns;
}

/* Write the sectors of a write or of a fallocate that zeroes. */
static void write_sectors(struct sim_content *c, const struct sim_op *op, uint64_t stamp,
			  sim_sector_filter *filter, uint64_t *random)
{
	bool grows = op->operation == AIO_WRITE || !(op->mode & FALLOC_FL_KEEP_SIZE);
	for (uint64_t done = 0; done < op->effective_bytes; done += SIM_SECTOR) {
		if (filter && !filter(random))
			continue;
		sim_content_write(c, (op->offset + done) / SIM_SECTOR,
				  op->data ? op->data + done : NULL, stamp, grows);
	}
}

void sim_op_apply(struct sim_content *c, const struct sim_op *op, uint64_t stamp,
		  sim_sector_filter *filter, uint64_t *random)
{
	switch (op->operation) {
	case AIO_READ:
	case AIO_FLUSH:
		break;
	case AIO_WRITE:
		write_sectors(c, op, stamp, filter, random);
		break;
	case AIO_FALLOCATE:
		if (op->mode & (FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE))
			write_sectors(c, op, stamp, filter, random);
		else if (!(op->mode & FALLOC_FL_KEEP_SIZE) && (!filter || filter(random)))
			c->size = MAX(c->size, op->offset + op->effective_bytes);
		break;
	case AIO_TRUNCATE:
		if (op->result == 0 && (!filter || filter(random)))
			sim_content_truncate(c, op->offset, stamp);
		break;
	}
}

static int64_t end_read(struct sim_disk *disk, struct aio_request *r)
{
	uint64_t size = disk->now.size;
	uint64_t bytes = r->offset < size ? MIN(r->bytes, size - r->offset) : 0;
	_cleanup_free_ uint8_t *p = xalloc(1, r->bytes);
	sim_content_read(&disk->now, r->offset, p, bytes);
	scatter(r, p, bytes);
	return (int64_t)bytes;
}

void sim_disk_end(struct sim_disk *disk, struct aio_request *r, uint64_t *random,
		  struct sim_op *op)
{
	if (op->data && sim_random(random) % 2)
		gather(r, op->data);
	op->end = sim_store_record(disk->store, op, true);
	sim_op_apply(&disk->now, op, op->end + 1, NULL, NULL);
	if (op->result < 0)
		r->result = op->result;
	else if (op->operation == AIO_READ)
		r->result = end_read(disk, r);
	else
		r->result = op->operation == AIO_WRITE ? (int64_t)op->bytes : 0;
}
