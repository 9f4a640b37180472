/* SPDX-License-Identifier: MIT */
/*
 * The NVMe controller driven through its registers and queues: enabling, IDENTIFY,
 * queues made and deleted, reads and writes by PRP and SGL against a model, features, logs, events,
 * namespaces that come and go, errors of the host, and a driver that makes no sense.
 */
#define RIG_HARTS 1
#include "hw/core/boot_order.h"
#include "hw/pci/pci.h"
#include "tests/dev/disk-rig.h"
#include "tests/dev/rig.h"

enum {
    SIZE = 1 << 20, BLOCKS = SIZE / 512, BAR = 0x40000000, RAM = 0x81000000, PAGE = 4096, BUF = 64 * PAGE,
    ADMIN = 0, IO = 1, DEPTH = 16, NONE = 0xffff, DNR = 0x4000,
};

typedef struct Ring { uint64_t sq, cq; unsigned tail, head; bool phase; } Ring;

typedef struct Box {
    Rig r;
    PciDevice *pci;
    DiskRig disk;
    uint64_t next, data, list;
    Ring rings[4];
    uint16_t cid;
    uint32_t result;
} Box;

static void *host(Box *b, uint64_t at, uint64_t len) { return space_ram(b->r.vm->mem, at, len, true, NULL, NULL); }
static uint8_t *data(Box *b) { return host(b, b->data, BUF); }

static uint64_t ram(Box *b, uint64_t bytes)
{
    uint64_t at = b->next;

    b->next += (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    return at;
}

static void add_drive(Box *b, const char *id, const char *more)
{
    g_autofree char *arg = g_strdup_printf("if=none,id=%s,format=raw,file=%s,file.locking=off%s", id, b->disk.img, more);

    rig_must(disks_add_drive(b->r.vm->disks, arg, false));
}

static void box_make(Box *b)
{
    *b = (Box){ .next = RAM };
    disk_rig_init(&b->disk, &b->r, SIZE);
    add_drive(b, "d0", ",discard=unmap");
}

/* The board with what is given as -device. */
static void box_start(Box *b, const char *first, const char *second)
{
    GPtrArray *devices = g_ptr_array_new();

    g_ptr_array_add(devices, (char *)first);
    if (second)
        g_ptr_array_add(devices, (char *)second);
    b->r.config.devices = devices;
    rig_board(&b->r);
    b->r.config.devices = NULL;
    g_ptr_array_free(devices, true);
    b->r.vm->state = RUN_RUNNING;
    b->pci = (PciDevice *)device_find(b->r.vm, "n");
    pci_config_write(b->pci, 0x10, BAR, 4);
    pci_config_write(b->pci, 0x14, 0, 4);
    pci_config_write(b->pci, 4, 6, 2);
    b->data = ram(b, BUF);
    b->list = ram(b, 4 * PAGE);
}

static void box_free(Box *b)
{
    disk_rig_free(&b->disk, &b->r);
}

static bool wait_status(Box *b, uint32_t mask, uint32_t want)
{
    for (int i = 0; i < 100000; i++, usleep(50)) {
        if ((rd32(&b->r, BAR + 0x1c) & mask) == want)
            return true;
    }
    return false;
}

static void ring_make(Box *b, unsigned n)
{
    b->rings[n] = (Ring){ .sq = ram(b, PAGE), .cq = ram(b, PAGE), .phase = true };
    memset(host(b, b->rings[n].cq, PAGE), 0, PAGE);
}

static void enable(Box *b)
{
    ring_make(b, ADMIN);
    wr32(&b->r, BAR + 0x24, (DEPTH - 1) << 16 | (DEPTH - 1));
    wr(&b->r, BAR + 0x28, b->rings[0].sq, 8);
    wr32(&b->r, BAR + 0x30, b->rings[0].cq);
    wr32(&b->r, BAR + 0x34, b->rings[0].cq >> 32);
    wr32(&b->r, BAR + 0x14, 4 << 20 | 6 << 16 | 1);
    CHECK(wait_status(b, 3, 1));
}

typedef struct Cmd { uint32_t dw[16]; } Cmd;

static void submit(Box *b, unsigned n, Cmd c)
{
    Ring *q = &b->rings[n];

    c.dw[0] |= (uint32_t)++b->cid << 16;
    memcpy(host(b, q->sq + 64 * q->tail, 64), &c, 64);
    q->tail = (q->tail + 1) % DEPTH;
    wr32(&b->r, BAR + 0x1000 + 8 * n, q->tail);
}

/* The status of the next answer, or NONE. */
static unsigned reap(Box *b, unsigned n, int ms)
{
    Ring *q = &b->rings[n];
    uint64_t *e = host(b, q->cq + 16 * q->head, 16);     /* the half with the phase is written last, in one piece */

    for (int64_t end = g_get_monotonic_time() + ms * 1000; (__atomic_load_n(&e[1], __ATOMIC_ACQUIRE) >> 48 & 1) != q->phase; usleep(20)) {
        if (g_get_monotonic_time() >= end)
            return NONE;
    }
    b->result = (uint32_t)e[0];
    unsigned status = e[1] >> 49;
    if (++q->head == DEPTH) {
        q->head = 0;
        q->phase = !q->phase;
    }
    wr32(&b->r, BAR + 0x1004 + 8 * n, q->head);
    return status;
}

static unsigned run(Box *b, unsigned n, Cmd c)
{
    submit(b, n, c);
    return reap(b, n, 60000);
}

#define PRP(at) [6] = (uint32_t)(at), [7] = (uint32_t)((uint64_t)(at) >> 32)
#define PRP2(at) [8] = (uint32_t)(at), [9] = (uint32_t)((uint64_t)(at) >> 32)
#define CMD(...) ((Cmd){ .dw = { __VA_ARGS__ } })

static void make_io(Box *b, unsigned n)
{
    ring_make(b, n);
    CHECK_EQ(run(b, ADMIN, CMD(5, PRP(b->rings[n].cq), [10] = (DEPTH - 1) << 16 | n, [11] = 3)), 0);
    CHECK_EQ(run(b, ADMIN, CMD(1, PRP(b->rings[n].sq), [10] = (DEPTH - 1) << 16 | n, [11] = n << 16 | 1)), 0);
}

static uint32_t get32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static uint64_t get64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }

