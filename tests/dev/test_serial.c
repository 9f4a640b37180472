/* SPDX-License-Identifier: MIT */
/* 16550A: FIFOs, interrupts, modem lines, loop-back, flow control with the host's side. */
#include "tests/dev/rig.h"

#include <fcntl.h>
#include <sys/stat.h>

#define UART UINT64_C(0x10000000)
#define PLIC UINT64_C(0xc000000)
enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = 2 };
enum { DR = 1, OE = 2, THRE = 0x20, TEMT = 0x40 };

static Rig rig, *r = &rig;
static Chardev *chr;
static Chardev *serials[1];
static char *dir, *in_path, *out_path;
static int to_guest, from_guest;

static uint8_t get(int reg) { return rd(r, UART + reg, 1); }
static void set(int reg, uint8_t val) { wr(r, UART + reg, val, 1); }
/* The line as the interrupt controller has it. */
static bool irq(void) { return rd32(r, PLIC + 0x1000) >> 10 & 1 || line(r, 0, IRQ_SEI); }

static void lock(void *vm) { vm_lock(vm); }
static void unlock(void *vm) { vm_unlock(vm); }

/* The port's other end: two FIFOs. */
static void start(bool plugged)
{
    rig_init(r);
    ChardevHost host = { .context = r->vm->main_context, .lock = lock, .unlock = unlock, .opaque = r->vm };
    r->vm->chardevs = chardevs_new(&host);
    dir = g_dir_make_tmp("serial-test-XXXXXX", NULL);
    in_path = g_strdup_printf("%s/p.in", dir);
    out_path = g_strdup_printf("%s/p.out", dir);
    if (mkfifo(in_path, 0600) || mkfifo(out_path, 0600))
        exit(1);
    to_guest = open(in_path, O_RDWR | O_NONBLOCK);
    from_guest = open(out_path, O_RDWR | O_NONBLOCK);
    char *arg = g_strdup_printf("pipe:%s/p", dir);
    rig_must(chardev_add_serial(r->vm->chardevs, arg, 0, &chr));
    g_free(arg);
    serials[0] = plugged ? chr : NULL;
    r->vm->serials = serials;
    r->vm->nserials = 1;
    rig_board(r);
    wr32(r, PLIC + 4 * 10, 1);
    wr32(r, PLIC + 0x2080, 1 << 10);
    rig_turn(r, 2);
}

static void stop(void)
{
    struct Chardevs *set_ = r->vm->chardevs;

    board_free(r->vm);
    chardevs_free(set_);
    rig_free(r);
    close(to_guest);
    close(from_guest);
    unlink(in_path);
    unlink(out_path);
    rmdir(dir);
    g_free(in_path);
    g_free(out_path);
    g_free(dir);
}

/* Claims and completes at the PLIC, so that `irq` tells of what comes after. */
static void serve(void)
{
    uint32_t n = rd32(r, PLIC + 0x201004);

    wr32(r, PLIC + 0x201004, n);
}

static void say(const char *text)
{
    if (write(to_guest, text, strlen(text)) < 0)
        test_case_bad++;
    rig_turn(r, 3);
}

static void expect_out(const char *text)
{
    char buf[256] = "";

    rig_turn(r, 2);
    ssize_t n = read(from_guest, buf, sizeof(buf) - 1);
    if (n < 0)
        n = 0;
    buf[n] = 0;
    CHECK_STR(buf, text);
}

static void test_reset_values(void)
{
    start(true);
    CHECK_EQ(get(LSR), THRE | TEMT);
    CHECK_EQ(get(IIR), 1);
    CHECK_EQ(get(IER), 0);
    CHECK_EQ(get(LCR), 0);
    CHECK_EQ(get(MCR), 0);
    CHECK_EQ(get(MSR), 0xb0);
    set(SCR, 0x5a);
    CHECK_EQ(get(SCR), 0x5a);
    set(LCR, 0x83);
    set(DATA, 0x02);
    set(IER, 0x01);
    CHECK_EQ(get(DATA), 2);
    CHECK_EQ(get(IER), 1);
    set(LCR, 3);
    CHECK_EQ(get(IER), 0);
    set(IER, 0xff);
    CHECK_EQ(get(IER), 0x0f);
    /* A 16550A shows its FIFOs. */
    set(FCR, 1);
    CHECK_EQ(get(IIR) & 0xc0, 0xc0);
    set(FCR, 0);
    CHECK_EQ(get(IIR) & 0xc0, 0);
    vm_reset(r->vm);
    CHECK_EQ(get(IER), 0);
    CHECK_EQ(get(SCR), 0);
    stop();
}

static void test_send(void)
{
    start(true);
    set(DATA, 'h');
    set(DATA, 'i');
    expect_out("hi");
    CHECK_EQ(get(LSR), THRE | TEMT);
    CHECK(!irq());
    set(IER, 2);                                /* enabling it while empty interrupts at once */
    CHECK(irq());
    CHECK_EQ(get(IIR), 2);                      /* reading it acknowledges */
    CHECK_EQ(get(IIR), 1);
    serve();
    CHECK(!irq());
    set(DATA, 'x');                             /* and again when the byte has gone */
    CHECK(irq());
    CHECK_EQ(get(IIR), 2);
    expect_out("x");
    stop();
}

