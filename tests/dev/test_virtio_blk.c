/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk driven by its rings: what it says of itself, every request against a
 * model of the disk, errors of the host, nonsense of the driver, resets in the midst of work.
 */
#define RIG_HARTS 1
#include "tests/dev/disk-rig.h"
#include "tests/dev/vdriver.h"

enum {
    IN = 0, OUT = 1, FLUSH = 4, ID = 8, DISCARD = 11, ZEROES = 13, OK = 0, IOERR = 1, UNSUPP = 2, NONE = 0xff,
    SIZE = 1 << 20, SECTORS = SIZE / 512,
};

typedef struct Box {
    Rig r;
    Vd d;
    DiskRig disk;
    uint64_t header, data, status;      /* of one request at a time */
} Box;

static void box_disks(Box *b)
{
    disk_rig_init(&b->disk, &b->r, SIZE);
    rig_board(&b->r);
    b->r.vm->state = RUN_RUNNING;
}

/* -drive of raw format with id d0, and the options; then the device on it. */
static void box_make(Box *b, const char *drive, const char *device)
{
    *b = (Box){0};
    box_disks(b);
    g_autofree char *arg = g_strdup_printf("if=none,id=d0,format=raw,file=%s%s", b->disk.img, drive);
    g_autofree char *dev = g_strdup_printf("virtio-blk-device,drive=d0%s", device);
    rig_must(disks_add_drive(b->r.vm->disks, arg, false));
    vd_attach(&b->d, &b->r, dev);
}

/* The same on a blkdebug node, by -blockdev. */
static void box_faulty(Box *b, const char *rules, const char *device)
{
    *b = (Box){0};
    box_disks(b);
    g_autofree char *arg = g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"d0\",\"discard\":\"unmap\",\"file\":{\"driver\":"
        "\"blkdebug\",\"discard\":\"unmap\",\"inject-error\":[%s],\"image\":{\"driver\":\"file\",\"filename\":\"%s\"}}}", rules, b->disk.img);
    g_autofree char *dev = g_strdup_printf("virtio-blk-device,drive=d0%s", device);
    rig_must(disks_add_blockdev(b->r.vm->disks, arg));
    vd_attach(&b->d, &b->r, dev);
}

static void box_free(Box *b)
{
    vd_detach(&b->d);
    disk_rig_free(&b->disk, &b->r);
}

static void box_start(Box *b, uint64_t features)
{
    vd_start(&b->d, features, 1, 64);
    b->header = vd_alloc(&b->d, 16);
    b->data = vd_alloc(&b->d, 1 << 17);
    b->status = vd_alloc(&b->d, 64);
}

static void put_header(Box *b, uint64_t at, uint32_t type, uint64_t sector)
{
    uint8_t *h = vd_host(&b->d, at, 16);

    memset(h, 0, 16);
    memcpy(h, &type, 4);
    memcpy(h + 8, &sector, 8);
}

/* Queues it; len bytes of b->data. */
static void ask(Box *b, uint32_t type, uint64_t sector, uint32_t len)
{
    VdBuf bufs[] = { { b->header, 16, false }, { b->data, len, type == IN || type == ID }, { b->status, 1, true } };

    put_header(b, b->header, type, sector);
    *(uint8_t *)vd_host(&b->d, b->status, 1) = NONE;
    if (!len)
        bufs[1] = bufs[2];
    vd_add(&b->d, 0, bufs, len ? 3 : 2, b);
    vd_kick(&b->d, 0);
}

/* The status it ends with; NONE: it does not. */
static uint8_t answer(Box *b, int ms)
{
    return vd_used(&b->d, 0, ms, NULL) ? *(uint8_t *)vd_host(&b->d, b->status, 1) : NONE;
}

static uint8_t request(Box *b, uint32_t type, uint64_t sector, uint32_t len)
{
    ask(b, type, sector, len);
    return answer(b, 60000);
}

static void *data(Box *b) { return vd_host(&b->d, b->data, 1 << 17); }

