/* SPDX-License-Identifier: MIT */
/*
 * virtio over memory-mapped registers: virtio 1.2, section 4.2, version 2 of the
 * registers; with force-legacy=on the older version 1 (4.2.4). A transport whose
 * bus is empty says device id 0.
 *
 * Version 2 is what a guest is given: Linux and U-Boot drive it, and only it has
 * features above bit 31 and rings anywhere in memory. Who needs the old one says
 * -global virtio-mmio.force-legacy=on.
 *
 * Bell, interrupt status and acknowledgement need no machine lock; the rest takes it.
 * Shared memory regions: there are none.
 */
#include <inttypes.h>
#include "hw/virtio/mmio.h"

#include <stdatomic.h>

#include "util/log.h"

enum {
    R_MAGIC = 0x000, R_VERSION = 0x004, R_DEVICE_ID = 0x008, R_VENDOR_ID = 0x00c, R_DEVICE_FEATURES = 0x010,
    R_DEVICE_FEATURES_SEL = 0x014, R_DRIVER_FEATURES = 0x020, R_DRIVER_FEATURES_SEL = 0x024, R_GUEST_PAGE_SIZE = 0x028,
    R_QUEUE_SEL = 0x030, R_QUEUE_NUM_MAX = 0x034, R_QUEUE_NUM = 0x038, R_QUEUE_ALIGN = 0x03c, R_QUEUE_PFN = 0x040,
    R_QUEUE_READY = 0x044, R_QUEUE_NOTIFY = 0x050, R_INTERRUPT_STATUS = 0x060, R_INTERRUPT_ACK = 0x064, R_STATUS = 0x070,
    R_QUEUE_DESC = 0x080, R_QUEUE_DRIVER = 0x090, R_QUEUE_DEVICE = 0x0a0, R_SHM_LEN = 0x0b0, R_SHM_BASE = 0x0b8,
    R_QUEUE_RESET = 0x0c0, R_GENERATION = 0x0fc, R_CONFIG = 0x100, R_END = 0x200,
};
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

typedef struct VirtioMmio {
    Device dev;
    Region io;
    Irq irq;
    VirtioBus bus;
    uint64_t base;                      /* of its registers */
    bool force_legacy;
    pthread_mutex_t line;               /* the interrupt line follows the device's isr */
    /* what the driver selected, and half of what it wrote */
    uint32_t device_features_sel, driver_features_sel, queue_sel, page_size, queue_align;
    uint64_t driver_features;
} VirtioMmio;

/* ---- interrupts: any thread */

static void update_line(VirtioMmio *m, VirtioDevice *v)
{
    pthread_mutex_lock(&m->line);
    irq_set(&m->irq, v->isr != 0);
    pthread_mutex_unlock(&m->line);
}

/* With the bit set already, the driver has it to acknowledge still, and looks at its rings after. */
static void raise_irq(VirtioMmio *m, uint8_t bit)
{
    VirtioDevice *v = m->bus.device;

    if (!(atomic_fetch_or(&v->isr, bit) & bit))
        update_line(m, v);
}

static void acknowledge(VirtioMmio *m, uint8_t bits)
{
    VirtioDevice *v = m->bus.device;

    if (atomic_fetch_and(&v->isr, ~bits) & bits)
        update_line(m, v);
}

static void notify(void *opaque, unsigned queue)
{
    raise_irq(opaque, ISR_QUEUE);
}

static void notify_config(void *opaque)
{
    raise_irq(opaque, ISR_CONFIG);
}

static unsigned selected(void *opaque)
{
    return ((VirtioMmio *)opaque)->queue_sel;
}

static const VirtioTransport transport = { .notify = notify, .notify_config = notify_config, .selected = selected, .legacy_ok = true };

/* ---- registers */

static void set_half(uint64_t *v, bool high, uint32_t half)
{
    *v = high ? (*v & UINT32_MAX) | (uint64_t)half << 32 : (*v & ~(uint64_t)UINT32_MAX) | half;
}

static void set_address(VirtQueue *q, uint64_t off, uint32_t val)
{
    VirtqAddresses a;

    virtq_addresses(q, &a);
    set_half(off < R_QUEUE_DRIVER ? &a.desc : off < R_QUEUE_DEVICE ? &a.avail : &a.used, off & 4, val);
    virtq_set_addresses(q, &a);
}

