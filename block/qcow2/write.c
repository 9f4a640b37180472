/* SPDX-License-Identifier: MIT */
/*
 * qcow2: writing metadata in order, and requests in flight. The order and why
 * it suffices stand at the top of qcow2.h.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

int qcow2_barrier(Qcow2 *s)
{
    int ret = s->data != s->node.file && s->data ? child_flush(s->data) : 0;
    return ret ? ret : child_flush(s->node.file);
}

int qcow2_pwrite(Qcow2 *s, unsigned except, uint64_t off, const void *buf, size_t len)
{
    int ret = qcow2_check_overlap(s, except, off, len);
    return ret ? ret : child_pwrite(s->node.file, off, buf, len, 0);
}

static int write_runs(Qcow2 *s, unsigned kind, const Qcow2Taken *t)
{
    for (size_t i = 0; i < t->n; i++) {
        block_event(s->node.file, kind == QCOW2_OL_REFCOUNT_BLOCK ? "refblock_update" : "l2_update");
        int ret = qcow2_pwrite(s, kind, t->runs[i].off, t->runs[i].bytes, t->runs[i].len);
        if (ret)
            return ret;
    }
    return 0;
}

/* ---- tables that are whole in memory: dirty sectors of 64 entries */

typedef struct TableCopy { Qcow2Run *runs; size_t n; uint8_t *arena; } TableCopy;

/* Copies dirty sectors below `entries` of a table at `off` and clears their bits; *any stays set if others are left. */
static int table_take(Qcow2 *s, const uint64_t *table, uint64_t *dirty, uint64_t entries, uint64_t off, bool *any, TableCopy *out)
{
    *out = (TableCopy){ 0 };
    if (!*any)
        return 0;
    uint64_t sectors = (entries + 63) / 64, count = 0;
    for (uint64_t i = 0; i < sectors; i++)
        count += dirty[i / 64] >> (i % 64) & 1;
    out->runs = try_alloc(count, sizeof(*out->runs));
    out->arena = block_buf(s->node.file->node, count * 512);
    if (count && (!out->runs || !out->arena)) {
        free(out->runs);
        block_buf_free(out->arena);
        *out = (TableCopy){ 0 };
        return -ENOMEM;
    }
    uint8_t *to = out->arena;
    for (uint64_t i = 0; i < sectors; i++) {
        if (!(dirty[i / 64] >> (i % 64) & 1))
            continue;
        dirty[i / 64] &= ~(UINT64_C(1) << (i % 64));
        for (unsigned k = 0; k < 64; k++) {
            uint64_t be = i * 64 + k < entries ? htobe64(table[i * 64 + k]) : 0;
            memcpy(to + k * 8, &be, 8);
        }
        if (out->n && out->runs[out->n - 1].off + out->runs[out->n - 1].len == off + i * 512)
            out->runs[out->n - 1].len += 512;
        else
            out->runs[out->n++] = (Qcow2Run){ off + i * 512, 512, to };
        to += 512;
    }
    *any = false;
    return 0;
}

static void table_end(TableCopy *t, uint64_t *dirty, uint64_t off, bool *any, bool written)
{
    for (size_t i = 0; i < t->n && !written; i++) {
        uint64_t first = (t->runs[i].off - off) / 512;
        for (uint64_t k = first; k < first + t->runs[i].len / 512; k++)
            dirty[k / 64] |= UINT64_C(1) << (k % 64);
        *any = true;
    }
    free(t->runs);
    block_buf_free(t->arena);
    *t = (TableCopy){ 0 };
}

static int table_write(Qcow2 *s, unsigned kind, const TableCopy *t)
{
    for (size_t i = 0; i < t->n; i++) {
        block_event(s->node.file, kind == QCOW2_OL_REFCOUNT_TABLE ? "reftable_update" : "l1_update");
        int ret = qcow2_pwrite(s, kind, t->runs[i].off, t->runs[i].bytes, t->runs[i].len);
        if (ret)
            return ret;
    }
    return 0;
}

/* ---- refcounts */

typedef struct RefTaken { Qcow2Taken blocks; TableCopy table; } RefTaken;

static int ref_take(Qcow2 *s, RefTaken *out)
{
    *out = (RefTaken){ 0 };
    int ret = qcow2_cache_take(s->rb_cache, &out->blocks);
    if (!ret && s->rt)
        ret = table_take(s, s->rt, s->rt_dirty, s->rt_on_disk, s->header.refcount_table_offset, &s->rt_any_dirty, &out->table);
    if (ret)
        qcow2_taken_end(s->rb_cache, &out->blocks, false);
    return ret;
}

/* Blocks, and behind a barrier of their own the table that names new ones. */
static int ref_write(Qcow2 *s, const RefTaken *t)
{
    int ret = write_runs(s, QCOW2_OL_REFCOUNT_BLOCK, &t->blocks);
    if (!ret && t->table.n)
        ret = child_flush(s->node.file);
    return ret ? ret : table_write(s, QCOW2_OL_REFCOUNT_TABLE, &t->table);
}

static void ref_end(Qcow2 *s, RefTaken *t, bool written)
{
    qcow2_taken_end(s->rb_cache, &t->blocks, written);
    table_end(&t->table, s->rt_dirty, s->header.refcount_table_offset, &s->rt_any_dirty, written);
}

