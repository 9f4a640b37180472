/* SPDX-License-Identifier: MIT */
/*
 * Files that become memory: bounds of reading and unpacking, ELF files that lie,
 * images that overlap. Random damage prints its seed.
 */
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "hw/core/loader.h"
#include "hw/firm/riscv_boot.h"
#include "tests/unit/test.h"

static uint64_t seed;
static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static bool says(Err *e, const char *text)
{
    bool yes = e && strstr(err_text(e), text);

    if (e && !yes)
        printf("it says: %s\n", err_text(e));
    err_free(e);
    return yes;
}

/* ---- reading */

static char *file_of(const void *bytes, size_t len)
{
    char *path = NULL;
    int fd = g_file_open_tmp("loader-test-XXXXXX", &path, NULL);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        exit(1);
    close(fd);
    return path;
}

static void test_read(void)
{
    char *path = file_of("0123456789", 10), *empty = file_of("", 0);
    Blob b;

    CHECK(!file_read(path, 10, &b));
    CHECK(b.len == 10 && !memcmp(b.data, "0123456789", 10));
    blob_free(&b);
    CHECK(!file_read(path, UINT64_MAX, &b));
    CHECK_EQ(b.len, 10);
    blob_free(&b);
    CHECK(says(file_read(path, 9, &b), "it has more than the"));
    CHECK(!b.data);
    CHECK(!file_read(empty, 0, &b));
    CHECK_EQ(b.len, 0);
    blob_free(&b);
    CHECK(says(file_read("/nonexistent", 9, &b), "cannot open '/nonexistent': No such file"));
    CHECK(says(file_read("/", 9, &b), "it is a directory"));
    CHECK(says(file_read("/dev/zero", 100000, &b), "it has more than the"));
    CHECK(!file_read("/dev/null", 100, &b));
    CHECK_EQ(b.len, 0);
    blob_free(&b);
    unlink(path);
    unlink(empty);
    g_free(path);
    g_free(empty);
}

/* A pipe has no size beforehand. */
static void *feeder(void *path)
{
    uint8_t bytes[200000];
    int fd = open(path, O_WRONLY);

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = i * 7;
    for (size_t done = 0; done < sizeof(bytes);) {
        ssize_t n = write(fd, bytes + done, MIN(sizeof(bytes) - done, 1777));

        if (n <= 0)
            break;
        done += n;
    }
    close(fd);
    return NULL;
}

static void test_pipe(void)
{
    char *dir = g_dir_make_tmp("loader-test-XXXXXX", NULL), *path = g_strdup_printf("%s/p", dir);
    pthread_t t;
    Blob b;

    if (mkfifo(path, 0600))
        exit(1);
    pthread_create(&t, NULL, feeder, path);
    CHECK(!file_read(path, 200000, &b));
    pthread_join(t, NULL);
    CHECK_EQ(b.len, 200000);
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] != (uint8_t)(i * 7))
            test_case_bad++;
    blob_free(&b);
    unlink(path);
    rmdir(dir);
    g_free(path);
    g_free(dir);
}

/* ---- gzip */

static Blob gzip(const void *bytes, size_t len)
{
    z_stream z = { 0 };
    Blob out = { g_malloc(len + 1000), 0 };

    deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
    z.next_in = (Bytef *)bytes;
    z.avail_in = len;
    z.next_out = out.data;
    z.avail_out = len + 1000;
    deflate(&z, Z_FINISH);
    out.len = z.total_out;
    deflateEnd(&z);
    return out;
}

static void test_gunzip(void)
{
    enum { LEN = 300000 };
    uint8_t *plain = g_malloc(LEN);

    for (int i = 0; i < LEN; i++)
        plain[i] = i >> 4;
    Blob b = gzip(plain, LEN);
    CHECK(!blob_gunzip(&b, LEN));
    CHECK(b.len == LEN && !memcmp(b.data, plain, LEN));
    CHECK(!blob_gunzip(&b, LEN));               /* what is not packed stays */
    CHECK_EQ(b.len, LEN);
    blob_free(&b);

    /* A bomb: 64 MiB of zeros from 64 KiB. */
    uint8_t *zeros = g_malloc0(64 << 20);
    b = gzip(zeros, 64 << 20);
    g_free(zeros);
    CHECK(b.len < 100000);
    CHECK(says(blob_gunzip(&b, 1 << 20), "unpacked it has more than the 1 MiB"));
    blob_free(&b);

    b = gzip(plain, LEN);
    b.len /= 2;
    CHECK(says(blob_gunzip(&b, LEN), "ends too early"));
    blob_free(&b);
    for (int i = 0; i < 300; i++) {
        b = gzip(plain, LEN / 100);
        for (int j = 0; j < 3; j++)
            b.data[2 + rnd() % (b.len - 2)] ^= 1 << rnd() % 8;
        err_free(blob_gunzip(&b, LEN));
        blob_free(&b);
    }
    g_free(plain);
}

/* ---- ELF */

enum { PHDRS = 3, CODE = 64 };
typedef struct ElfFile { Elf64_Ehdr h; Elf64_Phdr p[PHDRS]; uint8_t code[CODE]; } ElfFile;

static ElfFile good(void)
{
    ElfFile f = {
        .h = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
               .e_type = ET_EXEC, .e_machine = EM_RISCV, .e_version = EV_CURRENT, .e_entry = 0xffff800000001010,
               .e_phoff = sizeof(Elf64_Ehdr), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = PHDRS },
        .p = { { .p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = UINT64_MAX },     /* nobody's business */
               { .p_type = PT_LOAD, .p_offset = offsetof(ElfFile, code), .p_vaddr = 0xffff800000001000,
                 .p_paddr = 0x80001000, .p_filesz = CODE, .p_memsz = 0x1000 },
               { .p_type = PT_LOAD, .p_paddr = 0x80003000, .p_vaddr = 0xffff800000003000, .p_memsz = 0x800 } },
    };

    return f;
}

