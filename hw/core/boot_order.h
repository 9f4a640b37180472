/* SPDX-License-Identifier: MIT */
/* Which devices firmware shall try, in what order: bootindex=, and -boot order=, once=, strict=. */
#ifndef HW_CORE_BOOT_ORDER_H
#define HW_CORE_BOOT_ORDER_H

#include "hw/core/board.h"

/*
 * Devices whose class says what they are to firmware (DeviceClass.boot) are found by themselves: their path is made of
 * the parts of the buses they hang on. Another thing that can be booted from is told of here. path: as Open Firmware has
 * it ("/pci@i0cf8/scsi@3/disk@0,0"). index: its bootindex, -1 for none; no two may have the same. letter: what it is to
 * -boot order=: 'a' floppy, 'c' disk, 'd' CD, 'n' network. Machine lock.
 */
MUST_USE Err *boot_order_add(Vm *vm, const char *path, int index, char letter);
void boot_order_remove(Vm *vm, const char *path);       /* fine when it is not there */

/*
 * The paths in order, a line each, no newline at the end; g_free it. NULL: firmware may choose.
 * first: this is the machine's first boot, for which there is once=.
 */
char *boot_order_text(Vm *vm, bool first);

/* The path of a device; g_free it. NULL: something on the way has no name for firmware. */
char *boot_order_path(const Device *d);

void boot_order_free(Machine *m);

#endif
