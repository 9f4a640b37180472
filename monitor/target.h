/* SPDX-License-Identifier: MIT */
/* Images that a command makes and opens by a file's name: overlays, and what backups and mirrors write to. */
#ifndef MONITOR_TARGET_H
#define MONITOR_TARGET_H

#include "block/block.h"

typedef struct TargetAsked {
    const char *file, *node_name;   /* node_name: NULL, none */
    const char *format;             /* NULL: that of the source; existing: guessed */
    bool existing;                  /* it is there, and of a size that fits */
    bool over_source;               /* the source is its backing file, */
    bool over_backing;              /* or that of the source is, if it has one */
    bool no_backing;                /* made with the source as its backing file, opened without: the caller puts it over */
} TargetAsked;

/* In the thread of the source. *out is the caller's hold. */
MUST_USE Err *target_open(BlockNode *source, const TargetAsked *t, BlockNode **out);

#endif