static uint8_t ranges(Box *b, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
    uint8_t *p = data(b);

    memcpy(p, &sector, 8);
    memcpy(p + 8, &n, 4);
    memcpy(p + 12, &flags, 4);
    return request(b, type, 0, 16);
}

static void test_identity(void)
{
    Box b;

    box_make(&b, "", ",serial=disk-7,num-queues=3,queue-size=64,logical_block_size=1024,physical_block_size=4096,opt_io_size=8192");
    VirtioDevice *v = b.d.v;
    CHECK_EQ(virtio_config_read(v, 0, 4), SECTORS);
    CHECK_EQ(virtio_config_read(v, 12, 4), 62);
    CHECK_EQ(virtio_config_read(v, 20, 4), 1024);
    CHECK_EQ(virtio_config_read(v, 24, 1), 2);
    CHECK_EQ(virtio_config_read(v, 28, 4), 8);
    CHECK_EQ(virtio_config_read(v, 32, 1), 1);
    CHECK_EQ(virtio_config_read(v, 34, 2), 3);
    CHECK_EQ(virtio_config_read(v, 40, 4), 64);
    CHECK_EQ(virtio_config_read(v, 56, 1), 1);
    CHECK((v->offered & 0x7e54) == 0x7e54 && !(v->offered & 1 << 5));
    box_start(&b, UINT64_MAX);
    CHECK_EQ(request(&b, ID, 0, 20), OK);
    CHECK(!memcmp(data(&b), "disk-7\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20));
    CHECK_EQ(request(&b, FLUSH, 0, 0), OK);
    CHECK_EQ(request(&b, 99, 0, 0), UNSUPP);
    CHECK_EQ(request(&b, IN, 1, 1024), IOERR);          /* in the middle of a block */
    CHECK_EQ(request(&b, IN, 0, 512), IOERR);
    CHECK_EQ(request(&b, IN, SECTORS - 2, 1024), OK);
    CHECK_EQ(request(&b, IN, SECTORS, 1024), IOERR);
    CHECK_EQ(request(&b, OUT, UINT64_MAX / 512, 1024), IOERR);
    CHECK_EQ(request(&b, OUT, UINT64_MAX, 1024), IOERR);
    virtio_config_write(v, 32, 0, 1);
    CHECK_EQ(virtio_config_read(v, 32, 1), 0);
    box_start(&b, 0);                                   /* an old driver: no flush, so writes go through */
    CHECK_EQ(virtio_config_read(v, 32, 1), 0);
    box_start(&b, 1 << 9);
    CHECK_EQ(virtio_config_read(v, 32, 1), 1);
    box_free(&b);
}

static void test_ranges(void)
{
    Box b;

    box_make(&b, ",discard=unmap", "");
    box_start(&b, UINT64_MAX);
    memset(data(&b), 0x77, 8192);
    CHECK_EQ(request(&b, OUT, 0, 8192), OK);
    CHECK_EQ(ranges(&b, ZEROES, 2, 4, 0), OK);
    CHECK_EQ(ranges(&b, ZEROES, 8, 8, 1), OK);
    CHECK_EQ(ranges(&b, ZEROES, 8, 8, 2), UNSUPP);
    CHECK_EQ(ranges(&b, DISCARD, 8, 8, 1), UNSUPP);
    CHECK_EQ(ranges(&b, DISCARD, SECTORS - 1, 2, 0), IOERR);
    CHECK_EQ(ranges(&b, DISCARD, 0, 4194304, 0), IOERR);
    CHECK_EQ(ranges(&b, ZEROES, UINT64_MAX, 1, 0), IOERR);
    CHECK_EQ(ranges(&b, DISCARD, 100, 0, 0), OK);
    CHECK_EQ(ranges(&b, DISCARD, 100, 100, 0), OK);
    CHECK_EQ(request(&b, DISCARD, 0, 15), IOERR);
    CHECK_EQ(request(&b, DISCARD, 0, 0), IOERR);
    CHECK_EQ(request(&b, IN, 0, 8192), OK);
    const uint8_t *p = data(&b);
    CHECK(p[1023] == 0x77 && !p[1024] && !p[3071] && p[3072] == 0x77 && p[4095] == 0x77 && !p[4096] && !p[8191]);
    box_free(&b);
}

static void test_read_only(void)
{
    Box b;

    box_make(&b, ",readonly=on", "");
    CHECK(b.d.v->offered & 1 << 5);
    box_start(&b, UINT64_MAX);
    CHECK_EQ(request(&b, OUT, 0, 512), IOERR);
    CHECK_EQ(ranges(&b, DISCARD, 0, 1, 0), IOERR);
    CHECK_EQ(request(&b, IN, 0, 512), OK);
    CHECK_EQ(request(&b, FLUSH, 0, 0), OK);
    box_free(&b);
}

/* Each buffer alone makes no sense: its queue stops, the device wants a reset, and works after it. */
static void test_nonsense(void)
{
    Box b;

    box_make(&b, "", "");
    const struct { uint32_t out, in; } rows[] = { { 15, 1 }, { 16, 0 }, { 0, 16 }, { 4096, 0 } };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        box_start(&b, UINT64_MAX);
        VdBuf bufs[2];
        unsigned n = 0;

        if (rows[i].out)
            bufs[n++] = (VdBuf){ b.header, rows[i].out, false };
        if (rows[i].in)
            bufs[n++] = (VdBuf){ b.data, rows[i].in, true };
        vd_add(&b.d, 0, bufs, n, &b);
        vd_kick(&b.d, 0);
        CHECK(!vd_used(&b.d, 0, 30, NULL));
        CHECK(b.d.v->status & VIRTIO_NEEDS_RESET);
    }
    box_start(&b, UINT64_MAX);
    CHECK_EQ(request(&b, IN, 0, 512), OK);
    /* Header, data and status in one descriptor of each kind; header in pieces. */
    put_header(&b, b.header, OUT, 3);
    VdBuf odd[] = { { b.header, 5, false }, { b.header + 5, 11, false }, { b.data, 100, false }, { b.data + 100, 412, false },
                    { b.status, 1, true } };
    vd_add(&b.d, 0, odd, 5, &b);
    vd_kick(&b.d, 0);
    CHECK_EQ(answer(&b, 60000), OK);
    put_header(&b, b.header, IN, 3);
    VdBuf one[] = { { b.header, 16, false }, { b.data, 513, true } };
    uint32_t len = 0;
    ((uint8_t *)data(&b))[512] = NONE;
    vd_add(&b.d, 0, one, 2, &b);
    vd_kick(&b.d, 0);
    CHECK(vd_used(&b.d, 0, 5000, &len) && len == 513 && ((uint8_t *)data(&b))[512] == OK);
    box_free(&b);
}

/* ---- many at once, against a model */

enum { SLOTS = 16, SLOT_BYTES = 32 << 10 };

typedef struct Slot {
    bool busy;
    uint32_t type, len;
    uint64_t sector, header, data, status;
    uint8_t *want;
} Slot;

static bool overlaps(const Slot *slots, uint64_t sector, uint32_t len)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (slots[i].busy && sector < slots[i].sector + slots[i].len / 512 && slots[i].sector < sector + len / 512)
            return true;
    }
    return false;
}

