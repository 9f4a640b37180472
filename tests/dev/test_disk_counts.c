/* SPDX-License-Identifier: MIT */
/* What disks count (block/stats.h), by a virtio-blk and a driver of ours: requests, bytes, merged ones, failures, times. */
#define RIG_HARTS 1
#include <errno.h>

#include "block/stats.h"
#include "tests/dev/disk-rig.h"
#include "tests/dev/vdriver.h"

enum { SIZE = 1 << 20, LEN = 4096 };
enum { READ, WRITE, FLUSH = 4, DISCARD = 11 };

typedef struct Box { Rig r; Vd d; DiskRig disk; uint64_t head, tail, data; } Box;

static uint8_t *mem(Box *b, uint64_t at) { return space_ram(b->r.vm->mem, at, LEN, true, NULL, NULL); }

static void box_make(Box *b, const char *drive)
{
    memset(b, 0, sizeof(*b));
    disk_rig_init(&b->disk, &b->r, SIZE);
    g_autofree char *file = g_strdup_printf("if=none,id=d0,format=raw,discard=unmap,file=%s", b->disk.img);
    rig_must(disks_add_drive(b->r.vm->disks, drive ? drive : file, false));
    rig_board(&b->r);
    b->r.vm->state = RUN_RUNNING;
    vd_attach(&b->d, &b->r, "virtio-blk-device,drive=d0,id=vda");
    vd_start(&b->d, UINT64_MAX, 1, 64);
    b->head = vd_alloc(&b->d, 1024);
    b->tail = vd_alloc(&b->d, 64);
    b->data = vd_alloc(&b->d, 8 * LEN);
}

static void box_free(Box *b)
{
    vd_detach(&b->d);
    disk_rig_free(&b->disk, &b->r);
}

/* The i-th of several, without a kick. */
static void add(Box *b, unsigned i, uint32_t type, uint64_t sector, unsigned len)
{
    uint64_t head = b->head + 64 * i;
    VdBuf bufs[] = { { head, 16, false }, { b->data + (uint64_t)i * LEN, len, type == READ }, { b->tail + i, 1, true } };

    memset(mem(b, head), 0, 16);
    memcpy(mem(b, head), &type, 4);
    memcpy(mem(b, head) + 8, &sector, 8);
    if (!len)
        bufs[1] = bufs[2];
    vd_add(&b->d, 0, bufs, len ? 3 : 2, b);
}

static void wait_all(Box *b, unsigned n)
{
    vd_kick(&b->d, 0);
    for (unsigned i = 0; i < n; i++)
        CHECK(vd_used(&b->d, 0, 60000, NULL));
}

static uint8_t request(Box *b, uint32_t type, uint64_t sector, unsigned len)
{
    add(b, 0, type, sector, len);
    wait_all(b, 1);
    return *mem(b, b->tail);
}

static DiskStats *stats(Box *b)
{
    const Field *f;
    Device *whose;

    CHECK(device_prop(&b->d.v->dev, "drive", &whose, &f));
    return &((DiskPort *)field_at(whose, f, 0))->stats;
}

static void test_counts(void)
{
    const uint64_t range[2] = { 0, 8 };         /* sector 0, 8 sectors */
    const uint64_t bounds[] = { 1, 1000000000000 };
    Box b;

    box_make(&b, NULL);
    DiskStats *s = stats(&b);
    histogram_set(&s->histogram[DISK_OP_READ], bounds, 2);
    CHECK(!s->last);
    CHECK(!request(&b, WRITE, 0, LEN) && !request(&b, WRITE, 100, 512) && !request(&b, READ, 0, LEN) && !request(&b, FLUSH, 0, 0));
    CHECK(s->ops[DISK_OP_WRITE] == 2 && s->bytes[DISK_OP_WRITE] == LEN + 512 && s->ops[DISK_OP_READ] == 1);
    CHECK(s->bytes[DISK_OP_READ] == LEN && s->ops[DISK_OP_FLUSH] == 1 && s->last);
    CHECK(s->ns[DISK_OP_READ] && s->ns[DISK_OP_WRITE] && !s->merged[DISK_OP_WRITE]);
    CHECK(s->histogram[DISK_OP_READ].bins[1] == 1);
    memcpy(mem(&b, b.data), range, 16);
    CHECK(!request(&b, DISCARD, 0, 16));
    CHECK(s->ops[DISK_OP_UNMAP] == 1 && s->bytes[DISK_OP_UNMAP] == LEN);
    /* What makes no sense never gets to the disk. */
    CHECK(request(&b, READ, SIZE / 512, 512) == 1 && request(&b, WRITE, SIZE / 512, 512) == 1);
    CHECK(s->invalid[DISK_OP_READ] == 1 && s->invalid[DISK_OP_WRITE] == 1 && s->ops[DISK_OP_READ] == 1);
    box_free(&b);
}

