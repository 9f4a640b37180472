/* SPDX-License-Identifier: MIT */
/*
 * An ELF core file (System V ABI, "Object Files" and "Program Loading"):
 * notes, then all memory, piece by piece. Without paging a segment's virtual
 * address is its physical one; with it there is a segment for each piece of
 * the page tables, and behind those one for each piece of memory that none of
 * them maps: at its physical address again, or at 0 where that means something else.
 */
#include <elf.h>
#include <string.h>

#include "dump/dump-priv.h"
#include "target/isa.h"

/* e_phnum has 16 bits; where that is not enough, section 0 has the number. */
enum { PHNUM_ESCAPE = PN_XNUM };

typedef struct Segments { GArray *of /* Elf64_Phdr */; const struct Dump *d; uint64_t data; } Segments;

static void add_segment(Segments *s, uint64_t va, uint64_t pa, uint64_t size, uint64_t at)
{
    Elf64_Phdr p = {
        .p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_offset = at, .p_vaddr = va, .p_paddr = pa, .p_filesz = size, .p_memsz = size,
    };

    g_array_append_val(s->of, p);
}

/* The parts of a mapping that memory is at; `at`: where the first block is in the file. */
static void add_map(Segments *s, const DumpMap *m, uint64_t at)
{
    for (guint i = 0; i < s->d->blocks->len; i++) {
        const DumpBlock *b = &g_array_index(s->d->blocks, DumpBlock, i);
        uint64_t from = MAX(m->pa, b->pa), to = MIN(m->pa + (m->size - 1), b->pa + (b->size - 1));

        if (from <= to)
            add_segment(s, m->va + (from - m->pa), from, to - from + 1, at + (from - b->pa));
        at += b->size;
    }
}

static bool va_is_mapped(const struct Dump *d, uint64_t va, uint64_t size)
{
    for (guint i = 0; i < d->maps->len; i++) {
        const DumpMap *m = &g_array_index(d->maps, DumpMap, i);

        if (m->va <= va + (size - 1) && va <= m->va + (m->size - 1))
            return true;
    }
    return false;
}

static void add_unmapped(Segments *s, uint64_t pa, uint64_t size, uint64_t at)
{
    if (size)
        add_segment(s, va_is_mapped(s->d, pa, size) ? 0 : pa, pa, size, at);
}

static int by_pa(const void *a, const void *b)
{
    const DumpMap *x = a, *y = b;

    return (x->pa > y->pa) - (x->pa < y->pa);
}

/* What of a block no mapping (ascending by pa) covers; `at`: where it is in the file. */
static void add_rest(Segments *s, const GArray *maps, const DumpBlock *b, uint64_t at)
{
    uint64_t next = 0;          /* of the block: all before it is done */

    for (guint i = 0; i < maps->len && next < b->size; i++) {
        const DumpMap *m = &g_array_index(maps, DumpMap, i);
        uint64_t last = m->pa + (m->size - 1);

        if (last < b->pa || m->pa > b->pa + (b->size - 1))
            continue;
        uint64_t from = m->pa > b->pa ? m->pa - b->pa : 0;
        if (from > next)
            add_unmapped(s, b->pa + next, from - next, at + next);
        next = MAX(next, MIN(last - b->pa, b->size - 1) + 1);
    }
    add_unmapped(s, b->pa + next, b->size - MIN(next, b->size), at + next);
}

static void all_segments(Segments *s, uint64_t at)
{
    g_autoptr(GArray) maps = g_array_copy(s->d->maps);

    g_array_sort(maps, by_pa);
    for (guint i = 0; i < s->d->maps->len; i++)
        add_map(s, &g_array_index(s->d->maps, DumpMap, i), at);
    for (guint i = 0; i < s->d->blocks->len; i++) {
        const DumpBlock *b = &g_array_index(s->d->blocks, DumpBlock, i);

        add_rest(s, maps, b, at);
        at += b->size;
    }
}

static Err *write_headers(struct Dump *d, const Segments *s, uint64_t first_note)
{
    uint32_t n = s->of->len + 1;
    Elf64_Phdr note = { .p_type = PT_NOTE, .p_offset = first_note, .p_filesz = d->notes->len, .p_memsz = d->notes->len };
    Elf64_Shdr count = { .sh_info = n };
    Elf64_Ehdr e = {
        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
        .e_type = ET_CORE, .e_machine = (Elf64_Half)d->vm->isa->elf_machine, .e_version = EV_CURRENT,
        .e_phoff = sizeof(Elf64_Ehdr) + sizeof(Elf64_Shdr), .e_shoff = sizeof(Elf64_Ehdr), .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = n >= PHNUM_ESCAPE ? PHNUM_ESCAPE : (Elf64_Half)n,
        .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 1,
    };

    TRY(dump_out(d, &e, sizeof(e)));
    TRY(dump_out(d, &count, sizeof(count)));
    TRY(dump_out(d, &note, sizeof(note)));
    TRY(dump_out(d, s->of->data, (size_t)s->of->len * sizeof(Elf64_Phdr)));
    return dump_out(d, d->notes->data, d->notes->len);
}

static Err *write_memory(struct Dump *d, const DumpBlock *b)
{
    enum { STEP = 1 << 20 };

    for (uint64_t off = 0; off < b->size; off += STEP) {
        size_t n = MIN(b->size - off, (uint64_t)STEP);

        TRY(dump_out(d, b->host + off, n));
        atomic_fetch_add(&d->completed, n);
    }
    return NULL;
}

Err *dump_elf(struct Dump *d)
{
    Segments s = { g_array_new(FALSE, FALSE, sizeof(Elf64_Phdr)), d, 0 };
    Err *e = NULL;

    all_segments(&s, 0);
    uint64_t first_note = sizeof(Elf64_Ehdr) + sizeof(Elf64_Shdr) + (uint64_t)(s.of->len + 1) * sizeof(Elf64_Phdr);
    for (guint i = 0; i < s.of->len; i++)
        g_array_index(s.of, Elf64_Phdr, i).p_offset += first_note + d->notes->len;
    e = write_headers(d, &s, first_note);
    g_array_free(s.of, TRUE);
    for (guint i = 0; !e && i < d->blocks->len; i++)
        e = write_memory(d, &g_array_index(d->blocks, DumpBlock, i));
    return e;
}