static void test_receive(void)
{
    start(true);
    set(IER, 1);
    say("ab");
    CHECK(irq());
    CHECK_EQ(get(LSR) & DR, DR);
    CHECK_EQ(get(IIR), 4);
    CHECK_EQ(get(DATA), 'a');
    rig_turn(r, 2);                             /* there was room for one byte only */
    CHECK_EQ(get(DATA), 'b');
    CHECK_EQ(get(LSR) & DR, 0);
    CHECK_EQ(get(IIR), 1);
    CHECK_EQ(get(DATA), 0);
    stop();
}

static void test_fifo(void)
{
    start(true);
    set(LCR, 0x83);
    set(DATA, 2);                               /* 115200 at 3.6864 MHz */
    set(IER, 0);
    set(LCR, 3);
    set(FCR, 0xc1);                             /* trigger at 14 */
    set(IER, 1);
    say("0123456789abc");
    CHECK_EQ(get(LSR) & DR, DR);
    CHECK_EQ(get(IIR), 0xcc);                   /* 13 bytes: after four characters' time */
    CHECK(irq());
    CHECK_EQ(get(DATA), '0');                   /* a read ends the time-out */
    CHECK_EQ(get(IIR), 0xc1);
    rig_turn(r, 3);
    CHECK_EQ(get(IIR), 0xcc);
    say("def");
    CHECK_EQ(get(IIR), 0xc4);                   /* 15 bytes: the trigger */
    /* More than fits waits on the host's side, nothing is lost. */
    say("ghijklmnopqrstuvwxyz");
    CHECK_EQ(get(LSR) & OE, 0);
    char got[64];
    int n = 0;
    for (int i = 0; i < 200 && n < 35; i++) {
        if (get(LSR) & DR)
            got[n++] = get(DATA);
        else
            rig_turn(r, 1);
    }
    got[n] = 0;
    CHECK_STR(got, "123456789abcdefghijklmnopqrstuvwxyz");
    CHECK_EQ(get(LSR) & (DR | OE), 0);
    say("xy");
    set(FCR, 0xc3);                             /* clears the receiver */
    CHECK_EQ(get(LSR) & DR, 0);
    CHECK_EQ(get(IIR), 0xc1);
    stop();
}

static void test_loop(void)
{
    start(true);
    set(FCR, 1);
    set(MCR, 0x10 | 0x0b);                      /* DTR RTS OUT2 */
    CHECK_EQ(get(MSR) & 0xf0, 0xb0);
    set(MCR, 0x10);
    CHECK_EQ(get(MSR), 0x0b);                   /* all three fell */
    CHECK_EQ(get(MSR), 0x00);
    set(MCR, 0x14);
    CHECK_EQ(get(MSR), 0x40);                   /* RI rose: only its end is noted */
    set(MCR, 0x10);
    CHECK_EQ(get(MSR), 0x04);
    set(IER, 8);
    set(MCR, 0x11);
    CHECK_EQ(get(IIR), 0xc0);                   /* modem status */
    CHECK(irq());
    get(MSR);
    CHECK_EQ(get(IIR), 0xc1);
    for (int i = 0; i < 17; i++)
        set(DATA, 'A' + i);
    CHECK_EQ(get(LSR) & (DR | OE), DR | OE);    /* 17 into 16 */
    CHECK_EQ(get(LSR) & OE, 0);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(get(DATA), 'A' + i);
    CHECK_EQ(get(LSR) & DR, 0);
    expect_out("");                             /* nothing left the chip */
    set(IER, 4);
    set(DATA, 'z');
    CHECK_EQ(get(IIR), 0xc1);
    for (int i = 0; i < 16; i++)
        set(DATA, 'z');
    CHECK_EQ(get(IIR), 0xc6);                   /* line status: overrun */
    get(LSR);
    CHECK_EQ(get(IIR), 0xc1);
    stop();
}

static void test_unplugged(void)
{
    start(false);
    for (int i = 0; i < 100; i++)
        set(DATA, 'x');
    CHECK_EQ(get(LSR), THRE | TEMT);
    stop();
}

/* The host does not take it: bytes stay, the guest sees that the transmitter is full. */
static void test_full(void)
{
    start(true);
    set(FCR, 1);
    long sent = 0;
    while (get(LSR) & THRE && sent < 1 << 20) {
        set(DATA, 'a' + sent % 26);
        sent++;
    }
    CHECK(sent < 1 << 20);
    set(IER, 2);
    get(IIR);
    CHECK_EQ(get(IIR), 0xc1);
    char buf[4096];
    long got = 0;
    for (int i = 0; i < 2000 && got < sent; i++) {
        ssize_t n = read(from_guest, buf, sizeof(buf));

        for (ssize_t j = 0; j < n; j++, got++)
            if (buf[j] != 'a' + got % 26)
                test_case_bad++;
        rig_turn(r, 0);
    }
    CHECK_EQ(got, sent);
    CHECK_EQ(get(LSR), THRE | TEMT);
    CHECK_EQ(get(IIR), 0xc2);
    stop();
}

int main(void)
{
    RUN(test_reset_values);
    RUN(test_send);
    RUN(test_receive);
    RUN(test_fifo);
    RUN(test_loop);
    RUN(test_unplugged);
    RUN(test_full);
    return test_end();
}
