/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that give and take a frame with each call: datagram sockets, tap
 * devices. In the net's thread.
 */
#ifndef NET_PACKETS_H
#define NET_PACKETS_H

#include "net/net.h"

typedef struct Packets {
    NetPort *port;
    int fd;
    Watch watch;
    uint8_t *in;
    size_t waits;               /* bytes of the frame in `in` that the peer has no room for */
    bool full;                  /* a frame was not taken by the descriptor */
    bool socket;                /* sendmsg to `to` (NULL: it is connected), instead of writev */
    Alarm again;                /* with `to`: epoll does not know whether that one has room */
    const void *to;
    unsigned to_len;
} Packets;

MUST_USE Err *packets_start(Packets *p, NetPort *port, int fd);     /* takes it over, non-blocking */
void packets_stop(Packets *p);                                      /* fine when not started (fd -1) */
bool packets_frame(Packets *p, const IoVec *frame);
void packets_room(Packets *p);

#endif
