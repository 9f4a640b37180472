/* SPDX-License-Identifier: MIT */
/* A datagram socket between two addresses; with a multicast group as the remote one it joins that. */
#ifndef NET_DGRAM_H
#define NET_DGRAM_H

#include "net/addr.h"

/* Either may be NULL; not both. Non-blocking. */
MUST_USE Err *dgram_socket(const DgramAddr *local, const DgramAddr *remote, int *out);

#endif
