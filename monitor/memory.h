/* SPDX-License-Identifier: MIT */
/* The guest's memory for people: by physical address, or as a vCPU sees it. Machine lock. */
#ifndef MONITOR_MEMORY_H
#define MONITOR_MEMORY_H

#include "target/isa.h"

/*
 * Reads n bytes at addr, as v sees them (NULL: physical addresses). Devices are read too, as the guest would do it, if `io`
 * says so. How many bytes there were, from the first on.
 */
uint64_t memory_read(Vm *vm, Vcpu *v, uint64_t addr, void *buf, uint64_t n, bool io);
/* Where va is; false: nowhere. */
bool memory_find(Vcpu *v, uint64_t va, uint64_t *pa);

#endif
