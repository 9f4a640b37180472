/* SPDX-License-Identifier: MIT */
/*
 * PCI as firmware and kernels use it: who is there, how large BARs are, where
 * they show, bridges, INTx, MSI, MSI-X, ROMs, hotplug. Expected values come from
 * the PCI Local Bus 3.0, PCI-to-PCI Bridge 1.2 and PCI Express Base 4.0
 * specifications.
 */
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

static uint64_t cfg(unsigned bus, unsigned slot, unsigned fn, unsigned reg)
{
    return VIRT_ECAM | bus << 20 | slot << 15 | fn << 12 | reg;
}

static unsigned cap(uint64_t f, uint8_t id)
{
    unsigned at = rd(r, f + CAPS, 1);

    for (int i = 0; at && i < 48; i++, at = rd(r, f + at + 1, 1)) {
        if (rd(r, f + at, 1) == id)
            return at;
    }
    return 0;
}

static uint64_t bar_size(uint64_t f, unsigned n)
{
    uint32_t was = rd32(r, f + 0x10 + 4 * n);

    wr32(r, f + 0x10 + 4 * n, 0xffffffff);
    uint32_t mask = rd32(r, f + 0x10 + 4 * n);
    wr32(r, f + 0x10 + 4 * n, was);
    mask &= was & 1 ? ~3u : ~15u;
    return mask ? (uint32_t)-mask : 0;
}

static void command(uint64_t f, uint16_t val)
{
    wr(r, f + COMMAND, val, 2);
}

/* ---- the rig: its devices as -device would say them, up to a NULL */

static void start(const char *const *args)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    for (; args && *args; args++)
        g_ptr_array_add(r->config.devices, (void *)*args);
    rig_board(r);
    root = ((RiscvVirt *)r->vm->board)->pci;
}

static void end(void)
{
    g_ptr_array_free(r->config.devices, true);
    rig_free(r);
}

#define START(...) start((const char *const[]){ __VA_ARGS__, NULL })

static void refuses(const char *a, const char *b, const char *text)
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
static void settle(void)
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

static uint64_t toy_read(void *opaque, uint64_t off, unsigned size) { return 0x1000 + off; }
static const IoOps toy_io = { .read = toy_read, .min = 1, .max = 4 };

static Err *toy_realize(Device *dev)
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

static void toy_reset(Device *d) { ((Toy *)d)->resets++; }

static const Field toy_fields[] = {
    LINK(Toy, io, .ops = &toy_io, .size = 0x20), LINK(Toy, mem32, .ops = &toy_io, .size = 0x2000),
    LINK(Toy, mem64, .ops = &toy_io, .size = UINT64_C(1) << 33), {0}
};
static const DeviceClass toy_class = {
    .name = "toy", .doc = "toy", .bus = "pci", .size = sizeof(Toy), .base = pci_fields, .fields = toy_fields,
    .realize = toy_realize, .reset = toy_reset,
};

static Toy *toy_on(PciBus *b, const char *addr)
{
    Toy *t = (Toy *)device_new(r->vm, &toy_class);

    if (addr)
        rig_must(device_set_prop(&t->pci.dev, "addr", addr));
    rig_must(device_plug(&t->pci.dev, &b->bus));
    return t;
}

/* ---- cases */

static void test_config(void)
{
    START("edu");
    uint64_t f = cfg(0, 1, 0, 0);

    CHECK_EQ(rd32(r, cfg(0, 0, 0, 0)), 0x00081b36);
    CHECK_EQ(rd(r, cfg(0, 0, 0, 0xa), 2), 0x0600);
    CHECK_EQ(rd32(r, f), 0x11e81234);
    CHECK_EQ(rd(r, f + 2, 2), 0x11e8);
    CHECK_EQ(rd(r, f + 3, 1), 0x11);
    CHECK_EQ(rd(r, f, 8), UINT64_C(0x0010000011e81234));
    CHECK_EQ(rd32(r, f + 8), 0x00ff0010);
    CHECK_EQ(rd32(r, f + 0x2c), 0x11001af4);
    CHECK_EQ(rd(r, f + 0x3d, 1), 1);
    /* Nobody: another slot, function, bus; behind 256 bytes of a conventional function. */
    CHECK_EQ(rd32(r, cfg(0, 2, 0, 0)), 0xffffffff);
    CHECK_EQ(rd32(r, cfg(0, 1, 1, 0)), 0xffffffff);
    CHECK_EQ(rd32(r, cfg(1, 0, 0, 0)), 0xffffffff);
    CHECK_EQ(rd32(r, cfg(255, 31, 7, 0xffc)), 0xffffffff);
    CHECK_EQ(rd32(r, f + 0x100), 0xffffffff);
    /* What is read-only stays. */
    wr32(r, f, 0);
    wr32(r, f + 8, 0xffffffff);
    wr32(r, f + 0x2c, 0);
    wr(r, cfg(0, 2, 0, 4), 7, 2);
    CHECK_EQ(rd32(r, f), 0x11e81234);
    CHECK_EQ(rd32(r, f + 8), 0x00ff0010);
    CHECK_EQ(rd32(r, f + 0x2c), 0x11001af4);
    wr(r, f + 0x3c, 0x5a, 1);
    CHECK_EQ(rd(r, f + 0x3c, 1), 0x5a);
    command(f, 0xffff);
    CHECK_EQ(rd(r, f + COMMAND, 2), 0x547);
    vm_reset(r->vm);
    CHECK_EQ(rd(r, f + COMMAND, 2), 0);
    CHECK_EQ(rd(r, f + 0x3c, 1), 0);
    end();
}

