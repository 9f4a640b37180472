/* SPDX-License-Identifier: MIT */
/*
 * Frames over a stream socket, each behind its length (32 bits, big-endian), as
 * QEMU's stream and socket backends have them. In the net's thread.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include "net/net.h"

typedef struct Conn {
    NetPort *port;
    Loop *loop;
    int fd;                     /* -1: not connected */
    Watch watch;
    uint8_t *in, *out;
    size_t in_at, in_len;       /* bytes of `in` that wait */
    size_t out_at, out_len;     /* the rest of a frame that the socket did not take */
    bool stalled;               /* the peer has no room for the frame at in_at */
    void (*ended)(NetPort *, const char *why);      /* the connection is over; fd is -1 */
} Conn;

void conn_init(Conn *c, NetPort *port, Loop *loop, void (*ended)(NetPort *, const char *why));
MUST_USE Err *conn_open(Conn *c, int fd);           /* takes it over, non-blocking */
void conn_close(Conn *c);                           /* without `ended`; fine when not open */
bool conn_frame(Conn *c, const IoVec *plain);       /* NetOps.frame */
void conn_room(Conn *c);                            /* NetOps.room */

#endif
