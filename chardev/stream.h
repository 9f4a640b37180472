/* SPDX-License-Identifier: MIT */
/*
 * What the backends over a file descriptor share: reading when the port has
 * room, writing without waiting, keeping up to OUT_BOUND bytes that the host
 * does not take.
 */
#ifndef CHARDEV_STREAM_H
#define CHARDEV_STREAM_H

#include "chardev/chardev-priv.h"

enum { STREAM_FDS = 16 };

typedef struct Stream {
    Chardev *chr;
    int in, out;                /* descriptors, maybe the same; -1: none. Owned */
    bool polled;                /* out blocks: ask poll and write little */
    bool sock;                  /* out is a socket: its sends are told not to wait */
    ChrWatch *in_src, *out_src, *dead_src;
    ChrWatch *hup_src;          /* while the port has no room: a socket whose other end has gone */
    bool takes_fds;             /* a UNIX socket */
    int fds[STREAM_FDS]; int nfds;      /* that came with the latest message, and nobody took yet */
    GByteArray *queue;          /* output the host has not taken yet */
    bool owes_writable;         /* a write was cut short, and the port waits to hear */
    /* Looks at what was read, in place; returns how many bytes are for the port. May be NULL. */
    int  (*filter)(Chardev *, uint8_t *buf, int n);
    /* In the main loop: the end of input (errnum 0), or why output failed. */
    void (*ended)(Chardev *, int errnum);
} Stream;

/* Room for one Stream in each backend that has one; how chr_watch_fd's callbacks find it. */
typedef struct StreamChardev {
    Chardev chr;
    Stream s;
} StreamChardev;

enum { OUT_BOUND = 64 * 1024 };

void stream_start(Chardev *c, int in, int out);     /* takes the descriptors */
void stream_input(Chardev *c);                      /* ChardevClass.input */
int  stream_take_fd(Chardev *c);                    /* ChardevClass.take_fd */
int  stream_write(Chardev *c, const uint8_t *buf, int n);
void stream_stop_input(Chardev *c);                 /* input has ended; output goes on */
/* Writes the queue out, as long as the host takes some every second; then lets go of it all. */
void stream_close(Chardev *c);
void stream_drop(Chardev *c);                       /* lets go at once: the other end has gone */
int  stream_room(const Chardev *c);                 /* bytes that a write takes for certain */

/*
 * A descriptor of our own for output to fd: one that does not wait where that
 * is possible without changing the mode of fd itself, which other programs share.
 */
void stream_own_output(Stream *s, int fd);

#endif
