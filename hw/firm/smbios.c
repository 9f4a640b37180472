/* SPDX-License-Identifier: MIT */
/*
 * SMBIOS 3.0 structures (DMTF DSP0134): types 0, 1, 2, 3, 4, 11, 16, 17, 19, 32,
 * 127. Those of types 0, 2, 4, 11 beside what is always there come from -smbios
 * type=N,...; a file of -smbios file= replaces ours of its type. Firmware takes the
 * structures and makes the entry point's address right. Left out: types 8, 9, 41 and caches; one socket holds
 * all CPUs.
 */
#include "hw/firm/smbios.h"

#include <stdio.h>
#include <string.h>

#include "hw/core/loader.h"
#include "system/vmconfig.h"
#include "util/opts.h"
#include "util/str.h"

enum { STRINGS_MAX = 255, FILE_MAX = 1 << 20, DIMM_LOG2 = 34, TYPES = 256, NO_HANDLE = 0xfffe };

/* ---- what the user says */

static const OptDesc type0[] = {
    { "type", OPT_NUM, "0: firmware" }, { "vendor", OPT_STR, "" }, { "version", OPT_STR, "" }, { "date", OPT_STR, "" },
    { "release", OPT_STR, "as 1.2" }, { "uefi", OPT_BOOL, "" }, { 0 }
};
static const OptDesc type1[] = {
    { "type", OPT_NUM, "1: system" }, { "manufacturer", OPT_STR, "" }, { "product", OPT_STR, "" }, { "version", OPT_STR, "" },
    { "serial", OPT_STR, "" }, { "uuid", OPT_STR, "" }, { "sku", OPT_STR, "" }, { "family", OPT_STR, "" }, { 0 }
};
static const OptDesc type2[] = {
    { "type", OPT_NUM, "2: baseboard" }, { "manufacturer", OPT_STR, "" }, { "product", OPT_STR, "" },
    { "version", OPT_STR, "" }, { "serial", OPT_STR, "" }, { "asset", OPT_STR, "" }, { "location", OPT_STR, "" }, { 0 }
};
static const OptDesc type3[] = {
    { "type", OPT_NUM, "3: chassis" }, { "manufacturer", OPT_STR, "" }, { "version", OPT_STR, "" }, { "serial", OPT_STR, "" },
    { "asset", OPT_STR, "" }, { "sku", OPT_STR, "" }, { 0 }
};
static const OptDesc type4[] = {
    { "type", OPT_NUM, "4: processor" }, { "sock_pfx", OPT_STR, "" }, { "manufacturer", OPT_STR, "" },
    { "version", OPT_STR, "" }, { "serial", OPT_STR, "" }, { "asset", OPT_STR, "" }, { "part", OPT_STR, "" },
    { "max-speed", OPT_NUM, "MHz" }, { "current-speed", OPT_NUM, "MHz" }, { "processor-id", OPT_NUM, "" },
    { "processor-family", OPT_NUM, "" }, { 0 }
};
static const OptDesc type11[] = {
    { "type", OPT_NUM, "11: strings" }, { "value", OPT_STR, "may be given more than once" },
    { "path", OPT_STR, "a file that holds the string" }, { 0 }
};
static const OptDesc type17[] = {
    { "type", OPT_NUM, "17: memory" }, { "loc_pfx", OPT_STR, "" }, { "bank", OPT_STR, "" }, { "manufacturer", OPT_STR, "" },
    { "serial", OPT_STR, "" }, { "asset", OPT_STR, "" }, { "part", OPT_STR, "" }, { "speed", OPT_NUM, "MT/s" }, { 0 }
};

static const OptDesc *const by_type[] = {
    [0] = type0, [1] = type1, [2] = type2, [3] = type3, [4] = type4, [11] = type11, [17] = type17,
};

typedef struct Smbios {
    const SmbiosBoard *board;
    GByteArray *out;
    unsigned count;
    GPtrArray *given[G_N_ELEMENTS(by_type)];    /* Opts *, as they came */
    GPtrArray *oem;             /* strings of type 11 */
    bool from_file[TYPES];
    uint8_t uuid[16];
    /* of the structure being written */
    guint start;
    GPtrArray *strings;
} Smbios;

