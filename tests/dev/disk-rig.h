/* SPDX-License-Identifier: MIT */
/* For tests of disk devices: a machine with its disks' thread, and an image of zeroes in a folder of its own. */
#ifndef TESTS_DEV_DISK_RIG_H
#define TESTS_DEV_DISK_RIG_H

#include <unistd.h>

#include "system/disks.h"
#include "tests/dev/rig.h"

typedef struct DiskRig { char *dir, *img; } DiskRig;

/* The machine has its lock, and no board yet. */
static inline void disk_rig_init(DiskRig *d, Rig *r, uint64_t size)
{
    g_autofree char *zeroes = g_malloc0(size);

    rig_init(r);
    r->cpus[0].standing = true;         /* nobody runs it, so it stands when vm_stop wants that */
    vm_unlock(r->vm);
    rig_must(disks_new(r->vm, &r->vm->disks));
    vm_lock(r->vm);
    d->dir = g_dir_make_tmp("disk-XXXXXX", NULL);
    d->img = g_build_filename(d->dir, "disk.img", NULL);
    CHECK(g_file_set_contents(d->img, zeroes, (gssize)size, NULL));
}

/* With the board and its devices. */
static inline void disk_rig_free(DiskRig *d, Rig *r)
{
    board_free(r->vm);
    vm_unlock(r->vm);
    disks_free(r->vm->disks);
    r->vm->disks = NULL;
    vm_lock(r->vm);
    rig_free(r);
    unlink(d->img);
    rmdir(d->dir);
    g_free(d->img);
    g_free(d->dir);
}

#endif
