/* SPDX-License-Identifier: MIT */
/*
 * VHDX as [MS-VHDX] (September 2018) has it: two headers of which the newer one
 * counts, two equal region tables, a log of 4 KiB sectors, a table of blocks
 * (BAT), a table of metadata. All little endian, GUIDs as Windows stores them.
 * Left out: differencing disks.
 *
 *   vhdx.c    open, read, write
 *   log.c     headers; replaying and writing the log
 *   create.c  new images
 */
#ifndef BLOCK_VHDX_VHDX_H
#define BLOCK_VHDX_VHDX_H

#include <glib.h>
#include <inttypes.h>

#include "block/format.h"

enum {
    VHDX_MIB = 1 << 20,
    VHDX_HEADER = 4096,             /* bytes that a header's checksum covers */
    VHDX_REGION_TABLE = 64 << 10,   /* the same for a region table; and the size of the metadata table */
    VHDX_HEADER_1 = 64 << 10, VHDX_HEADER_2 = 128 << 10, VHDX_REGION_1 = 192 << 10, VHDX_REGION_2 = 256 << 10,
    VHDX_LOG_SECTOR = 4096,
    VHDX_GUID = 16,
};
#define VHDX_MAX_SIZE (UINT64_C(64) << 40)

/* Fields of a header. */
enum {
    VH_CHECKSUM = 4, VH_SEQUENCE = 8, VH_FILE_GUID = 16, VH_DATA_GUID = 32, VH_LOG_GUID = 48, VH_LOG_VERSION = 64,
    VH_VERSION = 66, VH_LOG_LENGTH = 68, VH_LOG_OFFSET = 72,
};

/* A BAT entry: state in bits 0..2, offset in MiB in bits 20..63. */
enum { BLOCK_NOT_PRESENT, BLOCK_UNDEFINED, BLOCK_ZERO, BLOCK_UNMAPPED, BLOCK_PRESENT = 6, BLOCK_PARTIAL = 7 };
#define BAT_STATE(e)  ((unsigned)((e) & 7))
#define BAT_OFFSET(e) ((e) & ~UINT64_C(0xfffff))

typedef struct Vhdx {
    BlockNode n;
    uint8_t header[VHDX_HEADER];    /* the one that counts */
    unsigned header_at;             /* 0, 1: which of the two that is */
    uint64_t log_off, log_len;      /* len 0: none */
    uint64_t log_head;              /* where the next entry goes, from log_off */
    uint64_t log_sequence;
    uint64_t log_budget;            /* bytes of entries that a replay may still read */
    bool replayed, writing;         /* writing: the headers say so */
    CoMutex starting;
    uint64_t bat_off, bat_len, meta_off, meta_len;      /* regions; len 0: not seen */
    Table bat;
    Body body;
    BusySet allocating;
    uint64_t next;                  /* offset of the next new block */
    uint32_t block_size, sector_size, chunk, blocks;    /* chunk: blocks between two bitmap entries */
} Vhdx;

extern const uint8_t vhdx_guid_bat[], vhdx_guid_metadata[];
extern const uint8_t vhdx_guid_file_parameters[], vhdx_guid_disk_size[], vhdx_guid_disk_id[];
extern const uint8_t vhdx_guid_logical_sector[], vhdx_guid_physical_sector[], vhdx_guid_parent[];
void vhdx_new_guid(uint8_t *out);

uint32_t crc32c(uint32_t crc, const void *p, size_t len);
/* The same over a block whose own checksum, at that offset, counts as zero. */
uint32_t vhdx_checksum(const uint8_t *p, size_t len, size_t at);

/* Picks the header that counts. */
MUST_USE Err *vhdx_read_headers(Vhdx *s);
/* Writes the other header, which then counts: a new log GUID (NULL: none), a new file GUID, perhaps a new data GUID. */
int vhdx_write_header(Vhdx *s, const uint8_t *log_guid, bool new_data_guid);
/* What a crash left in the log goes where it belongs; an error if the file may not be written. */
MUST_USE Err *vhdx_replay(Vhdx *s);
/* Table.before: pages that are about to be written go to the log first. */
int vhdx_log_pages(Table *t, const TableRun *runs, unsigned n);

typedef struct VhdxCreate {         /* -o */
    uint64_t log_size, block_size;
    uint8_t subformat;
    bool block_state_zero;
} VhdxCreate;
Err *vhdx_check_create(BlockGraph *g, const CreateOptions *o, const void *opts);
Err *vhdx_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file);
extern const Field vhdx_create_fields[];

#endif