static void test_bars(void)
{
    START("edu");
    uint64_t f = cfg(0, 1, 0, 0);

    CHECK_EQ(bar_size(f, 0), 1 << 20);
    CHECK_EQ(bar_size(f, 1), 0);
    wr32(r, f + 0x10, MMIO + 0x100000);
    CHECK_EQ(rd32(r, MMIO + 0x100000), 0xffffffff);         /* not decoded yet */
    command(f, MEM);
    CHECK_EQ(rd32(r, MMIO + 0x100000), 0x010000ed);
    wr32(r, MMIO + 0x100004, 0x12345678);
    CHECK_EQ(rd32(r, MMIO + 0x100004), 0xedcba987);
    /* Moved, off, on again, outside of the window. */
    wr32(r, f + 0x10, MMIO + 0x700000);
    CHECK_EQ(rd32(r, MMIO + 0x100000), 0xffffffff);
    CHECK_EQ(rd32(r, MMIO + 0x700004), 0xedcba987);
    command(f, 0);
    CHECK_EQ(rd32(r, MMIO + 0x700000), 0xffffffff);
    command(f, MEM);
    CHECK_EQ(rd32(r, MMIO + 0x700000), 0x010000ed);
    wr32(r, f + 0x10, 0x80000000);                          /* where RAM is */
    CHECK_EQ(rd32(r, MMIO + 0x700000), 0xffffffff);
    CHECK(rd32(r, 0x80000000) != 0x010000ed);
    wr32(r, f + 0x10, 0xfff00000);
    wr32(r, f + 0x10, MMIO);
    CHECK_EQ(rd32(r, MMIO), 0x010000ed);
    vm_reset(r->vm);
    CHECK_EQ(rd32(r, MMIO), 0xffffffff);
    CHECK_EQ(rd32(r, f + 0x10), 0);
    end();
}

static void test_bars_kinds(void)
{
    start(NULL);
    Toy *t = toy_on(root, NULL);
    uint64_t f = cfg(0, 1, 0, 0);

    CHECK_EQ(rd32(r, f + 0x10) & 3, 1);                     /* I/O */
    CHECK_EQ(rd32(r, f + 0x18) & 15, 12);                   /* 64 bits, prefetchable */
    CHECK_EQ(bar_size(f, 0), 0x20);
    CHECK_EQ(bar_size(f, 1), 0x2000);
    CHECK_EQ(bar_size(f, 2), 0);                            /* 8 GiB: the low half has no bit */
    wr32(r, f + 0x1c, 0xffffffff);
    CHECK_EQ(rd32(r, f + 0x1c), 0xfffffffe);
    wr32(r, f + 0x10, 0xc000);
    wr32(r, f + 0x14, MMIO + 0x4000);
    wr32(r, f + 0x18, 0);
    wr32(r, f + 0x1c, (HIGH + (UINT64_C(1) << 33)) >> 32);
    command(f, MEM | IO);
    CHECK_EQ(rd(r, VIRT_PCI_PIO + 0xc004, 2), 0x1004);
    CHECK_EQ(rd(r, VIRT_PCI_PIO + 0xc020, 2), 0xffff);
    CHECK_EQ(rd32(r, MMIO + 0x4010), 0x1010);
    CHECK_EQ(rd32(r, HIGH + (UINT64_C(1) << 33) + 0x123450), 0x124450);
    command(f, IO);
    CHECK_EQ(rd32(r, MMIO + 0x4010), 0xffffffff);
    CHECK_EQ(rd(r, VIRT_PCI_PIO + 0xc004, 2), 0x1004);
    /* A 64-bit BAR may lie below 4 GiB, and half outside of the window is outside. */
    wr32(r, f + 0x1c, 0xffffffff);
    command(f, MEM);
    CHECK_EQ(rd32(r, HIGH), 0xffffffff);
    /* Wrong BARs are errors of the device's author. */
    static Region odd = { .name = "odd", .size = 48 };
    CHECK(rig_says(pci_bar(&t->pci, 5, PCI_BAR_MEM32, &odd), "48 bytes"));
    odd.size = 64;
    CHECK(rig_says(pci_bar(&t->pci, 3, PCI_BAR_MEM32, &odd), "not free"));
    CHECK(rig_says(pci_bar(&t->pci, 5, PCI_BAR_MEM64, &odd), "not free"));
    device_free(&t->pci.dev);
    CHECK_EQ(rd32(r, f), 0xffffffff);
    end();
}

/* Two at one place: one of them is seen, the other when that is gone. */
static void test_overlap(void)
{
    START("edu", "edu");
    uint64_t a = cfg(0, 1, 0, 0), b = cfg(0, 2, 0, 0);

    wr32(r, a + 0x10, MMIO);
    wr32(r, b + 0x10, MMIO);
    command(a, MEM);
    command(b, MEM);
    wr32(r, MMIO + 4, 1);
    command(b, 0);
    CHECK_EQ(rd32(r, MMIO), 0x010000ed);
    CHECK_EQ(rd32(r, MMIO + 4), 0);
    command(a, 0);
    command(b, MEM);
    CHECK_EQ(rd32(r, MMIO + 4), ~1u);
    end();
}

