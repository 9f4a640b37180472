/* SPDX-License-Identifier: MIT */
/* The smaller devices of riscv64 `virt`: finisher, RTC, fw_cfg, flash, empty slots. */
#include "tests/dev/rig.h"

#define TEST   UINT64_C(0x100000)
#define RTC    UINT64_C(0x101000)
#define BUTTON UINT64_C(0x102000)
#define FW     UINT64_C(0x10100000)
#define FLASH0 UINT64_C(0x20000000)
#define FLASH1 UINT64_C(0x22000000)
#define RAM    UINT64_C(0x80000000)
#define PLIC   UINT64_C(0xc000000)

static Rig rig, *r = &rig;

static void start(void)
{
    rig_init(r);
    rig_board(r);
}

/* ---- test finisher */

static void test_finisher(void)
{
    static const struct { uint32_t val; int request, status; } rows[] = {
        { 0x5555, VM_POWEROFF, 0 }, { 0x00423333, VM_POWEROFF, 0x42 }, { 0x7777, VM_RESET, 0 },
        { 0x12345555, VM_POWEROFF, 0 }, { 0x1234, 0, 0 }, { 0, 0, 0 },
    };

    start();
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        r->vm->request = 0;
        r->vm->exit_status = 0;
        wr32(r, TEST, rows[i].val);
        CHECK_EQ(r->vm->request, rows[i].request);
        CHECK_EQ(r->vm->exit_status, rows[i].status);
    }
    r->vm->request = 0;
    wr32(r, TEST + 4, 0x5555);
    CHECK_EQ(r->vm->request, 0);
    wr(r, TEST, 0x5555, 2);
    CHECK_EQ(r->vm->request, VM_POWEROFF);
    CHECK_EQ(rd32(r, TEST), 0);
    rig_free(r);
}

/* ---- power button */

static bool button_irq(void) { return rd32(r, PLIC + 0x1000) >> 12 & 1; }

static void test_power_button(void)
{
    start();
    CHECK(!button_irq());
    CHECK_EQ(rd32(r, BUTTON), 0);
    CHECK(machine_press_power(r->vm));
    CHECK(button_irq());
    wr32(r, BUTTON, 0);                         /* only reading takes it back */
    CHECK(button_irq());
    CHECK_EQ(rd32(r, BUTTON), 1);
    CHECK_EQ(rd32(r, BUTTON), 0);
    CHECK(machine_press_power(r->vm));
    vm_reset(r->vm);
    CHECK_EQ(rd32(r, BUTTON), 0);
    rig_free(r);
    rig_init(r);
    r->config.machine_opts = (char *)"acpi=off";        /* nobody would hear of it */
    rig_board(r);
    CHECK(!machine_press_power(r->vm));
    rig_free(r);
}

/* ---- RTC */

static uint64_t rtc_time(void)
{
    uint64_t low = rd32(r, RTC);

    return low | (uint64_t)rd32(r, RTC + 4) << 32;
}

static void rtc_alarm(uint64_t at)
{
    wr32(r, RTC + 0x0c, at >> 32);
    wr32(r, RTC + 0x08, at);
}

static bool rtc_irq(void) { return rd32(r, PLIC + 0x1000) >> 11 & 1; }

static void test_rtc(void)
{
    rig_init(r);
    r->config.rtc_base = (char *)"2006-06-17T16:01:21";
    r->config.rtc_clock = (char *)"vm";
    rig_board(r);
    uint64_t t = rtc_time();
    CHECK_EQ(t / 1000000000, 1150560081);
    CHECK_EQ(rd32(r, RTC + 0x18), 0);

    wr32(r, RTC + 0x10, 1);
    rtc_alarm(rtc_time() + 50000000);
    CHECK_EQ(rd32(r, RTC + 0x18), 1);
    CHECK(!rtc_irq());
    for (int i = 0; i < 500 && !rtc_irq(); i++)
        rig_turn(r, 1);
    CHECK(rtc_irq());
    CHECK_EQ(rd32(r, RTC + 0x18), 0);
    wr32(r, RTC + 0x1c, 1);                     /* the line falls; the PLIC keeps its request */
    wr32(r, PLIC + 4 * 11, 1);
    wr32(r, PLIC + 0x2000, 1 << 11);
    CHECK_EQ(rd32(r, PLIC + 0x200004), 11);
    wr32(r, PLIC + 0x200004, 11);
    CHECK(!rtc_irq());

    rtc_alarm(rtc_time() - 1);                  /* past: at once */
    CHECK(rtc_irq());
    wr32(r, RTC + 0x10, 0);
    wr32(r, RTC + 0x1c, 1);
    rtc_alarm(rtc_time() + 1000000);
    wr32(r, RTC + 0x14, 1);                     /* cleared before it rings */
    CHECK_EQ(rd32(r, RTC + 0x18), 0);
    rtc_alarm(UINT64_MAX);

    /* Setting the time; it lasts over a reset, the alarm does not. */
    wr32(r, RTC + 4, 0x20000000);
    wr32(r, RTC, 0);
    t = rtc_time();
    CHECK(t >= UINT64_C(0x2000000000000000) && t < UINT64_C(0x2000000000000000) + 1000000000);
    vm_reset(r->vm);
    CHECK_EQ(rtc_time() >> 32, 0x20000000);
    CHECK_EQ(rd32(r, RTC + 0x18), 0);
    /* Low is read first and latches high. */
    wr32(r, RTC, 0xffffffff);
    uint32_t low = rd32(r, RTC);
    usleep(1000);
    CHECK(rd32(r, RTC + 4) == (low > 0xf0000000 ? 0x20000000 : 0x20000001));
    rig_free(r);
}

