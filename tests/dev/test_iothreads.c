/* SPDX-License-Identifier: MIT */
/*
 * Disks in I/O threads of their own (iothread=, iothread-vq-mapping=): two at once, their drivers in
 * threads of their own, while the main thread holds the devices, lets go and resets. What is
 * read must be what was written. Worth most in a build with ThreadSanitizer.
 */
#define RIG_HARTS 1
#include <sched.h>

#include "tests/dev/disk-rig.h"
#include "tests/dev/virtio-driver.h"

enum { SIZE = 4 << 20, SLOTS = 8, SLOT = 16 << 10, OUT = 1, IN = 0, FLUSH = 4 };

static unsigned requests = 3000;

typedef struct Box {
    Rig r;
    DiskRig disk;
    char *second;
    IoThread *t[2];
    Vd d[2];
} Box;

static void box_init(Box *b)
{
    *b = (Box){ 0 };
    disk_rig_init(&b->disk, &b->r, SIZE);
    rig_must(iothread_new(b->r.vm, "t0", &b->t[0]));
    rig_must(iothread_new(b->r.vm, "t1", &b->t[1]));
    b->second = g_build_filename(b->disk.dir, "second.img", NULL);
    g_autofree char *zeroes = g_malloc0(SIZE);
    CHECK(g_file_set_contents(b->second, zeroes, SIZE, NULL));
}

static void box_drive(Box *b, const char *id, const char *file, const char *more)
{
    g_autofree char *arg = g_strdup_printf("if=none,id=%s,format=raw,file=%s%s", id, file, more);

    rig_must(disks_add_drive(b->r.vm->disks, arg, false));
}

static void box_devices(Box *b, const char *first, const char *second)
{
    b->r.config.devices = g_ptr_array_new();
    g_ptr_array_add(b->r.config.devices, (void *)first);
    g_ptr_array_add(b->r.config.devices, (void *)second);
    rig_board(&b->r);
    b->r.vm->state = RUN_RUNNING;
    for (unsigned i = 0; i < 2; i++)
        vd_open_mmio(&b->d[i], &b->r, 7 - i);
}

static void box_free(Box *b)
{
    GPtrArray *devices = b->r.config.devices;

    unlink(b->second);
    g_free(b->second);
    board_free(b->r.vm);
    vm_unlock(b->r.vm);
    disks_free(b->r.vm->disks);
    b->r.vm->disks = NULL;
    vm_lock(b->r.vm);
    for (int i = 0; i < 2; i++)
        iothread_free(b->t[i]);
    disk_rig_free(&b->disk, &b->r);
    g_ptr_array_free(devices, true);
}

/* ---- a driver: random requests in slots of the disk that are its own */

typedef struct Driver {
    Vd *d;
    VdQueue *q;
    unsigned part;                      /* which eighth of the disk is its own */
    uint64_t mem;
    uint32_t x;
    unsigned got;
    const char *wrong;
    _Atomic bool ended;
    struct { int id; uint8_t fill, want; uint32_t type, len; } slot[SLOTS];
} Driver;

static uint32_t random_of(Driver *w, uint32_t n)
{
    w->x = w->x * 1664525 + 1013904223;
    return (uint64_t)n * w->x >> 32;
}

static uint64_t header_of(const Driver *w, unsigned s) { return w->mem + s * (SLOT + 64); }
static uint64_t data_of(const Driver *w, unsigned s) { return header_of(w, s) + 32; }

static void ask(Driver *w, unsigned s)
{
    static const uint8_t kinds[] = { OUT, OUT, IN, IN, IN, FLUSH };
    uint32_t type = kinds[random_of(w, sizeof(kinds))];
    uint64_t sector = ((uint64_t)w->part * (SIZE / 8) + s * SLOT) / 512;
    uint64_t at = header_of(w, s), data = data_of(w, s);
    VdBuf out[] = { { at, 16 }, { data, SLOT }, { at + 16, 1 } };

    vd_put(w->d, at, type, 8);
    vd_put(w->d, at + 8, type == FLUSH ? 0 : sector, 8);
    vd_put(w->d, at + 16, 0xff, 1);
    w->slot[s].type = type;
    w->slot[s].fill = random_of(w, 256);
    if (type != FLUSH)
        memset(vd_ptr(w->d, data, SLOT), type == OUT ? w->slot[s].fill : 0xee, SLOT);
    if (type == FLUSH)
        out[1] = out[2];
    w->slot[s].id = type == FLUSH ? vd_add(w->q, out, 1, 1) : vd_add(w->q, out, type == OUT ? 2 : 1, type == OUT ? 1 : 2);
}

