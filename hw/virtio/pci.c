/* SPDX-License-Identifier: MIT */
/*
 * virtio over PCI: virtio 1.2, section 4.1. The modern interface is a memory BAR of four
 * pages that capabilities point into; the legacy one (4.1.4.10) an I/O BAR. A transitional
 * function has both, and the first to be written after a reset is the one in use.
 *
 *   BAR 0 I/O, legacy   BAR 1 MSI-X   BAR 2 I/O, bells, if modern-pio-notify   BAR 4 memory, modern
 *
 * Bells and the interrupt status need no machine lock; the rest takes it.
 * Left out: shared memory regions, notification data, ATS.
 */
#include "hw/virtio/pci.h"

#include <stdatomic.h>
#include <string.h>

#include "util/log.h"

enum {
    BAR_LEGACY = 0, BAR_MSIX = 1, BAR_PIO = 2, BAR_MODERN = 4,
    AT_COMMON = 0x0000, AT_ISR = 0x1000, AT_CONFIG = 0x2000, AT_NOTIFY = 0x3000, AT_STEP = 0x1000,
    CAP_VENDOR = 9, CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_PCI_CFG = 5,
    CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_SIZE = 16, CAP_EXTRA = 16, CAP_LONG = 20,
    ISR_QUEUE = 1, ISR_CONFIG = 2, VENDOR = 0x1af4, LEGACY_PAGE = 4096,
};
/* Common configuration, 4.1.4.3. */
enum {
    C_DEVICE_FEATURES_SEL = 0x00, C_DEVICE_FEATURES = 0x04, C_DRIVER_FEATURES_SEL = 0x08, C_DRIVER_FEATURES = 0x0c,
    C_CONFIG_VECTOR = 0x10, C_NUM_QUEUES = 0x12, C_STATUS = 0x14, C_GENERATION = 0x15, C_QUEUE_SEL = 0x16, C_QUEUE_SIZE = 0x18,
    C_QUEUE_VECTOR = 0x1a, C_QUEUE_ENABLE = 0x1c, C_QUEUE_NOTIFY_OFF = 0x1e, C_QUEUE_DESC = 0x20, C_QUEUE_DRIVER = 0x28,
    C_QUEUE_DEVICE = 0x30, C_QUEUE_NOTIFY_DATA = 0x38, C_QUEUE_RESET = 0x3a, C_END = 0x3c,
};
/* Legacy registers. */
enum {
    L_DEVICE_FEATURES = 0x00, L_DRIVER_FEATURES = 0x04, L_QUEUE_PFN = 0x08, L_QUEUE_SIZE = 0x0c, L_QUEUE_SEL = 0x0e,
    L_QUEUE_NOTIFY = 0x10, L_STATUS = 0x12, L_ISR = 0x13, L_CONFIG_VECTOR = 0x14, L_QUEUE_VECTOR = 0x16, L_CONFIG = 0x14,
    L_CONFIG_MSIX = 0x18,
};

/* ---- interrupts: any thread */

static void update_line(VirtioPci *p, VirtioDevice *v)
{
    pthread_mutex_lock(&p->line);
    pci_intx(&p->pci, v->isr != 0);
    pthread_mutex_unlock(&p->line);
}

static void tell(VirtioPci *p, uint16_t vector, uint8_t bit)
{
    VirtioDevice *v = p->bus.device;

    if (!v)
        return;                         /* unplugged */
    if (msix_on(&p->pci)) {
        if (vector != VIRTIO_NO_VECTOR)
            msix_notify(&p->pci, vector);
    } else if (!(atomic_fetch_or(&v->isr, bit) & bit)) {
        update_line(p, v);
    }
}

static void notify(void *opaque, unsigned queue)
{
    VirtioPci *p = opaque;

    tell(p, p->queue_vectors[queue], ISR_QUEUE);
}

static void notify_config(void *opaque)
{
    VirtioPci *p = opaque;

    tell(p, p->config_vector, ISR_CONFIG);
}

static unsigned selected(void *opaque)
{
    return ((VirtioPci *)opaque)->queue_sel;
}

static const VirtioTransport transport = { .notify = notify, .notify_config = notify_config, .selected = selected, .legacy_ok = true };

