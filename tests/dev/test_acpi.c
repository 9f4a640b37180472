/* SPDX-License-Identifier: MIT */
/*
 * ACPI of riscv64 `virt` as firmware puts it into memory: the loader's commands
 * carried out here, then everything found from the RSDP on, its checksums, what the
 * tables say, and iasl's reading of the DSDT where that is installed.
 */
#include <glib/gstdio.h>

#include "tests/dev/rig.h"

#define FW     UINT64_C(0x10100000)
#define BASE   UINT64_C(0x80100000)             /* where "firmware" puts the blobs */

static Rig rig, *r = &rig;

/* ---- a firmware's part */

typedef struct Blob { char name[56]; uint8_t *bytes; uint32_t len; uint64_t addr; } Blob;
static Blob blobs[4];
static unsigned nblobs;

static uint8_t *fw_file(const char *name, uint32_t *len)
{
    struct { uint32_t size; uint16_t select, reserved; char name[56]; } row;

    wr(r, FW + 8, GUINT16_TO_BE(0x19), 2);
    for (uint32_t n = GUINT32_FROM_BE(rd32(r, FW)); n; n--) {
        for (unsigned i = 0; i < sizeof(row); i++)
            ((uint8_t *)&row)[i] = rd(r, FW, 1);
        if (strcmp(row.name, name))
            continue;
        *len = GUINT32_FROM_BE(row.size);
        uint8_t *bytes = g_malloc(*len);
        wr(r, FW + 8, row.select, 2);
        for (unsigned i = 0; i < *len; i++)
            bytes[i] = rd(r, FW, 1);
        return bytes;
    }
    return NULL;
}

static Blob *blob(const char *name)
{
    for (unsigned i = 0; i < nblobs; i++)
        if (!strcmp(blobs[i].name, name))
            return &blobs[i];
    printf("no blob '%s'\n", name);
    exit(1);
}

static uint32_t le32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t le64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

static void command(const uint8_t *c)
{
    const char *file = (const char *)c + 4;

    switch (le32(c)) {
    case 1: {
        Blob *b = &blobs[nblobs++];
        strcpy(b->name, file);
        b->bytes = fw_file(file, &b->len);
        b->addr = BASE * nblobs;
        CHECK(b->bytes && b->len);
        CHECK_EQ(b->addr % le32(c + 60), 0);
        break;
    }
    case 2: {
        Blob *in = blob(file), *to = blob(file + 56);
        uint32_t at = le32(c + 116);
        CHECK(c[120] == 8 && at + 8 <= in->len);
        uint64_t v = le64(in->bytes + at);
        CHECK(v < to->len);
        v += to->addr;
        memcpy(in->bytes + at, &v, 8);
        break;
    }
    case 3: {
        Blob *b = blob(file);
        uint32_t at = le32(c + 60), from = le32(c + 64), len = le32(c + 68);
        uint8_t sum = 0;
        CHECK(from + len <= b->len && at >= from && at < from + len && !b->bytes[at]);
        for (uint32_t i = 0; i < len; i++)
            sum += b->bytes[from + i];
        b->bytes[at] = -sum;
        break;
    }
    default:
        CHECK(!"a command that is known");
    }
}

static void load(const char *opts)
{
    uint32_t len = 0;

    rig_init(r);
    r->config.machine_opts = (char *)opts;
    rig_board(r);
    nblobs = 0;
    uint8_t *loader = fw_file("etc/table-loader", &len);
    CHECK(loader && len % 128 == 0);
    for (uint32_t i = 0; i < len; i += 128)
        command(loader + i);
    g_free(loader);
}

static void unload(void)
{
    while (nblobs)
        g_free(blobs[--nblobs].bytes);
    rig_free(r);
}

static const uint8_t *at(uint64_t addr)
{
    Blob *b = blob("etc/acpi/tables");

    CHECK(addr >= b->addr && addr - b->addr < b->len);
    return b->bytes + (addr - b->addr);
}

