/* SPDX-License-Identifier: MIT */
/*
 * Writing AML (ACPI 6.5: grammar in section 20.2, resource descriptors in 6.4).
 * A container's length stands before its content and has one to four bytes, so it is
 * put in when the container is ended.
 */
#include "hw/firm/aml.h"

#include <string.h>

enum {
    OP_ZERO = 0x00, OP_ONE = 0x01, OP_ALIAS = 0x06, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b, OP_DWORD = 0x0c,
    OP_STRING = 0x0d, OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11, OP_PACKAGE = 0x12, OP_VAR_PACKAGE = 0x13,
    OP_METHOD = 0x14, OP_EXTERNAL = 0x15, OP_DUAL_NAME = 0x2e, OP_MULTI_NAME = 0x2f, OP_EXT = 0x5b, OP_LOCAL = 0x60,
    OP_ARG = 0x68, OP_IF = 0xa0, OP_ELSE = 0xa1, OP_WHILE = 0xa2, OP_ONES = 0xff,
    /* behind OP_EXT */
    EXT_MUTEX = 0x01, EXT_EVENT = 0x02, EXT_REGION = 0x80, EXT_FIELD = 0x81, EXT_DEVICE = 0x82, EXT_POWER = 0x84,
    EXT_THERMAL = 0x85, EXT_INDEX_FIELD = 0x86,
    /* resource descriptors */
    RES_IRQ = 0x22, RES_IO = 0x47, RES_END = 0x79, RES_MEMORY32 = 0x86, RES_DWORD = 0x87, RES_WORD = 0x88,
    RES_INTERRUPTS = 0x89, RES_QWORD = 0x8a,
    SPACE_MEMORY = 0, SPACE_IO = 1, SPACE_BUS = 2,
};

typedef enum OpenKind { OPEN_PLAIN, OPEN_PACKAGE, OPEN_RESOURCES, OPEN_FIELD } OpenKind;

typedef struct Open {
    OpenKind kind;
    guint at;                   /* where its length goes */
    guint elements;             /* OPEN_PACKAGE: so far */
} Open;

void aml_init(Aml *a)
{
    a->code = g_byte_array_new();
    a->open = g_array_new(false, false, sizeof(Open));
}

void aml_clear(Aml *a)
{
    g_byte_array_free(a->code, true);
    g_array_free(a->open, true);
}

/* ---- bytes */

static void put(Aml *a, const void *bytes, size_t len)
{
    g_byte_array_append(a->code, bytes, len);
}

static void put8(Aml *a, uint8_t val)
{
    put(a, &val, 1);
}

/* The low `bytes` bytes, the lowest first. */
static void put_le(Aml *a, uint64_t val, unsigned bytes)
{
    val = GUINT64_TO_LE(val);
    put(a, &val, bytes);
}

static void insert(Aml *a, guint at, const uint8_t *bytes, guint len)
{
    guint tail = a->code->len - at;

    g_byte_array_set_size(a->code, a->code->len + len);
    memmove(a->code->data + at + len, a->code->data + at, tail);
    memcpy(a->code->data + at, bytes, len);
}

static Open *innermost(Aml *a)
{
    return a->open->len ? &g_array_index(a->open, Open, a->open->len - 1) : NULL;
}

/* A term begins here: in a package it is an element. */
static void term(Aml *a)
{
    Open *o = innermost(a);

    if (o && o->kind == OPEN_PACKAGE)
        o->elements++;
}

/* ---- names */

static unsigned segments(const char *path)
{
    unsigned n = *path != 0;

    for (; *path; path++)
        n += *path == '.';
    return n;
}

static const char *put_segment(Aml *a, const char *p)
{
    char seg[4] = "____";
    unsigned n = 0;

    for (; *p && *p != '.'; p++) {
        g_assert(n < 4 && (g_ascii_isupper(*p) || *p == '_' || (n && g_ascii_isdigit(*p))));
        seg[n++] = *p;
    }
    g_assert(n);
    put(a, seg, 4);
    return *p ? p + 1 : p;
}

static void put_name(Aml *a, const char *path)
{
    if (*path == '\\')
        put8(a, *path++);
    for (; *path == '^'; path++)
        put8(a, *path);
    unsigned n = segments(path);
    g_assert(n < 256);
    if (n == 0)
        put8(a, 0);
    else if (n == 2)
        put8(a, OP_DUAL_NAME);
    else if (n > 2)
        put8(a, OP_MULTI_NAME), put8(a, n);
    while (*path)
        path = put_segment(a, path);
}