static void random_ask(Box *b, GRand *rnd, Slot *slots, Slot *s, uint8_t *model, uint64_t *next)
{
    s->type = g_rand_int_range(rnd, 0, 8) < 4 ? OUT : g_rand_boolean(rnd) ? IN : ZEROES;
    s->len = 512 * g_rand_int_range(rnd, 1, SLOT_BYTES / 512 + 1);
    s->sector = g_rand_boolean(rnd) ? *next : (uint64_t)g_rand_int_range(rnd, 0, SECTORS);
    if (s->sector + s->len / 512 > SECTORS)
        s->sector = 0;
    if (overlaps(slots, s->sector, s->len))
        return;
    *next = s->sector + s->len / 512;
    s->busy = true;
    uint8_t *p = vd_host(&b->d, s->data, SLOT_BYTES), *at = model + s->sector * 512;
    uint32_t n = s->len / 512, flags = g_rand_boolean(rnd);
    put_header(b, s->header, s->type, s->type == ZEROES ? 0 : s->sector);
    if (s->type == OUT) {
        memset(p, g_rand_int(rnd), s->len);
        memcpy(at, p, s->len);
    } else if (s->type == IN) {
        memset(p, 0xee, s->len);
        s->want = g_memdup2(at, s->len);
    } else {
        memset(at, 0, s->len);
        memcpy(p, &s->sector, 8);
        memcpy(p + 8, &n, 4);
        memcpy(p + 12, &flags, 4);
    }
    *(uint8_t *)vd_host(&b->d, s->status, 1) = NONE;
    uint32_t half = s->len / 2;
    VdBuf bufs[] = { { s->header, 16, false }, { s->data, half, s->type == IN }, { s->data + half, s->len - half, s->type == IN },
                     { s->status, 1, true } };
    if (s->type == ZEROES) {
        bufs[1].len = 16;
        bufs[2] = bufs[3];
    }
    vd_add(&b->d, 0, bufs, s->type == ZEROES ? 3 : 4, s);
}

