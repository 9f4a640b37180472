/* SPDX-License-Identifier: MIT */
/* SMBIOS structures: what they say by default, by -smbios, and what is refused. */
#include <stdlib.h>
#include <unistd.h>

#include "hw/firm/smbios.h"
#include "tests/unit/test.h"

static const SmbiosBoard board = {
    .name = "virt", .cpu_family = SMBIOS_CPU_RV64, .cpus = 4, .nranges = 1,
    .ranges = { { UINT64_C(0x80000000), UINT64_C(1) << 30 } },
};
static GByteArray *tables;
static unsigned count;

static Err *try_build(const SmbiosBoard *b, const char *uuid, const char *const *args)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new();

    for (; args && *args; args++)
        g_ptr_array_add(list, (void *)*args);
    return smbios_build(b, list, uuid, &tables, &count);
}

#define ARGS(...) (const char *const[]){ __VA_ARGS__, NULL }

static void build(const char *uuid, const char *const *args)
{
    Err *e = try_build(&board, uuid, args);

    if (e) {
        err_report(e);
        exit(1);
    }
}

static void done(void) { g_byte_array_free(tables, true); }

static const uint8_t *next(const uint8_t *p)
{
    for (p += p[1]; p[0] || p[1]; p++)
        ;
    return p + 2;
}

/* The n-th structure of that type, or NULL. */
static const uint8_t *find(uint8_t type, unsigned n)
{
    for (const uint8_t *p = tables->data; p < tables->data + tables->len; p = next(p))
        if (p[0] == type && !n--)
            return p;
    return NULL;
}

static const char *str(const uint8_t *p, unsigned at)
{
    const char *s = (const char *)p + p[1];

    if (!p[at])
        return "";
    for (unsigned n = p[at]; --n;)
        s += strlen(s) + 1;
    return s;
}

static uint64_t num(const uint8_t *p, unsigned at, unsigned len)
{
    uint64_t v = 0;

    memcpy(&v, p + at, len);
    return v;
}

static void test_default(void)
{
    static const uint8_t order[] = { 1, 3, 4, 16, 17, 19, 32, 127 };
    const uint8_t *p;

    build(NULL, NULL);
    p = tables->data;
    for (unsigned i = 0; i < sizeof(order); i++, p = next(p))
        CHECK_EQ(p[0], order[i]);
    CHECK_EQ(p - tables->data, tables->len);
    CHECK_EQ(count, sizeof(order));
    p = find(1, 0);
    CHECK_EQ(p[1], 27);
    CHECK_STR(str(p, 4), "QEMU");
    CHECK_STR(str(p, 5), "QEMU Virtual Machine");
    CHECK_STR(str(p, 6), "virt");
    CHECK_STR(str(p, 7), "");
    CHECK_EQ(num(p, 8, 8), 0);
    p = find(4, 0);
    CHECK_EQ(num(p, 40, 2), 0x201);
    CHECK(p[6] == 0xfe && p[35] == 4 && num(p, 42, 2) == 4);
    p = find(16, 0);
    CHECK(num(p, 7, 4) == 1 << 20 && num(p, 13, 2) == 1);
    p = find(17, 0);
    CHECK(num(p, 12, 2) == 1024 && num(p, 4, 2) == num(find(16, 0), 2, 2));
    CHECK_STR(str(p, 16), "DIMM 0");
    p = find(19, 0);
    CHECK(num(p, 4, 4) == 0x200000 && num(p, 8, 4) == 0x2fffff);
    done();
}

static void test_fields(void)
{
    build("1b4e28ba-2fa1-11d2-883f-0016d3cca427",
          ARGS("type=0,vendor=Acme,version=1,,2,date=01/02/2026,release=3.4,uefi=on", "type=1,serial=42",
               "type=1,product=P,sku=S,family=F,manufacturer=M,version=V", "type=2,product=Board,asset=A,location=here",
               "type=3,asset=C,sku=K", "type=4,sock_pfx=S,max-speed=1000,part=Q,processor-id=0x1122334455667788",
               "type=17,loc_pfx=Slot,speed=3200,bank=B,part=PT", "type=11,value=one,value=two,,2", "type=11,value=three"));
    const uint8_t *p = find(0, 0);
    CHECK_STR(str(p, 4), "Acme");
    CHECK_STR(str(p, 5), "1,2");
    CHECK_STR(str(p, 8), "01/02/2026");
    CHECK(p[20] == 3 && p[21] == 4 && p[19] == 0x1c);
    p = find(1, 0);
    CHECK_STR(str(p, 4), "M");
    CHECK_STR(str(p, 5), "P");
    CHECK_STR(str(p, 6), "V");
    CHECK_STR(str(p, 7), "42");
    CHECK_STR(str(p, 25), "S");
    CHECK_STR(str(p, 26), "F");
    CHECK_EQ(num(p, 8, 8), UINT64_C(0x11d22fa11b4e28ba));
    CHECK_EQ(num(p, 16, 8), UINT64_C(0x27a4ccd316003f88));
    p = find(2, 0);
    CHECK_STR(str(p, 5), "Board");
    CHECK_STR(str(p, 10), "here");
    CHECK_STR(str(find(3, 0), 8), "C");
    CHECK_STR(str(find(3, 0), 21), "K");
    p = find(4, 0);
    CHECK(num(p, 20, 2) == 1000 && num(p, 8, 8) == UINT64_C(0x1122334455667788));
    CHECK_STR(str(p, 34), "Q");
    p = find(11, 0);
    CHECK_EQ(p[4], 3);
    CHECK_STR((const char *)p + 5, "one");
    CHECK_STR((const char *)p + 9, "two,2");
    CHECK_STR((const char *)p + 15, "three");
    p = find(17, 0);
    CHECK_STR(str(p, 16), "Slot 0");
    CHECK_EQ(num(p, 21, 2), 3200);
    done();
    build("1b4e28ba-2fa1-11d2-883f-0016d3cca427", ARGS("type=1,uuid=00112233-4455-6677-8899-aabbccddeeff"));
    CHECK_EQ(num(find(1, 0), 8, 8), UINT64_C(0x6677445500112233));
    done();
}

