/* SPDX-License-Identifier: MIT */
/*
 * blkdebug's rules, and the breakpoints that a test program sets on a node.
 */
#ifndef BLOCK_FILTER_BLKDEBUG_H
#define BLOCK_FILTER_BLKDEBUG_H

#include "block/driver.h"

enum { RULE_READ = 1, RULE_WRITE = 2, RULE_ZERO = 4, RULE_DISCARD = 8, RULE_FLUSH = 16, RULE_STATUS = 32, RULE_ALL = 63 };

/* inject-error (new_state < 0), or set-state. */
typedef struct DebugRule {
    char *event;
    uint32_t state;             /* counts only in this one; 0: in any */
    int64_t new_state;          /* -1: it injects an error */
    int error;                  /* a positive errno */
    unsigned iotype;            /* RULE_ bits */
    int64_t sector;             /* -1: anywhere */
    bool once, immediately;
    bool active;                /* the event has come */
    struct DebugRule *next;
} DebugRule;

/* Rules from "inject-error", "set-state" of the node's options, and from an ini-like file. Appended to *list. */
MUST_USE Err *debug_rules_from_options(const json_t *options, DebugRule **list);
MUST_USE Err *debug_rules_from_file(const char *path, DebugRule **list);
void debug_rules_free(DebugRule *list);

/*
 * Breakpoints, for tests of what runs side by side: the request that raises the
 * event sleeps until debug_resume. n or a filter below it must be a blkdebug.
 */
MUST_USE Err *debug_break(BlockNode *n, const char *event, const char *tag);
MUST_USE Err *debug_remove_break(BlockNode *n, const char *tag);
MUST_USE Err *debug_resume(BlockNode *n, const char *tag);
bool debug_is_suspended(BlockNode *n, const char *tag);

#endif
