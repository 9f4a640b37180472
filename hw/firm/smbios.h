/* SPDX-License-Identifier: MIT */
/* SMBIOS: what the machine says of itself to operating systems (dmidecode), by -smbios and the board. */
#ifndef HW_FIRM_SMBIOS_H
#define HW_FIRM_SMBIOS_H

#include "hw/firm/fw_cfg.h"

typedef struct SmbiosBoard {
    const char *name;           /* of the board: the version of system, baseboard, .. unless -smbios says otherwise */
    uint16_t cpu_family;        /* DSP0134, "Processor Family 2" */
    int cpus;
    unsigned nranges;
    struct { uint64_t base, size; } ranges[4];      /* of RAM */
} SmbiosBoard;
enum { SMBIOS_CPU_RV64 = 0x201, SMBIOS_CPU_ARMV8 = 0x101, SMBIOS_CPU_OTHER = 1 };

/* The structures, by the -smbios arguments (a list of char *, may be NULL) and uuid (text or NULL); count of them. */
MUST_USE Err *smbios_build(const SmbiosBoard *b, const GPtrArray *args, const char *uuid, GByteArray **tables, unsigned *count);
/* The files etc/smbios/smbios-tables and -anchor (entry point of version 3). */
MUST_USE Err *smbios_add(FwCfg *f, const Vm *vm, const SmbiosBoard *b);

#endif