static void test_places(void)
{
    START("edu,addr=4.0,multifunction=on", "edu,addr=0x4.1", "edu,addr=1f.7", "edu", "edu,addr=-1", "edu,addr=05");
    CHECK_EQ(rd32(r, cfg(0, 4, 0, 0)), 0x11e81234);
    CHECK_EQ(rd32(r, cfg(0, 4, 1, 0)), 0x11e81234);
    CHECK_EQ(rd(r, cfg(0, 4, 0, 0xe), 1), 0x80);
    CHECK_EQ(rd(r, cfg(0, 4, 1, 0xe), 1), 0);
    CHECK_EQ(rd32(r, cfg(0, 31, 7, 0)), 0x11e81234);
    CHECK_EQ(rd32(r, cfg(0, 1, 0, 0)), 0x11e81234);
    CHECK_EQ(rd32(r, cfg(0, 2, 0, 0)), 0x11e81234);
    CHECK_EQ(rd32(r, cfg(0, 5, 0, 0)), 0x11e81234);
    end();
    refuses("edu,addr=4.0", "edu,addr=4.1", "multifunction=on");
    refuses("edu,addr=4.1", "edu,addr=4.0", "multifunction=on");
    refuses("edu,addr=4", "edu,addr=4", "taken, by edu");
    refuses("edu,addr=0", NULL, "taken, by gpex-root");
    refuses("edu,addr=20", NULL, "1f.7");
    refuses("edu,addr=1.8", NULL, "1f.7");
    refuses("edu,addr=1.", NULL, "1f.7");
    refuses("edu,addr=x", NULL, "1f.7");
    refuses("edu,bus=pcie.1", NULL, "'pcie.0'");
    refuses("pcie-root-port,id=p", "edu,bus=p,addr=1", "only slot 0");
    refuses("pcie-root-port,slot=3", "pcie-root-port,slot=3", "another port's");
    refuses("pci-bridge,shpc=on", NULL, "pcie-root-port");
    refuses("pci-bridge,id=b", "pcie-root-port,bus=b", "PCI Express");
    refuses("xio3130-downstream", NULL, "upstream port");
    refuses("gpex-root", NULL, "part of a board");
    refuses("edu,romfile=/nonexistent", NULL, "romfile");
}

static void test_rom(void)
{
    uint8_t bytes[5000];
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = i * 7;
    char *path = rig_file(bytes, sizeof(bytes));
    g_autofree char *arg = g_strdup_printf("edu,romfile=%s", path);
    g_autofree char *none = g_strdup_printf("edu,rombar=0,romfile=%s", path);
    g_autofree char *sized = g_strdup_printf("edu,romsize=16384,romfile=%s", path);
    g_autofree char *small = g_strdup_printf("edu,romsize=4096,romfile=%s", path);

    START(arg, none, sized);
    uint64_t f = cfg(0, 1, 0, 0);
    wr32(r, f + 0x30, 0xfffff800);
    CHECK_EQ(rd32(r, f + 0x30), 0xffffe000);
    wr32(r, cfg(0, 2, 0, 0x30), 0xffffffff);
    CHECK_EQ(rd32(r, cfg(0, 2, 0, 0x30)), 0);
    wr32(r, cfg(0, 3, 0, 0x30), 0xfffff800);
    CHECK_EQ(rd32(r, cfg(0, 3, 0, 0x30)), 0xffffc000);
    wr32(r, f + 0x30, MMIO | 1);
    CHECK_EQ(rd(r, MMIO, 1), 0xff);
    command(f, MEM);
    CHECK_EQ(rd32(r, MMIO + 1000), (uint32_t)bytes[1003] << 24 | bytes[1002] << 16 | bytes[1001] << 8 | bytes[1000]);
    CHECK_EQ(rd(r, MMIO + 5001, 1), 0xff);
    wr32(r, MMIO + 1000, 0);
    CHECK_EQ(rd(r, MMIO + 1001, 1), bytes[1001]);
    wr32(r, f + 0x30, MMIO);
    CHECK_EQ(rd(r, MMIO + 1001, 1), 0xff);
    end();
    refuses(small, NULL, "romsize=4096");
    rig_unlink(path);
}

/* ---- interrupts */

static bool plic_pending(int n) { return rd32(r, VIRT_PLIC + 0x1000 + n / 32 * 4) >> n % 32 & 1; }

/* Takes and completes what is pending, as a handler that finds nobody; is it pending again? */
static bool still(int n)
{
    uint64_t enable = VIRT_PLIC + 0x2080 + n / 32 * 4, claim = VIRT_PLIC + 0x201004;

    wr32(r, VIRT_PLIC + 4 * n, 1);
    wr32(r, enable, 1u << n % 32);
    uint32_t got = rd32(r, claim);
    if (got)
        wr32(r, claim, got);
    return plic_pending(n);
}

static void test_intx(void)
{
    /* Slots 1 and 5 share a line: (slot + pin) mod 4. */
    START("edu,addr=1", "edu,addr=5", "pcie-root-port,addr=6,id=p", "edu,bus=p", "pcie-pci-bridge,addr=7,id=b", "edu,bus=b,addr=4");
    uint64_t at[] = { cfg(0, 1, 0, 0), cfg(0, 5, 0, 0), cfg(1, 0, 0, 0), cfg(2, 4, 0, 0) };
    const int irq[] = { VIRT_PCI_IRQ + 1, VIRT_PCI_IRQ + 1, VIRT_PCI_IRQ + 2, VIRT_PCI_IRQ + (7 + 4) % 4 };

    wr32(r, cfg(0, 6, 0, 0x18), 0x00010100);
    wr32(r, cfg(0, 7, 0, 0x18), 0x00020200);
    for (int i = 0; i < 2; i++) {               /* windows of the bridges */
        wr32(r, cfg(0, 6 + i, 0, 0x20), (MMIO + (0x200000 << i)) >> 16 | (MMIO + (0x200000 << i)));
        command(cfg(0, 6 + i, 0, 0), MEM);
    }
    const uint64_t mmio[] = { MMIO, MMIO + 0x100000, MMIO + 0x200000, MMIO + 0x400000 };
    for (int i = 0; i < 4; i++) {
        wr32(r, at[i] + 0x10, mmio[i]);
        command(at[i], MEM);
        CHECK_EQ(rd32(r, mmio[i]), 0x010000ed);
        wr32(r, mmio[i] + 0x60, 4);
        CHECK_EQ(rd32(r, mmio[i] + 0x24), 4);
        CHECK(plic_pending(irq[i]));
        CHECK_EQ(rd(r, at[i] + 6, 2) & 8, 8);       /* Interrupt Status */
    }
    CHECK(still(irq[0]));
    wr32(r, mmio[0] + 0x64, 4);
    CHECK(still(irq[0]));                           /* the other one drives it yet */
    command(at[1], MEM | INTX_OFF);
    CHECK(!still(irq[0]));
    CHECK_EQ(rd(r, at[1] + 6, 2) & 8, 8);
    command(at[1], MEM);
    CHECK(still(irq[1]));
    wr32(r, mmio[1] + 0x64, 4);
    CHECK(!still(irq[1]));
    /* Unplugged while it drives: the line falls. */
    CHECK(still(irq[2]));
    device_free(&root->functions[6 << 3]->secondary->functions[0]->dev);
    CHECK(!still(irq[2]));
    vm_reset(r->vm);
    for (int i = 0; i < 4; i++)
        CHECK(!plic_pending(irq[i]));
    end();
}

