/* SPDX-License-Identifier: MIT */
/* virtio-rng: its sources, its limits, wrong buffers; over MMIO and over PCI. */
#include <fcntl.h>
#include <sys/stat.h>

#include "system/rng.h"
#include "tests/dev/virtio-pci-driver.h"

static Rig rig, *r = &rig;
static Vd vd, *d = &vd;
static Vp vp;

/* A board whose device has a source made from that -object, or the built-in one. */
static VdQueue *begin(const char *device, const char *object)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)device);
    if (object)
        rig_must(rng_add(r->vm, object));
    rig_board(r);
    vd_open_mmio(d, r, 7);
    CHECK(vd_start(d, 0));
    VdQueue *q = vd_queue(d, 0, 8);
    vd_go(d);
    return q;
}

static void end(void)
{
    GPtrArray *devices = r->config.devices;

    board_free(r->vm);
    rngs_free(r->vm);
    rig_free(r);
    g_ptr_array_free(devices, true);
}

static void test_builtin(void)
{
    VdQueue *q = begin("virtio-rng-device", NULL);
    uint64_t at = vd_alloc(d, 256, 1);
    uint8_t sum[2] = { 0 };

    CHECK_EQ(vd_mmio_rd(d, 8), 4);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 128 }, { at + 128, 128 } }, 0, 2), 256);
        for (int j = 0; j < 256; j++)
            sum[i] |= *(uint8_t *)vd_ptr(d, at + j, 1);
    }
    CHECK_EQ(sum[0], 0xff);
    /* No more than 64 KiB in one go; what is to be read counts for nothing. */
    CHECK_EQ(vd_call(q, (VdBuf[]){ { VD_RAM, 16 << 20 } }, 0, 1), 65536);
    CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 16 }, { at + 16, 16 } }, 1, 1), 16);
    CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 16 } }, 1, 0), 0);
    end();
}

static void test_file(void)
{
    uint8_t bytes[100];

    for (int i = 0; i < 100; i++)
        bytes[i] = i * 3 + 1;
    char *path = rig_file(bytes, sizeof(bytes));
    char *object = g_strdup_printf("{\"qom-type\":\"rng-random\",\"id\":\"r0\",\"filename\":\"%s\"}", path);
    VdQueue *q = begin("virtio-rng-device,rng=r0", object);
    uint64_t at = vd_alloc(d, 256, 1);
    CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 60 } }, 0, 1), 60);
    CHECK(!memcmp(vd_ptr(d, at, 60), bytes, 60));
    CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 60 } }, 0, 1), 40);
    CHECK(!memcmp(vd_ptr(d, at, 40), bytes + 60, 40));
    /* The file has ended: the buffer waits for ever, and nothing spins. */
    uint32_t len;
    CHECK(vd_add(q, (VdBuf[]){ { at, 60 } }, 0, 1) >= 0);
    vd_kick(q);
    rig_turn(r, 5);
    CHECK_EQ(vd_used(q, &len), -1);
    CHECK_EQ(vd_mmio_status(d), 15);
    end();
    g_free(object);
    rig_unlink(path);
}

