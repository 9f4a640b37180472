/* SPDX-License-Identifier: MIT */
/*
 * Reading and taking apart the files that become memory: raw, gzip (RFC 1952,
 * by zlib), ELF64 (System V gABI 4.1, chapters 4 and 5), RISC-V kernel images.
 */
#include "hw/core/loader.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "util/path.h"
#include "util/str.h"

enum { FIRST_PIECE = 64 * 1024 };

#define COPY_AGAIN "It may be damaged, or not be complete: copy or download it again."

void blob_free(Blob *b)
{
    g_free(b->data);
    *b = (Blob){ 0 };
}

static Err *too_large(const char *what, uint64_t max)
{
    g_autofree char *text = size_to_text(max);

    return err_hint(err(ERR_INVALID, "%s more than the %s (%" PRIu64 " bytes) that there is room for", what, text, max),
                    "A larger -m makes room, if it is the right file.");
}

/* Room for one byte more than b->len, at most max + 1 bytes in all: so that the end of the file is seen. */
static Err *grow(Blob *b, size_t *cap, uint64_t max, const char *what)
{
    if (b->len < *cap)
        return NULL;
    if (b->len > max)
        return too_large(what, max);
    uint64_t want = *cap ? *cap * UINT64_C(2) : FIRST_PIECE;
    if (want > max)
        want = max + 1;
    uint8_t *more = g_try_realloc(b->data, want);
    if (!more)
        return err(ERR_IO, "there is no host memory for %" PRIu64 " bytes of it", want);
    b->data = more;
    *cap = want;
    return NULL;
}

static Err *read_all(int fd, Blob *b, size_t cap, uint64_t max)
{
    for (;;) {
        TRY(grow(b, &cap, max, "it has"));
        ssize_t n = read(fd, b->data + b->len, cap - b->len);

        if (n == 0)
            return NULL;
        if (n > 0)
            b->len += n;
        else if (errno != EINTR)
            return err_errno(errno, "it cannot be read");
        if (b->len > max)
            return too_large("it has", max);
    }
}

/* A regular file says its size beforehand, so that it is read in one piece. */
static Err *read_fd(int fd, Blob *b, uint64_t max)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(errno, "it cannot be read");
    if (S_ISDIR(st.st_mode))
        return err_hint(err(ERR_INVALID, "it is a directory"), "Give the path of a file in it.");
    if (!S_ISREG(st.st_mode) || st.st_size < 0)
        return read_all(fd, b, 0, max);
    if ((uint64_t)st.st_size > max)
        return too_large("it has", max);
    b->data = g_try_malloc((size_t)st.st_size + 1);
    if (!b->data)
        return err(ERR_IO, "there is no host memory for its %" PRIu64 " bytes", (uint64_t)st.st_size);
    return read_all(fd, b, (size_t)st.st_size + 1, max);
}

