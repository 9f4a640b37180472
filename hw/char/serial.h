/* SPDX-License-Identifier: MIT */
/* The 16550A serial port, for boards. */
#ifndef HW_CHAR_SERIAL_H
#define HW_CHAR_SERIAL_H

#include "chardev/chardev.h"
#include "hw/core/device.h"

/* Eight byte-wide registers at base; `clock` Hz go into the divisor. chr may be NULL. */
MUST_USE Err *serial_make(Vm *vm, uint64_t base, unsigned clock, Chardev *chr, Irq irq);

#endif
