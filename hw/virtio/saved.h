/* SPDX-License-Identifier: MIT */
/* The saved form of virtio devices, for virtio.c's bus and for devices that hold buffers while the machine stands. */
#ifndef HW_VIRTIO_SAVED_H
#define HW_VIRTIO_SAVED_H

#include "hw/virtio/virtio.h"
#include "system/stream.h"

/* BusClass of the bus: the device's queues and what was negotiated. */
void virtio_save(Bus *bus, Device *d, StateOut *out);
MUST_USE Err *virtio_load(Bus *bus, Device *d, StateIn *in);
MUST_USE Err *virtio_loaded(Bus *bus, Device *d);

/* The queue rests only until the machine goes on: what is held of it is kept by `quiesce`. Else it is dropped. */
bool virtq_waits(const VirtQueue *q);
/* A buffer that was popped and is held; in the device's own save and load. *elem: as from virtq_pop, NULL: there was none. */
void virtq_put_elem(VirtQueue *q, StateOut *out, const char *name, const void *elem);
MUST_USE Err *virtq_get_elem(VirtQueue *q, StateIn *in, const char *name, size_t size, void **elem);

#endif
