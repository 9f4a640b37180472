/* SPDX-License-Identifier: MIT */
/*
 * Devices that are told to do DMA where none may be: into registers, their own and others', into flash and ROM,
 * beyond memory; by rings without an end, with lengths of nothing and of too much. Each virtio device with both
 * interfaces of PCI, NVMe, fw_cfg, edu; all SCSI commands and 9P messages with wrong lengths.
 *
 * Expected: no register has changed, everything ends, and after a reset the device works as before.
 */
#include "tests/dev/full-rig.h"

enum { PLIC = 0xc000000, UART = 0x10000000, FW = 0x10100000, NVME = 0x4b000000 };

/* ---- who must not be written to */

typedef struct Victim { uint64_t at; uint32_t set, want; } Victim;
static Victim victims[16];
static unsigned n_victims;

static void victim(uint64_t at, uint32_t set)
{
    if (set)
        wr32(r, at, set);
    victims[n_victims++] = (Victim){ at, set, rd32(r, at) };
}

static void choose_victims(void)
{
    n_victims = 0;
    victim(OTHER + 4, 0x12345678);          /* edu's live register */
    victim(PLIC + 4, 5);                    /* a priority */
    victim(PLIC + 0x2000, 0x10);
    victim(VP_ECAM + (6 << 15) + 0x3c, 0x55);
    victim(VP_ECAM, 0);
    victim(0x20000000, 0);                  /* flash */
    victim(0x1000, 0);                      /* boot ROM */
    victim(0x100000, 0);                    /* the finisher: 0 is no command, but 0x5555 would be */
    victim(0x101010, 1);                    /* the RTC's interrupts */
    victim(0x2004000, 0x7fffffff);          /* mtimecmp */
    wr(r, UART + 7, 0x5a, 1);
}

static void check_victims(const char *what)
{
    for (unsigned i = 0; i < n_victims; i++) {
        uint32_t is = rd32(r, victims[i].at);
        if (is != victims[i].want) {
            printf("%s: %#" PRIx64 " was %#x, is %#x\n", what, victims[i].at, victims[i].want, is);
            test_case_bad++;
        }
    }
    CHECK_EQ(rd(r, UART + 7, 1), 0x5a);
    CHECK_EQ(r->vm->request, 0);
}

/* Where DMA is aimed at, one after the other; 0: that was all. Parts of the device itself come last. */
static uint64_t wrong_place(unsigned i)
{
    const uint64_t more[] = { UART, FW + 16, VP_ECAM + (DEVFN << 12) + 4, 0x40000000 + RAM_SIZE, VD_RAM + RAM_SIZE, VD_RAM + RAM_SIZE - 4,
                              UINT64_MAX - 7, UINT64_MAX & ~UINT64_C(4095), 8, vp.bar[4], vp.bar[1], vp.bar[4] + 0x3000,
                              VP_PIO + 0x1000, 0x10001000, 0x2000000 };

    if (i < n_victims)
        return victims[i].at;
    return i - n_victims < G_N_ELEMENTS(more) ? more[i - n_victims] + !more[i - n_victims] : 0;
}

/* ---- virtio */

static const char *const devices[] = {
    "virtio-blk-pci-non-transitional,drive=d0,packed=on", "virtio-blk-pci-transitional,drive=d0",
    "virtio-scsi-pci-non-transitional,packed=on", "virtio-scsi-pci-transitional",
    "virtio-net-pci-non-transitional,netdev=n0,packed=on", "virtio-net-pci-transitional,netdev=n0",
    "virtio-rng-pci-non-transitional,packed=on", "virtio-rng-pci-transitional",
    "virtio-9p-pci-non-transitional,fsdev=f0,mount_tag=t,packed=on", "virtio-9p-pci-transitional,fsdev=f0,mount_tag=t",
    "virtio-serial-pci,packed=on", "virtio-balloon-pci,free-page-reporting=on,packed=on",
};

