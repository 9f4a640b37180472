/* SPDX-License-Identifier: MIT */
/* i6300esb and pvpanic-pci: registers as drivers use them, and what -action makes of it. */
#define RIG_HARTS 1
#include "tests/dev/events.h"
#include "tests/dev/rig.h"

#include "hw/board/riscv_virt.h"
#include "hw/misc/misc.h"

#define F (VIRT_ECAM | 1 << 15)
#define BAR VIRT_PCI_MMIO

static Rig rig, *r = &rig;

static void start(const char *device, WatchdogAction w, PanicAction p)
{
    rig_init(r);
    g_autofree char *arg = g_strdup_printf("%s,addr=1", device);
    r->config.watchdog_action = w;
    r->config.panic_action = p;
    r->cpus[0].standing = true;
    rig_board(r);
    r->vm->state = RUN_RUNNING;
    r->config.no_reboot = true;             /* so that a reset is seen as an end */
    Bus *b = bus_find(r->vm, "pcie.0");
    b->hotplug = true;
    rig_must(device_add(r->vm, arg));
    wr(r, F + 0x10, BAR, 4);
    wr(r, F + 4, 2, 2);
}

static void unlock(void) { wr(r, BAR + 12, 0x80, 2), wr(r, BAR + 12, 0x86, 2); }

static void preload(unsigned stage, uint32_t val)
{
    unlock();
    wr(r, BAR + 4 * (stage - 1), val, 4);
}

/* Until the machine is asked to end, or that many ms. */
static bool ends(int ms)
{
    for (int i = 0; i < ms; i += 5)
        if (!rig_turn(r, 5))
            return true;
    return false;
}

static void test_watchdog(void)
{
    start("i6300esb", WATCHDOG_RESET, PANIC_SHUTDOWN);
    CHECK_EQ(rd(r, F, 4), 0x25ab8086);
    wr(r, F + 0x60, 4, 2);                  /* microseconds */
    wr(r, BAR, 5, 4);                       /* not unlocked: no */
    preload(1, 50000);
    preload(2, 50000);
    wr(r, F + 0x68, 2, 1);
    CHECK_EQ(rd(r, F + 0x68, 1), 2);
    for (int i = 0; i < 4; i++) {           /* kept happy */
        CHECK(!ends(20));
        unlock();
        wr(r, BAR + 12, 0x100, 2);
    }
    CHECK_EQ(rd(r, BAR + 8, 4), 0);
    CHECK(ends(2000));
    CHECK_EQ(rd(r, BAR + 8, 4), 1);         /* the first stage's end was seen */
    CHECK_EQ(rd(r, BAR + 12, 2), 0x200);
    unlock();
    wr(r, BAR + 12, 0x200, 2);
    CHECK_EQ(rd(r, BAR + 12, 2), 0);
    rig_free(r);
}

static void test_locked(void)
{
    start("i6300esb", WATCHDOG_NONE, PANIC_SHUTDOWN);
    wr(r, F + 0x68, 3, 1);
    wr(r, F + 0x68, 0, 1);
    CHECK_EQ(rd(r, F + 0x68, 1), 3);
    wr(r, F + 0x60, 0xffff, 2);
    CHECK_EQ(rd(r, F + 0x60, 2), 0x27);
    vm_reset(r->vm);
    CHECK_EQ(rd(r, F + 0x68, 1), 0);
    CHECK_EQ(rd(r, F + 0x60, 2), 0);
    rig_free(r);
    /* Nothing, when that is asked for. */
    start("i6300esb", WATCHDOG_NONE, PANIC_SHUTDOWN);
    wr(r, F + 0x60, 4, 2);
    preload(1, 1000);
    preload(2, 1000);
    wr(r, F + 0x68, 2, 1);
    CHECK(!ends(30));
    CHECK_EQ(rd(r, BAR + 12, 2), 0x200);
    rig_free(r);
}

/* Running freely it never bites, and keeps nobody busy, however short its time. */
static void test_free(void)
{
    start("i6300esb", WATCHDOG_RESET, PANIC_SHUTDOWN);
    wr(r, F + 0x60, 4, 2);
    preload(1, 0);
    preload(2, 0);
    wr(r, F + 0x68, 6, 1);
    CHECK(!ends(20));
    CHECK(!g_main_context_pending(r->vm->main_context));
    CHECK_EQ(rd(r, BAR + 8, 4), 0);
    unlock();
    wr(r, BAR + 12, 0x100, 2);
    CHECK(!ends(20));
    CHECK(!g_main_context_pending(r->vm->main_context));
    wr(r, F + 0x68, 2, 1);                  /* and then it does */
    CHECK(ends(2000));
    rig_free(r);
}

