/* SPDX-License-Identifier: MIT */
/*
 * APLIC: wired interrupts, for harts directly or as MSIs (AIA specification,
 * chapter 4). Two domains: the root is machine mode's and has the wires, its one
 * child is supervisor mode's and sees those sources that the root delegates.
 *
 * How a domain delivers is fixed by the board (domaincfg.DM reads so): by MSI where
 * harts have IMSICs, else directly. Little-endian only (BE reads 0). Priorities have
 * 8 bits. Wires come from any thread: a lock guards both domains. Not there: setipnum_le as
 * a port for devices' MSIs, guest indexes.
 */
#include <inttypes.h>
#include <string.h>

#include "hw/intc/riscv.h"
#include "system/msi.h"
#include "target/riscv/state.h"
#include "util/log.h"

enum {
    WORDS = APLIC_SOURCES / 32 + 1,     /* bit 0 of the first is no source */
    /* offsets of registers, table 4.1; arrays are up to the next name */
    R_DOMAINCFG = 0, R_SOURCECFG = 4, R_SOURCECFG_END = 0x1000,
    R_MMSIADDRCFG = 0x1bc0, R_MMSIADDRCFGH = 0x1bc4, R_SMSIADDRCFG = 0x1bc8, R_SMSIADDRCFGH = 0x1bcc,
    R_SETIP = 0x1c00, R_SETIPNUM = 0x1cdc, R_CLRIP = 0x1d00, R_CLRIPNUM = 0x1ddc,
    R_SETIE = 0x1e00, R_SETIENUM = 0x1edc, R_CLRIE = 0x1f00, R_CLRIENUM = 0x1fdc,
    R_SETIPNUM_LE = 0x2000, R_SETIPNUM_BE = 0x2004, R_GENMSI = 0x3000, R_TARGET = 0x3004, R_IDC = 0x4000,
    /* and in a hart's IDC structure */
    IDC_STRIDE = 32, IDC_DELIVERY = 0, IDC_FORCE = 4, IDC_THRESHOLD = 8, IDC_TOPI = 0x18, IDC_CLAIMI = 0x1c,
    /* sourcecfg */
    DELEGATE = 1 << 10, INACTIVE = 0, DETACHED = 1, EDGE1 = 4, EDGE0 = 5, LEVEL1 = 6, LEVEL0 = 7,
    /* domaincfg */
    DOMAIN_IE = 1 << 8, DOMAIN_DM = 1 << 2,
};
#define DOMAIN_FIXED UINT32_C(0x80000000)
#define MSICFG_LOCK UINT32_C(0x80000000)
#define MMSICFGH_MASK UINT32_C(0x9f77ffff)      /* L, HHXS, LHXS, HHXW, LHXW, base */
#define SMSICFGH_MASK UINT32_C(0x00700fff)      /* LHXS, base */
#define TARGET_DIRECT UINT32_C(0xfffc00ff)      /* hart, priority */
#define TARGET_MSI UINT32_C(0xfffc07ff)         /* hart, identity */

struct Aplic {
    Device dev;
    Region io;
    uint32_t harts;
    bool mmode, msi;
    pthread_mutex_t lock;                       /* the root's, of both domains; a leaf but for harts' lines and MSIs */
    Aplic *root, *child;                        /* the domain above; NULL: it is the root. The one below */
    uint32_t level[WORDS];                      /* the wires; the root's count */
    bool ie;
    uint32_t sourcecfg[APLIC_SOURCES + 1], target[APLIC_SOURCES + 1];
    uint32_t pending[WORDS], enabled[WORDS];
    uint64_t served[APLIC_SOURCES + 1];         /* claims or messages of each source: for people */
    uint32_t mmsicfg, mmsicfgh, smsicfg, smsicfgh;      /* the root's count */
    uint32_t genmsi;
    bool delivery[RISCV_HARTS], force[RISCV_HARTS];
    uint8_t threshold[RISCV_HARTS];
    bool out[RISCV_HARTS];                      /* lines as the harts know them */
};

static bool bit(const uint32_t *words, unsigned n)
{
    return words[n / 32] >> n % 32 & 1;
}

static void bit_set(uint32_t *words, unsigned n, bool on)
{
    words[n / 32] = (words[n / 32] & ~(UINT32_C(1) << n % 32)) | (uint32_t)on << n % 32;
}

static Aplic *root_of(Aplic *a)
{
    return a->root ? a->root : a;
}

/* ---- sources */

/* Is the source there for this domain, to be configured? */
static bool present(const Aplic *a, uint32_t n)
{
    return n >= 1 && n <= APLIC_SOURCES && (!a->root || (a->root->sourcecfg[n] & DELEGATE));
}