/* What begins a request, by device: the rest of it is where it must not be. */
static unsigned header_of(const char *device, uint8_t h[64])
{
    static const uint8_t p9[] = { 21, 0, 0, 0, 100, 255, 255, 0, 32, 0, 0, 8, 0, '9', 'P', '2', '0', '0', '0', '.', 'L' };

    memset(h, 0, 64);
    if (strstr(device, "-blk"))
        return 16;                          /* a read of block 0 */
    if (strstr(device, "-9p")) {
        memcpy(h, p9, sizeof(p9));
        return sizeof(p9);
    }
    if (strstr(device, "-scsi")) {
        h[0] = 1;
        h[19] = 0x12;
        h[23] = 36;
        return 51;
    }
    return strstr(device, "-net") ? 12 : 8;
}

/* One queue that is on and empty, the others off. */
static VdQueue *fresh(unsigned q, uint64_t features)
{
    d->heap = VD_RAM + 0x200000;
    CHECK(vd_start(d, features));
    VdQueue *out = vd_queue(d, q, 16);
    vd_go(d);
    return out;
}

static void hit(VdQueue *q)
{
    vd_kick(q);
    settle();
}

/* It does as it should, with addresses as they should be. */
static void check_works(const char *device, uint64_t features)
{
    bool blk = strstr(device, "-blk"), scsi = strstr(device, "-scsi"), net = strstr(device, "-net"), rng = strstr(device, "-rng");
    uint8_t h[64];
    unsigned len = header_of(device, h);

    if (strstr(device, "-serial"))
        return;                             /* it has no port */
    VdQueue *q = fresh(scsi ? 2 : net ? 1 : 0, features);
    CHECK_EQ(space_write(r->vm->mem, BUFS, h, len), MEM_OK);
    const VdBuf b[] = { { BUFS, len }, { BUFS + 0x1000, blk ? 512 : scsi ? 108 : 4096 }, { BUFS + 0x3000, blk ? 1 : 36 } };
    int64_t got = rng ? vd_call(q, b + 1, 0, 1) : net ? vd_call(q, b, 2, 0) : strstr(device, "-balloon") ? vd_call(q, b, 1, 0) :
                  vd_call(q, b, 1, blk || scsi ? 2 : 1);
    CHECK(got >= 0 && (got > 0 || net || strstr(device, "-balloon")));
    d->t->set_status(d, 0);
}

#define INDIRECT VD_BIT(VIRTIO_F_INDIRECT_DESC)
#define PACKED VD_BIT(VIRTIO_F_RING_PACKED)

/* Buffers that lie in registers, to be read and to be written; and the tables of descriptors, and the rings. */
static void aim_at_registers(const char *device, unsigned n_queues, uint64_t features)
{
    uint8_t h[64];
    unsigned len = header_of(device, h);
    uint64_t at;

    for (unsigned n = 0; n < n_queues; n++) {
        for (unsigned i = 0; (at = wrong_place(i)) != 0; i++) {
            VdQueue *q = fresh(n, features | INDIRECT);
            CHECK_EQ(space_write(r->vm->mem, BUFS, h, len), MEM_OK);
            vd_add(q, (VdBuf[]){ { BUFS, len }, { at, 512 }, { BUFS + 4096, 1 } }, 1, 2);
            vd_add(q, (VdBuf[]){ { at, 64 } }, 0, 1);
            hit(q);
            q = fresh(n, features | INDIRECT);
            vd_add(q, (VdBuf[]){ { BUFS, len }, { at, 64 }, { BUFS + 4096, 128 } }, 2, 1);
            hit(q);
            q = fresh(n, features | INDIRECT);
            const VdBuf table = { at, 32 };
            d->packed ? vd_add_packed(q, &table, 1, 1, VD_INDIRECT) : vd_add_split(q, &table, 1, 1, VD_INDIRECT);
            hit(q);
            for (unsigned part = 0; part < 3; part++) {
                q = fresh(n, features);
                d->t->set_status(d, 0);
                CHECK(vd_start(d, features));
                uint64_t parts[] = { q->desc, q->avail, q->used };
                parts[part] = at & ~UINT64_C(15);
                d->t->queue_on(d, n, 16, parts);
                vd_go(d);
                d->t->kick(d, n);
                settle();
            }
        }
        d->t->set_status(d, 0);
        check_victims(device);
    }
}

