/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables and how firmware gets them. They lie one behind the other in one
 * blob, etc/acpi/tables, whose address only firmware knows; the commands of
 * etc/table-loader tell it to allocate the blobs, add their addresses to pointers, and
 * fill in checksums. SeaBIOS, EDK2 and U-Boot carry them out.
 *
 *     acpi_begin(t, "MCFG", 1);
 *     acpi_u64(t, 0);
 *     ...
 *     acpi_end(t);
 */
#ifndef HW_FIRM_ACPI_H
#define HW_FIRM_ACPI_H

#include "hw/firm/aml.h"
#include "hw/firm/fw_cfg.h"

typedef struct Acpi {
    GByteArray *tables, *loader;
    GArray *roots;              /* uint32_t: where the tables begin that XSDT lists */
    uint32_t start;             /* of the table that is being written */
} Acpi;

void acpi_init(Acpi *t);
void acpi_clear(Acpi *t);

/* A table: its header, then what is appended, until acpi_end, which returns where it begins. */
void acpi_begin(Acpi *t, const char signature[4], uint8_t revision);
uint32_t acpi_end(Acpi *t);             /* XSDT lists it */
uint32_t acpi_end_unlisted(Acpi *t);    /* somebody points to it: DSDT */
/* A definition block; the code is the table's from now on. */
uint32_t acpi_add_aml(Acpi *t, const char signature[4], Aml *code, bool listed);

void acpi_u8(Acpi *t, uint8_t val);
void acpi_u16(Acpi *t, uint16_t val);
void acpi_u32(Acpi *t, uint32_t val);
void acpi_u64(Acpi *t, uint64_t val);
void acpi_bytes(Acpi *t, const void *bytes, uint32_t len);
void acpi_zeros(Acpi *t, uint32_t len);
/* Generic Address Structure of a register in memory: width in bits, access size 1..4 (byte, word, dword, qword). */
void acpi_register(Acpi *t, uint64_t addr, uint8_t bits, uint8_t access);
/* The address of the table that begins at `target`, in 8 bytes. */
void acpi_pointer(Acpi *t, uint32_t target);
/* Bytes of the table being written so far. */
uint32_t acpi_at(const Acpi *t);
/* Overwrites earlier bytes of it. */
void acpi_patch(Acpi *t, uint32_t at, uint64_t val, unsigned bytes);

/* XSDT, RSDP, and the three files; t is cleared. */
MUST_USE Err *acpi_finish(Acpi *t, FwCfg *f);

#endif