/* Its source mode here; INACTIVE also where it is delegated. */
static unsigned mode_of(const Aplic *a, uint32_t n)
{
    return present(a, n) && !(a->sourcecfg[n] & DELEGATE) ? a->sourcecfg[n] : INACTIVE;
}

/* The rectified input value that a wire has under a source mode. */
static bool rectified(unsigned mode, bool wire)
{
    return mode < EDGE1 ? false : mode == EDGE0 || mode == LEVEL0 ? !wire : wire;
}

static bool input(Aplic *a, uint32_t n)
{
    return rectified(mode_of(a, n), bit(root_of(a)->level, n));
}

static unsigned hart_of(const Aplic *a, uint32_t n)
{
    return a->target[n] >> 18;
}

/* ---- delivery by MSI */

/* Chapter 4.9.1: the address of a hart's interrupt file. */
static uint64_t msi_address(Aplic *a, uint32_t hart)
{
    const Aplic *r = root_of(a);
    unsigned lhxw = r->mmsicfgh >> 12 & 15, hhxw = r->mmsicfgh >> 16 & 7, hhxs = r->mmsicfgh >> 24 & 31;
    uint32_t low = a->mmode ? r->mmsicfg : r->smsicfg, high = a->mmode ? r->mmsicfgh : r->smsicfgh;
    uint64_t group = hart >> lhxw & ((1u << hhxw) - 1), index = hart & ((1u << lhxw) - 1);
    uint64_t base = (uint64_t)(high & 0xfff) << 32 | low;

    return (base | group << (hhxs + 12) | index << (high >> 20 & 7)) << 12;
}

static void send(Aplic *a, uint32_t target)
{
    msi_send(a->dev.vm, msi_address(a, target >> 18), target & 0x7ff);
}

static void forward(Aplic *a, uint32_t n)
{
    if (!a->ie || !bit(a->pending, n) || !bit(a->enabled, n))
        return;
    bit_set(a->pending, n, false);
    a->served[n]++;
    send(a, a->target[n]);
}

/* ---- delivery to harts */

/* What topi says: the most urgent source that is pending and enabled for the hart, with its priority. 0: none. */
static uint32_t topi(const Aplic *a, unsigned hart)
{
    uint32_t best = 0, limit = a->threshold[hart] ? a->threshold[hart] : 256;

    for (unsigned w = 0; w < WORDS; w++) {
        for (uint32_t bits = a->pending[w] & a->enabled[w]; bits; bits &= bits - 1) {
            unsigned n = w * 32 + __builtin_ctz(bits);

            if (hart_of(a, n) == hart && (a->target[n] & 0xff) < limit) {
                limit = a->target[n] & 0xff;
                best = n << 16 | limit;
            }
        }
    }
    return best;
}

static void update_hart(Aplic *a, unsigned hart)
{
    if (a->msi || hart >= a->harts)
        return;
    Vcpu *v = a->dev.vm->vcpus[hart];
    RiscvState *s = v->state;
    uint32_t top = topi(a, hart);
    bool on = a->ie && a->delivery[hart] && (top || a->force[hart]);

    s->ext_prio[a->mmode ? AIA_M : AIA_S] = top & 0xff;
    if (a->out[hart] == on)
        return;
    a->out[hart] = on;
    riscv_irq_line(v, a->mmode ? IRQ_MEI : IRQ_SEI, on);
}

/* ---- what makes a source pending, chapter 4.7 */

/* Source n's bits have changed: tell whom it goes to. */
static void update(Aplic *a, uint32_t n)
{
    if (a->msi)
        forward(a, n);
    else
        update_hart(a, hart_of(a, n));
}

static void update_all(Aplic *a)
{
    for (unsigned hart = 0; !a->msi && hart < a->harts; hart++)
        update_hart(a, hart);
    for (uint32_t n = 1; a->msi && n <= APLIC_SOURCES; n++)
        forward(a, n);
}

static bool is_level(unsigned mode)
{
    return mode == LEVEL1 || mode == LEVEL0;
}

static void wire_set(Aplic *a, int pin, int level)
{
    bool was = bit(a->level, pin);

    if (was == (level != 0))
        return;
    bit_set(a->level, pin, level);
    if (a->sourcecfg[pin] & DELEGATE)
        a = a->child;
    unsigned mode = mode_of(a, pin);
    if (mode < EDGE1)
        return;
    bool high = rectified(mode, level);
    if (!high && !is_level(mode))
        return;
    bit_set(a->pending, pin, high);
    update(a, pin);
}

