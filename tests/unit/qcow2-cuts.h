/* SPDX-License-Identifier: MIT */
/*
 * For tests of what changes qcow2's tables as a whole (snapshots, bitmaps,
 * amend): the file as a crash at any point of an operation would leave it is
 * opened and checked, and the test looks whether it holds the old or the new.
 */
#ifndef TESTS_UNIT_QCOW2_CUTS_H
#define TESTS_UNIT_QCOW2_CUTS_H

#include "tests/unit/qcow2-rig.h"

static inline void print_line(void *opaque, const char *line)
{
    printf("  %s\n", line);
}

/* The image is fine, but for leaks where those are allowed. */
static inline bool image_ok(BlockNode *n, bool leaks_allowed)
{
    CheckResult r = { 0 };
    int ret = node_check(n, &r, 0);
    bool good = !ret && !r.corruptions && !r.errors && (leaks_allowed || !r.leaks);

    if (!good) {
        r = (CheckResult){ .found = print_line };
        node_check(n, &r, 0);
        printf("check: %d, %d corruptions, %d leaks, %d errors\n", ret, (int)r.corruptions, (int)r.leaks, (int)r.errors);
    }
    return good;
}

/* A recording file with these bytes. */
static inline Rec *rec_of_bytes(BlockGraph *g, const char *name, const GByteArray *bytes)
{
    Rec *r = rec_new(g, name, false);

    g_byte_array_append(r->mem, bytes->data, bytes->len);
    r->node.size = bytes->len;
    return r;
}

typedef struct Cuts {
    BlockGraph *g;
    Rec *file;
    GByteArray *base;               /* what was in the file before */
    /* Is this, after a crash, what was or what shall be? `done`: all of it was written. */
    bool (*look)(void *opaque, BlockNode *n, bool done);
    void *opaque;
    const char *more;               /* options for opening; NULL: none */
} Cuts;

static inline void cuts_begin(Cuts *c, BlockGraph *g, Rec *file)
{
    c->g = g;
    c->file = file;
    c->base = g_byte_array_new();
    g_byte_array_append(c->base, file->mem->data, file->mem->len);
    rec_forget(file);
    file->record = true;
}

static inline bool cut_once(Cuts *c, guint cut, unsigned keep, unsigned *seed)
{
    GByteArray *bytes = rec_crash(c->file, c->base, cut, keep, seed);
    Rec *r = rec_of_bytes(c->g, "crashed", bytes);
    bool dirty = r->mem->data[7] >= 3 && r->mem->data[79] & QCOW2_INCOMPAT_DIRTY;
    g_autofree char *rw = g_strdup_printf("discard=unmap%s", c->more ? c->more : "");
    g_autofree char *ro = g_strdup_printf("read-only=on%s", c->more ? c->more : "");
    BlockNode *n;

    if (dirty)                      /* lazy refcounts: opening for writing mends them */
        node_unref(qcow2_on(c->g, r, rw, OPEN_RW));
    n = qcow2_on(c->g, r, ro, 0);
    bool good = n && image_ok(n, true) && c->look(c->opaque, n, cut == c->file->log->len && keep == 256);

    if (!good) {
        printf("cut at %u of %u, %u/256 of what was not flushed kept\n", cut, c->file->log->len, keep);
        test_case_bad++;
    }
    node_unref(n);
    node_unref(&r->node);
    g_byte_array_free(bytes, TRUE);
    return good;
}

/* Every point of the operation that was recorded. */
static inline void cuts_end(Cuts *c)
{
    static const unsigned keeps[] = { 256, 0, 128, 128 };
    unsigned seed = 1;

    c->file->record = false;
    for (guint cut = 0; cut <= c->file->log->len && test_case_bad < 3; cut++)
        for (unsigned k = 0; k < G_N_ELEMENTS(keeps); k++)
            if (!cut_once(c, cut, keeps[k], &seed))
                break;
    rec_forget(c->file);
    g_byte_array_free(c->base, TRUE);
}

#endif
