/* SPDX-License-Identifier: MIT */
/*
 * Memory, as the current thread's vCPU sees it or by physical address. A
 * debugger needs no permission: read-only pages and ROM are written. What is a
 * device is accessed as the guest would do it, in one access where the size allows.
 */
#include <string.h>

#include "gdb/gdb-priv.h"

typedef struct Span { uint64_t va, pa; bool found; unsigned order; } Span;

static void look(Vcpu *v, void *opaque)
{
    Span *s = opaque;

    s->found = v->isa->look(v, s->va, &s->pa, &s->order);
}

/* Of n bytes at addr: how many lie together at *pa. 0: none do. */
static uint64_t translate(Gdb *g, uint64_t addr, uint64_t n, uint64_t *pa)
{
    Span s = { .va = addr, .pa = addr, .found = true, .order = PAGE_BITS };

    if (!g->physical)
        on_vcpu(gdb_vcpu(g, g->thread), look, &s);
    if (!s.found)
        return 0;
    uint64_t room = (UINT64_C(1) << MIN(s.order, 30)) - (addr & ((UINT64_C(1) << MIN(s.order, 30)) - 1));
    *pa = s.pa;
    return MIN(n, room);
}

static MemResult io_bytes(Space *s, uint64_t pa, uint8_t *buf, uint64_t n, bool write)
{
    bool whole = (n == 2 || n == 4 || n == 8) && !(pa & (n - 1));
    unsigned size = whole ? n : 1;

    for (uint64_t i = 0; i < n; i += size) {
        uint64_t val = 0;

        memcpy(&val, buf + i, write ? size : 0);
        MemResult r = space_io(s, pa + i, &val, size, write);
        if (r != MEM_OK)
            return r;
        memcpy(buf + i, &val, write ? 0 : size);
    }
    return MEM_OK;
}

/* Never across a mapping's end. */
static MemResult physical(Gdb *g, uint64_t pa, uint8_t *buf, uint64_t n, bool write)
{
    Space *s = g->vm->mem;
    const FlatRange *r = flat_find(space_flat(s), pa);

    if (!r)
        return MEM_NOTHING;
    if (r->region->kind == REGION_IO)
        return io_bytes(s, pa, buf, n, write);
    if (!write)
        return space_read(s, pa, buf, n);
    if (r->region->kind == REGION_RAM)
        return space_write(s, pa, buf, n);
    Err *e = rom_write(s, pa, buf, n);
    err_free(e);
    return e ? MEM_DENIED : MEM_OK;
}

/* How many bytes of n were done. */
static uint64_t access_memory(Gdb *g, uint64_t addr, uint8_t *buf, uint64_t n, bool write)
{
    uint64_t done = 0;

    while (done < n) {
        uint64_t pa, here = translate(g, addr + done, n - done, &pa);
        const FlatRange *r = here ? flat_find(space_flat(g->vm->mem), pa) : NULL;

        if (!r)
            break;
        here = MIN(here - 1, r->last - pa) + 1;
        debug_dma_quiet(g->vm, write);
        MemResult result = physical(g, pa, buf + done, here, write);
        debug_dma_quiet(g->vm, false);
        if (result != MEM_OK)
            break;
        done += here;
    }
    return done;
}

void handle_read_memory(Gdb *g, PacketText *t, bool binary)
{
    uint64_t addr, n;

    if (!take_hex(t, &addr) || !take_char(t, ',') || !take_hex(t, &n) || !text_over(t)) {
        reply_error(g, 22);
        return;
    }
    n = MIN(n, (uint64_t)PACKET_MAX / 2 - 1);
    g_autofree uint8_t *buf = g_malloc(n + 1);
    uint64_t got = access_memory(g, addr, buf + 1, n, false);

    if (n && !got) {
        reply_error(g, 14);
    } else if (binary) {
        buf[0] = 'b';
        reply_bytes(g, buf, got + 1);
    } else {
        GString *s = g_string_sized_new(2 * got + 1);

        put_bytes(s, buf + 1, got);
        reply_bytes(g, s->str, s->len);
        g_string_free(s, true);
    }
}

void handle_write_memory(Gdb *g, PacketText *t, bool binary)
{
    uint64_t addr, n;

    if (!take_hex(t, &addr) || !take_char(t, ',') || !take_hex(t, &n) || !take_char(t, ':') || n > PACKET_MAX) {
        reply_error(g, 22);
        return;
    }
    g_autofree uint8_t *buf = g_malloc(n + 1);
    bool whole = binary ? (uint64_t)(t->end - t->at) == n : take_bytes(t, buf, n) && text_over(t);

    if (binary && whole)
        memcpy(buf, t->at, n);
    if (!whole)
        reply_error(g, 22);
    else if (access_memory(g, addr, buf, n, true) == n)
        reply(g, "OK");
    else
        reply_error(g, 14);
}

/* ---- the memory map */

static void map_line(GString *s, const char *type, uint64_t first, uint64_t last)
{
    g_string_append_printf(s, "<memory type=\"%s\" start=\"0x%" PRIx64 "\" length=\"0x%" PRIx64 "\"/>\n", type, first, last - first + 1);
}

/*
 * gdb refuses to touch what a map leaves out, and virtual addresses are in no physical map: so this one covers all
 * addresses, and says where the ROMs are, in which breakpoints have to be hardware ones.
 */
char *memory_map_xml(Gdb *g)
{
    const Flat *f = space_flat(g->vm->mem);
    GString *s = g_string_new("<?xml version=\"1.0\"?>\n<!DOCTYPE memory-map PUBLIC \"+//IDN gnu.org//DTD GDB Memory Map V1.0//EN\" "
                              "\"http://sourceware.org/gdb/gdb-memory-map.dtd\">\n<memory-map>\n");
    uint64_t next = 0, half = UINT64_C(1) << 63;

    for (int i = 0; i < f->n; i++) {
        const FlatRange *r = &f->r[i];

        if (r->region->kind != REGION_ROM)
            continue;
        if (r->base > next)
            map_line(s, "ram", next, r->base - 1);
        map_line(s, "rom", r->base, r->last);
        next = r->last + 1;
    }
    /* A length of 2^64 can't be written. */
    if (next < half) {
        map_line(s, "ram", next, half - 1);
        next = half;
    }
    map_line(s, "ram", next, UINT64_MAX);
    g_string_append(s, "</memory-map>\n");
    return g_string_free(s, false);
}