static GString *messages;
static void got_message(void *opaque, uint64_t off, uint32_t data)
{
    g_string_append_printf(messages, "%x:%x ", (unsigned)off, data);
}

static void start_msi(void)
{
    start(NULL);
    messages = g_string_new(NULL);
    rig_must(msi_claim(r->vm, MSI_AT, 0x1000, got_message, &messages));
}

static void end_msi(void)
{
    msi_unclaim(r->vm, &messages);
    g_string_free(messages, true);
    end();
}

static void expect(const char *want)
{
    CHECK_STR(messages->str, want);
    g_string_truncate(messages, 0);
}

static void test_msi(void)
{
    start_msi();
    Toy *t = toy_on(root, NULL);
    uint64_t f = cfg(0, 1, 0, 0), m = f + cap(f, 5);

    CHECK_EQ(rd(r, m + 2, 2), 0x184);                   /* 4 vectors, 64 bits, masks */
    command(f, MASTER);
    wr32(r, m + 4, MSI_AT + 0x13);                      /* the low two bits are none */
    wr(r, m + 0xc, 0x47, 2);
    msi_notify(&t->pci, 0);
    expect("");
    wr(r, m + 2, 0x21, 2);                              /* on, with four vectors */
    CHECK(msi_on(&t->pci));
    for (unsigned v = 0; v < 4; v++)
        msi_notify(&t->pci, v);
    expect("10:44 10:45 10:46 10:47 ");
    wr32(r, m + 0x10, 0xffffffff);
    CHECK_EQ(rd32(r, m + 0x10), 15);
    msi_notify(&t->pci, 1);
    msi_notify(&t->pci, 3);
    expect("");
    CHECK_EQ(rd32(r, m + 0x14), 10);
    wr32(r, m + 0x14, 0);                               /* read-only */
    wr32(r, m + 0x10, 8);
    expect("10:45 ");
    CHECK_EQ(rd32(r, m + 0x14), 8);
    wr32(r, m + 0x10, 0);
    expect("10:47 ");
    wr(r, m + 2, 0x01, 2);                              /* one vector for all */
    msi_notify(&t->pci, 3);
    expect("10:47 ");
    wr(r, m + 2, 0x71, 2);                              /* 128 of 4 are 4 */
    msi_notify(&t->pci, 3);
    expect("10:47 ");
    command(f, 0);
    msi_notify(&t->pci, 0);
    expect("");                                         /* no Bus Master Enable, no writes */
    command(f, MASTER);
    wr32(r, m + 8, 1);                                  /* nobody is there */
    msi_notify(&t->pci, 0);
    expect("");
    vm_reset(r->vm);
    CHECK(!msi_on(&t->pci));
    end_msi();
}

static void test_msix(void)
{
    start_msi();
    Toy *t = toy_on(root, NULL);
    uint64_t f = cfg(0, 1, 0, 0), x = f + cap(f, 0x11), table = MMIO + 0x10000;
    uint32_t pba = rd32(r, x + 8);

    CHECK_EQ(rd(r, x + 2, 2), 69);
    CHECK_EQ(rd32(r, x + 4), 4);
    CHECK_EQ(pba & 7, 4);
    CHECK(pba >= 70 * 16 && bar_size(f, 4) >= pba + 16);
    wr32(r, f + 0x20, table);
    command(f, MEM | MASTER);
    pba = pba & ~7;
    for (unsigned v = 0; v < 70; v++) {
        CHECK_EQ(rd32(r, table + v * 16 + 12), 1);      /* masked after a reset */
        wr(r, table + v * 16, MSI_AT + 4 * v, 8);
        wr32(r, table + v * 16 + 8, 0x100 + v);
    }
    wr32(r, table + 12, 0xfffffffe);                    /* only the mask bit is one */
    CHECK_EQ(rd32(r, table + 12), 0);
    CHECK_EQ(rd(r, table + 16, 8), MSI_AT + 4);
    msix_notify(&t->pci, 0);
    expect("");                                         /* off */
    wr(r, x + 2, 0x8000, 2);
    CHECK(msix_on(&t->pci) && !msix_masked(&t->pci, 0) && msix_masked(&t->pci, 69));
    msix_notify(&t->pci, 0);
    msix_notify(&t->pci, 69);
    msix_notify(&t->pci, 70);
    msix_notify(&t->pci, 0xffff);
    expect("0:100 ");
    CHECK_EQ(rd32(r, table + pba + 8), 1u << 5);
    wr32(r, table + pba + 8, 0);
    CHECK_EQ(rd(r, table + pba, 8), 0);
    CHECK_EQ(rd32(r, table + pba + 8), 1u << 5);
    wr32(r, table + 69 * 16 + 12, 0);
    expect("114:145 ");
    CHECK_EQ(rd32(r, table + pba + 8), 0);
    /* The function's mask covers all; many become pending, each once. */
    wr(r, x + 2, 0xc000, 2);
    msix_notify(&t->pci, 69);
    msix_notify(&t->pci, 0);
    msix_notify(&t->pci, 0);
    expect("");
    wr(r, x + 2, 0x8000, 2);
    expect("0:100 114:145 ");
    command(f, MEM);
    msix_notify(&t->pci, 0);
    expect("");
    vm_reset(r->vm);
    CHECK(!msix_on(&t->pci));
    end_msi();
}