Err *file_read(const char *path, uint64_t max, Blob *out)
{
    *out = (Blob){ 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_path(errno, path, "cannot open '%s'", path);
    Err *e = read_fd(fd, out, max);
    close(fd);
    if (e)
        blob_free(out);
    return err_in(e, "file '%s'", path);
}

/* ---- gzip */

static Err *inflate_all(z_stream *z, Blob *out, uint64_t max)
{
    size_t cap = 0;

    for (;;) {
        TRY(grow(out, &cap, max, "unpacked it has"));
        size_t space = MIN(cap - out->len, UINT32_MAX);
        z->next_out = out->data + out->len;
        z->avail_out = space;
        int r = inflate(z, Z_NO_FLUSH);

        out->len += space - z->avail_out;
        if (r == Z_STREAM_END)
            return out->len > max ? too_large("unpacked it has", max) : NULL;
        if (r == Z_BUF_ERROR || (r == Z_OK && !z->avail_in && z->avail_out))
            return err_hint(err(ERR_INVALID, "its gzip data ends too early"), COPY_AGAIN);
        if (r != Z_OK)
            return err_hint(err(ERR_INVALID, "its gzip data is damaged: %s", z->msg ? z->msg : "zlib gives no reason"),
                            COPY_AGAIN);
    }
}

Err *blob_gunzip(Blob *b, uint64_t max)
{
    if (b->len < 18 || b->data[0] != 0x1f || b->data[1] != 0x8b || b->len > UINT32_MAX)
        return NULL;
    z_stream z = { .next_in = b->data, .avail_in = b->len };
    Blob out = { 0 };

    if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
        return err(ERR_IO, "zlib does not start: there is no host memory");
    Err *e = inflate_all(&z, &out, max);
    inflateEnd(&z);
    if (e) {
        blob_free(&out);
        return e;
    }
    blob_free(b);
    *b = out;
    return NULL;
}

/* ---- ELF */

bool blob_is_elf(const Blob *b)
{
    return b->len >= EI_NIDENT && !memcmp(b->data, ELFMAG, SELFMAG);
}

/* It is an ELF file, but of somebody else. */
static Err *foreign(unsigned machine, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static Err *foreign(unsigned machine, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return err_hint(err(ERR_INVALID, "%s", what), "This machine runs 64-bit little-endian programs for %s; "
                    "'readelf -h FILE' shows what the file is.", elf_machine_name(machine));
}

static Err *elf_check(const Blob *b, unsigned machine, Elf64_Ehdr *h)
{
    if (b->len < sizeof(*h))
        return err_hint(err(ERR_INVALID, "it ends within the ELF header"), COPY_AGAIN);
    memcpy(h, b->data, sizeof(*h));
    if (h->e_ident[EI_CLASS] != ELFCLASS64)
        return foreign(machine, "it is a 32-bit ELF file");
    if (h->e_ident[EI_DATA] != ELFDATA2LSB)
        return foreign(machine, "it is a big-endian ELF file");
    if (h->e_machine != machine)
        return foreign(machine, "it is an ELF file for another machine: %s (e_machine %u)",
                       elf_machine_name(h->e_machine), h->e_machine);
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
        return err_hint(err(ERR_INVALID, "it is an ELF file, but not one to be run (e_type %u)", h->e_type),
                        "An object file has to be linked first.");
    if (h->e_phentsize != sizeof(Elf64_Phdr))
        return err_hint(err(ERR_INVALID, "its ELF program headers are %u bytes each, not %zu", h->e_phentsize,
                            sizeof(Elf64_Phdr)), COPY_AGAIN);
    if (h->e_phoff > b->len || h->e_phnum > (b->len - h->e_phoff) / sizeof(Elf64_Phdr))
        return err_hint(err(ERR_INVALID, "its %u ELF program headers reach beyond its end", h->e_phnum), COPY_AGAIN);
    return NULL;
}

static Err *elf_segment(Images *set, const char *name, const Blob *b, const Elf64_Phdr *p, uint64_t *left)
{
    if (p->p_filesz > p->p_memsz)
        return err(ERR_INVALID, "an ELF segment is larger in the file than in memory");
    if (p->p_offset > b->len || p->p_filesz > b->len - p->p_offset)
        return err_hint(err(ERR_INVALID, "an ELF segment reaches beyond the end of the file"), COPY_AGAIN);
    if (p->p_memsz > *left)
        return err_hint(err(ERR_INVALID, "its ELF segments take more memory than there is"), "A larger -m gives it more.");
    *left -= p->p_memsz;
    uint8_t *data = g_try_malloc0(p->p_memsz);
    if (!data)
        return err(ERR_IO, "there is no host memory for an ELF segment of %" PRIu64 " bytes", p->p_memsz);
    memcpy(data, b->data + p->p_offset, p->p_filesz);
    return image_add(set, name, p->p_paddr, data, p->p_memsz, p->p_memsz);
}

Err *elf_load(Images *set, const char *name, const Blob *b, unsigned machine, uint64_t max, ElfInfo *out)
{
    Elf64_Ehdr h;

    TRY(elf_check(b, machine, &h));
    *out = (ElfInfo){ .entry = h.e_entry, .low = UINT64_MAX };
    for (unsigned i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;

        memcpy(&p, b->data + h.e_phoff + i * sizeof(p), sizeof(p));
        if (p.p_type != PT_LOAD || !p.p_memsz)
            continue;
        TRY(elf_segment(set, name, b, &p, &max));
        /* The entry is a virtual address; it stands for a physical one where a segment's differ. */
        if (h.e_entry >= p.p_vaddr && h.e_entry - p.p_vaddr < p.p_memsz)
            out->entry = p.p_paddr + (h.e_entry - p.p_vaddr);
        out->low = MIN(out->low, p.p_paddr);
        out->high = MAX(out->high, p.p_paddr + p.p_memsz);
    }
    if (!out->high)
        return err_hint(err(ERR_INVALID, "it is an ELF file without a segment to load"),
                        "It may hold nothing but symbols: give the program that belongs to it.");
    return NULL;
}
