/* SPDX-License-Identifier: MIT */
/*
 * The switch between stacks by ucontext: for machines without an assembly
 * switch, and as the reference that the assembly is tested against.
 */
#include "base/coroutine_switch.h"

#include <assert.h>
#include <stdint.h>

/* makecontext() passes ints only: the pointer travels in two halves. */
static void first_frame(unsigned high, unsigned low)
{
	struct co_context *c = (struct co_context *)(uintptr_t)((uint64_t)high << 32 | low);
	c->fn(c->arg);
}

void co_context_init(struct co_context *c, void *stack, size_t bytes, void (*fn)(void *arg),
		     void *arg)
{
	int r = getcontext(&c->u);
	assert(r == 0);
	c->fn = fn;
	c->arg = arg;
	c->u.uc_stack.ss_sp = stack;
	c->u.uc_stack.ss_size = bytes;
	c->u.uc_link = NULL;

	uint64_t p = (uintptr_t)c;
	makecontext(&c->u, (void (*)(void))first_frame, 2, (unsigned)(p >> 32), (unsigned)p);
}

void co_context_switch(struct co_context *from, struct co_context *to)
{
	int r = swapcontext(&from->u, &to->u);
	assert(r == 0);
}