static uint8_t take_isr(VirtioPci *p, VirtioDevice *v)
{
    uint8_t isr = atomic_exchange(&v->isr, 0);

    if (isr)
        update_line(p, v);
    return isr;
}

/* ---- what both interfaces do */

static void forget(VirtioPci *p)
{
    p->config_vector = VIRTIO_NO_VECTOR;
    for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
        p->queue_vectors[i] = VIRTIO_NO_VECTOR;
    p->driver_features = 0;
}

/* Without Bus Master Enable no ring is touched; old drivers of the legacy interface forget to set it. */
static void update_hold(VirtioPci *p, VirtioDevice *v)
{
    virtio_hold(v, VIRTIO_HOLD_BUS, !pci_may_dma(&p->pci) && !v->legacy);
}

static void use(VirtioPci *p, VirtioDevice *v, bool legacy)
{
    if (v->status || v->legacy == legacy)
        return;
    v->legacy = legacy;
    update_hold(p, v);
}

static void set_status(VirtioPci *p, VirtioDevice *v, uint8_t status)
{
    virtio_set_status(v, status);
    if (!status) {
        forget(p);
        update_line(p, v);
    }
}

/* A vector there is, or none. */
static uint16_t vector_of(const VirtioPci *p, uint32_t val)
{
    return val < p->vectors ? val : VIRTIO_NO_VECTOR;
}

static void ring(VirtioDevice *v, unsigned n)
{
    VirtQueue *q = virtio_queue(v, n);

    if (q)
        virtio_kick(q);
}

static bool lock(VirtioPci *p)
{
    if (vm_locked(p->pci.dev.vm))
        return false;
    vm_lock(p->pci.dev.vm);
    return true;
}

static void unlock(VirtioPci *p, bool locked)
{
    if (locked)
        vm_unlock(p->pci.dev.vm);
}

/* ---- the modern interface: common configuration */

static uint64_t address_of(const VirtQueue *q, unsigned reg)
{
    VirtqAddresses a;

    virtq_addresses(q, &a);
    return reg == C_QUEUE_DESC ? a.desc : reg == C_QUEUE_DRIVER ? a.avail : a.used;
}

/* The register that has this byte: its first byte, and its value. */
static uint64_t common_register(VirtioPci *p, VirtioDevice *v, unsigned off, unsigned *reg)
{
    const VirtQueue *q = virtio_queue(v, p->queue_sel);

    if (off >= C_QUEUE_DESC && off < C_QUEUE_NOTIFY_DATA) {
        *reg = off & ~7u;
        return q ? address_of(q, *reg) : 0;
    }
    *reg = off < C_CONFIG_VECTOR ? off & ~3u : off == C_GENERATION || off == C_STATUS ? off : off & ~1u;
    switch (*reg) {
    case C_DEVICE_FEATURES_SEL: return p->device_features_sel;
    case C_DEVICE_FEATURES:     return p->device_features_sel > 1 ? 0 : virtio_offered(v) >> 32 * p->device_features_sel;
    case C_DRIVER_FEATURES_SEL: return p->driver_features_sel;
    case C_DRIVER_FEATURES:     return p->driver_features_sel > 1 ? 0 : p->driver_features >> 32 * p->driver_features_sel;
    case C_CONFIG_VECTOR:       return p->config_vector;
    case C_NUM_QUEUES:          return v->n_queues;
    case C_STATUS:              return v->status;
    case C_GENERATION:          return v->generation;
    case C_QUEUE_SEL:           return p->queue_sel;
    case C_QUEUE_SIZE:          return q ? virtq_size(q) : 0;
    case C_QUEUE_VECTOR:        return q ? p->queue_vectors[p->queue_sel] : VIRTIO_NO_VECTOR;
    case C_QUEUE_ENABLE:        return q && virtq_enabled(q);
    case C_QUEUE_NOTIFY_OFF:    return p->queue_sel;
    default:                    return 0;
    }
}

static uint64_t common_read(VirtioPci *p, VirtioDevice *v, unsigned off, unsigned size)
{
    unsigned reg;

    if (off >= C_END)
        return 0;
    uint64_t val = common_register(p, v, off, &reg);
    return val >> 8 * (off - reg);
}

