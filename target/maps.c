/* SPDX-License-Identifier: MIT */
/* A walk through all that a vCPU's page tables map, for people and core files. A guest's tables may be endless: it is bounded. */
#include <string.h>

#include "target/isa.h"

enum { STEPS_MAX = 1 << 24 };

typedef struct Run { uint64_t va, size; Mapping m; } Run;

bool isa_mappings(Vcpu *v, void (*fn)(void *opaque, uint64_t va, uint64_t size, const Mapping *m), void *opaque)
{
    Run run = { .size = 0 };
    Mapping m;
    uint64_t va = 0;
    int steps = 0;

    for (; steps < STEPS_MAX && v->isa->mapping && v->isa->mapping(v, va, &m); steps++, va = m.last + 1) {
        uint64_t size = m.last - va + 1;
        bool joins = run.size && m.mapped && run.va + run.size == va && run.m.pa + run.size == m.pa && !strcmp(run.m.attr, m.attr);

        if (joins) {
            run.size += size;
        } else {
            if (run.size)
                fn(opaque, run.va, run.size, &run.m);
            run = (Run){ va, m.mapped ? size : 0, m };
        }
        if (m.last == UINT64_MAX)
            break;
    }
    if (run.size)
        fn(opaque, run.va, run.size, &run.m);
    return steps < STEPS_MAX;
}
