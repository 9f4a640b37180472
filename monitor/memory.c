/* SPDX-License-Identifier: MIT */
/* Reading the guest's memory piece by piece, each within a page and a mapping. Nobody asks for permission. */
#include "monitor/memory.h"

#include <string.h>

typedef struct Look { uint64_t va, pa; unsigned order; bool found; } Look;

static void look(Vcpu *v, void *opaque)
{
    Look *l = opaque;

    l->found = v->isa->look && v->isa->look(v, l->va, &l->pa, &l->order);
}

bool memory_find(Vcpu *v, uint64_t va, uint64_t *pa)
{
    Look l = { .va = va };

    vcpu_run_on(v, look, &l, true);
    *pa = l.pa;
    return l.found;
}

static bool read_io(Space *s, uint64_t pa, uint8_t *buf, uint64_t n)
{
    unsigned size = (n == 2 || n == 4 || n == 8) && !(pa & (n - 1)) ? (unsigned)n : 1;

    for (uint64_t i = 0; i < n; i += size) {
        uint64_t val = 0;

        if (space_io(s, pa + i, &val, size, false) != MEM_OK)
            return false;
        memcpy(buf + i, &val, size);
    }
    return true;
}

uint64_t memory_read(Vm *vm, Vcpu *v, uint64_t addr, void *buf, uint64_t n, bool io)
{
    uint64_t done = 0;

    while (done < n) {
        uint64_t pa = addr + done, here = MIN(n - done, PAGE_SIZE - (pa & (PAGE_SIZE - 1)));

        if (v && !memory_find(v, pa, &pa))
            break;
        const FlatRange *r = flat_find(space_flat(vm->mem), pa);
        if (!r)
            break;
        here = MIN(here - 1, r->last - pa) + 1;
        uint8_t *to = (uint8_t *)buf + done;
        bool ok = r->region->kind == REGION_IO ? io && read_io(vm->mem, pa, to, here) : space_read(vm->mem, pa, to, here) == MEM_OK;
        if (!ok)
            break;
        done += here;
    }
    return done;
}