int qcow2_write_refcounts_locked(Qcow2 *s)
{
    RefTaken t;
    int ret = ref_take(s, &t);
    if (ret)
        return ret;
    ret = ref_write(s, &t);
    ref_end(s, &t, !ret);
    return ret;
}

int qcow2_write_refcounts(Qcow2 *s)
{
    co_lock(&s->write_lock);
    int ret = qcow2_write_refcounts_locked(s);
    co_unlock(&s->write_lock);
    return ret;
}

/* ---- everything */

/* What is taken at one moment, T of qcow2.h. */
typedef struct Taken { Qcow2Taken l2; TableCopy l1; RefTaken ref; GArray *freed; } Taken;

/* The dirty bit stands for refcounts: they wait in memory. */
static bool refcounts_wait(const Qcow2 *s)
{
    return s->lazy && (s->header.incompatible & QCOW2_INCOMPAT_DIRTY);
}

static int take_all(Qcow2 *s, Taken *t)
{
    *t = (Taken){ 0 };
    int ret = qcow2_cache_take(s->l2_cache, &t->l2);
    if (!ret)
        ret = table_take(s, s->l1, s->l1_dirty, s->header.l1_size, s->header.l1_offset, &s->l1_any_dirty, &t->l1);
    if (!ret && !refcounts_wait(s))
        ret = ref_take(s, &t->ref);
    if (ret) {
        qcow2_taken_end(s->l2_cache, &t->l2, false);
        table_end(&t->l1, s->l1_dirty, s->header.l1_offset, &s->l1_any_dirty, false);
        return ret;
    }
    t->freed = s->freed;
    s->freed = g_array_new(FALSE, FALSE, sizeof(Qcow2Freed));
    for (guint i = 0; i < t->freed->len; i++)
        g_array_index(t->freed, Qcow2Freed, i).seq = s->req_seq;
    return 0;
}

static int write_all(Qcow2 *s, const Taken *t, bool barrier)
{
    int ret = ref_write(s, &t->ref);
    if (!ret && (t->l2.n || t->l1.n))
        ret = qcow2_barrier(s);
    if (!ret)
        ret = write_runs(s, QCOW2_OL_ACTIVE_L2 | QCOW2_OL_INACTIVE_L2, &t->l2);
    if (!ret)
        ret = table_write(s, QCOW2_OL_ACTIVE_L1, &t->l1);
    if (!ret && (barrier || t->freed->len))
        ret = qcow2_barrier(s);
    return ret;
}

static void end_all(Qcow2 *s, Taken *t, bool written)
{
    qcow2_taken_end(s->l2_cache, &t->l2, written);
    table_end(&t->l1, s->l1_dirty, s->header.l1_offset, &s->l1_any_dirty, written);
    ref_end(s, &t->ref, written);
    GArray *to = written ? s->freed_stable : s->freed;
    if (t->freed->len)
        g_array_append_vals(to, t->freed->data, t->freed->len);
    g_array_free(t->freed, TRUE);
}

int qcow2_write_metadata(Qcow2 *s, bool barrier)
{
    Taken t;
    co_lock(&s->write_lock);
    int ret = take_all(s, &t);
    if (!ret) {
        ret = write_all(s, &t, barrier);
        end_all(s, &t, !ret);
    }
    co_unlock(&s->write_lock);
    if (!ret)
        qcow2_reclaim(s);
    return ret;
}

int qcow2_flush(BlockNode *n)
{
    Qcow2 *s = qcow2_of(n);
    if (s->node.read_only || !s->opened)
        return 0;
    qcow2_meta_begin(s);
    int ret = qcow2_write_metadata(s, true);
    qcow2_meta_end(s);
    return ret;
}

/* ---- requests */

static void wait_turn(Qcow2 *s)
{
    while (s->exclusive)
        co_queue_wait(&s->req_resume);
}

static void maybe_idle(Qcow2 *s)
{
    if (!s->req_first && !s->meta_running)
        co_queue_wake_all(&s->req_idle);
}

void qcow2_request_begin(Qcow2 *s, Qcow2Request *r)
{
    wait_turn(s);
    r->seq = ++s->req_seq;
    r->next = NULL;
    r->prev = s->req_last;
    *(s->req_last ? &s->req_last->next : &s->req_first) = r;
    s->req_last = r;
}

void qcow2_request_end(Qcow2 *s, Qcow2Request *r)
{
    *(r->prev ? &r->prev->next : &s->req_first) = r->next;
    *(r->next ? &r->next->prev : &s->req_last) = r->prev;
    maybe_idle(s);
}

void qcow2_meta_begin(Qcow2 *s)
{
    wait_turn(s);
    s->meta_running++;
}

void qcow2_meta_end(Qcow2 *s)
{
    s->meta_running--;
    maybe_idle(s);
}

void qcow2_exclusive_begin(Qcow2 *s)
{
    wait_turn(s);
    s->exclusive = 1;
    while (s->req_first || s->meta_running)
        co_queue_wait(&s->req_idle);
}

void qcow2_exclusive_end(Qcow2 *s)
{
    s->exclusive = 0;
    co_queue_wake_all(&s->req_resume);
}
