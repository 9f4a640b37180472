/* SPDX-License-Identifier: MIT */
/*
 * Requests that are waited for: read, write, readv, writev, discard.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/driver.h"
#include "cmd/io/io.h"

#define MISALIGN 16
#define ALIGN 4096

/* ---- words */

int request_options(Request *r, int argc, char **argv, const char *letters)
{
    int letter, pattern;

    r->name = argv[0];
    optind = 0;
    while ((letter = getopt(argc, argv, letters)) != -1) {
        switch (letter) {
        case 'b': r->vm_state = true; break;
        case 'c': r->compress = true; break;
        case 'C': r->terse = true; break;
        case 'f': r->fua = true; break;
        case 'i': r->invalid = true; break;
        case 'n': r->no_fallback = true; break;
        case 'p': break;        /* once another way to read; does nothing */
        case 'q': r->quiet = true; break;
        case 'u': r->unmap = true; break;
        case 'v': r->dump = true; break;
        case 'z': r->zero = true; break;
        case 'P':
            pattern = io_pattern(optarg);
            if (pattern < 0)
                return -EINVAL;
            r->has_pattern = true;
            r->pattern = (uint8_t)pattern;
            break;
        case 'l':
            r->has_check_len = true;
            r->check_len = io_number(optarg);
            if (r->check_len == UINT64_MAX)
                return -EINVAL;
            break;
        case 's':               /* of write: a file; of read: where the pattern begins */
            if (strchr(letters, 'z')) {
                r->source = optarg;
                break;
            }
            r->has_start = true;
            r->check_start = io_number(optarg);
            if (r->check_start == UINT64_MAX)
                return -EINVAL;
            break;
        default:
            return io_usage(argv[0]);
        }
    }
    return 0;
}

/* A length of -z has only the limit that the request does without slow writes. */
static bool zero_length(const Request *r, const char *text, uint64_t *out)
{
    *out = io_number(text);
    if (*out == UINT64_MAX)
        return false;
    if (r->no_fallback || *out <= IO_MAX_LENGTH)
        return true;
    printf("length cannot exceed %u without -n, given %s\n", IO_MAX_LENGTH, text);
    return false;
}

static bool one_length(const char *text, uint64_t *out)
{
    *out = io_number(text);
    if (*out == UINT64_MAX)
        return false;
    if (*out <= IO_MAX_LENGTH)
        return true;
    printf("Argument '%s' exceeds maximum size %u\n", text, IO_MAX_LENGTH);
    return false;
}

static bool in_sectors(const Request *r, uint64_t n, const char *text, const char *what)
{
    if (!r->vm_state || n % 512 == 0)
        return true;
    printf("%s is not a sector-aligned value for '%s'\n", text, what);
    return false;
}

int request_range(Request *r, int argc, char **argv, bool several)
{
    r->off = io_number(argv[optind]);
    if (r->off == UINT64_MAX)
        return -EINVAL;
    r->nv = (unsigned)(several ? argc - optind - 1 : 1);
    for (unsigned i = 0; i < r->nv; i++) {
        const char *text = argv[optind + 1 + (int)i];
        uint64_t len;

        if (!(several ? one_length(text, &len) : r->zero ? zero_length(r, text, &len) : io_length(text, &len)))
            return -EINVAL;
        r->len += len;
        if (several && r->len > IO_MAX_LENGTH) {
            printf("The total number of bytes exceed the maximum size %u\n", IO_MAX_LENGTH);
            return -EINVAL;
        }
    }
    if (!in_sectors(r, r->off, argv[optind], "offset") || !in_sectors(r, r->len, argv[argc - 1], "count"))
        return -EINVAL;
    return 0;
}

/* The file again and again, until the buffer is full. */
static int fill_from_file(const char *name, uint8_t *buf, uint64_t len)
{
    FILE *f = fopen(name, "r");
    size_t n;

    fflush(stdout);
    if (!f) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        return -errno;
    }
    n = fread(buf, 1, len, f);
    if (ferror(f)) {
        fprintf(stderr, "%s: %s\n", name, strerror(errno));
        fclose(f);
        return -EIO;
    }
    fclose(f);
    if (!n && len) {
        fprintf(stderr, "%s: file is empty\n", name);
        return -EINVAL;
    }
    for (uint64_t at = n; at < len; at += n)
        memcpy(buf + at, buf, MIN(n, len - at));
    return 0;
}