static bool sums_up(const uint8_t *p, uint32_t len)
{
    uint8_t sum = 0;

    for (uint32_t i = 0; i < len; i++)
        sum += p[i];
    return !sum;
}

/* The table of that signature by RSDP and XSDT; DSDT by the FADT. */
static const uint8_t *table(const char *sig)
{
    const uint8_t *rsdp = blob("etc/acpi/rsdp")->bytes;
    CHECK(!memcmp(rsdp, "RSD PTR ", 8) && rsdp[15] == 2 && sums_up(rsdp, 20) && sums_up(rsdp, 36));
    const uint8_t *xsdt = at(le64(rsdp + 24));
    CHECK(!memcmp(xsdt, "XSDT", 4) && sums_up(xsdt, le32(xsdt + 4)));
    for (uint32_t i = 36; i < le32(xsdt + 4); i += 8) {
        const uint8_t *t = at(le64(xsdt + i));

        CHECK(sums_up(t, le32(t + 4)));
        if (!memcmp(t, sig, 4))
            return t;
        if (!strcmp(sig, "DSDT") && !memcmp(t, "FACP", 4))
            return at(le64(t + 140));
    }
    return NULL;
}

/* The n-th MADT structure of that type. */
static const uint8_t *madt(uint8_t type, unsigned n)
{
    const uint8_t *t = table("APIC");

    for (uint32_t i = 44; i < le32(t + 4); i += t[i + 1])
        if (t[i] == type && !n--)
            return t + i;
    return NULL;
}

/* ---- the tables */

static void test_fixed(void)
{
    load("");
    const uint8_t *t = table("FACP");
    CHECK_EQ(le32(t + 4), 276);
    CHECK_EQ(t[8], 6);
    CHECK_EQ(t[131], 5);
    CHECK_EQ(le32(t + 112) >> 20 & 1, 1);
    t = table("MCFG");
    CHECK_EQ(le32(t + 4), 60);
    CHECK_EQ(le64(t + 44), 0x30000000);
    CHECK(t[54] == 0 && t[55] == 255);
    t = table("SPCR");
    CHECK_EQ(le32(t + 4), 88 + sizeof("\\_SB.COM0"));
    CHECK_EQ(le64(t + 44), 0x10000000);
    CHECK(t[52] == 0x10 && le32(t + 54) == 10);
    CHECK_STR((const char *)t + 88, "\\_SB.COM0");
    CHECK(sums_up(table("DSDT"), le32(table("DSDT") + 4)));
    unload();
}

static void test_rhct(void)
{
    load("");
    const uint8_t *t = table("RHCT"), *isa = t + 56;
    CHECK_EQ(le64(t + 40), 10000000);
    CHECK_EQ(le32(t + 48), 3 + RIG_HARTS);
    CHECK_EQ(le32(t + 52), 56);
    CHECK(le32(isa) << 16 == 0 && g_str_has_prefix((const char *)isa + 8, "rv64imafdc"));
    const uint8_t *cmo = isa + (isa[2] | isa[3] << 8), *mmu = cmo + cmo[2];
    CHECK(cmo[0] == 1 && cmo[2] == 10 && cmo[7] == 6 && cmo[9] == 6);
    CHECK(mmu[0] == 2 && mmu[2] == 8 && mmu[7] == 2);
    const uint8_t *hart = mmu + 8 + 12 + 12;        /* the second */
    CHECK(hart[0] == 0xff && hart[1] == 0xff && hart[2] == 24 && hart[6] == 3 && le32(hart + 8) == 1);
    CHECK_EQ(le32(hart + 12), 56);
    CHECK_EQ(le32(hart + 20), mmu - t);
    CHECK_EQ(hart + 24 - t, le32(t + 4));
    unload();
}

