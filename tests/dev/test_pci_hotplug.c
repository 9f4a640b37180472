/* SPDX-License-Identifier: MIT */
/*
 * The slot of a root port: PCI Express Base 4.0, section 6.7, played by a guest
 * that does as it should, and by one that does not.
 */
#include "tests/dev/pci-rig.h"

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

/* Users and guests in any order, a thousand cards of several kinds. */
static void test_cycles(void)
{
    static const char *const kinds[] = { "edu", "virtio-rng-pci", "virtio-serial-pci", "virtio-balloon-pci", "pcie-pci-bridge", "i6300esb" };
    unsigned plugs = 0, turns = 0;

    start_slot(NULL);
    while (plugs < 1000 && turns++ < 100000) {
        g_autofree char *card = g_strdup_printf("%s,id=x,bus=p", kinds[rnd(G_N_ELEMENTS(kinds))]);
        Err *e = NULL;

        switch (rnd(8)) {
        case 0: case 1:
            e = device_add(r->vm, card);
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

int main(void)
{
    RUN(test_slot);
    RUN(test_slot_more);
    RUN(test_cycles);
    return test_end();
}