/* The last one that says it. */
static const char *text(const Smbios *s, int type, const char *key, const char *def)
{
    for (guint i = s->given[type] ? s->given[type]->len : 0; i-- > 0;)
        if (opts_has(s->given[type]->pdata[i], key))
            return opts_str(s->given[type]->pdata[i], key, def);
    return def;
}

static uint64_t number(const Smbios *s, int type, const char *key, uint64_t def)
{
    for (guint i = s->given[type] ? s->given[type]->len : 0; i-- > 0;)
        if (opts_has(s->given[type]->pdata[i], key))
            return opts_num(s->given[type]->pdata[i], key, def);
    return def;
}

static Err *oem_string(void *opaque, const char *key, const char *value)
{
    Smbios *s = opaque;
    Blob b;

    if (!strcmp(key, "value")) {
        g_ptr_array_add(s->oem, g_strdup(value));
    } else if (!strcmp(key, "path")) {
        TRY(file_read(value, FILE_MAX, &b));
        g_ptr_array_add(s->oem, g_strndup((char *)b.data, b.len));
        blob_free(&b);
    }
    if (s->oem->len > STRINGS_MAX)
        return err(ERR_INVALID, "a structure has at most %d strings", STRINGS_MAX);
    return NULL;
}

static void free_opts(gpointer o)
{
    opts_free(o);
}

static Err *take_fields(Smbios *s, unsigned type, const char *arg)
{
    Opts *o;

    if (type >= G_N_ELEMENTS(by_type) || !by_type[type])
        return err_hint(err(ERR_UNSUPPORTED, "type=%u cannot be given by its fields", type),
                        "Types 0, 1, 2, 3, 4, 11, 17 can; file=FILE adds any structure, in its binary form.");
    TRY(opts_parse(arg, by_type[type], NULL, &o));
    if (!s->given[type])
        s->given[type] = g_ptr_array_new_with_free_func(free_opts);
    g_ptr_array_add(s->given[type], o);
    return type == 11 ? opts_each(o, oem_string, s) : NULL;
}

/* One structure with its strings, which end with two zero bytes. */
static Err *check_structure(const Blob *b)
{
    const uint8_t *p = b->data;

    if (b->len < 6 || p[1] < 4 || p[1] + 2u > b->len)
        return err(ERR_INVALID, "it is no SMBIOS structure: the header says %u of its %zu bytes",
                   b->len > 1 ? p[1] : 0, b->len);
    if (p[0] == 127)
        return err(ERR_INVALID, "type 127 ends the table: it is there already");
    const uint8_t *end = memmem(p + p[1], b->len - p[1], "\0", 2);
    if (!end || end + 2 != p + b->len)
        return err(ERR_INVALID, "it is no SMBIOS structure: its strings do not end, or more than one structure is in it");
    return NULL;
}

static Err *take_file(Smbios *s, const char *path)
{
    Blob b;

    TRY(file_read(path, FILE_MAX, &b));
    Err *e = check_structure(&b);
    if (!e) {
        s->from_file[b.data[0]] = true;
        s->count++;
        g_byte_array_append(s->out, b.data, b.len);
    }
    blob_free(&b);
    return err_in(e, "file '%s'", path);
}

static Err *take(Smbios *s, const char *arg)
{
    Opts *o;

    TRY(opts_parse(arg, NULL, NULL, &o));
    g_autofree char *path = g_strdup(opts_str(o, "file", NULL)), *type = g_strdup(opts_str(o, "type", NULL));
    bool alone = path && !type;
    uint64_t n = 0;
    opts_free(o);
    if (alone)
        return take_file(s, path);
    if (!type || path)
        return err_hint(err(ERR_INVALID, "either type= or file= says what it is"),
                        "-smbios type=1,serial=42 or -smbios type=11,value=TEXT or -smbios file=FILE");
    TRY(err_in(parse_num(type, &n), "type"));
    return take_fields(s, MIN(n, TYPES), arg);
}

/* ---- writing */

static void u8(Smbios *s, uint8_t val)
{
    g_byte_array_append(s->out, &val, 1);
}

static void le(Smbios *s, uint64_t val, unsigned bytes)
{
    val = GUINT64_TO_LE(val);
    g_byte_array_append(s->out, (const uint8_t *)&val, bytes);
}

/* The number of a string of this structure; 0: none. */
static void str(Smbios *s, const char *text)
{
    if (!text || !*text) {
        u8(s, 0);
        return;
    }
    g_ptr_array_add(s->strings, (void *)text);
    u8(s, s->strings->len);
}