/* ---- fw_cfg */

static void fw_select(uint16_t key) { wr(r, FW + 8, GUINT16_TO_BE(key), 2); }

static void test_fw_cfg(void)
{
    start();
    fw_select(0);
    CHECK_EQ(rd(r, FW, 1), 'Q');
    CHECK_EQ(rd(r, FW, 1), 'E');
    CHECK_EQ(rd(r, FW, 2), 'M' | 'U' << 8);     /* in the order of the bytes */
    CHECK_EQ(rd(r, FW, 4), 0);                  /* behind the end */
    fw_select(0);
    CHECK_EQ(rd(r, FW, 8), 'Q' | 'E' << 8 | 'M' << 16 | (uint32_t)'U' << 24);
    fw_select(1);
    CHECK_EQ(rd32(r, FW), 3);
    fw_select(5);
    CHECK_EQ(rd(r, FW, 2), RIG_HARTS);
    fw_select(0x19);
    CHECK_EQ(rd32(r, FW), GUINT32_TO_BE(6));    /* files: test_firmware.c, test_acpi.c */
    fw_select(0x3fff);
    CHECK_EQ(rd32(r, FW), 0);
    fw_select(0xffff);
    CHECK_EQ(rd32(r, FW), 0);
    /* "QEMU CFG" tells of DMA. */
    CHECK_EQ(GUINT64_FROM_BE(rd(r, FW + 16, 8)), UINT64_C(0x51454d5520434647));
    CHECK_EQ(GUINT32_FROM_BE(rd32(r, FW + 20)), 0x20434647);
    rig_free(r);
}

/* Runs a DMA request at RAM + at; its control word afterwards. */
static uint32_t fw_dma(uint64_t at, uint32_t control, uint32_t len, uint64_t addr)
{
    uint32_t head[2] = { GUINT32_TO_BE(control), GUINT32_TO_BE(len) };
    uint64_t be = GUINT64_TO_BE(addr);

    CHECK_EQ(space_write(r->vm->mem, RAM + at, head, 8), MEM_OK);
    CHECK_EQ(space_write(r->vm->mem, RAM + at + 8, &be, 8), MEM_OK);
    wr32(r, FW + 16, GUINT32_TO_BE((RAM + at) >> 32));
    wr32(r, FW + 20, GUINT32_TO_BE(RAM + at));
    CHECK_EQ(space_read(r->vm->mem, RAM + at, head, 4), MEM_OK);
    return GUINT32_FROM_BE(head[0]);
}