int request_buffer(Io *io, Request *r, int argc, char **argv, int byte)
{
    uint8_t *at;
    void *p;

    if (posix_memalign(&p, ALIGN, r->len + ALIGN)) {
        printf("out of memory\n");
        return -ENOMEM;
    }
    r->buf = (uint8_t *)p + (io->misalign ? MISALIGN : 0);
    if (r->source) {
        int ret = fill_from_file(r->source, r->buf, r->len);
        if (ret < 0)
            return ret;
    } else {
        memset(r->buf, byte, r->len);
    }
    r->v = g_new0(struct iovec, r->nv);
    at = r->buf;
    for (unsigned i = 0; i < r->nv; i++) {
        uint64_t len = r->len;

        if (r->nv > 1)
            one_length(argv[optind + 1 + (int)i], &len);
        r->v[i] = (struct iovec){ at, len };
        at += len;
    }
    return 0;
}

void request_clear(Io *io, Request *r)
{
    if (r->buf)
        free(r->buf - (io->misalign ? MISALIGN : 0));
    g_free(r->v);
    r->buf = NULL;
    r->v = NULL;
}

IoVec request_iov(const Request *r)
{
    return r->v ? iov_of(r->v, r->nv) : (IoVec){ 0 };
}

int request_verify(const Request *r)
{
    uint64_t len = r->has_check_len ? r->check_len : r->len - r->check_start;

    for (uint64_t i = 0; r->has_pattern && i < len; i++) {
        if (r->buf[r->check_start + i] == r->pattern)
            continue;
        printf("Pattern verification failed at offset %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " bytes\n",
               r->off + r->check_start, len);
        return -EINVAL;
    }
    return 0;
}

/* ---- what is said afterwards */

static int failed(const char *what, int ret)
{
    printf("%s failed: %s\n", what, strerror(-ret));
    return ret;
}

static int finish_read(Request *r, const char *name, int ret)
{
    int64_t took = loop_now() - r->began;

    if (ret < 0)
        return failed(name, ret);
    ret = request_verify(r);
    if (r->quiet)
        return ret;
    if (r->dump)
        io_dump(r->buf, r->off, r->len);
    io_report("read", took, r->off, r->len, r->len, r->terse);
    return ret;
}

static int finish_write(Request *r, const char *name, int ret)
{
    int64_t took = loop_now() - r->began;

    if (ret < 0)
        return failed(name, ret);
    if (!r->quiet)
        io_report("wrote", took, r->off, r->len, r->len, r->terse);
    return 0;
}

/* ---- read, readv */

/* The vm state lies behind the guest's data, in formats that have one. */
static int vm_state(Io *io, Request *r, bool write)
{
    IoVec q = request_iov(r);
    BlockNode *n = disk_node(io->disk);

    return write ? node_vmstate_write(n, r->off, &q) : node_vmstate_read(n, r->off, &q);
}

/* Files whose length is no multiple of 512 read as if they ended with zeroes. */
int request_read(Disk *d, Request *r)
{
    uint64_t size = disk_size(d), end = r->off + r->len;
    IoVec q = request_iov(r);

    if (!r->len)
        return r->off <= io_size(d) ? 0 : -EIO;
    if (end > size && end <= io_size(d)) {
        uint64_t there = r->off < size ? size - r->off : 0;

        iov_fill(&q, there, 0, q.len - there);
        q = iov_slice(&q, 0, there);
        if (!there)
            return 0;
    }
    return disk_read(d, r->off, &q, 0);
}

static int do_read(Io *io, Request *r)
{
    r->began = loop_now();
    return r->vm_state ? vm_state(io, r, false) : request_read(io->disk, r);
}

int io_read(Io *io, int argc, char **argv)
{
    Request r = { 0 };
    int ret = request_options(&r, argc, argv, "bCl:pP:qs:v");

    if (ret < 0)
        return ret;
    if (optind != argc - 2 || (!r.has_pattern && (r.has_check_len || r.has_start)))
        return io_usage("read");
    ret = request_range(&r, argc, argv, false);
    if (ret < 0)
        return ret;
    if (r.check_start > r.len || (r.has_check_len && r.check_len > r.len - r.check_start)) {
        printf("pattern verification range exceeds end of read data\n");
        return -EINVAL;
    }
    ret = request_buffer(io, &r, argc, argv, 0xab);
    if (!ret)
        ret = finish_read(&r, "read", do_read(io, &r));
    request_clear(io, &r);
    return ret;
}

