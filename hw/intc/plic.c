/* SPDX-License-Identifier: MIT */
/*
 * PLIC, RISC-V Platform-Level Interrupt Controller specification 1.0.0, with
 * the register map of SiFive's. Each hart has an M context (2 * hart) and an S
 * context (2 * hart + 1). Sources are levels.
 *
 * A source's gateway passes one request on: it sets the pending bit, which a
 * claim clears; until the completion the gateway is shut.
 *
 * Lines come from any thread: a lock of its own guards all of it.
 */
#include "hw/intc/riscv.h"

#include <inttypes.h>
#include <string.h>

#include "target/riscv/state.h"
#include "util/log.h"

enum {
    PRIORITIES = 7,                     /* 0: never interrupts */
    WORDS = PLIC_SOURCES / 32 + 1,      /* bit 0 of the first is no source */
    CONTEXTS = 2 * RISCV_HARTS,
    R_PENDING = 0x1000, R_ENABLE = 0x2000, ENABLE_STRIDE = 0x80, R_CONTEXT = 0x200000, CONTEXT_STRIDE = 0x1000,
    PLIC_SIZE = 0x600000,
};

struct Plic {
    Device dev;
    Region io;
    uint32_t harts;
    pthread_mutex_t lock;               /* a leaf but for the harts' lines */
    uint32_t level[WORDS];              /* the sources' lines */
    uint32_t pending[WORDS];
    uint32_t claimed[WORDS];            /* between claim and completion */
    uint8_t priority[PLIC_SOURCES + 1];
    uint32_t enable[CONTEXTS * WORDS];  /* WORDS for each context: enables() */
    uint8_t threshold[CONTEXTS];
    uint64_t served[PLIC_SOURCES + 1];  /* claims of each source: for people */
    bool out[CONTEXTS];                 /* the contexts' lines as the harts know them */
};

static bool bit(const uint32_t *words, unsigned n)
{
    return words[n / 32] >> n % 32 & 1;
}

static void bit_set(uint32_t *words, unsigned n, bool on)
{
    words[n / 32] = (words[n / 32] & ~(UINT32_C(1) << n % 32)) | (uint32_t)on << n % 32;
}

static uint32_t *enables(Plic *p, unsigned ctx)
{
    return p->enable + ctx * WORDS;
}

/* The pending, enabled source with the highest priority above `floor`; of equals the lowest number. 0: none. */
static unsigned best(Plic *p, unsigned ctx, unsigned floor)
{
    unsigned found = 0, above = floor;

    for (unsigned w = 0; w < WORDS; w++) {
        for (uint32_t bits = p->pending[w] & enables(p, ctx)[w]; bits; bits &= bits - 1) {
            unsigned n = w * 32 + __builtin_ctz(bits);

            if (p->priority[n] > above) {
                above = p->priority[n];
                found = n;
            }
        }
    }
    return found;
}

static void update_context(Plic *p, unsigned ctx)
{
    bool on = best(p, ctx, p->threshold[ctx]);

    if (p->out[ctx] == on)
        return;
    p->out[ctx] = on;
    riscv_irq_line(p->dev.vm->vcpus[ctx / 2], ctx & 1 ? IRQ_SEI : IRQ_MEI, on);
}

static void update(Plic *p)
{
    for (unsigned ctx = 0; ctx < 2 * p->harts; ctx++)
        update_context(p, ctx);
}

static void update_source(Plic *p, unsigned n)
{
    for (unsigned ctx = 0; ctx < 2 * p->harts; ctx++) {
        if (bit(enables(p, ctx), n))
            update_context(p, ctx);
    }
}

void plic_set(void *opaque, int pin, int level)
{
    Plic *p = opaque;

    pthread_mutex_lock(&p->lock);
    bit_set(p->level, pin, level);
    if (level && !bit(p->claimed, pin) && !bit(p->pending, pin)) {
        bit_set(p->pending, pin, true);
        update_source(p, pin);
    }
    pthread_mutex_unlock(&p->lock);
}

static unsigned claim(Plic *p, unsigned ctx)
{
    unsigned n = best(p, ctx, 0);

    if (n) {
        bit_set(p->pending, n, false);
        bit_set(p->claimed, n, true);
        p->served[n]++;
        update_source(p, n);
    }
    return n;
}

static void complete(Plic *p, unsigned ctx, uint32_t n)
{
    /* The manual: what is not enabled for the context is silently ignored. */
    if (!n || n > PLIC_SOURCES || !bit(enables(p, ctx), n) || !bit(p->claimed, n))
        return;
    bit_set(p->claimed, n, false);
    if (bit(p->level, n)) {
        bit_set(p->pending, n, true);
        update_source(p, n);
    }
}

static uint32_t read_reg(Plic *p, uint64_t off)
{
    if (off < R_PENDING)
        return off / 4 <= PLIC_SOURCES ? p->priority[off / 4] : 0;
    if (off < R_ENABLE)
        return (off - R_PENDING) / 4 < WORDS ? p->pending[(off - R_PENDING) / 4] : 0;
    if (off < R_CONTEXT) {
        uint64_t ctx = (off - R_ENABLE) / ENABLE_STRIDE, w = (off - R_ENABLE) % ENABLE_STRIDE / 4;

        return ctx < 2 * p->harts && w < WORDS ? enables(p, ctx)[w] : 0;
    }
    uint64_t ctx = (off - R_CONTEXT) / CONTEXT_STRIDE;
    if (ctx >= 2 * p->harts)
        return 0;
    switch ((off - R_CONTEXT) % CONTEXT_STRIDE) {
    case 0: return p->threshold[ctx];
    case 4: return claim(p, ctx);
    }
    return 0;
}

