/* SPDX-License-Identifier: MIT */
/*
 * qcow2: changing refcounts and tables together, in one step. The copied flag
 * of an active table says "the refcount is 1", so a snapshot that is made,
 * applied or deleted changes counts in blocks and flags in tables, and half of
 * that on disk is a corrupt image. So nothing that the file's header names is
 * touched: refcount blocks and their table are copied and changed there, new
 * tables are written beside the old ones, and one write of the header (its
 * fields lie in one sector) switches to all of them. Before it a crash leaves
 * nothing behind, after it leaked clusters: the old tables.
 *
 *      qcow2_switch_begin, then qcow2_alloc for tables and copies;
 *      qcow2_switch_refcounts; qcow2_switch_add.., writing the tables,
 *      setting s->header; qcow2_switch_commit or qcow2_switch_abort;
 *      after the former, tables in memory become the new ones, then qcow2_switch_done
 *
 * All of it in an exclusive section.
 */
#ifndef BLOCK_QCOW2_SWITCH_H
#define BLOCK_QCOW2_SWITCH_H

#include "block/qcow2/qcow2.h"

typedef struct Qcow2Range { uint64_t off, len; } Qcow2Range;

typedef struct Qcow2Switch {
    Qcow2Header was;                /* what the file says, once refcounts are copies */
    bool lazy, copied;
    GArray *drop;                   /* Qcow2Range: counted, and named by the old tables alone */
    GArray *lowered;                /* Qcow2Range: counts that went down; some came to 0 */
    Qcow2Range run;                 /* not counted yet: neighbours become one */
    int run_delta;
} Qcow2Switch;

/* Metadata is written and clusters are reclaimed; or nothing has changed. */
int qcow2_switch_begin(Qcow2 *s, Qcow2Switch *t);
/* From here on refcounts change in copies. No qcow2_alloc after the first count has gone down. */
int qcow2_switch_refcounts(Qcow2 *s, Qcow2Switch *t);
/* delta more owners for what [off, off+len) touches; up before down, so that no count meets 0 on its way. */
int qcow2_switch_add(Qcow2 *s, Qcow2Switch *t, uint64_t off, uint64_t len, int delta);
/* The same for all that entries of an L2 table (as on disk) name. */
int qcow2_switch_add_entries(Qcow2 *s, Qcow2Switch *t, const void *l2, int delta);
int qcow2_switch_flush(Qcow2 *s, Qcow2Switch *t);       /* what qcow2_switch_add has not done yet */
/* Freed once the switch has happened. */
void qcow2_switch_drop(Qcow2Switch *t, uint64_t off, uint64_t len);
/* Writes s->header, from `size` to its end. After an error the old tables hold (or, if that cannot be told, writing is over). */
int qcow2_switch_commit(Qcow2 *s, Qcow2Switch *t);
void qcow2_switch_abort(Qcow2 *s, Qcow2Switch *t);
/* The old tables' clusters become free. s->l1 and what else is in memory are the new ones. */
void qcow2_switch_done(Qcow2 *s, Qcow2Switch *t);

#endif
