/* SPDX-License-Identifier: MIT */
/*
 * Field tables: what the compiler picks up, properties from and to text, state to zero.
 */
#include "system/irq.h"
#include "system/mem.h"
#include "tests/unit/test.h"
#include "util/reflect.h"

#include <glib.h>

typedef struct Thing {
    bool on;
    uint8_t u8;
    uint32_t clock_hz;
    uint64_t u64, bytes;
    int16_t i16;
    int64_t i64;
    char *text;
    uint8_t color;
    Irq irqs[2];
    Region io;
    uint16_t regs[5];
    uint32_t kept;
    void *other;
} Thing;

static const char *const colors[] = { "red", "green", "blue", NULL };

static const Field fields[] = {
    PROP(Thing, on, .def = "on", .doc = "whether"),
    PROP(Thing, u8, .def = "7"),
    PROP(Thing, clock_hz, .def = "1843200", .doc = "input clock in Hz"),
    PROP(Thing, u64),
    PROP(Thing, bytes, .as = "size", .units = true, .def = "4K"),
    PROP(Thing, i16),
    PROP(Thing, i64),
    PROP(Thing, text, .def = "hello"),
    PROP(Thing, color, .names = colors, .def = "green"),
    LINKS(Thing, irqs),
    LINK(Thing, io, .size = 8),
    STATES(Thing, regs),
    STATE(Thing, kept, .keep = true),
    TRANSIENT(Thing, other),
    {0}
};

static bool says(Err *e, const char *text)
{
    bool yes = e && (strstr(err_text(e), text) || (err_hint_text(e) && strstr(err_hint_text(e), text)));

    if (e && !yes)
        printf("it says: %s\n", err_text(e));
    err_free(e);
    return yes;
}

static Err *set(Thing *t, const char *name, const char *value)
{
    const Field *f = NULL;

    TRY(prop_find(fields, name, &f));
    return prop_parse(t, f, value);
}

static void check_print(Thing *t, const char *name, const char *want)
{
    const Field *f = NULL;

    CHECK(!prop_find(fields, name, &f));
    char *text = prop_print(t, f);
    CHECK_STR(text, want);
    g_free(text);
}

static void test_types(void)
{
    CHECK_EQ(fields[0].type, FIELD_BOOL);
    CHECK_EQ(fields[2].type, FIELD_U32);
    CHECK_EQ(fields[2].offset, offsetof(Thing, clock_hz));
    CHECK_EQ(fields[5].type, FIELD_I16);
    CHECK_EQ(fields[7].type, FIELD_STR);
    CHECK_EQ(fields[9].type, FIELD_IRQ);
    CHECK_EQ(fields[9].count, 2);
    CHECK_EQ(fields[10].type, FIELD_REGION);
    CHECK_EQ(fields[11].type, FIELD_U16);
    CHECK_EQ(fields[11].count, 5);
    CHECK_EQ(fields[13].type, FIELD_OPAQUE);
}

static void test_defaults(void)
{
    Thing t = { 0 };

    props_init(&t, fields);
    CHECK(t.on);
    CHECK_EQ(t.u8, 7);
    CHECK_EQ(t.clock_hz, 1843200);
    CHECK_EQ(t.bytes, 4096);
    CHECK_EQ(t.color, 1);
    CHECK_STR(t.text, "hello");
    check_print(&t, "on", "on");
    check_print(&t, "clock-hz", "1843200");
    check_print(&t, "size", "4096");
    check_print(&t, "color", "green");
    check_print(&t, "text", "hello");
    props_clear(&t, fields);
    CHECK(!t.text);
}

static void test_parse(void)
{
    Thing t = { 0 };

    CHECK(!set(&t, "u8", "255"));
    CHECK(says(set(&t, "u8", "256"), "the largest is 255"));
    CHECK(says(set(&t, "u8", "-1"), "property 'u8'"));
    CHECK(says(set(&t, "u8", "1x"), "property 'u8'"));
    CHECK_EQ(t.u8, 255);
    CHECK(!set(&t, "u64", "0xffffffffffffffff"));
    CHECK_EQ(t.u64, UINT64_MAX);
    CHECK(says(set(&t, "u64", "0x10000000000000000"), "u64"));
    CHECK(!set(&t, "i16", "-32768"));
    CHECK_EQ((uint64_t)t.i16, (uint64_t)-32768);
    check_print(&t, "i16", "-32768");
    CHECK(says(set(&t, "i16", "-32769"), "out of range"));
    CHECK(says(set(&t, "i16", "32768"), "out of range"));
    CHECK(!set(&t, "i64", "-9223372036854775808"));
    CHECK_EQ(t.i64, INT64_MIN);
    CHECK(!set(&t, "size", "2G"));
    CHECK_EQ(t.bytes, UINT64_C(2) << 30);
    CHECK(says(set(&t, "color", "grean"), "red, green, blue"));
    CHECK(says(set(&t, "on", "perhaps"), "property 'on'"));
    CHECK(says(set(&t, "clock_hz", "1"), "Did you mean 'clock-hz'?"));
    CHECK(says(set(&t, "regs", "1"), "no property 'regs'"));     /* state is nobody's to set */
    CHECK(!set(&t, "text", "a"));
    CHECK(!set(&t, "text", "b"));
    CHECK_STR(t.text, "b");
    props_clear(&t, fields);
}

static void test_list(void)
{
    Thing t = { 0 };

    CHECK(!props_parse(&t, fields, "u8=3,on,text=x,,y,color=blue"));
    CHECK_EQ(t.u8, 3);
    CHECK(t.on);
    CHECK_STR(t.text, "x,y");
    CHECK_EQ(t.color, 2);
    CHECK(!props_parse(&t, fields, ""));
    CHECK(says(props_parse(&t, fields, "u8=3,colr=red"), "Did you mean 'color'?"));
    CHECK(says(props_parse(&t, NULL, "u8=3"), "no property"));
    props_clear(&t, fields);
    char *help = props_help(fields);
    CHECK(strstr(help, "clock-hz=<uint32>"));
    CHECK(strstr(help, "input clock in Hz (default: 1843200)"));
    CHECK(strstr(help, "[red|green|blue]"));
    CHECK(strstr(help, "size=<size>"));
    CHECK(!strstr(help, "regs"));
    g_free(help);
}

static void test_zero(void)
{
    Thing t = { .u8 = 1, .regs = { 1, 2, 3, 4, 5 }, .kept = 6, .other = &t };

    state_zero(&t, fields);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(t.regs[i], 0);
    CHECK_EQ(t.kept, 6);
    CHECK_EQ(t.u8, 1);
    CHECK(t.other == &t);
}

int main(void)
{
    RUN(test_types);
    RUN(test_defaults);
    RUN(test_parse);
    RUN(test_list);
    RUN(test_zero);
    return test_end();
}
