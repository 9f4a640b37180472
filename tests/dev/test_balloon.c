/* SPDX-License-Identifier: MIT */
/* virtio-balloon by its rings: pages given back and told, wrong ones, statistics, free pages, management. */
#define RIG_HARTS 1
#include "hw/virtio/balloon.h"
#include "tests/dev/events.h"
#include "tests/dev/vdriver.h"

enum { STATS = 1 << 1, POISON = 1 << 4, REPORTING = 1 << 5, PAGE = 4096 };
#define TARGET UINT64_C(0x82000000)

typedef struct Box { Rig r; Vd d; uint64_t buf; } Box;

static void box_make(Box *b, const char *props, uint64_t features, unsigned queues)
{
    *b = (Box){ 0 };
    rig_init(&b->r);
    rig_board(&b->r);
    b->r.vm->state = RUN_RUNNING;
    g_autofree char *dev = g_strdup_printf("virtio-balloon-device%s", props);
    vd_attach(&b->d, &b->r, dev);
    vd_start(&b->d, features, queues, 16);
    b->buf = vd_alloc(&b->d, 16 * PAGE);
}

static void box_free(Box *b)
{
    vd_detach(&b->d);
    rig_free(&b->r);
}

static bool pfns(Box *b, unsigned q, const uint32_t *list, unsigned n)
{
    memcpy(vd_host(&b->d, b->buf, 4 * n), list, 4 * n);
    vd_add(&b->d, q, &(VdBuf){ b->buf, 4 * n, false }, 1, b);
    vd_kick(&b->d, q);
    rig_turn(&b->r, 1);
    return vd_used(&b->d, q, 100, NULL);
}

static uint8_t *page(Box *b, unsigned i) { return vd_host(&b->d, TARGET + i * PAGE, PAGE); }

static uint64_t touched_off, touched_len;
static void touched(RamBlock *r, uint64_t off, uint64_t len) { touched_off = off, touched_len = len; }

static void test_inflate(void)
{
    const uint32_t p = TARGET >> 12;
    RamBlock *ram;
    uint64_t off;
    Box b;

    box_make(&b, "", 0, 2);
    for (int i = 0; i < 8; i++)
        memset(page(&b, i), 0x55, PAGE);
    CHECK(space_ram(b.r.vm->mem, TARGET, PAGE, true, &ram, &off));
    /* A page with translated code: who has it hears of it. */
    void (*was)(RamBlock *, uint64_t, uint64_t) = ram_code_touched;
    ram_code_touched = touched;
    atomic_fetch_or(&ram->pages[(off >> 12) + 1], PAGE_CODE);
    CHECK(pfns(&b, 0, (uint32_t[]){ p, p + 1, p + 2, p + 5 }, 4));
    CHECK(touched_len && touched_off <= off + PAGE && touched_off + touched_len >= off + 2 * PAGE);
    ram_code_touched = was;
    for (int i = 0; i < 8; i++)
        CHECK_EQ(page(&b, i)[100], i == 3 || i == 4 || i > 5 ? 0x55 : 0);
    page(&b, 1)[5] = 7;                     /* it is memory as before */
    CHECK_EQ(page(&b, 1)[5], 7);
    CHECK(pfns(&b, 1, (uint32_t[]){ p, p + 1 }, 2));
    CHECK_EQ(page(&b, 1)[5], 7);
    /* Devices, ROM, nothing, the end of memory. */
    CHECK(pfns(&b, 0, (uint32_t[]){ 0x10000, 1, 0xffffffff, 0x20000, 0x83fff, 0x84000, 0 }, 7));
    CHECK(!(b.d.v->status & VIRTIO_NEEDS_RESET));
    vd_add(&b.d, 0, &(VdBuf){ b.buf, 3, false }, 1, &b);
    vd_kick(&b.d, 0);
    rig_turn(&b.r, 1);
    CHECK(vd_used(&b.d, 0, 100, NULL));
    box_free(&b);
}

