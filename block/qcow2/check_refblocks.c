/* SPDX-License-Identifier: MIT */
/*
 * qcow2 check: the refcount table and its blocks, what they say against what
 * was counted, and mending them in place. A block that is not where one can be
 * counts as missing; then all of them are made anew (check_rebuild.c).
 */
#include "block/qcow2/check-priv.h"

#include <inttypes.h>
#include <string.h>

static void bad_structure(Check *c, uint64_t rb)
{
    c->bad_block[rb / 8] |= (uint8_t)(1 << rb % 8);
    c->bad_structures++;
    c->rebuild = true;
}

static int structure(Check *c, uint64_t rb)
{
    Qcow2 *s = c->s;
    uint64_t e = s->rt[rb], off = e & QCOW2_RT_OFFSET, n;
    int ret;

    if (e & QCOW2_RT_RESERVED) {
        check_bad(c, "ERROR refcount table entry %" PRIu64 " has reserved bits set", rb);
        bad_structure(c, rb);
    } else if (qcow2_in_cluster(s, off)) {
        check_bad(c, "ERROR refcount block %" PRIu64 " is not cluster aligned; refcount table entry corrupted", rb);
        bad_structure(c, rb);
    } else if (off >> s->cluster_bits >= c->clusters) {
        check_bad(c, "ERROR refcount block %" PRIu64 " is outside image", rb);
        bad_structure(c, rb);
    } else {
        ret = check_ref(c, USE_REFBLOCK, off, s->cluster_size);
        if (ret)
            return ret;
        n = counts_get(&c->counts, off >> s->cluster_bits);
        if (n != 1) {
            check_bad(c, "ERROR refcount block %" PRIu64 " refcount=%" PRIu64, rb, n);
            bad_structure(c, rb);
        }
    }
    return 0;
}

int check_refcount_structures(Check *c)
{
    Qcow2 *s = c->s;
    int ret = check_ref(c, USE_REFTABLE, s->header.refcount_table_offset,
                        (uint64_t)s->header.refcount_table_clusters << s->cluster_bits);

    if (!ret)
        ret = qcow2_refcount_load(s);
    if (ret)
        return ret;
    c->bad_block = g_malloc0(s->rt_size / 8 + 1);
    for (uint64_t i = 0; !ret && i < s->rt_size; i++)
        if (s->rt[i])
            ret = structure(c, i);
    return ret;
}

/* After the walk: a block whose cluster something else is as well cannot be written. */
static void shared_structures(Check *c)
{
    Qcow2 *s = c->s;

    for (uint64_t i = 0; i < s->rt_size; i++) {
        uint64_t cluster = (s->rt[i] & QCOW2_RT_OFFSET) >> s->cluster_bits, n;
        const CheckMeta *m;

        if (!cluster || c->bad_block[i / 8] >> i % 8 & 1)
            continue;
        m = meta_find(&c->meta, cluster);
        n = counts_get(&c->counts, cluster);
        if (m && n > m->rc_refs) {
            check_bad(c, "ERROR refcount block %" PRIu64 " refcount=%" PRIu64, i, n);
            bad_structure(c, i);
        }
    }
}

int check_block(Check *c, uint64_t rb, const void **out)
{
    Qcow2 *s = c->s;
    Qcow2Entry *e;
    int ret;

    *out = NULL;
    if (rb >= s->rt_size || !(s->rt[rb] & QCOW2_RT_OFFSET) || (c->bad_block && c->bad_block[rb / 8] >> rb % 8 & 1))
        return 0;
    ret = qcow2_cache_get(s->rb_cache, s->rt[rb] & QCOW2_RT_OFFSET, &e);
    if (ret)
        return ret;
    *out = e->data;
    qcow2_cache_put(e);                 /* it stays until the next piece is asked for */
    return 0;
}

int check_refcount(Check *c, uint64_t cluster, uint64_t *out)
{
    const void *block;
    int ret = check_block(c, cluster >> c->s->rb_bits, &block);

    *out = block ? qcow2_refcount_peek(c->s, block, cluster & ((UINT64_C(1) << c->s->rb_bits) - 1)) : 0;
    return ret;
}

