/* SPDX-License-Identifier: MIT */
/*
 * Wire: a connected socket that coroutines read and write, plain or through a
 * filter (TLS: block/tls.h). One coroutine may read while another one writes;
 * two that read, or two that write, take turns by a lock of their own.
 *
 * A wire that failed stays failed: every later call returns the same error.
 * wire_down makes it fail from outside and wakes who waits, which is how a
 * connection is ended; the memory goes when its users have left (wire_free).
 */
#ifndef UTIL_WIRE_H
#define UTIL_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/co.h"
#include "util/iov.h"

typedef struct Wire Wire;

/* Takes the descriptor over, a non-blocking stream socket. */
MUST_USE Err *wire_new(Loop *loop, int fd, Wire **out);
/* Nobody may be inside. NULL is fine. */
void wire_free(Wire *s);
int wire_fd(const Wire *s);

/* Whole or not at all: 0, or -errno; -EPIPE where the other side ended before the last byte. May yield. */
int wire_read(Wire *s, void *buf, size_t len);
int wire_readv(Wire *s, const IoVec *q);
int wire_skip(Wire *s, uint64_t len);           /* reads and forgets */
int wire_write(Wire *s, const void *buf, size_t len);
int wire_writev(Wire *s, const struct iovec *v, unsigned n);
/* Reads one byte more, or the end: 1, 0 (ended in order), or -errno. The byte stays for the next read. */
int wire_peek(Wire *s);

/* From `when` (loop_now's clock; -1: never) on everything fails with -ETIMEDOUT. */
void wire_deadline(Wire *s, int64_t when);
/* Ends both directions: whoever waits and whoever comes gets -error. Bytes not sent are lost. */
void wire_down(Wire *s, int error);
/* No more input: a reader sees the end once what has come is read. Output goes on. */
void wire_stop_reading(Wire *s);
/* Tells the other side that no more comes, TLS included. May yield, for a moment. */
void wire_end(Wire *s);
/* Bytes that wait in memory to be read. */
size_t wire_buffered(const Wire *s);

/*
 * A filter between the user's bytes and the socket. read and write return a
 * count (read: 0 is the end), or -errno; -EAGAIN says that the socket is not
 * ready, and *events for what.
 */
typedef struct WireFilter {
    ssize_t (*read)(void *opaque, void *buf, size_t len, uint32_t *events);
    ssize_t (*write)(void *opaque, const void *buf, size_t len, uint32_t *events);
    int (*end)(void *opaque, uint32_t *events);     /* 0, -EAGAIN or -errno */
    void (*free)(void *opaque);
} WireFilter;
/* The wire frees the filter's opaque in the end. */
void wire_set_filter(Wire *s, const WireFilter *f, void *opaque);
/* For a filter's handshake: waits for events of the socket; 0 or -errno. `writer`: in the writer's place. */
int wire_wait(Wire *s, bool writer, uint32_t events);

#endif