/* edu by MSI, and its DMA. */
static void test_edu(void)
{
    static const char *const args[] = { "edu,dma_mask=0xffffffff", NULL };
    start(args);
    uint64_t f = cfg(0, 1, 0, 0), m = f + cap(f, 5);

    messages = g_string_new(NULL);
    rig_must(msi_claim(r->vm, MSI_AT, 0x1000, got_message, &messages));
    wr32(r, f + 0x10, MMIO);
    command(f, MEM | MASTER);
    wr32(r, MMIO + 8, 5);
    CHECK_EQ(rd32(r, MMIO + 8), 120);
    wr32(r, MMIO + 8, 0xffffffff);
    CHECK_EQ(rd32(r, MMIO + 8), 0);
    wr32(r, MMIO + 8, 0);
    CHECK_EQ(rd32(r, MMIO + 8), 1);
    wr32(r, m + 4, MSI_AT);
    wr(r, m + 0xc, 9, 2);
    wr(r, m + 2, 1, 2);
    wr32(r, MMIO + 0x20, 0x80);
    wr32(r, MMIO + 8, 3);
    expect("0:9 ");
    CHECK_EQ(rd32(r, MMIO + 0x24), 1);
    wr32(r, MMIO + 0x64, 1);
    /* To the device and back. */
    wr(r, VIRT_RAM + 0x1000, UINT64_C(0x1122334455667788), 8);
    wr(r, MMIO + 0x80, VIRT_RAM + 0x1000, 8);
    wr(r, MMIO + 0x88, 0x40010, 8);
    wr(r, MMIO + 0x90, 8, 8);
    wr(r, MMIO + 0x98, 1, 8);
    rig_turn(r, 2);
    CHECK_EQ(rd(r, MMIO + 0x98, 8), 0);
    wr32(r, MMIO + 0x80, 0x40010);
    wr32(r, MMIO + 0x84, 0);
    wr32(r, MMIO + 0x88, VIRT_RAM + 0x2000);
    wr32(r, MMIO + 0x98, 7);
    rig_turn(r, 2);
    CHECK_EQ(rd(r, VIRT_RAM + 0x2000, 8), UINT64_C(0x1122334455667788));
    expect("0:9 ");
    CHECK_EQ(rd32(r, MMIO + 0x24), 0x100);
    /* Beyond the buffer, into a device, without Bus Master Enable: nothing happens. */
    const struct { uint64_t src, dst, n; uint16_t command; } wrong[] = {
        { 0x40ff9, VIRT_RAM + 0x2000, 8, MEM | MASTER }, { 0x40000, VIRT_RAM + 0x2000, UINT64_MAX, MEM | MASTER },
        { 0x3ffff, VIRT_RAM + 0x2000, 8, MEM | MASTER }, { 0x40010, VIRT_TEST, 8, MEM | MASTER },
        { 0x40010, MMIO, 8, MEM | MASTER }, { 0x40018, VIRT_RAM + 0x2000, 8, MEM },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        command(f, wrong[i].command);
        wr(r, MMIO + 0x80, wrong[i].src, 8);
        wr(r, MMIO + 0x88, wrong[i].dst, 8);
        wr(r, MMIO + 0x90, wrong[i].n, 8);
        wr(r, MMIO + 0x98, 3, 8);
        CHECK(rig_turn(r, 1));
        CHECK_EQ(rd(r, MMIO + 0x98, 8), 2);
        CHECK_EQ(rd(r, VIRT_RAM + 0x2000, 8), UINT64_C(0x1122334455667788));
    }
    end_msi();
}

/* ---- bridges */

static void test_bridge(void)
{
    START("pcie-root-port,id=p,addr=2", "pcie-pci-bridge,id=b,bus=p", "pci-bridge,id=c,bus=b,chassis_nr=3,addr=9", "edu,bus=c,addr=4",
          "x3130-upstream,id=up,addr=3", "xio3130-downstream,id=down,bus=up,addr=2", "edu,bus=down", "i82801b11-bridge,addr=4",
          "ioh3420,addr=5,id=i");
    uint64_t p = cfg(0, 2, 0, 0), b = cfg(1, 0, 0, 0), c = cfg(2, 9, 0, 0), e = cfg(7, 4, 0, 0), at = MMIO + 0x500000;

    CHECK_EQ(rd(r, p + 0xe, 1), 1);
    CHECK_EQ(rd32(r, b), 0xffffffff);                   /* no bus numbers yet */
    wr32(r, p + 0x18, 0x00070100);
    CHECK_EQ(rd32(r, b), 0x000e1b36);
    CHECK_EQ(rd32(r, cfg(1, 1, 0, 0)), 0xffffffff);
    wr32(r, b + 0x18, 0x00070201);
    CHECK_EQ(rd32(r, c), 0x00011b36);
    CHECK_EQ(rd32(r, c + 0x100), 0xffffffff);
    wr32(r, c + 0x18, 0x00070702);
    CHECK_EQ(rd32(r, e), 0x11e81234);
    wr32(r, e + 0x10, at);
    command(e, MEM);
    CHECK_EQ(rd32(r, at), 0xffffffff);
    /* The BAR is seen when every window lets it through: memory, prefetchable memory, either. */
    uint32_t narrow = at >> 16 | at, wide = MMIO >> 16 | (MMIO + 0x700000);
    wr32(r, c + 0x20, narrow);
    command(c, MEM);
    wr32(r, p + 0x20, wide);
    command(p, MEM);
    CHECK_EQ(rd32(r, at), 0xffffffff);
    wr32(r, b + 0x24, narrow);
    command(b, MEM);
    CHECK_EQ(rd32(r, at), 0x010000ed);
    command(b, IO);
    CHECK_EQ(rd32(r, at), 0xffffffff);
    command(b, MEM);
    CHECK_EQ(rd32(r, at), 0x010000ed);
    wr32(r, c + 0x20, (at + 0x100000) >> 16 | (at + 0x100000));
    CHECK_EQ(rd32(r, at), 0xffffffff);
    wr32(r, c + 0x20, narrow);
    wr32(r, at + 4, 7);
    /* Secondary Bus Reset forgets what is below. */
    wr(r, p + 0x3e, 0x40, 2);
    CHECK_EQ(rd32(r, at), 0xffffffff);
    CHECK_EQ(rd32(r, c), 0xffffffff);
    wr(r, p + 0x3e, 0, 2);
    CHECK_EQ(rd32(r, b + 0x18), 0);
    CHECK_EQ(rd32(r, p + 0x18) & 0xffffff, 0x070100);
    /* A switch: numbers out of order lead nowhere, and no search goes on for ever. */
    wr32(r, cfg(0, 3, 0, 0x18), 0x00090800);
    wr32(r, cfg(8, 2, 0, 0x18), 0x00090908);
    CHECK_EQ(rd32(r, cfg(9, 0, 0, 0)), 0x11e81234);
    wr32(r, cfg(8, 2, 0, 0x18), 0x00080808);
    CHECK_EQ(rd32(r, cfg(9, 0, 0, 0)), 0xffffffff);
    wr32(r, cfg(0, 3, 0, 0x18), 0x00ff0000);
    CHECK_EQ(rd32(r, cfg(9, 0, 0, 0)), 0xffffffff);
    CHECK_EQ(rd(r, cfg(0, 4, 0, 9), 1), 1);             /* subtractive decode */
    CHECK_EQ(rd32(r, cfg(0, 5, 0, 0)), 0x34208086);
    CHECK(cap(cfg(0, 5, 0, 0), 5) && !cap(cfg(0, 5, 0, 0), 0x11));
    end();
}