/* False: a file has it. */
static bool begin(Smbios *s, uint8_t type, uint8_t len, uint16_t handle)
{
    if (s->from_file[type])
        return false;
    s->start = s->out->len;
    g_ptr_array_set_size(s->strings, 0);
    u8(s, type);
    u8(s, len);
    le(s, handle, 2);
    return true;
}

static void end(Smbios *s)
{
    g_assert(s->out->len - s->start == s->out->data[s->start + 1]);
    for (guint i = 0; i < s->strings->len; i++)
        g_byte_array_append(s->out, s->strings->pdata[i], strlen(s->strings->pdata[i]) + 1);
    le(s, 0, s->strings->len ? 1 : 2);
    s->count++;
}

/* ---- structures */

static Err *write_firmware(Smbios *s)
{
    enum { NOT_SUPPORTED = 8, TARGETED = 4, UEFI = 8, VIRTUAL = 16 };
    unsigned major = 0, minor = 0;
    char rest;
    const char *release = text(s, 0, "release", NULL);
    bool uefi = false;

    if (!s->given[0])
        return NULL;
    if (release && (sscanf(release, "%u.%u%c", &major, &minor, &rest) != 2 || major > 255 || minor > 255))
        return err(ERR_INVALID, "-smbios type=0: release=%s has not the form 1.2", release);
    for (guint i = 0; i < s->given[0]->len; i++)
        uefi = opts_bool(s->given[0]->pdata[i], "uefi", uefi);
    if (!begin(s, 0, 24, 0x0000))
        return NULL;
    str(s, text(s, 0, "vendor", NULL));
    str(s, text(s, 0, "version", NULL));
    le(s, 0xe800, 2);
    str(s, text(s, 0, "date", NULL));
    u8(s, 0);                   /* size of the ROM */
    le(s, NOT_SUPPORTED, 8);
    u8(s, 0);
    u8(s, TARGETED | VIRTUAL | (uefi ? UEFI : 0));
    u8(s, major);
    u8(s, minor);
    le(s, 0xffff, 2);           /* no embedded controller */
    end(s);
    return NULL;
}

static const char *manufacturer(const Smbios *s, int type)
{
    return text(s, type, "manufacturer", "QEMU");       /* by which guests know a virtual machine */
}

static void write_system(Smbios *s)
{
    enum { POWER_SWITCH = 6 };

    if (!begin(s, 1, 27, 0x100))
        return;
    str(s, manufacturer(s, 1));
    str(s, text(s, 1, "product", "QEMU Virtual Machine"));
    str(s, text(s, 1, "version", s->board->name));
    str(s, text(s, 1, "serial", NULL));
    g_byte_array_append(s->out, s->uuid, sizeof(s->uuid));
    u8(s, POWER_SWITCH);
    str(s, text(s, 1, "sku", NULL));
    str(s, text(s, 1, "family", NULL));
    end(s);
}

static void write_baseboard(Smbios *s)
{
    enum { HOSTING = 1, MOTHERBOARD = 10 };

    if (!s->given[2] || !begin(s, 2, 15, 0x200))
        return;
    str(s, manufacturer(s, 2));
    str(s, text(s, 2, "product", NULL));
    str(s, text(s, 2, "version", s->board->name));
    str(s, text(s, 2, "serial", NULL));
    str(s, text(s, 2, "asset", NULL));
    u8(s, HOSTING);
    str(s, text(s, 2, "location", NULL));
    le(s, 0x300, 2);
    u8(s, MOTHERBOARD);
    u8(s, 0);
    end(s);
}

static void write_chassis(Smbios *s)
{
    enum { OTHER = 1, SAFE = 3, UNKNOWN = 2 };

    if (!begin(s, 3, 22, 0x300))
        return;
    str(s, manufacturer(s, 3));
    u8(s, OTHER);
    str(s, text(s, 3, "version", s->board->name));
    str(s, text(s, 3, "serial", NULL));
    str(s, text(s, 3, "asset", NULL));
    u8(s, SAFE);                /* boot-up, power, thermal */
    u8(s, SAFE);
    u8(s, SAFE);
    u8(s, UNKNOWN);             /* security */
    le(s, 0, 4);
    le(s, 0, 4);                /* height, cords, contained elements, their length */
    str(s, text(s, 3, "sku", NULL));
    end(s);
}

