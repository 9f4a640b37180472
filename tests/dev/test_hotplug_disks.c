/* SPDX-License-Identifier: MIT */
/*
 * Disks and NICs that come and go on root ports by native hotplug (PCI Express Base
 * 4.0, section 6.7), a thousand times in random order, while a virtio-blk disk
 * beside them and those that came are read and written: power goes in the midst
 * of requests. After that no byte of guest memory changes; what was written before
 * is there when the disk comes back; no file and no memory is left behind.
 */
#define RIG_HARTS 1
#include <dirent.h>

#include "tests/dev/disk-rig.h"
#include "tests/dev/pci-rig.h"
#include "tests/dev/virtio-pci-driver.h"

enum {
    PORTS = 4, CYCLES = 1000, SIZE = 1 << 20, SECTORS = SIZE / 512, QUEUE = 16, DEPTH = 5, MOST = 8, FLYING = 32,
    CTL = 0x18, STA = 0x1a, ABP = 1, PDC = 8, PDS = 0x40, OFF = 0x7c0 /* power off, indicators too */, ON = 0x1c0,
    IN = 0, OUT = 1,
};
#define WINDOW UINT64_C(0x1000000)      /* of each port */
#define HEAP   UINT64_C(0x200000)       /* of each driver */

typedef enum Kind { BLK, NVME, SCSI, NET, KINDS } Kind;
typedef enum Life { EMPTY, DARK, LIT, ASKED } Life;   /* nobody; no power; works; its button was pressed */

typedef struct Request { bool busy, write; unsigned sector, len; uint64_t at; int id; } Request;

/* A driver of virtio-blk. Requests in flight never overlap, so `model` is what the disk holds. */
typedef struct Blk {
    Vd d;
    Vp vp;
    VdQueue *q;
    Request reqs[DEPTH];
    uint8_t *model;
    unsigned done, lost;
} Blk;

typedef struct Port {
    unsigned n;
    Life state;
    Kind kind;
    uint64_t cfg, slot, card, mem;
    Blk blk;
    uint64_t nvme_ram;
    unsigned tail;
} Port;

static DiskRig rig_disk;
static Blk fixed;
static Port ports[PORTS];
static uint8_t *models[PORTS + 1];
static unsigned heaps;

static uint64_t heap_of(unsigned n) { return VD_RAM + 0x100000 + n * HEAP; }

/* ---- virtio-blk */

static void blk_open(Blk *b, uint64_t at, uint64_t mem, unsigned n)
{
    vd_open_pci_at(&b->d, &b->vp, r, at, mem);
    b->d.heap = heap_of(n);
    b->model = models[n];
    memset(b->reqs, 0, sizeof(b->reqs));
    CHECK(vd_start(&b->d, VD_BIT(VIRTIO_F_EVENT_IDX) | (rnd(2) ? VD_BIT(VIRTIO_F_RING_PACKED) : 0)));
    b->q = vd_queue(&b->d, 0, QUEUE);
    vd_go(&b->d);
    for (unsigned i = 0; i < DEPTH; i++)
        b->reqs[i].at = vd_alloc(&b->d, 64 + MOST * 512, 64);
}

static bool overlaps(const Blk *b, unsigned sector, unsigned n)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        const Request *q = &b->reqs[i];

        if (q->busy && sector < q->sector + q->len && q->sector < sector + n)
            return true;
    }
    return false;
}

/* Header, status and data of a request lie together. */
static void blk_ask(Blk *b, Request *q)
{
    unsigned sector = rnd(SECTORS - MOST), n = 1 + rnd(MOST);

    if (q->busy || overlaps(b, sector, n))
        return;
    *q = (Request){ .busy = true, .write = rnd(2), .sector = sector, .len = n, .at = q->at };
    uint8_t *p = vd_ptr(&b->d, q->at, 64 + n * 512);
    uint32_t type = q->write ? OUT : IN;
    uint64_t where = sector;

    memset(p, 0, 64);
    memcpy(p, &type, 4);
    memcpy(p + 8, &where, 8);
    p[16] = 0xff;
    for (unsigned i = 0; q->write && i < n * 512; i += 8)
        memcpy(p + 64 + i, &(uint64_t){ rnd(0) }, 8);
    VdBuf data = { q->at + 64, n * 512 }, bufs[3] = { { q->at, 16 }, data, { q->at + 16, 1 } };
    q->id = vd_add(b->q, bufs, q->write ? 2 : 1, q->write ? 1 : 2);
    CHECK(q->id >= 0);
    if (rnd(4))
        vd_kick(b->q);
}

