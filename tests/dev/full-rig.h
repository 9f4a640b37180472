/* SPDX-License-Identifier: MIT */
/*
 * For tests of a PCI device whatever it is: a machine with a disk "d0", a folder "f0" and a network "n0" for it,
 * beside it an edu at slot 6, whose registers are at OTHER.
 */
#ifndef TESTS_DEV_FULL_RIG_H
#define TESTS_DEV_FULL_RIG_H

#include <glib/gstdio.h>
#include <unistd.h>

#include "hw/9p/fsdev.h"
#include "net/net.h"
#include "system/disks.h"
#include "tests/dev/virtio-pci-driver.h"

enum { OTHER = 0x4a000000, RAM_SIZE = 64 << 20, DEVFN = 0x20 };
#define BUFS (VD_RAM + 0x1000000)

static Rig rig, *r = &rig;
static Vd vd, *d = &vd;
static Vp vp;
static char *dir;
static VD_UNUSED const char *board_opts;       /* of -M, for begin; NULL: none */
static VD_UNUSED const char *const *more_devices;      /* of -device, for begin; NULL: none */

static inline void nothing(void *opaque) { }

/* All that was asked for has been done, as far as it ever is. */
static inline void settle(void)
{
    for (int i = 0; i < 3; i++) {
        for (IoThread *t = NULL; (t = iothread_next(r->vm, t)) != NULL;)
            iothread_run(t, nothing, NULL);
        rig_work(r);
        rig_turn(r, 0);
    }
}

static inline void make_net(void *opaque) { rig_must(net_add(r->vm->net, "hubport,id=n0,hubid=0")); }
static inline void end_net(void *opaque) { net_free(r->vm->net); }

static inline void begin(const char *device)
{
    g_autofree char *img = NULL, *arg = NULL, *fs = NULL;

    rig_init(r);
    r->config.ram_size = RAM_SIZE;
    r->config.machine_opts = (char *)board_opts;
    for (int i = 0; i < RIG_HARTS; i++)
        r->cpus[i].standing = true;         /* nobody runs them */
    vm_unlock(r->vm);
    dir = g_dir_make_tmp("dma-XXXXXX", NULL);
    img = g_build_filename(dir, "disk.img", NULL);
    g_autofree char *blocks = g_malloc0(1 << 20);
    memcpy(blocks, "the first block", 15);
    CHECK(g_file_set_contents(img, blocks, 1 << 20, NULL));
    rig_must(disks_new(r->vm, &r->vm->disks));
    arg = g_strdup_printf("if=none,id=d0,format=raw,file=%s,file.locking=off", img);
    rig_must(disks_add_drive(r->vm->disks, arg, false));
    fs = g_strdup_printf("local,id=f0,path=%s,security_model=mapped-xattr", dir);
    rig_must(fsdev_add(r->vm, fs));
    rig_must(iothread_new(r->vm, "net", &r->vm->net_thread));
    r->vm->net = net_new(iothread_loop(r->vm->net_thread));
    iothread_run(r->vm->net_thread, make_net, NULL);
    vm_lock(r->vm);
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)device);
    g_ptr_array_add(r->config.devices, (void *)"edu,addr=6");
    if (strstr(device, "virtio-scsi"))
        g_ptr_array_add(r->config.devices, (void *)"scsi-hd,drive=d0");
    if (strstr(device, "virtio-serial"))
        g_ptr_array_add(r->config.devices, (void *)"virtserialport,name=p");
    for (unsigned i = 0; more_devices && more_devices[i]; i++)
        g_ptr_array_add(r->config.devices, (void *)more_devices[i]);
    rig_board(r);
    vm_start(r->vm);
    wr32(r, VP_ECAM + (6 << 15) + 0x10, OTHER);
    wr(r, VP_ECAM + (6 << 15) + 4, 6, 2);
}

static inline void end(void)
{
    GPtrArray *devices = r->config.devices;

    board_free(r->vm);
    vm_unlock(r->vm);
    iothread_run(r->vm->net_thread, end_net, NULL);
    disks_free(r->vm->disks);
    fsdevs_free(r->vm);
    vm_lock(r->vm);
    r->vm->disks = NULL;
    r->vm->net = NULL;
    rig_free(r);
    g_ptr_array_free(devices, true);
    g_autofree char *img = g_build_filename(dir, "disk.img", NULL);
    unlink(img);
    rmdir(dir);
    g_free(dir);
}

#endif
