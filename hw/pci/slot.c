/* SPDX-License-Identifier: MIT */
/*
 * The slot of a port: PCI Express Base 4.0 sections 6.7 (hot-plug) and 7.5.3.9
 * to 7.5.3.11. Without a latch and without an interlock; commands complete at
 * once.
 *
 *   a device comes      -> present, attention button -> the guest gives power -> link active
 *   device_del          -> attention button -> the guest takes power away and turns the
 *                          power indicator off -> the device is gone, not present
 *
 * A second press within five seconds means "never mind", so device_del refuses to
 * make one. Who takes power away unasked finds the same device when it gives it again.
 */
#include "hw/core/board.h"
#include "hw/pci/pci-priv.h"

enum {
    CAP_BUTTON = 1, CAP_POWER = 2, CAP_ATTENTION_LED = 8, CAP_POWER_LED = 0x10, CAP_SURPRISE = 0x20, CAP_HOTPLUG = 0x40,
    CAP_NUMBER = 19,
    /* Slot Control: enables are the bits of the events */
    CTL_EVENTS = 0x1f, CTL_HPIE = 0x20, CTL_ATTENTION_LED = 0xc0, CTL_POWER_LED = 0x300, CTL_POWER_OFF = 0x400,
    CTL_LINK = 0x1000, LED_ON = 1, LED_BLINK = 2, LED_OFF = 3, ATTENTION_LED = 6, POWER_LED = 8,
    /* Slot Status */
    STA_BUTTON = 1, STA_FAULT = 2, STA_LATCH = 4, STA_PRESENCE = 8, STA_COMPLETED = 0x10, STA_PRESENT = 0x40, STA_LINK = 0x100,
    STA_EVENTS = STA_BUTTON | STA_FAULT | STA_LATCH | STA_PRESENCE | STA_COMPLETED | STA_LINK,
    SLOT_NUMBER_MAX = 0x1fff,
};
#define ABORT_NS INT64_C(5000000000)

static uint8_t *reg(PciPort *p, unsigned r)
{
    return p->bridge.pci.config + p->bridge.pci.exp_cap + r;
}

static uint16_t status(PciPort *p)
{
    return pci_get16(reg(p, E_SLTSTA));
}

static PciPort *port_of(PciBus *b)
{
    return (PciPort *)b->bridge;
}

static bool occupied(const PciBus *b)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(b->functions); i++) {
        if (b->functions[i])
            return true;
    }
    return false;
}

/* ---- interrupts */

/* Section 6.7.3.4: a message when the first enabled event comes; the line while there is one. */
static void update_irq(PciPort *p)
{
    PciDevice *d = &p->bridge.pci;
    uint16_t ctl = pci_get16(reg(p, E_SLTCTL)), sta = status(p);
    uint16_t enabled = (ctl & CTL_EVENTS) | (ctl & CTL_LINK ? STA_LINK : 0);
    bool cause = ctl & CTL_HPIE && sta & STA_EVENTS & enabled, first = cause && !p->cause;

    p->cause = cause;
    if (msix_on(d) && first)
        msix_notify(d, 0);
    else if (msi_on(d) && first)
        msi_notify(d, 0);
    pci_intx(d, cause && !msix_on(d) && !msi_on(d));
}

static void event(PciPort *p, uint16_t bits)
{
    pci_set16(reg(p, E_SLTSTA), status(p) | bits);
    update_irq(p);
}

/* ---- power and link */

static bool powered(PciPort *p)
{
    return !p->has_power || !(pci_get16(reg(p, E_SLTCTL)) & CTL_POWER_OFF);
}

static unsigned power_led(uint16_t control)
{
    return (control & CTL_POWER_LED) >> POWER_LED;
}

/* The link is up if there is power and somebody to talk to. True: that changed. */
static bool update_link(PciPort *p)
{
    bool up = powered(p) && occupied(&p->bridge.bus);
    uint16_t was = pci_get16(reg(p, E_LNKSTA));
    uint16_t now = up ? was | LNKSTA_ACTIVE : was & ~LNKSTA_ACTIVE;

    pci_set16(reg(p, E_LNKSTA), now);
    p->bridge.bus.off = !powered(p);
    return was != now;
}

static void reset_function(PciDevice *d)
{
    device_reset(&d->dev);
    if (d->secondary)
        pci_each(d->secondary, reset_function);
}

/* All functions leave; function 0 last, since it stands for them. */
static void unplug_all(PciBus *b)
{
    for (unsigned i = G_N_ELEMENTS(b->functions); i-- > 0;) {
        if (b->functions[i])
            device_unplug(&b->functions[i]->dev);
    }
}

static bool is_leaving(const PciBus *b)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(b->functions); i++) {
        if (b->functions[i] && b->functions[i]->dev.leaving)
            return true;
    }
    return false;
}

/* No power, and the indicator says that the card may be pulled. */
static bool may_pull(const PciPort *p, uint16_t control)
{
    return (!p->has_power || control & CTL_POWER_OFF) && power_led(control) == LED_OFF;
}

static void control_written(PciPort *p)
{
    PciBus *b = &p->bridge.bus;
    uint16_t was = p->control, now = pci_get16(reg(p, E_SLTCTL));
    uint16_t news = STA_COMPLETED;

    p->control = now;
    if (p->has_power && (was ^ now) & CTL_POWER_OFF) {
        if (now & CTL_POWER_OFF)
            pci_each(b, reset_function);        /* what has no power forgets */
        if (update_link(p))
            news |= STA_LINK;
    }
    /* Only when it comes to that: some write to an empty or forgotten slot's control first. */
    if (may_pull(p, now) && !may_pull(p, was) && is_leaving(b))
        unplug_all(b);
    event(p, news);
}