static void test_identify(void)
{
    Box b;

    box_make(&b);
    box_start(&b, "nvme,id=n,drive=d0,serial=S1,max_ioqpairs=2,physical_block_size=4096", NULL);
    CHECK_EQ(rd(&b.r, BAR, 8) & 0xffff, 2047);
    CHECK_EQ(rd32(&b.r, BAR + 8), 0x10400);
    CHECK_EQ(rd32(&b.r, BAR + 0x1c), 0);
    enable(&b);
    const uint8_t *p = data(&b);
    CHECK_EQ(run(&b, ADMIN, CMD(6, PRP(b.data), [10] = 1)), 0);
    CHECK(!memcmp(p + 4, "S1                  Lyre", 24) && p[77] == 7 && p[512] == 0x66 && get32(p + 516) == 256);
    CHECK_EQ(run(&b, ADMIN, CMD(6, 1, PRP(b.data))), 0);
    CHECK(get64(p) == BLOCKS && p[130] == 9);
    CHECK_EQ(run(&b, ADMIN, CMD(6, 2, PRP(b.data))), 0);
    CHECK_EQ(get64(p), 0);
    CHECK_EQ(run(&b, ADMIN, CMD(6, 0, PRP(b.data))), 0x0b | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(6, 0, PRP(b.data), [10] = 2)), 0);
    CHECK(get32(p) == 1 && !get32(p + 4));
    CHECK_EQ(run(&b, ADMIN, CMD(6, 1, PRP(b.data + 100), PRP2(b.data + PAGE), [10] = 3)), 0);
    CHECK_EQ(run(&b, ADMIN, CMD(6, 1, PRP(b.data), [10] = 0x77)), 2 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(6, 1, PRP(0x1000), [10] = 1)), 4 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(6, 1, PRP(b.data + 1), [10] = 1)), 0x13 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(0x55)), 1 | DNR);
    /* queues */
    CHECK_EQ(run(&b, ADMIN, CMD(9, [10] = 7, [11] = 0xff00ff)), 0);
    CHECK_EQ(b.result, 0x10001);
    uint64_t m = ram(&b, PAGE);
    CHECK_EQ(run(&b, ADMIN, CMD(5, PRP(m), [10] = 15 << 16 | 3, [11] = 1)), 0x101 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(5, PRP(m), [10] = 15 << 16 | 0, [11] = 1)), 0x101 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(5, PRP(m), [10] = 0 << 16 | 1, [11] = 1)), 0x102 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(5, PRP(m), [10] = 4000 << 16 | 1, [11] = 1)), 0x102 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(5, PRP(m), [10] = 15 << 16 | 1, [11] = 99 << 16 | 1)), 0x108 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(5, PRP(m + 8), [10] = 15 << 16 | 1, [11] = 1)), 2 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(1, PRP(m), [10] = 15 << 16 | 1, [11] = 1 << 16 | 1)), 0x100 | DNR);
    make_io(&b, 1);
    CHECK_EQ(run(&b, ADMIN, CMD(5, PRP(m), [10] = 15 << 16 | 1, [11] = 1)), 0x101 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(4, [10] = 1)), 0x10c | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(0, [10] = 1)), 0);
    CHECK_EQ(run(&b, ADMIN, CMD(0, [10] = 1)), 0x101 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(4, [10] = 1)), 0);
    make_io(&b, 1);
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(b.data), [12] = 7)), 0);
    box_free(&b);
}

