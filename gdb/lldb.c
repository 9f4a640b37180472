/* SPDX-License-Identifier: MIT */
/*
 * What lldb asks beyond gdb's packets (its docs/lldb-gdb-remote.txt): what the
 * machine is, and what is mapped around an address, by which it finds room for
 * values of its own.
 */
#include <string.h>

#include "gdb/gdb-priv.h"

void handle_host_info(Gdb *g)
{
    g_autofree char *triple = g_strdup_printf("%s-unknown-unknown-elf", g->vm->isa->name);
    GString *s = g_string_new("triple:");

    put_bytes(s, triple, strlen(triple));
    g_string_append(s, ";ptrsize:8;endian:little;");
    reply_bytes(g, s->str, s->len);
    g_string_free(s, true);
}

enum { JOINED_MAX = 4096 };     /* blocks of the page tables that one answer tells of together */

typedef struct Area { uint64_t at, last; const char *may; bool tables; char attr[4]; } Area;

static void permissions(const Mapping *m, char out[4])
{
    int n = 0;

    for (int i = 0; i < 3 && m->mapped; i++)
        if (m->attr[i] != '-')
            out[n++] = m->attr[i];
    out[n] = 0;
}

static void by_tables(Vcpu *v, void *opaque)
{
    Area *a = opaque;
    Mapping m;
    char attr[4];

    if (!v->isa->mapping || (v->isa->ctx_virtual && !v->isa->ctx_virtual(v, v->env->mode & MODE_CTX))
        || !v->isa->mapping(v, a->at, &m))
        return;
    a->tables = true;
    permissions(&m, a->attr);
    a->may = a->attr;
    a->last = m.last;
    for (int n = 0; n < JOINED_MAX && a->last != UINT64_MAX && v->isa->mapping(v, a->last + 1, &m); n++) {
        permissions(&m, attr);
        if (strcmp(attr, a->attr))
            break;
        a->last = m.last;
    }
}

static void by_space(Gdb *g, Area *a)
{
    static const char *const may[] = { [REGION_RAM] = "rwx", [REGION_ROM] = "rx", [REGION_IO] = "rw" };
    const Flat *f = space_flat(g->vm->mem);

    a->last = UINT64_MAX;
    a->may = "";
    for (int i = 0; i < f->n; i++) {
        const FlatRange *r = &f->r[i];

        if (a->at < r->base) {
            a->last = r->base - 1;
            return;
        }
        if (a->at <= r->last) {
            a->last = r->last;
            a->may = r->region->kind < G_N_ELEMENTS(may) && may[r->region->kind] ? may[r->region->kind] : "";
            return;
        }
    }
}

/* "ADDRESS" is left. Without permissions nothing is there. */
void handle_region_info(Gdb *g, PacketText *t)
{
    Area a = { 0 };

    if (!take_hex(t, &a.at) || !text_over(t)) {
        reply_error(g, 22);
        return;
    }
    if (!g->physical)
        on_vcpu(gdb_vcpu(g, g->thread), by_tables, &a);
    if (!a.tables)
        by_space(g, &a);
    /* A size of 2^64 can't be written: that area is told of as two. */
    uint64_t size = a.last - a.at + 1;
    reply_format(g, "start:%" PRIx64 ";size:%" PRIx64 ";%s%s%s", a.at, size ? size : UINT64_C(1) << 63,
                 *a.may ? "permissions:" : "", a.may, *a.may ? ";" : "");
}