static unsigned collect(Box *b, unsigned flying, unsigned leave)
{
    while (flying > leave) {
        Slot *s = vd_used(&b->d, 0, 5000, NULL);

        CHECK(s);
        if (!s)
            return 0;
        CHECK_EQ(*(uint8_t *)vd_host(&b->d, s->status, 1), OK);
        if (s->type == IN)
            CHECK(!memcmp(vd_host(&b->d, s->data, SLOT_BYTES), s->want, s->len));
        g_free(s->want);
        s->want = NULL;
        s->busy = false;
        flying--;
    }
    return flying;
}

static void random_work(const char *drive, const char *device, unsigned rounds)
{
    g_autofree uint8_t *model = g_malloc0(SIZE);
    g_autoptr(GRand) rnd = g_rand_new_with_seed(5);
    Slot slots[SLOTS] = {0};
    unsigned flying = 0;
    uint64_t next = 0;
    Box b;

    box_make(&b, drive, device);
    box_start(&b, UINT64_MAX);
    for (unsigned i = 0; i < SLOTS; i++) {
        slots[i].header = vd_alloc(&b.d, 16);
        slots[i].data = vd_alloc(&b.d, SLOT_BYTES);
        slots[i].status = vd_alloc(&b.d, 1);
    }
    for (unsigned i = 0; i < rounds; i++) {
        Slot *s = &slots[g_rand_int_range(rnd, 0, SLOTS)];

        if (!s->busy) {
            random_ask(&b, rnd, slots, s, model, &next);
            flying += s->busy;
        }
        if (g_rand_int_range(rnd, 0, 4) == 0)
            vd_kick(&b.d, 0);
        if (flying >= SLOTS - 2 || g_rand_int_range(rnd, 0, 20) == 0) {
            vd_kick(&b.d, 0);
            flying = collect(&b, flying, g_rand_int_range(rnd, 0, 4));
        }
    }
    vd_kick(&b.d, 0);
    collect(&b, flying, 0);
    CHECK_EQ(request(&b, FLUSH, 0, 0), OK);
    CHECK(b.d.interrupts > 0);
    g_autofree char *img = b.disk.img;
    gsize len;
    g_autofree char *text = NULL;
    CHECK(g_file_get_contents(img, &text, &len, NULL) && len == SIZE && !memcmp(text, model, SIZE));
    b.disk.img = g_strdup(img);
    box_free(&b);
}

static void test_random(void)
{
    random_work("", "", 3000);
    random_work(",cache=directsync,aio=io_uring,discard=unmap", ",request-merging=off,queue-size=128", 300);
    random_work(",throttling.iops-total=100000,detect-zeroes=on", ",write-cache=off", 300);
}

