/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables (ACPI 6.5, section 5.2: header, RSDP, XSDT, Generic Address Structure)
 * and the commands of the table loader: 128 bytes each, little-endian; the files
 * they name are fw_cfg's. A pointer field first holds the offset in the file it
 * points to; firmware adds the address. A checksum byte is zero before it is filled in.
 */
#include "hw/firm/acpi.h"

#include <string.h>

#define TABLES_FILE "etc/acpi/tables"
#define RSDP_FILE   "etc/acpi/rsdp"
#define LOADER_FILE "etc/table-loader"

enum {
    LOAD_ALLOCATE = 1, LOAD_ADD_POINTER = 2, LOAD_ADD_CHECKSUM = 3, LOAD_SIZE = 128, LOAD_NAME = 56,
    ZONE_HIGH = 1, ZONE_FSEG = 2,
    H_LENGTH = 4, H_CHECKSUM = 9, HEADER = 36, TABLE_ALIGN = 8,
    RSDP_V1 = 20, RSDP_CHECKSUM = 8, RSDP_XSDT = 24, RSDP_CHECKSUM2 = 32, RSDP_SIZE = 36,
};

#define OEM_ID      "LYRE  "
#define OEM_TABLE   "LYREVIRT"
#define CREATOR     "LYRE"

void acpi_init(Acpi *t)
{
    t->tables = g_byte_array_new();
    t->loader = g_byte_array_new();
    t->roots = g_array_new(false, false, sizeof(uint32_t));
    t->start = 0;
}

void acpi_clear(Acpi *t)
{
    g_byte_array_free(t->tables, true);
    g_byte_array_free(t->loader, true);
    g_array_free(t->roots, true);
}

/* ---- bytes */

void acpi_bytes(Acpi *t, const void *bytes, uint32_t len)
{
    g_byte_array_append(t->tables, bytes, len);
}

static void put(GByteArray *out, uint64_t val, unsigned bytes)
{
    val = GUINT64_TO_LE(val);
    g_byte_array_append(out, (const uint8_t *)&val, bytes);
}

void acpi_u8(Acpi *t, uint8_t val) { put(t->tables, val, 1); }
void acpi_u16(Acpi *t, uint16_t val) { put(t->tables, val, 2); }
void acpi_u32(Acpi *t, uint32_t val) { put(t->tables, val, 4); }
void acpi_u64(Acpi *t, uint64_t val) { put(t->tables, val, 8); }

static void zeros(GByteArray *out, uint32_t len)
{
    uint32_t at = out->len;

    if (!len)
        return;                 /* an empty array has no data */
    g_byte_array_set_size(out, at + len);
    memset(out->data + at, 0, len);
}

void acpi_zeros(Acpi *t, uint32_t len)
{
    zeros(t->tables, len);
}

void acpi_register(Acpi *t, uint64_t addr, uint8_t bits, uint8_t access)
{
    acpi_u8(t, 0);              /* system memory */
    acpi_u8(t, bits);
    acpi_u8(t, 0);
    acpi_u8(t, access);
    acpi_u64(t, addr);
}

uint32_t acpi_at(const Acpi *t)
{
    return t->tables->len - t->start;
}

void acpi_patch(Acpi *t, uint32_t at, uint64_t val, unsigned bytes)
{
    g_assert(at + bytes <= acpi_at(t));
    val = GUINT64_TO_LE(val);
    memcpy(t->tables->data + t->start + at, &val, bytes);
}

/* ---- the loader's commands */

static void put_file(GByteArray *out, const char *name)
{
    char file[LOAD_NAME] = "";

    g_strlcpy(file, name, sizeof(file));
    g_byte_array_append(out, (const uint8_t *)file, sizeof(file));
}

static void end_command(GByteArray *out)
{
    zeros(out, (LOAD_SIZE - out->len % LOAD_SIZE) % LOAD_SIZE);
}

static void allocate(GByteArray *out, const char *file, uint32_t align, uint8_t zone)
{
    put(out, LOAD_ALLOCATE, 4);
    put_file(out, file);
    put(out, align, 4);
    put(out, zone, 1);
    end_command(out);
}

static void add_pointer(Acpi *t, const char *in, const char *to, uint32_t at, uint8_t size)
{
    put(t->loader, LOAD_ADD_POINTER, 4);
    put_file(t->loader, in);
    put_file(t->loader, to);
    put(t->loader, at, 4);
    put(t->loader, size, 1);
    end_command(t->loader);
}

