/* SPDX-License-Identifier: MIT */
/*
 * What firmware is given: files of fw_cfg and their order, files that it may write,
 * boot order and menu, -fw_cfg; flash with a store behind it.
 */
#include "hw/core/boot_order.h"
#include "hw/firm/fw_cfg.h"
#include "hw/firm/fw_items.h"
#include "system/vmcoreinfo.h"
#include "hw/misc/misc.h"
#include "tests/dev/rig.h"

#define FW     UINT64_C(0x10100000)
#define RAM    UINT64_C(0x80000000)
#define FLASH2 UINT64_C(0x8000000)              /* one of our own, where nothing else is */
#define BLOCK  UINT64_C(0x40000)

static Rig rig, *r = &rig;

/* ---- fw_cfg */

static void fw_select(uint16_t key) { wr(r, FW + 8, GUINT16_TO_BE(key), 2); }

/* The bytes of a file by the directory; NULL: it is not there. key may be NULL. */
static char *fw_file(const char *name, uint32_t *len, uint16_t *key)
{
    struct { uint32_t size; uint16_t select, reserved; char name[56]; } row;
    uint32_t n;

    fw_select(0x19);
    n = GUINT32_FROM_BE(rd32(r, FW));
    while (n--) {
        for (unsigned i = 0; i < sizeof(row); i++)
            ((uint8_t *)&row)[i] = rd(r, FW, 1);
        if (strcmp(row.name, name))
            continue;
        char *bytes = g_malloc0(GUINT32_FROM_BE(row.size) + 1);
        fw_select(GUINT16_FROM_BE(row.select));
        for (unsigned i = 0; i < GUINT32_FROM_BE(row.size); i++)
            bytes[i] = rd(r, FW, 1);
        if (len)
            *len = GUINT32_FROM_BE(row.size);
        if (key)
            *key = GUINT16_FROM_BE(row.select);
        return bytes;
    }
    return NULL;
}

static void file_is(const char *name, const char *want)
{
    char *got = fw_file(name, NULL, NULL);

    if (!want)
        CHECK(!got);
    else
        CHECK_STR(got, want);
    g_free(got);
}

/* All names in the directory's order, with the selectors. */
static char *directory(void)
{
    GString *s = g_string_new(NULL);

    fw_select(0x19);
    for (uint32_t n = GUINT32_FROM_BE(rd32(r, FW)); n; n--) {
        char row[65] = "";

        for (unsigned i = 0; i < 64; i++)
            row[i] = rd(r, FW, 1);
        g_string_append_printf(s, "%s%02x%02x:%s", s->len ? " " : "", row[4], row[5], row + 8);
    }
    return g_string_free(s, false);
}

static void with_files(const char *first, const char *second)
{
    rig_init(r);
    r->config.fw_cfgs = g_ptr_array_new();
    g_ptr_array_add(r->config.fw_cfgs, (void *)first);
    if (second)
        g_ptr_array_add(r->config.fw_cfgs, (void *)second);
}

static void end(void)
{
    if (r->config.fw_cfgs)
        g_ptr_array_free(r->config.fw_cfgs, true);
    rig_free(r);
}

static void test_user_files(void)
{
    char *path = rig_file("from\0a file", 11), *arg = g_strdup_printf("name=opt/zz,file=%s", path);
    uint32_t len = 0;

    with_files(arg, "opt/aa,string=a,,b");
    r->config.machine_opts = (char *)"acpi=off";
    r->config.uuid = (char *)"1b4e28ba-2fa1-11d2-883f-0016d3cca427";
    r->config.nographic = true;
    rig_board(r);
    char *dir = directory();
    CHECK_STR(dir, "0021:etc/boot-fail-wait 0022:etc/smbios/smbios-anchor 0023:etc/smbios/smbios-tables "
              "0024:opt/aa 0025:opt/zz");                                   /* 0x20 is bootorder, not there now */
    g_free(dir);
    file_is("opt/aa", "a,b");
    char *bytes = fw_file("opt/zz", &len, NULL);
    CHECK(len == 11 && !memcmp(bytes, "from\0a file", 11));
    g_free(bytes);
    file_is("etc/boot-fail-wait", "\xff\xff\xff\xff");
    fw_select(2);
    CHECK_EQ(rd(r, FW, 8), UINT64_C(0xd211a12fba284e1b));
    CHECK_EQ(rd(r, FW, 8), UINT64_C(0x27a4ccd316003f88));
    fw_select(4);
    CHECK_EQ(rd(r, FW, 2), 1);
    end();
    g_free(arg);
    rig_unlink(path);
}