/* ---- the host's errors */

static void test_errors(void)
{
    Box b;

    box_faulty(&b, "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":5,\"sector\":8},"
                   "{\"event\":\"none\",\"iotype\":\"read\",\"errno\":5,\"sector\":16,\"once\":true}", "");
    box_start(&b, UINT64_MAX);
    CHECK_EQ(request(&b, OUT, 8, 512), IOERR);
    CHECK_EQ(request(&b, OUT, 0, 4096), OK);
    CHECK_EQ(request(&b, IN, 16, 512), IOERR);
    CHECK_EQ(request(&b, IN, 16, 512), OK);
    /* Three that are joined: the middle one alone fails. */
    uint64_t heads[3], states[3];
    for (unsigned i = 0; i < 3; i++) {
        heads[i] = vd_alloc(&b.d, 16);
        states[i] = vd_alloc(&b.d, 1);
        put_header(&b, heads[i], OUT, 7 + i);
        vd_add(&b.d, 0, (VdBuf[]){ { heads[i], 16, false }, { b.data, 512, false }, { states[i], 1, true } }, 3, &b);
    }
    vd_kick(&b.d, 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK(vd_used(&b.d, 0, 5000, NULL));
    CHECK_EQ(*(uint8_t *)vd_host(&b.d, states[0], 1), OK);
    CHECK_EQ(*(uint8_t *)vd_host(&b.d, states[1], 1), IOERR);
    CHECK_EQ(*(uint8_t *)vd_host(&b.d, states[2], 1), OK);
    box_free(&b);
    box_faulty(&b, "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":5,\"sector\":8}", ",werror=ignore");
    box_start(&b, UINT64_MAX);
    CHECK_EQ(request(&b, OUT, 8, 512), OK);
    box_free(&b);
}

/* The machine stops when the disk is full; the request ends when it goes on. */
static void test_stop(void)
{
    Box b;

    box_faulty(&b, "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":28,\"sector\":8,\"once\":true}", "");
    box_start(&b, UINT64_MAX);
    ask(&b, OUT, 8, 512);
    CHECK_EQ(answer(&b, 50), NONE);
    rig_turn(&b.r, 1);
    CHECK_EQ(b.r.vm->state, RUN_IO_ERROR);
    CHECK_EQ(answer(&b, 10), NONE);
    vm_start(b.r.vm);
    CHECK_EQ(answer(&b, 60000), OK);
    box_free(&b);
    /* A reset instead: it is forgotten. */
    box_faulty(&b, "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":28,\"sector\":8}", ",werror=stop");
    box_start(&b, UINT64_MAX);
    ask(&b, OUT, 8, 512);
    CHECK_EQ(answer(&b, 50), NONE);
    rig_turn(&b.r, 1);
    virtio_set_status(b.d.v, 0);
    vm_start(b.r.vm);
    box_start(&b, UINT64_MAX);
    CHECK_EQ(answer(&b, 30), NONE);
    CHECK_EQ(request(&b, IN, 0, 512), OK);
    ask(&b, OUT, 8, 512);               /* and the device goes while one is kept */
    CHECK_EQ(answer(&b, 50), NONE);
    rig_turn(&b.r, 1);
    box_free(&b);
}

/* A reset does not wait for what a throttle holds back. */
static void test_reset(void)
{
    Box b;

    box_make(&b, ",throttling.iops-total=1", "");
    box_start(&b, UINT64_MAX);
    for (unsigned i = 0; i < 12; i++) {
        b.header = vd_alloc(&b.d, 16);          /* the ones before are being read */
        b.status = vd_alloc(&b.d, 1);
        ask(&b, i & 1 ? OUT : IN, i * 8, 4096);
    }
    int64_t t = g_get_monotonic_time();
    virtio_set_status(b.d.v, 0);
    CHECK(g_get_monotonic_time() - t < 2000000);
    box_start(&b, UINT64_MAX);
    ask(&b, IN, 0, 512);
    virtq_reset(virtio_queue(b.d.v, 0));
    CHECK(!virtq_enabled(virtio_queue(b.d.v, 0)));
    ask(&b, IN, 0, 512);
    box_free(&b);
}

/* ---- another size, while it runs */

static void resize(void *opaque)
{
    Box *b = opaque;
    BlockNode *n = disks_find(b->r.vm->disks, "d0")->node;
    Disk *d;

    rig_must(disk_new(n, PERM_RESIZE, PERM_ALL, "the test", &d));
    rig_must(disk_resize(d, 2 * SIZE, false, (Preallocation){ PREALLOC_OFF }, 0));
    disk_free(d);
}

static void test_resize(void)
{
    Box b;

    box_make(&b, "", "");
    box_start(&b, UINT64_MAX);
    uint32_t generation = b.d.v->generation;
    CHECK_EQ(request(&b, IN, SECTORS, 512), IOERR);
    iothread_run(disks_thread(b.r.vm->disks), resize, &b);
    CHECK(b.d.config_changes == 1 && b.d.v->generation != generation);
    CHECK_EQ(virtio_config_read(b.d.v, 0, 4), 2 * SECTORS);
    CHECK_EQ(request(&b, OUT, 2 * SECTORS - 1, 512), OK);
    CHECK_EQ(request(&b, IN, 2 * SECTORS, 512), IOERR);
    box_free(&b);
}

/* ---- properties */

static void test_refused(void)
{
    static const struct { const char *device, *text; } rows[] = {
        { "", "drive=ID" }, { ",drive=dx", "Did you mean 'd0'" }, { ",drive=d0,num-queues=0", "num-queues" },
        { ",drive=d0,queue-size=100", "power of two" }, { ",drive=d0,queue-size=2", "power of two" },
        { ",drive=d0,logical_block_size=768", "power of two" }, { ",drive=d0,logical_block_size=4k,physical_block_size=512", "more than" },
        { ",drive=d0,serial=123456789012345678901", "longer" }, { ",drive=d0,scsi=on", "virtio-scsi" },
        { ",drive=d0,iothread=t9", "-object iothread" }, { ",drive=d0,opt_io_size=1000", "multiples" },
        { ",drive=d0,rerror=enospc", "never fills" }, { ",drive=d0,max-discard-sectors=0", "at least" },
        { ",drive=empty", "no medium" }, { ",drive=d0,iothread-vq-mapping=x", "is a list" },
        { ",drive=d0,iothread-vq-mapping=[{\"iothread\":\"t9\"}]", "-object iothread" },
        { ",drive=d0,iothread-vq-mapping=[{\"iothread\":\"disks\",,\"vqs\":[0,,0]}]", "each once" },
        { ",drive=d0,iothread-vq-mapping=[{\"iothread\":\"disks\",,\"vqs\":[1]}]", "0 to 0" },
    };
    Box b = {0};

    box_disks(&b);
    g_autofree char *arg = g_strdup_printf("if=none,id=d0,format=raw,file=%s", b.disk.img);
    rig_must(disks_add_drive(b.r.vm->disks, arg, false));
    rig_must(disks_add_drive(b.r.vm->disks, "if=none,id=empty,media=cdrom", false));
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *device = g_strdup_printf("virtio-blk-device%s", rows[i].device);

        CHECK(rig_says(vd_try_attach(&b.d, &b.r, device), rows[i].text));
    }
    vd_attach(&b.d, &b.r, "virtio-blk-device,drive=d0,num-queues=2,iothread-vq-mapping=[{\"iothread\":\"disks\",,\"vqs\":[1,,0]}]");
    box_free(&b);
}

int main(void)
{
    RUN(test_identity);
    RUN(test_ranges);
    RUN(test_read_only);
    RUN(test_nonsense);
    RUN(test_random);
    RUN(test_errors);
    RUN(test_stop);
    RUN(test_reset);
    RUN(test_resize);
    RUN(test_refused);
    return test_end();
}