static void blk_finish(Blk *b, int id)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        Request *q = &b->reqs[i];

        if (!q->busy || q->id != id)
            continue;
        uint8_t *p = vd_ptr(&b->d, q->at, 64 + q->len * 512), *m = b->model + q->sector * 512;
        CHECK_EQ(p[16], 0);
        if (q->write)
            memcpy(m, p + 64, q->len * 512);
        else
            CHECK(!memcmp(m, p + 64, q->len * 512));
        q->busy = false;
        b->done++;
        return;
    }
    CHECK(!"a request was used that nobody made");
}

static void blk_turn(Blk *b)
{
    uint32_t len;
    int id;

    while ((id = vd_used(b->q, &len)) >= 0)
        blk_finish(b, id);
    blk_ask(b, &b->reqs[rnd(DEPTH)]);
}

/* All that is in flight comes back. */
static void blk_drain(Blk *b)
{
    uint32_t len;

    vd_kick(b->q);
    while (b->q->flying) {
        int id = vd_wait(&b->d, b->q, &len);

        if (id < 0) {
            CHECK(!"a request never ended");
            break;
        }
        blk_finish(b, id);
    }
}

/* Power was cut: the device may have written what was in flight, or not, but nothing from now on. */
static void blk_cut(Blk *b, const char *node)
{
    g_autofree char *img = g_strdup_printf("%s/%s", rig_disk.dir, node);
    g_autofree char *now = NULL;
    size_t size = 0;

    CHECK(g_file_get_contents(img, &now, &size, NULL) && size == SIZE);
    for (unsigned i = 0; i < DEPTH; i++) {
        Request *q = &b->reqs[i];

        if (q->busy && q->write)
            memcpy(b->model + q->sector * 512, now + q->sector * 512, q->len * 512);
        b->lost += q->busy;
        q->busy = false;
    }
    CHECK(!memcmp(now, b->model, SIZE));
}

/* ---- NVMe: the admin queue, and IDENTIFYs that nobody waits for */

static void nvme_open(Port *p)
{
    p->nvme_ram = (heap_of(1 + p->n) + 0xfff) & ~UINT64_C(0xfff);
    p->tail = 0;
    memset(vd_ptr(&fixed.d, p->nvme_ram, 0x3000), 0, 0x3000);
    wr32(r, p->card + 0x10, p->mem);
    wr32(r, p->card + 0x14, 0);
    command(p->card, MEM | MASTER);
    wr32(r, p->mem + 0x24, 0xf000f);
    wr(r, p->mem + 0x28, p->nvme_ram, 8);
    wr(r, p->mem + 0x30, p->nvme_ram + 0x1000, 8);
    wr32(r, p->mem + 0x14, 4 << 20 | 6 << 16 | 1);
    for (int i = 0; i < 40000 && !(rd32(r, p->mem + 0x1c) & 1); i++)
        usleep(50);
    CHECK_EQ(rd32(r, p->mem + 0x1c), 1);
}

static void nvme_turn(Port *p)
{
    uint32_t *c = vd_ptr(&fixed.d, p->nvme_ram + 64 * p->tail, 64);

    memset(c, 0, 64);
    c[0] = 6;
    c[6] = p->nvme_ram + 0x2000;
    c[10] = 1;
    p->tail = (p->tail + 1) % 16;
    wr32(r, p->mem + 0x1000, p->tail);
}

/* ---- a port, its user and its guest */

static uint16_t sta(const Port *p) { return rd(r, p->slot + STA, 2); }
static void ctl(const Port *p, uint16_t val) { wr(r, p->slot + CTL, val, 2); }
static void ack(const Port *p) { wr(r, p->slot + STA, sta(p), 2); }

