/* SPDX-License-Identifier: MIT */
/* Which devices firmware shall try, in what order: bootindex=, and -boot order=, once=, strict=. */
#ifndef HW_CORE_BOOT_ORDER_H
#define HW_CORE_BOOT_ORDER_H

#include "hw/core/board.h"

/*
 * A device that can be booted from says so at its realize, and takes it back at its unrealize. path: as Open Firmware
 * has it ("/pci@i0cf8/scsi@3/disk@0,0"). index: its bootindex, -1 for none; no two devices may have the same. letter:
 * what it is to -boot order=: 'a' floppy, 'c' disk, 'd' CD, 'n' network. Machine lock.
 */
MUST_USE Err *boot_order_add(Vm *vm, const char *path, int index, char letter);
void boot_order_remove(Vm *vm, const char *path);       /* fine when it is not there */

/*
 * The paths in order, a line each, no newline at the end; g_free it. NULL: firmware may choose.
 * first: this is the machine's first boot, for which there is once=.
 */
char *boot_order_text(Vm *vm, bool first);

void boot_order_free(Machine *m);

#endif
