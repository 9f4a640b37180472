/* SPDX-License-Identifier: MIT */
/* Between ring.c, queue.c and virtio.c: not for devices, nor for transports. */
#ifndef HW_VIRTIO_QUEUE_PRIV_H
#define HW_VIRTIO_QUEUE_PRIV_H

#include "hw/virtio/ring-priv.h"

/* ring.c: looks the three parts of the ring up; false: the queue is broken. */
bool ring_map(VirtQueue *q, const Flat *f);
void ring_free_cache(VirtQueue *q);
/* For saved.c: a buffer's box with room for that many pieces. */
Box *ring_box(VirtQueue *q, size_t size, unsigned pieces);
Box *ring_box_of(void *elem);
void ring_box_free(Box *b);

/* queue.c */
VirtQueue *queue_new(VirtioDevice *v, unsigned index, unsigned max, IoThread *io);
void queue_free(VirtQueue *q);          /* at rest */
void queue_clear(VirtQueue *q);         /* as after a device reset; at rest */
/* Waits until no handler runs (of queue q; NULL: of any) and nothing is in flight. The queues are held already. */
void queues_settle(VirtioDevice *v, VirtQueue *q);

#endif