static void test_express(void)
{
    START("pcie-root-port,id=p,addr=2", "pcie-pci-bridge,id=b,addr=3", "pcie-root-port,id=q,io-reserve=4k,bus-reserve=2,pref64-reserve=8g");
    PciBus *p = (PciBus *)bus_find(r->vm, "p"), *b = (PciBus *)bus_find(r->vm, "b");
    Toy *below = toy_on(p, NULL), *plain = toy_on(b, NULL), *integrated = toy_on(root, "9");
    uint64_t f = cfg(1, 0, 0, 0);

    wr32(r, cfg(0, 2, 0, 0x18), 0x00010100);
    wr32(r, cfg(0, 3, 0, 0x18), 0x00020200);
    /* The slot has no power yet: the toy came while the machine ran. */
    CHECK_EQ(rd32(r, f), 0xffffffff);
    uint64_t slot = cfg(0, 2, 0, 0) + cap(cfg(0, 2, 0, 0), 0x10);
    wr(r, slot + 0x18, 0x1c0, 2);
    CHECK_EQ(rd32(r, f), 0x56781234);
    CHECK_EQ(rd(r, f + cap(f, 0x10) + 2, 2), 0x02);
    CHECK_EQ(rd32(r, f + 0x100), 0);                    /* extended space, without capabilities */
    CHECK_EQ(rd(r, cfg(0, 9, 0, 0) + cap(cfg(0, 9, 0, 0), 0x10) + 2, 2), 0x92);
    CHECK_EQ(rd32(r, cfg(2, 1, 0, 0)), 0x56781234);
    CHECK_EQ(cap(cfg(2, 1, 0, 0), 0x10), 0);
    CHECK_EQ(rd32(r, cfg(2, 1, 0, 0x100)), 0xffffffff);
    CHECK_EQ(rd(r, cfg(0, 2, 0, 0x100), 2), 0x0d);      /* ACS of the port */
    /* Function Level Reset, where it is a bit. */
    unsigned was = below->resets;
    wr(r, f + 0x3c, 0x77, 1);
    wr(r, f + cap(f, 0x10) + 8, 0x8000, 2);
    CHECK_EQ(below->resets, was + 1);
    CHECK_EQ(rd(r, f + 0x3c, 1), 0);
    CHECK_EQ(rd(r, f + cap(f, 0x10) + 8, 2), 0);
    wr32(r, f + cap(f, 0x10) + 8, 0x00008000);
    CHECK_EQ(below->resets, was + 2);
    wr(r, f + cap(f, 0x10) + 10, 0x8000, 2);
    CHECK_EQ(below->resets, was + 2);
    (void)plain, (void)integrated;
    /* What firmware shall set aside. */
    uint64_t v = cfg(0, 1, 0, 0) + cap(cfg(0, 1, 0, 0), 9);
    CHECK_EQ(rd32(r, v) >> 16, 0x0120);
    CHECK_EQ(rd32(r, v + 4), 2);
    CHECK_EQ(rd(r, v + 8, 8), 4096);
    CHECK_EQ(rd32(r, v + 16), 0xffffffff);
    CHECK_EQ(rd(r, v + 24, 8), UINT64_C(8) << 30);
    CHECK_EQ(cap(cfg(0, 2, 0, 0), 9), 0);
    char *path = pci_boot_path(&below->pci, "scsi");
    CHECK_STR(path, "/pci@i0cf8/pci-bridge@2/scsi@0");
    g_free(path);
    end();
}

/* ---- hotplug */

enum { CTL = 0x18, STA = 0x1a, ABP = 1, PDC = 8, CC = 0x10, PDS = 0x40, DLLSC = 0x100, POWER_OFF = 0x400,
       LED_ON = 0x100, LED_BLINK = 0x200, LED_OFF = 0x300, ENABLES = 0x1031 /* button, completed, HPIE, link */ };
static uint64_t slot_at;
static GString *deleted;

static void note_deleted(void *opaque, const char *id) { g_string_append_printf(deleted, "%s ", id ? id : "-"); }
static uint16_t sta(void) { return rd(r, slot_at + STA, 2); }
static void ctl(uint16_t val) { wr(r, slot_at + CTL, val, 2); }
static void ack(void) { wr(r, slot_at + STA, sta(), 2); }