/* ---- containers */

/* The encoding of lengths: val in so many bytes. */
static void encode(uint32_t val, unsigned bytes, uint8_t out[4])
{
    g_assert(val < 1 << 28);
    out[0] = bytes == 1 ? val : (bytes - 1) << 6 | (val & 15);
    for (unsigned i = 1; i < bytes; i++)
        out[i] = val >> (8 * i - 4);
}

/* A PkgLength, which counts itself, for `len` bytes behind it. */
static unsigned encode_length(uint32_t len, uint8_t out[4])
{
    unsigned bytes = len + 1 < 1 << 6 ? 1 : len + 2 < 1 << 12 ? 2 : len + 3 < 1 << 20 ? 3 : 4;

    encode(len + bytes, bytes, out);
    return bytes;
}

static void open_as(Aml *a, OpenKind kind)
{
    Open o = { .kind = kind, .at = a->code->len };

    g_array_append_val(a->open, o);
}

static void begin(Aml *a, uint8_t op)
{
    put8(a, op);
    open_as(a, OPEN_PLAIN);
}

static void begin_ext(Aml *a, uint8_t op, OpenKind kind)
{
    put8(a, OP_EXT);
    put8(a, op);
    open_as(a, kind);
}

void aml_begin_scope(Aml *a, const char *path)
{
    begin(a, OP_SCOPE);
    put_name(a, path);
}

void aml_begin_device(Aml *a, const char *name)
{
    begin_ext(a, EXT_DEVICE, OPEN_PLAIN);
    put_name(a, name);
}

void aml_begin_thermal_zone(Aml *a, const char *name)
{
    begin_ext(a, EXT_THERMAL, OPEN_PLAIN);
    put_name(a, name);
}

void aml_begin_power_resource(Aml *a, const char *name, uint8_t system_level, uint16_t order)
{
    begin_ext(a, EXT_POWER, OPEN_PLAIN);
    put_name(a, name);
    put8(a, system_level);
    put_le(a, order, 2);
}

void aml_begin_method(Aml *a, const char *name, unsigned args, bool serialized)
{
    g_assert(args <= 7);
    begin(a, OP_METHOD);
    put_name(a, name);
    put8(a, args | serialized << 3);
}

void aml_begin_package(Aml *a)
{
    term(a);
    put8(a, OP_PACKAGE);
    open_as(a, OPEN_PACKAGE);
}

void aml_begin_if(Aml *a) { begin(a, OP_IF); }
void aml_begin_else(Aml *a) { begin(a, OP_ELSE); }
void aml_begin_while(Aml *a) { begin(a, OP_WHILE); }

/* More than 255 elements make it a VarPackage, whose count is a term. */
static void end_package(Aml *a, const Open *o)
{
    uint8_t count[3] = { o->elements };

    if (o->elements < 256) {
        insert(a, o->at, count, 1);
        return;
    }
    g_assert(o->elements < 65536);
    a->code->data[o->at - 1] = OP_VAR_PACKAGE;
    count[0] = OP_WORD;
    count[1] = o->elements;
    count[2] = o->elements >> 8;
    insert(a, o->at, count, 3);
}

/* The end tag, and the buffer's size in front of all. */
static void end_resources(Aml *a, const Open *o)
{
    put8(a, RES_END);
    put8(a, 0);                 /* no checksum */
    uint32_t len = a->code->len - o->at;
    uint8_t size[5] = { len < 256 ? OP_BYTE : len < 65536 ? OP_WORD : OP_DWORD, len, len >> 8, len >> 16, len >> 24 };
    insert(a, o->at, size, len < 256 ? 2 : len < 65536 ? 3 : 5);
}

void aml_end(Aml *a)
{
    uint8_t length[4];

    g_assert(a->open->len);
    Open o = *innermost(a);
    g_array_set_size(a->open, a->open->len - 1);
    if (o.kind == OPEN_PACKAGE)
        end_package(a, &o);
    else if (o.kind == OPEN_RESOURCES)
        end_resources(a, &o);
    insert(a, o.at, length, encode_length(a->code->len - o.at, length));
}

/* ---- data */