static void test_manage(void)
{
    uint64_t bytes = 0;
    Box b;

    box_make(&b, ",deflate-on-oom=on", 0, 2);
    CHECK(b.d.v->offered & 4);
    int before = b.d.config_changes;
    rig_must(balloon_set(b.r.vm, 48 << 20));
    CHECK_EQ(b.d.config_changes, before + 1);
    CHECK_EQ(virtio_config_read(b.d.v, 0, 4), (16 << 20) / PAGE);
    Events ev;
    events_listen(&ev, b.r.vm);
    virtio_config_write(b.d.v, 4, 1000, 4);
    virtio_config_write(b.d.v, 4, 1000, 4);     /* the same again is no news */
    g_autofree char *told = events_take(&ev);
    CHECK_STR(told, "BALLOON_CHANGE {\"actual\":63012864}\n");
    events_end(&ev, b.r.vm);
    rig_must(balloon_get(b.r.vm, &bytes));
    CHECK_EQ(bytes, (64u << 20) - 1000 * PAGE);
    virtio_config_write(b.d.v, 4, 0xffffffff, 4);
    rig_must(balloon_get(b.r.vm, &bytes));
    CHECK_EQ(bytes, 0);
    rig_must(balloon_set(b.r.vm, UINT64_MAX));
    CHECK_EQ(virtio_config_read(b.d.v, 0, 4), 0);
    CHECK(rig_says(balloon_set(b.r.vm, 0), "without memory"));
    box_free(&b);
    rig_init(&b.r);
    rig_board(&b.r);
    CHECK(rig_says(balloon_set(b.r.vm, 1), "no balloon"));
    CHECK(rig_says(vd_try_attach(&b.d, &b.r, "virtio-balloon-device,free-page-hint=on"), "free-page-reporting"));
    rig_free(&b.r);
}

static void give_stats(Box *b, uint64_t free)
{
    uint8_t *p = vd_host(&b->d, b->buf, 30);

    memset(p, 0, 30);
    p[0] = 4;                               /* free memory */
    memcpy(p + 2, &free, 8);
    p[10] = 99;                             /* unknown */
    vd_add(&b->d, 2, &(VdBuf){ b->buf, 25, false }, 1, b);
    vd_kick(&b->d, 2);
    rig_turn(&b->r, 1);
}

static void test_stats(void)
{
    BalloonStats s;
    Box b;

    box_make(&b, "", STATS, 3);
    rig_must(balloon_stats(b.r.vm, &s));
    CHECK(s.when == 0 && s.values[4] == -1);
    give_stats(&b, 12345);
    CHECK(!vd_used(&b.d, 2, 5, NULL));      /* kept */
    rig_must(balloon_stats(b.r.vm, &s));
    CHECK(s.when && s.values[4] == 12345 && s.values[5] == -1);
    rig_must(balloon_poll(b.r.vm, 1));
    for (int i = 0; i < 300 && !vd_used(&b.d, 2, 1, NULL); i++)
        rig_turn(&b.r, 5);
    give_stats(&b, 777);
    rig_must(balloon_stats(b.r.vm, &s));
    CHECK_EQ(s.values[4], 777);
    give_stats(&b, 778);                    /* a second one at once: the first comes back */
    CHECK(vd_used(&b.d, 2, 100, NULL));
    virtio_set_status(b.d.v, 0);
    rig_must(balloon_stats(b.r.vm, &s));
    CHECK_EQ(s.when, 0);
    box_free(&b);
}

static void test_reporting(void)
{
    Box b;

    for (int poisoned = 0; poisoned < 2; poisoned++) {
        for (int stats = 0; stats < 2; stats++) {
            box_make(&b, ",free-page-reporting=on", REPORTING | POISON | (stats ? STATS : 0), 3 + stats);
            virtio_config_write(b.d.v, 12, poisoned ? 0xaa : 0, 4);
            for (int i = 0; i < 4; i++)
                memset(page(&b, i), 0x55, PAGE);
            vd_add(&b.d, 2 + stats, (VdBuf[]){ { TARGET + 100, 2 * PAGE, true }, { TARGET + 3 * PAGE, PAGE, true } }, 2, &b);
            vd_kick(&b.d, 2 + stats);
            rig_turn(&b.r, 1);
            CHECK(vd_used(&b.d, 2 + stats, 100, NULL));
            CHECK_EQ(page(&b, 0)[200], 0x55);   /* not the whole page */
            CHECK_EQ(page(&b, 1)[200], poisoned ? 0x55 : 0);
            CHECK_EQ(page(&b, 2)[0], 0x55);
            CHECK_EQ(page(&b, 3)[200], poisoned ? 0x55 : 0);
            box_free(&b);
        }
    }
}

int main(void)
{
    RUN(test_inflate);
    RUN(test_manage);
    RUN(test_stats);
    RUN(test_reporting);
    return test_end();
}
