/* SPDX-License-Identifier: MIT */
/*
 * Files that become a machine's memory: the whole `virt` board is made with one,
 * and reset. Compiled once for each kind, -DFUZZ_KIND=...
 *
 *   KERNEL    -kernel, as ELF, Image, gzip
 *   FIRMWARE  -bios
 *   DTB       -dtb, with a kernel, an initrd and -append, which patch it
 *   INITRD    sizes: 8 bytes how long it is, 1 byte MiB of RAM, 8 bytes how long the kernel is
 *   LOADER    -device loader: a line of options, then the file
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"

enum { KERNEL, FIRMWARE, DTB, INITRD, LOADER };

/* Makes the board and loads what it was given, twice, since a reset must find all as before. */
static void make(Rig *r)
{
    Err *e = rig_try_board(r);

    if (!e) {
        vm_reset(r->vm);
        vm_reset(r->vm);
    }
    fuzz_error(e);
}

static void small_kernel(Rig *r, int *fd, char path[32])
{
    static const uint8_t code[64] = { 0x13 };

    *fd = fuzz_file(code, sizeof(code), path);
    r->config.kernel = path;
}

static void with_file(Rig *r, int kind, char *path, char *kernel, int *kernel_fd)
{
    switch (kind) {
    case KERNEL:
        r->config.kernel = path;
        break;
    case FIRMWARE:
        r->config.bios = path;
        break;
    case DTB:
        small_kernel(r, kernel_fd, kernel);
        r->config.initrd = kernel;
        r->config.append = (char *)"console=ttyS0 a=b";
        r->config.dtb = path;
        break;
    }
}

/* A file of that many bytes without their being anywhere. */
static int sparse(uint64_t size, char path[32])
{
    int fd = fuzz_file("", 0, path);

    if (ftruncate(fd, MIN(size, (uint64_t)INT64_MAX)) < 0 && ftruncate(fd, 4096) < 0)
        abort();
    return fd;
}

static void initrd_sizes(Rig *r, const uint8_t *data, size_t size)
{
    char initrd[32], kernel[32];
    uint64_t n[2] = { 0, 0 };
    int fds[2];

    if (size < 17)
        return;
    memcpy(&n[0], data, 8);
    memcpy(&n[1], data + 9, 8);
    r->config.ram_size = (uint64_t)(1 + data[8] % 8) << 20;
    fds[0] = sparse(n[0], initrd);
    fds[1] = sparse(n[1], kernel);
    r->config.initrd = initrd;
    r->config.kernel = kernel;
    make(r);
    close(fds[0]);
    close(fds[1]);
}

static void loader(Rig *r, const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    char path[32];

    if (!end)
        return;
    char *options = fuzz_text(data, end - data);
    int fd = fuzz_file(end + 1, data + size - (end + 1), path);

    /* Only the file that is ours. */
    if (!strstr(options, "file") && !strchr(options, '/')) {
        char *arg = g_strdup_printf("loader,%s%s%s", options, *options ? ",file=" : "file=", path);

        r->config.devices = g_ptr_array_new();
        g_ptr_array_add(r->config.devices, arg);
        make(r);
        g_ptr_array_free(r->config.devices, TRUE);
        r->config.devices = NULL;
        g_free(arg);
    }
    g_free(options);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32], kernel[32];
    int fd, kernel_fd = -1;
    Rig r;

    rig_init(&r);
    r.config.ram_size = 8 << 20;
    if (FUZZ_KIND == INITRD) {
        initrd_sizes(&r, data, size);
    } else if (FUZZ_KIND == LOADER) {
        loader(&r, data, size);
    } else {
        fd = fuzz_file(data, size, path);
        with_file(&r, FUZZ_KIND, path, kernel, &kernel_fd);
        make(&r);
        close(fd);
    }
    if (kernel_fd >= 0)
        close(kernel_fd);
    rig_free(&r);
    return 0;
}
