/* SPDX-License-Identifier: MIT */
/*
 * AML byte for byte, by hand from the grammar (ACPI 6.5, section 20.2) and the
 * descriptors (6.4); then all of it through iasl's disassembler, where that is installed.
 */
#include <stdlib.h>
#include <unistd.h>
#include <glib/gstdio.h>

#include "hw/firm/aml.h"
#include "tests/unit/test.h"

static Aml aml, *a = &aml;

static void start(void) { aml_init(a); }

/* The bytes since start, as "08 5f 48 .."; a name among them may be written as text: 'NAME'. */
static void is(const char *want)
{
    GString *s = g_string_new(NULL), *w = g_string_new(NULL);

    CHECK_EQ(a->open->len, 0);
    for (guint i = 0; i < a->code->len; i++)
        g_string_append_printf(s, "%02x ", a->code->data[i]);
    for (const char *p = want; *p; p++) {
        if (*p != '\'') {
            g_string_append_c(w, *p);
            continue;
        }
        for (p++; *p != '\''; p++)
            g_string_append_printf(w, "%02x ", (uint8_t)*p);
        while (p[1] == ' ')
            p++;
    }
    if (w->len && w->str[w->len - 1] != ' ')
        g_string_append_c(w, ' ');
    CHECK_STR(s->str, w->str);
    g_string_free(s, true);
    g_string_free(w, true);
    aml_clear(a);
}

