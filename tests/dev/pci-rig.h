/* SPDX-License-Identifier: MIT */
/*
 * What the tests of PCI share: configuration space by bus, slot and function, a
 * receiver of messages, the PLIC's pending bits, a function that has everything.
 */
#ifndef TESTS_DEV_PCI_RIG_H
#define TESTS_DEV_PCI_RIG_H

#include "tests/dev/rig.h"

#include "hw/board/riscv_virt.h"
#include "system/msi.h"

#define MSI_AT UINT64_C(0x12340000)
#define MMIO VIRT_PCI_MMIO
#define HIGH UINT64_C(0x400000000)
enum { MEM = 2, IO = 1, MASTER = 4, INTX_OFF = 0x400, COMMAND = 4, CAPS = 0x34 };

static Rig rig, *r = &rig;
static PciBus *root;

/* ---- configuration space */

static inline uint64_t cfg(unsigned bus, unsigned slot, unsigned fn, unsigned reg)
{
    return VIRT_ECAM | bus << 20 | slot << 15 | fn << 12 | reg;
}

static inline unsigned cap(uint64_t f, uint8_t id)
{
    unsigned at = rd(r, f + CAPS, 1);

    for (int i = 0; at && i < 48; i++, at = rd(r, f + at + 1, 1)) {
        if (rd(r, f + at, 1) == id)
            return at;
    }
    return 0;
}

static inline uint64_t bar_size(uint64_t f, unsigned n)
{
    uint32_t was = rd32(r, f + 0x10 + 4 * n);

    wr32(r, f + 0x10 + 4 * n, 0xffffffff);
    uint32_t mask = rd32(r, f + 0x10 + 4 * n);
    wr32(r, f + 0x10 + 4 * n, was);
    mask &= was & 1 ? ~3u : ~15u;
    return mask ? (uint32_t)-mask : 0;
}

static inline void command(uint64_t f, uint16_t val)
{
    wr(r, f + COMMAND, val, 2);
}

/* ---- the rig: its devices as -device would say them, up to a NULL */

static inline void start(const char *const *args)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    for (; args && *args; args++)
        g_ptr_array_add(r->config.devices, (void *)*args);
    rig_board(r);
    root = ((RiscvVirt *)r->vm->board)->pci;
}

static inline void end(void)
{
    g_ptr_array_free(r->config.devices, true);
    rig_free(r);
}

#define START(...) start((const char *const[]){ __VA_ARGS__, NULL })

static inline void refuses(const char *a, const char *b, const char *text)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)a);
    if (b)
        g_ptr_array_add(r->config.devices, (void *)b);
    CHECK(rig_says(rig_try_board(r), text));
    end();
}

/* What vCPUs and the main loop do when devices were unplugged: two grace periods. */
static inline void settle(void)
{
    for (int i = 0; i < 2; i++) {
        rig_work(r);
        rig_turn(r, 0);
    }
}

/* ---- a function with everything */

typedef struct Toy {
    PciDevice pci;
    Region io, mem32, mem64;
    unsigned vectors, resets;
} Toy;

static inline uint64_t toy_read(void *opaque, uint64_t off, unsigned size) { return 0x1000 + off; }
static const IoOps toy_io = { .read = toy_read, .min = 1, .max = 4 };

static inline Err *toy_realize(Device *dev)
{
    static const PciIds ids = { .vendor = 0x1234, .device = 0x5678, .class_code = 0x088000 };
    PciDevice *d = (PciDevice *)dev;
    Toy *t = (Toy *)dev;

    pci_identify(d, &ids);
    pcie_cap(d, 0);
    pcie_flr(d);
    pci_pm(d);
    pci_use_intx(d, 2);
    TRY(pci_bar(d, 0, PCI_BAR_IO, &t->io));
    TRY(pci_bar(d, 1, PCI_BAR_MEM32, &t->mem32));
    TRY(pci_bar(d, 2, PCI_BAR_MEM64_PREFETCH, &t->mem64));
    TRY(pci_msi(d, 4, true));
    return pci_msix(d, 70, 4);
}

static inline void toy_reset(Device *d) { ((Toy *)d)->resets++; }

static const Field toy_fields[] = {
    LINK(Toy, io, .ops = &toy_io, .size = 0x20), LINK(Toy, mem32, .ops = &toy_io, .size = 0x2000),
    LINK(Toy, mem64, .ops = &toy_io, .size = UINT64_C(1) << 33), {0}
};
static const DeviceClass toy_class = {
    .name = "toy", .doc = "toy", .bus = "pci", .size = sizeof(Toy), .base = pci_fields, .fields = toy_fields,
    .realize = toy_realize, .reset = toy_reset,
};

static inline Toy *toy_on(PciBus *b, const char *addr)
{
    Toy *t = (Toy *)device_new(r->vm, &toy_class);

    if (addr)
        rig_must(device_set_prop(&t->pci.dev, "addr", addr));
    rig_must(device_plug(&t->pci.dev, &b->bus));
    return t;
}

/* ---- interrupts */

static inline bool plic_pending(int n) { return rd32(r, VIRT_PLIC + 0x1000 + n / 32 * 4) >> n % 32 & 1; }

/* Takes and completes what is pending, as a handler that finds nobody; is it pending again? */
static inline bool still(int n)
{
    uint64_t enable = VIRT_PLIC + 0x2080 + n / 32 * 4, claim = VIRT_PLIC + 0x201004;

    wr32(r, VIRT_PLIC + 4 * n, 1);
    wr32(r, enable, 1u << n % 32);
    uint32_t got = rd32(r, claim);
    if (got)
        wr32(r, claim, got);
    return plic_pending(n);
}

static GString *messages;
static inline void got_message(void *opaque, uint64_t off, uint32_t data)
{
    g_string_append_printf(messages, "%x:%x ", (unsigned)off, data);
}

static inline void start_msi(void)
{
    start(NULL);
    messages = g_string_new(NULL);
    rig_must(msi_claim(r->vm, MSI_AT, 0x1000, got_message, &messages));
}

static inline void end_msi(void)
{
    msi_unclaim(r->vm, &messages);
    g_string_free(messages, true);
    end();
}

static inline void expect(const char *want)
{
    CHECK_STR(messages->str, want);
    g_string_truncate(messages, 0);
}

/* ---- chance */

static uint64_t seed = UINT64_C(88172645463325252);
static inline uint64_t rnd(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return n ? seed % n : seed;
}

#endif
