/* SPDX-License-Identifier: MIT */
/*
 * kdump's compressed form (makedumpfile's diskdump_mod.h and IMPLEMENTATION):
 * a header, a second one with the notes, two bitmaps of page frames (there are;
 * are in the file: the same here), a descriptor for each page, the pages, each
 * deflated where that makes it smaller. Pages of zeros share one.
 */
#include <string.h>
#include <zlib.h>

#include "dump/dump-priv.h"
#include "target/isa.h"

enum { STATUS_ZLIB = 1, PAGE_ZLIB = 1, BUFFER = 64 << 10 };

typedef struct Header {
    char signature[8];
    int32_t version;
    char utsname[6][65];        /* of which the machine, [4] */
    char pad[6];
    int64_t time[2];
    uint32_t status;
    int32_t block_size, sub_hdr_size;
    uint32_t bitmap_blocks, max_mapnr, total_ram_blocks, device_blocks, written_blocks, current_cpu;
    int32_t nr_cpus;
} Header;

typedef struct SubHeader {
    uint64_t phys_base;
    int32_t dump_level, split;
    uint64_t start_pfn, end_pfn, offset_vmcoreinfo, size_vmcoreinfo, offset_note, size_note, offset_eraseinfo, size_eraseinfo;
    uint64_t start_pfn_64, end_pfn_64, max_mapnr_64;
} SubHeader;

typedef struct PageDesc {
    uint64_t offset;
    uint32_t size, flags;
    uint64_t page_flags;
} PageDesc;
_Static_assert(sizeof(Header) == 464 && sizeof(SubHeader) == 104 && sizeof(PageDesc) == 24, "as the format has them");

/* Two places of the file that are written in turns. */
typedef struct Tail { uint64_t at; size_t n; uint8_t buf[BUFFER]; } Tail;

static Err *tail_flush(struct Dump *d, Tail *t)
{
    size_t n = t->n;

    t->n = 0;
    t->at += n;
    return n ? dump_out_at(d, t->at - n, t->buf, n) : NULL;
}

static Err *tail_add(struct Dump *d, Tail *t, const void *data, size_t n)
{
    if (t->n + n > BUFFER)
        TRY(tail_flush(d, t));
    memcpy(t->buf + t->n, data, n);
    t->n += n;
    return NULL;
}

static const DumpBlock *block(const struct Dump *d, guint i)
{
    return &g_array_index(d->blocks, DumpBlock, i);
}

static uint64_t frames_end(const struct Dump *d)
{
    const DumpBlock *last = block(d, d->blocks->len - 1);

    return (last->pa + last->size) / DUMP_PAGE;
}

static uint64_t blocks_of(uint64_t bytes)
{
    return (bytes + DUMP_PAGE - 1) / DUMP_PAGE;
}

static Err *write_heads(struct Dump *d, uint64_t bitmap_blocks)
{
    uint64_t frames = frames_end(d), notes_at = DUMP_PAGE + sizeof(SubHeader);
    Header h = {
        .signature = { 'K', 'D', 'U', 'M', 'P', ' ', ' ', ' ' }, .version = 6, .status = STATUS_ZLIB, .block_size = DUMP_PAGE,
        .sub_hdr_size = (int32_t)blocks_of(sizeof(SubHeader) + d->notes->len), .bitmap_blocks = (uint32_t)bitmap_blocks,
        .max_mapnr = (uint32_t)MIN(frames, (uint64_t)UINT32_MAX), .nr_cpus = d->ncpus,
    };
    SubHeader s = { .dump_level = 1, .offset_note = notes_at, .size_note = d->notes->len, .max_mapnr_64 = frames };

    g_strlcpy(h.utsname[4], d->vm->isa->name, sizeof(h.utsname[4]));
    if (d->vmcoreinfo_size) {
        s.offset_vmcoreinfo = notes_at + d->vmcoreinfo_at;
        s.size_vmcoreinfo = d->vmcoreinfo_size;
    }
    TRY(dump_out_at(d, 0, &h, sizeof(h)));
    TRY(dump_out_at(d, DUMP_PAGE, &s, sizeof(s)));
    return dump_out_at(d, notes_at, d->notes->data, d->notes->len);
}