static void port_start(Port *p)
{
    unsigned n = p->n;

    wr32(r, p->cfg + 0x18, (n + 1) << 16 | (n + 1) << 8);
    wr32(r, p->cfg + 0x20, p->mem >> 16 | ((p->mem + WINDOW - 1) & 0xfff00000));
    command(p->cfg, MEM | MASTER);
}

static void user_adds(Port *p)
{
    static const char *const names[] = { "virtio-blk-pci", "nvme", "virtio-scsi-pci", "virtio-net-pci" };
    g_autofree char *more = NULL, *arg = NULL;

    p->kind = rnd(KINDS);
    more = p->kind == BLK ? g_strdup_printf(",drive=n%u", p->n) : p->kind == NVME ? g_strdup_printf(",drive=n%u,serial=s", p->n)
         : g_strdup("");
    arg = g_strdup_printf("%s,id=x%u,bus=p%u%s", names[p->kind], p->n, p->n, more);
    rig_must(device_add(r->vm, arg));
    if (p->kind == SCSI) {
        g_autofree char *disk = g_strdup_printf("scsi-hd,id=h%u,bus=x%u.0,drive=n%u", p->n, p->n, p->n);
        rig_must(device_add(r->vm, disk));
    }
    CHECK_EQ(sta(p) & (PDS | PDC | ABP), PDS | PDC | ABP);
    ack(p);
    p->state = DARK;
}

static void guest_gives_power(Port *p)
{
    ctl(p, ON);
    ack(p);
    if (p->kind == BLK)
        blk_open(&p->blk, p->card, p->mem, 1 + p->n);
    else if (p->kind == NVME)
        nvme_open(p);
    else
        CHECK_EQ(rd(r, p->card, 2), 0x1af4);
    p->state = LIT;
}

static bool there(const Port *p)
{
    char id[8];

    g_snprintf(id, sizeof(id), "x%u", p->n);
    return device_find(r->vm, id);
}

/* Every vCPU and every thread of I/O has come by; false: not within five seconds. */
static bool gone(const Port *p)
{
    for (int i = 0; i < 50000 && there(p); i++, usleep(100))
        settle();
    return !there(p);
}

static void user_removes(Port *p)
{
    char id[8];

    g_snprintf(id, sizeof(id), "x%u", p->n);
    rig_must(device_del(r->vm, id));
    if (p->state == LIT) {
        CHECK(sta(p) & ABP);
        ack(p);
        p->state = ASKED;
        return;
    }
    /* Without power it goes at once. */
    CHECK(gone(p));
    ack(p);
    p->state = EMPTY;
}

static void guest_lets_go(Port *p)
{
    char node[8];

    g_snprintf(node, sizeof(node), "n%u", p->n);
    if (p->kind == BLK && rnd(2))
        blk_drain(&p->blk);
    ctl(p, OFF);
    uint8_t *ram = vd_ptr(&fixed.d, heap_of(1 + p->n), HEAP);
    if (p->kind == BLK || p->kind == NVME)
        memset(ram, 0xa5, HEAP);
    CHECK(gone(p));
    CHECK_EQ(sta(p) & PDS, 0);
    ack(p);
    if (p->kind == BLK)
        blk_cut(&p->blk, node);
    if (p->kind == BLK || p->kind == NVME)
        CHECK(ram[0] == 0xa5 && !memcmp(ram, ram + 1, HEAP - 1));
    p->state = EMPTY;
}

/* The machine's reset: who was asked is gone, the others have power and forgot all. */
static void reset_all(void)
{
    blk_drain(&fixed);
    for (unsigned i = 0; i < PORTS; i++) {
        if (ports[i].kind == BLK && (ports[i].state == LIT || ports[i].state == ASKED))
            blk_drain(&ports[i].blk);
    }
    vm_reset(r->vm);
    blk_open(&fixed, cfg(0, 1, 0, 0), MMIO, 0);
    for (unsigned i = 0; i < PORTS; i++) {
        Port *p = &ports[i];

        CHECK(p->state == LIT || p->state == DARK ? there(p) : gone(p));
        port_start(p);
        p->state = there(p) ? DARK : EMPTY;
        if (p->state == DARK)
            guest_gives_power(p);
    }
}