static void test_features(void)
{
    Box b;

    box_make(&b);
    box_start(&b, "nvme,id=n,drive=d0,serial=S1", NULL);
    enable(&b);
    const uint8_t *p = data(&b);
    CHECK_EQ(run(&b, ADMIN, CMD(0xa, [10] = 6)), 0);
    CHECK_EQ(b.result, 1);
    CHECK_EQ(run(&b, ADMIN, CMD(9, [10] = 6, [11] = 0)), 0);
    CHECK(run(&b, ADMIN, CMD(0xa, [10] = 6)) == 0 && b.result == 0);
    CHECK_EQ(run(&b, ADMIN, CMD(0xa, [10] = 3)), 2 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(0xa, [10] = 0x70)), 2 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(9, [10] = 0x80000006)), 0x10d | DNR);
    CHECK(run(&b, ADMIN, CMD(0xa, [10] = 0x304)) == 0 && b.result == 4);
    CHECK(run(&b, ADMIN, CMD(9, [10] = 4, [11] = 350)) == 0 && run(&b, ADMIN, CMD(0xa, [10] = 4)) == 0 && b.result == 350);
    CHECK(run(&b, ADMIN, CMD(0xa, [10] = 0x104)) == 0 && b.result == 343);
    memcpy(data(&b), "\1\2\3\4\5\0\0\0", 8);
    CHECK_EQ(run(&b, ADMIN, CMD(9, PRP(b.data), [10] = 0xe)), 0);
    CHECK(run(&b, ADMIN, CMD(0xa, PRP(b.data), [10] = 0xe)) == 0 && p[4] == 5 && p[6] == 2);
    CHECK_EQ(run(&b, ADMIN, CMD(2, PRP(b.data), [10] = 127 << 16 | 2)), 0);
    CHECK((get32(p) >> 8 & 0xffff) == 300);
    CHECK_EQ(run(&b, ADMIN, CMD(2, PRP(b.data), [10] = 1023 << 16 | 5)), 0);
    CHECK_EQ(run(&b, ADMIN, CMD(2, PRP(b.data), [10] = 15 << 16 | 1)), 0);
    CHECK_EQ(run(&b, ADMIN, CMD(2, PRP(b.data), [10] = 15 << 16 | 0x99)), 0x109 | DNR);
    CHECK_EQ(run(&b, ADMIN, CMD(2, PRP(b.data), [10] = 15 << 16 | 2, [12] = 512)), 2 | DNR);
    CHECK(run(&b, ADMIN, CMD(8, [10] = 1)) == 0 && b.result == 1);
    /* four event requests may wait, the fifth may not */
    for (int i = 0; i < 4; i++)
        submit(&b, ADMIN, CMD(0xc));
    CHECK_EQ(run(&b, ADMIN, CMD(0xc)), 0x105 | DNR);
    /* shutdown, then a reset with those still waiting */
    wr32(&b.r, BAR + 0x14, 4 << 20 | 6 << 16 | 1 << 14 | 1);
    CHECK(wait_status(&b, 12, 8));
    wr32(&b.r, BAR + 0x14, 0);
    CHECK(wait_status(&b, 15, 0));
    enable(&b);
    CHECK_EQ(run(&b, ADMIN, CMD(6, PRP(b.data), [10] = 1)), 0);
    /* what cannot be enabled says so */
    wr32(&b.r, BAR + 0x14, 0);
    CHECK(wait_status(&b, 1, 0));
    wr32(&b.r, BAR + 0x24, 0);
    wr32(&b.r, BAR + 0x14, 4 << 20 | 6 << 16 | 1);
    CHECK(wait_status(&b, 3, 2));
    wr32(&b.r, BAR + 0x14, 0);
    CHECK(wait_status(&b, 3, 0));
    enable(&b);
    box_free(&b);
}

