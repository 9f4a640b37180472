/* SPDX-License-Identifier: MIT */
/* Completions of virtio queues in the disks' thread. */
#include "hw/disk/queue.h"

static void notify(void *opaque)
{
    DiskQueue *d = opaque;

    d->notify_soon = false;
    virtq_notify(d->q);
}

void dq_end(DiskQueue *d)
{
    d->handling = false;
    if (d->notify_soon)
        notify(d);
}

void dq_landed(DiskQueue *d)
{
    if (!--d->flying)
        co_queue_wake_all(&d->idle);
}

void dq_done(DiskQueue *d, void *elem, uint32_t written)
{
    virtq_push(d->q, elem, written);
    if (!d->notify_soon) {
        d->notify_soon = true;
        if (!d->handling)
            loop_call(d->loop, notify, d);
    }
    dq_landed(d);
}

void dq_wait(DiskQueue *d)
{
    while (d->flying)
        co_queue_wait(&d->idle);
    while (d->notify_soon)
        co_pause();
}
