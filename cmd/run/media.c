/* SPDX-License-Identifier: MIT */
/*
 * Looks into a file: kernels by their headers (ELF; Linux's Image headers for
 * RISC-V and Arm, its x86 boot protocol), disks by their partition table (UEFI
 * 2.10 section 5, the Discoverable Partitions Specification) and EFI boot
 * loaders, ISOs by theirs.
 */
#include "cmd/run/media.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "util/co.h"
#include "util/path.h"

enum { GPT_MOST = 256, GPT_ENTRY_MOST = 4096 };

bool media_read(const MediaReader *r, uint64_t off, void *buf, uint64_t len)
{
    return len <= r->size && off <= r->size - len && !disk_read(r->disk, off, &IOV_BUF(buf, len), 0);
}

const char *efi_loader_isa(const char *name)
{
    static const char *const names[][2] = {
        { "BOOTRISCV64.EFI", "riscv64" }, { "BOOTAA64.EFI", "aarch64" }, { "BOOTX64.EFI", "x86_64" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        if (!g_ascii_strcasecmp(name, names[i][0]))
            return names[i][1];
    return NULL;
}

/* ---- kernels */

static bool kernel_isa(const uint8_t *b, size_t n, Media *m)
{
    if (n >= 20 && !memcmp(b, ELFMAG, SELFMAG)) {
        unsigned machine = b[18] | b[19] << 8;

        m->isa = machine == EM_RISCV ? "riscv64" : machine == EM_AARCH64 ? "aarch64" : machine == EM_X86_64 ? "x86_64" : NULL;
        m->why = "its ELF header says so";
        return true;
    }
    m->why = "it is a Linux kernel of that kind";
    if (n >= 64 && !memcmp(b + 56, "RSC\x05", 4))
        m->isa = "riscv64";
    else if (n >= 64 && !memcmp(b + 56, "ARM\x64", 4))
        m->isa = "aarch64";
    else if (n >= 0x206 && !memcmp(b + 0x202, "HdrS", 4))
        m->isa = "x86_64";
    return m->isa != NULL;
}

/* The file's own first bytes; *is_kernel. */
static Err *look_at_file(const char *path, Media *m, bool *is_kernel)
{
    uint8_t b[1024];
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return err_path(errno, path, "cannot open '%s'", path);
    ssize_t n = read(fd, b, sizeof(b));
    int error = errno;
    close(fd);
    if (n < 0)
        return err_path(error, path, "cannot read '%s'", path);
    *is_kernel = kernel_isa(b, (size_t)n, m);
    return NULL;
}

/* ---- disks */

static void found_loader(void *opaque, const char *name)
{
    Media *m = opaque;
    const char *isa = efi_loader_isa(name);

    if (!isa)
        return;
    m->efi = m->bootable = true;
    if (!m->isa) {
        m->isa = isa;
        m->why = "of the EFI boot loader on it";
    }
}

/* Partition types as they lie on the disk: the first three fields are little-endian. */
static const char *root_isa(const uint8_t type[16])
{
    static const struct { uint8_t type[16]; const char *isa; } roots[] = {
        { { 0xa6, 0x70, 0xec, 0x72, 0x74, 0xcf, 0xe6, 0x40, 0xbd, 0x49, 0x4b, 0xda, 0x08, 0xe8, 0xf2, 0x24 }, "riscv64" },
        { { 0x45, 0xb0, 0x21, 0xb9, 0xf0, 0x1d, 0xc3, 0x41, 0xaf, 0x44, 0x4c, 0x6f, 0x28, 0x0d, 0x3f, 0xae }, "aarch64" },
        { { 0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09 }, "x86_64" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(roots); i++)
        if (!memcmp(type, roots[i].type, 16))
            return roots[i].isa;
    return NULL;
}

static uint64_t le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;

    while (n--)
        v = v << 8 | p[n];
    return v;
}

static bool look_at_gpt(const MediaReader *r, Media *m, unsigned sector)
{
    static const uint8_t esp[16] = { 0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b };
    uint8_t b[512], e[128];

    if (!media_read(r, sector, b, sizeof(b)) || memcmp(b, "EFI PART", 8))
        return false;
    uint64_t table = le(b + 72, 8);
    uint32_t count = MIN(le(b + 80, 4), GPT_MOST), size = le(b + 84, 4);
    m->bootable = true;
    if (size < sizeof(e) || size > GPT_ENTRY_MOST || table > r->size / sector)
        return true;
    for (uint32_t i = 0; i < count && media_read(r, table * sector + (uint64_t)i * size, e, sizeof(e)); i++) {
        uint64_t first = le(e + 32, 8), last = le(e + 40, 8);

        if (last < first || last >= r->size / sector)
            continue;
        if (!m->isa && root_isa(e)) {
            m->isa = root_isa(e);
            m->why = "of its root partition's type";
        }
        if (!memcmp(e, esp, 16))
            fat_list_boot(r, first * sector, (last - first + 1) * sector, found_loader, m);
    }
    return true;
}

static void look_at_mbr(const MediaReader *r, Media *m)
{
    uint8_t b[512];

    if (!media_read(r, 0, b, sizeof(b)) || b[510] != 0x55 || b[511] != 0xaa)
        return;
    fat_list_boot(r, 0, r->size, found_loader, m);          /* a file system without partitions */
    for (unsigned i = 446; i < 510; i += 16) {
        uint64_t first = le(b + i + 8, 4) * 512, len = le(b + i + 12, 4) * 512;

        if (!b[i + 4] || first >= r->size || len > r->size - first)
            continue;
        m->bootable = true;
        fat_list_boot(r, first, len, found_loader, m);
    }
}

static void look_at_disk(const MediaReader *r, Media *m)
{
    uint8_t b[6];

    if (media_read(r, 16 * 2048, b, sizeof(b)) && !memcmp(b + 1, "CD001", 5)) {
        m->kind = MEDIA_ISO;
        m->bootable = true;
        iso_list_boot(r, found_loader, m);
    }
    if (!look_at_gpt(r, m, 512) && !look_at_gpt(r, m, 4096))
        look_at_mbr(r, m);
}

/* ---- as a whole */

typedef struct Look { const char *path; Media *m; BlockGraph *graph; Err *e; } Look;

static void look(void *opaque)
{
    Look *l = opaque;
    json_t *options = NULL;
    Disk *d = NULL;

    l->e = options_from_name(l->path, NULL, &options);
    if (!l->e)
        l->e = disk_open(l->graph, options, OPEN_FORCE_SHARE, "look", &d);
    if (!l->e) {
        MediaReader r = { d, disk_size(d) };

        g_strlcpy(l->m->format, node_format(disk_node(d)), sizeof(l->m->format));
        l->m->size = r.size;
        look_at_disk(&r, l->m);
    }
    disk_free(d);
    json_decref(options);
}

Err *media_look(const char *path, Media *out)
{
    Look l = { .path = path, .m = out };
    bool is_kernel = false;
    Loop *loop;

    *out = (Media){ .kind = MEDIA_DISK };
    if (!strstr(path, "://"))
        TRY(look_at_file(path, out, &is_kernel));
    if (is_kernel) {
        out->kind = MEDIA_KERNEL;
        return NULL;
    }
    out->why = NULL;
    TRY(loop_new(0, &loop));
    l.graph = graph_new(loop);
    co_run(loop, look, &l);
    graph_free(l.graph);
    loop_free(loop);
    return l.e;
}