void aplic_set(void *opaque, int pin, int level)
{
    Aplic *a = opaque;

    pthread_mutex_lock(&a->lock);
    wire_set(a, pin, level);
    pthread_mutex_unlock(&a->lock);
}

/* Software asks for a pending bit to be set or cleared. */
static void set_pending(Aplic *a, uint32_t n, bool on)
{
    unsigned mode = mode_of(a, n);

    if (mode == INACTIVE || (is_level(mode) && (!a->msi || (on && !input(a, n)))))
        return;
    bit_set(a->pending, n, on);
    update(a, n);
}

static void set_enabled(Aplic *a, uint32_t n, bool on)
{
    if (mode_of(a, n) == INACTIVE)
        return;
    bit_set(a->enabled, n, on);
    update(a, n);
}

static void deactivate(Aplic *a, uint32_t n)
{
    unsigned hart = hart_of(a, n);

    a->sourcecfg[n] = 0;
    a->target[n] = 0;
    bit_set(a->pending, n, false);
    bit_set(a->enabled, n, false);
    update_hart(a, hart);
}

static void write_sourcecfg(Aplic *a, uint32_t n, uint32_t val)
{
    unsigned mode = val & 7;

    if (!present(a, n))
        return;
    if (val & DELEGATE) {
        bool was = a->sourcecfg[n] & DELEGATE;

        if (!was)
            deactivate(a, n);
        if (a->child)
            a->sourcecfg[n] = DELEGATE;
        return;
    }
    if (a->sourcecfg[n] & DELEGATE)
        deactivate(a->child, n);
    if (mode == INACTIVE || mode == 2 || mode == 3) {
        deactivate(a, n);
        return;
    }
    if (mode_of(a, n) == INACTIVE)
        a->target[n] = !a->msi;             /* priority 0 is none */
    a->sourcecfg[n] = mode;
    /* A level that is asserted already is not lost; one that isn't is not pending. */
    if (is_level(mode))
        bit_set(a->pending, n, input(a, n));
    update(a, n);
}

static void write_target(Aplic *a, uint32_t n, uint32_t val)
{
    if (mode_of(a, n) == INACTIVE)
        return;
    unsigned before = hart_of(a, n);
    a->target[n] = val & (a->msi ? TARGET_MSI : TARGET_DIRECT);
    if (!a->msi && !(val & 0xff))
        a->target[n] |= 1;
    update_hart(a, before);
    update_hart(a, hart_of(a, n));
}

/* ---- registers of a hart's interrupt delivery, chapter 4.8.1 */

static uint32_t claim(Aplic *a, unsigned hart)
{
    uint32_t top = topi(a, hart);

    a->served[top >> 16] += top >> 16 != 0;
    if (!top)
        a->force[hart] = false;
    else if (!is_level(mode_of(a, top >> 16)))
        bit_set(a->pending, top >> 16, false);
    update_hart(a, hart);
    return top;
}

static uint32_t idc_read(Aplic *a, uint64_t off)
{
    uint64_t hart = off / IDC_STRIDE;

    if (a->msi || hart >= a->harts)
        return 0;
    switch (off % IDC_STRIDE) {
    case IDC_DELIVERY: return a->delivery[hart];
    case IDC_FORCE: return a->force[hart];
    case IDC_THRESHOLD: return a->threshold[hart];
    case IDC_TOPI: return topi(a, hart);
    case IDC_CLAIMI: return claim(a, hart);
    }
    return 0;
}

static void idc_write(Aplic *a, uint64_t off, uint32_t val)
{
    uint64_t hart = off / IDC_STRIDE;

    if (a->msi || hart >= a->harts)
        return;
    switch (off % IDC_STRIDE) {
    case IDC_DELIVERY: a->delivery[hart] = val & 1; break;
    case IDC_FORCE: a->force[hart] = val & 1; break;
    case IDC_THRESHOLD: a->threshold[hart] = val; break;
    }
    update_hart(a, hart);
}

/* ---- registers of a domain, chapter 4.5 */

static uint32_t inputs(Aplic *a, unsigned w)
{
    uint32_t bits = 0;

    for (unsigned i = 0; i < 32; i++)
        bits |= (uint32_t)input(a, w * 32 + i) << i;
    return bits;
}

/* Addresses of MSIs: only the root of those that send any has them. */
static uint32_t *msi_config(Aplic *a, uint64_t off, uint32_t *mask)
{
    if (a->root || !a->msi)
        return NULL;
    *mask = off == R_MMSIADDRCFGH ? MMSICFGH_MASK : off == R_SMSIADDRCFGH ? SMSICFGH_MASK : UINT32_MAX;
    switch (off) {
    case R_MMSIADDRCFG: return &a->mmsicfg;
    case R_MMSIADDRCFGH: return &a->mmsicfgh;
    case R_SMSIADDRCFG: return &a->smsicfg;
    case R_SMSIADDRCFGH: return &a->smsicfgh;
    }
    return NULL;
}

