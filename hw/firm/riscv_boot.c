/* SPDX-License-Identifier: MIT */
/*
 * Booting RISC-V machines: SBI firmware gets control in M-mode with a0 = hart
 * id, a1 = device tree, a2 = struct fw_dynamic_info (OpenSBI,
 * docs/firmware/fw_dynamic.md), which says where the kernel is. Code in flash (UEFI, say) takes
 * the kernel's place: OpenSBI starts it, and it finds the kernel in fw_cfg, if there is one. With -bios none
 * the boot ROM jumps to the kernel in memory, or else to the flash.
 *
 * Places: firmware at the start of RAM; the kernel at the next multiple of
 * 2 MiB (Linux, Documentation/riscv/boot.rst); the initrd half of RAM, but at
 * most 128 MiB, behind the kernel's start; the tree at the end of RAM below 3 GiB.
 */
#include "hw/firm/riscv_boot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "hw/core/loader.h"
#include "hw/firm/fw_items.h"
#include "util/path.h"
#include "util/str.h"

#define MIB (UINT64_C(1) << 20)
#define ALIGN_UP(x, to) (((x) + (to) - 1) & ~((to) - 1))

/* ---- firmware */

/* Where Debian and others put OpenSBI, and our own data folders. */
static GPtrArray *firmware_places(void)
{
    GPtrArray *places = g_ptr_array_new_with_free_func(g_free);
    const char *own = g_getenv("LYRE_DATA");
    g_auto(GStrv) dirs = g_strsplit(own ? own : "", ":", -1);

    for (char **d = dirs; *d; d++) {
        if (**d)
            g_ptr_array_add(places, g_build_filename(*d, "opensbi-riscv64-generic-fw_dynamic.bin", NULL));
    }
    g_ptr_array_add(places, g_strdup(LYRE_PREFIX "/share/lyre/opensbi-riscv64-generic-fw_dynamic.bin"));
    g_ptr_array_add(places, g_strdup("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"));
    g_ptr_array_add(places, g_strdup("/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin"));
    g_ptr_array_add(places, g_strdup("/usr/share/opensbi/lp64/generic/firmware/fw_dynamic.bin"));
    return places;
}

static Err *find_firmware(char **out)
{
    g_autoptr(GPtrArray) places = firmware_places();
    g_autoptr(GString) looked = g_string_new(NULL);

    for (guint i = 0; i < places->len; i++) {
        const char *path = g_ptr_array_index(places, i);

        if (g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
            *out = g_strdup(path);
            return NULL;
        }
        g_string_append_printf(looked, "\n  %s", path);
    }
    return err_hint(err(ERR_NOT_FOUND, "the default firmware (OpenSBI) is not installed; looked for:%s", looked->str),
                    "apt install opensbi   brings it; -bios FILE names another, -bios none does without.");
}

static Err *load_firmware_file(RiscvBoot *b, const char *path)
{
    Images *set = &b->m->images;
    Blob blob;

    TRY(file_read(path, b->ram_size, &blob));
    if (blob_is_elf(&blob)) {
        ElfInfo elf = { 0 };
        Err *e = elf_load(set, "the firmware", &blob, b->m->board->elf_machine, b->ram_size, &elf);

        blob_free(&blob);
        b->start = elf.entry;
        b->firmware_end = elf.high;
        return err_in(e, "file '%s'", path);
    }
    Err *e = blob_refuse_known(&blob);
    if (e) {
        blob_free(&blob);
        return err_in(e, "file '%s'", path);
    }
    b->start = b->ram;
    b->firmware_end = b->ram + blob.len;
    return image_add(set, "the firmware", b->ram, blob.data, blob.len, blob.len);
}

static Err *load_firmware(RiscvBoot *b)
{
    const char *bios = b->m->vm->config->bios;
    g_autofree char *path = NULL;

    b->start = b->firmware_end = b->ram;
    if (bios && !strcmp(bios, "none"))
        return NULL;
    if (!bios || !strcmp(bios, "default"))
        TRY(find_firmware(&path));
    else
        path = g_strdup(bios);
    Err *e = load_firmware_file(b, path);
    const char *word = nearest_name(path, (const char *const[]){ "none", "default", NULL });
    return word ? err_hint(e, "Without a file there is -bios %s.", word) : e;
}

/* ---- kernel */

bool riscv_image_header(const Blob *b, uint64_t *size, bool *big_endian)
{
    uint64_t flags;

    if (b->len < 64 || memcmp(b->data + 56, "RSC\x05", 4))
        return false;
    memcpy(size, b->data + 16, sizeof(*size));
    memcpy(&flags, b->data + 24, sizeof(flags));
    *big_endian = flags & 1;
    if (*size < b->len)
        *size = b->len;
    return true;
}