static void write_address(VirtQueue *q, unsigned off, uint32_t val)
{
    VirtqAddresses a;

    virtq_addresses(q, &a);
    uint64_t *at = off < C_QUEUE_DRIVER ? &a.desc : off < C_QUEUE_DEVICE ? &a.avail : &a.used;
    unsigned shift = off & 4 ? 32 : 0;
    *at = (*at & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)val << shift;
    virtq_set_addresses(q, &a);
}

static void write_queue(VirtioPci *p, VirtioDevice *v, VirtQueue *q, unsigned off, uint32_t val)
{
    switch (off) {
    case C_QUEUE_SIZE:
        if (!virtq_set_size(q, val) && log_on(LOG_GUEST_ERRORS))
            guest_error("virtio-pci: the size stays %u", virtq_size(q));
        break;
    case C_QUEUE_VECTOR:
        p->queue_vectors[p->queue_sel] = vector_of(p, val);
        break;
    case C_QUEUE_ENABLE:
        if (val == 1)
            virtq_enable(q);
        break;
    case C_QUEUE_RESET:
        if (val == 1 && virtio_has(v, VIRTIO_F_RING_RESET))
            virtq_reset(q);
        break;
    default:
        if (off >= C_QUEUE_DESC && off < C_QUEUE_NOTIFY_DATA && !(off & 3))
            write_address(q, off, val);
    }
}

static void common_write(VirtioPci *p, VirtioDevice *v, unsigned off, uint32_t val)
{
    VirtQueue *q = virtio_queue(v, p->queue_sel);

    switch (off) {
    case C_DEVICE_FEATURES_SEL: p->device_features_sel = val; break;
    case C_DRIVER_FEATURES_SEL: p->driver_features_sel = val; break;
    case C_DRIVER_FEATURES:
        if (p->driver_features_sel > 1)
            break;
        unsigned shift = 32 * p->driver_features_sel;
        p->driver_features = (p->driver_features & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)val << shift;
        virtio_set_features(v, p->driver_features);
        break;
    case C_CONFIG_VECTOR:       p->config_vector = vector_of(p, val); break;
    case C_STATUS:              set_status(p, v, val); break;
    case C_QUEUE_SEL:           p->queue_sel = val; break;
    default:
        if (q)
            write_queue(p, v, q, off, val);
    }
}

static uint64_t modern_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->bus.device;
    uint64_t val = 0;

    if (!v || off >= AT_NOTIFY)
        return 0;
    if (off >= AT_ISR && off < AT_CONFIG)
        return off == AT_ISR ? take_isr(p, v) : 0;
    bool locked = lock(p);
    use(p, v, false);
    if (off < AT_ISR)
        val = common_read(p, v, off, size);
    else
        val = virtio_config_read(v, off - AT_CONFIG, size);
    unlock(p, locked);
    return val;
}

static void modern_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->bus.device;

    if (!v)
        return;
    if (off >= AT_NOTIFY) {
        ring(v, (off - AT_NOTIFY) / p->notify_step);
        return;
    }
    bool locked = lock(p);
    use(p, v, false);
    if (off < AT_ISR)
        common_write(p, v, off, val);
    else if (off >= AT_CONFIG)
        virtio_config_write(v, off - AT_CONFIG, val, size);
    unlock(p, locked);
}

static const IoOps modern_io = { .read = modern_read, .write = modern_write, .min = 1, .max = 4 };

/* One port for all bells: which, is what is written. */
static uint64_t pio_read(void *opaque, uint64_t off, unsigned size)
{
    return 0;
}

static void pio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    VirtioPci *p = opaque;

    if (!off && p->bus.device)
        ring(p->bus.device, val & 0xffff);
}

static const IoOps pio_io = { .read = pio_read, .write = pio_write, .min = 1, .max = 4 };

/* ---- the legacy interface */

static uint32_t legacy_register(VirtioPci *p, VirtioDevice *v, unsigned off)
{
    const VirtQueue *q = virtio_queue(v, p->queue_sel);

    switch (off) {
    case L_DEVICE_FEATURES: return virtio_offered(v);
    case L_DRIVER_FEATURES: return v->features;
    case L_QUEUE_PFN:       return q ? virtq_legacy_page(q) : 0;
    case L_QUEUE_SIZE:      return q ? virtq_size(q) : 0;
    case L_QUEUE_SEL:       return p->queue_sel;
    case L_STATUS:          return v->status;
    case L_CONFIG_VECTOR:   return p->config_vector;
    case L_QUEUE_VECTOR:    return q ? p->queue_vectors[p->queue_sel] : VIRTIO_NO_VECTOR;
    default:                return 0;
    }
}

