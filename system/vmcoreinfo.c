/* SPDX-License-Identifier: MIT */
/* Linux's crash information, which is a page of lines of text: no knowledge of the guest is needed to find it. */
#include "system/vmcoreinfo.h"

#include <string.h>

enum { INFO_MAX = 4096 };

/* The text at host, if it is crash information: copied once, the guest may write to it. */
static char *info_at(const uint8_t *host, uint64_t room)
{
    g_autofree char *text = g_strndup((const char *)host, MIN(room, (uint64_t)INFO_MAX));

    return strstr(text, "\nPAGESIZE=") || strstr(text, "\nSYMBOL(") ? g_steal_pointer(&text) : NULL;
}

char *vmcoreinfo_find(Vm *vm)
{
    static const char begins[] = "OSRELEASE=";
    const Flat *f = space_flat(vm->mem);

    for (int i = 0; i < f->n; i++) {
        const FlatRange *r = &f->r[i];
        uint64_t size = r->last - r->base + 1;

        if (r->region->kind != REGION_RAM)
            continue;
        const uint8_t *host = r->region->ram->host + r->region->ram_off + r->off, *at = host;
        while ((at = memmem(at, host + size - at, begins, strlen(begins))) != NULL) {
            char *info = info_at(at, host + size - at);

            if (info)
                return info;
            at++;
        }
    }
    return NULL;
}
