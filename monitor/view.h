/* SPDX-License-Identifier: MIT */
/*
 * The machine as a tree of paths, the way QEMU's clients know it. Nothing here
 * is a tree: each answer is made from the lists that the machine runs by.
 *
 *   /machine                      the board and its options
 *   /machine/peripheral/ID        devices with an id      /machine/peripheral-anon/device[n]  and without
 *   /machine/unattached/device[n] those of the board      /machine/cpu[n]
 *   .../virtio-backend            a device's inner device       .../NAME                         a bus of it
 *   /objects/ID   /chardevs/ID
 */
#ifndef MONITOR_VIEW_H
#define MONITOR_VIEW_H

#include "hw/core/device.h"
#include "target/isa.h"

char *view_cpu_type(const Isa *isa, const char *model);     /* "rv64-riscv-cpu"; g_free it */
char *view_cpu_path(const Vcpu *v);
char *view_device_path(Device *d);
/* The device of an id or a path, or NULL. */
Device *view_device(Vm *vm, const char *id_or_path);

#endif