static uint32_t read_features(const VirtioMmio *m, const VirtioDevice *v)
{
    return m->device_features_sel > 1 ? 0 : virtio_offered(v) >> 32 * m->device_features_sel;
}

static void write_features(VirtioMmio *m, VirtioDevice *v, uint32_t val)
{
    if (m->driver_features_sel > 1)
        return;
    set_half(&m->driver_features, m->driver_features_sel, val);
    virtio_set_features(v, m->driver_features);
}

static void write_status(VirtioMmio *m, VirtioDevice *v, uint8_t status)
{
    virtio_set_status(v, status);
    if (!status) {
        m->driver_features = 0;
        update_line(m, v);
    }
}

/* Version 2's alone. */
static bool write_modern(VirtioDevice *v, VirtQueue *q, uint64_t off, uint32_t val)
{
    switch (off) {
    case R_QUEUE_READY:
        if (val & 1)
            virtq_enable(q);
        else if (virtq_enabled(q))
            virtq_reset(q);
        return true;
    case R_QUEUE_RESET:
        if (val & 1 && virtio_has(v, VIRTIO_F_RING_RESET))
            virtq_reset(q);
        return true;
    case R_QUEUE_DESC: case R_QUEUE_DESC + 4: case R_QUEUE_DRIVER: case R_QUEUE_DRIVER + 4:
    case R_QUEUE_DEVICE: case R_QUEUE_DEVICE + 4:
        set_address(q, off, val);
        return true;
    }
    return false;
}

/* Version 1's alone. */
static bool write_legacy(VirtioMmio *m, VirtQueue *q, uint64_t off, uint32_t val)
{
    switch (off) {
    case R_QUEUE_ALIGN:
        m->queue_align = val;
        return true;
    case R_QUEUE_PFN:
        virtq_set_legacy_page(q, val, m->page_size, m->queue_align);
        return true;
    }
    return false;
}

static void write_register(VirtioMmio *m, VirtioDevice *v, uint64_t off, uint32_t val)
{
    VirtQueue *q = virtio_queue(v, m->queue_sel);

    switch (off) {
    case R_DEVICE_FEATURES_SEL: m->device_features_sel = val; return;
    case R_DRIVER_FEATURES_SEL: m->driver_features_sel = val; return;
    case R_DRIVER_FEATURES:     write_features(m, v, val); return;
    case R_STATUS:              write_status(m, v, val); return;
    case R_QUEUE_SEL:           m->queue_sel = val; return;
    case R_QUEUE_NUM:
        if (q && virtq_set_size(q, val))
            return;
        break;
    case R_GUEST_PAGE_SIZE:
        m->page_size = val;
        return;
    default:
        if (q && (v->legacy ? write_legacy(m, q, off, val) : write_modern(v, q, off, val)))
            return;
    }
    if (log_on(LOG_GUEST_ERRORS))
        guest_error("virtio-mmio: a write of %#x to register %#x, queue %u", val, (unsigned)off, m->queue_sel);
}

static uint32_t read_register(const VirtioMmio *m, VirtioDevice *v, uint64_t off)
{
    const VirtQueue *q = virtio_queue(v, m->queue_sel);

    switch (off) {
    case R_DEVICE_FEATURES: return read_features(m, v);
    case R_QUEUE_NUM_MAX:   return q ? virtq_max(q) : 0;
    case R_QUEUE_PFN:       return q && v->legacy ? virtq_legacy_page(q) : 0;
    case R_QUEUE_READY:     return q && !v->legacy && virtq_enabled(q);
    case R_STATUS:          return v->status;
    case R_GENERATION:      return v->generation;
    case R_SHM_LEN: case R_SHM_LEN + 4: case R_SHM_BASE: case R_SHM_BASE + 4:
        return UINT32_MAX;
    }
    return 0;
}

/* ---- accesses: with or without the machine lock */

static bool lock(VirtioMmio *m)
{
    if (vm_locked(m->dev.vm))
        return false;
    vm_lock(m->dev.vm);
    return true;
}

static void unlock(VirtioMmio *m, bool locked)
{
    if (locked)
        vm_unlock(m->dev.vm);
}