/* off is in the array of WORDS that begins at reg: which one? */
static bool in_array(uint64_t off, uint64_t reg, unsigned *w)
{
    *w = (off - reg) / 4;
    return off >= reg && off < reg + 4 * WORDS;
}

static uint32_t read_reg(Aplic *a, uint64_t off)
{
    uint32_t mask;
    unsigned w;
    const uint32_t *config = msi_config(a, off, &mask);

    if (off == R_DOMAINCFG)
        return DOMAIN_FIXED | (a->ie ? DOMAIN_IE : 0) | (a->msi ? DOMAIN_DM : 0);
    if (off < R_SOURCECFG_END)
        return off / 4 <= APLIC_SOURCES ? a->sourcecfg[off / 4] : 0;
    if (config)
        return *config;
    if (in_array(off, R_SETIP, &w))
        return a->pending[w];
    if (in_array(off, R_CLRIP, &w))
        return inputs(a, w);
    if (in_array(off, R_SETIE, &w))
        return a->enabled[w];
    if (off == R_GENMSI)
        return a->genmsi;
    if (off >= R_TARGET && off < R_IDC)
        return (off - R_GENMSI) / 4 <= APLIC_SOURCES ? a->target[(off - R_GENMSI) / 4] : 0;
    return off >= R_IDC ? idc_read(a, off - R_IDC) : 0;
}

static uint64_t aplic_read(void *opaque, uint64_t off, unsigned size)
{
    Aplic *a = opaque;

    pthread_mutex_lock(&root_of(a)->lock);
    uint32_t val = read_reg(a, off);
    pthread_mutex_unlock(&root_of(a)->lock);
    return val;
}

/* setip, in_clrip, setie, clrie and their _num: does the write belong to them? */
static bool write_bits(Aplic *a, uint64_t off, uint32_t val)
{
    static const struct {
        uint64_t bits, num;
        void (*set)(Aplic *, uint32_t, bool);
        bool on;
    } rows[] = {
        { R_SETIP, R_SETIPNUM, set_pending, true }, { R_CLRIP, R_CLRIPNUM, set_pending, false },
        { R_SETIE, R_SETIENUM, set_enabled, true }, { R_CLRIE, R_CLRIENUM, set_enabled, false },
    };
    unsigned w;

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (off == rows[i].num) {
            rows[i].set(a, val, rows[i].on);
            return true;
        }
        if (in_array(off, rows[i].bits, &w)) {
            for (; val; val &= val - 1)
                rows[i].set(a, w * 32 + __builtin_ctz(val), rows[i].on);
            return true;
        }
    }
    return false;
}

static void write_genmsi(Aplic *a, uint32_t val)
{
    if (!a->msi)
        return;
    a->genmsi = val & TARGET_MSI;           /* sent at once, so it is never busy */
    send(a, a->genmsi);
}

static void write_reg(Aplic *a, uint64_t off, uint32_t val)
{
    uint32_t mask, *config = msi_config(a, off, &mask);

    if (off == R_DOMAINCFG) {
        a->ie = val & DOMAIN_IE;
        update_all(a);
    } else if (off < R_SOURCECFG_END) {
        write_sourcecfg(a, off / 4, val);
    } else if (config) {
        if (!(a->mmsicfgh & MSICFG_LOCK))
            *config = val & mask;
    } else if (off == R_SETIPNUM_LE) {
        set_pending(a, val, true);
    } else if (off == R_SETIPNUM_BE) {
        set_pending(a, __builtin_bswap32(val), true);
    } else if (off == R_GENMSI) {
        write_genmsi(a, val);
    } else if (off >= R_TARGET && off < R_IDC) {
        write_target(a, (off - R_GENMSI) / 4, val);
    } else if (off >= R_IDC) {
        idc_write(a, off - R_IDC, val);
    } else if (!write_bits(a, off, val) && log_on(LOG_GUEST_ERRORS)) {
        guest_error("aplic: write of %#" PRIx32 " at %#" PRIx64 ", where no register is", val, off);
    }
}

static void aplic_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Aplic *a = opaque;

    pthread_mutex_lock(&root_of(a)->lock);
    write_reg(a, off, val);
    pthread_mutex_unlock(&root_of(a)->lock);
}

