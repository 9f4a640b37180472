/* SPDX-License-Identifier: MIT */
/*
 * util/aio, by workers and by io_uring: what is read is what was written, ends
 * of files, long vectors, errors, more requests than the ring holds.
 */
#include "tests/unit/test.h"
#include "util/aio.h"
#include "util/co.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 1 << 20 };

static Loop *loop;
static AioKind kind;
static int fd;
static char *model;             /* what the file holds */
static uint32_t seed = 99;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static int temp_file(void)
{
    char *name = g_build_filename(g_get_tmp_dir(), "lyre-aio-XXXXXX", NULL);
    int f = mkstemp(name);

    unlink(name);
    g_free(name);
    return f;
}

/* A vector of `len` bytes in up to 200 elements, in memory of its own; g_free the result. */
static struct iovec *scatter(size_t len, IoVec *q)
{
    struct iovec *v = g_malloc(200 * sizeof(*v) + len);
    char *at = (char *)(v + 200);
    unsigned n = 0, most = 1 + rnd(200);

    while (len) {
        size_t part = n + 1 == most ? len : MIN(len, rnd(3000));

        v[n++] = (struct iovec){ at, part };
        at += part;
        len -= part;
    }
    *q = iov_of(v, n);
    return v;
}

static void some_requests(unsigned flags)
{
    for (int i = 0; i < 300; i++) {
        size_t len = 1 + rnd(rnd(8) ? 20000 : 300000), off = rnd((uint32_t)(SIZE - len));
        char *bytes = g_malloc(len);
        IoVec q;
        struct iovec *v = scatter(len, &q);

        if (i % 2) {
            memset(bytes, (int)rnd(256), len);
            bytes[0] = bytes[len - 1] = (char)i;
            memcpy(model + off, bytes, len);
            iov_write(&q, 0, bytes, len);
            CHECK_EQ(aio_pwrite(kind, fd, NULL, off, &q, flags), len);
        } else {
            CHECK_EQ(aio_pread(kind, fd, off, &q, flags & ~(unsigned)AIO_DSYNC), len);
            iov_read(&q, 0, bytes, len);
            CHECK(!memcmp(bytes, model + off, len));
        }
        g_free(v);
        g_free(bytes);
    }
}

static void reads_and_writes_co(void *opaque)
{
    char *all = g_malloc(SIZE);
    IoVec q = IOV_BUF(model, SIZE);

    for (int i = 0; i < SIZE; i++)
        model[i] = (char)rnd(256);
    CHECK_EQ(aio_pwrite(kind, fd, NULL, 0, &q, 0), SIZE);
    some_requests(0);
    some_requests(AIO_DIRECT);          /* not at once: all by way of the workers or the ring */
    CHECK_EQ(aio_fdatasync(kind, fd), 0);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    q = IOV_BUF(all, SIZE);
    CHECK_EQ(aio_pread(kind, fd, 0, &q, 0), SIZE);
    CHECK(!memcmp(all, model, SIZE));
    seed = seed / 8;
    for (int i = 0; i < 5; i++) {
        IoVec one = IOV_BUF(model + 777, 5);

        CHECK_EQ(aio_pwrite(kind, fd, NULL, 777, &one, AIO_DSYNC), 5);
    }
    g_free(all);
}

static void reads_and_writes(void) { co_run(loop, reads_and_writes_co, NULL); }

static void ends_co(void *opaque)
{
    char buf[10000];
    IoVec q = IOV_BUF(buf, 10000);

    for (unsigned flags = 0; flags <= AIO_DIRECT; flags += AIO_DIRECT) {
        CHECK_EQ(aio_pread(kind, fd, SIZE, &q, flags), 0);
        CHECK_EQ(aio_pread(kind, fd, SIZE - 100, &q, flags), 100);
        CHECK(!memcmp(buf, model + SIZE - 100, 100));
        CHECK_EQ(aio_pread(kind, fd, 10 * (uint64_t)SIZE, &q, flags), 0);
    }
}

static void ends(void) { co_run(loop, ends_co, NULL); }

static void errors_co(void *opaque)
{
    char buf[512];
    IoVec q = IOV_BUF(buf, 512);
    int ro = open("/dev/null", O_RDONLY);

    for (unsigned flags = 0; flags <= AIO_DIRECT; flags += AIO_DIRECT) {
        CHECK_EQ(aio_pread(kind, -1, 0, &q, flags), (uint64_t)-EBADF);
        CHECK_EQ(aio_pwrite(kind, ro, NULL, 0, &q, flags), (uint64_t)-EBADF);
    }
    CHECK_EQ(aio_fdatasync(kind, -1), (uint64_t)-EBADF);
    CHECK_EQ(aio_fallocate(kind, -1, NULL, 0, 0, 1), (uint64_t)-EBADF);
    CHECK_EQ(aio_copy_range(-1, 0, fd, NULL, 0, 1), (uint64_t)-EBADF);
    close(ro);
}

static void errors(void) { co_run(loop, errors_co, NULL); }

static void ranges_co(void *opaque)
{
    char buf[8192];
    IoVec q = IOV_BUF(buf, 8192);
    int other = temp_file();
    int ret = aio_fallocate(kind, fd, NULL, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);

    if (ret != -EOPNOTSUPP) {
        CHECK_EQ(ret, 0);
        memset(model + 4096, 0, 4096);
        CHECK_EQ(aio_pread(kind, fd, 4096, &q, 0), 8192);
        CHECK(!memcmp(buf, model + 4096, 8192));
    }

    ssize_t n = aio_copy_range(fd, 100, other, NULL, 50, 8192);

    if (n != -EOPNOTSUPP && n != -EXDEV) {
        CHECK(n > 0);
        q = IOV_BUF(buf, (size_t)n);
        CHECK_EQ(aio_pread(kind, other, 50, &q, 0), n);
        CHECK(!memcmp(buf, model + 100, (size_t)n));
    }
    close(other);
}

