/* SPDX-License-Identifier: MIT */
/*
 * Lost wakes: two virtio-blk on virtio-mmio, and a thread that does what a hart with Linux's driver does and no
 * more: it rings the bell if the event index asks for it, looks at a ring only after the PLIC has
 * interrupted it, claims, acknowledges, and asks for the next interrupt before it looks for the last time. So a
 * notification or an interrupt that is lost stops it for good. An argument says how many requests.
 */
#define RIG_HARTS 1
#include <sched.h>

#include "tests/dev/disk-rig.h"
#include "tests/dev/virtio-driver.h"

enum { SIZE = 4 << 20, DEPTH = 32, LEN = 8192, DISKS = 2, PLIC = 0x0c000000, CLAIM = PLIC + 0x201004, STUCK = 20 };

static unsigned requests = 4000;

typedef struct Stream {
    Vd d;
    VdQueue *q;
    uint64_t mem, next;                 /* buffers; the block that comes next: it goes on and on */
    unsigned depth, given, got;
    bool busy[DEPTH];
    int id[DEPTH];
    bool wrong;
} Stream;

typedef struct Hart {
    Rig r;
    DiskRig disk;
    Stream s[DISKS];
    uint32_t x;
    unsigned interrupts, spurious, kicks;
    const char *stuck;
    _Atomic bool ended;
} Hart;

static uint32_t random_of(Hart *h, uint32_t n)
{
    h->x = h->x * 1664525 + 1013904223;
    return (uint64_t)n * h->x >> 32;
}

/* ---- a driver */

static void ask(Stream *s, unsigned slot)
{
    uint64_t at = s->mem + slot * (LEN + 64);

    vd_put(&s->d, at, s->given & 1, 8);
    vd_put(&s->d, at + 8, s->next * (LEN / 512), 8);
    vd_put(&s->d, at + 16, 0xff, 1);
    s->next = (s->next + 1) % (SIZE / LEN);
    s->id[slot] = s->given & 1 ? vd_add(s->q, (VdBuf[]){ { at, 16 }, { at + 32, LEN }, { at + 16, 1 } }, 2, 1)
                               : vd_add(s->q, (VdBuf[]){ { at, 16 }, { at + 32, LEN }, { at + 16, 1 } }, 1, 2);
    s->busy[slot] = true;
    s->given++;
}

static void give(Hart *h, Stream *s)
{
    uint16_t was = s->q->next, event;

    for (unsigned i = 0; i < s->depth && s->given < requests; i++) {
        if (!s->busy[i])
            ask(s, i);
    }
    if (s->q->next == was)
        return;
    vd_fence();
    event = vd_get(&s->d, s->q->used + 4 + 8 * s->q->size, 2);
    if ((uint16_t)(s->q->next - event - 1) < (uint16_t)(s->q->next - was)) {
        h->kicks++;
        s->d.t->kick(&s->d, 0);
    }
}

static void take(Stream *s, int id)
{
    unsigned i = 0;

    while (i < DEPTH && !(s->busy[i] && s->id[i] == id))
        i++;
    if (i == DEPTH || vd_get(&s->d, s->mem + i * (LEN + 64) + 16, 1)) {
        s->wrong = true;
        return;
    }
    s->busy[i] = false;
    s->got++;
}

/* The handler of the device's interrupt: all that is used, until the next one would interrupt. */
static void serve(Hart *h, Stream *s)
{
    uint32_t len, isr = vd_mmio_rd(&s->d, 0x60);
    int id;

    if (!isr) {
        h->spurious++;
        return;
    }
    vd_mmio_wr(&s->d, 0x64, isr);
    do {
        while ((id = vd_used(s->q, &len)) >= 0)
            take(s, id);
        vd_want_irq(s->q, true);
    } while (vd_get(&s->d, s->q->used + 2, 2) != s->q->last_used);
    give(h, s);
}

static bool wait_line(Hart *h)
{
    const RiscvState *st = h->r.cpus[0].state;

    for (int64_t end = g_get_monotonic_time() + STUCK * 1000000; !(__atomic_load_n(&st->irq_lines, __ATOMIC_SEQ_CST) >> IRQ_SEI & 1);) {
        if (g_get_monotonic_time() > end)
            return false;
        sched_yield();
    }
    return true;
}