static Err *place_kernel(RiscvBoot *b, Blob *blob)
{
    Images *set = &b->m->images;
    uint64_t size = blob->len;
    bool big_endian = false;

    if (blob_is_elf(blob)) {
        ElfInfo elf = { 0 };
        Err *e = elf_load(set, "the kernel", blob, b->m->board->elf_machine, b->ram_size, &elf);

        blob_free(blob);
        b->kernel = elf.entry;
        b->kernel_end = elf.high;
        return e;
    }
    Err *e = riscv_image_header(blob, &size, &big_endian) ? NULL : blob_refuse_known(blob);
    if (big_endian)
        e = err_hint(err(ERR_UNSUPPORTED, "it is a big-endian kernel"), "Build it without CONFIG_CPU_BIG_ENDIAN.");
    if (e) {
        blob_free(blob);
        return e;
    }
    b->kernel = ALIGN_UP(b->firmware_end, 2 * MIB);
    if (b->kernel - b->ram > b->ram_size || size > b->ram_size - (b->kernel - b->ram)) {
        blob_free(blob);
        return err_hint(err(ERR_INVALID, "the kernel needs %" PRIu64 " bytes from %#" PRIx64 ", and RAM ends at %#"
                            PRIx64, size, b->kernel, b->ram + b->ram_size), "A larger -m gives it room.");
    }
    b->kernel_end = b->kernel + size;
    return image_add(set, "the kernel", b->kernel, blob->data, blob->len, size);
}

static Err *load_kernel(RiscvBoot *b)
{
    const char *path = b->m->vm->config->kernel;
    Blob blob;

    if (!path)
        return NULL;
    TRY(file_read(path, b->ram_size, &blob));
    Err *e = blob_gunzip(&blob, b->ram_size);
    if (e)
        blob_free(&blob);
    else
        e = place_kernel(b, &blob);
    return err_in(e, "file '%s'", path);
}

static Err *load_initrd(RiscvBoot *b)
{
    const char *path = b->m->vm->config->initrd;
    Blob blob;

    if (!path)
        return NULL;
    TRY(file_read(path, b->ram_size, &blob));
    uint64_t at = MAX(b->kernel + MIN(b->ram_size / 2, 128 * MIB), ALIGN_UP(b->kernel_end, 2 * MIB));
    if (at - b->ram > b->ram_size || blob.len > b->ram_size - (at - b->ram)) {
        Err *e = err_hint(err(ERR_INVALID, "file '%s': its %zu bytes from %#" PRIx64 " on do not fit: RAM ends at %#"
                              PRIx64, path, blob.len, at, b->ram + b->ram_size), "A larger -m gives it room.");
        blob_free(&blob);
        return e;
    }
    b->initrd = at;
    b->initrd_end = at + blob.len;
    return image_add(&b->m->images, "the initrd", at, blob.data, blob.len, blob.len);
}

/* Where the firmware jumps: to a kernel in memory, or to code in flash. */
static Err *load_payload(RiscvBoot *b, bool bios_none)
{
    const VmConfig *config = b->m->vm->config;

    if (config->append && !config->kernel)
        return err(ERR_INVALID, "-append needs a -kernel that it is for");
    if (config->initrd && !config->kernel)
        return err(ERR_INVALID, "-initrd needs a -kernel that it is for");
    if (b->flash && !bios_none) {
        b->kernel = b->flash;
        return fw_items_add_kernel(b->fw_cfg, config, b->ram_size);
    }
    TRY(err_in(load_kernel(b), "-kernel"));
    TRY(err_in(load_initrd(b), "-initrd"));
    if (!b->kernel)
        b->kernel = b->flash;
    return NULL;
}

Err *riscv_boot_files(RiscvBoot *b)
{
    const char *bios = b->m->vm->config->bios;
    bool none = bios && !strcmp(bios, "none");

    TRY(err_in(load_firmware(b), "-bios"));
    TRY(load_payload(b, none));
    /* Without firmware the boot ROM jumps to the kernel itself. */
    if (none && b->kernel)
        b->start = b->kernel;
    return NULL;
}

/* ---- device tree */

enum { SEED_SIZE = 32 };

/* -dtb's tree in place of the board's. */
static Err *read_tree(RiscvBoot *b, Fdt *tree, const char *path)
{
    Blob blob;

    TRY(file_read(path, b->ram_size, &blob));
    Fdt own;
    Err *e = fdt_open_blob(&own, blob.data, blob.len, 4096);
    blob_free(&blob);
    if (e) {
        fdt_free(&own);
        return err_in(e, "file '%s'", path);
    }
    fdt_free(tree);
    *tree = own;
    return NULL;
}

