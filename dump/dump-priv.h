/* SPDX-License-Identifier: MIT */
/* What the files of dump/ share. */
#ifndef DUMP_PRIV_H
#define DUMP_PRIV_H

#include <glib.h>
#include <stdatomic.h>

#include "dump/dump.h"

enum { DUMP_PAGE = 4096 };

/* A piece of memory; host memory stays for the machine's life. */
typedef struct DumpBlock { uint64_t pa, size; const uint8_t *host; } DumpBlock;
/* A piece of a virtual address space. */
typedef struct DumpMap { uint64_t va, pa, size; } DumpMap;

struct Dump {
    Vm *vm;
    DumpRequest request;
    void (*over)(Vm *, const DumpInfo *);
    int fd;
    bool flat;                  /* positions are written along, not sought: makedumpfile's flattened form */
    bool resumes;               /* the machine ran before */
    GArray *blocks;             /* DumpBlock, ascending */
    GArray *maps;               /* DumpMap; empty without paging */
    GByteArray *notes;          /* ELF notes: a CPU after the other, VMCOREINFO last */
    uint64_t vmcoreinfo_at, vmcoreinfo_size;    /* the text, in notes; 0: there is none */
    int ncpus;
    pthread_t thread;
    bool threaded;
    _Atomic bool cancel;
    _Atomic uint64_t completed;
    uint64_t total;
    DumpStatus status;
    Err *error;                 /* of the writer; the main thread's when it is over */
    char *why;                  /* FAILED: its text */
};

/* dump/notes.c: with the machine standing. */
void dump_notes(struct Dump *d);

/* dump/out.c: what has been written stays; any thread. */
MUST_USE Err *dump_out(struct Dump *d, const void *data, size_t n);                     /* behind the last one */
MUST_USE Err *dump_out_at(struct Dump *d, uint64_t at, const void *data, size_t n);     /* flat, or a file that can be sought */
bool dump_out_seeks(const struct Dump *d);
MUST_USE Err *dump_out_begin(struct Dump *d), *dump_out_end(struct Dump *d);

/* dump/elf.c, dump/kdump.c: the whole file; the writer's thread. */
MUST_USE Err *dump_elf(struct Dump *d);
MUST_USE Err *dump_kdump(struct Dump *d);

#endif