static uint64_t plic_read(void *opaque, uint64_t off, unsigned size)
{
    Plic *p = opaque;

    pthread_mutex_lock(&p->lock);
    uint32_t val = read_reg(p, off);
    pthread_mutex_unlock(&p->lock);
    return val;
}

static void write_enable(Plic *p, uint64_t ctx, uint64_t w, uint32_t val)
{
    if (ctx >= 2 * p->harts || w >= WORDS)
        return;
    if (w == 0)
        val &= ~UINT32_C(1);
    if (w == WORDS - 1)
        val &= (UINT32_C(2) << PLIC_SOURCES % 32) - 1;
    enables(p, ctx)[w] = val;
    update_context(p, ctx);
}

static void write_context(Plic *p, uint64_t ctx, uint64_t reg, uint32_t val)
{
    if (ctx >= 2 * p->harts)
        return;
    switch (reg) {
    case 0:
        p->threshold[ctx] = val & PRIORITIES;
        update_context(p, ctx);
        break;
    case 4:
        complete(p, ctx, val);
        break;
    }
}

static void write_reg(Plic *p, uint64_t off, uint32_t val)
{
    if (off < R_PENDING) {
        if (off / 4 >= 1 && off / 4 <= PLIC_SOURCES) {
            p->priority[off / 4] = val & PRIORITIES;
            update_source(p, off / 4);
        }
    } else if (off < R_ENABLE) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("plic: write to the pending bits, which are read-only");
    } else if (off < R_CONTEXT) {
        write_enable(p, (off - R_ENABLE) / ENABLE_STRIDE, (off - R_ENABLE) % ENABLE_STRIDE / 4, val);
    } else {
        write_context(p, (off - R_CONTEXT) / CONTEXT_STRIDE, (off - R_CONTEXT) % CONTEXT_STRIDE, val);
    }
}

static void plic_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Plic *p = opaque;

    pthread_mutex_lock(&p->lock);
    write_reg(p, off, val);
    pthread_mutex_unlock(&p->lock);
}

/* All lines are low now; the devices, whose resets come after this one's, drive theirs again. */
static void plic_reset(Device *d)
{
    Plic *p = (Plic *)d;

    pthread_mutex_lock(&p->lock);
    for (unsigned ctx = 0; ctx < 2 * p->harts; ctx++)
        p->out[ctx] = true;             /* so that each line is told it is low */
    update(p);
    pthread_mutex_unlock(&p->lock);
}

static pthread_mutex_t *plic_lock(Device *d)
{
    return &((Plic *)d)->lock;
}

static Err *plic_realize(Device *d)
{
    pthread_mutex_init(&((Plic *)d)->lock, NULL);
    return NULL;
}

static void plic_unrealize(Device *d)
{
    pthread_mutex_destroy(&((Plic *)d)->lock);
}

static const IoOps plic_io = { .read = plic_read, .write = plic_write, .min = 4, .max = 4 };

static const Field plic_fields[] = {
    PROP(Plic, harts, .as = "num-harts", .def = "1", .doc = "harts served, from hart 0"),
    LINK(Plic, io, .ops = &plic_io, .size = PLIC_SIZE, .nolock = true),
    STATES(Plic, level),
    STATES(Plic, pending),
    STATES(Plic, claimed),
    STATES(Plic, priority),
    STATES(Plic, enable),
    STATES(Plic, threshold),
    STATES(Plic, out),
    {0}
};

static void plic_describe(Device *d, GString *out)
{
    Plic *p = (Plic *)d;

    pthread_mutex_lock(&p->lock);
    g_string_append(out, "plic: sources that are wired high, wait, or are being served\n");
    for (unsigned n = 1; n <= PLIC_SOURCES; n++) {
        if (bit(p->level, n) || bit(p->pending, n) || bit(p->claimed, n))
            g_string_append_printf(out, "  source %u: priority %u%s%s%s\n", n, p->priority[n], bit(p->level, n) ? ", high" : "",
                                   bit(p->pending, n) ? ", pending" : "", bit(p->claimed, n) ? ", claimed" : "");
    }
    for (unsigned c = 0; c < 2 * p->harts; c++) {
        g_string_append_printf(out, "  hart %u %c: threshold %u, line %d, enabled", c / 2, c & 1 ? 'S' : 'M', p->threshold[c], p->out[c]);
        for (unsigned n = 1; n <= PLIC_SOURCES; n++) {
            if (bit(enables(p, c), n))
                g_string_append_printf(out, " %u", n);
        }
        g_string_append_c(out, '\n');
    }
    pthread_mutex_unlock(&p->lock);
}

static void plic_counts(Device *d, GString *out)
{
    Plic *p = (Plic *)d;

    pthread_mutex_lock(&p->lock);
    for (unsigned n = 1; n <= PLIC_SOURCES; n++) {
        if (p->served[n])
            g_string_append_printf(out, "  %u: %" PRIu64 "\n", n, p->served[n]);
    }
    pthread_mutex_unlock(&p->lock);
}

DEVICE(plic) = {
    .name = "riscv.sifive.plic", .bus = BUS_SYSTEM, .doc = "RISC-V platform-level interrupt controller",
    .size = sizeof(Plic), .fields = plic_fields,
    .describe = plic_describe, .irq_counts = plic_counts, .realize = plic_realize, .unrealize = plic_unrealize, .reset = plic_reset,
    .lock = plic_lock,
};

Err *plic_make(Vm *vm, unsigned harts, uint64_t base, Plic **out)
{
    Plic *p = (Plic *)device_new(vm, &device_plic);

    p->harts = harts;
    *out = p;
    return device_place(&p->dev, &p->io, base);
}
