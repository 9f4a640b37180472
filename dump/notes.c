/* SPDX-License-Identifier: MIT */
/*
 * ELF notes: for each vCPU what its guest says (Isa.core_notes), and what a
 * Linux kernel has left in memory for crash tools, where it has.
 *
 * NT_PRSTATUS is Linux's elf_prstatus of 64-bit machines: 112 bytes, of which
 * the process number is the only one that means something here, the registers,
 * and a word.
 */
#include <string.h>

#include "dump/dump-priv.h"
#include "system/vcpu.h"
#include "system/vmcoreinfo.h"
#include "target/isa.h"

enum { PRSTATUS_PID = 32, PRSTATUS_REGS = 112, PRSTATUS_TAIL = 8 };

/* Appends a note and returns where its text begins. */
static uint64_t add_note(GByteArray *out, const char *name, uint32_t type, const void *data, uint32_t size)
{
    static const uint8_t zeros[4];
    uint32_t head[3] = { (uint32_t)strlen(name) + 1, size, type };

    g_byte_array_append(out, (const guint8 *)head, sizeof(head));
    g_byte_array_append(out, (const guint8 *)name, head[0]);
    g_byte_array_append(out, zeros, -head[0] & 3);
    uint64_t at = out->len;
    g_byte_array_append(out, data, size);
    g_byte_array_append(out, zeros, -size & 3);
    return at;
}

static void cpu_notes(Vcpu *v, void *opaque)
{
    struct Dump *d = opaque;
    uint8_t buf[PRSTATUS_REGS + CORE_NOTE_MAX + PRSTATUS_TAIL];

    for (const CoreNote *n = v->isa->core_notes; n && n->type; n++) {
        uint32_t pid = (uint32_t)v->index + 1;
        bool status = n->type == CORE_PRSTATUS;

        memset(buf, 0, sizeof(buf));
        size_t size = n->fill(v, status ? buf + PRSTATUS_REGS : buf);
        if (status)
            memcpy(buf + PRSTATUS_PID, &pid, sizeof(pid));
        if (size)
            add_note(d->notes, "CORE", n->type, buf, (uint32_t)size + (status ? PRSTATUS_REGS + PRSTATUS_TAIL : 0));
    }
}

void dump_notes(struct Dump *d)
{
    g_autofree char *info = vmcoreinfo_find(d->vm);

    for (int i = 0; i < d->vm->nvcpus; i++)
        vcpu_run_on(d->vm->vcpus[i], cpu_notes, d, true);
    d->ncpus = d->vm->nvcpus;
    if (info) {
        d->vmcoreinfo_size = strlen(info);
        d->vmcoreinfo_at = add_note(d->notes, "VMCOREINFO", 0, info, (uint32_t)d->vmcoreinfo_size);
    }
}