static void test_big(void)
{
    SmbiosBoard b = board;

    b.nranges = 2;
    b.ranges[0].size = UINT64_C(2) << 30;
    b.ranges[1].base = UINT64_C(1) << 42;
    b.ranges[1].size = UINT64_C(33) << 30;
    b.cpus = 300;
    CHECK(!try_build(&b, NULL, NULL));
    CHECK_EQ(num(find(16, 0), 13, 2), 3);
    CHECK(num(find(17, 1), 12, 2) == 16384 && num(find(17, 2), 12, 2) == 3 * 1024 && !find(17, 3));
    const uint8_t *p = find(19, 1);
    CHECK(num(p, 4, 4) == UINT32_MAX && num(p, 15, 8) == UINT64_C(1) << 42 && num(p, 23, 8) == (UINT64_C(1) << 42) + (UINT64_C(33) << 30) - 1);
    CHECK(find(4, 0)[35] == 255 && num(find(4, 0), 46, 2) == 300);
    done();
    b.ranges[1].size = UINT64_C(3) << 40;
    CHECK(!try_build(&b, NULL, NULL));
    CHECK(num(find(16, 0), 7, 4) == 0x80000000 && num(find(16, 0), 15, 8) == b.ranges[0].size + b.ranges[1].size);
    done();
}

static char *write_file(const void *bytes, size_t len)
{
    char *path = NULL;
    int fd = g_file_open_tmp("smbios-XXXXXX", &path, NULL);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        exit(1);
    close(fd);
    return path;
}

static void refuses_file(const char *bytes, size_t len, const char *why)
{
    g_autofree char *path = write_file(bytes, len), *arg = g_strdup_printf("file=%s", path);
    Err *e = try_build(&board, NULL, ARGS(arg));

    CHECK(e && strstr(err_text(e), why));
    if (e && !strstr(err_text(e), why))
        printf("it says: %s\n", err_text(e));
    err_free(e);
    unlink(path);
}

static void test_file(void)
{
    static const char structure[] = "\3\x06\x00\x09\1\2chassis\0more\0";       /* and the zero of the literal */
    g_autofree char *path = write_file(structure, sizeof(structure)), *arg = g_strdup_printf("file=%s", path);
    g_autofree char *text = write_file("from a file", 11), *arg2 = g_strdup_printf("type=11,path=%s", text);

    build(NULL, ARGS(arg, arg2));
    CHECK(find(3, 0) && find(3, 0)[1] == 6 && !find(3, 1));
    CHECK_STR(str(find(3, 0), 5), "more");
    CHECK_STR((const char *)find(11, 0) + 5, "from a file");
    done();
    unlink(path);
    unlink(text);
    refuses_file("", 0, "no SMBIOS structure");
    refuses_file("\3\x20\0\0\0\0", 6, "no SMBIOS structure");
    refuses_file("\3\3\0\0\0\0", 6, "no SMBIOS structure");
    refuses_file("\3\4\0\0x\0y\0", 8, "do not end");
    refuses_file("\3\4\0\0x\0\0z", 8, "more than one");
    refuses_file("\x7f\4\0\0\0\0", 6, "127");
}

static void refuses(const char *arg, const char *why)
{
    Err *e = try_build(&board, NULL, ARGS(arg));
    bool says = e && (strstr(err_text(e), why) || (err_hint_text(e) && strstr(err_hint_text(e), why)));

    if (!says)
        printf("'%s' says: %s\n", arg, e ? err_text(e) : "nothing");
    CHECK(says);
    CHECK(!tables);
    err_free(e);
}

static void test_errors(void)
{
    refuses("serial=1", "type= or file=");
    refuses("type=1,file=x", "type= or file=");
    refuses("type=9,slot=1", "type=9 cannot");
    refuses("type=99999999999", "cannot be given");
    refuses("type=x", "'x'");
    refuses("type=1,serail=1", "'serial'");
    refuses("type=1,uuid=1", "no UUID");
    refuses("type=0,release=1", "1.2");
    refuses("type=0,release=1.2.3", "1.2");
    refuses("type=0,uefi=maybe", "maybe");
    refuses("file=/nonexistent/x", "/nonexistent/x");
    GString *many = g_string_new("type=11");
    for (int i = 0; i < 256; i++)
        g_string_append(many, ",value=x");
    refuses(many->str, "at most 255");
    g_string_free(many, true);
}

int main(void)
{
    RUN(test_default);
    RUN(test_fields);
    RUN(test_big);
    RUN(test_file);
    RUN(test_errors);
    return test_end();
}
