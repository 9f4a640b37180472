/* SPDX-License-Identifier: MIT */
/* What disks.c and drive.c share. */
#ifndef SYSTEM_DISKS_PRIV_H
#define SYSTEM_DISKS_PRIV_H

#include "system/disks.h"
#include "system/vm.h"

struct Disks {
    Vm *vm;
    IoThread *thread;
    BlockGraph *graph;              /* the thread's alone */
    DriveInterface preferred;       /* of drives that name none */
    Drive *drives, **drives_end;    /* main thread */
    GPtrArray *nodes;               /* of -blockdev: a hold each; the thread's alone */
    _Atomic bool told_stop;         /* it was said why the machine stops; until it runs again */
};

#endif
