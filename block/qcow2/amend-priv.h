/* SPDX-License-Identifier: MIT */
/* qcow2: what the files of amend share. */
#ifndef BLOCK_QCOW2_AMEND_PRIV_H
#define BLOCK_QCOW2_AMEND_PRIV_H

#include "block/qcow2/qcow2.h"

/* Of one step of an amendment. */
typedef struct AmendProgress {
    void (*fn)(void *opaque, uint64_t done, uint64_t all);     /* may be NULL */
    void *opaque;
    unsigned step, steps;
} AmendProgress;
void amend_progress(const AmendProgress *p, uint64_t done, uint64_t all);

/* All in an exclusive section, with metadata written. */
/* amend_refcounts.c: the same counts in fields of 2^order bits. */
MUST_USE Err *amend_refcount_order(Qcow2 *s, unsigned order, const AmendProgress *p);
/* amend_zeroes.c: no entry of any L2 table has the zero flag afterwards, and all reads the same. */
MUST_USE Err *amend_expand_zeroes(Qcow2 *s, const AmendProgress *p);

#endif