static void test_fw_dma(void)
{
    char buf[8] = "xxxxxxx";

    start();
    CHECK_EQ(fw_dma(0x100, 0x0000 << 16 | 8 | 2, 6, RAM + 0x200), 0);
    CHECK_EQ(space_read(r->vm->mem, RAM + 0x200, buf, 7), MEM_OK);
    CHECK(!memcmp(buf, "QEMU\0\0", 6));
    CHECK_EQ(fw_dma(0x100, 8, 0, 0), 0);
    CHECK_EQ(fw_dma(0x100, 4, 2, 0), 0);        /* skip */
    CHECK_EQ(rd(r, FW, 1), 'M');
    CHECK_EQ(fw_dma(0x100, 8 | 16, 4, RAM), 1); /* nothing can be written */
    CHECK_EQ(fw_dma(0x100, 8 | 2, 4, 0x5000000), 1);            /* no memory there */
    CHECK_EQ(fw_dma(0x100, 8 | 2, 4, PLIC), 1);                 /* a device is no memory */
    CHECK_EQ(fw_dma(0x100, 8 | 2, 0xffffffff, RAM + 0x300), 1);      /* runs out of RAM */
    CHECK_EQ(fw_dma(0x100, 8 | 2, 16, UINT64_MAX - 4), 1);
    CHECK_EQ(fw_dma(0x100, 0, 0, 0), 0);
    wr(r, FW + 16, GUINT64_TO_BE(UINT64_MAX - 3), 8);           /* a request beyond everything */
    wr(r, FW + 16, GUINT64_TO_BE(FW + 16), 8);                  /* and one in itself */
    rig_free(r);
}

/* ---- flash */

static void cmd(uint64_t at, uint8_t c) { wr32(r, at, c | (uint32_t)c << 16); }

static void test_flash(void)
{
    start();
    CHECK_EQ(rd32(r, FLASH0), 0);
    cmd(FLASH0 + 0x55 * 4, 0x98);
    CHECK_EQ(rd32(r, FLASH0 + 0x10 * 4), 'Q' | 'Q' << 16);
    CHECK_EQ(rd32(r, FLASH0 + 0x11 * 4), 'R' | 'R' << 16);
    CHECK_EQ(rd(r, FLASH0 + 0x12 * 4, 1), 'Y');
    CHECK_EQ(rd(r, FLASH0 + 0x12 * 4 + 2, 2), 'Y');
    CHECK_EQ(rd(r, FLASH0 + 0x13 * 4, 2), 1);                   /* Intel's command set */
    CHECK_EQ(rd(r, FLASH0 + 0x27 * 4, 2), 24);
    unsigned blocks = rd(r, FLASH0 + 0x2d * 4, 1) + (rd(r, FLASH0 + 0x2e * 4, 1) << 8) + 1;
    unsigned block = (rd(r, FLASH0 + 0x2f * 4, 1) + (rd(r, FLASH0 + 0x30 * 4, 1) << 8)) * 256;
    CHECK_EQ((uint64_t)blocks * block * 2, 32 << 20);
    CHECK_EQ(rd(r, FLASH0 + 0x31 * 4, 1), 'P');
    CHECK_EQ(rd32(r, FLASH0 + 0x400), 0);
    CHECK_EQ(rd32(r, FLASH1), 0);                               /* the other one is as it was */
    cmd(FLASH0, 0x90);
    CHECK_EQ(rd32(r, FLASH0), 0x00890089);
    CHECK_EQ(rd32(r, FLASH0 + 4), 0x00180018);
    cmd(FLASH0, 0xff);
    CHECK_EQ(rd32(r, FLASH0), 0);

    /* Erase: the block and no more. */
    cmd(FLASH0 + 0x40000, 0x20);
    cmd(FLASH0 + 0x40000, 0xd0);
    CHECK_EQ(rd32(r, FLASH0), 0x00800080);                      /* ready, no error */
    cmd(FLASH0, 0xff);
    CHECK_EQ(rd32(r, FLASH0 + 0x40000), 0xffffffff);
    CHECK_EQ(rd32(r, FLASH0 + 0x7fffc), 0xffffffff);
    CHECK_EQ(rd32(r, FLASH0 + 0x3fffc), 0);
    CHECK_EQ(rd32(r, FLASH0 + 0x80000), 0);

    /* Programming only clears bits. */
    cmd(FLASH0 + 0x40000, 0x40);
    wr32(r, FLASH0 + 0x40000, 0x12345678);
    cmd(FLASH0 + 0x40000, 0x10);
    wr32(r, FLASH0 + 0x40000, 0xf0f0f0f0);
    cmd(FLASH0, 0xff);
    CHECK_EQ(rd32(r, FLASH0 + 0x40000), 0x10305070);
    cmd(FLASH0, 0x40);
    wr(r, FLASH0 + 0x40005, 0xab, 1);
    cmd(FLASH0, 0xff);
    CHECK_EQ(rd32(r, FLASH0 + 0x40004), 0xffffabff);

    /* By the buffer. */
    cmd(FLASH0 + 0x40100, 0xe8);
    CHECK_EQ(rd32(r, FLASH0) & 0x80, 0x80);
    cmd(FLASH0 + 0x40100, 3);
    for (int i = 0; i < 4; i++)
        wr32(r, FLASH0 + 0x40100 + 4 * i, 0x1000 + i);
    cmd(FLASH0 + 0x40100, 0xd0);
    CHECK_EQ(rd32(r, FLASH0), 0x00800080);
    cmd(FLASH0, 0xff);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(rd32(r, FLASH0 + 0x40100 + 4 * i), 0x1000 + i);
    CHECK_EQ(rd32(r, FLASH0 + 0x40110), 0xffffffff);

    /* What does not confirm is an error, and changes nothing. */
    cmd(FLASH0 + 0x40000, 0x20);
    cmd(FLASH0 + 0x40000, 0x00);
    CHECK_EQ(rd32(r, FLASH0), 0x00b000b0);
    cmd(FLASH0, 0x50);
    cmd(FLASH0, 0x70);
    CHECK_EQ(rd32(r, FLASH0), 0x00800080);
    cmd(FLASH0, 0xe8);
    wr32(r, FLASH0, 0x04000400);                                /* 1025 words: more than the buffer has */
    CHECK_EQ(rd32(r, FLASH0), 0x00900090);
    cmd(FLASH0, 0xff);
    CHECK_EQ(rd32(r, FLASH0 + 0x40000), 0x10305070);
    cmd(FLASH0, 0x33);                                          /* no such command */
    CHECK_EQ(rd32(r, FLASH0 + 0x40000), 0x10305070);

    /* The content outlives a reset, the mode does not. */
    cmd(FLASH0, 0x90);
    vm_reset(r->vm);
    CHECK_EQ(rd32(r, FLASH0 + 0x40000), 0x10305070);
    /* The very end, with all widths. */
    cmd(FLASH1 + 0x1ffffe0, 0x98);
    for (unsigned size = 1; size <= 8; size++)
        rd(r, FLASH1 + 0x2000000 - size, size);
    rig_free(r);
}