static void refuses(const char *first, const char *second, const char *text)
{
    with_files(first, second);
    CHECK(rig_says(rig_try_board(r), text));
    end();
}

static void test_user_errors(void)
{
    char name[80] = "opt/";

    memset(name + 4, 'n', 52);
    g_autofree char *arg = g_strdup_printf("%s,string=x", name);
    refuses(arg, NULL, "1 to 55 characters");
    refuses("opt/x,string=a", "opt/x,string=b", "there already");
    refuses("opt/x", NULL, "file= or string=");
    refuses("opt/x,string=a,file=b", NULL, "file= or string=");
    refuses("opt/x,file=/nonexistent/file", NULL, "/nonexistent/file");
    refuses("string=x", NULL, "name");
    refuses("opt/x,strin=x", NULL, "string");
}

/* ---- boot order */

static void test_boot_order(void)
{
    rig_init(r);
    r->config.boot_order = (char *)"nd";
    r->config.boot_once = (char *)"d";
    r->config.boot_strict = true;
    r->config.boot_menu = true;
    r->config.boot_has_splash_time = true;
    r->config.boot_splash_time = 1234;
    rig_must(rig_try_board(r));
    rig_must(boot_order_add(r->vm, "/disk2", 7, 'c'));
    rig_must(boot_order_add(r->vm, "/cd", -1, 'd'));
    rig_must(boot_order_add(r->vm, "/disk1", 2, 'c'));
    rig_must(boot_order_add(r->vm, "/net", -1, 'n'));
    rig_must(boot_order_add(r->vm, "/disk0", -1, 'c'));
    CHECK(rig_says(boot_order_add(r->vm, "/x", 7, 'c'), "bootindex=7 is taken: '/disk2' has it"));
    vm_reset(r->vm);
    file_is("bootorder", "/cd\n/disk1\n/disk2\n/net\nHALT");
    uint32_t len = 0;
    g_free(fw_file("bootorder", &len, NULL));
    CHECK_EQ(len, sizeof("/cd\n/disk1\n/disk2\n/net\nHALT"));             /* with the zero */
    file_is("etc/boot-menu-wait", "\xd2\x04");
    fw_select(0xe);
    CHECK_EQ(rd(r, FW, 2), 1);
    vm_reset(r->vm);                                                        /* once is over */
    file_is("bootorder", "/disk1\n/disk2\n/net\n/cd\nHALT");
    boot_order_remove(r->vm, "/disk1");
    boot_order_remove(r->vm, "/net");
    boot_order_remove(r->vm, "/never");
    rig_must(boot_order_add(r->vm, "/new", 2, 'c'));
    file_is("bootorder", "/disk1\n/disk2\n/net\n/cd\nHALT");                  /* until the next reset */
    vm_reset(r->vm);
    file_is("bootorder", "/new\n/disk2\n/cd\nHALT");
    rig_free(r);
}

/* Devices on buses are found without being told of. */
static void test_device_paths(void)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    r->config.boot_order = (char *)"n";
    g_ptr_array_add(r->config.devices, (void *)"virtio-net-device");
    g_ptr_array_add(r->config.devices, (void *)"pcie-root-port,id=p,addr=5");
    g_ptr_array_add(r->config.devices, (void *)"virtio-net-pci,bus=p,bootindex=3");
    g_ptr_array_add(r->config.devices, (void *)"virtio-net-pci,addr=7.1,multifunction=on,bootindex=1");
    rig_board(r);
    file_is("bootorder", "/pci@i0cf8/ethernet@7,1/ethernet-phy@0\n/pci@i0cf8/pci-bridge@5/ethernet@0/ethernet-phy@0\n"
            "/virtio-mmio@0000000010008000/ethernet-phy@0");
    rig_free(r);
    g_ptr_array_free(r->config.devices, true);
}

static void test_no_boot_order(void)
{
    rig_init(r);
    rig_board(r);
    file_is("bootorder", NULL);
    rig_must(boot_order_add(r->vm, "/disk", 0, 'c'));
    vm_reset(r->vm);
    file_is("bootorder", "/disk");
    boot_order_remove(r->vm, "/disk");
    vm_reset(r->vm);
    file_is("bootorder", NULL);
    rig_free(r);
}

/* ---- writing */