/* ---- data */

static Cmd rw(Box *b, unsigned op, uint64_t lba, unsigned blocks, unsigned off)
{
    Cmd c = CMD(op, 1, PRP(b->data + off), [10] = (uint32_t)lba, [11] = (uint32_t)(lba >> 32), [12] = blocks - 1);
    unsigned first = PAGE - off % PAGE, len = blocks * 512;
    uint64_t second = b->data + off - off % PAGE + PAGE;

    if (len <= first)
        return c;
    if (len - first <= PAGE) {
        memcpy(&c.dw[8], &second, 8);
        return c;
    }
    /* a list that begins near the end of its page, so that it goes on in another */
    uint64_t at = b->list + PAGE - 32, *entry = host(b, at, 32), *more = host(b, b->list + PAGE, PAGE);
    unsigned pages = (len - first + PAGE - 1) / PAGE;
    memcpy(&c.dw[8], &at, 8);
    for (unsigned i = 0; i < pages; i++) {
        uint64_t page = second + (uint64_t)i * PAGE;

        if (pages <= 4 || i < 3)
            entry[i] = page;
        else
            more[i - 3] = page;
    }
    if (pages > 4)
        entry[3] = b->list + PAGE;
    return c;
}

static void sgl(Box *b, Cmd *c, unsigned off, unsigned len)
{
    uint8_t *seg = host(b, b->list, PAGE);
    uint64_t at = b->data + off, list = b->list;
    uint32_t part = len / 3, n = 48;

    memset(seg, 0, PAGE);
    for (unsigned i = 0; i < 3; i++) {
        uint32_t bytes = i == 2 ? len - 2 * part : part;

        memcpy(seg + 16 * i, &at, 8);
        memcpy(seg + 16 * i + 8, &bytes, 4);
        at += bytes;
    }
    c->dw[0] |= 1 << 14;
    memcpy(&c->dw[6], &list, 8);
    c->dw[8] = n;
    c->dw[9] = 3u << 28;
}

