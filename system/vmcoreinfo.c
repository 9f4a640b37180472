/* SPDX-License-Identifier: MIT */
/* Linux's crash information, which is a page of lines of text: no knowledge of the guest is needed to find it. */
#include "system/vmcoreinfo.h"

#include <string.h>

enum { INFO_MAX = 4096, NOTE_MAX = 65536 };

/* The text at host, if it is crash information: copied once, the guest may write to it. */
static char *info_at(const uint8_t *host, uint64_t room)
{
    g_autofree char *text = g_strndup((const char *)host, MIN(room, (uint64_t)INFO_MAX));

    return strstr(text, "\nPAGESIZE=") || strstr(text, "\nSYMBOL(") ? g_steal_pointer(&text) : NULL;
}

static char *search(Vm *vm)
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

/* The text of an ELF note, which is copied once: namesz, descsz, type, name, text (System V ABI, "Note Section"). */
static char *told(Vm *vm)
{
    enum { NAMESZ, DESCSZ, TYPE, HEAD };
    static const char name[12] = "VMCOREINFO";
    const CrashNote *n = vm->crash_note;
    uint32_t head[HEAD];

    if (!n || n->size < sizeof(head) + sizeof(name) || n->size > NOTE_MAX)
        return NULL;
    g_autofree char *note = g_malloc(n->size);
    if (space_read(vm->mem, n->addr, note, n->size) != MEM_OK)
        return NULL;
    memcpy(head, note, sizeof(head));
    const char *text = note + sizeof(head) + sizeof(name);
    if (GUINT32_FROM_LE(head[NAMESZ]) != strlen(name) + 1 || memcmp(note + sizeof(head), name, sizeof(name)))
        return NULL;
    return g_strndup(text, MIN(GUINT32_FROM_LE(head[DESCSZ]), n->size - (uint32_t)(text - note)));
}

char *vmcoreinfo_find(Vm *vm)
{
    char *text = told(vm);

    return text ? text : search(vm);
}