static void start_slot(const char *more)
{
    const char *const args[] = { "pcie-root-port,id=p,addr=2,slot=7", more, NULL };

    start(args);
    messages = g_string_new(NULL);
    deleted = g_string_new(NULL);
    rig_must(msi_claim(r->vm, MSI_AT, 0x1000, got_message, &messages));
    device_on_deleted(r->vm, note_deleted, NULL);
    uint64_t p = cfg(0, 2, 0, 0), x = p + cap(p, 0x11);
    slot_at = p + cap(p, 0x10);
    wr32(r, p + 0x18, 0x00010100);
    wr32(r, p + 0x10, MMIO + 0x10000);
    wr32(r, p + 0x20, MMIO >> 16 | MMIO);
    command(p, MEM | MASTER);
    wr(r, MMIO + 0x10000, MSI_AT, 8);
    wr32(r, MMIO + 0x10008, 0xab);
    wr32(r, MMIO + 0x1000c, 0);
    wr(r, x + 2, 0x8000, 2);
}

static void end_slot(void)
{
    g_string_free(deleted, true);
    end_msi();
}

static void test_slot(void)
{
    start_slot("edu,id=cold,bus=p");
    uint64_t f = cfg(1, 0, 0, 0), at = MMIO;
    uint32_t slotcap = rd32(r, slot_at + 0x14);

    CHECK_EQ(slotcap >> 19, 7);
    CHECK_EQ(slotcap & 0x7f, 0x7b);
    CHECK_EQ(rd(r, slot_at + CTL, 2) & 0x7c0, 0x1c0);       /* power on, its indicator too, attention off */
    CHECK_EQ(sta(), PDS);
    CHECK_EQ(rd(r, slot_at + 0x12, 2) & 0x2000, 0x2000);
    CHECK_EQ(rd32(r, f), 0x11e81234);
    wr32(r, f + 0x10, at);
    command(f, MEM);
    ctl(0x1c0 | ENABLES);
    expect("0:ab ");                                        /* the command completed */
    ack();
    CHECK_EQ(sta(), PDS);

    /* device_del: the button; asking again at once is refused. */
    rig_must(device_del(r->vm, "cold"));
    expect("0:ab ");
    CHECK_EQ(sta(), PDS | ABP);
    CHECK(rig_says(device_del(r->vm, "cold"), "five seconds"));
    ack();
    ctl(0xc0 | LED_BLINK | ENABLES);
    CHECK(rig_says(device_del(r->vm, "cold"), "blinks"));
    ack();
    g_string_truncate(messages, 0);
    CHECK_EQ(rd32(r, at), 0x010000ed);
    ctl(0xc0 | LED_BLINK | POWER_OFF | ENABLES);
    CHECK_EQ(rd32(r, f), 0xffffffff);
    CHECK_EQ(rd32(r, at), 0xffffffff);
    CHECK_EQ(sta(), PDS | CC | DLLSC);
    CHECK_EQ(rd(r, slot_at + 0x12, 2) & 0x2000, 0);
    expect("0:ab ");
    ack();
    CHECK_STR(deleted->str, "");
    ctl(0xc0 | LED_OFF | POWER_OFF | ENABLES);
    CHECK_EQ(sta(), CC | PDC);
    settle();
    CHECK_STR(deleted->str, "cold ");
    CHECK(!device_find(r->vm, "cold"));
    ack();
    g_string_truncate(messages, 0);

    /* A card comes: present, button; it answers when it has power. */
    rig_must(device_add(r->vm, "edu,id=hot,bus=p"));
    expect("0:ab ");
    CHECK_EQ(sta(), PDS | PDC | ABP);
    CHECK_EQ(rd32(r, f), 0xffffffff);
    ack();
    ctl(0xc0 | LED_BLINK | ENABLES);
    CHECK_EQ(sta(), PDS | CC | DLLSC);
    CHECK_EQ(rd32(r, f), 0x11e81234);
    wr32(r, f + 0x10, at);
    command(f, MEM);
    CHECK_EQ(rd32(r, at), 0x010000ed);
    ctl(0xc0 | LED_ON | ENABLES);
    ack();
    CHECK(rig_says(device_add(r->vm, "edu,bus=p,addr=0.1"), "multifunction"));
    CHECK(rig_says(device_add(r->vm, "edu,bus=p"), "no place"));
    CHECK(rig_says(device_add(r->vm, "edu,bus=pcie.0"), "while the machine runs"));

    /* Unasked, the guest may take power away and give it again: the card forgot. */
    wr32(r, at + 4, 1);
    ctl(0xc0 | LED_OFF | POWER_OFF | ENABLES);
    CHECK_EQ(sta() & PDS, PDS);
    ctl(0xc0 | LED_ON | ENABLES);
    CHECK_EQ(rd32(r, f), 0x11e81234);
    CHECK_EQ(rd(r, f + COMMAND, 2), 0);
    ack();
    /* A guest that never reacts: five seconds later one may ask again; a reset takes it away. */
    rig_must(device_del(r->vm, "hot"));
    vm_reset(r->vm);
    settle();
    CHECK(!device_find(r->vm, "hot"));
    CHECK_EQ(rd32(r, cfg(0, 2, 0, 0x18)), 0);
    end_slot();
}