/* Descriptors that point to each other, tables in tables, an index that runs away. */
static void without_end(const char *device, unsigned n_queues, uint64_t features)
{
    for (unsigned n = 0; n < n_queues; n++) {
        for (unsigned what = 0; what < 12; what++) {
            VdQueue *q = fresh(n, features | INDIRECT);
            uint16_t on = d->packed ? VD_AVAIL : 0, write = what & 1 ? VD_WRITE : 0, head = 15;
            VdBuf b = { BUFS, 64 }, table = { BUFS + 0x10000, what < 8 ? 32 : what == 8 ? 0 : what == 9 ? 15 : what == 10 ? 0xfffffff0 : 16 * 65537 };

            switch (what) {
            case 0: case 1:                     /* it is its own next; in a packed ring: all are one */
                for (unsigned i = 0; i < 16; i++)
                    d->packed ? vd_write_desc(d, q->desc + 16 * i, b, 0, VD_NEXT | write | on) :
                                vd_write_desc(d, q->desc + 16 * i, b, VD_NEXT | write, i);
                break;
            case 2: case 3:                     /* round and round */
                for (unsigned i = 0; i < 16; i++)
                    d->packed ? vd_write_desc(d, q->desc + 16 * i, b, i, VD_NEXT | write | on | (i & 1 ? VD_USED : 0)) :
                                vd_write_desc(d, q->desc + 16 * i, b, VD_NEXT | write, (i + 1) % 16);
                break;
            case 4:                             /* out of the table */
                vd_write_desc(d, q->desc + 16 * 15, b, d->packed ? 999 : VD_NEXT, d->packed ? VD_NEXT | on : 60000);
                break;
            case 5:                             /* an index far ahead */
                vd_put(d, q->avail + 2, 0x7fff, 2);
                break;
            case 6: case 7:                     /* a table in a table, and one that is in itself */
                vd_write_desc(d, table.addr, (VdBuf){ what == 6 ? BUFS : table.addr, 32 }, d->packed ? 0 : VD_INDIRECT, d->packed ? VD_INDIRECT : 0);
                vd_write_desc(d, table.addr + 16, b, d->packed ? 0 : VD_NEXT, d->packed ? VD_NEXT : 0);
                break;
            }
            if (what >= 6) {
                d->packed ? vd_add_packed(q, &table, 1, 1, VD_INDIRECT) : vd_add_split(q, &table, 1, 1, VD_INDIRECT | (what == 7 ? VD_NEXT : 0));
            } else if (!d->packed) {
                vd_put(d, q->avail + 4, head, 2);
                vd_put(d, q->avail + 2, what == 5 ? 0x7fff : 1, 2);
            }
            hit(q);
            hit(q);
        }
        d->t->set_status(d, 0);
        check_victims(device);
    }
}

static void of_any_length(const char *device, unsigned n_queues, uint64_t features)
{
    static const uint32_t lens[] = { 0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff, RAM_SIZE, RAM_SIZE - (BUFS - VD_RAM) + 1 };
    uint8_t h[64];
    unsigned len = header_of(device, h);

    for (unsigned n = 0; n < n_queues; n++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
            for (unsigned shape = 0; shape < 5; shape++) {
                VdQueue *q = fresh(n, features);
                const VdBuf head = { BUFS, shape & 1 ? len : lens[i] }, all = { VD_RAM, RAM_SIZE }, wrong = { BUFS + 0x1000, lens[i] };
                VdBuf b[16] = { head, wrong, { BUFS + 64, 1 } };
                CHECK_EQ(space_write(r->vm->mem, BUFS, h, len), MEM_OK);
                if (shape < 2)
                    vd_add(q, b, 1, 2);
                else if (shape == 2)
                    vd_add(q, b, 0, 1);
                else if (shape == 3)
                    vd_add(q, b, 1, 0);
                if (shape == 4 && i == 0) {     /* each is memory, and all together is more than there can be */
                    for (unsigned k = 1; k < 16; k++)
                        b[k] = all;
                    for (unsigned k = 0; k < 16; k++)
                        vd_write_desc(d, q->desc + 16 * k, b[k], d->packed ? 0 : VD_NEXT, d->packed ? VD_NEXT | VD_AVAIL : (k + 1) % 16);
                    if (!d->packed) {
                        vd_put(d, q->avail + 4, 0, 2);
                        vd_put(d, q->avail + 2, 1, 2);
                    }
                }
                hit(q);
            }
        }
        d->t->set_status(d, 0);
        check_victims(device);
    }
}

