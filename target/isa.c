/* SPDX-License-Identifier: MIT */
/*
 * The guests that are built in. A guest is its folder and its line here.
 */
#include <string.h>

#include "target/isa.h"

extern const Isa isa_riscv64;

const Isa *const isas[] = { &isa_riscv64, NULL };

const Isa *isa_find(const char *name)
{
    for (const Isa *const *i = isas; *i; i++)
        if (!strcmp((*i)->name, name))
            return *i;
    return NULL;
}