static void answered(Driver *w, int id)
{
    unsigned s = 0;

    while (s < SLOTS && w->slot[s].id != id)
        s++;
    if (s == SLOTS || vd_get(w->d, header_of(w, s) + 16, 1) != 0) {
        w->wrong = s == SLOTS ? "an answer to nothing" : "an error";
        return;
    }
    const uint8_t *p = vd_ptr(w->d, data_of(w, s), SLOT);
    if (w->slot[s].type == OUT)
        w->slot[s].want = w->slot[s].fill;
    else if (w->slot[s].type == IN && (p[0] != w->slot[s].want || memcmp(p, p + 1, SLOT - 1)))
        w->wrong = "what was read is not what was written";
    w->slot[s].id = -1;
    w->got++;
}

/* Does the device want to hear of what was added? As Linux's driver asks. */
static bool wants_kick(VdQueue *q, uint16_t was)
{
    vd_fence();
    if (!q->d->event_idx)
        return !(vd_get(q->d, q->used, 2) & 1);
    uint16_t event = vd_get(q->d, q->used + 4 + 8 * q->size, 2);
    return (uint16_t)(q->next - event - 1) < (uint16_t)(q->next - was);
}

static void *drive(void *opaque)
{
    Driver *w = opaque;
    int64_t last = g_get_monotonic_time();
    uint32_t len;
    int id;

    while (w->got < requests && !w->wrong) {
        uint16_t was = w->q->next;

        for (unsigned s = 0; s < SLOTS; s++) {
            if (w->slot[s].id < 0 && random_of(w, 2))
                ask(w, s);
        }
        if (w->q->next != was && wants_kick(w->q, was))
            w->d->t->kick(w->d, w->q->n);
        while ((id = vd_used(w->q, &len)) >= 0 && !w->wrong) {
            answered(w, id);
            last = g_get_monotonic_time();
        }
        if (g_get_monotonic_time() - last > 10000000)
            w->wrong = "no answer in ten seconds";
        sched_yield();
    }
    w->ended = true;
    return NULL;
}

/* Both disks with `queues` each, all driven at once, and held now and then. Microseconds that it took. */
static void run_all(Box *b, unsigned queues, uint64_t features)
{
    Driver w[4] = { 0 };
    pthread_t t[4];
    unsigned n = 0, ended;

    for (unsigned i = 0; i < 2; i++) {
        CHECK(vd_start(&b->d[i], features));
        for (unsigned k = 0; k < queues; k++, n++) {
            w[n] = (Driver){ .d = &b->d[i], .q = vd_queue(&b->d[i], k, 64), .part = k, .x = n + 11 };
            w[n].mem = vd_alloc(&b->d[i], SLOTS * (SLOT + 64), 4096);
            for (unsigned s = 0; s < SLOTS; s++)
                w[n].slot[s].id = -1;
        }
        vd_go(&b->d[i]);
    }
    for (unsigned i = 0; i < n; i++)
        pthread_create(&t[i], NULL, drive, &w[i]);
    do {
        for (unsigned i = 0; i < 2; i++) {
            VirtioDevice *v = b->d[i].more;

            virtio_hold(v, VIRTIO_HOLD_STOPPED, true);
            virtio_hold(v, VIRTIO_HOLD_STOPPED, false);
            b->d[i].t->isr(&b->d[i]);
        }
        rig_turn(&b->r, 3);
        ended = 0;
        for (unsigned i = 0; i < n; i++)
            ended += w[i].ended;
    } while (ended < n);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(t[i], NULL);
        if (w[i].wrong)
            printf("disk %u, queue %u: %s after %u requests\n", i / queues, i % queues, w[i].wrong, w[i].got);
        CHECK(!w[i].wrong);
    }
}

/* The virtio device in that MMIO slot. */
static VirtioDevice *device_of(Box *b, const char *id)
{
    return (VirtioDevice *)device_find(b->r.vm, id);
}

static void find_devices(Box *b)
{
    b->d[0].more = device_of(b, "v0");
    b->d[1].more = device_of(b, "v1");
}

/* ---- where it runs */

static void where(void *opaque)
{
    *(Loop **)opaque = loop_self();
}

static void test_two_threads(void)
{
    static const uint64_t features[] = { 0, VD_BIT(VIRTIO_F_EVENT_IDX) };
    Box b;

    for (unsigned i = 0; i < 2; i++) {
        box_init(&b);
        rig_must(disks_place(b.r.vm->disks, "d0", b.t[0]));
        rig_must(disks_place(b.r.vm->disks, "d1", b.t[1]));
        box_drive(&b, "d0", b.disk.img, "");
        box_drive(&b, "d1", b.second, ",cache=none,aio=threads");
        CHECK(disks_find(b.r.vm->disks, "d0")->home == b.t[0] && disks_find(b.r.vm->disks, "d1")->home == b.t[1]);
        box_devices(&b, "virtio-blk-device,id=v0,drive=d0,iothread=t0", "virtio-blk-device,id=v1,drive=d1,iothread=t1");
        find_devices(&b);
        run_all(&b, 1, features[i]);
        box_free(&b);
    }
}

