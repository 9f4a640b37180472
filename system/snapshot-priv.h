/* SPDX-License-Identifier: MIT */
/* Between snapshot.c, which says what is done when, and snapshot_disks.c, what disks do for it. */
#ifndef SYSTEM_SNAPSHOT_PRIV_H
#define SYSTEM_SNAPSHOT_PRIV_H

#include "block/block.h"
#include "system/disks-priv.h"
#include "system/state-priv.h"
#include "util/path.h"

enum { SNAPSHOT_NAME_MAX = 200 };

/* One disk's part. Node and disk are its home's. */
typedef struct SnapDisk {
    IoThread *home;             /* where the disk is at home */
    BlockGraph *graph;
    BlockNode *node;            /* held: the node of the format */
    Disk *disk;                 /* the device's; NULL: no device has the node (it has internal snapshots) */
    bool internal;
    bool holds;                 /* its image has room for the machine's state: what is a hole there reads as zeroes */
    char *folder;               /* not internal: FILE.snapshots */
} SnapDisk;

typedef struct Snap {
    Vm *vm;
    char *tag;                  /* what disks call it; NULL: none in particular (list) */
    const SnapshotPlace *place; /* NULL: all writable disks, and a place that is looked for */
    char *path;                 /* the file that the machine's state is in, if no image holds it */
    GArray *disks;              /* of SnapDisk */
    IoThread *holder_home;
    BlockGraph *holder_graph;
    BlockNode *holder;          /* whose image holds the machine's state; NULL: `path` */
} Snap;

void snap_close(Snap *s);
/* All writable disks; an error when one cannot be part of it, or there is no place for the machine's state. */
MUST_USE Err *snap_find_disks(Snap *s);
void snap_forget_disks(Snap *s);
MUST_USE Err *snap_make_folders(Snap *s);       /* for copies beside images */
MUST_USE Err *snap_save_disks(Snap *s, uint64_t state_bytes);
MUST_USE Err *snap_check_disks(Snap *s);        /* all have it */
MUST_USE Err *snap_load_disks(Snap *s);
MUST_USE Err *snap_delete_disks(Snap *s);       /* where it is there */
unsigned snap_count_disks(Snap *s);             /* that have it */
void snap_list(Snap *s, GArray *out);
/* The part of the holder's image that is for the machine's state: what is written there belongs to the next snapshot. */
StateStore snap_image_store(Snap *s);
/* What is there and in no snapshot goes; nothing to do without a holder. */
MUST_USE Err *snap_clear_image(Snap *s);
/* The state in the snapshot, without applying it; *blob NULL: the image cannot be opened twice. */
MUST_USE Err *snap_look(Snap *s, GBytes **blob);
GArray *snapshot_infos_new(void);

#endif