static void ranges(void) { co_run(loop, ranges_co, NULL); }

/* More at once than the ring has room for; each reads its own page. */
typedef struct Page { unsigned nr; char buf[4096]; } Page;

static int read_page(void *opaque)
{
    Page *p = opaque;
    IoVec q = IOV_BUF(p->buf, 4096);

    CHECK_EQ(aio_pread(kind, fd, (uint64_t)p->nr * 4096, &q, AIO_DIRECT), 4096);
    return memcmp(p->buf, model + (size_t)p->nr * 4096, 4096) ? -EIO : 0;
}

static void many_co(void *opaque)
{
    enum { MANY = 1200 };
    Page *p = g_new(Page, MANY);
    CoCrowd c = { 0 };

    for (unsigned i = 0; i < MANY; i++) {
        p[i].nr = i % (SIZE / 4096);
        crowd_start(&c, read_page, &p[i]);
    }
    CHECK_EQ(crowd_wait(&c), 0);
    g_free(p);
}

static void many(void) { co_run(loop, many_co, NULL); }

/* One that only reads cached pages lets timers and others run meanwhile. */
static bool stop;

static void stop_now(void *opaque)
{
    stop = true;
}

static void greedy_co(void *opaque)
{
    char buf[512];
    IoVec q = IOV_BUF(buf, 512);
    Alarm a;

    stop = false;
    alarm_init(&a, loop, stop_now, NULL);
    alarm_set(&a, loop_now());
    for (int i = 0; i < 1000 && !stop; i++)
        CHECK_EQ(aio_pread(kind, fd, 0, &q, 0), 512);
    CHECK(stop);
    alarm_del(&a);
}

static void greedy(void) { co_run(loop, greedy_co, NULL); }

/* One request after the other needs no thread; several at once, or a timer that is due soon, do. */
static unsigned threads(void)
{
    GDir *d = g_dir_open("/proc/self/task", 0, NULL);
    unsigned n = 0;

    while (d && g_dir_read_name(d))
        n++;
    if (d)
        g_dir_close(d);
    return n;
}

static void lonely_co(void *opaque)
{
    Page p = { .nr = 1 }, q = { .nr = 2 };
    CoCrowd c = { 0 };
    unsigned before = threads();

    for (int i = 0; i < 10; i++)
        CHECK_EQ(read_page(&p), 0);
    CHECK_EQ(aio_fdatasync(kind, fd), 0);
    CHECK_EQ(threads(), before);
    for (int i = 0; i < 10; i++) {
        crowd_start(&c, read_page, &p);
        crowd_start(&c, read_page, &q);
        crowd_wait(&c);
    }
    CHECK(kind == AIO_URING || threads() > before);
}

static void lonely(void) { co_run(loop, lonely_co, NULL); }

/* ---- lanes */

typedef struct Step {
    Work work;
    unsigned lane, number;
} Step;

enum { LANES = 3, STEPS = 300 };
static WorkLane lanes[LANES];
static atomic_uint in_lane[LANES], together;
static unsigned next_number[LANES], steps_done;

static void step_run(Work *w)
{
    Step *s = (Step *)w;

    if (atomic_fetch_add(&in_lane[s->lane], 1))
        atomic_fetch_add(&together, 1);
    if (s->number != next_number[s->lane]++)        /* the lane is all that guards it */
        atomic_fetch_add(&together, 1);
    g_usleep(s->number % 5 * 20);
    atomic_fetch_sub(&in_lane[s->lane], 1);
}

static void step_done(Work *w)
{
    (void)w;
    steps_done++;
}

/* Some in each turn, so that they meet empty, busy and waiting lanes. */
static void lanes_co(void *opaque)
{
    unsigned asked[LANES] = { 0 };
    Step *s = g_new0(Step, STEPS);
    (void)opaque;

    memset(next_number, 0, sizeof(next_number));
    steps_done = 0;
    for (unsigned i = 0; i < STEPS; i++) {
        s[i].lane = i * 7 / 3 % LANES;
        s[i].number = asked[s[i].lane]++;
        s[i].work = (Work){ .run = step_run, .done = step_done, .lane = &lanes[s[i].lane] };
        work_ask(loop, &s[i].work);
        if (i % 11 == 0)
            co_pause();
        if (i % 97 == 0)
            co_sleep(3000000);
    }
    while (steps_done < STEPS)
        co_sleep(100000);
    CHECK_EQ(atomic_load(&together), 0);
    for (unsigned i = 0; i < LANES; i++) {
        CHECK_EQ(next_number[i], asked[i]);
        CHECK_EQ(lanes[i].asked, 0);
        CHECK(!lanes[i].busy);
    }
    g_free(s);
}

static void lanes_keep_order(void) { co_run(loop, lanes_co, NULL); }

int main(void)
{
    for (kind = AIO_THREADS; kind <= AIO_URING; kind++) {
        err_free(loop_new(0, &loop));

        Err *e = aio_check(loop, kind);

        if (e) {
            printf("without io_uring: %s\n", err_text(e));
            err_free(e);
            loop_free(loop);
            break;
        }
        fd = temp_file();
        model = g_malloc0(SIZE);
        CHECK(!ftruncate(fd, SIZE));
        RUN(lonely);
        RUN(reads_and_writes);
        RUN(ends);
        RUN(errors);
        RUN(ranges);
        RUN(many);
        RUN(lanes_keep_order);
        RUN(greedy);
        g_free(model);
        close(fd);
        loop_free(loop);
    }
    return test_end();
}