static bool no_word(uint64_t off, unsigned size)
{
    if (size == 4)
        return false;
    if (log_on(LOG_GUEST_ERRORS))
        guest_error("virtio-mmio: %u bytes at register %#x, which has 4", size, (unsigned)off);
    return true;
}

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned size)
{
    VirtioMmio *m = opaque;
    VirtioDevice *v = m->bus.device;
    uint64_t val;

    if (off < R_CONFIG && no_word(off, size))
        return 0;
    switch (off) {
    case R_MAGIC:            return 0x74726976;     /* "virt" */
    case R_VERSION:          return m->force_legacy ? 1 : 2;
    case R_DEVICE_ID:        return v ? v->ops->id : 0;
    case R_VENDOR_ID:        return 0x554d4551;
    case R_INTERRUPT_STATUS: return v ? v->isr : 0;
    }
    if (!v)
        return 0;
    bool locked = lock(m);
    val = off < R_CONFIG ? read_register(m, v, off) : virtio_config_read(v, off - R_CONFIG, size);
    unlock(m, locked);
    return val;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    VirtioMmio *m = opaque;
    VirtioDevice *v = m->bus.device;
    VirtQueue *q;

    if (!v || (off < R_CONFIG && no_word(off, size)))
        return;
    switch (off) {
    case R_QUEUE_NOTIFY:
        if ((q = virtio_queue(v, val)) != NULL)
            virtio_kick(q);
        return;
    case R_INTERRUPT_ACK:
        acknowledge(m, val);
        return;
    }
    bool locked = lock(m);
    if (off < R_CONFIG)
        write_register(m, v, off, val);
    else
        virtio_config_write(v, off - R_CONFIG, val, size);
    unlock(m, locked);
}

static const IoOps mmio_io = { .read = mmio_read, .write = mmio_write, .min = 1, .max = 4 };

/* ---- the device */

static Err *mmio_realize(Device *d)
{
    VirtioMmio *m = (VirtioMmio *)d;

    pthread_mutex_init(&m->line, NULL);
    return NULL;
}

static void mmio_unrealize(Device *d)
{
    VirtioMmio *m = (VirtioMmio *)d;

    if (m->bus.bus.cls)
        bus_clear(d->vm, &m->bus.bus);
    pthread_mutex_destroy(&m->line);
}

static void mmio_reset(Device *d)
{
    VirtioMmio *m = (VirtioMmio *)d;
    VirtioDevice *v = m->bus.device;

    m->page_size = 0;
    m->queue_align = 4096;
    if (!v)
        return;
    v->legacy = m->force_legacy;
    virtio_set_status(v, 0);
    update_line(m, v);
}

static Err *mmio_loaded(Device *d)
{
    VirtioMmio *m = (VirtioMmio *)d;

    if (m->bus.device)
        update_line(m, m->bus.device);
    return NULL;
}

static const Field mmio_fields[] = {
    PROP(VirtioMmio, force_legacy, .def = "off", .doc = "version 1 of the registers, as before virtio 1.0"),
    LINK(VirtioMmio, io, .ops = &mmio_io, .size = R_END, .nolock = true),
    LINK(VirtioMmio, irq, .doc = "a used buffer, or a configuration that changed"),
    STATE(VirtioMmio, device_features_sel), STATE(VirtioMmio, driver_features_sel), STATE(VirtioMmio, queue_sel),
    STATE(VirtioMmio, page_size), STATE(VirtioMmio, queue_align), STATE(VirtioMmio, driver_features),
    {0}
};

static char *root_path(const Device *d)
{
    return g_strdup_printf("/virtio-mmio@%016" PRIx64, ((const VirtioMmio *)d)->base);
}

DEVICE(virtio_mmio) = {
    .name = "virtio-mmio", .bus = BUS_SYSTEM, .doc = "virtio transport in memory",
    .size = sizeof(VirtioMmio), .fields = mmio_fields,
    .realize = mmio_realize, .unrealize = mmio_unrealize, .reset = mmio_reset, .root_path = root_path,
    .loaded = mmio_loaded,
};

Err *virtio_mmio_make(Vm *vm, uint64_t base, unsigned index, Irq irq)
{
    VirtioMmio *m = (VirtioMmio *)device_new(vm, &device_virtio_mmio);
    g_autofree char *name = g_strdup_printf("virtio-mmio-bus.%u", index);

    m->base = base;
    TRY(device_place(&m->dev, &m->io, base));
    m->irq = irq;
    bus_init(vm, &m->bus.bus, &virtio_bus_class, name, &m->dev);
    m->bus.transport = &transport;
    m->bus.opaque = m;
    return NULL;
}