static void test_madt(void)
{
    load("");
    const uint8_t *p = madt(0x18, 1);
    CHECK(p && p[1] == 36 && le32(p + 4) == 1 && le64(p + 8) == 1 && le32(p + 20) == 3 && !le64(p + 24));
    CHECK(!madt(0x18, RIG_HARTS));
    p = madt(0x1b, 0);
    CHECK(p && p[12] == 96 && le32(p + 20) == 0x600000 && le64(p + 24) == 0xc000000 && !le32(p + 32));
    CHECK(!madt(0x1a, 0) && !madt(0x19, 0));
    unload();

    load("aia=aplic");
    CHECK_EQ(le32(madt(0x18, 1) + 20), 1);
    p = madt(0x1a, 0);
    CHECK(p && p[16] == RIG_HARTS && p[18] == 96 && le64(p + 24) == 0xd000000);
    CHECK(!madt(0x1b, 0) && !madt(0x19, 0));
    unload();

    load("aia=aplic-imsic");
    p = madt(0x18, 1);
    CHECK(le64(p + 24) == 0x28001000 && le32(p + 32) == 4096);
    p = madt(0x19, 0);
    CHECK(p && p[1] == 16 && p[8] == 255 && p[13] == 1);
    p = madt(0x1a, 0);
    CHECK(p && p[16] == 0);
    unload();
}

/* ---- acpi= */

static void test_option(void)
{
    static const struct { const char *opts; bool there; } rows[] = {
        { "acpi=on", true }, { "acpi=auto", true }, { "acpi=off", false },
    };
    uint32_t len;

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        rig_init(r);
        r->config.machine_opts = (char *)rows[i].opts;
        rig_board(r);
        uint8_t *bytes = fw_file("etc/table-loader", &len);
        CHECK_EQ(bytes != NULL, rows[i].there);
        g_free(bytes);
        rig_free(r);
    }
    rig_init(r);
    r->config.machine_opts = (char *)"acpi=maybe";
    CHECK(rig_says(rig_try_board(r), "maybe"));
    rig_free(r);
}

/* ---- by iasl */

static const char *const dsdt_lines[] = {
    "Device (C001)", "\"ACPI0007\"", "\"RSCV0001\"", "Device (COM0)", "\"RSCV0003\"", "\"clock-frequency\"", "0x00384000",
    "ToUUID (\"daffd814-6eba-4d8c-8a91-bc9bbf4aa301\")", "Device (VR07)", "\"LNRO0005\"", "\"QEMU0002\"",
    "EisaId (\"PNP0A08\")", "0x001FFFFF", "GSI3,", "QWordMemory", "TypeTranslation", "Method (_OSC, 4, NotSerialized)",
    "Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive", "0x0000000A",
};

static void test_iasl(void)
{
    char *dir = g_dir_make_tmp("acpi-XXXXXX", NULL), *text = NULL;
    g_autofree char *in = g_build_filename(dir, "dsdt.aml", NULL), *out = g_build_filename(dir, "dsdt.dsl", NULL);
    g_autofree char *dis = g_strdup_printf("iasl -d %s >/dev/null 2>&1", in);
    g_autofree char *asl = g_strdup_printf("iasl -oa %s >%s/log 2>&1", out, dir);

    if (system("iasl -v >/dev/null 2>&1")) {
        printf("iasl is not installed: not disassembled\n");
    } else {
        load("");
        const uint8_t *t = table("DSDT");
        g_file_set_contents(in, (const char *)t, le32(t + 4), NULL);
        CHECK_EQ(system(dis), 0);
        CHECK(g_file_get_contents(out, &text, NULL, NULL));
        for (unsigned i = 0; text && i < G_N_ELEMENTS(dsdt_lines); i++) {
            if (!strstr(text, dsdt_lines[i])) {
                printf("iasl does not read: %s\n", dsdt_lines[i]);
                CHECK(!"read back");
            }
        }
        g_free(text);
        CHECK_EQ(system(asl), 0);                   /* what it reads is without mistakes, too */
        unload();
    }
    g_autofree char *rm = g_strdup_printf("rm -rf %s", dir);
    CHECK_EQ(system(rm), 0);
    g_free(dir);
}

int main(void)
{
    RUN(test_fixed);
    RUN(test_rhct);
    RUN(test_madt);
    RUN(test_option);
    RUN(test_iasl);
    return test_end();
}
