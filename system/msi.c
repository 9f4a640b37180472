/* SPDX-License-Identifier: MIT */
/*
 * Who takes message-signalled interrupts. A machine has one or two claims, so a
 * list does. It grows at its head while the board is made and is read without a
 * lock; what is given back goes when no device is left to send.
 */
#include "system/msi.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "system/vm.h"
#include "util/log.h"

typedef struct MsiClaim {
    uint64_t base, last;
    MsiFn *fn;
    void *opaque;
    struct MsiClaim *next;
} MsiClaim;

Err *msi_claim(Vm *vm, uint64_t base, uint64_t size, MsiFn *fn, void *opaque)
{
    uint64_t last;

    if (!size || __builtin_add_overflow(base, size - 1, &last))
        return err(ERR_INVALID, "MSIs to %#" PRIx64 " bytes at %#" PRIx64 " cannot be", size, base);
    for (const MsiClaim *c = vm->msis; c; c = c->next)
        if (base <= c->last && c->base <= last)
            return err(ERR_BUSY, "MSIs to %#" PRIx64 " have a receiver already", base > c->base ? base : c->base);
    MsiClaim *claim = g_new(MsiClaim, 1);
    *claim = (MsiClaim){ base, last, fn, opaque, vm->msis };
    atomic_store_explicit(&vm->msis, claim, memory_order_release);
    return NULL;
}

void msi_unclaim(Vm *vm, void *opaque)
{
    MsiClaim *kept = NULL, *next;

    for (MsiClaim *c = vm->msis; c; c = next) {
        next = c->next;
        if (c->opaque == opaque) {
            g_free(c);
        } else {
            c->next = kept;
            kept = c;
        }
    }
    vm->msis = kept;
}

void msi_send(Vm *vm, uint64_t addr, uint32_t data)
{
    const MsiClaim *c = atomic_load_explicit(&vm->msis, memory_order_acquire);

    while (c && (addr < c->base || addr > c->last))
        c = c->next;
    if (c && !(addr & 3))
        c->fn(c->opaque, addr - c->base, data);
    else if (log_on(LOG_GUEST_ERRORS))
        guest_error("msi: %#" PRIx32 " to %#" PRIx64 ": %s", data, addr,
                    c ? "the address is not a multiple of 4" : "nobody takes messages there");
}

bool msi_possible(const Vm *vm)
{
    return vm->msis;
}