static Err *load(const ElfFile *f, size_t len, uint64_t max, ElfInfo *out)
{
    Images set = { 0 };
    Blob b = { g_memdup2(f, len ? len : 1), len };      /* on the heap, so that a sanitizer sees its end */
    Err *e = elf_load(&set, "it", &b, EM_RISCV, max, out);

    blob_free(&b);
    images_clear(&set);
    return e;
}

static void test_elf(void)
{
    ElfFile f = good();
    ElfInfo i;

    CHECK(!load(&f, sizeof(f), 0x1800, &i));
    CHECK_EQ(i.entry, 0x80001010);
    CHECK_EQ(i.low, 0x80001000);
    CHECK_EQ(i.high, 0x80003800);
    CHECK(says(load(&f, sizeof(f), 0x17ff, &i), "more memory than there is"));
    for (size_t len = 0; len < sizeof(f); len++) {
        Blob b = { (uint8_t *)&f, len };

        if (blob_is_elf(&b)) {
            Err *e = load(&f, len, 0x1800, &i);

            CHECK(e != NULL);
            err_free(e);
        }
    }
}

static void test_elf_lies(void)
{
    ElfInfo i;
#define LIE(change, text)                                           \
    do {                                                            \
        ElfFile f = good();                                         \
        change;                                                     \
        CHECK(says(load(&f, sizeof(f), 1 << 20, &i), text));        \
    } while (0)

    LIE(f.h.e_ident[EI_CLASS] = ELFCLASS32, "32-bit ELF");
    LIE(f.h.e_ident[EI_DATA] = ELFDATA2MSB, "big-endian ELF");
    LIE(f.h.e_machine = EM_X86_64, "another machine");
    LIE(f.h.e_type = ET_REL, "not one to be run");
    LIE(f.h.e_phentsize = 32, "program headers are 32 bytes");
    LIE(f.h.e_phnum = 0xffff, "reach beyond its end");
    LIE(f.h.e_phoff = sizeof(ElfFile) - 8, "reach beyond its end");
    LIE(f.h.e_phoff = UINT64_MAX - 8, "reach beyond its end");
    LIE(f.h.e_phnum = 1, "without a segment");
    LIE(f.p[1].p_filesz = 0x1001, "larger in the file");
    LIE(f.p[1].p_offset = sizeof(ElfFile) - CODE + 1, "beyond the end of the file");
    LIE(f.p[1].p_offset = UINT64_MAX, "beyond the end of the file");
    LIE(f.p[1].p_memsz = UINT64_MAX, "more memory than there is");
    LIE((f.p[1].p_memsz = 1 << 19, f.p[2].p_memsz = (1 << 19) + 1), "more memory than there is");
    LIE(f.p[2].p_paddr = UINT64_MAX - 0x100, "beyond the address space");
    LIE(f.p[2].p_paddr = 0x80001fff, "overlap in memory");
#undef LIE
}

static void test_elf_damage(void)
{
    for (int round = 0; round < 20000; round++) {
        ElfFile f = good();
        ElfInfo i;

        for (int n = 1 + rnd() % 6; n > 0; n--)
            ((uint8_t *)&f)[4 + rnd() % (offsetof(ElfFile, code) - 4)] = rnd() % 3 ? rnd() : 0xff;
        err_free(load(&f, sizeof(f) - rnd() % 100, 1 << 16, &i));
    }
}

/* ---- images */

static void test_images(void)
{
    Images set = { 0 };

    CHECK(!image_add(&set, "a", 0x1000, g_malloc0(16), 16, 0x1000));
    CHECK(!image_add(&set, "b", 0x2000, g_malloc0(16), 16, 16));
    CHECK(!image_add(&set, "nothing", 0x1000, g_malloc0(1), 0, 0));
    CHECK(says(image_add(&set, "c", 0xff8, g_malloc0(9), 9, 9), "c (0xff8-0x1000) and a (0x1000-0x1fff) overlap"));
    CHECK(!image_add(&set, "c", 0xff8, g_malloc0(8), 8, 8));
    CHECK(says(image_add(&set, "d", 0x1fff, g_malloc0(1), 1, 1), "overlap"));
    CHECK(says(image_add(&set, "e", UINT64_MAX, g_malloc0(2), 2, 2), "beyond the address space"));
    CHECK(!image_add(&set, "e", UINT64_MAX - 1, g_malloc0(2), 2, 2));
    images_clear(&set);
    images_clear(&set);
}

static void test_image_header(void)
{
    uint8_t bytes[80] = { 0 };
    Blob b = { bytes, sizeof(bytes) };
    uint64_t size;
    bool be;

    CHECK(!riscv_image_header(&b, &size, &be));
    memcpy(bytes + 56, "RSC\x05", 4);
    bytes[18] = 0x10;
    CHECK(riscv_image_header(&b, &size, &be));
    CHECK_EQ(size, 0x100000);
    CHECK(!be);
    bytes[24] = 1;
    bytes[18] = 0;
    CHECK(riscv_image_header(&b, &size, &be));
    CHECK_EQ(size, 80);                         /* it says less than it has */
    CHECK(be);
    b.len = 63;
    CHECK(!riscv_image_header(&b, &size, &be));
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0x9e3779b97f4a7c15;
    printf("seed %#" PRIx64 "\n", seed);
    RUN(test_read);
    RUN(test_pipe);
    RUN(test_gunzip);
    RUN(test_elf);
    RUN(test_elf_lies);
    RUN(test_elf_damage);
    RUN(test_images);
    RUN(test_image_header);
    return test_end();
}
