/* SPDX-License-Identifier: MIT */
/*
 * lyre-img bench: how fast requests are, one after another through the image in
 * steps, so many at the same time.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "block/driver.h"

typedef struct Bench {
    Img *im;
    Disk *disk;
    void *buf;
    uint64_t buffer, step, size;
    uint64_t left, at;          /* requests that are not begun; where the next one goes */
    unsigned running;
    bool flushing;              /* the others wait */
    CoQueue idle, flushed;
    CoCrowd crowd;
} Bench;

/* After every `flush_interval` writes: once nothing is running, unless --no-drain. */
static int flush(Bench *b)
{
    if (b->im->a.no_drain)
        return disk_flush(b->disk);
    b->flushing = true;
    while (b->running)
        co_queue_wait(&b->idle);
    int ret = disk_flush(b->disk);
    b->flushing = false;
    co_queue_wake_all(&b->flushed);
    return ret;
}

static uint64_t next_offset(Bench *b)
{
    uint64_t off = b->at;

    b->at += b->step;
    if (b->size && b->at >= b->size)
        b->at %= b->size;
    return off;
}

static int lane(void *arg)
{
    Bench *b = arg;
    const ImgArgs *a = &b->im->a;
    IoVec q = IOV_BUF(b->buf, b->buffer);
    int ret = 0;

    while (b->left && !ret && !b->crowd.status) {
        if (b->flushing) {
            co_queue_wait(&b->flushed);
            continue;
        }
        bool flush_after = a->flush_interval && --b->left % a->flush_interval == 0;
        b->left -= !a->flush_interval;
        uint64_t off = next_offset(b);
        b->running++;
        ret = a->write ? disk_write(b->disk, off, &q, 0) : disk_read(b->disk, off, &q, 0);
        ret = MIN(ret, 0);
        if (!--b->running)
            co_queue_wake_all(&b->idle);
        if (!ret && flush_after)
            ret = flush(b);
    }
    return ret;
}

/* The innermost "file" of the options gets aio. */
static void set_aio(json_t *options, const char *aio)
{
    json_t *file = options, *next;

    while ((next = json_object_get(file, "file")) && json_is_object(next))
        file = next;
    json_object_set_new(file, "aio", json_string(aio));
}

static Err *open_bench(Img *im, Disk **out)
{
    const ImgArgs *a = &im->a;
    const char *aio = a->native ? "io_uring" : a->aio && !strcmp(a->aio, "native") ? "io_uring" : a->aio;
    unsigned flags = (a->write ? OPEN_RW : 0) | (a->share ? OPEN_FORCE_SHARE : 0);
    bool writethrough;
    json_t *o;

    TRY(img_options(a->files[0], a->format, a->image_opts, a->cache ? a->cache : "writeback", &o, &writethrough));
    if (aio)
        set_aio(o, aio);
    Err *e = disk_open(im->graph, o, flags, "bench", out);
    json_decref(o);
    if (e)
        return e;
    disk_set_writethrough(*out, writethrough);
    return a->write ? guard_node(im, disk_node(*out), "writing a pattern into it") : NULL;
}

static void announce(const Bench *b)
{
    const ImgArgs *a = &b->im->a;

    img_say(b->im, "Sending %llu %s requests, %llu bytes each, %llu in parallel (starting at offset %llu, step size "
                   "%llu)\n", (unsigned long long)a->count, a->write ? "write" : "read",
            (unsigned long long)b->buffer, (unsigned long long)a->depth, (unsigned long long)a->start,
            (unsigned long long)b->step);
    if (a->flush_interval)
        img_say(b->im, "Sending flush every %llu requests\n", (unsigned long long)a->flush_interval);
    fflush(stdout);
}

static Err *bench(Bench *b)
{
    const ImgArgs *a = &b->im->a;
    int64_t began = loop_now();

    announce(b);
    b->crowd.max = (unsigned)a->depth;
    for (uint64_t i = 0; i < MIN(a->depth, a->count); i++)
        crowd_start(&b->crowd, lane, b);
    int ret = crowd_wait(&b->crowd);
    double seconds = (double)(loop_now() - began) / 1e9;
    if (ret < 0)
        return err_errno(-ret, "'%s': a request failed", a->files[0]);
    img_say(b->im, "Run completed in %3.3f seconds.\n", seconds);
    if (isatty(STDOUT_FILENO) && seconds > 0) {
        g_autofree char *rate = img_size_text((uint64_t)((double)a->count * (double)b->buffer / seconds));
        img_say(b->im, "%.0f requests/s, %s/s\n", (double)a->count / seconds, rate);
    }
    return NULL;
}

static Err *check_args(ImgArgs *a)
{
    if (a->write && a->share)
        return err_hint(err(ERR_INVALID, "-U is for reading"), "An image that is in use cannot be written. Leave -U away.");
    if (!a->write && a->flush_interval)
        return err_hint(err(ERR_INVALID, "--flush-interval is for writing"), "Add -w, or leave it away.");
    if (!a->flush_interval && a->no_drain)
        return err_hint(err(ERR_INVALID, "--no-drain is for flushes, and there are none"), "Add --flush-interval N.");
    a->count = a->count ? a->count : 75000;
    a->depth = a->depth ? a->depth : 64;
    a->buffer = a->buffer ? a->buffer : 4096;
    if (a->flush_interval && a->flush_interval < a->depth)
        return err_hint(err(ERR_INVALID, "a flush after every %llu writes, of which %llu run at the same time",
                            (unsigned long long)a->flush_interval, (unsigned long long)a->depth),
                        "Make --flush-interval at least as large as -d.");
    return NULL;
}

Err *img_bench(Img *im)
{
    ImgArgs *a = &im->a;
    Bench b = { .im = im };

    TRY(check_args(a));
    Err *e = open_bench(im, &b.disk);
    b.buffer = a->buffer;
    b.step = a->step ? a->step : a->buffer;
    b.left = a->count;
    b.at = a->start;
    b.size = e ? 0 : img_size(b.disk);
    if (!e) {
        b.buf = block_buf(disk_node(b.disk), b.buffer);
        if (b.buf)
            memset(b.buf, (int)a->pattern, b.buffer);
        else
            e = err_errno(ENOMEM, "a buffer of %llu bytes", (unsigned long long)b.buffer);
    }
    if (!e)
        e = bench(&b);
    block_buf_free(b.buf);
    disk_free(b.disk);
    return e;
}