static void each_device(void (*test)(const char *, unsigned, uint64_t))
{
    for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++) {
        g_autofree char *arg = g_strdup_printf("%s,addr=4", devices[i]);
        begin(arg);
        vd_open_pci(d, &vp, r, DEVFN);
        choose_victims();
        unsigned queues = 0;
        while (queues < 6 && d->t->queue_max(d, queues))
            queues++;
        CHECK(queues >= 1);
        for (unsigned packed = 0; packed <= !!strstr(devices[i], "packed=on"); packed++) {
            check_works(devices[i], packed ? PACKED : 0);
            test(devices[i], queues, packed ? PACKED : 0);
            check_works(devices[i], packed ? PACKED : 0);
        }
        end();
    }
}

static void test_registers(void) { each_device(aim_at_registers); }
static void test_endless(void) { each_device(without_end); }
static void test_lengths(void) { each_device(of_any_length); }

/* ---- SCSI commands, 9P messages */

static void test_scsi_lengths(void)
{
    uint8_t h[51] = { 1 };

    begin("virtio-scsi-pci,addr=4");
    vd_open_pci(d, &vp, r, DEVFN);
    choose_victims();
    for (unsigned op = 0; op < 256; op++) {
        for (unsigned what = 0; what < 6; what++) {
            VdQueue *q = fresh(2, 0);
            unsigned in = (unsigned[]){ 0, 1, 4096, 4096, 7, 0 }[what], out = (unsigned[]){ 0, 0, 0, 512, 3, 4096 }[what];
            memset(h + 19, what == 0 ? 0 : what & 1 ? 0xff : 0x01, 31);
            h[19] = op;
            CHECK_EQ(space_write(r->vm->mem, BUFS, h, sizeof(h)), MEM_OK);
            for (int again = 0; again < 2; again++) {       /* the first is told of the reset */
                const VdBuf b[] = { { BUFS, sizeof(h) }, { BUFS + 0x2000, 108 }, { BUFS + 0x3000, in } };
                const VdBuf with_out[] = { b[0], { BUFS + 0x1000, out }, b[1], b[2] };
                out ? vd_add(q, with_out, 2, 1 + !!in) : vd_add(q, b, 1, 1 + !!in);
                vd_kick(q);
                uint32_t len;
                CHECK(vd_wait(d, q, &len) >= 0);
            }
        }
    }
    CHECK(d->t->status(d) == 15);
    d->t->set_status(d, 0);
    check_victims("scsi");
    end();
}

static void test_9p_lengths(void)
{
    static const uint32_t sizes[] = { 0, 6, 7, 8, 11, 30, 31, 0x7fffffff, 0xffffffff };
    uint8_t m[64];

    begin("virtio-9p-pci,fsdev=f0,mount_tag=t,addr=4");
    vd_open_pci(d, &vp, r, DEVFN);
    choose_victims();
    for (unsigned type = 0; type < 256; type += type < 140 ? 2 : 23) {
        for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
            VdQueue *q = fresh(0, 0);
            uint32_t size = header_of("-9p", m);
            CHECK_EQ(space_write(r->vm->mem, BUFS, m, size), MEM_OK);
            vd_add(q, (VdBuf[]){ { BUFS, size }, { BUFS + 0x1000, 4096 } }, 1, 1);
            memset(m, i & 1 ? 0xff : 0, sizeof(m));
            memcpy(m, &sizes[i], 4);
            m[4] = type;
            CHECK_EQ(space_write(r->vm->mem, BUFS + 64, m, sizeof(m)), MEM_OK);
            vd_add(q, (VdBuf[]){ { BUFS + 64, 30 }, { BUFS + 0x2000, i & 2 ? 11 : 4096 } }, 1, 1);
            hit(q);
        }
    }
    d->t->set_status(d, 0);
    check_victims("9p");
    CHECK(vd_start(d, 0));
    end();
}

/* ---- NVMe */

enum { N_DEPTH = 8 };
#define N_SQ (VD_RAM + 0x400000)
#define N_CQ (VD_RAM + 0x410000)
static unsigned n_tail;

