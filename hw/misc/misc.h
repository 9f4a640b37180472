/* SPDX-License-Identifier: MIT */
/* Small devices of boards: each maker leaves its device in the machine's list, mapped in vm->mem at base. */
#ifndef HW_MISC_MISC_H
#define HW_MISC_MISC_H

#include "hw/core/device.h"

MUST_USE Err *sifive_test_make(Vm *vm, uint64_t base);
/* What machine_press_power presses. */
MUST_USE Err *power_button_make(Vm *vm, uint64_t base, Irq irq);
/*
 * What a flash's content comes from and goes to. read and write are called under the machine lock, wait
 * until it is done, and return 0 or -errno; write may be NULL: changes end with the machine.
 */
typedef struct FlashStore {
    void *opaque;
    uint64_t size;              /* has to be the flash's */
    bool readonly;              /* programming and erasing fail, as with a chip whose write protection is on */
    int (*read )(void *opaque, uint64_t off, void *bytes, uint64_t len);
    int (*write)(void *opaque, uint64_t off, const void *bytes, uint64_t len);
    void (*free)(void *opaque); /* or NULL */
} FlashStore;
/*
 * The store for the unit-th flash of a board: a block node by its name (NULL: none was named), or the
 * -drive if=pflash of that unit. out->read is NULL when there is neither.
 */
MUST_USE Err *flash_disk(Vm *vm, int unit, const char *node, FlashStore *out);
/* NOR flash of that size; `name` is also its RAM block's. store (NULL: none) is copied, and freed with the flash. */
MUST_USE Err *cfi_flash_make(Vm *vm, const char *name, uint64_t base, uint64_t size, const FlashStore *store);
/* A watchdog has expired; a guest says it has panicked: what -action wants. Machine lock. */
void watchdog_expired(Vm *vm, const char *who);
void guest_panicked(Vm *vm, bool crash_loaded);

#endif