/* The bits of a page of the bitmap; its first frame is `first`. */
static void fill_bits(const struct Dump *d, uint64_t first, uint8_t *bits)
{
    memset(bits, 0, DUMP_PAGE);
    for (guint i = 0; i < d->blocks->len; i++) {
        uint64_t from = MAX(block(d, i)->pa / DUMP_PAGE, first);
        uint64_t to = MIN((block(d, i)->pa + block(d, i)->size) / DUMP_PAGE, first + 8 * DUMP_PAGE);

        for (uint64_t f = from; f < to; f++)
            bits[(f - first) / 8] |= (uint8_t)(1 << (f - first) % 8);
    }
}

static Err *write_bitmaps(struct Dump *d, uint64_t at, uint64_t blocks)
{
    uint8_t bits[DUMP_PAGE];

    for (uint64_t i = 0; i < blocks; i++) {
        fill_bits(d, i * 8 * DUMP_PAGE, bits);
        TRY(dump_out_at(d, at + i * DUMP_PAGE, bits, DUMP_PAGE));
        TRY(dump_out_at(d, at + (blocks + i) * DUMP_PAGE, bits, DUMP_PAGE));
    }
    return NULL;
}

typedef struct Pages { Tail desc, data; PageDesc zero; } Pages;

static bool all_zero(const uint8_t *page)
{
    return !page[0] && !memcmp(page, page + 1, DUMP_PAGE - 1);
}

static Err *write_page(struct Dump *d, Pages *p, const uint8_t *live)
{
    uint8_t page[DUMP_PAGE], small[DUMP_PAGE];
    uLongf n = sizeof(small);
    PageDesc desc = { p->data.at + p->data.n, DUMP_PAGE, 0, 0 };

    memcpy(page, live, DUMP_PAGE);      /* a device may still write to it */
    if (all_zero(page) && p->zero.size)
        return tail_add(d, &p->desc, &p->zero, sizeof(desc));
    if (compress2(small, &n, page, DUMP_PAGE, Z_BEST_SPEED) == Z_OK && n < DUMP_PAGE) {
        desc.size = (uint32_t)n;
        desc.flags = PAGE_ZLIB;
    }
    if (all_zero(page))
        p->zero = desc;
    TRY(tail_add(d, &p->data, desc.flags ? small : page, desc.size));
    return tail_add(d, &p->desc, &desc, sizeof(desc));
}

static Err *write_pages(struct Dump *d, Pages *p)
{
    for (guint i = 0; i < d->blocks->len; i++) {
        const DumpBlock *b = block(d, i);

        for (uint64_t off = 0; off < b->size; off += DUMP_PAGE) {
            if (atomic_load_explicit(&d->cancel, memory_order_relaxed))
                return err(ERR_BUSY, "dump: the machine ends");
            TRY(write_page(d, p, b->host + off));
            atomic_fetch_add_explicit(&d->completed, DUMP_PAGE, memory_order_relaxed);
        }
    }
    TRY(tail_flush(d, &p->desc));
    return tail_flush(d, &p->data);
}

Err *dump_kdump(struct Dump *d)
{
    uint64_t blocks = blocks_of((frames_end(d) + 7) / 8);
    uint64_t bitmaps = DUMP_PAGE * (1 + blocks_of(sizeof(SubHeader) + d->notes->len)), pages = d->total / DUMP_PAGE;

    TRY(write_heads(d, 2 * blocks));
    TRY(write_bitmaps(d, bitmaps, blocks));
    g_autofree Pages *p = g_new0(Pages, 1);
    p->desc.at = bitmaps + 2 * blocks * DUMP_PAGE;
    p->data.at = p->desc.at + pages * sizeof(PageDesc);
    return write_pages(d, p);
}
