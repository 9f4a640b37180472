/* SPDX-License-Identifier: MIT */
/* The balloon of a machine, for whoever manages it. All under the machine lock. */
#ifndef HW_VIRTIO_BALLOON_H
#define HW_VIRTIO_BALLOON_H

#include "system/vm.h"

/* What the guest says of its memory (VIRTIO 1.2, section 5.5.6.3), by tag; bytes or counts. -1: it has not said. */
enum { BALLOON_STATS = 16 };
typedef struct BalloonStats {
    int64_t values[BALLOON_STATS];
    int64_t when;               /* CLOCK_HOST, ns; 0: never yet */
} BalloonStats;

/* Asks the guest to have that much memory; it may take its time, or not obey. */
MUST_USE Err *balloon_set(Vm *vm, uint64_t bytes);
MUST_USE Err *balloon_get(Vm *vm, uint64_t *bytes);     /* what it has now */
MUST_USE Err *balloon_poll(Vm *vm, uint32_t seconds);   /* asks for statistics that often; 0: no more */
MUST_USE Err *balloon_stats(Vm *vm, BalloonStats *out);

#endif