/* All wires are low now; the devices, whose resets come after this one's, drive theirs again. */
static void aplic_reset(Device *d)
{
    Aplic *a = (Aplic *)d;

    pthread_mutex_lock(&root_of(a)->lock);
    memset(a->out, true, sizeof(a->out));   /* so that each line is told it is low */
    update_all(a);
    pthread_mutex_unlock(&root_of(a)->lock);
}

static pthread_mutex_t *aplic_lock(Device *d)
{
    return &root_of((Aplic *)d)->lock;
}

static Err *aplic_realize(Device *d)
{
    pthread_mutex_init(&((Aplic *)d)->lock, NULL);
    return NULL;
}

static void aplic_unrealize(Device *d)
{
    pthread_mutex_destroy(&((Aplic *)d)->lock);
}

static const IoOps aplic_io = { .read = aplic_read, .write = aplic_write, .min = 4, .max = 4 };

static const Field aplic_fields[] = {
    PROP(Aplic, harts, .as = "num-harts", .def = "1", .doc = "harts served, from hart 0"),
    PROP(Aplic, mmode, .def = "off", .doc = "the machine-level domain"),
    PROP(Aplic, msi, .as = "msimode", .def = "off", .doc = "sends MSIs instead of driving the harts' lines"),
    LINK(Aplic, io, .ops = &aplic_io, .size = APLIC_SIZE, .nolock = true),
    STATES(Aplic, level),
    STATE(Aplic, ie),
    STATES(Aplic, sourcecfg),
    STATES(Aplic, target),
    STATES(Aplic, pending),
    STATES(Aplic, enabled),
    STATE(Aplic, mmsicfg),
    STATE(Aplic, mmsicfgh),
    STATE(Aplic, smsicfg),
    STATE(Aplic, smsicfgh),
    STATE(Aplic, genmsi),
    STATES(Aplic, delivery),
    STATES(Aplic, force),
    STATES(Aplic, threshold),
    STATES(Aplic, out),
    {0}
};

static void aplic_describe(Device *d, GString *out)
{
    Aplic *a = (Aplic *)d, *root = root_of(a);

    pthread_mutex_lock(&root->lock);
    g_string_append_printf(out, "aplic, domain of %c: interrupts %s, by %s\n", a->mmode ? 'M' : 'S', a->ie ? "on" : "off",
                           a->msi ? "message" : "wire");
    for (uint32_t n = 1; n <= APLIC_SOURCES; n++) {
        if (mode_of(a, n) != INACTIVE)
            g_string_append_printf(out, "  source %u: mode %u, target %#x%s%s%s\n", n, mode_of(a, n), a->target[n],
                                   bit(root->level, n) ? ", high" : "", bit(a->pending, n) ? ", pending" : "",
                                   bit(a->enabled, n) ? ", enabled" : "");
    }
    for (uint32_t h = 0; !a->msi && h < a->harts; h++)
        g_string_append_printf(out, "  hart %u: delivery %d, threshold %u, line %d\n", h, a->delivery[h], a->threshold[h], a->out[h]);
    pthread_mutex_unlock(&root->lock);
}

static void aplic_counts(Device *d, GString *out)
{
    Aplic *a = (Aplic *)d, *root = root_of(a);

    pthread_mutex_lock(&root->lock);
    for (unsigned n = 1; n <= APLIC_SOURCES; n++) {
        if (a->served[n])
            g_string_append_printf(out, "  %u: %" PRIu64 "\n", n, a->served[n]);
    }
    pthread_mutex_unlock(&root->lock);
}

DEVICE(aplic) = {
    .name = "riscv.aplic", .bus = BUS_SYSTEM, .doc = "RISC-V advanced platform-level interrupt controller",
    .size = sizeof(Aplic), .fields = aplic_fields,
    .describe = aplic_describe, .irq_counts = aplic_counts, .realize = aplic_realize, .unrealize = aplic_unrealize, .reset = aplic_reset,
    .lock = aplic_lock,
};

static Err *make_domain(Vm *vm, unsigned harts, bool msi, Aplic *root, uint64_t base, Aplic **out)
{
    Aplic *a = (Aplic *)device_new(vm, &device_aplic);

    a->harts = harts;
    a->msi = msi;
    a->mmode = !root;
    a->root = root;
    *out = a;
    return device_place(&a->dev, &a->io, base);
}

Err *aplic_make(Vm *vm, unsigned harts, bool msi, uint64_t m_base, uint64_t s_base, Aplic **out)
{
    TRY(make_domain(vm, harts, msi, NULL, m_base, out));
    return make_domain(vm, harts, msi, *out, s_base, &(*out)->child);
}