void aml_int(Aml *a, uint64_t val)
{
    term(a);
    if (val <= 1)
        put8(a, val ? OP_ONE : OP_ZERO);
    else if (val == UINT64_MAX)
        put8(a, OP_ONES);
    else if (val < 1 << 8)
        put8(a, OP_BYTE), put_le(a, val, 1);
    else if (val < 1 << 16)
        put8(a, OP_WORD), put_le(a, val, 2);
    else if (val <= UINT32_MAX)
        put8(a, OP_DWORD), put_le(a, val, 4);
    else
        put8(a, OP_QWORD), put_le(a, val, 8);
}

void aml_text(Aml *a, const char *s)
{
    term(a);
    put8(a, OP_STRING);
    put(a, s, strlen(s) + 1);
}

void aml_buffer(Aml *a, const void *bytes, size_t len)
{
    term(a);
    begin(a, OP_BUFFER);
    aml_int(a, len);
    put(a, bytes, len);
    aml_end(a);
}

/* Three letters of five bits and four hexadecimal digits, the highest byte first (section 19.3.4). */
void aml_eisaid(Aml *a, const char *id)
{
    uint32_t val = 0;

    g_assert(strlen(id) == 7);
    for (int i = 0; i < 3; i++) {
        g_assert(g_ascii_isupper(id[i]));
        val = val << 5 | (id[i] - '@');
    }
    for (int i = 3; i < 7; i++)
        val = val << 4 | g_ascii_xdigit_value(id[i]);
    term(a);
    put8(a, OP_DWORD);
    put_le(a, GUINT32_SWAP_LE_BE(val), 4);
}