static unsigned cycles, resets;

static void step(Port *p)
{
    switch (p->state) {
    case EMPTY:
        user_adds(p);
        break;
    case DARK:
        if (rnd(8)) {
            guest_gives_power(p);
        } else {
            user_removes(p);
            cycles++;
        }
        break;
    case LIT: case ASKED:
        if (p->kind == BLK)
            blk_turn(&p->blk);
        else if (p->kind == NVME)
            nvme_turn(p);
        if (rnd(8))
            break;
        if (p->state == LIT) {
            user_removes(p);
        } else {
            guest_lets_go(p);
            cycles++;
        }
        break;
    }
}

/* ---- the machine */

static unsigned open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void add_node(const char *name)
{
    g_autofree char *img = g_strdup_printf("%s/%s", rig_disk.dir, name);
    g_autofree char *zeroes = g_malloc0(SIZE);
    g_autofree char *arg = g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"%s\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}",
                                           name, img);

    CHECK(g_file_set_contents(img, zeroes, SIZE, NULL));
    rig_must(disks_add_blockdev(r->vm->disks, arg));
}

static void machine_start(void)
{
    disk_rig_init(&rig_disk, r, 512);
    r->config.devices = g_ptr_array_new_with_free_func(g_free);
    add_node("fixed");
    g_ptr_array_add(r->config.devices, g_strdup("virtio-blk-pci,drive=fixed,addr=1"));
    for (unsigned i = 0; i < PORTS; i++) {
        char node[8];

        g_snprintf(node, sizeof(node), "n%u", i);
        add_node(node);
        g_ptr_array_add(r->config.devices, g_strdup_printf("pcie-root-port,id=p%u,addr=%u", i, 2 + i));
    }
    rig_board(r);
    r->vm->state = RUN_RUNNING;
    for (heaps = 0; heaps <= PORTS; heaps++)
        models[heaps] = g_malloc0(SIZE);
    blk_open(&fixed, cfg(0, 1, 0, 0), MMIO, 0);
    for (unsigned i = 0; i < PORTS; i++) {
        uint64_t c = cfg(0, 2 + i, 0, 0);

        ports[i] = (Port){ .n = i, .cfg = c, .slot = c + cap(c, 0x10), .card = cfg(i + 1, 0, 0, 0), .mem = MMIO + (i + 1) * WINDOW };
        port_start(&ports[i]);
    }
}

static void machine_end(void)
{
    for (unsigned i = 0; i <= PORTS; i++) {
        char node[8];

        g_snprintf(node, sizeof(node), "n%u", i);
        g_autofree char *img = g_strdup_printf("%s/%s", rig_disk.dir, i < PORTS ? node : "fixed");
        unlink(img);
        g_free(models[i]);
    }
    g_ptr_array_free(r->config.devices, true);
    r->config.devices = NULL;
    disk_rig_free(&rig_disk, r);
}

static void test_disks(void)
{
    unsigned files = 0, turns = 0, blk_done = 0;

    machine_start();
    while (cycles < CYCLES && !test_case_bad && turns++ < 1000000) {
        blk_turn(&fixed);
        step(&ports[rnd(PORTS)]);
        if (!rnd(1000)) {
            reset_all();
            resets++;
        }
        rig_turn(r, 0);
        rig_work(r);
        if (cycles == CYCLES / 10 && !files)
            files = open_files();
    }
    blk_drain(&fixed);
    blk_cut(&fixed, "fixed");
    for (unsigned i = 0; i < PORTS; i++)
        blk_done += ports[i].blk.done;
    CHECK_EQ(cycles, CYCLES);
    CHECK(fixed.done > 1000 && blk_done > 100);
    /* At most the node of each port is open or not. */
    unsigned now = open_files();
    CHECK(now <= files + PORTS && files <= now + PORTS);
    printf("%u cards, %u resets, %u requests beside them, %u by those that came, %u cut off\n", cycles, resets, fixed.done,
           blk_done, ports[0].blk.lost + ports[1].blk.lost + ports[2].blk.lost + ports[3].blk.lost);
    machine_end();
}

int main(void)
{
    RUN(test_disks);
    return test_end();
}