int io_readv(Io *io, int argc, char **argv)
{
    Request r = { 0 };
    int ret = request_options(&r, argc, argv, "CP:qv");

    if (ret < 0)
        return ret;
    if (optind > argc - 2)
        return io_usage("readv");
    ret = request_range(&r, argc, argv, true);
    if (!ret)
        ret = request_buffer(io, &r, argc, argv, 0xab);
    if (!ret)
        ret = finish_read(&r, "readv", do_read(io, &r));
    request_clear(io, &r);
    return ret;
}

/* ---- write, writev */

static const char *conflict(const Request *r)
{
    if (r->vm_state && r->zero)
        return "-b and -z cannot be specified at the same time";
    if (r->fua && (r->vm_state || r->compress))
        return "-f and -b or -c cannot be specified at the same time";
    if (r->no_fallback && !r->zero)
        return "-n requires -z to be specified";
    if (r->unmap && !r->zero)
        return "-u requires -z to be specified";
    if (r->zero + r->has_pattern + (r->source != NULL) > 1)
        return "Only one of -z, -P, and -s can be specified at the same time";
    return NULL;
}

int request_write(Disk *d, Request *r)
{
    unsigned flags = r->fua ? REQ_FUA : 0;
    IoVec q = request_iov(r);

    if (!r->len)
        return r->off <= io_size(d) ? 0 : -EIO;
    disk_set_growing(d, r->off + r->len <= io_size(d));     /* into the last, incomplete sector */
    if (r->zero)
        return disk_zero(d, r->off, r->len, flags | (r->unmap ? REQ_UNMAP : 0) | (r->no_fallback ? REQ_NO_FALLBACK : 0));
    return disk_write(d, r->off, &q, flags | (r->compress ? REQ_COMPRESSED : 0));
}

static int do_write(Io *io, Request *r)
{
    r->began = loop_now();
    return r->vm_state ? vm_state(io, r, true) : request_write(io->disk, r);
}

int io_write(Io *io, int argc, char **argv)
{
    Request r = { 0 };
    const char *why;
    int ret = request_options(&r, argc, argv, "bcCfnpP:qs:uz");

    if (ret < 0)
        return ret;
    if (optind != argc - 2)
        return io_usage("write");
    why = conflict(&r);
    if (why) {
        printf("%s\n", why);
        return -EINVAL;
    }
    ret = request_range(&r, argc, argv, false);
    if (!ret && r.zero)
        ret = finish_write(&r, "write", do_write(io, &r));
    else if (!ret && !(ret = request_buffer(io, &r, argc, argv, r.has_pattern ? r.pattern : 0xcd)))
        ret = finish_write(&r, "write", do_write(io, &r));
    request_clear(io, &r);
    return ret;
}

int io_writev(Io *io, int argc, char **argv)
{
    Request r = { 0 };
    int ret = request_options(&r, argc, argv, "CfqP:");

    if (ret < 0)
        return ret;
    if (optind > argc - 2)
        return io_usage("writev");
    ret = request_range(&r, argc, argv, true);
    if (!ret)
        ret = request_buffer(io, &r, argc, argv, r.has_pattern ? r.pattern : 0xcd);
    if (!ret)
        ret = finish_write(&r, "writev", do_write(io, &r));
    request_clear(io, &r);
    return ret;
}

/* ---- discard */

int io_discard(Io *io, int argc, char **argv)
{
    Request r = { 0 };
    int ret = request_options(&r, argc, argv, "Cq");

    if (ret < 0)
        return ret;
    if (optind != argc - 2)
        return io_usage("discard");
    ret = request_range(&r, argc, argv, false);
    if (ret < 0)
        return ret;
    r.began = loop_now();
    ret = r.len ? disk_discard(io->disk, r.off, r.len) : 0;
    int64_t took = loop_now() - r.began;
    if (ret < 0)
        return failed("discard", ret);
    if (!r.quiet)
        io_report("discard", took, r.off, r.len, r.len, r.terse);
    return 0;
}
