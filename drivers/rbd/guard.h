/* SPDX-License-Identifier: MIT */
/*
 * A guard of a few members that threads of librbd share with ours. It is held for a few
 * instructions only: nobody who holds it waits.
 */
#ifndef DRIVERS_RBD_GUARD_H
#define DRIVERS_RBD_GUARD_H

#include <stdatomic.h>

static inline void guard_lock(atomic_flag *guard)
{
	while (atomic_flag_test_and_set_explicit(guard, memory_order_acquire))
		;
}

static inline void guard_unlock(atomic_flag *guard)
{
	atomic_flag_clear_explicit(guard, memory_order_release);
}

#endif
