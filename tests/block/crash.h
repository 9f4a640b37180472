/* SPDX-License-Identifier: MIT */
/*
 * A guest at work on a qcow2 image in memory, and what may be read after a
 * crash. Each block of 512 bytes holds a stamp: its own number and that of the
 * write, so that a block that shows another's bytes, or a torn one, is seen.
 *
 * What a flush promises: of each block, the value that was complete when the
 * flush began, or one that came later.
 */
#ifndef TESTS_BLOCK_CRASH_H
#define TESTS_BLOCK_CRASH_H

#include "tests/unit/qcow2-rig.h"

enum { BLOCK_BYTES = 512, LANES = 3, MOST_SNAPSHOTS = 4, BASE_SEQ = 1 };

typedef struct Setup {
    const char *create, *open;
    uint32_t cluster;
    uint64_t size;
    bool backing, packs, snapshots, resizes, bitmap;
} Setup;

/* A block's value: zeroes, the backing file's (BASE_SEQ), or a write's. */
typedef struct Value {
    uint32_t seq;
    bool any;                   /* discarded: that, zeroes, or anything it ever was */
} Value;

typedef struct Change {
    Value v;
    guint at;                   /* length of the log when it began */
    guint done;                 /* order of its end; G_MAXUINT: it never ended */
} Change;

typedef struct Promise {        /* a flush that succeeded */
    guint order;                /* at its beginning: what was done before is safe */
    guint at;                   /* length of the log at its end */
    Value *values;
} Promise;

typedef struct Saved {          /* an internal snapshot */
    char *name;
    Value *values;
    guint begun, made, unmaking, unmade;    /* lengths of the log; G_MAXUINT: not yet */
} Saved;

typedef struct Sizing { uint64_t size; guint begun, done; } Sizing;

typedef struct Guest {
    BlockGraph *g;
    const Setup *setup;
    Rec *file, *base;
    BlockNode *n;
    Disk *d;
    unsigned seed;
    uint64_t blocks;            /* now */
    uint64_t most;              /* ever: length of the arrays */
    Value *now;
    GArray **changes;           /* Change, of each block */
    GArray *promises, *saved, *sizes;
    guint order;
    uint32_t next_seq;
    bool may_fail;              /* faults are injected: a request may fail, and its blocks are then uncertain */
    unsigned failed;
} Guest;

static inline uint64_t stamp_of(uint64_t block, uint32_t seq)
{
    return seq ? block << 32 | seq : 0;
}

static inline void stamp_fill(uint8_t *p, uint64_t block, uint32_t seq)
{
    uint64_t v = stamp_of(block, seq);

    for (unsigned i = 0; i < BLOCK_BYTES / 8; i++)
        memcpy(p + i * 8, &v, 8);
}

/* UINT64_MAX: torn, or from nowhere. */
static inline uint64_t stamp_read(const uint8_t *p)
{
    uint64_t v, w;

    memcpy(&v, p, 8);
    for (unsigned i = 1; i < BLOCK_BYTES / 8; i++) {
        memcpy(&w, p + i * 8, 8);
        if (w != v)
            return UINT64_MAX;
    }
    return v;
}

static inline uint32_t base_seq(const Guest *g, uint64_t block)
{
    return g->base && block < g->base->mem->len / BLOCK_BYTES && block % 7 < 4 ? BASE_SEQ : 0;
}

static inline bool value_fits(const Guest *g, uint64_t block, Value v, uint64_t got)
{
    if (got == stamp_of(block, v.seq))
        return true;
    return v.any && (got == 0 || (got >> 32 == block && (uint32_t)got < g->next_seq));
}

/* ---- requests */

static inline unsigned draw(unsigned *seed, unsigned n)
{
    return n ? rand_r(seed) % n : 0;
}

/* What a request is about to make of these blocks; the index is the same in all of them. */
static inline void change_begin(Guest *g, uint64_t block, uint64_t n, Value v)
{
    Change c = { v, g->file->log->len, G_MAXUINT };

    for (uint64_t i = 0; i < n; i++)
        g_array_append_val(g->changes[block + i], c);
}

