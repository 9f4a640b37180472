/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory and registers as a file that debuggers read: an ELF core,
 * or what kdump makes. One at a time for a machine, which stands meanwhile.
 *
 * Main thread, under the machine lock, but where it says otherwise.
 */
#ifndef DUMP_DUMP_H
#define DUMP_DUMP_H

#include "system/vm.h"

typedef enum DumpFormat { DUMP_ELF, DUMP_KDUMP_ZLIB, DUMP_KDUMP_RAW_ZLIB } DumpFormat;
typedef enum DumpStatus { DUMP_NONE, DUMP_ACTIVE, DUMP_COMPLETED, DUMP_FAILED } DumpStatus;

typedef struct DumpRequest {
    DumpFormat format;
    bool paging;                /* ELF: segments by virtual addresses, too, as the page tables of all CPUs have them */
    bool filter;                /* ELF: only physical [begin, begin + length) */
    uint64_t begin, length;
    bool detach;                /* goes on by itself; else it is over when dump_start returns */
} DumpRequest;

typedef struct DumpInfo {
    DumpStatus status;
    uint64_t completed, total;  /* bytes of memory */
    const char *error;          /* FAILED: why; valid until the next one */
} DumpInfo;

/*
 * fd is closed at the end, also when this fails. `over` (may be NULL) is called when it is over, before a machine that
 * ran goes on.
 */
MUST_USE Err *dump_start(Vm *vm, int fd, const DumpRequest *r, void (*over)(Vm *, const DumpInfo *));
void dump_info(Vm *vm, DumpInfo *out);
bool dump_goes_on(const Vm *vm);        /* detached, and not over: the machine must stand */
/* Ends what goes on and forgets it. NULL state is fine. */
void dump_free(Vm *vm);

#endif