static void nvme_enable(uint64_t sq, uint64_t cq)
{
    wr32(r, NVME + 0x14, 0);
    settle();
    memset(space_ram(r->vm->mem, N_SQ, 0x20000, true, NULL, NULL), 0, 0x20000);
    wr32(r, NVME + 0x24, (N_DEPTH - 1) << 16 | (N_DEPTH - 1));
    wr(r, NVME + 0x28, sq, 8);
    wr(r, NVME + 0x30, cq, 8);
    wr32(r, NVME + 0x14, 4 << 20 | 6 << 16 | 1);
    settle();
    n_tail = 0;
}

/* IDENTIFY of the controller, or (op) anything: to where prp1 and prp2 say. Its status; -1: no answer. */
static int nvme_ask(uint8_t op, uint8_t sgl, uint64_t prp1, uint64_t prp2, uint32_t dw10, uint32_t dw12)
{
    uint8_t c[64] = { op, sgl };
    uint32_t entry[4] = { 0 };

    memcpy(c + 24, &prp1, 8);
    memcpy(c + 32, &prp2, 8);
    memcpy(c + 40, &dw10, 4);
    memcpy(c + 48, &dw12, 4);
    c[4] = 1;
    CHECK_EQ(space_write(r->vm->mem, N_SQ + 64 * n_tail, c, 64), MEM_OK);
    uint64_t at = N_CQ + 16 * n_tail;
    CHECK_EQ(space_write(r->vm->mem, at, entry, 16), MEM_OK);
    n_tail = (n_tail + 1) % N_DEPTH;
    wr32(r, NVME + 0x1000, n_tail);
    settle();
    CHECK_EQ(space_read(r->vm->mem, at, entry, 16), MEM_OK);
    if (!n_tail)
        nvme_enable(N_SQ, N_CQ);            /* no phases to follow here */
    return entry[3] >> 16 & 1 ? (int)(entry[3] >> 17) : -1;
}

static void test_nvme(void)
{
    const uint64_t list = VD_RAM + 0x500000;
    uint64_t at;

    begin("nvme,drive=d0,serial=s,addr=4,max_ioqpairs=2");
    memset(&vp, 0, sizeof(vp));
    vp.bar[4] = vp.bar[1] = NVME;
    wr32(r, VP_ECAM + (4 << 15) + 0x10, NVME);
    wr32(r, VP_ECAM + (4 << 15) + 0x14, 0);
    wr(r, VP_ECAM + (4 << 15) + 4, 6, 2);
    choose_victims();
    nvme_enable(N_SQ, N_CQ);
    CHECK_EQ(nvme_ask(6, 0, BUFS, 0, 1, 0), 0);
    for (unsigned i = 0; (at = wrong_place(i)) != 0; i++) {
        bool edge = at == VD_RAM + RAM_SIZE - 4;
        CHECK(nvme_ask(6, 0, at & ~UINT64_C(3), 0, 1, 0) != 0 || edge);                  /* data into registers */
        CHECK(nvme_ask(6, 0, BUFS + 2048, at & ~UINT64_C(4095), 1, 0) != 0 || edge);     /* its second page */
        CHECK(nvme_ask(2, 0x40, at & ~UINT64_C(3), UINT64_C(0x10) << 56 | 4096, 1, 0) != 0);    /* an SGL */
        CHECK(nvme_ask(2, 0x40, at & ~UINT64_C(15), UINT64_C(0x30) << 56 | 64, 1, 0) != 0);     /* its last segment */
        /* the queues themselves */
        nvme_enable(at & ~UINT64_C(4095), N_CQ);
        wr32(r, NVME + 0x1000, 3);
        settle();
        nvme_enable(N_SQ, at & ~UINT64_C(4095));
        wr32(r, NVME + 0x1000, 3);
        settle();
        nvme_enable(N_SQ, N_CQ);
    }
    /* A queue pair to read with: by lists that are in themselves, of registers, of nothing. */
    nvme_ask(5, 0, VD_RAM + 0x420000, 0, 7 << 16 | 1, 0);
    for (unsigned i = 0; i < 512; i++)
        vd_put(&(Vd){ .r = r }, list + 8 * i, list, 8);
    for (unsigned op = 1; op <= 2; op++) {
        nvme_ask(op, 0, BUFS, list, 0, 0xffff);
        nvme_ask(op, 0, BUFS, list + 4088, 0, 0xffff);      /* the last entry of a page names the next */
        nvme_ask(op, 0, BUFS + 1, list + 4, 0, 0xff);
    }
    for (unsigned i = 0; i < 32; i++) {                     /* segments that lead to themselves */
        vd_put(&(Vd){ .r = r }, list + 16 * i, list, 8);
        vd_put(&(Vd){ .r = r }, list + 16 * i + 8, i == 31 ? UINT64_C(0x20) << 56 | 512 : UINT64_C(1) << 32, 8);
    }
    CHECK(nvme_ask(6, 0x40, list, UINT64_C(0x20) << 56 | 512, 1, 0) != 0);
    /* Doorbells: beyond the queue, of queues that are not there, in one go. */
    for (unsigned i = 0; i < 64; i++)
        wr32(r, NVME + 0x1000 + 4 * i, 0xffffffff);
    settle();
    nvme_enable(N_SQ, N_CQ);
    CHECK_EQ(nvme_ask(6, 0, BUFS, 0, 1, 0), 0);
    check_victims("nvme");
    end();
}