/* A pipe that has nothing to give yet. */
static void test_pipe(void)
{
    g_autofree char *path = g_strdup_printf("/tmp/rng-test-%d", (int)getpid());
    g_autofree char *object = g_strdup_printf("rng-random,id=r0,filename=%s", path);
    uint32_t len;

    CHECK(!mkfifo(path, 0600));
    int fd = open(path, O_RDWR);
    VdQueue *q = begin("virtio-rng-device,rng=r0", object);
    uint64_t at = vd_alloc(d, 256, 1);
    int id = vd_add(q, (VdBuf[]){ { at, 60 } }, 0, 1);
    vd_kick(q);
    rig_turn(r, 2);
    CHECK_EQ(vd_used(q, &len), -1);
    vd_kick(q);
    rig_turn(r, 1);
    CHECK_EQ(write(fd, "sixteen bytes...", 16), 16);
    CHECK_EQ(vd_wait(d, q, &len), id);
    CHECK_EQ(len, 16);
    CHECK(!memcmp(vd_ptr(d, at, 16), "sixteen bytes...", 16));
    /* Reset while it waits; then again. */
    vd_add(q, (VdBuf[]){ { at, 60 } }, 0, 1);
    vd_kick(q);
    rig_turn(r, 1);
    CHECK(vd_start(d, 0));
    q = vd_queue(d, 0, 8);
    vd_go(d);
    id = vd_add(q, (VdBuf[]){ { at, 60 } }, 0, 1);
    vd_kick(q);
    CHECK_EQ(write(fd, "more", 4), 4);
    CHECK_EQ(vd_wait(d, q, &len), id);
    CHECK_EQ(len, 4);
    vd_add(q, (VdBuf[]){ { at, 60 } }, 0, 1);
    vd_kick(q);
    rig_turn(r, 1);
    end();                                                      /* while it waits */
    close(fd);
    unlink(path);
}

static void test_limit(void)
{
    VdQueue *q = begin("virtio-rng-device,max-bytes=100,period=30", NULL);
    uint64_t at = vd_alloc(d, 256, 1);
    uint32_t len;

    CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 70 } }, 0, 1), 70);
    CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 70 } }, 0, 1), 30);
    int64_t was = g_get_monotonic_time();
    int id = vd_add(q, (VdBuf[]){ { at, 70 } }, 0, 1);
    vd_kick(q);
    rig_turn(r, 1);
    CHECK_EQ(vd_used(q, &len), -1);
    CHECK_EQ(vd_wait(d, q, &len), id);
    CHECK_EQ(len, 70);
    CHECK(g_get_monotonic_time() - was > 10000);
    end();
}

static void test_pci(void)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)"virtio-rng-pci,addr=4,packed=on,rng=r0");
    rig_must(rng_add(r->vm, "rng-builtin,id=r0"));
    rig_board(r);
    vd_open_pci(d, &vp, r, 0x20);
    CHECK(vd_start(d, VD_BIT(VIRTIO_F_RING_PACKED) | VD_BIT(VIRTIO_F_EVENT_IDX)));
    VdQueue *q = vd_queue(d, 0, 7);
    vd_go(d);
    uint64_t at = vd_alloc(d, 256, 1);
    for (int i = 0; i < 30; i++)
        CHECK_EQ(vd_call(q, (VdBuf[]){ { at, 100 }, { at + 100, 20 } }, 0, 2), 120);
    end();
}

static void test_objects(void)
{
    rig_init(r);
    CHECK(rig_says(rng_add(r->vm, "rng-random"), "needs an id"));
    CHECK(rig_says(rng_add(r->vm, "rng-random,id=a,filename=/nowhere/at/all"), "cannot open"));
    CHECK(rig_says(rng_add(r->vm, "rng-random,id=a,filename=/tmp"), "is a folder"));
    CHECK(rig_says(rng_add(r->vm, "rng-builtin,id=a,filename=/dev/urandom"), "'filename'"));
    CHECK(rig_says(rng_add(r->vm, "{\"qom-type\":\"rng-builtin\",\"id\":7}"), "neither a string"));
    CHECK(!rng_add(r->vm, "rng-builtin,id=a"));
    CHECK(rig_says(rng_add(r->vm, "rng-random,id=a"), "already"));
    Rng *rng;
    CHECK(!rng_find(r->vm, "a", &rng));
    CHECK(rig_says(rng_find(r->vm, "b", &rng), "no source of randomness 'b'"));
    rngs_free(r->vm);
    rig_free(r);
}

int main(void)
{
    RUN(test_builtin);
    RUN(test_file);
    RUN(test_pipe);
    RUN(test_limit);
    RUN(test_objects);
    RUN(test_pci);
    return test_end();
}