static inline void change_end(Guest *g, uint64_t block, uint64_t n, Value v, int ret)
{
    if (ret) {
        g->failed++;            /* the change may come true yet: it stays in the list, not ended */
        CHECK(g->may_fail);
        for (uint64_t i = 0; i < n; i++)
            g->now[block + i].any = true;
        return;
    }
    g->order++;
    for (uint64_t i = 0; i < n; i++) {
        GArray *all = g->changes[block + i];

        for (guint k = all->len; k--; ) {
            Change *c = &g_array_index(all, Change, k);

            if (c->done == G_MAXUINT && c->v.seq == v.seq && c->v.any == v.any) {
                c->done = g->order;
                break;
            }
        }
        g->now[block + i] = v;
    }
}

static inline void guest_write(Guest *g, uint64_t block, uint64_t n, unsigned flags)
{
    Value v = { g->next_seq++, false };
    g_autofree uint8_t *buf = g_malloc(n * BLOCK_BYTES);

    for (uint64_t i = 0; i < n; i++)
        stamp_fill(buf + i * BLOCK_BYTES, block + i, v.seq);
    change_begin(g, block, n, v);
    change_end(g, block, n, v, disk_write(g->d, block * BLOCK_BYTES, &IOV_BUF(buf, n * BLOCK_BYTES), flags));
}

static inline void guest_zero(Guest *g, uint64_t block, uint64_t n, unsigned flags)
{
    change_begin(g, block, n, (Value){ 0 });
    change_end(g, block, n, (Value){ 0 }, disk_zero(g->d, block * BLOCK_BYTES, n * BLOCK_BYTES, flags));
}

static inline void guest_discard(Guest *g, uint64_t block, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        g->now[block + i].any = true;           /* from its beginning on */
    change_begin(g, block, n, (Value){ 0, true });
    change_end(g, block, n, (Value){ 0, true }, disk_discard(g->d, block * BLOCK_BYTES, n * BLOCK_BYTES));
}

static inline void guest_flush(Guest *g)
{
    Promise p = { .order = g->order };
    int ret;

    p.values = g_memdup2(g->now, g->most * sizeof(Value));
    ret = disk_flush(g->d);
    if (ret) {
        g->failed++;
        CHECK(g->may_fail);
        g_free(p.values);
        return;
    }
    p.at = g->file->log->len;
    g_array_append_val(g->promises, p);
}

static inline void guest_read(Guest *g, uint64_t block, uint64_t n)
{
    g_autofree uint8_t *buf = g_malloc(n * BLOCK_BYTES);
    int ret = disk_read(g->d, block * BLOCK_BYTES, &IOV_BUF(buf, n * BLOCK_BYTES), 0);

    if (ret && g->may_fail)
        return;
    CHECK_EQ(ret, 0);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t got = stamp_read(buf + i * BLOCK_BYTES);

        if (value_fits(g, block + i, g->now[block + i], got))
            continue;
        printf("block %" PRIu64 " is %#" PRIx64 ", want %#x%s\n", block + i, got, g->now[block + i].seq,
               g->now[block + i].any ? " or other" : "");
        test_case_bad++;
        return;
    }
}

/* ---- side by side: each lane has blocks of its own, whose edges lie within clusters of its neighbours */

typedef struct Lane { Guest *g; uint64_t first, blocks; unsigned rounds, seed; } Lane;

static inline void lane_step(Lane *l)
{
    Guest *g = l->g;
    uint64_t per = g->setup->cluster / BLOCK_BYTES, n = 1 + draw(&l->seed, draw(&l->seed, 3) ? 8 : per * 2 + 8), block;

    n = MIN(n, l->blocks);
    block = l->first + draw(&l->seed, l->blocks - n + 1);
    switch (draw(&l->seed, 16)) {
    case 0: case 1: case 2: case 3: case 4:
        guest_write(g, block, n, 0);
        break;
    case 5: case 6:
        block = (block + per - 1) / per * per;
        if (g->setup->packs && block + per <= l->first + l->blocks)
            guest_write(g, block, per, REQ_COMPRESSED);
        else
            guest_read(g, l->first, n);
        break;
    case 7: case 8:
        guest_zero(g, block, n, draw(&l->seed, 2) ? REQ_UNMAP : 0);
        break;
    case 9: case 10:
        guest_discard(g, block, n);
        break;
    case 11:
        guest_flush(g);
        break;
    case 12:
        guest_write(g, block, n, REQ_FUA);
        break;
    default:
        guest_read(g, block, n);
    }
}

