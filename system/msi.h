/* SPDX-License-Identifier: MIT */
/*
 * Message-signalled interrupts: 32-bit little-endian writes of devices to
 * addresses that an interrupt controller has claimed. They are kept apart from
 * DMA, which never enters a device: a message only ever reaches a controller's
 * receiver, which takes no lock of the machine and sends nothing itself.
 */
#ifndef SYSTEM_MSI_H
#define SYSTEM_MSI_H

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

typedef struct Vm Vm;

/* Receives a message at base + off, off a multiple of 4. Any thread, no lock held that it may count on. */
typedef void MsiFn(void *opaque, uint64_t off, uint32_t data);

/*
 * Messages to [base, base + size) go to fn from now on. Under the machine lock, while the board is made.
 * A range that overlaps another's is an error.
 */
MUST_USE Err *msi_claim(Vm *vm, uint64_t base, uint64_t size, MsiFn *fn, void *opaque);
/* Gives back all that was claimed with this opaque; nobody sends any more. */
void msi_unclaim(Vm *vm, void *opaque);

/* Sends one message; any thread, no lock needed, never waits. What nobody claimed, or is misaligned, is dropped. */
void msi_send(Vm *vm, uint64_t addr, uint32_t data);
/* Is there anybody who takes messages? Boards without are those whose PCI devices use INTx. */
bool msi_possible(const Vm *vm);

#endif