static void legacy_set(VirtioPci *p, VirtioDevice *v, unsigned off, uint32_t val)
{
    VirtQueue *q = virtio_queue(v, p->queue_sel);

    switch (off) {
    case L_DRIVER_FEATURES: virtio_set_features(v, val); break;
    case L_QUEUE_SEL:       p->queue_sel = val; break;
    case L_STATUS:          set_status(p, v, val); break;
    case L_CONFIG_VECTOR:   p->config_vector = vector_of(p, val); break;
    case L_QUEUE_PFN:
        if (q)
            virtq_set_legacy_page(q, val, LEGACY_PAGE, LEGACY_PAGE);
        break;
    case L_QUEUE_VECTOR:
        if (q)
            p->queue_vectors[p->queue_sel] = vector_of(p, val);
        break;
    }
}

static unsigned legacy_config(const VirtioPci *p)
{
    return msix_on(&p->pci) ? L_CONFIG_MSIX : L_CONFIG;
}

static uint64_t legacy_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->bus.device;
    unsigned config = legacy_config(p);
    uint64_t val;

    if (!v)
        return 0;
    if (off == L_ISR)
        return take_isr(p, v);
    bool locked = lock(p);
    use(p, v, true);
    val = off < config ? legacy_register(p, v, off) : virtio_config_read(v, off - config, size);
    unlock(p, locked);
    return val;
}

static void legacy_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    VirtioPci *p = opaque;
    VirtioDevice *v = p->bus.device;
    unsigned config = legacy_config(p);

    if (!v)
        return;
    if (off == L_QUEUE_NOTIFY) {
        ring(v, val & 0xffff);
        return;
    }
    bool locked = lock(p);
    use(p, v, true);
    if (off < config)
        legacy_set(p, v, off, val);
    else
        virtio_config_write(v, off - config, val, size);
    unlock(p, locked);
}

static const IoOps legacy_io = { .read = legacy_read, .write = legacy_write, .min = 1, .max = 4 };

/* ---- configuration space: the window into the BARs (4.1.4.9), Bus Master Enable */

/* What the driver set up there: one access of 1, 2 or 4 bytes within a BAR of ours. NULL: it makes no sense. */
static const Region *cfg_target(const VirtioPci *p, uint64_t *off, unsigned *size)
{
    const uint8_t *c = p->pci.config + p->cfg_cap;
    const Region *r = NULL;
    uint32_t len = pci_get32(c + CAP_LENGTH);

    *off = pci_get32(c + CAP_OFFSET);
    if (c[CAP_BAR] == BAR_MODERN && p->modern)
        r = &p->mem;
    else if (c[CAP_BAR] == BAR_LEGACY && p->legacy)
        r = &p->io;
    if (!r || (len != 1 && len != 2 && len != 4) || *off & (len - 1) || *off >= r->size || len > r->size - *off)
        return NULL;
    *size = len;
    return r;
}

static bool in_cfg_data(const VirtioPci *p, unsigned off, unsigned len)
{
    return p->cfg_cap && off < p->cfg_cap + CAP_EXTRA + 4 && off + len > p->cfg_cap + CAP_EXTRA;
}

static void config_read(PciDevice *d, unsigned off, unsigned len)
{
    VirtioPci *p = (VirtioPci *)d;
    uint64_t at;
    unsigned size;
    const Region *r = in_cfg_data(p, off, len) ? cfg_target(p, &at, &size) : NULL;

    if (r)
        pci_set32(d->config + p->cfg_cap + CAP_EXTRA, r->ops->read(p, at, size) & (UINT64_MAX >> (64 - 8 * size)));
}

static void config_written(PciDevice *d, unsigned off, unsigned len)
{
    VirtioPci *p = (VirtioPci *)d;
    uint64_t at;
    unsigned size;
    const Region *r = in_cfg_data(p, off, len) ? cfg_target(p, &at, &size) : NULL;

    if (r)
        r->ops->write(p, at, pci_get32(d->config + p->cfg_cap + CAP_EXTRA) & (UINT64_MAX >> (64 - 8 * size)), size);
    if (off < 6 && off + len > 4 && p->bus.device)
        update_hold(p, p->bus.device);
}

