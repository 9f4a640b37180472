/* SPDX-License-Identifier: MIT */
/*
 * PCI as firmware and kernels use it: who is there, how large BARs are, where
 * they show, ROMs, bridges, nonsense. Expected values come from the PCI Local Bus
 * 3.0, PCI-to-PCI Bridge 1.2 and PCI Express Base 4.0 specifications.
 */
#include "hw/core/boot_order.h"
#include "tests/dev/pci-rig.h"

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
    char *path = boot_order_path(&below->pci.dev);
    CHECK_STR(path, "/pci@i0cf8/pci-bridge@2/pci@0");
    g_free(path);
    end();
}

/* Ports begin with 0, and a BAR may be there; memory at 0 is no place. */
static void test_port_zero(void)
{
    START("virtio-rng-pci,disable-legacy=off");
    uint64_t f = cfg(0, 1, 0, 0);
    uint64_t val;

    CHECK_EQ(rd32(r, f), 0x10051af4);
    CHECK_EQ(rd32(r, f + 0x10), 1);
    wr(r, f + 4, 1, 2);
    wr(r, VIRT_PCI_PIO + 18, 1, 1);                         /* its status register */
    CHECK_EQ(rd(r, VIRT_PCI_PIO + 18, 1), 1);
    wr(r, f + 4, 2, 2);
    CHECK_EQ(space_io(r->vm->mem, VIRT_PCI_PIO + 18, &val, 1, false), MEM_OK);
    CHECK_EQ(val, 0xff);
    end();
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
    char *map = space_print(r->vm->mem, NULL, NULL);
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
    RUN(test_bridge);
    RUN(test_express);
    RUN(test_port_zero);
    RUN(test_nonsense);
    return test_end();
}