bool check_may_write(Check *c, CheckUse use, uint64_t off, uint64_t len)
{
    unsigned bits = c->s->cluster_bits;

    for (uint64_t i = off >> bits; i <= (off + len - 1) >> bits; i++) {
        const CheckMeta *m = meta_find(&c->meta, i);

        if (m && m->uses == use && m->refs == counts_get(&c->counts, i))
            continue;
        check_say(c, "ERROR cluster %" PRIu64 " (offset %#" PRIx64 ") has two uses; what it holds is not written to",
                  i, i << bits);
        return false;
    }
    return true;
}

/* ---- comparing */

/* Clusters first.. of one block: finds the next that is of interest, quickly. */
static uint64_t skip_equal(const Check *c, const void *block, uint64_t in, uint64_t first, uint64_t n, uint64_t *highest)
{
    const uint8_t *page = c->counts.pages[first >> COUNTS_PAGE_BITS];
    const uint16_t *rc = block ? (const uint16_t *)block + in : NULL;
    uint64_t i = 0;

    if (c->s->refcount_bits != 16 || !page || !rc)
        return 0;
    page += first & (COUNTS_PAGE - 1);
    for (; i < n; i++) {
        unsigned b = page[i], ref = b & COUNTS_FULL, have = be16toh(rc[i]);
        unsigned wrong = have == 1 ? COUNTS_NOT_COPIED : COUNTS_COPIED;

        if (have != ref || ref == COUNTS_FULL || (b & wrong))
            break;
        if (have)
            *highest = first + i;
    }
    return i;
}

/* More references than as metadata: what else is it? */
static void tell_uses(Check *c, uint64_t i)
{
    static const char *const names[] = { "header", "active L1 table", "L2 table", "refcount table", "refcount block",
                                         "snapshot table", "L1 table of a snapshot", "bitmap", "encryption header" };
    const CheckMeta *m = meta_find(&c->meta, i);
    g_autoptr(GString) uses = g_string_new(NULL);

    if (!m || counts_get(&c->counts, i) <= m->refs)
        return;
    for (unsigned k = 0; k < G_N_ELEMENTS(names); k++)
        if (m->uses >> k & 1)
            g_string_append_printf(uses, "%s, ", names[k]);
    check_say(c, "    offset %#" PRIx64 " is used as %sand for data", i << c->s->cluster_bits, uses->str);
}

static void one_differs(Check *c, uint64_t i, uint64_t have, uint64_t want)
{
    bool leak = have > want;

    check_say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, leak ? "Leaked" : "ERROR", i, have, want);
    if (leak)
        c->r->leaks++;
    else
        c->r->corruptions++;
    c->bad_counts += !leak && want <= c->s->refcount_max;
    if (!leak)
        tell_uses(c, i);
}

/* Clusters [first, first+n), in one block and one page. */
static int compare_part(Check *c, const void *block, uint64_t first, uint64_t n, uint64_t *highest)
{
    uint64_t in = first & ((UINT64_C(1) << c->s->rb_bits) - 1);

    for (uint64_t i = skip_equal(c, block, in, first, n, highest); i < n; i++) {
        uint64_t have = block ? qcow2_refcount_peek(c->s, block, in + i) : 0, want = counts_get(&c->counts, first + i);
        uint8_t marks = counts_byte(&c->counts, first + i);

        if (have || want)
            *highest = first + i;
        c->flags_differ |= marks & (have == 1 ? COUNTS_NOT_COPIED : COUNTS_COPIED);
        if (have != want)
            one_differs(c, first + i, have, want);
        c->rebuild |= want && !block;
        if (have == want)
            i += skip_equal(c, block, in + i + 1, first + i + 1, n - i - 1, highest);
    }
    return 0;
}

/* The end of what one block and one page describe, from cluster i on. */
static uint64_t part_end(const Check *c, uint64_t i, uint64_t end)
{
    uint64_t block = ((i >> c->s->rb_bits) + 1) << c->s->rb_bits, page = ((i >> COUNTS_PAGE_BITS) + 1) << COUNTS_PAGE_BITS;

    return MIN(end, MIN(block, page));
}

