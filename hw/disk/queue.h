/* SPDX-License-Identifier: MIT */
/*
 * A virtio queue whose requests are coroutines in the disks' thread: how many are
 * under way, and one interrupt for what ends in the same turn. All in that thread.
 */
#ifndef HW_DISK_QUEUE_H
#define HW_DISK_QUEUE_H

#include "hw/virtio/virtio.h"
#include "util/co.h"

typedef struct DiskQueue {
    VirtQueue *q;
    Loop *loop;
    unsigned flying;            /* popped, and neither pushed, dropped nor set aside */
    bool handling;              /* within handle, which notifies at its end */
    bool notify_soon;           /* a notify is on its way */
    CoQueue idle;               /* who waits for flying to become 0 */
} DiskQueue;

static inline void dq_begin(DiskQueue *d) { d->handling = true; }       /* of handle */
void dq_end(DiskQueue *d);
/* The element is the guest's again; it counted among those flying. */
void dq_done(DiskQueue *d, void *elem, uint32_t written);
void dq_landed(DiskQueue *d);                           /* it flies no more, and is not pushed */
/* Waits until nothing flies and no notify is on its way. Coroutine. */
void dq_wait(DiskQueue *d);

#endif