/* ---- making it */

static unsigned add_cap(VirtioPci *p, uint8_t type, uint8_t bar, uint32_t off, uint32_t len, unsigned size)
{
    unsigned at = pci_cap(&p->pci, CAP_VENDOR, size, 0);
    uint8_t *c = p->pci.config + at;

    c[2] = size;
    c[CAP_TYPE] = type;
    c[CAP_BAR] = bar;
    pci_set32(c + CAP_OFFSET, off);
    pci_set32(c + CAP_LENGTH, len);
    return at;
}

static uint64_t power_of_two(uint64_t n)
{
    uint64_t size = 1;

    while (size < n)
        size *= 2;
    return size;
}

static Region window(VirtioPci *p, const IoOps *ops, uint64_t size)
{
    return (Region){ .name = p->bus.device->ops->name, .kind = REGION_IO, .size = size, .ops = ops, .dev = p, .nolock = true };
}

static Err *make_modern(VirtioPci *p, const VirtioDevice *v)
{
    uint64_t bells = MAX((uint64_t)p->notify_step * v->n_queues, AT_STEP);
    uint8_t *config = p->pci.config, *wmask = p->pci.wmask;

    p->mem = window(p, &modern_io, power_of_two(AT_NOTIFY + bells));
    TRY(pci_bar(&p->pci, BAR_MODERN, PCI_BAR_MEM64_PREFETCH, &p->mem));
    add_cap(p, CAP_COMMON, BAR_MODERN, AT_COMMON, AT_STEP, CAP_SIZE);
    add_cap(p, CAP_ISR, BAR_MODERN, AT_ISR, AT_STEP, CAP_SIZE);
    add_cap(p, CAP_DEVICE, BAR_MODERN, AT_CONFIG, AT_STEP, CAP_SIZE);
    unsigned at = add_cap(p, CAP_NOTIFY, BAR_MODERN, AT_NOTIFY, bells, CAP_LONG);
    pci_set32(config + at + CAP_EXTRA, p->notify_step);
    if (p->modern_pio_notify) {
        p->pio = window(p, &pio_io, 4);
        TRY(pci_bar(&p->pci, BAR_PIO, PCI_BAR_IO, &p->pio));
        add_cap(p, CAP_NOTIFY, BAR_PIO, 0, 4, CAP_LONG);        /* multiplier 0: one bell for all */
    }
    p->cfg_cap = add_cap(p, CAP_PCI_CFG, 0, 0, 0, CAP_LONG);
    wmask[p->cfg_cap + CAP_BAR] = 0xff;
    memset(wmask + p->cfg_cap + CAP_OFFSET, 0xff, 12);
    return NULL;
}

static void identify(VirtioPci *p, const VirtioDevice *v)
{
    /* Transitional ids, by device type; those without one have no legacy interface. */
    static const uint16_t legacy_ids[] = { [1] = 0x1000, [2] = 0x1001, [3] = 0x1003, [4] = 0x1005, [5] = 0x1002, [8] = 0x1004, [9] = 0x1009 };
    uint16_t id = v->ops->id;
    bool old = p->legacy && id < G_N_ELEMENTS(legacy_ids) && legacy_ids[id];

    p->legacy &= old;
    pci_identify(&p->pci, &(PciIds){
        .vendor = VENDOR, .device = p->legacy ? legacy_ids[id] : 0x1040 + id, .subsystem_vendor = VENDOR,
        .subsystem = p->legacy ? id : 0x1100, .revision = p->legacy ? 0 : 1, .class_code = v->ops->pci_class,
    });
}

static Err *check_options(const VirtioPci *p)
{
    if (!p->modern && !p->legacy)
        return err_hint(err(ERR_INVALID, "with disable-modern=on and disable-legacy=on there is no interface left"),
                        "Leave one of them away.");
    if (p->ats || p->aer)
        return err_hint(err(ERR_UNSUPPORTED, "%s=on: there is no such capability", p->ats ? "ats" : "aer"), "Leave it away.");
    if (p->vectors > 2048)
        return err(ERR_INVALID, "vectors=%u: it is 0 to 2048", p->vectors);
    return NULL;
}