static void add_checksum(Acpi *t, const char *file, uint32_t at, uint32_t start, uint32_t len)
{
    put(t->loader, LOAD_ADD_CHECKSUM, 4);
    put_file(t->loader, file);
    put(t->loader, at, 4);
    put(t->loader, start, 4);
    put(t->loader, len, 4);
    end_command(t->loader);
}

void acpi_pointer(Acpi *t, uint32_t target)
{
    add_pointer(t, TABLES_FILE, TABLES_FILE, t->tables->len, 8);
    acpi_u64(t, target);
}

/* ---- tables */

void acpi_begin(Acpi *t, const char signature[4], uint8_t revision)
{
    acpi_zeros(t, (TABLE_ALIGN - t->tables->len % TABLE_ALIGN) % TABLE_ALIGN);
    t->start = t->tables->len;
    acpi_bytes(t, signature, 4);
    acpi_u32(t, 0);             /* length: acpi_end */
    acpi_u8(t, revision);
    acpi_u8(t, 0);              /* checksum: firmware */
    acpi_bytes(t, OEM_ID, 6);
    acpi_bytes(t, OEM_TABLE, 8);
    acpi_u32(t, 1);
    acpi_bytes(t, CREATOR, 4);
    acpi_u32(t, 1);
}

uint32_t acpi_end_unlisted(Acpi *t)
{
    uint32_t len = acpi_at(t);

    acpi_patch(t, H_LENGTH, len, 4);
    add_checksum(t, TABLES_FILE, t->start + H_CHECKSUM, t->start, len);
    return t->start;
}

uint32_t acpi_end(Acpi *t)
{
    uint32_t at = acpi_end_unlisted(t);

    g_array_append_val(t->roots, at);
    return at;
}

uint32_t acpi_add_aml(Acpi *t, const char signature[4], Aml *code, bool listed)
{
    g_assert(!code->open->len);
    acpi_begin(t, signature, 2);        /* 2: integers have 64 bits */
    acpi_bytes(t, code->code->data, code->code->len);
    aml_clear(code);
    return listed ? acpi_end(t) : acpi_end_unlisted(t);
}

/* ---- what leads to them */

static uint32_t write_xsdt(Acpi *t)
{
    acpi_begin(t, "XSDT", 1);
    for (guint i = 0; i < t->roots->len; i++)
        acpi_pointer(t, g_array_index(t->roots, uint32_t, i));
    return acpi_end_unlisted(t);
}

static void write_rsdp(Acpi *t, GByteArray *out, uint32_t xsdt)
{
    g_byte_array_append(out, (const uint8_t *)"RSD PTR \0" OEM_ID "\2", 16);
    put(out, 0, 4);             /* no RSDT */
    put(out, RSDP_SIZE, 4);
    put(out, xsdt, 8);
    zeros(out, RSDP_SIZE - out->len);
    add_pointer(t, RSDP_FILE, TABLES_FILE, RSDP_XSDT, 8);
    add_checksum(t, RSDP_FILE, RSDP_CHECKSUM, 0, RSDP_V1);
    add_checksum(t, RSDP_FILE, RSDP_CHECKSUM2, 0, RSDP_SIZE);
}

static Err *add_files(Acpi *t, FwCfg *f)
{
    g_autoptr(GByteArray) rsdp = g_byte_array_new();
    g_autoptr(GByteArray) commands = g_byte_array_new();

    write_rsdp(t, rsdp, write_xsdt(t));
    /* A blob is allocated before any command names it. */
    allocate(commands, TABLES_FILE, 64, ZONE_HIGH);
    allocate(commands, RSDP_FILE, 16, ZONE_FSEG);
    g_byte_array_append(commands, t->loader->data, t->loader->len);
    TRY(fw_cfg_add_file(f, TABLES_FILE, t->tables->data, t->tables->len));
    TRY(fw_cfg_add_file(f, RSDP_FILE, rsdp->data, rsdp->len));
    return fw_cfg_add_file(f, LOADER_FILE, commands->data, commands->len);
}

Err *acpi_finish(Acpi *t, FwCfg *f)
{
    Err *e = add_files(t, f);

    acpi_clear(t);
    return e;
}
