/* SPDX-License-Identifier: MIT */
/* qcow2: what the files about internal snapshots share. */
#ifndef BLOCK_QCOW2_SNAPSHOT_H
#define BLOCK_QCOW2_SNAPSHOT_H

#include "block/qcow2/qcow2.h"

/* What is known of a snapshot's extra data. */
enum { QCOW2_SNAPSHOT_FIXED = 40, QCOW2_SNAPSHOT_EXTRA = 24 };

/* What was wrong with the table and may be mended (check). */
typedef struct Qcow2SnapshotFaults {
    uint32_t read;                  /* entries that could be read */
    uint32_t faults;                /* entries that will be better when they are written anew */
    void (*say)(void *opaque, uint32_t entry, uint32_t extra);     /* of each: too much extra data, or too little */
    void *opaque;
} Qcow2SnapshotFaults;

/*
 * Reads the table into s->snapshots and s->snapshots_bytes. faults NULL: what
 * is wrong is an error; else as much as can be read is, and header.nb_snapshots
 * stays what the file says: faults->read are there.
 */
MUST_USE Err *qcow2_snapshot_table_read(Qcow2 *s, Qcow2SnapshotFaults *faults);
/* The table of `n` snapshots as bytes; NULL: it would be too large, or memory is short. */
uint8_t *qcow2_snapshot_table_print(const Qcow2Snapshot *list, uint32_t n, size_t *len);
/* Writes the first n snapshots of memory into a new table, which the header names then; the old one is freed. */
int qcow2_snapshot_table_replace(Qcow2 *s, uint32_t n);
void qcow2_snapshot_clear(Qcow2Snapshot *sn);
/* By id, then by name; -1: there is none. */
int64_t qcow2_snapshot_find(const Qcow2 *s, const char *id_or_name);
/* Entries of an L1 table that a disk of that size takes. */
static inline uint64_t qcow2_l1_entries(const Qcow2 *s, uint64_t size)
{
    return size ? ((size - 1) >> qcow2_l1_shift(s)) + 1 : 0;
}

#endif
