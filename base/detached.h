/* SPDX-License-Identifier: MIT */
/*
 * Calls into libraries that may hang. Each runs on a thread of its own, for
 * which nobody has to wait: neither the caller, nor other blocking calls, nor
 * the end of the program.
 *
 * The threads block all signals, and so do threads that the libraries start.
 */
#ifndef BASE_DETACHED_H
#define BASE_DETACHED_H

#include <stdint.h>

#include "base/coroutine.h"

/* What co_detached() returns for a call whose time is over. */
enum { DETACHED_ABANDONED = 1 };

/*
 * Run fn(arg), which returns 0 or a negative errno, on a thread of its own and
 * wait for it, for at most @limit_ns nanoseconds; 0 waits for ever. Returns its
 * result, or DETACHED_ABANDONED: then @arg is not the caller's any more, and
 * release(arg) is called on the thread after fn has returned at last. @release
 * may be NULL without a limit. -EAGAIN when no thread can be had; @fn has not run
 * then.
 *
 * Neither function may touch anything that belongs to a loop. In a simulated
 * loop @fn runs at once, in place.
 */
int co_fn co_detached(int (*fn)(void *arg), void *arg, void (*release)(void *arg),
		      uint64_t limit_ns);

/*
 * Run fn(arg) on a thread of its own; nobody is told about its end. From any
 * thread. 0, or -EAGAIN when no thread can be had.
 */
int detached_start(void (*fn)(void *arg), void *arg);

/*
 * End the program with @status, as exit() does; but without exit handlers when a call has
 * been abandoned, whose library may be at work until the end. From the main thread, when
 * all loops have ended.
 */
_Noreturn void detached_exit(int status);

#endif
