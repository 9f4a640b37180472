/* SPDX-License-Identifier: MIT */
/* Small devices of boards: each maker leaves its device in the machine's list, mapped in vm->mem at base. */
#ifndef HW_MISC_MISC_H
#define HW_MISC_MISC_H

#include "hw/core/device.h"

MUST_USE Err *sifive_test_make(Vm *vm, uint64_t base);
/* NOR flash of that size, and the name of its RAM block. */
MUST_USE Err *cfi_flash_make(Vm *vm, const char *name, uint64_t base, uint64_t size);
/* A virtio-mmio transport without a device. */
MUST_USE Err *virtio_mmio_empty_make(Vm *vm, uint64_t base);
/* Room for devices that are not there: reads give all ones, writes are lost. */
MUST_USE Err *absent_make(Vm *vm, const char *name, uint64_t base, uint64_t size);

#endif