static void test_data(void)
{
    g_autofree uint8_t *model = g_malloc0(SIZE);
    g_autoptr(GRand) rnd = g_rand_new_with_seed(7);
    Box b;

    box_make(&b);
    box_start(&b, "nvme,id=n,drive=d0,serial=S1", NULL);
    enable(&b);
    make_io(&b, IO);
    for (unsigned i = 0; i < 600; i++) {
        unsigned blocks = g_rand_int_range(rnd, 1, 200), off = 4 * g_rand_int_range(rnd, 0, 2048);
        unsigned lba = g_rand_int_range(rnd, 0, BLOCKS - blocks), len = blocks * 512;
        bool write = g_rand_boolean(rnd);
        Cmd c = rw(&b, write ? 1 : 2, lba, blocks, off);

        if (g_rand_int_range(rnd, 0, 3) == 0)
            sgl(&b, &c, off, len);
        memset(data(&b), g_rand_int(rnd), BUF);
        if (write)
            memcpy(model + lba * 512, data(&b) + off, len);
        CHECK_EQ(run(&b, IO, c), 0);
        CHECK(!memcmp(data(&b) + off, model + lba * 512, len));
        if (!write) {
            CHECK_EQ(run(&b, IO, rw(&b, 5, lba, blocks, off)), 0);
            data(&b)[off + len - 1] ^= 1;
            CHECK_EQ(run(&b, IO, rw(&b, 5, lba, blocks, off)), 0x285 | DNR);
        }
        if (test_case_bad)
            break;
    }
    CHECK_EQ(run(&b, IO, CMD(8, 1, [10] = 8, [12] = 1 << 25 | 15)), 0);
    memset(model + 8 * 512, 0, 16 * 512);
    CHECK(run(&b, IO, rw(&b, 2, 8, 16, 0)) == 0 && !memcmp(data(&b), model + 8 * 512, 16 * 512));
    uint32_t range[8] = { 0, 8, 32, 0, 0, 4, BLOCKS - 4, 0 };
    memcpy(data(&b), range, 32);
    CHECK_EQ(run(&b, IO, CMD(9, 1, PRP(b.data), [10] = 1, [11] = 4)), 0);
    range[6]++;
    memcpy(data(&b), range, 32);
    CHECK_EQ(run(&b, IO, CMD(9, 1, PRP(b.data), [10] = 1, [11] = 4)), 0x80 | DNR);
    CHECK_EQ(run(&b, IO, CMD(0, 1)), 0);
    CHECK_EQ(run(&b, IO, CMD(0, 0xffffffff)), 0);
    CHECK_EQ(run(&b, IO, CMD(0, 9)), 0x0b | DNR);
    CHECK_EQ(run(&b, IO, rw(&b, 2, BLOCKS, 1, 0)), 0x80 | DNR);
    CHECK_EQ(run(&b, IO, rw(&b, 1, UINT64_MAX, 2, 0)), 0x80 | DNR);
    CHECK_EQ(run(&b, IO, CMD(0x55, 1)), 1 | DNR);
    CHECK_EQ(run(&b, IO, CMD(2 | 1 << 8, 1, PRP(b.data))), 2 | DNR);
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(b.data), [12] = 1999)), 2 | DNR);       /* more than mdts */
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(0x10000000), [12] = 7)), 4 | DNR);      /* a device's registers */
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(b.data), PRP2(b.data + 8), [12] = 15)), 0x13 | DNR);
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(b.data), PRP2(b.list + 4), [12] = 63)), 0x13 | DNR);
    Cmd bad = rw(&b, 2, 0, 1, 0);
    sgl(&b, &bad, 0, 300);
    CHECK_EQ(run(&b, IO, bad), 0x0f | DNR);
    bad.dw[8] = 17;
    CHECK_EQ(run(&b, IO, bad), 0x0d | DNR);
    bad.dw[8] = 16;                     /* a segment that is its own next one */
    memcpy(host(&b, b.list, 16), &bad.dw[6], 16);
    CHECK_EQ(run(&b, IO, bad), 0x0d | DNR);
    bad.dw[9] = 2u << 28;
    memcpy(host(&b, b.list, 16), &bad.dw[6], 16);
    CHECK_EQ(run(&b, IO, bad), 0x0e | DNR);
    bad.dw[9] = 5u << 28;
    CHECK_EQ(run(&b, IO, bad), 0x11 | DNR);
    box_free(&b);
}