static uint32_t dma(uint32_t control, uint32_t len, uint64_t addr)
{
    uint32_t head[2] = { GUINT32_TO_BE(control), GUINT32_TO_BE(len) };
    uint64_t be = GUINT64_TO_BE(addr);

    CHECK_EQ(space_write(r->vm->mem, RAM, head, 8), MEM_OK);
    CHECK_EQ(space_write(r->vm->mem, RAM + 8, &be, 8), MEM_OK);
    wr(r, FW + 16, GUINT64_TO_BE(RAM), 8);
    CHECK_EQ(space_read(r->vm->mem, RAM, head, 4), MEM_OK);
    return GUINT32_FROM_BE(head[0]);
}

static unsigned writes;
static char written[16];

static void on_write(void *opaque, const uint8_t *bytes, uint32_t len)
{
    CHECK(opaque == &writes);
    CHECK_EQ(len, 6);
    memcpy(written, bytes, len);
    writes++;
}

static FwCfg *with_board(void)
{
    FwCfg *f = NULL;

    rig_init(r);
    rig_must(rig_try_board(r));
    for (Device *d = machine_of(r->vm)->devices; d; d = d->next)
        if (!strcmp(d->cls->name, "fw_cfg_mem"))
            f = (FwCfg *)d;
    return f;
}

static void test_writable(void)
{
    enum { SELECT = 8, WRITE = 16, SKIP = 4, READ = 2 };
    uint16_t key = 0;
    FwCfg *f = with_board();

    rig_must(fw_cfg_add_writable_file(f, "etc/w", "abcdef", 6, on_write, &writes));
    rig_must(fw_cfg_add_file(f, "etc/r", "abcdef", 6));
    vm_reset(r->vm);
    g_free(fw_file("etc/w", NULL, &key));
    CHECK_EQ(space_write(r->vm->mem, RAM + 0x100, "12345678", 8), MEM_OK);
    CHECK_EQ(dma((uint32_t)key << 16 | SELECT | WRITE, 3, RAM + 0x100), 0);
    CHECK_EQ(writes, 1);
    CHECK_STR(written, "123def");
    CHECK_EQ(dma(SKIP, 1, 0), 0);
    CHECK_EQ(dma(WRITE, 2, RAM + 0x100), 0);
    CHECK_STR(written, "123d12");
    CHECK_EQ(dma(WRITE, 1, RAM + 0x100), 1);                                /* behind the end */
    CHECK_EQ(dma((uint32_t)key << 16 | SELECT | WRITE, 7, RAM + 0x100), 1); /* longer than it is: nothing of it */
    CHECK_EQ(dma((uint32_t)key << 16 | SELECT | WRITE, UINT32_MAX, RAM + 0x100), 1);
    CHECK_EQ(dma((uint32_t)key << 16 | SELECT | WRITE, 2, 0x5000000), 1);   /* no memory there */
    CHECK_EQ(dma((uint32_t)key << 16 | SELECT | READ | WRITE, 2, RAM + 0x200), 0);   /* reading comes first */
    CHECK_EQ(writes, 2);
    file_is("etc/w", "123d12");
    g_free(fw_file("etc/r", NULL, &key));
    CHECK_EQ(dma((uint32_t)key << 16 | SELECT | WRITE, 1, RAM + 0x100), 1);
    file_is("etc/r", "abcdef");
    CHECK_EQ(dma(0x0019 << 16 | SELECT | WRITE, 1, RAM + 0x100), 1);
    CHECK_EQ(dma(0x3fff << 16 | SELECT | WRITE, 0, RAM + 0x100), 1);
    rig_free(r);
}

/* A guest that says where its crash note is; one that lies is not believed. */
static void tells(const char *name, uint32_t size, uint32_t text_size, const char *want)
{
    uint8_t note[64] = { 11, 0, 0, 0, text_size & 0xff, text_size >> 8 & 0xff, text_size >> 16 & 0xff, text_size >> 24 };
    const struct { uint16_t host, guest; uint32_t size; uint64_t addr; } said = { 1, GUINT16_TO_LE(1), GUINT32_TO_LE(size),
                                                                                  GUINT64_TO_LE(RAM + 0x1000) };
    uint16_t key = 0;

    memcpy(note + 12, name, strlen(name));
    memcpy(note + 24, "OSRELEASE=1", 11);
    CHECK_EQ(space_write(r->vm->mem, RAM + 0x1000, note, sizeof(note)), MEM_OK);
    CHECK_EQ(space_write(r->vm->mem, RAM + 0x100, &said, sizeof(said)), MEM_OK);
    g_free(fw_file("etc/vmcoreinfo", NULL, &key));
    CHECK_EQ(dma((uint32_t)key << 16 | 8 | 16, sizeof(said), RAM + 0x100), 0);
    g_autofree char *text = vmcoreinfo_find(r->vm);
    CHECK_STR(text ? text : "none", want);
}

