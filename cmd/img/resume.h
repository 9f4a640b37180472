/* SPDX-License-Identifier: MIT */
/*
 * convert --resume: a copy to a target that may have a part of it already.
 */
#ifndef CMD_IMG_RESUME_H
#define CMD_IMG_RESUME_H

#include "block/copy.h"

typedef struct ResumeEnd {
    int ret;                    /* 0, -ECANCELED or the first -errno */
    bool reading;               /* whether that came from the source, and at which offset */
    uint64_t at;
} ResumeEnd;

/* As copy_new and copy_run in one; k->above must not be set. */
MUST_USE Err *resume_run(const CopyConfig *k, CopyStats *stats, ResumeEnd *end);

#endif
