/* SPDX-License-Identifier: MIT */
/*
 * The bytes that wait to be sent to one client of the monitor.
 *
 * A queue in one piece of memory: text is appended at the end and leaves at
 * the start, so that everything that waits goes out with one write(2). Loop's
 * thread only; never waits.
 */
#ifndef PROTOCOL_QMP_OUTPUT_H
#define PROTOCOL_QMP_OUTPUT_H

#include "base/util.h"

struct qmp_output {
	char *data;
	size_t start;    /* of what waits */
	size_t end;      /* just past it */
	size_t capacity; /* of @data */
};

/* Append @bytes. Aborts when there is no memory: bounding the queue is the caller's. */
void qmp_output_append(struct qmp_output *o, const char *text, size_t bytes);

/* How many bytes wait. */
static inline size_t qmp_output_waiting(const struct qmp_output *o)
{
	return o->end - o->start;
}

/*
 * Write what waits to @fd, in as few calls as it takes. Returns 0 when nothing
 * is left, -EAGAIN when @fd takes no more now, or another negative errno.
 */
int qmp_output_flush(struct qmp_output *o, int fd);

/* Free the memory; the queue is empty and usable afterwards. */
void qmp_output_finish(struct qmp_output *o);

#endif
