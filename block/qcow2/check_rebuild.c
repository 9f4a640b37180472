/* SPDX-License-Identifier: MIT */
/*
 * qcow2 check: all refcount structures anew. Nothing that is there is written
 * over: blocks and a table for them go behind the end of the file, then one
 * write of the header switches to them. The old ones are counted no more.
 */
#include "block/qcow2/check-priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The new structures: clusters [start, start + blocks + table). */
typedef struct Plan {
    uint64_t start, blocks, table;      /* in clusters */
    uint64_t entries;                   /* of the table that may be used */
    uint64_t *at;                       /* offset of each block, or 0 */
} Plan;

/* What the refcount shall be. */
static uint64_t target(Check *c, const Plan *p, uint64_t i, const void *old)
{
    const CheckMeta *m = counts_byte(&c->counts, i) ? meta_find(&c->meta, i) : NULL;
    uint64_t want = counts_get(&c->counts, i) - (m ? m->rc_refs : 0), have;

    if (i >= p->start && i < p->start + p->blocks + p->table)
        want++;
    if (c->blind && old && !(m && m->rc_refs)) {        /* it may be in use all the same */
        have = qcow2_refcount_peek(c->s, old, i & ((UINT64_C(1) << c->s->rb_bits) - 1));
        want = MAX(want, have);
    }
    return MIN(want, c->s->refcount_max);
}

/* Does the range of a block hold anything? */
static bool block_needed(Check *c, const Plan *p, uint64_t rb)
{
    uint64_t first = rb << c->s->rb_bits, end = (rb + 1) << c->s->rb_bits, stop = p->start + p->blocks + p->table;

    if (first < stop && end > p->start)
        return true;
    if (c->blind && rb < c->s->rt_size && (c->s->rt[rb] & QCOW2_RT_OFFSET))
        return true;
    for (uint64_t i = first; i < MIN(end, c->counts.end);) {
        if (!c->counts.pages[i >> COUNTS_PAGE_BITS])
            i = ((i >> COUNTS_PAGE_BITS) + 1) << COUNTS_PAGE_BITS;
        else if (counts_byte(&c->counts, i++) & COUNTS_FULL)
            return true;
    }
    return false;
}

/* Sizes depend on each other: until they fit. */
static int make_plan(Check *c, Plan *p)
{
    Qcow2 *s = c->s;
    uint64_t per_table = s->cluster_size / 8, blocks, table;

    *p = (Plan){ .start = MAX(c->clusters, c->counts.end), .table = 1 };
    do {
        blocks = p->blocks;
        table = p->table;
        p->entries = ((p->start + blocks + table - 1) >> s->rb_bits) + 1;
        p->blocks = 0;
        for (uint64_t rb = 0; rb < p->entries; rb++)
            p->blocks += block_needed(c, &(Plan){ .start = p->start, .blocks = blocks, .table = table }, rb);
        p->table = (p->entries + per_table - 1) / per_table;
        p->blocks = MAX(p->blocks, blocks);
        p->table = MAX(p->table, table);
    } while (p->blocks != blocks || p->table != table);
    if (p->table << s->cluster_bits > MAX(QCOW2_MAX_RT_BYTES, s->cluster_size))
        return -EFBIG;
    p->at = try_alloc(p->table * per_table, 8);
    return p->at ? 0 : -ENOMEM;
}

static int write_block(Check *c, const Plan *p, uint64_t rb, uint64_t off, uint8_t *block)
{
    Qcow2 *s = c->s;
    uint64_t first = rb << s->rb_bits;
    const void *old = NULL;
    int ret = c->blind ? check_block(c, rb, &old) : 0;

    if (ret)
        return ret;
    memset(block, 0, s->cluster_size);
    for (uint64_t i = 0; i < UINT64_C(1) << s->rb_bits; i++) {
        uint64_t n = target(c, p, first + i, old);

        if (n)
            qcow2_refcount_poke(s, block, i, n);
    }
    return child_pwrite(s->node.file, off, block, s->cluster_size, 0);
}

static int write_blocks(Check *c, Plan *p)
{
    Qcow2 *s = c->s;
    uint8_t *block = block_buf(s->node.file->node, s->cluster_size);
    uint64_t off = p->start << s->cluster_bits;
    int ret = block ? 0 : -ENOMEM;

    for (uint64_t rb = 0; !ret && rb < p->entries; rb++) {
        if (!block_needed(c, p, rb))
            continue;
        ret = write_block(c, p, rb, off, block);
        p->at[rb] = off;
        off += s->cluster_size;
    }
    block_buf_free(block);
    return ret;
}

static int write_table(Check *c, const Plan *p)
{
    Qcow2 *s = c->s;
    size_t bytes = p->table << s->cluster_bits;
    uint64_t *disk = block_buf(s->node.file->node, bytes);
    int ret;

    if (!disk)
        return -ENOMEM;
    for (size_t i = 0; i < bytes / 8; i++)
        disk[i] = htobe64(p->at[i]);
    ret = child_pwrite(s->node.file, (p->start + p->blocks) << s->cluster_bits, disk, bytes, 0);
    block_buf_free(disk);
    return ret ? ret : child_flush(s->node.file);
}

static int switch_header(Check *c, const Plan *p)
{
    Qcow2 *s = c->s;
    Qcow2Header was = s->header, disk;
    size_t from = offsetof(Qcow2Header, refcount_table_offset), to = offsetof(Qcow2Header, nb_snapshots);
    int ret;

    s->header.refcount_table_offset = (p->start + p->blocks) << s->cluster_bits;
    s->header.refcount_table_clusters = (uint32_t)p->table;
    disk = s->header;
    qcow2_header_swap(&disk);
    ret = child_pwrite(s->node.file, from, (uint8_t *)&disk + from, to - from, 0);
    if (!ret)
        ret = child_flush(s->node.file);
    if (ret)
        s->header = was;
    qcow2_refcount_forget(s);
    return ret ? ret : qcow2_refcount_load(s);
}

/* Findings about refcounts are no more; what the new ones cannot count stays. */
static void take_stock(Check *c)
{
    CheckResult *r = c->r;

    r->corruptions -= c->bad_structures + c->bad_counts;
    r->corruptions_fixed += c->bad_structures + c->bad_counts;
    if (!c->blind) {
        r->leaks_fixed += r->leaks;
        r->leaks = 0;
    }
}

int check_rebuild(Check *c)
{
    Plan p;
    int ret;

    check_say(c, "Rebuilding refcount structure");
    ret = make_plan(c, &p);
    if (!ret)
        ret = write_blocks(c, &p);
    if (!ret)
        ret = write_table(c, &p);
    if (!ret)
        ret = switch_header(c, &p);
    free(p.at);
    if (ret)
        return ret;
    g_clear_pointer(&c->bad_block, g_free);
    take_stock(c);
    c->flags_differ = true;             /* perhaps: they were compared with other refcounts */
    c->r->end_offset = (p.start + p.blocks + p.table) << c->s->cluster_bits;
    return 0;
}
