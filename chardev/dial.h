/* SPDX-License-Identifier: MIT */
/*
 * Dialling: connecting in a thread of its own, since names and far hosts take
 * their time, and the main loop has none.
 */
#ifndef CHARDEV_DIAL_H
#define CHARDEV_DIAL_H

#include "chardev/address.h"

typedef struct Dial Dial;

/* NULL: no thread or descriptor was to be had. */
Dial *dial_new(const ChrAddress *a);
int dial_fd(const Dial *d);             /* readable when it has ended */
/* Once it has: the connected socket, or -1 and why. Frees the dial. */
int dial_end(Dial *d, Err **why);
void dial_drop(Dial *d);                /* nobody waits for it any more; NULL is fine */

#endif
