/* SPDX-License-Identifier: MIT */
/*
 * Flattened device trees (Devicetree Specification 0.4): writing one from top
 * to bottom, and patching one that exists. Both keep the first error and do
 * nothing after it, so that only the end has to be checked.
 */
#ifndef HW_FIRM_FDT_H
#define HW_FIRM_FDT_H

#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

typedef struct Fdt {
    void *blob;             /* g_malloc'ed */
    int size;               /* bytes there are room for */
    int error;              /* of libfdt; 0: none */
} Fdt;

/* ---- writing. Each begin has its end; properties come before sub-nodes. */
void fdt_write_start(Fdt *f);
void fdt_begin(Fdt *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fdt_end(Fdt *f);
void fdt_bytes(Fdt *f, const char *name, const void *bytes, size_t len);
void fdt_flag(Fdt *f, const char *name);
void fdt_text(Fdt *f, const char *name, const char *text);
/* Strings in a row, each with its NUL: give them with "\0" between, len as sizeof says. */
#define fdt_texts(f, name, texts) fdt_bytes(f, name, texts, sizeof(texts))
void fdt_cells(Fdt *f, const char *name, const uint32_t *cells, size_t n);
#define fdt_u32s(f, name, ...) \
    fdt_cells(f, name, (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)
/* "reg" with two cells each for address and size. */
void fdt_reg(Fdt *f, uint64_t base, uint64_t size);
MUST_USE Err *fdt_write_finish(Fdt *f);

/* ---- patching */
/* Takes a file's bytes (copied) as a tree with `room` bytes for additions. */
MUST_USE Err *fdt_open_blob(Fdt *f, const void *bytes, size_t len, size_t room);
/* A property of /chosen, which is made if it is not there. */
void fdt_chosen(Fdt *f, const char *name, const void *bytes, size_t len);
void fdt_chosen_text(Fdt *f, const char *name, const char *text);
void fdt_chosen_u64(Fdt *f, const char *name, uint64_t val);
MUST_USE Err *fdt_patch_finish(Fdt *f);     /* packs it */

/* Overwrites a property of /chosen in a finished tree; nothing if it is not there in that length. */
void fdt_chosen_renew(void *blob, const char *name, const void *bytes, size_t len);

size_t fdt_len(const Fdt *f);
void fdt_free(Fdt *f);

#endif