static void test_ints(void)
{
    static const struct { uint64_t val; const char *code; } rows[] = {
        { 0, "00" }, { 1, "01" }, { 2, "0a 02" }, { 255, "0a ff" }, { 256, "0b 00 01" }, { 0xffff, "0b ff ff" },
        { 0x10000, "0c 00 00 01 00" }, { UINT32_MAX, "0c ff ff ff ff" },
        { UINT64_C(1) << 32, "0e 00 00 00 00 01 00 00 00" }, { UINT64_MAX, "ff" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        start();
        aml_int(a, rows[i].val);
        is(rows[i].code);
    }
}

static void test_names(void)
{
    static const struct { const char *path, *code; } rows[] = {
        { "X", "'X___'" }, { "_HID", "'_HID'" }, { "\\", "5c 00" }, { "\\_SB", "5c '_SB_'" }, { "^", "5e 00" },
        { "^^AB.C1", "5e 5e 2e 'AB__C1__'" }, { "\\_SB.PCI0.S01", "5c 2f 03 '_SB_PCI0S01_'" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        start();
        aml_path(a, rows[i].path);
        is(rows[i].code);
    }
    start();
    aml_name_eisaid(a, "_HID", "PNP0A08");
    is("08 '_HID' 0c 41 d0 0a 08");
    start();
    aml_name_text(a, "_CID", "ab");
    is("08 '_CID' 0d 61 62 00");
    start();
    aml_uuid(a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
    is("11 13 0a 10 5b 4d db 33 f7 1f 1c 40 96 57 74 41 c0 3d d7 66");
}

/* A length of every width, at its edges: what counts is that it counts itself. */
static void test_lengths(void)
{
    static const struct { unsigned body; const char *head; } rows[] = {
        { 62, "3f" }, { 63, "41 04" }, { 4093, "4f ff" }, { 4094, "81 00 01" }, { 0xfffff - 3, "8f ff ff" },
        { 0xfffff - 2, "c1 00 00 01" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        GString *s = g_string_new(NULL);

        start();
        aml_begin_else(a);
        for (unsigned n = 0; n < rows[i].body; n++)
            aml_op(a, AML_NOP);
        aml_end(a);
        unsigned head = a->code->len - rows[i].body - 1;
        for (unsigned n = 0; n < head; n++)
            g_string_append_printf(s, "%s%02x", n ? " " : "", a->code->data[1 + n]);
        CHECK_STR(s->str, rows[i].head);
        g_string_free(s, true);
        aml_clear(a);
    }
}

static void test_containers(void)
{
    start();
    aml_begin_scope(a, "\\_SB");
    aml_begin_device(a, "COM0");
    aml_name_int(a, "_UID", 0);
    aml_begin_method(a, "_STA", 0, true);
    aml_op(a, AML_RETURN);
    aml_int(a, 15);
    aml_end(a);
    aml_end(a);
    aml_end(a);
    is("10 1d 5c '_SB_' 5b 82 15 'COM0' 08 '_UID' 00 14 09 '_STA' 08 a4 0a 0f");

    start();
    aml_name(a, "PKG");
    aml_begin_package(a);
    aml_int(a, 0xffff);
    aml_text(a, "x");
    aml_begin_package(a);
    aml_path(a, "LNKA");
    aml_end(a);
    aml_buffer(a, "\1\2", 2);
    aml_end(a);
    is("08 'PKG_' 12 15 04 0b ff ff 0d 78 00 12 06 01 'LNKA' 11 05 0a 02 01 02");
    start();
    aml_begin_package(a);
    for (int i = 0; i < 300; i++)
        aml_int(a, 0);
    aml_end(a);
    CHECK_EQ(a->code->data[0], 0x13);                   /* VarPackage */
    CHECK_EQ(a->code->len, 1 + 2 + 3 + 300);
    CHECK(!memcmp(a->code->data + 3, "\x0b\x2c\x01", 3));
    aml_clear(a);
}

static void test_code(void)
{
    start();
    aml_begin_method(a, "X", 2, false);
    aml_begin_if(a);
    aml_op(a, AML_LNOT_EQUAL);
    aml_arg(a, 0);
    aml_int(a, 1);
    aml_op(a, AML_OR);
    aml_arg(a, 1);
    aml_local(a, 7);
    aml_local(a, 0);
    aml_end(a);
    aml_begin_else(a);
    aml_op(a, AML_NOTIFY);
    aml_path(a, "DEV");
    aml_int(a, 1);
    aml_end(a);
    aml_op(a, AML_AND);
    aml_arg(a, 0);
    aml_int(a, 2);
    aml_none(a);
    aml_end(a);
    is("14 1d 'X___' 02 a0 09 92 93 68 01 7d 69 67 60 a1 07 86 'DEV_' 01 7b 68 0a 02 00");

    start();
    aml_op(a, AML_ACQUIRE);
    aml_path(a, "MUT");
    aml_raw16(a, 0xffff);
    aml_op(a, AML_RELEASE);
    aml_path(a, "MUT");
    is("5b 23 'MUT_' ff ff 5b 27 'MUT_'");
}

static void test_fields(void)
{
    start();
    aml_region(a, "REG", AML_IO, 0x600, 8);
    aml_begin_field(a, "REG", AML_DWORD, true, AML_WRITE_ONES);
    aml_bits(a, "A", 8);
    aml_bits(a, NULL, 63);
    aml_bits(a, "B", 64);
    aml_end(a);
    is("5b 80 'REG_' 01 0b 00 06 0a 08 5b 81 13 'REG_' 33 'A___' 08 00 3f 'B___' 40 04");
    start();
    aml_mutex(a, "MUT", 3);
    aml_event(a, "EVT");
    aml_alias(a, "\\X", "Y");
    is("5b 01 'MUT_' 03 5b 02 'EVT_' 06 5c 'X___' 'Y___'");
}

static void test_resources(void)
{
    static const uint32_t irqs[] = { 10, 0x123 };

    start();
    aml_begin_resources(a, "_CRS");
    aml_end(a);
    is("08 '_CRS' 11 05 0a 02 79 00");
    start();
    aml_begin_resources(a, NULL);
    aml_memory32(a, true, 0x10000000, 0x100);
    aml_interrupts(a, AML_CONSUMER | AML_LEVEL | AML_HIGH | AML_SHARED, 2, irqs);
    aml_io(a, 0x3f8, 0x3f8, 1, 8);
    aml_irq(a, 4);
    aml_end(a);
    is("11 29 0a 26 86 09 00 01 00 00 00 10 00 01 00 00 89 0a 00 09 02 0a 00 00 00 23 01 00 00 "
       "47 01 f8 03 f8 03 01 08 22 10 00 79 00");
    start();
    aml_begin_resources(a, NULL);
    aml_bus_numbers(a, 0, 256);
    aml_memory_window(a, AML_32, false, (AmlWindow){ 0x40000000, 0x40000000, 0 });
    aml_io_window(a, AML_32, true, (AmlWindow){ 0, 0x10000, 0x3000000 });
    aml_end(a);
    is("11 4a 04 0a 46 "
       "88 0d 00 02 0c 00 00 00 00 00 ff 00 00 00 00 01 "
       "87 17 00 00 0c 01 00 00 00 00 00 00 00 40 ff ff ff 7f 00 00 00 00 00 00 00 40 "
       "87 17 00 01 0c 13 00 00 00 00 00 00 00 00 ff ff 00 00 00 00 00 03 00 00 01 00 79 00");
    start();
    aml_begin_resources(a, NULL);
    aml_memory_window(a, AML_64, true, (AmlWindow){ UINT64_C(0x400000000), UINT64_C(0x400000000), 0 });
    aml_end(a);
    is("11 33 0a 30 8a 2b 00 00 0c 07 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 "
       "ff ff ff ff 07 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 79 00");
}

/* ---- by another's eyes */

static void write_sample(void)
{
    aml_begin_scope(a, "\\_SB");
    aml_begin_device(a, "PCI0");
    aml_name_eisaid(a, "_HID", "PNP0A08");
    aml_begin_resources(a, "_CRS");
    aml_bus_numbers(a, 0, 256);
    aml_memory_window(a, AML_64, false, (AmlWindow){ UINT64_C(0x400000000), 0x10000, 0 });
    aml_io_window(a, AML_32, true, (AmlWindow){ 0, 0x10000, 0x3000000 });
    aml_end(a);
    aml_begin_method(a, "_OSC", 4, false);
    aml_op(a, AML_CREATE_DWORD_FIELD);
    aml_arg(a, 3);
    aml_int(a, 0);
    aml_path(a, "CDW1");
    aml_begin_if(a);
    aml_op(a, AML_LEQUAL);
    aml_arg(a, 0);
    aml_uuid(a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
    aml_op(a, AML_OR);
    aml_path(a, "CDW1");
    aml_int(a, 4);
    aml_path(a, "CDW1");
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_arg(a, 3);
    aml_end(a);
    aml_name(a, "BIG");
    aml_begin_package(a);
    for (int i = 0; i < 300; i++)
        aml_int(a, i);
    aml_end(a);
    aml_end(a);
    aml_end(a);
    aml_region(a, "\\REG", AML_MEMORY, 0x1000, 16);
    aml_begin_field(a, "\\REG", AML_DWORD, false, AML_PRESERVE);
    aml_bits(a, "FLDA", 4);
    aml_bits(a, NULL, 28);
    aml_bits(a, "FLDB", 80);
    aml_end(a);
}

static void test_iasl(void)
{
    static const char *const wanted[] = {
        "Device (PCI0)", "Name (_HID, EisaId (\"PNP0A08\")", "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode",
        "QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite",
        "DWordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange", "TypeTranslation",
        "ToUUID (\"33db4d5b-1ff7-401c-9657-7441c03dd766\")", "CreateDWordField (Arg3, Zero, CDW1)",
        "CDW1 |= 0x04", "Return (Arg3)", "Package (0x012C)", "OperationRegion (\\REG, SystemMemory, 0x1000, 0x10)",
        "FLDA,   4", "Offset (0x04)", "FLDB,   80",
    };
    char *dir = g_dir_make_tmp("aml-XXXXXX", NULL), *text = NULL;
    uint8_t head[36] = "DSDT\0\0\0\0\2\0TEST  TESTTEST";
    uint8_t sum = 0;

    if (system("iasl -v >/dev/null 2>&1")) {
        printf("iasl is not installed: not disassembled\n");
        g_rmdir(dir);
        g_free(dir);
        return;
    }
    start();
    g_byte_array_append(a->code, head, sizeof(head));
    write_sample();
    uint32_t len = GUINT32_TO_LE(a->code->len);
    memcpy(a->code->data + 4, &len, 4);
    for (guint i = 0; i < a->code->len; i++)
        sum += a->code->data[i];
    a->code->data[9] = -sum;
    g_autofree char *in = g_build_filename(dir, "x.aml", NULL), *out = g_build_filename(dir, "x.dsl", NULL);
    g_file_set_contents(in, (char *)a->code->data, a->code->len, NULL);
    g_autofree char *cmd = g_strdup_printf("iasl -d %s >/dev/null 2>&1", in);
    CHECK_EQ(system(cmd), 0);
    CHECK(g_file_get_contents(out, &text, NULL, NULL));
    for (unsigned i = 0; text && i < G_N_ELEMENTS(wanted); i++) {
        if (!strstr(text, wanted[i])) {
            printf("iasl does not read: %s\n", wanted[i]);
            CHECK(!"read back");
        }
    }
    g_free(text);
    unlink(in);
    unlink(out);
    g_rmdir(dir);
    g_free(dir);
    aml_clear(a);
}

int main(void)
{
    RUN(test_ints);
    RUN(test_names);
    RUN(test_lengths);
    RUN(test_containers);
    RUN(test_code);
    RUN(test_fields);
    RUN(test_resources);
    RUN(test_iasl);
    return test_end();
}
