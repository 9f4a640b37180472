/* SPDX-License-Identifier: MIT */
/*
 * Stream: a connected socket that coroutines read and write, plain or through a
 * filter (TLS: block/tls.h). One coroutine may read while another one writes;
 * two that read, or two that write, take turns by a lock of their own.
 *
 * A stream that failed stays failed: every later call returns the same error.
 * stream_down makes it fail from outside and wakes who waits, which is how a
 * connection is ended; the memory goes when its users have left (stream_free).
 */
#ifndef UTIL_STREAM_H
#define UTIL_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/co.h"
#include "util/iov.h"

typedef struct Stream Stream;

/* Takes the descriptor over, a non-blocking stream socket. */
MUST_USE Err *stream_new(Loop *loop, int fd, Stream **out);
/* Nobody may be inside. NULL is fine. */
void stream_free(Stream *s);
int stream_fd(const Stream *s);

/* Whole or not at all: 0, or -errno; -EPIPE where the other side ended before the last byte. May yield. */
int stream_read(Stream *s, void *buf, size_t len);
int stream_readv(Stream *s, const IoVec *q);
int stream_skip(Stream *s, uint64_t len);           /* reads and forgets */
int stream_write(Stream *s, const void *buf, size_t len);
int stream_writev(Stream *s, const struct iovec *v, unsigned n);
/* Reads one byte more, or the end: 1, 0 (ended in order), or -errno. The byte stays for the next read. */
int stream_peek(Stream *s);

/* From `when` (loop_now's clock; -1: never) on everything fails with -ETIMEDOUT. */
void stream_deadline(Stream *s, int64_t when);
/* Ends both directions: whoever waits and whoever comes gets -error. Bytes not sent are lost. */
void stream_down(Stream *s, int error);
/* No more input: a reader sees the end once what has come is read. Output goes on. */
void stream_stop_reading(Stream *s);
/* Tells the other side that no more comes, TLS included. May yield, for a moment. */
void stream_end(Stream *s);
/* Bytes that wait in memory to be read. */
size_t stream_buffered(const Stream *s);

/*
 * A filter between the user's bytes and the socket. read and write return a
 * count (read: 0 is the end), or -errno; -EAGAIN says that the socket is not
 * ready, and *events for what.
 */
typedef struct StreamFilter {
    ssize_t (*read)(void *opaque, void *buf, size_t len, uint32_t *events);
    ssize_t (*write)(void *opaque, const void *buf, size_t len, uint32_t *events);
    int (*end)(void *opaque, uint32_t *events);     /* 0, -EAGAIN or -errno */
    void (*free)(void *opaque);
} StreamFilter;
/* The stream frees the filter's opaque in the end. */
void stream_set_filter(Stream *s, const StreamFilter *f, void *opaque);
/* For a filter's handshake: waits for events of the socket; 0 or -errno. `writer`: in the writer's place. */
int stream_wait(Stream *s, bool writer, uint32_t events);

#endif