/* Neighbours that come at once are one request of the disk, and each counts. */
static void test_merged(void)
{
    Box b;

    box_make(&b, NULL);
    for (unsigned i = 0; i < 4; i++)
        add(&b, i, READ, i * (LEN / 512), LEN);
    wait_all(&b, 4);
    DiskStats *s = stats(&b);
    CHECK(s->ops[DISK_OP_READ] == 4 && s->merged[DISK_OP_READ] == 3 && s->bytes[DISK_OP_READ] == 4 * LEN);
    box_free(&b);
}

static void test_failures(void)
{
    Box b;

    box_make(&b, "if=none,id=d0,driver=blkdebug,image.driver=null-co,image.size=1M,inject-error.0.event=none,inject-error.0.iotype=write");
    DiskStats *s = stats(&b);
    CHECK(request(&b, WRITE, 0, 512) == 1 && !request(&b, READ, 0, 512));
    CHECK(s->failed[DISK_OP_WRITE] == 1 && !s->ops[DISK_OP_WRITE] && !s->bytes[DISK_OP_WRITE] && s->ns[DISK_OP_WRITE]);
    CHECK(s->ops[DISK_OP_READ] == 1 && !s->failed[DISK_OP_READ]);
    box_free(&b);
}

static void take_news(void *opaque, const DiskNews *n)
{
    *(DiskNews *)opaque = *n;
}

/* Who listens hears of failures and what was done about them; the machine stands as one whose disk failed. */
static void test_news(void)
{
    DiskNews n = { 0 };
    const Field *f;
    Device *whose;
    Box b;

    box_make(&b, "if=none,id=d0,werror=stop,driver=blkdebug,image.driver=null-co,image.size=1M,inject-error.0.event=none,"
             "inject-error.0.iotype=write,inject-error.0.errno=28,inject-error.0.once=on");
    disks_on_news(b.r.vm->disks, take_news, &n);
    CHECK(device_prop(&b.d.v->dev, "drive", &whose, &f));
    DiskPort *p = field_at(whose, f, 0);
    CHECK(!request(&b, READ, 0, 512));
    add(&b, 0, WRITE, 0, 512);
    vd_kick(&b.d, 0);
    for (int i = 0; i < 60000 && b.r.vm->state != RUN_IO_ERROR; i++)
        rig_turn(&b.r, 1);
    CHECK_EQ(b.r.vm->state, RUN_IO_ERROR);
    disks_tell_now(b.r.vm->disks);
    CHECK(n.port == p && n.what == DISK_IO_FAILED && n.write && n.error == ENOSPC && n.action == IO_ERROR_STOP);
    CHECK_EQ(p->status, DISK_NO_SPACE);
    vm_start(b.r.vm);
    CHECK_EQ(p->status, DISK_OK);
    CHECK(vd_used(&b.d, 0, 60000, NULL) && !*mem(&b, b.tail));      /* tried again */
    disks_on_news(b.r.vm->disks, NULL, NULL);
    box_free(&b);
}

int main(void)
{
    RUN(test_counts);
    RUN(test_merged);
    RUN(test_failures);
    RUN(test_news);
    return test_end();
}
