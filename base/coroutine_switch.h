/* SPDX-License-Identifier: MIT */
/*
 * The switch between two stacks of one thread.
 *
 * Assembly on x86-64 and aarch64, ucontext elsewhere and where CO_UCONTEXT asks
 * for it. Only callee-saved registers are kept: the floating-point control
 * words and the signal mask belong to the thread, not to a coroutine (the
 * ucontext twin keeps the mask, at the price of two system calls).
 */
#ifndef BASE_COROUTINE_SWITCH_H
#define BASE_COROUTINE_SWITCH_H

#include <stddef.h>

#ifdef CO_UCONTEXT

#include <ucontext.h>

struct co_context {
	ucontext_t u;
	void (*fn)(void *arg);
	void *arg;
};

void co_context_init(struct co_context *c, void *stack, size_t bytes, void (*fn)(void *arg),
		     void *arg);
void co_context_switch(struct co_context *from, struct co_context *to);

#else

/* The rest of a suspended context lies on its own stack, at @sp. */
struct co_context {
	void *sp;
};

/* Save the registers on the running stack and its pointer in *@save_sp; go on at @sp. */
void co_switch_stack(void **save_sp, void *sp);
/* The first frame on the empty stack ending at @top: calls @fn(@arg), which never returns. */
void *co_switch_first_frame(void *top, void (*fn)(void *arg), void *arg);

/* Make @c start in @fn(@arg), which must not return, on the @bytes at @stack. */
static inline void co_context_init(struct co_context *c, void *stack, size_t bytes,
				   void (*fn)(void *arg), void *arg)
{
	c->sp = co_switch_first_frame((char *)stack + bytes, fn, arg);
}

/* Suspend the running context into @from and go on with @to. */
static inline void co_context_switch(struct co_context *from, struct co_context *to)
{
	co_switch_stack(&from->sp, to->sp);
}

#endif

#endif
