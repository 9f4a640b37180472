/* SPDX-License-Identifier: MIT */
/*
 * Items of fw_cfg that come from the command line: -uuid, -boot, -fw_cfg, and -kernel with its kin. Names
 * and forms are those that firmware knows (SeaBIOS, EDK2, U-Boot): numbers little-endian.
 */
#include "hw/firm/fw_items.h"

#include <string.h>

#include "hw/core/boot_order.h"
#include "hw/core/loader.h"
#include "util/opts.h"

#define FW_FILE_MAX (UINT64_C(256) << 20)       /* of one -fw_cfg file */

/* ---- -uuid */

/* The sixteen bytes in the order of the text. */
static void add_uuid(FwCfg *f, const char *text)
{
    uint8_t bytes[16] = { 0 };
    unsigned n = 0;

    for (const char *p = text; p && *p && n < 2 * sizeof(bytes); p++) {
        if (g_ascii_isxdigit(*p)) {
            bytes[n / 2] |= g_ascii_xdigit_value(*p) << (n & 1 ? 0 : 4);
            n++;
        }
    }
    fw_cfg_add(f, FW_CFG_UUID, bytes, sizeof(bytes));
}

/* ---- -boot */

/* At each reset; the order may have changed since. */
static uint8_t *make_bootorder(void *opaque, uint32_t *len)
{
    Vm *vm = opaque;
    Machine *m = machine_of(vm);
    char *text = boot_order_text(vm, !m->booted);

    m->booted = true;
    *len = text ? strlen(text) + 1 : 0;
    return (uint8_t *)text;
}

static Err *add_number(FwCfg *f, const char *name, int64_t val, unsigned bytes)
{
    uint64_t le = GUINT64_TO_LE((uint64_t)val);

    return fw_cfg_add_file(f, name, &le, bytes);
}

/* A picture for the boot menu. Readers go by the name, so the name goes by what it is. */
static Err *add_splash(FwCfg *f, const char *path)
{
    Blob b;

    if (!path)
        return NULL;
    TRY(err_in(file_read(path, FW_FILE_MAX, &b), "-boot splash="));
    bool jpeg = b.len > 2 && !memcmp(b.data, "\xff\xd8", 2), bmp = b.len > 2 && !memcmp(b.data, "BM", 2);
    Err *e = jpeg || bmp ? fw_cfg_add_file(f, jpeg ? "bootsplash.jpg" : "bootsplash.bmp", b.data, b.len)
                         : err(ERR_INVALID, "-boot splash=%s: it is neither a JPEG nor a BMP picture", path);
    blob_free(&b);
    return e;
}

static Err *add_boot(FwCfg *f, Vm *vm)
{
    const VmConfig *c = vm->config;

    fw_cfg_add_u16(f, FW_CFG_BOOT_MENU, c->boot_menu);
    TRY(fw_cfg_add_made_file(f, "bootorder", make_bootorder, vm));
    if (c->boot_has_splash_time)
        TRY(add_number(f, "etc/boot-menu-wait", c->boot_splash_time, 2));
    TRY(add_number(f, "etc/boot-fail-wait", c->boot_has_reboot_timeout ? c->boot_reboot_timeout : -1, 4));
    return add_splash(f, c->boot_splash);
}

/* ---- -fw_cfg */

static Err *add_user_file(FwCfg *f, const Opts *o)
{
    const char *name = opts_str(o, "name", NULL), *path = opts_str(o, "file", NULL);
    const char *text = opts_str(o, "string", NULL);
    Blob b;

    if (!path == !text)
        return err_hint(err(ERR_INVALID, "either file= or string= says what is in it"),
                        "-fw_cfg name=opt/org.example/x,file=PATH");
    if (!g_str_has_prefix(name, "opt/"))
        err_note("-fw_cfg %s: names of one's own begin with 'opt/'; others may mean something to firmware", name);
    if (text)
        return fw_cfg_add_file(f, name, text, strlen(text));
    TRY(file_read(path, FW_FILE_MAX, &b));
    Err *e = fw_cfg_add_file(f, name, b.data, b.len);
    blob_free(&b);
    return e;
}

static Err *add_user(FwCfg *f, const char *arg)
{
    static const OptDesc descs[] = {
        { "name",   OPT_STR, "of the file", .required = true },
        { "file",   OPT_STR, "its content is that file's" },
        { "string", OPT_STR, "its content, without a zero at the end" },
        { 0 }
    };
    Opts *o;

    TRY(opts_parse(arg, descs, "name", &o));
    Err *e = add_user_file(f, o);
    opts_free(o);
    return e;
}

/* ---- -kernel, -initrd, -append */

static void add_sized(FwCfg *f, uint16_t size_key, uint16_t data_key, const void *bytes, size_t len)
{
    uint32_t le = GUINT32_TO_LE((uint32_t)len);

    fw_cfg_add(f, size_key, &le, sizeof(le));
    fw_cfg_add(f, data_key, bytes, (uint32_t)len);
}

static Err *add_sized_file(FwCfg *f, uint16_t size_key, uint16_t data_key, const char *path, bool gunzip, uint64_t most)
{
    Blob b;

    most = MIN(most, UINT32_MAX);
    TRY(file_read(path, most, &b));
    Err *e = gunzip ? err_in(blob_gunzip(&b, most), "file '%s'", path) : NULL;
    if (!e)
        add_sized(f, size_key, data_key, b.data, b.len);
    blob_free(&b);
    return e;
}

Err *fw_items_add_kernel(FwCfg *f, const VmConfig *c, uint64_t most)
{
    if (c->kernel)
        TRY(err_in(add_sized_file(f, FW_CFG_KERNEL_SIZE, FW_CFG_KERNEL_DATA, c->kernel, true, most), "-kernel"));
    if (c->initrd)
        TRY(err_in(add_sized_file(f, FW_CFG_INITRD_SIZE, FW_CFG_INITRD_DATA, c->initrd, false, most), "-initrd"));
    if (c->append)
        add_sized(f, FW_CFG_CMDLINE_SIZE, FW_CFG_CMDLINE_DATA, c->append, strlen(c->append) + 1);
    return NULL;
}

Err *fw_items_add(FwCfg *f, Vm *vm)
{
    const VmConfig *c = vm->config;

    add_uuid(f, c->uuid);
    fw_cfg_add_u16(f, FW_CFG_NOGRAPHIC, c->nographic);
    TRY(add_boot(f, vm));
    for (guint i = 0; c->fw_cfgs && i < c->fw_cfgs->len; i++)
        TRY(err_in(add_user(f, c->fw_cfgs->pdata[i]), "-fw_cfg %s", (char *)c->fw_cfgs->pdata[i]));
    return NULL;
}