static void patch_chosen(const RiscvBoot *b, Fdt *tree)
{
    const char *append = b->m->vm->config->append;
    uint8_t seed[SEED_SIZE];

    if (append)
        fdt_chosen_text(tree, "bootargs", append);
    if (b->initrd_end > b->initrd) {
        fdt_chosen_u64(tree, "linux,initrd-start", b->initrd);
        fdt_chosen_u64(tree, "linux,initrd-end", b->initrd_end);
    }
    if (getrandom(seed, sizeof(seed), 0) == sizeof(seed))
        fdt_chosen(tree, "rng-seed", seed, sizeof(seed));
}

void riscv_boot_reset(Machine *m)
{
    void *tree = image_bytes(&m->images, IMAGE_DEVICE_TREE);
    uint8_t seed[SEED_SIZE];

    if (tree && getrandom(seed, sizeof(seed), 0) == sizeof(seed))
        fdt_chosen_renew(tree, "rng-seed", seed, sizeof(seed));
}

static Err *place_tree(RiscvBoot *b, Fdt *tree)
{
    uint64_t len = fdt_len(tree), end = MIN(b->ram + b->ram_size, 3072 * MIB);

    /* All of RAM may be beyond 3 GiB one day. */
    if (end <= b->ram)
        end = b->ram + b->ram_size;
    if (len > end - b->ram)
        return err(ERR_INVALID, "the device tree's %" PRIu64 " bytes do not fit into RAM", len);
    b->fdt = (end - len) & ~(2 * MIB - 1);
    if (b->fdt < b->ram)
        b->fdt = (end - len) & ~UINT64_C(7);
    uint8_t *copy = g_malloc(len);
    memcpy(copy, tree->blob, len);
    return image_add(&b->m->images, IMAGE_DEVICE_TREE, b->fdt, copy, len, len);
}

static Err *dump_tree(const RiscvBoot *b, const Fdt *tree)
{
    const char *path = b->m->vm->config->dumpdtb;
    FILE *f = path ? fopen(path, "wb") : NULL;

    if (!path)
        return NULL;
    if (!f)
        return err_path(errno, path, "dumpdtb: cannot write '%s'", path);
    size_t len = fdt_len(tree), n = fwrite(tree->blob, 1, len, f);
    if (fclose(f) || n != len)
        return err_path(errno, path, "dumpdtb: cannot write '%s'", path);
    vm_request(b->m->vm, VM_QUIT, 0);
    return NULL;
}

/* ---- boot ROM */

/* OpenSBI's struct fw_dynamic_info, version 2. */
typedef struct FwDynamicInfo { uint64_t magic, version, next_addr, next_mode, options, boot_hart; } FwDynamicInfo;
enum { FW_MAGIC = 0x4942534f, FW_VERSION = 2, FW_NEXT_S = 1 };

typedef struct BootRom {
    uint32_t code[6];
    uint64_t start, fdt;
    FwDynamicInfo info;
} BootRom;

static Err *place_rom(RiscvBoot *b)
{
    const BootRom rom = {
        .code = {
            0x00000297,             /* auipc t0, 0 */
            0x02828613,             /* addi  a2, t0, 40: &info */
            0xf1402573,             /* csrr  a0, mhartid */
            0x0202b583,             /* ld    a1, 32(t0): fdt */
            0x0182b283,             /* ld    t0, 24(t0): start */
            0x00028067,             /* jr    t0 */
        },
        .start = b->start, .fdt = b->fdt,
        .info = { FW_MAGIC, FW_VERSION, b->kernel, FW_NEXT_S, 0, 0 },
    };

    _Static_assert(offsetof(BootRom, start) == 24 && offsetof(BootRom, fdt) == 32 && offsetof(BootRom, info) == 40,
                   "the code above has these offsets in it");
    return image_add(&b->m->images, "the boot ROM", b->rom, g_memdup2(&rom, sizeof(rom)), sizeof(rom), b->rom_size);
}

static Err *finish_tree(RiscvBoot *b, Fdt *tree)
{
    const char *path = b->m->vm->config->dtb;

    if (path)
        TRY(err_in(read_tree(b, tree, path), "-dtb"));
    patch_chosen(b, tree);
    TRY(fdt_patch_finish(tree));
    TRY(dump_tree(b, tree));
    return place_tree(b, tree);
}

Err *riscv_boot_tree(RiscvBoot *b, Fdt *tree)
{
    Err *e = finish_tree(b, tree);

    fdt_free(tree);
    TRY(e);
    return place_rom(b);
}
