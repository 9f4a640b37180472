/* SPDX-License-Identifier: MIT */
/*
 * i6300esb: the watchdog of Intel's 6300ESB I/O controller hub (data sheet 300641,
 * chapter 16): two stages of 20 bits, the first ends with an interrupt, the second
 * with what -action watchdog= says. SMI as the first stage's end is not there.
 */
#include "hw/misc/misc.h"
#include "hw/pci/pci.h"
#include "util/log.h"

enum {
    C_CONFIG = 0x60, C_LOCK = 0x68,         /* configuration space */
    CONFIG_INT = 3, CONFIG_MHZ = 4, CONFIG_NO_OUTPUT = 0x20, INT_IRQ = 0,
    LOCK_LOCKED = 1, LOCK_ENABLE = 2, LOCK_FREE = 4,
    R_PRELOAD1 = 0, R_PRELOAD2 = 4, R_STATUS = 8, R_RELOAD = 12, WINDOW = 16,
    RELOAD = 0x100, TIMED_OUT = 0x200, UNLOCK1 = 0x80, UNLOCK2 = 0x86,
    PRELOAD_MASK = 0xfffff,
};

typedef struct Esb {
    PciDevice pci;
    Region io;
    Timer timer;
    uint32_t preload1, preload2;
    uint8_t setup, lock;        /* what the guest may read back */
    uint8_t stage, unlock;      /* stage 0: stands; unlock: how many of the two values were written */
    bool interrupted;           /* the first stage has ended */
    bool timed_out;             /* outlasts the reset that it leads to */
} Esb;

/*
 * The PCI clock of 33 MHz, divided by 2^15 or 2^5. One that runs freely does nothing when its time has come but
 * begin anew, which nobody sees, and with a preload of 0 it would do nothing else: it has no timer.
 */
static void start(Esb *e, unsigned stage)
{
    uint64_t clocks = (uint64_t)(stage == 1 ? e->preload1 : e->preload2) << (e->setup & CONFIG_MHZ ? 5 : 15);

    e->stage = stage;
    if (e->lock & LOCK_FREE)
        timer_del(&e->timer);
    else
        timer_set(&e->timer, clock_now(e->pci.dev.vm, CLOCK_GUEST) + (int64_t)(clocks * 1000 / 33));
}

static void stop(Esb *e)
{
    e->stage = 0;
    timer_del(&e->timer);
}

static void expired(void *opaque)
{
    Esb *e = opaque;

    if (e->stage == 1) {
        e->interrupted = true;
        if ((e->setup & CONFIG_INT) == INT_IRQ)
            pci_intx(&e->pci, true);
        start(e, 2);
        return;
    }
    stop(e);
    if (e->setup & CONFIG_NO_OUTPUT)
        return;
    e->timed_out = true;
    watchdog_expired(e->pci.dev.vm, "i6300esb");
}

/* ---- configuration space */

/* What is locked stays so until a reset. */
static void set_lock(Esb *e, uint8_t val)
{
    uint8_t was = e->lock;

    if (e->lock & LOCK_LOCKED)
        return;
    e->lock = val & (LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE);
    if (!(e->lock & LOCK_ENABLE))
        stop(e);
    else if ((e->lock ^ was) & (LOCK_ENABLE | LOCK_FREE))
        start(e, 1);
}

static void config_written(PciDevice *d, unsigned off, unsigned len)
{
    Esb *e = (Esb *)d;

    if (off <= C_CONFIG && off + len > C_CONFIG)
        e->setup = d->config[C_CONFIG];
    if (off <= C_LOCK && off + len > C_LOCK)
        set_lock(e, d->config[C_LOCK]);
    d->config[C_LOCK] = e->lock;
}

/* ---- registers: a write needs 0x80 and 0x86 to be written to RELOAD before */

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    const Esb *e = opaque;

    switch (off & ~3ull) {
    case R_STATUS: return e->interrupted;
    case R_RELOAD: return e->timed_out && off == R_RELOAD ? TIMED_OUT : 0;
    default:       return 0;
    }
}

static bool unlock(Esb *e, uint64_t val)
{
    bool second = e->unlock == 1 && val == UNLOCK2;

    if (e->unlock == 2 || (val != UNLOCK1 && !second))
        return false;
    e->unlock = second ? 2 : 1;
    return true;
}

static void reload(Esb *e, uint64_t val)
{
    if (val & RELOAD && e->lock & LOCK_ENABLE) {
        e->interrupted = false;
        pci_intx(&e->pci, false);
        start(e, 1);
    }
    if (val & TIMED_OUT)
        e->timed_out = false;
}

static void io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Esb *e = opaque;

    if (off == R_STATUS) {
        if (val & 1) {
            e->interrupted = false;
            pci_intx(&e->pci, false);
        }
        return;
    }
    if (off == R_RELOAD && unlock(e, val))
        return;
    if (e->unlock == 2) {
        if (off == R_PRELOAD1)
            e->preload1 = val & PRELOAD_MASK;
        else if (off == R_PRELOAD2)
            e->preload2 = val & PRELOAD_MASK;
        else if (off == R_RELOAD)
            reload(e, val);
    } else {
        guest_error("i6300esb: a write to register %#x while it is locked", (unsigned)off);
    }
    e->unlock = 0;
}

static const IoOps io_ops = { .read = io_read, .write = io_write, .min = 1, .max = 4 };

/* ---- life */

static void reset(Device *d)
{
    Esb *e = (Esb *)d;

    e->preload1 = e->preload2 = PRELOAD_MASK;
    e->pci.config[C_CONFIG] = e->pci.config[C_LOCK] = 0;
    pci_intx(&e->pci, false);
}

static Err *realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x8086, .device = 0x25ab, .class_code = 0x088000 };
    Esb *e = (Esb *)d;

    pci_identify(&e->pci, &ids);
    pci_use_intx(&e->pci, 1);
    e->pci.wmask[C_CONFIG] = CONFIG_INT | CONFIG_MHZ | CONFIG_NO_OUTPUT;
    e->pci.wmask[C_LOCK] = LOCK_LOCKED | LOCK_ENABLE | LOCK_FREE;
    e->pci.used[C_CONFIG] = e->pci.used[C_LOCK] = 0xff;
    e->pci.config_written = config_written;
    timer_init(&e->timer, d->vm, CLOCK_GUEST, expired, e);
    return pci_bar(&e->pci, 0, PCI_BAR_MEM32, &e->io);
}

static const Field fields[] = {
    LINK(Esb, io, .ops = &io_ops, .size = WINDOW),
    STATE(Esb, timer), STATE(Esb, preload1), STATE(Esb, preload2), STATE(Esb, setup), STATE(Esb, lock), STATE(Esb, stage),
    STATE(Esb, unlock), STATE(Esb, interrupted), STATE(Esb, timed_out, .keep = true),
    {0}
};

DEVICE(i6300esb) = {
    .name = "i6300esb", .bus = "pci", .doc = "Intel 6300ESB watchdog", .size = sizeof(Esb), .fields = fields,
    .base = pci_fields, .realize = realize, .reset = reset,
};