static void test_vmcoreinfo(void)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)"vmcoreinfo");
    rig_must(rig_try_board(r));
    vm_reset(r->vm);
    uint32_t len = 0;
    g_autofree char *file = fw_file("etc/vmcoreinfo", &len, NULL);
    CHECK_EQ(len, 16);
    CHECK(file && !memcmp(file, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16));      /* it understands ELF notes */
    tells("VMCOREINFO", 24 + 11, 11, "OSRELEASE=1");
    tells("VMCOREINFO", 24 + 9, 11, "OSRELEASE");           /* the text ends with the note */
    tells("VMCOREINFO", 24 + 11, UINT32_MAX, "OSRELEASE=1");
    tells("VMCOREINFX", 24 + 11, 11, "none");
    tells("VMCOREINFO", 20, 11, "none");
    tells("VMCOREINFO", UINT32_MAX, 11, "none");
    tells("VMCOREINFO", 24 + 11, 11, "OSRELEASE=1");
    vm_reset(r->vm);
    CHECK(!vmcoreinfo_find(r->vm));                         /* the kernel that said it is no more */
    g_ptr_array_free(r->config.devices, true);
    r->config.devices = NULL;
    rig_free(r);
}

/* -kernel with its kin, for firmware that loads them itself: lengths are little-endian numbers. */
static void test_kernel(void)
{
    char *kernel = rig_file("kernel\0!", 8), *initrd = rig_file("initrd", 6), got[8] = "";
    static const struct { uint16_t size_key, data_key; const char *bytes; uint32_t len; } items[] = {
        { 0x08, 0x11, "kernel\0!", 8 }, { 0x0b, 0x12, "initrd", 6 }, { 0x14, 0x15, "quiet", 6 },
    };
    FwCfg *f = with_board();
    const VmConfig c = { .kernel = kernel, .initrd = initrd, .append = (char *)"quiet" };
    const VmConfig wrong = { .kernel = (char *)"/nowhere/kernel" };

    CHECK(rig_says(fw_items_add_kernel(f, &wrong, 64), "-kernel"));
    CHECK(rig_says(fw_items_add_kernel(f, &c, 7), "-kernel"));
    rig_must(fw_items_add_kernel(f, &c, 8));
    for (unsigned i = 0; i < G_N_ELEMENTS(items); i++) {
        fw_select(items[i].size_key);
        CHECK_EQ(GUINT32_FROM_LE(rd32(r, FW)), items[i].len);
        fw_select(items[i].data_key);
        for (uint32_t n = 0; n < items[i].len; n++)
            got[n] = (char)rd(r, FW, 1);
        CHECK(!memcmp(got, items[i].bytes, items[i].len));
    }
    rig_free(r);
    rig_unlink(kernel);
    rig_unlink(initrd);
}

/* ---- flash */

typedef struct Store { uint8_t bytes[2 * BLOCK]; unsigned writes, freed; uint64_t off, len; int fail; } Store;
static Store store;

static int store_read(void *opaque, uint64_t off, void *bytes, uint64_t len)
{
    memcpy(bytes, ((Store *)opaque)->bytes + off, len);
    return 0;
}

static int store_write(void *opaque, uint64_t off, const void *bytes, uint64_t len)
{
    Store *s = opaque;

    s->writes++;
    s->off = off;
    s->len = len;
    if (!s->fail)
        memcpy(s->bytes + off, bytes, len);
    return s->fail;
}

static void store_free(void *opaque) { ((Store *)opaque)->freed++; }

static void cmd(uint64_t at, uint8_t c) { wr32(r, at, c | (uint32_t)c << 16); }

static Err *make_flash(bool readonly, uint64_t size)
{
    FlashStore s = { .opaque = &store, .size = size, .readonly = readonly, .read = store_read, .write = store_write,
                     .free = store_free };

    memset(&store, 0, sizeof(store));
    memset(store.bytes + BLOCK, 0x5a, BLOCK);
    rig_init(r);
    rig_must(rig_try_board(r));
    space_edit(r->vm->mem);
    Err *e = cfi_flash_make(r->vm, "test.flash", FLASH2, 2 * BLOCK, &s);
    space_commit(r->vm->mem);
    vm_reset(r->vm);
    return e;
}

