/* SPDX-License-Identifier: MIT */
/* Clocks of boards: each maker leaves its device in the machine's list, mapped in vm->mem at base. */
#ifndef HW_TIME_TIME_H
#define HW_TIME_TIME_H

#include "hw/core/device.h"

MUST_USE Err *goldfish_rtc_make(Vm *vm, uint64_t base, Irq irq);

#endif
