/* SPDX-License-Identifier: MIT */
/*
 * The io_uring of a loop: made when it is first asked for, handed requests
 * once a turn, its answers read without a system call.
 */
#ifndef UTIL_RING_H
#define UTIL_RING_H

#include <liburing.h>

#include "util/co.h"

/* A request: how the ring is told of it, and the system call that does the same. */
typedef struct RingCall {
    void (*prepare)(struct io_uring_sqe *sqe, void *opaque);
    ssize_t (*here)(void *opaque);
} RingCall;

/* NULL: this loop has one now. */
MUST_USE Err *ring_check(Loop *loop);
void ring_max_batch(Loop *loop, unsigned most);
/* In a coroutine of a loop that has one: the request's result, or -errno. May yield. */
ssize_t ring_do(const RingCall *call, void *opaque);

#endif
