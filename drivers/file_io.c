/* SPDX-License-Identifier: MIT */
/*
 * Requests to files and devices. Node's loop, in coroutines.
 *
 * Invariant: after a flush has failed, no later one succeeds. The kernel may
 * have dropped the pages that it could not write, and would report success for
 * the rest.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "drivers/file.h"

/* A request that may make a hole begins or ends. Writes never do: what was data stays so. */
void file_note_change(struct file *f)
{
	f->changes++;
	f->data.begin = f->data.end = 0;
}

int co_fn file_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	struct file *f = n->state;
	struct descriptor *h = descriptor_use(f);
	int64_t done = aio_read(n->loop, h->fd, offset, bytes, v);
	descriptor_done(h);
	if (done < 0)
		return (int)done;
	/* The last sector of a file may be there in part, or another process has cut the file. */
	if ((uint64_t)done < bytes)
		vec_fill(vec_advance(v, (size_t)done), 0, bytes - (uint64_t)done);
	return 0;
}

static int latch_flush_error(struct file *f, int r)
{
	if (r < 0 && f->flush_error == 0)
		f->flush_error = r;
	return r;
}

int co_fn file_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	struct file *f = n->state;
	bool is_durable = flags & REQUEST_FUA;
	if (is_durable && f->flush_error < 0)
		return f->flush_error;

	struct descriptor *h = descriptor_use(f);
	unsigned aio_flags = is_durable ? AIO_WRITE_FUA : 0;
	if (!h->is_direct && !f->is_device)
		aio_flags |= AIO_WRITE_CACHED;
	int r = aio_write(n->loop, h->fd, offset, bytes, v, aio_flags);
	descriptor_done(h);
	if (is_durable && r != -ENOSPC && r != -EDQUOT)
		latch_flush_error(f, r);
	return r;
}

int co_fn file_flush(struct node *n)
{
	struct file *f = n->state;
	if (f->flush_error < 0)
		return f->flush_error;
	struct descriptor *h = descriptor_use(f);
	int r = aio_flush(n->loop, h->fd);
	descriptor_done(h);
	/* A character device has nothing to make durable. */
	if ((r == -EINVAL || r == -EROFS) && f->is_device && !f->is_block)
		r = 0;
	return latch_flush_error(f, r);
}

static bool is_unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOTSUP || r == -ENOSYS || r == -ENODEV || r == -ENOTTY;
}

/*
 * fallocate(2), unless *@can tells that it was refused before. Returns -ENOTSUP
 * when the file system cannot do it.
 */
static int co_fn allocate(struct file *f, bool *can, int mode, uint64_t offset, uint64_t bytes)
{
	if (!*can)
		return -ENOTSUP;
	struct descriptor *h = descriptor_use(f);
	int r = aio_fallocate(f->node->loop, h->fd, mode, offset, bytes);
	descriptor_done(h);
	if (is_unsupported(r)) {
		*can = false;
		return -ENOTSUP;
	}
	/* Some file systems and devices refuse only certain ranges so. */
	return r == -EINVAL ? -ENOTSUP : r;
}

static int co_fn punch_hole(struct file *f, uint64_t offset, uint64_t bytes)
{
	return allocate(f, &f->can_punch_hole, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
			bytes);
}

static int co_fn zero_in_place(struct file *f, uint64_t offset, uint64_t bytes)
{
	int r = allocate(f, &f->can_zero_range, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset,
			 bytes);
	if (r != -ENOTSUP || f->is_block || !f->can_punch_hole || !f->can_allocate)
		return r;
	/* A file system without zeroing, such as tmpfs: a hole, filled again. */
	r = punch_hole(f, offset, bytes);
	if (r < 0)
		return r;
	return allocate(f, &f->can_allocate, FALLOC_FL_KEEP_SIZE, offset, bytes);
}

int co_fn file_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct file *f = n->state;
	bool is_durable = flags & REQUEST_FUA;
	int r = -ENOTSUP;
	file_note_change(f);
	if (flags & REQUEST_MAY_UNMAP)
		r = punch_hole(f, offset, bytes);
	if (r == -ENOTSUP)
		r = zero_in_place(f, offset, bytes);
	file_note_change(f);
	if (r >= 0 && is_durable)
		r = file_flush(n);
	return r;
}

struct device_range {
	int fd;
	uint64_t range[2]; /* offset, bytes */
};

static int discard_blocking(void *arg)
{
	struct device_range *d = arg;
	return ioctl(d->fd, BLKDISCARD, d->range) < 0 ? -errno : 0;
}

