/* SPDX-License-Identifier: MIT */
/*
 * Aligned buffers for I/O, from a pool of the loop.
 *
 * Buffers are aligned to 4096 bytes, so that they serve O_DIRECT as they are.
 * The pool keeps a bounded number of each power-of-two size and gives the rest
 * back to the system.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stddef.h>

struct loop;

#define BUFFER_ALIGNMENT 4096

/*
 * @bytes (at least 1) of uninitialised memory; NULL when there is none. Give
 * back with the same size.
 */
void *buffer_get(struct loop *loop, size_t bytes);
/* @p may be NULL. */
void buffer_put(struct loop *loop, void *p, size_t bytes);

#endif