/* By INTx, without a power controller, and with several functions. */
static void test_slot_more(void)
{
    START("pcie-root-port,id=p,addr=3,power_controller_present=off", "pcie-root-port,id=no,hotplug=off", "edu,id=fixed,bus=no");
    uint64_t p = cfg(0, 3, 0, 0);

    slot_at = p + cap(p, 0x10);
    wr32(r, p + 0x18, 0x00010100);
    CHECK_EQ(rd32(r, slot_at + 0x14) & 0x7f, 0x79);
    CHECK_EQ(rd32(r, cfg(0, 1, 0, 0) + cap(cfg(0, 1, 0, 0), 0x10) + 0x14) & 0x7f, 0);
    ctl(0x3c0 | ENABLES);
    CHECK(still(VIRT_PCI_IRQ + 3));
    ack();
    CHECK(!still(VIRT_PCI_IRQ + 3));
    rig_must(device_add(r->vm, "edu,id=f1,bus=p,addr=0.1"));
    CHECK_EQ(sta() & PDC, 0);
    rig_must(device_add(r->vm, "edu,id=f0,bus=p,addr=0.0,multifunction=on"));
    CHECK_EQ(sta() & (PDC | PDS | DLLSC), PDC | PDS | DLLSC);
    CHECK(still(VIRT_PCI_IRQ + 3));
    ack();
    CHECK_EQ(rd32(r, cfg(1, 0, 1, 0)), 0x11e81234);
    ctl(0x1c0 | ENABLES);
    rig_must(device_del(r->vm, "f1"));
    ctl(0x3c0 | ENABLES);
    settle();
    CHECK(!device_find(r->vm, "f0") && !device_find(r->vm, "f1"));
    CHECK_EQ(sta() & PDS, 0);
    CHECK(rig_says(device_del(r->vm, "fixed"), "cannot be unplugged"));
    /* Function 1 alone was never shown to the guest. */
    rig_must(device_add(r->vm, "edu,id=f1,bus=p,addr=0.1"));
    rig_must(device_del(r->vm, "f1"));
    settle();
    CHECK(!device_find(r->vm, "f1"));
    end();
}

static uint64_t seed = UINT64_C(88172645463325252);
static uint64_t rnd(uint64_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return n ? seed % n : seed;
}

/* Users and guests in any order, a thousand cards. */
static void test_cycles(void)
{
    unsigned plugs = 0, turns = 0;

    start_slot(NULL);
    while (plugs < 1000 && turns++ < 100000) {
        Err *e = NULL;

        switch (rnd(8)) {
        case 0: case 1:
            e = device_add(r->vm, "edu,id=x,bus=p");
            plugs += !e;
            break;
        case 2: case 3:
            e = device_del(r->vm, "x");
            break;
        case 4:
            ctl(rnd(0x2000));
            break;
        case 5:
            ctl(rnd(2) ? 0xc0 | LED_OFF | POWER_OFF | ENABLES : 0xc0 | LED_ON | ENABLES);
            break;
        case 6:
            ack();
            wr32(r, cfg(1, 0, 0, 0x10), MMIO);
            command(cfg(1, 0, 0, 0), rnd(8));
            break;
        case 7:
            if (rnd(2))
                settle();
            else
                rig_work(r);
            if (!rnd(50))
                vm_reset(r->vm);
            break;
        }
        err_free(e);
    }
    CHECK_EQ(plugs, 1000);
    printf("%u cards in %u turns\n", plugs, turns);
    end_slot();
}

/* Any writes anywhere in configuration space, and accesses to the windows; then a reset makes it whole. */
static void test_nonsense(void)
{
    START("edu", "edu,addr=3.0,multifunction=on", "edu,addr=3.1", "pcie-root-port,id=p,addr=4", "pcie-pci-bridge,id=b,bus=p", "edu,bus=b",
          "pcie-root-port,id=q,addr=5", "edu,bus=q", "ioh3420,addr=6");
    Toy *t = toy_on(root, "7");
    static const uint8_t hot[] = { 4, 0x10, 0x14, 0x18, 0x19, 0x1a, 0x1c, 0x20, 0x22, 0x24, 0x26, 0x28, 0x2c, 0x30, 0x3e };

    for (int i = 0; i < 60000; i++) {
        unsigned size = 1 << rnd(3);
        unsigned reg = rnd(2) ? rnd(0x200) : hot[rnd(sizeof(hot))];
        uint64_t a = cfg(rnd(4), rnd(9), rnd(3) ? 0 : rnd(8), reg & ~(size - 1));
        /* Often values that lead somewhere. */
        uint64_t val = rnd(3) ? rnd(2) ? rnd(8) : MMIO + rnd(16) * 0x100000 : rnd(0);

        if (reg >= 0x18 && reg < 0x20 && rnd(2))
            val = 0x00030100 + rnd(4) * 0x100;
        wr(r, a, val, size);
        rd(r, a, size);
        if (!rnd(8)) {
            uint64_t m = rnd(2) ? MMIO + rnd(16) * 0x100000 + (rnd(0x1000) & ~7) : VIRT_PCI_PIO + (rnd(0x10000) & ~7);

            rd(r, m, 8);
            wr(r, m, rnd(0), 8);
        }
        if (!rnd(64)) {
            pci_intx(&t->pci, rnd(2));
            msi_notify(&t->pci, rnd(5));
            msix_notify(&t->pci, rnd(72));
        }
        if (!rnd(500))
            rig_turn(r, 0);
    }
    vm_reset(r->vm);
    CHECK_EQ(rd32(r, cfg(0, 1, 0, 0)), 0x11e81234);
    CHECK_EQ(rd(r, cfg(0, 1, 0, COMMAND), 2), 0);
    CHECK_EQ(rd32(r, cfg(0, 4, 0, 0x18)), 0);
    char *map = space_print(r->vm->mem);
    CHECK(!strstr(map, "edu") && !strstr(map, "toy") && !strstr(map, "msi-x"));
    g_free(map);
    end();
}

int main(void)
{
    RUN(test_config);
    RUN(test_bars);
    RUN(test_bars_kinds);
    RUN(test_overlap);
    RUN(test_places);
    RUN(test_rom);
    RUN(test_intx);
    RUN(test_msi);
    RUN(test_msix);
    RUN(test_edu);
    RUN(test_bridge);
    RUN(test_express);
    RUN(test_slot);
    RUN(test_slot_more);
    RUN(test_cycles);
    RUN(test_nonsense);
    return test_end();
}