/* Answers that find no room wait; a queue is deleted, the controller reset with commands under way. */
static void test_full(void)
{
    Box b;

    box_make(&b);
    add_drive(&b, "slow", ",throttling.iops-total=1");
    box_start(&b, "nvme,id=n,drive=slow,serial=S1", NULL);
    enable(&b);
    make_io(&b, IO);
    Ring *q = &b.rings[IO];
    for (unsigned i = 0; i < DEPTH - 1; i++)
        submit(&b, IO, CMD(0, 1));
    usleep(50000);
    for (unsigned i = 0; i < 5; i++)
        submit(&b, IO, CMD(0, 1));
    usleep(20000);
    for (unsigned i = 0; i < DEPTH + 4; i++)
        CHECK_EQ(reap(&b, IO, 60000), 0);
    CHECK_EQ(reap(&b, IO, 20), NONE);
    for (unsigned i = 0; i < 6; i++)
        submit(&b, IO, rw(&b, 2, i, 1, 0));
    wr32(&b.r, BAR + 0x14, 0);          /* a reset lets them go */
    CHECK(wait_status(&b, 1, 0));
    enable(&b);
    make_io(&b, IO);
    wr32(&b.r, BAR + 0x1000 + 8 * 77, 3);
    wr32(&b.r, BAR + 0x1000 + 8 * 2, 3);
    wr32(&b.r, BAR + 0x1000 + 8 * IO, 999);
    wr32(&b.r, BAR + 0x1004 + 8 * IO, 999);
    wr32(&b.r, BAR + 0x1008, 0);
    CHECK_EQ(run(&b, IO, CMD(0, 1)), 0);
    CHECK(q->head == 1);
    pci_config_write(b.pci, 4, 2, 2);   /* no bus master: nothing of its memory is there */
    submit(&b, IO, CMD(0, 1));
    CHECK(wait_status(&b, 2, 2));
    box_free(&b);
}

static void test_namespaces(void)
{
    Box b;

    box_make(&b);
    add_drive(&b, "d1", ",readonly=on");
    box_start(&b, "nvme,id=n,serial=S1", "nvme-ns,drive=d1,nsid=5,id=ns5,logical_block_size=4096,uuid=00112233-4455-6677-8899-aabbccddeeff,eui64=7");
    enable(&b);
    make_io(&b, IO);
    const uint8_t *p = data(&b);
    CHECK(run(&b, ADMIN, CMD(6, 0, PRP(b.data), [10] = 2)) == 0 && get32(p) == 5 && !get32(p + 4));
    CHECK(run(&b, ADMIN, CMD(6, 5, PRP(b.data))) == 0 && get64(p) == SIZE / 4096 && p[130] == 12 && p[99] == 1);
    CHECK(run(&b, ADMIN, CMD(6, 5, PRP(b.data), [10] = 3)) == 0 && p[0] == 1 && p[11] == 7 && p[12] == 3 && p[17] == 0x11);
    CHECK_EQ(run(&b, IO, CMD(1, 5, PRP(b.data))), 0x182 | DNR);
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(b.data))), 0x0b | DNR);
    CHECK_EQ(run(&b, IO, CMD(2, 5, PRP(b.data))), 0);
    submit(&b, ADMIN, CMD(0xc));
    CHECK_EQ(reap(&b, ADMIN, 20), NONE);
    rig_must(device_add(b.r.vm, "nvme-ns,drive=d0,bus=n,id=new"));
    CHECK_EQ(reap(&b, ADMIN, 60000), 0);
    CHECK_EQ(b.result, 4 << 16 | 2);
    CHECK(run(&b, ADMIN, CMD(2, PRP(b.data), [10] = 1023 << 16 | 4)) == 0 && get32(p) == 1);
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(b.data))), 0);
    device_free(device_find(b.r.vm, "new"));
    CHECK_EQ(run(&b, IO, CMD(2, 1, PRP(b.data))), 0x0b | DNR);
    CHECK(rig_says(device_add(b.r.vm, "nvme-ns,drive=d0,nsid=5"), "already"));
    CHECK(rig_says(device_add(b.r.vm, "nvme-ns,drive=d0,nsid=500"), "1 to 256"));
    CHECK(rig_says(device_add(b.r.vm, "nvme-ns,drive=d0,uuid=xyz"), "no UUID"));
    box_free(&b);
}