/* ---- empty places */

static void test_empty(void)
{
    start();
    for (int i = 1; i <= 8; i++) {
        uint64_t at = 0x10000000 + i * 0x1000;

        CHECK_EQ(rd32(r, at), 0x74726976);
        CHECK_EQ(rd32(r, at + 4), 2);
        CHECK_EQ(rd32(r, at + 8), 0);
        wr32(r, at + 0x70, 1);
    }
    CHECK_EQ(rd32(r, 0x30000000 + (31 << 15)), 0xffffffff);     /* a slot, and a bus, without a function */
    CHECK_EQ(rd(r, 0x3ffffffe, 2), 0xffff);
    wr32(r, 0x30000004 + (31 << 15), 7);
    rig_free(r);
}

/* Random accesses everywhere on the map: nothing falls, nothing stays busy. */
static void test_random(void)
{
    static const struct { uint64_t base, size; } places[] = {
        { TEST, 0x1000 }, { RTC, 0x24 }, { 0x2000000, 0x4000 }, { 0x2004000, 0x8000 }, { 0x2f00000, 0x4000 }, { PLIC, 0x600000 },
        { 0x10000000, 8 }, { 0x10001000, 0x200 }, { FW, 24 }, { FLASH0, 0x1000 }, { 0x30000000, 0x1000 },
    };
    uint64_t x = 88172645463325252;

    rig_init(r);
    r->config.machine_opts = (char *)"aclint=on";
    rig_board(r);
    printf("seed %" PRIu64 "\n", x);
    for (int i = 0; i < 200000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        unsigned p = x % G_N_ELEMENTS(places), size = 1 << (x >> 8 & 3);
        uint64_t off = (x >> 16) % places[p].size, val = x * 0x2545f4914f6cdd1d;
        if (x >> 60 & 1)
            off &= ~(uint64_t)(size - 1);
        if (off + size > places[p].size)
            continue;
        if (x >> 61 & 1)
            wr(r, places[p].base + off, x >> 62 & 1 ? val : val & 0xff, size);
        else
            rd(r, places[p].base + off, size);
        if (i % 1000 == 0) {
            rig_work(r);
            rig_turn(r, 0);
        }
    }
    r->vm->request = 0;
    vm_reset(r->vm);
    rig_work(r);
    rig_free(r);
}

int main(void)
{
    RUN(test_finisher);
    RUN(test_power_button);
    RUN(test_rtc);
    RUN(test_fw_cfg);
    RUN(test_fw_dma);
    RUN(test_flash);
    RUN(test_empty);
    RUN(test_random);
    return test_end();
}
