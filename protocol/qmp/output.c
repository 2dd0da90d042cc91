/* SPDX-License-Identifier: MIT */
/*
 * The bytes that wait to be sent to one client of the monitor. Loop's thread.
 */
#include "protocol/qmp/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A queue that is empty keeps no more memory than this. */
#define OUTPUT_KEEP (16 * KiB)

/* Make room for @bytes at the end. */
static void reserve(struct qmp_output *o, size_t bytes)
{
	size_t waiting = qmp_output_waiting(o);

	if (o->capacity - o->end >= bytes)
		return;
	if (o->start > 0 && o->start >= waiting) {
		/* The hole is at least as large as what is moved: amortised, each byte moves once. */
		memcpy(o->data, o->data + o->start, waiting);
		o->start = 0;
		o->end = waiting;
		if (o->capacity - o->end >= bytes)
			return;
	}
	size_t capacity = MAX(o->capacity, 1 * KiB);
	while (capacity - o->end < bytes)
		capacity *= 2;
	o->data = xrealloc(o->data, capacity, 1);
	o->capacity = capacity;
}

void qmp_output_append(struct qmp_output *o, const char *text, size_t bytes)
{
	if (bytes == 0)
		return;
	reserve(o, bytes);
	memcpy(o->data + o->end, text, bytes);
	o->end += bytes;
}

int qmp_output_flush(struct qmp_output *o, int fd)
{
	while (o->start < o->end) {
		ssize_t n = write(fd, o->data + o->start, o->end - o->start);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		o->start += (size_t)n;
	}
	o->start = o->end = 0;
	if (o->capacity > OUTPUT_KEEP)
		qmp_output_finish(o);
	return 0;
}

void qmp_output_finish(struct qmp_output *o)
{
	free(o->data);
	*o = (struct qmp_output){0};
}