static void write_processor(Smbios *s)
{
    enum { CENTRAL = 3, SEE_FAMILY2 = 0xfe, POPULATED_ENABLED = 0x41, OTHER = 1, NO_CACHE = 0xffff, UNKNOWN = 2 };
    g_autofree char *socket = g_strdup_printf("%s%4x", text(s, 4, "sock_pfx", "CPU"), 0);
    uint16_t cpus = s->board->cpus;

    if (!begin(s, 4, 48, 0x400))
        return;
    str(s, socket);
    u8(s, CENTRAL);
    u8(s, SEE_FAMILY2);
    str(s, manufacturer(s, 4));
    le(s, number(s, 4, "processor-id", 0), 8);
    str(s, text(s, 4, "version", s->board->name));
    u8(s, 0);
    le(s, 0, 2);
    le(s, number(s, 4, "max-speed", 2000), 2);
    le(s, number(s, 4, "current-speed", 2000), 2);
    u8(s, POPULATED_ENABLED);
    u8(s, OTHER);
    for (int i = 0; i < 3; i++)
        le(s, NO_CACHE, 2);
    str(s, text(s, 4, "serial", NULL));
    str(s, text(s, 4, "asset", NULL));
    str(s, text(s, 4, "part", NULL));
    for (int i = 0; i < 3; i++)
        u8(s, MIN(cpus, 255));  /* cores, enabled ones, threads; 255: see below */
    le(s, UNKNOWN, 2);
    le(s, number(s, 4, "processor-family", s->board->cpu_family), 2);
    for (int i = 0; i < 3; i++)
        le(s, cpus, 2);
    end(s);
}

static void write_oem(Smbios *s)
{
    if (!s->oem->len || !begin(s, 11, 5, 0xe00))
        return;
    u8(s, s->oem->len);
    for (guint i = 0; i < s->oem->len; i++)
        g_ptr_array_add(s->strings, s->oem->pdata[i]);
    end(s);
}

static uint64_t ram_size(const Smbios *s)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < s->board->nranges; i++)
        sum += s->board->ranges[i].size;
    return sum;
}

static void write_array(Smbios *s, uint16_t dimms)
{
    enum { OTHER = 1, SYSTEM = 3, MULTI_BIT = 6 };
    const uint32_t see_extended = 0x80000000;
    uint64_t kib = ram_size(s) >> 10;

    if (!begin(s, 16, 23, 0x1000))
        return;
    u8(s, OTHER);
    u8(s, SYSTEM);
    u8(s, MULTI_BIT);
    le(s, kib < see_extended ? kib : see_extended, 4);
    le(s, NO_HANDLE, 2);
    le(s, dimms, 2);
    le(s, kib < see_extended ? 0 : kib << 10, 8);
    end(s);
}

static void write_dimm(Smbios *s, unsigned n, uint64_t bytes)
{
    enum { UNKNOWN16 = 0xffff, DIMM = 9, RAM = 7, OTHER = 2, SEE_EXTENDED = 0x7fff };
    g_autofree char *place = g_strdup_printf("%s %u", text(s, 17, "loc_pfx", "DIMM"), n);
    uint64_t mib = bytes >> 20;
    uint16_t speed = number(s, 17, "speed", 0);

    if (!begin(s, 17, 40, 0x1100 + n))
        return;
    le(s, 0x1000, 2);
    le(s, NO_HANDLE, 2);
    le(s, UNKNOWN16, 2);        /* widths */
    le(s, UNKNOWN16, 2);
    le(s, mib < SEE_EXTENDED ? mib : SEE_EXTENDED, 2);
    u8(s, DIMM);
    u8(s, 0);
    str(s, place);
    str(s, text(s, 17, "bank", NULL));
    u8(s, RAM);
    le(s, OTHER, 2);
    le(s, speed, 2);
    str(s, manufacturer(s, 17));
    str(s, text(s, 17, "serial", NULL));
    str(s, text(s, 17, "asset", NULL));
    str(s, text(s, 17, "part", NULL));
    u8(s, 0);
    le(s, mib < SEE_EXTENDED ? 0 : mib, 4);
    le(s, speed, 2);
    le(s, 0, 6);                /* voltages */
    end(s);
}