static void test_errors(void)
{
    Box b;

    box_make(&b);
    g_autofree char *node = g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"bad\",\"file\":{\"driver\":\"blkdebug\",\"inject-error\":["
        "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":28,\"sector\":8,\"once\":true},"
        "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":5,\"sector\":16},"
        "{\"event\":\"none\",\"iotype\":\"read\",\"errno\":5,\"sector\":16}],"
        "\"image\":{\"driver\":\"file\",\"filename\":\"%s\",\"locking\":\"off\"}}}", b.disk.img);
    rig_must(disks_add_blockdev(b.r.vm->disks, node));
    box_start(&b, "nvme,id=n,drive=bad,serial=S1", NULL);
    enable(&b);
    make_io(&b, IO);
    CHECK_EQ(run(&b, IO, rw(&b, 2, 16, 1, 0)), 0x281);
    CHECK_EQ(run(&b, IO, rw(&b, 1, 16, 1, 0)), 0x280);
    submit(&b, IO, rw(&b, 1, 8, 1, 0));
    CHECK_EQ(reap(&b, IO, 50), NONE);
    rig_turn(&b.r, 1);
    CHECK_EQ(b.r.vm->state, RUN_IO_ERROR);
    submit(&b, IO, rw(&b, 2, 0, 1, 0));
    CHECK_EQ(reap(&b, IO, 30), NONE);
    vm_start(b.r.vm);
    CHECK_EQ(reap(&b, IO, 60000), 0);
    CHECK_EQ(reap(&b, IO, 60000), 0);
    box_free(&b);
}

/* Any commands at all, and any doorbells. */
static void test_any(void)
{
    g_autoptr(GRand) rnd = g_rand_new_with_seed(13);
    Box b;

    box_make(&b);
    box_start(&b, "nvme,id=n,drive=d0,serial=S1", NULL);
    for (unsigned round = 0; round < 40; round++) {
        enable(&b);
        make_io(&b, IO);
        for (unsigned i = 0; i < 60; i++) {
            unsigned n = g_rand_int_range(rnd, 0, 2);
            Cmd c;

            for (unsigned k = 0; k < 16; k++)
                c.dw[k] = g_rand_int_range(rnd, 0, 4) ? (uint32_t)g_rand_int_range(rnd, 0, 20) : g_rand_int(rnd);
            c.dw[0] = g_rand_int_range(rnd, 0, 14) | (g_rand_int_range(rnd, 0, 6) ? 0 : (g_rand_int(rnd) & 0xff00));
            c.dw[1] = g_rand_int_range(rnd, 0, 3);
            if (g_rand_int_range(rnd, 0, 4)) {
                c.dw[6] = b.data + g_rand_int_range(rnd, 0, 3) * 4;
                c.dw[7] = 0;
                c.dw[8] = b.list;
                c.dw[9] = 0;
            }
            submit(&b, n, c);
            reap(&b, n, g_rand_int_range(rnd, 0, 3));
            if (g_rand_int_range(rnd, 0, 30) == 0)
                wr32(&b.r, BAR + 0x1000 + 4 * g_rand_int_range(rnd, 0, 8), g_rand_int_range(rnd, 0, 20));
        }
        wr32(&b.r, BAR + 0x14, 0);
        CHECK(wait_status(&b, 1, 0));
        b.next = b.rings[0].sq;
    }
    box_free(&b);
}

static _Atomic bool held;
static void hold_thread(void *opaque) { while (held) usleep(50); }
static bool pin(Box *b) { return pci_config_read(b->pci, 6, 2) & 8; }
static bool pin_gets(Box *b, bool want)
{
    for (int i = 0; i < 100000 && pin(b) != want; i++)
        usleep(50);
    return pin(b) == want;
}