static bool done(const Hart *h)
{
    for (unsigned i = 0; i < DISKS; i++) {
        if (h->s[i].got < requests && !h->s[i].wrong)
            return false;
    }
    return true;
}

static void *hart(void *opaque)
{
    Hart *h = opaque;
    uint32_t irq;

    for (unsigned i = 0; i < DISKS; i++)
        give(h, &h->s[i]);
    while (!done(h)) {
        if (!wait_line(h)) {
            h->stuck = "no interrupt comes";
            break;
        }
        while ((irq = rd32(&h->r, CLAIM)) != 0) {
            h->interrupts++;
            serve(h, &h->s[8 - irq]);           /* slot 7 is source 8 */
            wr32(&h->r, CLAIM, irq);
        }
        if (random_of(h, 64) == 0) {            /* nothing under way for a moment: depths change */
            for (unsigned i = 0; i < DISKS; i++)
                h->s[i].depth = 1 + random_of(h, DEPTH);
        }
    }
    h->ended = true;
    return NULL;
}

/* ---- the machine */

static void run(const char *aio, uint64_t features)
{
    g_autofree Hart *h = g_new0(Hart, 1);
    g_autoptr(GPtrArray) devices = g_ptr_array_new();
    g_autofree char *drive = g_strdup_printf("if=none,id=d0,format=raw,file=%%s%s", aio);
    g_autoptr(GString) arg = g_string_new(drive);
    pthread_t t;

    disk_rig_init(&h->disk, &h->r, SIZE);
    g_string_replace(arg, "%s", h->disk.img, 0);
    rig_must(disks_add_drive(h->r.vm->disks, arg->str, false));
    rig_must(disks_add_drive(h->r.vm->disks, "if=none,id=d1,format=raw,file.driver=null-co,file.size=4M,file.read-zeroes=on", false));
    g_ptr_array_add(devices, (void *)"virtio-blk-device,drive=d0");
    g_ptr_array_add(devices, (void *)"virtio-blk-device,drive=d1");
    h->r.config.devices = devices;
    rig_board(&h->r);
    h->r.config.devices = NULL;
    h->r.vm->state = RUN_RUNNING;
    wr32(&h->r, PLIC + 0x201000, 0);
    wr32(&h->r, PLIC + 0x2080, 1 << 8 | 1 << 7);
    for (unsigned i = 0; i < DISKS; i++) {
        Stream *s = &h->s[i];

        wr32(&h->r, PLIC + 4 * (8 - i), 1);
        vd_open_mmio(&s->d, &h->r, 7 - i);
        CHECK(vd_start(&s->d, features));
        s->q = vd_queue(&s->d, 0, 128);
        s->mem = vd_alloc(&s->d, DEPTH * (LEN + 64), 4096);
        s->depth = i ? 1 : 8;
        vd_go(&s->d);
    }
    vm_unlock(h->r.vm);
    pthread_create(&t, NULL, hart, h);
    while (!h->ended)
        vm_turn(h->r.vm, false), usleep(300);
    pthread_join(t, NULL);
    vm_lock(h->r.vm);
    if (h->stuck)
        printf("%s: %u and %u of %u, ring %u/%u %u/%u\n", h->stuck, h->s[0].got, h->s[1].got, requests, h->s[0].given,
               h->s[0].q->last_used, h->s[1].given, h->s[1].q->last_used);
    CHECK(!h->stuck && !h->s[0].wrong && !h->s[1].wrong);
    printf("%u interrupts, %u without a cause, %u bells for %u requests\n", h->interrupts, h->spurious, h->kicks, 2 * requests);
    disk_rig_free(&h->disk, &h->r);
}

static void test_streams(void)
{
    run("", VD_BIT(VIRTIO_F_EVENT_IDX));
    run(",cache=none", VD_BIT(VIRTIO_F_EVENT_IDX));
    run(",cache=none,aio=io_uring", VD_BIT(VIRTIO_F_EVENT_IDX));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        requests = atoi(argv[1]);
    RUN(test_streams);
    return test_end();
}