static int co_fn discard_device(struct file *f, uint64_t offset, uint64_t bytes)
{
	if (!f->can_discard)
		return -ENOTSUP;
	struct descriptor *h = descriptor_use(f);
	struct device_range d = {.fd = h->fd, .range = {offset, bytes}};
	int r = co_blocking(discard_blocking, &d);
	descriptor_done(h);
	if (is_unsupported(r)) {
		f->can_discard = false;
		return -ENOTSUP;
	}
	return r;
}

int co_fn file_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct file *f = n->state;
	file_note_change(f);
	int r = f->is_block ? discard_device(f, offset, bytes) : punch_hole(f, offset, bytes);
	file_note_change(f);
	if (r >= 0) {
		f->discards_done++;
		f->discarded_bytes += bytes;
	} else {
		f->discards_failed++;
	}
	return r;
}

struct range_copy {
	int from, to;
	off_t from_offset, to_offset;
	uint64_t bytes;
};

static int copy_blocking(void *arg)
{
	struct range_copy *c = arg;
	while (c->bytes > 0) {
		ssize_t n = copy_file_range(c->from, &c->from_offset, c->to, &c->to_offset,
					    c->bytes, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENOTSUP; /* the rest of a last sector is in no file */
		c->bytes -= (uint64_t)n;
	}
	return 0;
}

/* Neither for devices, nor around the page cache: there the kernel has no shorter way. */
static bool can_copy(const struct node *n)
{
	const struct file *f = n->state;
	return n->driver->copy == file_copy && !f->is_block && !n->cache_direct;
}

int co_fn file_copy(struct node *n, uint64_t offset, uint64_t bytes, struct node *from,
		    uint64_t from_offset)
{
	struct file *f = n->state;
	if (!can_copy(n) || !can_copy(from))
		return -ENOTSUP;
	struct descriptor *to = descriptor_use(f), *source = descriptor_use(from->state);
	struct range_copy c = {.from = source->fd, .to = to->fd, .bytes = bytes,
			       .from_offset = (off_t)from_offset, .to_offset = (off_t)offset};
	file_note_change(f);
	int r = co_blocking(copy_blocking, &c);
	file_note_change(f);
	descriptor_done(source);
	descriptor_done(to);
	return r;
}

struct seek {
	int fd;
	uint64_t offset;
	bool is_data;      /* at offset */
	uint64_t next;     /* where that ends; UINT64_MAX: at the end of the file */
};

static int seek_blocking(void *arg)
{
	struct seek *s = arg;
	off_t data = lseek(s->fd, (off_t)s->offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO) {
		s->is_data = false;
		s->next = UINT64_MAX;
		return 0;
	}
	if (data < 0)
		return -errno;
	s->is_data = (uint64_t)data == s->offset;
	if (!s->is_data) {
		s->next = (uint64_t)data;
		return 0;
	}
	off_t hole = lseek(s->fd, (off_t)s->offset, SEEK_HOLE);
	if (hole < 0 && errno != ENXIO)
		return -errno;
	/* The file may have been cut between the two calls. */
	s->next = hole > data ? (uint64_t)hole : UINT64_MAX;
	return 0;
}

int co_fn file_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct file *f = n->state;
	*ret = (struct extent){
		.flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID,
		.bytes = ret->bytes,
		.node = n,
		.offset = offset,
	};
	if (f->is_device)
		return 0;
	if (f->data.begin <= offset && offset < f->data.end) {
		ret->bytes = MIN(ret->bytes, f->data.end - offset);
		return 0;
	}

	uint64_t changes = f->changes;
	struct descriptor *h = descriptor_use(f);
	struct seek s = {.fd = h->fd, .offset = offset};
	int r = co_blocking(seek_blocking, &s);
	descriptor_done(h);
	/* Without an answer everything is taken for data. */
	if (r < 0)
		return 0;
	/* The file system's blocks may be smaller than ours: a block with any data is data. */
	uint64_t align = n->limits.request_alignment;
	uint64_t hole_end = align_down(s.next, align);
	if (!s.is_data && hole_end > offset) {
		ret->flags = EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID;
		ret->bytes = MIN(ret->bytes, hole_end - offset);
	} else if (!s.is_data) {
		ret->bytes = MIN(ret->bytes, align);
	} else {
		uint64_t end = s.next > UINT64_MAX - align ? s.next : align_up(s.next, align);
		ret->bytes = MIN(ret->bytes, end - offset);
		if (changes == f->changes) {
			f->data.begin = offset;
			f->data.end = end;
		}
	}
	return 0;
}
