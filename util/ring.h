/* SPDX-License-Identifier: MIT */
/*
 * The io_uring of a loop: made when it is first asked for, handed requests
 * once a turn, its answers read without a system call.
 */
#ifndef UTIL_RING_H
#define UTIL_RING_H

#include <liburing.h>

#include "util/co.h"

/* Fills in the request; may be called again for another place in the ring. */
typedef void RingPrepare(struct io_uring_sqe *sqe, void *opaque);

/* NULL: this loop has one now. */
MUST_USE Err *ring_check(Loop *loop);
void ring_max_batch(Loop *loop, unsigned most);
/* In a coroutine of a loop that has one: the request's result, or -errno. May yield. */
int ring_do(RingPrepare *prepare, void *opaque);

#endif
