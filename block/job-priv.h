/* SPDX-License-Identifier: MIT */
/*
 * What the kinds of jobs share.
 */
#ifndef BLOCK_JOB_PRIV_H
#define BLOCK_JOB_PRIV_H

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/bitmap.h"
#include "block/block-priv.h"
#include "block/copy.h"
#include "block/job.h"

/* Bytes that one request of a job has, and requests at a time. */
#define JOB_CHUNK (UINT64_C(1) << 20)
#define JOB_WORKERS 8

/* Puts a job's filter (options are given away) over n, under that name, or one that nobody needs to know. */
static inline Err *job_insert_filter(BlockNode *n, json_t *options, const char *name, BlockNode **filter)
{
    if (name)
        json_object_set_new(options, "node-name", json_string(name));
    Err *e = node_insert_above(n, options, filter);

    json_decref(options);
    if (!e)
        (*filter)->implicit = !name;
    return e;
}

/* Takes a filter out again, when it is in: its parents get what it lies above. NULL is fine. Gives the hold back. */
static inline Err *job_remove_filter(BlockNode **filter)
{
    BlockNode *f = *filter;
    Err *e;

    if (!f)
        return NULL;
    *filter = NULL;
    e = node_replace(f, f->file->node);
    node_unref(f);
    return e;
}

/* Opens a read-only node for writing; *changed says whether that was needed. */
static inline Err *job_make_writable(BlockNode *n, bool *changed)
{
    Err *e;

    *changed = false;
    if (!n->read_only)
        return NULL;
    e = node_set_read_only(n, false);
    *changed = !e;
    return err_in(e, "'%s' cannot be opened for writing", node_path(n));
}

static inline void job_make_read_only(BlockNode *n)
{
    err_free(node_set_read_only(n, true));      /* it stays writable then, which nobody has to know */
}

/* Is `below` n itself or in its chain of backing files? Filters do not count. */
static inline bool job_in_chain(BlockNode *n, BlockNode *below)
{
    below = node_skip_filters(below);
    for (n = node_skip_filters(n); n && n != below; n = node_skip_filters(node_backing(n)))
        ;
    return n != NULL;
}

/* With a limit of speed, requests come one at a time and are short: what they moved is known before the next one. */
static inline uint64_t job_chunk(const Job *j, uint64_t chunk)
{
    uint64_t least = MIN(chunk, 65536), step = chunk;

    while (j->speed && step > least && step > j->speed / 8)
        step /= 2;
    return step;
}

static inline unsigned job_workers(const Job *j, unsigned workers)
{
    return j->speed ? 1 : workers;
}

/* Mirrors source onto a node of its own chain: what lies above it. */
MUST_USE Err *job_commit_active(BlockNode *active, BlockNode *base, const JobConfig *c, Job **out);

/* job_start, unless the caller does it. */
static inline void job_begin(Job *j, const JobConfig *c, Job **out)
{
    *out = j;
    if (!c->manual_start)
        job_start(j);
}

#endif
