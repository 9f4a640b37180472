/* SPDX-License-Identifier: MIT */
/*
 * Interrupts of PCI functions: INTx through bridges and shared, MSI, MSI-X with
 * their masks and pending bits (PCI Local Bus 3.0, 6.8), edu with its DMA.
 */
#include "tests/dev/pci-rig.h"

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

int main(void)
{
    RUN(test_intx);
    RUN(test_msi);
    RUN(test_msix);
    RUN(test_edu);
    return test_end();
}