static void test_pvpanic(void)
{
    start("pvpanic-pci", WATCHDOG_RESET, PANIC_NONE);
    CHECK_EQ(rd(r, F, 4), 0x00111b36);
    CHECK_EQ(rd(r, BAR, 1), 7);
    wr(r, BAR, 1, 1);
    wr(r, BAR, 2, 1);
    wr(r, BAR, 0xf0, 1);
    wr(r, BAR + 3, 1, 1);
    CHECK(!ends(10));
    wr(r, BAR, 4, 1);
    CHECK(ends(1000));
    rig_free(r);
    start("pvpanic-pci,events=1", WATCHDOG_RESET, PANIC_EXIT_FAILURE);
    CHECK_EQ(rd(r, BAR, 1), 1);
    wr(r, BAR, 4, 1);
    CHECK(!ends(10));
    wr(r, BAR, 1, 1);
    CHECK(ends(1000));
    CHECK_EQ(r->vm->exit_status, 1);
    rig_free(r);
}

/* What management hears, and what set-action has chosen goes before -action. */
static void test_told(void)
{
    Events ev;

    start("pvpanic-pci", WATCHDOG_RESET, PANIC_NONE);
    events_listen(&ev, r->vm);
    wr(r, BAR, 2, 1);
    wr(r, BAR, 1, 1);
    g_autofree char *one = events_take(&ev);
    CHECK_STR(one, "GUEST_CRASHLOADED {\"action\":\"run\"}\nGUEST_PANICKED {\"action\":\"run\"}\n");
    r->vm->actions.panic = 1 + PANIC_PAUSE;
    wr(r, BAR, 1, 1);
    CHECK(!ends(20));
    g_autofree char *two = events_take(&ev);
    CHECK_STR(two, "GUEST_PANICKED {\"action\":\"pause\"}\nSTOP \n");
    CHECK_EQ(r->vm->state, RUN_GUEST_PANICKED);
    events_end(&ev, r->vm);
    rig_free(r);
    /* Without a choice it is the end of the guest; where -no-shutdown keeps the process, the guest is kept for a look. */
    for (int stays = 0; stays < 2; stays++) {
        start("pvpanic-pci", WATCHDOG_RESET, PANIC_SHUTDOWN);
        r->config.no_shutdown = stays;
        events_listen(&ev, r->vm);
        wr(r, BAR, 1, 1);
        CHECK_EQ(ends(20), !stays);
        g_autofree char *three = events_take(&ev);
        CHECK(g_str_has_prefix(three, stays ? "GUEST_PANICKED {\"action\":\"pause\"}\nSTOP"
                                            : "GUEST_PANICKED {\"action\":\"poweroff\"}\nSHUTDOWN"));
        CHECK_EQ(r->vm->state, stays ? RUN_GUEST_PANICKED : RUN_SHUTDOWN);
        events_end(&ev, r->vm);
        rig_free(r);
    }
    static const char *const names[] = { "reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi" };
    static const WatchdogAction actions[] = {
        WATCHDOG_RESET, WATCHDOG_SHUTDOWN, WATCHDOG_POWEROFF, WATCHDOG_PAUSE, WATCHDOG_DEBUG, WATCHDOG_NONE, WATCHDOG_INJECT_NMI,
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        start("pvpanic-pci", WATCHDOG_NONE, PANIC_NONE);
        events_listen(&ev, r->vm);
        r->vm->actions.watchdog = 1 + (int)actions[i];
        watchdog_expired(r->vm, "it");
        ends(10);
        g_autofree char *line = g_strdup_printf("WATCHDOG {\"action\":\"%s\"}\n", names[i]);
        g_autofree char *told = events_take(&ev);
        CHECK(g_str_has_prefix(told, line));
        CHECK_EQ(r->vm->state == RUN_WATCHDOG, actions[i] == WATCHDOG_PAUSE);
        events_end(&ev, r->vm);
        rig_free(r);
    }
}

int main(void)
{
    RUN(test_watchdog);
    RUN(test_told);
    RUN(test_locked);
    RUN(test_free);
    RUN(test_pvpanic);
    return test_end();
}