/* ---- fw_cfg, edu */

static uint32_t fw_dma(uint64_t at, uint32_t control, uint32_t len, uint64_t addr)
{
    uint32_t head[4] = { GUINT32_TO_BE(control), GUINT32_TO_BE(len), GUINT32_TO_BE(addr >> 32), GUINT32_TO_BE((uint32_t)addr) };

    CHECK_EQ(space_write(r->vm->mem, at, head, 16), MEM_OK);
    wr(r, FW + 16, GUINT64_TO_BE(at), 8);
    CHECK_EQ(space_read(r->vm->mem, at, head, 4), MEM_OK);
    return GUINT32_FROM_BE(head[0]);
}

static void test_fw_cfg(void)
{
    static const uint32_t lens[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };
    uint64_t at;

    begin("virtio-rng-pci,addr=4");
    vd_open_pci(d, &vp, r, DEVFN);
    choose_victims();
    for (unsigned i = 0; (at = wrong_place(i)) != 0; i++) {
        fw_dma(BUFS, 0x19 << 16 | 8 | 2, 64, at);           /* read to there */
        fw_dma(BUFS, 0x19 << 16 | 8 | 16, 64, at);          /* write from there */
        wr(r, FW + 16, GUINT64_TO_BE(at), 8);               /* the request itself is there */
    }
    check_victims("fw_cfg");
    for (unsigned i = 0; i < G_N_ELEMENTS(lens); i++) {
        for (unsigned control = 0; control < 32; control++) {
            fw_dma(BUFS, 0x19 << 16 | control, lens[i], BUFS + 0x1000);
            fw_dma(BUFS, control, lens[i], VD_RAM + RAM_SIZE - 4);
            fw_dma(BUFS, 0xffffu << 16 | control, lens[i], BUFS);
        }
    }
    /* Read into the request, and a request that is read into: once, and as it was when it was given. */
    CHECK_EQ(fw_dma(BUFS, 8 | 2, 16, BUFS), 0);
    CHECK_EQ(fw_dma(BUFS, 8 | 2, 4, BUFS + 0x1000), 0);
    check_victims("fw_cfg");
    end();
}

static void test_edu(void)
{
    static const uint32_t lens[] = { 0, 1, 4096, 4097, 0xffffffff };
    uint64_t at;

    begin("edu,addr=4");
    choose_victims();
    memset(&vp, 0, sizeof(vp));
    vp.bar[4] = vp.bar[1] = OTHER;
    for (unsigned i = 0; (at = wrong_place(i)) != 0; i++) {
        for (unsigned k = 0; k < 2 * G_N_ELEMENTS(lens); k++) {
            wr(r, OTHER + 0x80, k & 1 ? 0x40000 : at, 8);
            wr(r, OTHER + 0x88, k & 1 ? at : 0x40000, 8);
            wr(r, OTHER + 0x90, lens[k / 2], 8);
            wr(r, OTHER + 0x98, 1 | (k & 1) << 1, 8);
            rig_turn(r, 1);
        }
    }
    check_victims("edu");
    end();
}

int main(void)
{
    RUN(test_registers);
    RUN(test_endless);
    RUN(test_lengths);
    RUN(test_scsi_lengths);
    RUN(test_9p_lengths);
    RUN(test_nvme);
    RUN(test_fw_cfg);
    RUN(test_edu);
    return test_end();
}