static void test_flash_store(void)
{
    rig_must(make_flash(false, 2 * BLOCK));
    CHECK_EQ(rd32(r, FLASH2), 0);
    CHECK_EQ(rd32(r, FLASH2 + BLOCK), 0x5a5a5a5a);
    cmd(FLASH2 + 100, 0x20);
    cmd(FLASH2 + 100, 0xd0);
    CHECK_EQ(store.writes, 1);
    CHECK(store.off == 0 && store.len == BLOCK && store.bytes[BLOCK - 1] == 0xff && store.bytes[BLOCK] == 0x5a);
    cmd(FLASH2, 0x40);
    wr32(r, FLASH2 + 8, 0x11223344);
    CHECK(store.writes == 2 && store.off == 8 && store.len == 4 && store.bytes[8] == 0x44);

    /* By the buffer: one write, of what came. */
    cmd(FLASH2 + 0x100, 0xe8);
    cmd(FLASH2 + 0x100, 31);
    for (int i = 31; i >= 0; i--)                               /* in any order */
        wr32(r, FLASH2 + 0x100 + 4 * i, i);
    cmd(FLASH2 + 0x100, 0xd0);
    CHECK_EQ(rd32(r, FLASH2), 0x00800080);
    CHECK(store.writes == 3 && store.off == 0x100 && store.len == 128 && store.bytes[0x100 + 4 * 31] == 31);
    /* Not across what the buffer holds. */
    cmd(FLASH2 + 0x1000, 0xe8);
    wr32(r, FLASH2, 0x00010001);
    wr32(r, FLASH2 + 0x1ffc, 1);
    wr32(r, FLASH2 + 0x2000, 1);
    CHECK_EQ(rd32(r, FLASH2) & 0x10, 0x10);
    CHECK_EQ(store.writes, 3);
    cmd(FLASH2, 0x50);
    /* Its whole size. */
    cmd(FLASH2 + 0x1000, 0xe8);
    wr32(r, FLASH2, 1023);
    for (int i = 0; i < 1024; i++)
        wr32(r, FLASH2 + 0x1000 + 4 * i, i);
    cmd(FLASH2 + 0x1000, 0xd0);
    CHECK(store.writes == 4 && store.len == 4096);

    /* A store that fails: the guest is told. */
    store.fail = -ENOSPC;
    cmd(FLASH2, 0x40);
    wr32(r, FLASH2 + 12, 0);
    CHECK_EQ(rd32(r, FLASH2) & 0x10, 0x10);
    cmd(FLASH2, 0x50);
    cmd(FLASH2, 0x20);
    cmd(FLASH2, 0xd0);
    CHECK_EQ(rd32(r, FLASH2) & 0x20, 0x20);
    rig_free(r);
    CHECK_EQ(store.freed, 1);
}

static void test_flash_readonly(void)
{
    rig_must(make_flash(true, 2 * BLOCK));
    cmd(FLASH2 + BLOCK, 0x20);
    cmd(FLASH2 + BLOCK, 0xd0);
    CHECK_EQ(rd32(r, FLASH2), 0x00a000a0);
    cmd(FLASH2, 0x50);
    cmd(FLASH2, 0x40);
    wr32(r, FLASH2 + BLOCK, 0);
    CHECK_EQ(rd32(r, FLASH2), 0x00900090);
    cmd(FLASH2, 0xff);
    CHECK_EQ(rd32(r, FLASH2 + BLOCK), 0x5a5a5a5a);
    CHECK_EQ(store.writes, 0);
    rig_free(r);
}

static void test_flash_sizes(void)
{
    CHECK(rig_says(make_flash(false, BLOCK), "truncate -s 524288"));
    rig_free(r);
    CHECK_EQ(store.freed, 1);
    CHECK(rig_says(make_flash(false, 64 << 20), "test.flash has 512 KiB, and what was given for it has 64 MiB"));
    rig_free(r);
}

int main(void)
{
    RUN(test_user_files);
    RUN(test_user_errors);
    RUN(test_boot_order);
    RUN(test_no_boot_order);
    RUN(test_device_paths);
    RUN(test_writable);
    RUN(test_vmcoreinfo);
    RUN(test_kernel);
    RUN(test_flash_store);
    RUN(test_flash_readonly);
    RUN(test_flash_sizes);
    return test_end();
}