/* The pin falls with the bell, however late the thread comes; and rises again if that was not all. */
static void test_pin(void)
{
    Box b;

    box_make(&b);
    box_start(&b, "nvme,id=n,drive=d0,serial=S1", NULL);
    enable(&b);
    submit(&b, ADMIN, CMD(6, PRP(b.data), [10] = 1));
    submit(&b, ADMIN, CMD(6, PRP(b.data), [10] = 1));
    CHECK(pin_gets(&b, true));
    CHECK_EQ(reap(&b, ADMIN, 60000), 0);                     /* one of two: it may fall, and is high in the end */
    CHECK(pin_gets(&b, true));
    held = true;
    loop_call(iothread_loop(disks_thread(b.r.vm->disks)), hold_thread, NULL);
    CHECK_EQ(reap(&b, ADMIN, 60000), 0);
    CHECK(!pin(&b));
    held = false;
    usleep(1000);
    CHECK(pin_gets(&b, false));
    /* Masked: at once as well. */
    submit(&b, ADMIN, CMD(6, PRP(b.data), [10] = 1));
    CHECK(pin_gets(&b, true));
    held = true;
    loop_call(iothread_loop(disks_thread(b.r.vm->disks)), hold_thread, NULL);
    wr32(&b.r, BAR + 0x0c, 1);
    CHECK(!pin(&b));
    held = false;
    wr32(&b.r, BAR + 0x10, 1);
    CHECK(pin_gets(&b, true));
    wr32(&b.r, BAR + 0x1004, DEPTH);                        /* no place in the queue: nothing was taken */
    CHECK(pin_gets(&b, true));
    CHECK_EQ(reap(&b, ADMIN, 60000), 0);
    CHECK(pin_gets(&b, false));
    box_free(&b);
}

static void test_boot_order(void)
{
    Box b;

    box_make(&b);
    add_drive(&b, "d1", ",readonly=on");
    add_drive(&b, "d2", ",readonly=on");
    add_drive(&b, "d3", ",readonly=on");
    GPtrArray *devices = g_ptr_array_new();
    const char *const lines[] = {
        "nvme,id=n,drive=d1,serial=S1,bootindex=2,addr=3,share-rw=on", "virtio-blk-device,drive=d2,bootindex=1,bus=virtio-mmio-bus.0,share-rw=on",
        "virtio-scsi-pci,addr=5", "scsi-hd,drive=d3,bootindex=0,scsi-id=4,lun=1,share-rw=on",
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++)
        g_ptr_array_add(devices, (char *)lines[i]);
    b.r.config.devices = devices;
    rig_board(&b.r);
    b.r.config.devices = NULL;
    g_ptr_array_free(devices, true);
    g_autofree char *text = boot_order_text(b.r.vm, true);
    CHECK_STR(text, "/pci@i0cf8/scsi@5/channel@0/disk@4,1\n/virtio-mmio@0000000010001000/disk@0,0\n"
                    "/pci@i0cf8/pci1b36,0010@3/namespace@1,0");
    box_free(&b);
}

static void test_refused(void)
{
    static const struct { const char *device, *text; } rows[] = {
        { "nvme,drive=d0", "serial" }, { "nvme,drive=d0,serial=123456789012345678901", "longer" },
        { "nvme,serial=1,max_ioqpairs=0", "1 to" }, { "nvme,serial=1,mdts=11", "4 MiB" },
        { "nvme,serial=1,msix_qsize=0", "1 to" }, { "nvme,serial=1,drive=dx", "Did you mean" },
        { "nvme-ns,drive=d0", "bus" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        GPtrArray *devices = g_ptr_array_new();
        Box b;

        box_make(&b);
        g_ptr_array_add(devices, (char *)rows[i].device);
        b.r.config.devices = devices;
        CHECK(rig_says(rig_try_board(&b.r), rows[i].text));
        g_ptr_array_free(devices, true);
        b.r.config.devices = NULL;
        box_free(&b);
    }
}

int main(void)
{
    RUN(test_identify);
    RUN(test_features);
    RUN(test_data);
    RUN(test_full);
    RUN(test_namespaces);
    RUN(test_errors);
    RUN(test_any);
    RUN(test_pin);
    RUN(test_boot_order);
    RUN(test_refused);
    return test_end();
}