static inline int lane_run(void *arg)
{
    Lane *l = arg;

    while (l->rounds-- && test_case_bad < 5)
        lane_step(l);
    return 0;
}

static inline void guest_burst(Guest *g, unsigned rounds)
{
    CoCrowd crowd = { .max = LANES };
    Lane lanes[LANES];
    uint64_t each = g->blocks / LANES;

    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = (Lane){ g, i * each, i == LANES - 1 ? g->blocks - i * each : each, rounds, g->seed + i };
        crowd_start(&crowd, lane_run, &lanes[i]);
    }
    crowd_wait(&crowd);
    g->seed = g->seed * 1103515245u + 12345;
}

/* ---- between bursts, when nothing else runs */

/* All blocks turn into these values; it may have happened in part only where faults are injected. */
static inline void all_change(Guest *g, const Value *to, int ret)
{
    for (uint64_t b = 0; b < g->blocks; b++)
        change_end(g, b, 1, to[b], ret);
}

static inline bool fault(Guest *g, Err *e)
{
    if (e) {
        if (!g->may_fail)
            printf("%s\n", err_text(e));
        CHECK(g->may_fail);
        g->failed++;
    }
    err_free(e);
    return e != NULL;
}

static inline unsigned saved_count(const Guest *g)
{
    unsigned n = 0;

    for (guint i = 0; i < g->saved->len; i++)
        n += g_array_index(g->saved, Saved, i).unmaking == G_MAXUINT;
    return n;
}

static inline Saved *some_saved(Guest *g)
{
    unsigned k = draw(&g->seed, saved_count(g));

    for (guint i = 0; i < g->saved->len; i++) {
        Saved *s = &g_array_index(g->saved, Saved, i);

        if (s->unmaking == G_MAXUINT && s->made != G_MAXUINT && !k--)
            return s;
    }
    return NULL;
}

static inline void guest_snapshot(Guest *g)
{
    Saved s = { .begun = g->file->log->len, .made = G_MAXUINT, .unmaking = G_MAXUINT, .unmade = G_MAXUINT };
    Snapshot sn = { .name = s.name = g_strdup_printf("s%u", g->saved->len), .icount = UINT64_MAX };

    s.values = g_memdup2(g->now, g->most * sizeof(Value));
    if (!fault(g, node_snapshot_create(g->n, &sn)))
        s.made = g->file->log->len;
    g_free(sn.id);
    g_array_append_val(g->saved, s);
}

static inline void guest_unsnapshot(Guest *g)
{
    Saved *s = some_saved(g);

    if (!s)
        return;
    s->unmaking = g->file->log->len;
    if (!fault(g, node_snapshot_delete(g->n, s->name)))
        s->unmade = g->file->log->len;
}

static inline void guest_go_back(Guest *g)
{
    Saved *s = some_saved(g);

    if (!s)
        return;
    for (uint64_t b = 0; b < g->blocks; b++)
        change_begin(g, b, 1, s->values[b]);
    all_change(g, s->values, fault(g, node_snapshot_apply(g->n, s->name)) ? -EIO : 0);
}

static inline void guest_resize(Guest *g)
{
    uint64_t blocks = g->most / 2 + draw(&g->seed, g->most / 2 + 1);
    Sizing z = { blocks * BLOCK_BYTES, g->file->log->len, G_MAXUINT };

    /* What is cut off is zero when the disk grows again. */
    for (uint64_t b = blocks; b < g->blocks; b++)
        change_begin(g, b, 1, (Value){ 0 });
    bool failed = fault(g, disk_resize(g->d, z.size, false, (Preallocation){ PREALLOC_OFF }, 0));
    for (uint64_t b = blocks; b < g->blocks; b++)
        change_end(g, b, 1, (Value){ 0 }, failed ? -EIO : 0);
    if (!failed)
        z.done = g->file->log->len;
    g_array_append_val(g->sizes, z);
    if (!failed)
        g->blocks = blocks;
}

