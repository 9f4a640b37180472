/* SPDX-License-Identifier: MIT */
/*
 * Requests that run beside the shell, a coroutine each. What came of them is
 * said when they end, which is never before the command itself has ended.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cmd/io/io.h"

typedef struct Aio {
    Io *io;
    Disk *disk;
    Request r;
    bool write, started;
} Aio;

static int aio_do(Aio *a)
{
    if (!a->write)
        return request_read(a->disk, &a->r);
    a->r.no_fallback = false;
    return request_write(a->disk, &a->r);
}

static void aio_say(Aio *a, int ret, int64_t took)
{
    Request *r = &a->r;

    if (ret < 0) {
        printf("%s failed: %s\n", a->write ? "aio_write" : "readv", strerror(-ret));
        return;
    }
    if (!a->write)
        request_verify(r);
    if (!r->quiet) {
        if (r->dump)
            io_dump(r->buf, r->off, r->len);
        io_report(a->write ? "wrote" : "read", took, r->off, r->len, r->len, r->terse);
    }
}

static void aio_run(void *arg)
{
    Aio *a = arg;
    Io *io = a->io;
    int ret = aio_do(a);
    int64_t took = loop_now() - a->r.began;

    if (!a->started)
        co_pause();
    aio_say(a, ret, took);
    fflush(stdout);
    request_clear(io, &a->r);
    g_free(a);
    if (!--io->aio_running)
        co_queue_wake_all(&io->aio_idle);
}

static void aio_start(Io *io, const Request *r, bool write)
{
    Aio *a = g_new0(Aio, 1);

    *a = (Aio){ .io = io, .disk = io->disk, .r = *r, .write = write };
    a->r.began = loop_now();
    io->aio_running++;
    co_start(io->loop, aio_run, a);
    a->started = true;          /* it is still there: one that is through already waits for this */
}

int io_aio_read(Io *io, int argc, char **argv)
{
    Request r = { 0 };
    int ret = request_options(&r, argc, argv, "CP:iqv");

    if (ret < 0)
        return ret;
    if (r.invalid) {
        printf("injecting invalid read request\n");
        return 0;
    }
    if (optind > argc - 2)
        return io_usage("aio_read");
    ret = request_range(&r, argc, argv, true);
    if (!ret)
        ret = request_buffer(io, &r, argc, argv, 0xab);
    if (ret < 0)
        request_clear(io, &r);
    else
        aio_start(io, &r, false);
    return ret;
}

int io_aio_write(Io *io, int argc, char **argv)
{
    Request r = { 0 };
    int ret = request_options(&r, argc, argv, "CfiP:quz");

    if (ret < 0)
        return ret;
    if (r.invalid) {
        printf("injecting invalid write request\n");
        return 0;
    }
    if (optind > argc - 2)
        return io_usage("aio_write");
    if (r.zero && optind != argc - 2) {
        printf("-z supports only a single length parameter\n");
        return -EINVAL;
    }
    if (r.unmap && !r.zero) {
        printf("-u requires -z to be specified\n");
        return -EINVAL;
    }
    r.no_fallback = r.zero;     /* any length will do */
    ret = request_range(&r, argc, argv, !r.zero);
    if (!ret && !r.zero)
        ret = request_buffer(io, &r, argc, argv, r.has_pattern ? r.pattern : 0xcd);
    if (ret < 0)
        request_clear(io, &r);
    else
        aio_start(io, &r, true);
    return ret;
}

void io_aio_wait(Io *io)
{
    while (io->aio_running)
        co_queue_wait(&io->aio_idle);
}

int io_aio_flush(Io *io, int argc, char **argv)
{
    io_aio_wait(io);
    return 0;
}