/* Queues in two threads, the disk in one of them, or in the thread "disks". */
static void test_mapping(void)
{
    Box b;

    box_init(&b);
    rig_must(disks_place(b.r.vm->disks, "d0", b.t[0]));
    box_drive(&b, "d0", b.disk.img, "");
    box_drive(&b, "d1", b.second, "");
    box_devices(&b, "{\"driver\":\"virtio-blk-device\",\"id\":\"v0\",\"drive\":\"d0\",\"num-queues\":2,\"iothread-vq-mapping\":"
                    "[{\"iothread\":\"t0\"},{\"iothread\":\"t1\"}]}",
                "{\"driver\":\"virtio-blk-device\",\"id\":\"v1\",\"drive\":\"d1\",\"num-queues\":2,\"iothread-vq-mapping\":"
                "[{\"iothread\":\"t1\",\"vqs\":[0]},{\"iothread\":\"disks\",\"vqs\":[1]}]}");
    find_devices(&b);
    run_all(&b, 2, VD_BIT(VIRTIO_F_EVENT_IDX));
    box_free(&b);
}

/* Two disks, each kept busy by a coroutine in its own thread: both must be there at the same moment. */
typedef struct Meet { _Atomic int *n; bool met; } Meet;

static void meet(void *opaque)
{
    Meet *m = opaque;
    int64_t end = g_get_monotonic_time() + 5000000;

    __atomic_fetch_add(m->n, 1, __ATOMIC_SEQ_CST);
    while (*m->n < 2 && g_get_monotonic_time() < end)
        sched_yield();
    m->met = *m->n == 2;
}

static void *meet_thread(void *opaque)
{
    void **a = opaque;

    iothread_run(a[0], meet, a[1]);
    return NULL;
}

static void test_at_once(void)
{
    Box b;
    _Atomic int n = 0;
    Meet m[2] = { { &n, false }, { &n, false } };
    pthread_t t[2];
    void *args[2][2];
    Loop *loops[2];

    box_init(&b);
    rig_must(disks_place(b.r.vm->disks, "d0", b.t[0]));
    rig_must(disks_place(b.r.vm->disks, "d1", b.t[1]));
    CHECK(rig_says(disks_place(b.r.vm->disks, "d1", b.t[0]), "two I/O threads"));
    box_drive(&b, "d0", b.disk.img, "");
    box_drive(&b, "d1", b.second, "");
    for (unsigned i = 0; i < 2; i++) {
        IoThread *home = disks_find(b.r.vm->disks, i ? "d1" : "d0")->home;

        iothread_run(home, where, &loops[i]);
        args[i][0] = home;
        args[i][1] = &m[i];
        pthread_create(&t[i], NULL, meet_thread, args[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    CHECK(m[0].met && m[1].met && loops[0] != loops[1]);
    /* A device that has no iothread= cannot reach it. */
    b.r.config.devices = g_ptr_array_new();
    g_ptr_array_add(b.r.config.devices, (void *)"nvme,drive=d0,serial=1");
    CHECK(rig_says(rig_try_board(&b.r), "cannot reach"));
    box_free(&b);
}

/* -blockdev by name: what lies below goes along, and a throttle group is in all threads. */
static void test_nodes(void)
{
    g_autoptr(GPtrArray) args = g_ptr_array_new_with_free_func(g_free);
    Box b;

    box_init(&b);
    Disks *d = b.r.vm->disks;
    g_ptr_array_add(args, g_strdup_printf("driver=file,node-name=f0,filename=%s", b.disk.img));
    g_ptr_array_add(args, g_strdup("driver=raw,node-name=n0,file=f0"));
    g_ptr_array_add(args, g_strdup_printf("driver=file,node-name=f1,filename=%s", b.second));
    g_ptr_array_add(args, g_strdup("driver=throttle,node-name=n1,throttle-group=g,file=f1"));
    rig_must(disks_add_object(d, "throttle-group,id=g,x-iops-total=1000000"));
    rig_must(disks_place(d, "n0", b.t[1]));
    rig_must(disks_place(d, "n1", b.t[0]));
    rig_must(disks_place_children(d, args));
    CHECK(disks_place_of(d, "f0") == b.t[1] && disks_place_of(d, "f1") == b.t[0]);
    rig_must(disks_add_blockdev(d, args->pdata[0]));
    rig_must(disks_add_blockdev(d, args->pdata[1]));
    rig_must(disks_add_blockdev(d, args->pdata[2]));
    rig_must(disks_add_blockdev(d, args->pdata[3]));
    box_drive(&b, "d1", "null-co://", "");
    box_devices(&b, "virtio-blk-device,id=v0,drive=n0,iothread=t1", "virtio-blk-device,id=v1,drive=d1,iothread=t0");
    find_devices(&b);
    CHECK(vd_start(&b.d[0], 0));
    box_free(&b);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        requests = atoi(argv[1]);
    RUN(test_two_threads);
    RUN(test_mapping);
    RUN(test_at_once);
    RUN(test_nodes);
    return test_end();
}
