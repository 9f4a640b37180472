/* SPDX-License-Identifier: MIT */
/*
 * Commands about the image as a whole, and about this program.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "block/filter/blkdebug.h"
#include "cmd/img/img.h"
#include "cmd/io/io.h"

uint64_t io_size(const Disk *d)
{
    return (disk_size(d) + 511) & ~UINT64_C(511);
}

int io_flush(Io *io, int argc, char **argv)
{
    int ret = disk_flush(io->disk);

    if (ret < 0)
        printf("flush failed: %s\n", strerror(-ret));
    return ret;
}

static int prealloc_mode(const char *name)
{
    for (int i = 0; prealloc_names[i]; i++)
        if (!strcmp(prealloc_names[i], name))
            return i;
    return -1;
}

int io_truncate(Io *io, int argc, char **argv)
{
    Preallocation p = { PREALLOC_OFF };
    uint64_t size;
    int letter;
    Err *e;

    optind = 0;
    while ((letter = getopt(argc, argv, "m:")) != -1) {
        int mode = letter == 'm' ? prealloc_mode(optarg) : -1;

        if (letter != 'm')
            return io_usage("truncate");
        if (mode < 0)
            return io_error(err(ERR_INVALID, "Invalid preallocation mode '%s'", optarg));
        p.mode = (unsigned)mode;
    }
    if (optind >= argc)
        return io_usage("truncate");
    size = io_number(argv[optind]);
    if (size == UINT64_MAX)
        return -EINVAL;
    e = disk_resize(io->disk, size, false, p, 0);
    return e ? io_error(e) : 0;
}

int io_length_of(Io *io, int argc, char **argv)
{
    char text[64];

    io_size_text(io_size(io->disk), text, sizeof(text));
    printf("%s\n", text);
    return 0;
}

int io_info(Io *io, int argc, char **argv)
{
    BlockNode *n = disk_node(io->disk);
    char cluster[64], state[64];
    NodeInfo info = { 0 };
    Err *e = node_info(n, &info);

    if (e)
        return io_error(e);
    io_size_text(info.cluster_size, cluster, sizeof(cluster));
    io_size_text(info.vm_state_offset, state, sizeof(state));
    printf("format name: %s\ncluster size: %s\nvm state offset: %s\n", node_format(n), cluster, state);
    if (info.specific && json_object_size(info.specific)) {
        printf("Format specific information:\n");
        img_print_tree(info.specific, 1);
    }
    json_decref(info.specific);
    return 0;
}

/* Is it this layer's, and how far does that go? 0 bytes at the end. */
static int allocated(Io *io, uint64_t off, uint64_t len, uint64_t *n)
{
    uint64_t size = disk_size(io->disk), end = io_size(io->disk);
    Extent x;
    int ret;

    *n = 0;
    if (off >= end)
        return 0;
    if (off >= size) {
        *n = MIN(len, end - off);
        return 1;
    }
    ret = node_extent(disk_node(io->disk), off, MIN(len, size - off), &x);
    if (ret < 0)
        return ret;
    *n = off + x.len == size ? MIN(len, end - off) : x.len;
    return (x.flags & EXTENT_ALLOCATED) != 0;
}

int io_alloc(Io *io, int argc, char **argv)
{
    uint64_t off = io_number(argv[1]), len = 512, done, n, sum = 0;
    char at[64];

    if (off == UINT64_MAX)
        return -EINVAL;
    if (argc == 3) {
        len = io_number(argv[2]);
        if (len == UINT64_MAX)
            return -EINVAL;
    }
    for (done = 0; done < len; done += n) {
        int ret = allocated(io, off + done, len - done, &n);

        if (ret < 0) {
            printf("is_allocated failed: %s\n", strerror(-ret));
            return ret;
        }
        if (!n)
            break;
        sum += ret ? n : 0;
    }
    io_size_text(off, at, sizeof(at));
    printf("%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT " bytes allocated at offset %s\n", sum, done, at);
    return 0;
}

static void print_run(uint64_t off, uint64_t len, int is)
{
    char size[64], at[64];

    io_size_text(len, size, sizeof(size));
    io_size_text(off, at, sizeof(at));
    printf("%s (0x%" G_GINT64_MODIFIER "x) bytes %s at offset %s (0x%" G_GINT64_MODIFIER "x)\n", size, len,
           is ? "    allocated" : "not allocated", at, off);
}

int io_map(Io *io, int argc, char **argv)
{
    uint64_t end = io_size(io->disk), off = 0, run = 0, n;
    int was = -1;

    for (; off < end; off += n) {
        int ret = allocated(io, off, end - off, &n);

        if (ret < 0) {
            printf("Failed to get allocation status: %s\n", strerror(-ret));
            return ret;
        }
        if (ret != was && off)
            print_run(run, off - run, was);
        if (ret != was)
            run = off;
        was = ret;
    }
    if (end)
        print_run(run, end - run, was);
    return 0;
}

/* ---- requests that stand still */

static bool has_blkdebug(BlockNode *n)
{
    while (n && strcmp(node_format(n), "blkdebug"))
        n = n->file ? n->file->node : NULL;
    return n != NULL;
}

/* Prints why, as a system's error would say it. */
static int break_failed(Io *io, Err *e, const char *what, const char *tag)
{
    int code = has_blkdebug(disk_node(io->disk)) ? ENOENT : ENOTSUP;

    printf("Could not %s", what);
    if (tag)
        printf(" %s", tag);
    printf(": %s\n", strerror(code));
    err_free(e);
    return -code;
}

int io_break(Io *io, int argc, char **argv)
{
    Err *e = debug_break(disk_node(io->disk), argv[1], argv[2]);

    return e ? break_failed(io, e, "set breakpoint", NULL) : 0;
}

int io_remove_break(Io *io, int argc, char **argv)
{
    Err *e = debug_remove_break(disk_node(io->disk), argv[1]);

    return e ? break_failed(io, e, "remove breakpoint", argv[1]) : 0;
}

int io_resume(Io *io, int argc, char **argv)
{
    Err *e = debug_resume(disk_node(io->disk), argv[1]);

    if (e)
        return break_failed(io, e, "resume request", NULL);
    printf("blkdebug: Resuming request '%s'\n", argv[1]);
    return 0;
}

int io_wait_break(Io *io, int argc, char **argv)
{
    while (!debug_is_suspended(disk_node(io->disk), argv[1]))
        co_sleep(1000000);
    printf("blkdebug: Suspended request '%s'\n", argv[1]);
    return 0;
}

/* ---- this program */

int io_sleep(Io *io, int argc, char **argv)
{
    char *end;
    uint64_t ms;

    errno = 0;
    ms = strtoull(argv[1], &end, 0);
    if (*end || errno || argv[1][0] == '-' || ms > INT64_MAX / 1000000) {
        printf("%s is not a valid number\n", argv[1]);
        return -EINVAL;
    }
    co_sleep((int64_t)ms * 1000000);
    return 0;
}

int io_sigraise(Io *io, int argc, char **argv)
{
    uint64_t sig = io_number(argv[1]);

    if (sig == UINT64_MAX)
        return -EINVAL;
    if (sig > (uint64_t)SIGRTMAX) {
        printf("signal argument '%s' is too large to be a valid signal\n", argv[1]);
        return -EINVAL;
    }
    /* To kill by signals for real is what this is for: what was said goes out first. */
    fflush(NULL);
    raise((int)sig);
    return 0;
}

int io_abort(Io *io, int argc, char **argv)
{
    abort();
}

int io_quit(Io *io, int argc, char **argv)
{
    io->quit = true;
    return 0;
}