void aml_uuid(Aml *a, const char *uuid)
{
    /* The first three groups are numbers, little-endian. */
    static const uint8_t place[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    uint8_t bytes[16] = { 0 };
    unsigned n = 0;

    for (; *uuid && n < 32; uuid++) {
        if (*uuid == '-')
            continue;
        bytes[place[n / 2]] |= g_ascii_xdigit_value(*uuid) << (n % 2 ? 0 : 4);
        n++;
    }
    g_assert(n == 32 && !*uuid);
    aml_buffer(a, bytes, sizeof(bytes));
}

void aml_path(Aml *a, const char *path)
{
    term(a);
    put_name(a, path);
}

/* ---- named objects */

void aml_name(Aml *a, const char *name)
{
    put8(a, OP_NAME);
    put_name(a, name);
}

void aml_name_int(Aml *a, const char *name, uint64_t val)
{
    aml_name(a, name);
    aml_int(a, val);
}

void aml_name_text(Aml *a, const char *name, const char *s)
{
    aml_name(a, name);
    aml_text(a, s);
}

void aml_name_eisaid(Aml *a, const char *name, const char *id)
{
    aml_name(a, name);
    aml_eisaid(a, id);
}

void aml_alias(Aml *a, const char *of, const char *name)
{
    put8(a, OP_ALIAS);
    put_name(a, of);
    put_name(a, name);
}

void aml_mutex(Aml *a, const char *name, uint8_t level)
{
    put8(a, OP_EXT);
    put8(a, EXT_MUTEX);
    put_name(a, name);
    put8(a, level);
}

void aml_event(Aml *a, const char *name)
{
    put8(a, OP_EXT);
    put8(a, EXT_EVENT);
    put_name(a, name);
}

void aml_external(Aml *a, const char *path, uint8_t type, uint8_t args)
{
    put8(a, OP_EXTERNAL);
    put_name(a, path);
    put8(a, type);
    put8(a, args);
}

void aml_region_of(Aml *a, const char *name, AmlSpace space)
{
    put8(a, OP_EXT);
    put8(a, EXT_REGION);
    put_name(a, name);
    put8(a, space);
}

void aml_region(Aml *a, const char *name, AmlSpace space, uint64_t off, uint64_t len)
{
    aml_region_of(a, name, space);
    aml_int(a, off);
    aml_int(a, len);
}

static void put_field_flags(Aml *a, AmlAccess access, bool lock, AmlUpdate update)
{
    put8(a, access | lock << 4 | update << 5);
}

void aml_begin_field(Aml *a, const char *region, AmlAccess access, bool lock, AmlUpdate update)
{
    begin_ext(a, EXT_FIELD, OPEN_FIELD);
    put_name(a, region);
    put_field_flags(a, access, lock, update);
}

void aml_begin_index_field(Aml *a, const char *index, const char *data, AmlAccess access, bool lock, AmlUpdate update)
{
    begin_ext(a, EXT_INDEX_FIELD, OPEN_FIELD);
    put_name(a, index);
    put_name(a, data);
    put_field_flags(a, access, lock, update);
}

void aml_bits(Aml *a, const char *name, unsigned bits)
{
    uint8_t length[4];

    g_assert(innermost(a) && innermost(a)->kind == OPEN_FIELD);
    if (name)
        put_segment(a, name);
    else
        put8(a, 0);
    /* Here a length does not count itself. */
    unsigned bytes = bits < 1 << 6 ? 1 : bits < 1 << 12 ? 2 : bits < 1 << 20 ? 3 : 4;
    encode(bits, bytes, length);
    put(a, length, bytes);
}

/* ---- operators */

void aml_op(Aml *a, AmlOp op)
{
    term(a);
    if (op > 0xff)
        put8(a, op >> 8);
    put8(a, op);
}

void aml_arg(Aml *a, unsigned n)
{
    g_assert(n < 7);
    aml_op(a, OP_ARG + n);
}

void aml_local(Aml *a, unsigned n)
{
    g_assert(n < 8);
    aml_op(a, OP_LOCAL + n);
}

void aml_none(Aml *a)
{
    put8(a, 0);
}

void aml_raw16(Aml *a, uint16_t val)
{
    put_le(a, val, 2);
}

/* ---- resource descriptors */

void aml_begin_resources(Aml *a, const char *name)
{
    if (name)
        aml_name(a, name);
    else
        term(a);
    put8(a, OP_BUFFER);
    open_as(a, OPEN_RESOURCES);
}

static void begin_descriptor(Aml *a, uint8_t tag, uint16_t len)
{
    g_assert(innermost(a) && innermost(a)->kind == OPEN_RESOURCES);
    put8(a, tag);
    if (tag & 0x80)
        put_le(a, len, 2);
}

void aml_memory32(Aml *a, bool writable, uint32_t base, uint32_t len)
{
    begin_descriptor(a, RES_MEMORY32, 9);
    put8(a, writable);
    put_le(a, base, 4);
    put_le(a, len, 4);
}

void aml_io(Aml *a, uint16_t min, uint16_t max, uint8_t align, uint8_t len)
{
    begin_descriptor(a, RES_IO, 7);
    put8(a, 1);
    put_le(a, min, 2);
    put_le(a, max, 2);
    put8(a, align);
    put8(a, len);
}

void aml_irq(Aml *a, unsigned irq)
{
    g_assert(irq < 16);
    begin_descriptor(a, RES_IRQ, 2);
    put_le(a, 1u << irq, 2);
}

void aml_interrupts(Aml *a, unsigned flags, unsigned n, const uint32_t *irqs)
{
    g_assert(n && n < 256);
    begin_descriptor(a, RES_INTERRUPTS, 2 + 4 * n);
    put8(a, flags);
    put8(a, n);
    for (unsigned i = 0; i < n; i++)
        put_le(a, irqs[i], 4);
}

/* Word, DWord and QWord address space descriptors differ in the width of their five numbers. */
static void put_window(Aml *a, AmlWidth width, uint8_t type, uint8_t type_flags, AmlWindow w)
{
    enum { MIN_FIXED = 4, MAX_FIXED = 8 };
    const uint64_t numbers[5] = { 0 /* granularity */, w.min, w.min + w.len - 1, w.translation, w.len };

    begin_descriptor(a, width == AML_16 ? RES_WORD : width == AML_32 ? RES_DWORD : RES_QWORD, 3 + 5 * width);
    put8(a, type);
    put8(a, MIN_FIXED | MAX_FIXED);             /* producer, positive decoding */
    put8(a, type_flags);
    for (int i = 0; i < 5; i++) {
        g_assert(width == AML_64 || numbers[i] >> 8 * width == 0);
        put_le(a, numbers[i], width);
    }
}

void aml_bus_numbers(Aml *a, uint16_t first, uint16_t count)
{
    put_window(a, AML_16, SPACE_BUS, 0, (AmlWindow){ first, count, 0 });
}

void aml_memory_window(Aml *a, AmlWidth width, bool prefetchable, AmlWindow w)
{
    enum { READ_WRITE = 1, PREFETCHABLE = 3 << 1 };

    put_window(a, width, SPACE_MEMORY, READ_WRITE | (prefetchable ? PREFETCHABLE : 0), w);
}

void aml_io_window(Aml *a, AmlWidth width, bool memory, AmlWindow w)
{
    enum { ENTIRE_RANGE = 3, TYPE_TRANSLATION = 1 << 4 };

    put_window(a, width, SPACE_IO, ENTIRE_RANGE | (memory ? TYPE_TRANSLATION : 0), w);
}
