/* SPDX-License-Identifier: MIT */
/*
 * ACLINT MTIMER (RISC-V ACLINT specification 1.0, chapter 2), which is also the
 * rest of a SiFive CLINT: mtimecmp of each hart from 0, mtime at 0x7ff8. It
 * gives the harts their time CSR.
 *
 * mtime is the guest clock, so it stands while the machine does. Reads of it
 * take no lock at all.
 */
#include "hw/intc/riscv.h"

#include <stdatomic.h>

#include "target/riscv/state.h"

#define NS_PER_S INT64_C(1000000000)

enum { MTIME = 0x7ff8 };

typedef struct Mtimer {
    Device dev;
    Region io;
    uint32_t harts, timebase_freq;
    uint64_t ns_per_tick;               /* mtime runs at a whole number of them */
    uint64_t delta;                     /* mtime minus ticks of the guest clock; atomic */
    pthread_mutex_t lock;               /* guards mtimecmp and the order of the lines' changes */
    uint64_t mtimecmp[RISCV_HARTS];
    struct Hart { struct Mtimer *mtimer; unsigned hart; } hart[RISCV_HARTS];
    Timer timer[RISCV_HARTS];
} Mtimer;

static uint64_t mtime(void *opaque)
{
    Mtimer *m = opaque;

    return clock_now(m->dev.vm, CLOCK_GUEST) / m->ns_per_tick + __atomic_load_n(&m->delta, __ATOMIC_RELAXED);
}

/* Guest clock at which mtime, being below `ticks`, reaches it; what is too far away counts as never. */
static int64_t when(const Mtimer *m, uint64_t now, uint64_t ticks)
{
    int64_t ns, at;

    if (__builtin_mul_overflow(ticks - now, m->ns_per_tick, &ns) ||
        __builtin_mul_overflow(now - m->delta, m->ns_per_tick, &at) || __builtin_add_overflow(at, ns, &at))
        return INT64_MAX;
    return at;
}

/* Raises the line or sets the timer that will. Under m->lock. */
static void update(Mtimer *m, unsigned hart)
{
    uint64_t now = mtime(m), cmp = m->mtimecmp[hart];

    riscv_irq_line(m->dev.vm->vcpus[hart], IRQ_MTI, now >= cmp);
    if (now >= cmp || cmp == UINT64_MAX)
        timer_del(&m->timer[hart]);
    else
        timer_set(&m->timer[hart], when(m, now, cmp));
}

static void fire(void *opaque)
{
    struct Hart *h = opaque;

    pthread_mutex_lock(&h->mtimer->lock);
    update(h->mtimer, h->hart);
    pthread_mutex_unlock(&h->mtimer->lock);
}

static uint64_t mtimer_read(void *opaque, uint64_t off, unsigned size)
{
    Mtimer *m = opaque;
    uint64_t val = 0;

    if (off >= MTIME) {
        val = mtime(m);
    } else if (off / 8 < m->harts) {
        pthread_mutex_lock(&m->lock);
        val = m->mtimecmp[off / 8];
        pthread_mutex_unlock(&m->lock);
    }
    return size == 8 ? val : (uint32_t)(val >> (off & 4) * 8);
}

/* What a register becomes when `size` bytes of it at off are written. */
static uint64_t merge(uint64_t was, uint64_t off, uint64_t val, unsigned size)
{
    if (size == 8)
        return val;
    return off & 4 ? (uint32_t)was | val << 32 : (was & ~(uint64_t)UINT32_MAX) | (uint32_t)val;
}

static void mtimer_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Mtimer *m = opaque;

    pthread_mutex_lock(&m->lock);
    if (off >= MTIME) {
        uint64_t now = mtime(m);

        __atomic_store_n(&m->delta, m->delta + merge(now, off, val, size) - now, __ATOMIC_RELAXED);
        for (unsigned i = 0; i < m->harts; i++)
            update(m, i);
    } else if (off / 8 < m->harts) {
        m->mtimecmp[off / 8] = merge(m->mtimecmp[off / 8], off, val, size);
        update(m, off / 8);
    }
    pthread_mutex_unlock(&m->lock);
}

static Err *mtimer_realize(Device *d)
{
    Mtimer *m = (Mtimer *)d;

    if (!m->timebase_freq || NS_PER_S % m->timebase_freq)
        return err(ERR_INVALID, "timebase-freq must divide 1000000000 Hz, and %u does not", m->timebase_freq);
    m->ns_per_tick = NS_PER_S / m->timebase_freq;
    pthread_mutex_init(&m->lock, NULL);
    for (unsigned i = 0; i < m->harts; i++) {
        RiscvState *s = d->vm->vcpus[i]->state;

        m->hart[i] = (struct Hart){ m, i };
        timer_init(&m->timer[i], d->vm, CLOCK_GUEST, fire, &m->hart[i]);
        s->time = mtime;
        s->time_opaque = m;
        s->time_hz = m->timebase_freq;
    }
    return NULL;
}

/* mtime starts again at 0; mtimecmp is undefined by the manual: no interrupt here. */
static void mtimer_reset(Device *d)
{
    Mtimer *m = (Mtimer *)d;

    m->delta = -(uint64_t)(clock_now(d->vm, CLOCK_GUEST) / m->ns_per_tick);
    for (unsigned i = 0; i < m->harts; i++) {
        m->mtimecmp[i] = UINT64_MAX;
        riscv_irq_line(d->vm->vcpus[i], IRQ_MTI, 0);
    }
}

static Err *mtimer_loaded(Device *d)
{
    Mtimer *m = (Mtimer *)d;

    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < m->harts; i++)
        update(m, i);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

static const IoOps mtimer_io = { .read = mtimer_read, .write = mtimer_write, .min = 4, .max = 8 };

static const Field mtimer_fields[] = {
    PROP(Mtimer, harts, .as = "num-harts", .def = "1", .doc = "harts served, from hart 0"),
    PROP(Mtimer, timebase_freq, .def = "10000000", .doc = "ticks of mtime a second"),
    LINK(Mtimer, io, .ops = &mtimer_io, .size = 0x8000, .nolock = true),
    STATE(Mtimer, delta),
    STATES(Mtimer, mtimecmp),
    FIELDS(FIELD_TRANSIENT, Mtimer, timer),
    {0}
};

DEVICE(aclint_mtimer) = {
    .name = "riscv.aclint.mtimer", .bus = BUS_SYSTEM, .doc = "RISC-V ACLINT machine timer",
    .size = sizeof(Mtimer), .fields = mtimer_fields, .realize = mtimer_realize, .reset = mtimer_reset, .loaded = mtimer_loaded,
};

Err *aclint_mtimer_make(Vm *vm, unsigned harts, unsigned hz, uint64_t base)
{
    Mtimer *m = (Mtimer *)device_new(vm, &device_aclint_mtimer);

    m->harts = harts;
    m->timebase_freq = hz;
    return device_place(&m->dev, &m->io, base);
}
