/* SPDX-License-Identifier: MIT */
/*
 * Files that become memory images. Every file is taken for hostile: what it
 * says is held against its size and against `max`, the bytes of memory there
 * are at most, before anything is done with it.
 */
#ifndef HW_CORE_LOADER_H
#define HW_CORE_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hw/core/image.h"

/* The bytes of a file; data is g_malloc'ed. */
typedef struct Blob { uint8_t *data; size_t len; } Blob;

/* All of a file, pipes too; an error if it has more than max bytes. */
MUST_USE Err *file_read(const char *path, uint64_t max, Blob *out);
/* If b is a gzip file it becomes what was packed in it. */
MUST_USE Err *blob_gunzip(Blob *b, uint64_t max);
void blob_free(Blob *b);

/* An error for files that are known to be something else than code to run: it says what, and what to do. kinds.c */
MUST_USE Err *blob_refuse_known(const Blob *b);
const char *elf_machine_name(unsigned machine);

bool blob_is_elf(const Blob *b);
/*
 * The segments of an ELF64 executable for `machine` (EM_*), at their physical
 * addresses. low, high: the first byte and the one behind the last.
 */
typedef struct ElfInfo { uint64_t entry, low, high; } ElfInfo;
MUST_USE Err *elf_load(Images *set, const char *name, const Blob *b, unsigned machine, uint64_t max, ElfInfo *out);

#endif