static void write_range(Smbios *s, unsigned n, uint64_t base, uint64_t size)
{
    const uint32_t see_extended = UINT32_MAX;
    uint64_t last = base + size - 1;
    bool fits = last >> 10 < see_extended;

    if (!begin(s, 19, 31, 0x1300 + n))
        return;
    le(s, fits ? base >> 10 : see_extended, 4);
    le(s, fits ? last >> 10 : see_extended, 4);
    le(s, 0x1000, 2);
    u8(s, 1);
    le(s, fits ? 0 : base, 8);
    le(s, fits ? 0 : last, 8);
    end(s);
}

/* Modules of at most 16 GiB, and where they are. */
static void write_memory(Smbios *s)
{
    uint64_t dimm = UINT64_C(1) << DIMM_LOG2, left = ram_size(s);
    unsigned n = (left + dimm - 1) >> DIMM_LOG2;

    write_array(s, n);
    for (unsigned i = 0; i < n; i++, left -= MIN(left, dimm))
        write_dimm(s, i, MIN(left, dimm));
    for (unsigned i = 0; i < s->board->nranges; i++)
        write_range(s, i, s->board->ranges[i].base, s->board->ranges[i].size);
}

static void write_last(Smbios *s)
{
    if (begin(s, 32, 11, 0x2000)) {
        le(s, 0, 6);
        u8(s, 0);               /* no errors at boot */
        end(s);
    }
    if (begin(s, 127, 4, 0x7f00))
        end(s);
}

/* ---- all of it */

/* Since SMBIOS 2.6 the first three groups are numbers, little-endian. */
static Err *set_uuid(Smbios *s, const char *uuid)
{
    static const uint8_t place[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
    unsigned n = 0;

    uuid = text(s, 1, "uuid", uuid);
    if (!uuid)
        return NULL;
    if (!g_uuid_string_is_valid(uuid))
        return err(ERR_INVALID, "-smbios type=1: '%s' is no UUID", uuid);
    for (; *uuid; uuid++) {
        if (*uuid == '-')
            continue;
        s->uuid[place[n / 2]] |= g_ascii_xdigit_value(*uuid) << (n % 2 ? 0 : 4);
        n++;
    }
    return NULL;
}

static Err *build(Smbios *s, const GPtrArray *args, const char *uuid)
{
    for (guint i = 0; args && i < args->len; i++)
        TRY(err_in(take(s, args->pdata[i]), "-smbios %s", (char *)args->pdata[i]));
    TRY(set_uuid(s, uuid));
    TRY(write_firmware(s));
    write_system(s);
    write_baseboard(s);
    write_chassis(s);
    write_processor(s);
    write_oem(s);
    write_memory(s);
    write_last(s);
    return NULL;
}

Err *smbios_build(const SmbiosBoard *b, const GPtrArray *args, const char *uuid, GByteArray **tables, unsigned *count)
{
    Smbios s = { .board = b, .out = g_byte_array_new(), .oem = g_ptr_array_new_with_free_func(g_free),
                 .strings = g_ptr_array_new() };
    Err *e = build(&s, args, uuid);

    for (unsigned i = 0; i < G_N_ELEMENTS(s.given); i++)
        if (s.given[i])
            g_ptr_array_free(s.given[i], true);
    g_ptr_array_free(s.oem, true);
    g_ptr_array_free(s.strings, true);
    *count = s.count;
    *tables = s.out;
    if (e) {
        g_byte_array_free(s.out, true);
        *tables = NULL;
    }
    return e;
}

Err *smbios_add(FwCfg *f, const Vm *vm, const SmbiosBoard *b)
{
    GByteArray *tables;
    unsigned count;
    /* "_SM3_", checksum, length, version 3.0.0, revision of the entry point, size, address: firmware's */
    uint8_t anchor[24] = "_SM3_\0\x18\3\0\0\1", sum = 0;

    TRY(smbios_build(b, vm->config->smbios, vm->config->uuid, &tables, &count));
    uint32_t len = GUINT32_TO_LE(tables->len);
    memcpy(anchor + 12, &len, sizeof(len));
    for (unsigned i = 0; i < sizeof(anchor); i++)
        sum += anchor[i];
    anchor[5] = -sum;
    Err *e = fw_cfg_add_file(f, "etc/smbios/smbios-tables", tables->data, tables->len);
    g_byte_array_free(tables, true);
    TRY(e);
    return fw_cfg_add_file(f, "etc/smbios/smbios-anchor", anchor, sizeof(anchor));
}