static inline void guest_step(Guest *g)
{
    guest_burst(g, 4 + draw(&g->seed, 12));
    switch (draw(&g->seed, 6)) {
    case 0:
        if (g->setup->snapshots && saved_count(g) < MOST_SNAPSHOTS)
            guest_snapshot(g);
        break;
    case 1:
        if (g->setup->snapshots)
            guest_unsnapshot(g);
        break;
    case 2:
        if (g->setup->snapshots)
            guest_go_back(g);
        break;
    case 3:
        if (g->setup->resizes)
            guest_resize(g);
        break;
    default:
        guest_flush(g);
    }
}

/* ---- its life */

static inline char *guest_options(const Guest *g)
{
    return g_strdup_printf("%s%s", g->setup->open ? g->setup->open : "discard=unmap", g->base ? ",backing=base" : "");
}

static inline Rec *make_base(BlockGraph *graph, uint64_t size)
{
    Rec *b = rec_new(graph, "base", true);

    rec_resize_to(b->mem, size);
    for (uint64_t i = 0; i < size / BLOCK_BYTES; i++)
        if (i % 7 < 4)
            stamp_fill(b->mem->data + i * BLOCK_BYTES, i, BASE_SEQ);
    b->node.size = size;
    return b;
}

static inline void guest_init(Guest *g, BlockGraph *graph, const Setup *s, unsigned seed)
{
    *g = (Guest){ .g = graph, .setup = s, .seed = seed, .next_seq = 2, .order = 1 };
    g->file = rec_new(graph, "file", true);
    g->file->seed = seed;
    g->base = s->backing ? make_base(graph, s->size * 3 / 4 / BLOCK_BYTES * BLOCK_BYTES) : NULL;
    g->blocks = g->most = s->size / BLOCK_BYTES;
    g->now = g_new0(Value, g->most);
    g->changes = g_new(GArray *, g->most);
    for (uint64_t b = 0; b < g->most; b++) {
        g->now[b].seq = base_seq(g, b);
        g->changes[b] = g_array_new(FALSE, FALSE, sizeof(Change));
    }
    g->promises = g_array_new(FALSE, FALSE, sizeof(Promise));
    g->saved = g_array_new(FALSE, FALSE, sizeof(Saved));
    g->sizes = g_array_new(FALSE, FALSE, sizeof(Sizing));
    Sizing z = { s->size, 0, 0 };
    g_array_append_val(g->sizes, z);
    CHECK(qcow2_make(graph, g->file, s->create, s->size, g->base ? "base" : NULL));
}

/* On the recording file, or on a filter over it. */
static inline void guest_open(Guest *g, BlockNode *file)
{
    g_autofree char *text = guest_options(g);
    json_t *o = NULL;

    CHECK(ok(options_from_keyval(text, &o)));
    json_object_set_new(o, "driver", json_string("qcow2"));
    json_object_set_new(o, "file", json_string(node_name(file)));
    g->n = open_json(g->g, o, OPEN_RW);
    if (g->n)
        CHECK(ok(disk_new(g->n, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL, "guest", &g->d)));
}

static inline void guest_close(Guest *g)
{
    disk_free(g->d);
    node_unref(g->n);
    g->d = NULL;
    g->n = NULL;
}

static inline void guest_clear(Guest *g)
{
    for (uint64_t b = 0; b < g->most; b++)
        g_array_free(g->changes[b], TRUE);
    for (guint i = 0; i < g->promises->len; i++)
        g_free(g_array_index(g->promises, Promise, i).values);
    for (guint i = 0; i < g->saved->len; i++) {
        g_free(g_array_index(g->saved, Saved, i).name);
        g_free(g_array_index(g->saved, Saved, i).values);
    }
    g_array_free(g->promises, TRUE);
    g_array_free(g->saved, TRUE);
    g_array_free(g->sizes, TRUE);
    g_free(g->changes);
    g_free(g->now);
    node_unref(&g->file->node);
    node_unref(g->base ? &g->base->node : NULL);
}

#endif
