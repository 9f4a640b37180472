/* SPDX-License-Identifier: MIT */
/* virtio-9p by its ring: the tag, requests and replies in pieces, many at once, work in flight when it is reset, nonsense. */
#define RIG_HARTS 1
#include "hw/9p/fsdev.h"
#include "tests/dev/vdriver.h"

#include <fcntl.h>

typedef struct Box {
    Rig r;
    Vd d;
    char *dir;
    uint64_t req, rep;
} Box;

static void box_make(Box *b)
{
    *b = (Box){ 0 };
    rig_init(&b->r);
    rig_board(&b->r);
    b->r.vm->state = RUN_RUNNING;
    b->dir = g_dir_make_tmp("lyre-9p-XXXXXX", NULL);
    g_autofree char *arg = g_strdup_printf("local,id=f,path=%s,security_model=none", b->dir);
    rig_must(fsdev_add(b->r.vm, arg));
    vd_attach(&b->d, &b->r, "virtio-9p-device,fsdev=f,mount_tag=share");
}

static void box_free(Box *b)
{
    g_autofree char *cmd = g_strdup_printf("rm -rf '%s'", b->dir);

    vd_detach(&b->d);
    fsdevs_free(b->r.vm);
    rig_free(&b->r);
    CHECK(!system(cmd));
    g_free(b->dir);
}

static void box_start(Box *b)
{
    b->d.next = VD_RAM;
    vd_start(&b->d, 0, 1, 128);
    b->req = vd_alloc(&b->d, 1 << 16);
    b->rep = vd_alloc(&b->d, 1 << 16);
}

/* A message with a body of `n` bytes in slot i of 4 KiB. */
static void ask(Box *b, unsigned i, uint8_t type, const void *body, uint32_t n)
{
    uint64_t req = b->req + 4096 * i, rep = b->rep + 4096 * i;
    uint8_t *p = vd_host(&b->d, req, 4096);
    VdBuf bufs[] = { { req, 5, false }, { req + 5, n + 2, false }, { rep, 9, true }, { rep + 9, 4000, true } };
    uint32_t len = n + 7;

    memcpy(p, &len, 4);
    p[4] = type;
    p[5] = i;
    p[6] = 0;
    memcpy(p + 7, body, n);
    vd_add(&b->d, 0, bufs, 4, (void *)(uintptr_t)(i + 1));
}

static uint8_t *reply(Box *b, unsigned i) { return vd_host(&b->d, b->rep + 4096 * i, 4096); }

static bool talk(Box *b, uint8_t type, const void *body, uint32_t n)
{
    uint32_t len = 0;

    ask(b, 0, type, body, n);
    vd_kick(&b->d, 0);
    return vd_used(&b->d, 0, 5000, &len) && len >= 7 && reply(b, 0)[4] == type + 1;
}

static bool attach(Box *b)
{
    return talk(b, 100, "\0\0\1\0\10\0009P2000.L", 14) && talk(b, 104, "\0\0\0\0\377\377\377\377\0\0\0\0\0\0\0\0", 16);
}

static void test_tag(void)
{
    Box b;

    box_make(&b);
    CHECK_EQ(b.d.v->config_size, 7);
    CHECK(!memcmp(b.d.v->config, "\5\0share", 7));
    CHECK(b.d.v->offered & 1);
    box_start(&b);
    CHECK(attach(&b));
    CHECK(talk(&b, 24, "\0\0\0\0\377\7\0\0\0\0\0\0", 12));        /* getattr of the root */
    CHECK_EQ(*(uint16_t *)(reply(&b, 0) + 7 + 8 + 13) & 0170000, 0040000);
    box_free(&b);
}

static void test_many(void)
{
    Box b;

    box_make(&b);
    box_start(&b);
    CHECK(attach(&b));
    CHECK(talk(&b, 110, "\0\0\0\0\1\0\0\0\0\0", 10));              /* clone */
    CHECK(talk(&b, 14, "\1\0\0\0\1\0f\2\0\0\0\244\1\0\0\0\0\0\0", 19));     /* lcreate */
    CHECK(talk(&b, 118, "\1\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0hello", 21));
    int before = b.d.interrupts;
    for (unsigned i = 0; i < 16; i++)
        ask(&b, i, i % 3 ? 116 : 50, "\1\0\0\0\0\0\0\0\0\0\0\0\20\0\0\0", i % 3 ? 16 : 8);
    vd_kick(&b.d, 0);
    unsigned seen = 0;
    for (int n = 0; n < 16; n++)
        seen |= 1u << ((uintptr_t)vd_used(&b.d, 0, 5000, NULL) - 1);
    CHECK_EQ(seen, 0xffff);
    CHECK(b.d.interrupts - before <= 16);
    for (unsigned i = 0; i < 16; i++)
        CHECK(reply(&b, i)[4] == (i % 3 ? 117 : 51) && (i % 3 == 0 || !memcmp(reply(&b, i) + 11, "hello", 5)));
    box_free(&b);
}

/* A reset waits for the workers, and forgets fids. */
static void test_reset(void)
{
    Box b;

    box_make(&b);
    for (int round = 0; round < 20; round++) {
        box_start(&b);
        CHECK(attach(&b));
        CHECK(talk(&b, 110, "\0\0\0\0\1\0\0\0\0\0", 10));
        CHECK(talk(&b, 14, "\1\0\0\0\1\0f\2\0\0\0\244\1\0\0\0\0\0\0", 19));
        for (unsigned i = 0; i < 8; i++)
            ask(&b, i, 50, "\1\0\0\0\0\0\0\0", 8);
        vd_kick(&b.d, 0);
        if (round & 1)
            usleep(300);
        virtio_set_status(b.d.v, 0);
    }
    box_free(&b);
}

static void test_nonsense(void)
{
    Box b;

    box_make(&b);
    for (int what = 0; what < 4; what++) {
        box_start(&b);
        VdBuf bufs[] = { { b.req, what == 0 ? 3 : 100, false }, { b.rep, what == 1 ? 5 : 4000, true } };

        memset(vd_host(&b.d, b.req, 100), what == 2 ? 0xff : 0, 100);   /* its size: all, or none */
        vd_add(&b.d, 0, bufs, what == 3 ? 1 : 2, &b);
        vd_kick(&b.d, 0);
        for (int i = 0; i < 2000 && !(b.d.v->status & VIRTIO_NEEDS_RESET); i++)
            usleep(1000);
        CHECK(b.d.v->status & VIRTIO_NEEDS_RESET);
    }
    box_start(&b);
    CHECK(attach(&b));          /* well again */
    box_free(&b);
}

static void test_wrong(void)
{
    Rig r;
    Vd d;

    rig_init(&r);
    rig_board(&r);
    rig_must(fsdev_add(r.vm, "local,id=f,path=/tmp,security_model=none"));
    CHECK(rig_says(vd_try_attach(&d, &r, "virtio-9p-device,mount_tag=a"), "no fsdev"));
    CHECK(rig_says(vd_try_attach(&d, &r, "virtio-9p-device,fsdev=g,mount_tag=a"), "'g'"));
    CHECK(rig_says(vd_try_attach(&d, &r, "virtio-9p-device,fsdev=f"), "mount_tag"));
    fsdevs_free(r.vm);
    rig_free(&r);
}

int main(void)
{
    RUN(test_tag);
    RUN(test_many);
    RUN(test_reset);
    RUN(test_nonsense);
    RUN(test_wrong);
    return test_end();
}