/* Nothing counted, no blocks: where the next of either may begin. */
static uint64_t skip_empty(const Check *c, uint64_t i, uint64_t end)
{
    while (i < end && !c->counts.pages[i >> COUNTS_PAGE_BITS]) {
        bool behind = i >> c->s->rb_bits >= c->s->rt_size;     /* a cluster far out, and a short table: in long steps */

        if (!behind && c->s->rt[i >> c->s->rb_bits])
            break;
        i = behind ? MIN(end, ((i >> COUNTS_PAGE_BITS) + 1) << COUNTS_PAGE_BITS) : part_end(c, i, end);
    }
    return i;
}

static int report(Check *c)
{
    uint64_t end = MAX(c->clusters, c->counts.end), highest = 0;
    int ret = 0;

    shared_structures(c);
    for (uint64_t i = skip_empty(c, 0, end); i < end && !ret; i = skip_empty(c, i, end)) {
        uint64_t stop = part_end(c, i, end);
        const void *block;

        ret = check_block(c, i >> c->s->rb_bits, &block);
        if (ret && ret != -ENOMEM) {
            check_say(c, "Can't get refcount for cluster %" PRIu64 ": %s", i, strerror(-ret));
            c->r->errors++;
            ret = 0;
        } else if (!ret) {
            ret = compare_part(c, block, i, stop - i, &highest);
        }
        i = stop;
    }
    c->r->end_offset = (highest + 1) << c->s->cluster_bits;
    return ret;
}

/* ---- mending in place */

static bool mend_one(Check *c, void *block, uint64_t in, uint64_t cluster)
{
    uint64_t have = qcow2_refcount_peek(c->s, block, in), want = counts_get(&c->counts, cluster);
    bool leak = have > want;

    if (have == want || want > c->s->refcount_max || !(c->fix & (leak ? FIX_LEAKS : FIX_ERRORS)) || (leak && c->blind))
        return false;
    check_say(c, "Repairing cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu64, cluster, have, want);
    qcow2_refcount_poke(c->s, block, in, want);
    c->flags_differ |= counts_byte(&c->counts, cluster) & (want == 1 ? COUNTS_NOT_COPIED : COUNTS_COPIED);
    if (leak) {
        c->r->leaks--;
        c->r->leaks_fixed++;
    } else {
        c->r->corruptions--;
        c->r->corruptions_fixed++;
        c->bad_counts--;
    }
    return true;
}

static int mend_block(Check *c, uint64_t rb, uint8_t *copy, uint64_t end)
{
    Qcow2 *s = c->s;
    uint64_t per = UINT64_C(1) << s->rb_bits, first = rb << s->rb_bits;
    const void *block;
    bool changed = false;
    int ret = check_block(c, rb, &block);

    if (ret || !block)
        return ret;
    memcpy(copy, block, s->cluster_size);
    for (uint64_t i = 0; i < per && first + i < end; i++)
        changed |= mend_one(c, copy, i, first + i);
    if (!changed)
        return 0;
    if (!check_may_write(c, USE_REFBLOCK, s->rt[rb] & QCOW2_RT_OFFSET, s->cluster_size))
        return -EIO;
    return child_pwrite(s->node.file, s->rt[rb] & QCOW2_RT_OFFSET, copy, s->cluster_size, 0);
}

static int mend(Check *c)
{
    Qcow2 *s = c->s;
    uint64_t end = MAX(c->clusters, c->counts.end);
    uint8_t *copy = block_buf(s->node.file->node, s->cluster_size);
    int ret = copy ? 0 : -ENOMEM;

    for (uint64_t rb = 0; !ret && rb < s->rt_size && rb << s->rb_bits < end; rb++)
        ret = mend_block(c, rb, copy, end);
    block_buf_free(copy);
    if (!ret)
        ret = child_flush(s->node.file);
    qcow2_refcount_forget(s);
    return ret ? ret : qcow2_refcount_load(s);
}

int check_compare(Check *c, bool just_report)
{
    return just_report ? report(c) : mend(c);
}