/* ---- what guests write */

void pci_slot_written(PciDevice *d, unsigned off, unsigned len)
{
    PciPort *p = (PciPort *)d;

    if (!p->hotplug)
        return;
    if (pci_touches(off, len, d->exp_cap + E_SLTCTL, 2))
        control_written(p);
    /* Status bits were cleared, or MSI was switched on or off. */
    update_irq(p);
}

/* ---- what users do */

static Err *slot_plug(PciBus *b, PciDevice *d)
{
    if (d->dev.hotplugged && pci_fn(d) && b->functions[0])
        return err_hint(err(ERR_INVALID, "function %u comes too late: the guest looks for functions when function 0 comes",
                            pci_fn(d)), "Add function 0 as the last one.");
    return NULL;
}

/* Function 0 says that all are there. Before the machine runs the reset says it. */
static void slot_plugged(PciBus *b, PciDevice *d)
{
    PciPort *p = port_of(b);

    if (!d->dev.hotplugged || pci_fn(d))
        return;
    pci_set16(reg(p, E_SLTSTA), status(p) | STA_PRESENT);
    bool link = update_link(p);
    event(p, STA_PRESENCE | STA_BUTTON | (link ? STA_LINK : 0));
}

static void slot_unplugged(PciBus *b, PciDevice *d)
{
    PciPort *p = port_of(b);

    if (occupied(b))
        return;
    pci_set16(reg(p, E_SLTSTA), status(p) & ~STA_PRESENT);
    bool link = update_link(p);
    event(p, STA_PRESENCE | (link ? STA_LINK : 0));
}

static Err *slot_ask_unplug(PciBus *b, PciDevice *d)
{
    PciPort *p = port_of(b);
    int64_t now = clock_now(d->dev.vm, CLOCK_GUEST);

    /* Nobody has seen it, or uses it any more. */
    if (!b->functions[0] || !powered(p)) {
        unplug_all(b);
        return NULL;
    }
    if (power_led(p->control) == LED_BLINK)
        return err_hint(err(ERR_BUSY, "the guest is busy with the slot: its power indicator blinks"), "Try again in some seconds.");
    if (d->dev.leaving && now < p->asked + ABORT_NS)
        return err_hint(err(ERR_BUSY, "the guest was asked already; to ask again within five seconds would mean to let it be"),
                        "Try again in some seconds.");
    p->asked = now;
    for (unsigned i = 0; i < G_N_ELEMENTS(b->functions); i++) {
        if (b->functions[i])
            b->functions[i]->dev.leaving = true;
    }
    event(p, STA_BUTTON);
    return NULL;
}

static const PciSlotOps slot_ops = {
    .plug = slot_plug, .plugged = slot_plugged, .ask_unplug = slot_ask_unplug, .unplugged = slot_unplugged,
};

/* ---- life */

Err *pci_slot_make(PciPort *p)
{
    PciDevice *d = &p->bridge.pci;
    uint8_t *flags = d->config + d->exp_cap + E_FLAGS;
    unsigned at = d->exp_cap;

    if (p->slot > SLOT_NUMBER_MAX)
        return err(ERR_INVALID, "slot=%u: it is at most %d", p->slot, SLOT_NUMBER_MAX);
    pci_set16(flags, pci_get16(flags) | FLAGS_SLOT);
    pci_set32(reg(p, E_SLTCAP), (uint32_t)p->slot << CAP_NUMBER);
    d->config_written = pci_slot_written;
    if (!p->hotplug)
        return NULL;
    pci_set32(reg(p, E_SLTCAP), (uint32_t)p->slot << CAP_NUMBER | CAP_BUTTON | (p->has_power ? CAP_POWER : 0) |
              CAP_ATTENTION_LED | CAP_POWER_LED | CAP_SURPRISE | CAP_HOTPLUG);
    pci_set16(d->wmask + at + E_SLTCTL, CTL_EVENTS | CTL_HPIE | CTL_ATTENTION_LED | CTL_POWER_LED | CTL_LINK |
              (p->has_power ? CTL_POWER_OFF : 0));
    pci_set16(d->w1c + at + E_SLTSTA, STA_EVENTS);
    pci_set32(reg(p, E_LNKCAP), pci_get32(reg(p, E_LNKCAP)) | LNKCAP_ACTIVE);
    p->bridge.bus.slot = &slot_ops;
    p->bridge.bus.bus.hotplug = true;
    return NULL;
}

/* Registers are what they were; whether the slot's devices answer follows from its power. */
void pci_slot_loaded(PciPort *p)
{
    uint16_t ctl = pci_get16(reg(p, E_SLTCTL));
    uint16_t enabled = (ctl & CTL_EVENTS) | (ctl & CTL_LINK ? STA_LINK : 0);

    p->control = ctl;
    p->cause = ctl & CTL_HPIE && status(p) & STA_EVENTS & enabled;
    p->bridge.bus.off = !powered(p);
    pci_remap(&p->bridge.pci);
}

/* Who was to go goes now; what is there has power, an empty slot has none. */
void pci_slot_reset(PciPort *p)
{
    PciBus *b = &p->bridge.bus;

    if (is_leaving(b))
        unplug_all(b);
    bool there = occupied(b);
    pci_set16(reg(p, E_SLTSTA), there ? STA_PRESENT : 0);
    if (p->hotplug)
        pci_set16(reg(p, E_SLTCTL), LED_OFF << ATTENTION_LED | (there ? LED_ON : LED_OFF) << POWER_LED |
                  (!there && p->has_power ? CTL_POWER_OFF : 0));
    p->control = pci_get16(reg(p, E_SLTCTL));
    p->cause = false;
    p->asked = -ABORT_NS;
    update_link(p);
}