static Err *make(VirtioPci *p)
{
    PciDevice *d = &p->pci;
    bool port = d->bus->express && d->bus->bridge;

    pthread_mutex_init(&p->line, NULL);
    p->bus = (VirtioBus){ .bus = { .cls = &virtio_bus_class, .name = (char *)"virtio-bus", .owner = &d->dev },
                          .transport = &transport, .opaque = p };
    p->notify_step = p->page_per_vq ? AT_STEP : 4;
    TRY(device_realize_inner(&d->dev, &p->bus.bus));
    VirtioDevice *v = p->bus.device;
    if (p->vectors == UINT32_MAX)
        p->vectors = v->n_queues + 1;
    identify(p, v);
    TRY(check_options(p));
    pci_use_intx(d, 1);
    if (p->legacy) {
        p->io = window(p, &legacy_io, power_of_two(MAX(L_CONFIG_MSIX + v->config_size, 32)));
        TRY(pci_bar(d, BAR_LEGACY, PCI_BAR_IO, &p->io));
    }
    if (p->vectors)
        TRY(pci_msix(d, p->vectors, BAR_MSIX));
    if (p->modern)
        TRY(make_modern(p, v));
    if (port && p->modern) {
        pcie_cap(d, 0);
        pci_pm(d);
        pcie_flr(d);
    }
    d->config_read = config_read;
    d->config_written = config_written;
    forget(p);
    v->legacy = !p->modern;
    update_hold(p, v);
    return NULL;
}

enum { LEGACY_AUTO, LEGACY_DISABLED, LEGACY_ENABLED };
static const char *const legacy_names[] = { "auto", "on", "off", NULL };

Err *virtio_pci_realize(Device *d)
{
    VirtioPci *p = (VirtioPci *)d;
    bool port = p->pci.bus->express && p->pci.bus->bridge;

    /* Below a port, where there may be no I/O space for it, the legacy interface is left out unless asked for. */
    p->legacy = p->disable_legacy == LEGACY_ENABLED || (p->disable_legacy == LEGACY_AUTO && (!port || p->disable_modern));
    p->modern = !p->disable_modern;
    return make(p);
}

Err *virtio_pci_realize_transitional(Device *d)
{
    VirtioPci *p = (VirtioPci *)d;

    p->legacy = p->modern = true;
    return make(p);
}

Err *virtio_pci_realize_modern(Device *d)
{
    VirtioPci *p = (VirtioPci *)d;

    p->modern = true;
    return make(p);
}

void virtio_pci_unrealize(Device *d)
{
    VirtioPci *p = (VirtioPci *)d;

    pthread_mutex_destroy(&p->line);
}

void virtio_pci_reset(Device *d)
{
    VirtioPci *p = (VirtioPci *)d;
    VirtioDevice *v = p->bus.device;

    if (!v)
        return;
    set_status(p, v, 0);
    v->legacy = !p->modern;
    update_hold(p, v);
}

Err *virtio_pci_loaded(Device *d)
{
    VirtioPci *p = (VirtioPci *)d;

    if (!p->bus.device)
        return NULL;
    update_hold(p, p->bus.device);
    update_line(p, p->bus.device);
    return NULL;
}

const Field virtio_pci_fields[] = {
    PROP(VirtioPci, disable_legacy, .def = "auto", .names = legacy_names, .doc = "the interface of virtio 0.9; auto: off below a port"),
    PROP(VirtioPci, disable_modern, .def = "off", .doc = "the interface of virtio 1.0"),
    PROP(VirtioPci, vectors, .def = "4294967295", .untold = true, .doc = "MSI-X vectors (default: one for each queue, and one)"),
    PROP(VirtioPci, ioeventfd, .def = "on", .doc = "accepted: bells never take the machine's lock"),
    PROP(VirtioPci, modern_pio_notify, .def = "off", .doc = "an I/O port as another bell"),
    PROP(VirtioPci, page_per_vq, .def = "off", .doc = "each queue's bell in a page of its own"),
    PROP(VirtioPci, ats, .def = "off", .doc = "address translation services"),
    PROP(VirtioPci, aer, .def = "off", .doc = "advanced error reporting"),
    STATE(VirtioPci, device_features_sel), STATE(VirtioPci, driver_features_sel), STATE(VirtioPci, queue_sel),
    STATE(VirtioPci, driver_features), STATE(VirtioPci, config_vector), STATES(VirtioPci, queue_vectors),
    {0}
};
