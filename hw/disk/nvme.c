/* SPDX-License-Identifier: MIT */
/*
 * NVMe controller: NVM Express Base 1.4, section 3: registers, enabling,
 * shutting down; its namespaces; the devices `nvme` and `nvme-ns`.
 *
 * Registers take no lock: a write is stored, and the disks' thread looks at it soon, which is
 * why a driver waits for CSTS. Left out: controller memory buffer, persistent
 * memory region, subsystem reset, weighted arbitration, boot partitions.
 */
#include "hw/disk/nvme.h"

#include <inttypes.h>
#include <string.h>

#include "hw/core/board.h"
#include "util/log.h"

enum {
    R_CAP = 0x00, R_VS = 0x08, R_INTMS = 0x0c, R_INTMC = 0x10, R_CC = 0x14, R_CSTS = 0x1c, R_AQA = 0x24, R_ASQ = 0x28, R_ACQ = 0x30,
    R_DOORBELLS = 0x1000,
    CC_EN = 1, CSTS_RDY = 1, CSTS_FATAL = 2, CSTS_SHUTTING = 4, CSTS_SHUT = 8, CSTS_SHST = 12,
    MOST_PAGE_BITS = 16, REGS_BAR = 0, MSIX_BAR = 4,
};

static const uint64_t capabilities =
    (NVME_QUEUE_ENTRIES - 1) | 1ull << 16 /* queues in one piece */ | 15ull << 24 /* 7.5 s */ | 1ull << 37 /* NVM commands */ |
    (uint64_t)(MOST_PAGE_BITS - 12) << 52;

/* ---- enabling; in the disks' thread */

static bool admin_queues(Nvme *n)
{
    uint32_t aqa = n->aqa, sq_size = (aqa & 0xfff) + 1, cq_size = (aqa >> 16 & 0xfff) + 1;
    uint64_t mask = (UINT64_C(1) << n->page_bits) - 1;

    if (sq_size < 2 || cq_size < 2 || n->asq & mask || n->acq & mask)
        return false;
    n->cqs[0] = (NvmeCq){ .there = true, .interrupts = true, .phase = true, .size = cq_size, .base = n->acq, .users = 1 };
    n->cqs[0].waiting_end = &n->cqs[0].waiting;
    n->sqs[0] = (NvmeSq){ .there = true, .size = sq_size, .base = n->asq, .cq = &n->cqs[0] };
    return true;
}

static void enable(Nvme *n, uint32_t cc)
{
    n->page_bits = 12 + (cc >> 7 & 15);
    if (n->page_bits > MOST_PAGE_BITS || cc >> 4 & 7 || cc >> 11 & 7 || !admin_queues(n)) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("nvme: it cannot be enabled: CC %#x, AQA %#x", cc, n->aqa);
        n->page_bits = 12;
        atomic_fetch_or(&n->csts, CSTS_FATAL);
        return;
    }
    nvme_features_reset(n);
    n->ready = true;
    atomic_store(&n->csts, CSTS_RDY);
}

/* Also for unplugging and the machine's reset. */
static void disable(Nvme *n)
{
    n->ready = false;
    nvme_drain(n);
    nvme_wait(n);
    nvme_queues_clear(n);
    n->cc_seen &= ~(uint32_t)CC_EN;
    atomic_store(&n->csts, 0);
}

static void shut_down(Nvme *n)
{
    atomic_fetch_or(&n->csts, CSTS_SHUTTING);
    nvme_flush_all(n);
    atomic_fetch_xor(&n->csts, CSTS_SHST);
}

/* What CC asks for, step by step; it may change meanwhile. */
static void change(void *opaque)
{
    Nvme *n = opaque;

    for (uint32_t cc; (cc = n->cc) != n->cc_seen; ) {
        uint32_t was = n->cc_seen;

        n->cc_seen = cc;
        if (!(cc & CC_EN) && was & CC_EN)
            disable(n);
        n->cc_seen = cc;
        if (cc & CC_EN && !(was & CC_EN))
            enable(n, cc);
        if (cc >> 14 & 3 && !(was >> 14 & 3))
            shut_down(n);
        else if (!(cc >> 14 & 3) && was >> 14 & 3)
            atomic_fetch_and(&n->csts, ~(uint32_t)CSTS_SHST);
    }
    n->changing = false;
    nvme_work(n);
}

static void poked(void *opaque)
{
    Nvme *n = opaque;

    atomic_store(&n->called, false);
    if (n->changing)
        return;                         /* it looks again at its end */
    if (n->cc != n->cc_seen) {
        n->changing = true;
        co_start(n->loop, change, n);
    } else {
        if (n->mask_changed) {
            n->mask_changed = false;
            nvme_irq(n, NULL);
        }
        nvme_work(n);
    }
}

void nvme_poke(Nvme *n)
{
    if (!atomic_exchange(&n->called, true))
        loop_call(n->loop, poked, n);
}

/* ---- registers; any thread */

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
    Nvme *n = dev;
    uint64_t at = off & ~7ull, val;

    switch (at) {
    case R_CAP:     val = capabilities; break;
    case R_VS:      val = 0x10400 | (uint64_t)n->int_mask << 32; break;
    case R_INTMC:   val = n->int_mask | (uint64_t)n->cc << 32; break;
    case 0x18:      val = (uint64_t)n->csts << 32; break;
    case 0x20:      val = (uint64_t)n->aqa << 32; break;
    case R_ASQ:     val = n->asq; break;
    case R_ACQ:     val = n->acq; break;
    default:        val = 0;            /* doorbells read as nothing */
    }
    val >>= 8 * (off & 7);
    return size == 8 ? val : val & ((UINT64_C(1) << 8 * size) - 1);
}

/*
 * The guest has seen what the pin was for. If it stayed high until the thread comes round, the
 * guest's handler would be entered again and again, and a thread that waits for a busy host's CPU never
 * come: the thread raises it again where there is more.
 */
static void lower_pin(Nvme *n)
{
    if (n->intx)
        pci_intx(&n->pci, false);
}

static void doorbell(Nvme *n, uint64_t off, uint32_t val)
{
    unsigned i = (off - R_DOORBELLS) / 4, id = i / 2;

    if (off & 3 || id > n->pairs) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("nvme: there is no doorbell at %#" PRIx64, off);
        return;
    }
    if (i & 1)
        lower_pin(n);
    atomic_store(&n->doorbells[i], val & 0xffff);
    atomic_fetch_or(i & 1 ? &n->freed[id / 64] : &n->rung[id / 64], UINT64_C(1) << id % 64);
    nvme_poke(n);
}

static void write_half(_Atomic uint64_t *reg, unsigned half, uint32_t val)
{
    uint64_t was = *reg, now;

    do
        now = half ? (was & UINT32_MAX) | (uint64_t)val << 32 : (was & ~(uint64_t)UINT32_MAX) | val;
    while (!atomic_compare_exchange_weak(reg, &was, now));
}

static void write32(Nvme *n, uint64_t off, uint32_t val)
{
    switch (off) {
    case R_INTMS:
        atomic_fetch_or(&n->int_mask, val);
        lower_pin(n);
        break;
    case R_INTMC:
        atomic_fetch_and(&n->int_mask, ~val);
        break;
    case R_CC:
        atomic_store(&n->cc, val);
        break;
    case R_AQA:
        atomic_store(&n->aqa, val & 0x0fff0fff);
        return;
    case R_ASQ: case R_ASQ + 4:
        write_half(&n->asq, off - R_ASQ, val);
        return;
    case R_ACQ: case R_ACQ + 4:
        write_half(&n->acq, off - R_ACQ, val);
        return;
    default:
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("nvme: a write to register %#" PRIx64 ", which cannot be written", off);
        return;
    }
    n->mask_changed |= off != R_CC;
    nvme_poke(n);
}

static void regs_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
    Nvme *n = dev;

    if (off >= R_DOORBELLS) {
        doorbell(n, off, val);
        return;
    }
    write32(n, off, val);
    if (size == 8)
        write32(n, off + 4, val >> 32);
}

static const IoOps regs_ops = { .read = regs_read, .write = regs_write, .min = 4, .max = 8 };

/* ---- the machine stops and goes on */

static void stand(void *opaque)
{
    Nvme *n = opaque;

    while (n->changing)
        co_pause();
    nvme_drain(n);
    nvme_wait(n);
}

static void go_on(void *opaque)
{
    Nvme *n = opaque;

    nvme_start_kept(n);
    for (unsigned i = 0; i <= n->pairs; i++) {          /* what was rung while there was something kept */
        if (n->sqs[i].there)
            atomic_fetch_or(&n->rung[i / 64], UINT64_C(1) << i % 64);
    }
    nvme_poke(n);
}

static void run_state(void *opaque, bool runs)
{
    Nvme *n = opaque;

    n->stopped = !runs;
    iothread_run(disks_thread(n->pci.dev.vm->disks), runs ? go_on : stand, n);
}

/* ---- namespaces; in the disks' thread */

typedef struct Attach { Nvme *n; NvmeSpace *s; Err *e; bool tell; } Attach;

static void attach(void *opaque)
{
    Attach *a = opaque;
    NvmeSpace **at = a->n->spaces;
    uint32_t nsid = a->s->nsid;

    for (nsid = nsid ? nsid : 1; !a->s->nsid && nsid <= NVME_MOST_SPACES && at[nsid]; nsid++)
        ;
    if (nsid > NVME_MOST_SPACES)
        a->e = err(ERR_INVALID, "nsid is 1 to %d", NVME_MOST_SPACES);
    else if (at[nsid])
        a->e = err(ERR_BUSY, "the controller has a namespace %u already", nsid);
    if (a->e)
        return;
    a->s->nsid = nsid;
    a->s->n = a->n;
    at[nsid] = a->s;
    if (a->tell)
        nvme_event_spaces(a->n, nsid);
}

static void detach(void *opaque)
{
    Attach *a = opaque;

    if (!a->s->n)
        return;
    a->n->spaces[a->s->nsid] = NULL;
    nvme_wait_space(a->n, a->s);
    if (a->tell)
        nvme_event_spaces(a->n, a->s->nsid);
    a->s->n = NULL;
}

static void resized(void *dev)
{
    /* The port's owner is the Device; which namespace it is, is found by the port. */
    Nvme *n = ((Device *)dev)->cls == &device_nvme ? dev : (Nvme *)((Device *)dev)->bus->owner;

    for (unsigned i = 1; i <= NVME_MOST_SPACES; i++) {
        NvmeSpace *s = n->spaces[i];

        if (s && s->told_size && s->told_size != disk_port_size(&s->conf.port))
            nvme_event_spaces(n, i);
    }
}

static const DiskPortOps port_ops = { .resized = resized };

/* ---- nvme */

static Err *check_props(Nvme *n)
{
    if (!n->serial || !*n->serial)
        return err_hint(err(ERR_INVALID, "serial property not set"), "Add serial=TEXT, at most 20 characters.");
    TRY(disk_check_serial(n->serial, 20));
    if (n->pairs < 1 || n->pairs > NVME_MOST_PAIRS)
        return err(ERR_INVALID, "max_ioqpairs is 1 to %d", NVME_MOST_PAIRS);
    if (n->vectors < 1 || n->vectors > 2048)
        return err(ERR_INVALID, "msix_qsize is 1 to 2048");
    if (n->mdts > 10)
        return err_hint(err(ERR_INVALID, "mdts=%u: requests are at most 4 MiB", n->mdts), "mdts=10 is that; 7, the default, 512 KiB.");
    if (n->aerl >= NVME_AERS)
        return err(ERR_INVALID, "aerl is 0 to %d", NVME_AERS - 1);
    return n->pci.dev.vm->disks ? NULL : err(ERR_UNSUPPORTED, "this machine has no disks");
}

static void init_queues(void *opaque)
{
    nvme_queues_clear(opaque);
}

static uint64_t power_of_two(uint64_t at_least)
{
    uint64_t size = 0x2000;

    while (size < at_least)
        size *= 2;
    return size;
}

static Err *make_pci(Nvme *n)
{
    PciIds ids = { .vendor = 0x1b36, .device = 0x0010, .subsystem_vendor = 0x1af4, .subsystem = 0x1100, .revision = 2,
                   .class_code = 0x010802 };

    if (n->intel_id) {
        ids.vendor = 0x8086;
        ids.device = 0x5845;
    }
    pci_identify(&n->pci, &ids);
    pci_use_intx(&n->pci, 1);
    n->regs = (Region){ .name = "nvme", .kind = REGION_IO, .size = power_of_two(R_DOORBELLS + 8 * (n->pairs + 1)),
                        .ops = &regs_ops, .dev = n, .nolock = true };
    TRY(pci_bar(&n->pci, REGS_BAR, PCI_BAR_MEM64, &n->regs));
    TRY(pci_msix(&n->pci, n->vectors, MSIX_BAR));
    if (n->pci.express)
        pcie_cap(&n->pci, 0);
    return NULL;
}

static char *bus_name(const Nvme *n)
{
    char *name = NULL;

    if (n->pci.dev.id)
        return g_strdup(n->pci.dev.id);
    for (unsigned i = 0; !name; i++) {
        name = g_strdup_printf("nvme-bus.%u", i);
        if (bus_find(n->pci.dev.vm, name))
            g_clear_pointer(&name, g_free);
    }
    return name;
}

static const BusClass nvme_bus_class;

static Err *realize(Device *d)
{
    Nvme *n = (Nvme *)d;

    TRY(check_props(n));
    IoThread *t = disks_thread(d->vm->disks);
    n->loop = iothread_loop(t);
    n->kept_end = &n->kept;
    n->page_bits = 12;
    n->doorbells = g_malloc0(2 * (n->pairs + 1) * sizeof(*n->doorbells));
    n->sqs = g_new0(NvmeSq, n->pairs + 1);
    n->cqs = g_new0(NvmeCq, n->pairs + 1);
    TRY(make_pci(n));
    iothread_run(t, init_queues, n);
    vm_on_state(d->vm, run_state, n);
    g_autofree char *name = bus_name(n);
    bus_init(d->vm, &n->bus, &nvme_bus_class, name, d);
    n->bus.hotplug = n->hooked = true;
    if (!n->own.conf.port.name)
        return NULL;
    TRY(disk_conf_bind(d, &n->own.conf, &port_ops, false, false));
    n->own.nsid = 1;
    Attach a = { .n = n, .s = &n->own };
    iothread_run(t, attach, &a);
    return a.e;
}

static void end_all(void *opaque)
{
    Nvme *n = opaque;

    n->cc = n->cc_seen & ~(uint32_t)CC_EN;
    while (n->changing || n->called)
        co_pause();
    disable(n);
    while (n->called)
        co_pause();
    for (NvmeReq *r = n->free, *next; r; r = next) {
        next = r->next;
        nvme_req_destroy(r);
    }
    n->free = NULL;
}

static void unrealize(Device *d)
{
    Nvme *n = (Nvme *)d;

    if (n->hooked) {
        vm_off_state(d->vm, n);
        bus_clear(d->vm, &n->bus);
    }
    if (n->cqs)
        iothread_run(disks_thread(d->vm->disks), end_all, n);
    disk_port_unbind(&n->own.conf.port);
    g_free(n->doorbells);
    g_free(n->sqs);
    g_free(n->cqs);
    n->doorbells = NULL;
    n->sqs = NULL;
    n->cqs = NULL;
}

static void reset_there(void *opaque)
{
    Nvme *n = opaque;

    n->cc = 0;
    while (n->changing)
        co_pause();
    disable(n);
    n->cc_seen = 0;
    n->aqa = n->int_mask = 0;
    n->asq = n->acq = 0;
}

static void reset(Device *d)
{
    iothread_run(disks_thread(d->vm->disks), reset_there, d);
}

#define KEPT(member) STATE(Nvme, member, .keep = true)
static const Field fields[] = {
    DISK_PROPS(Nvme, own.conf),
    /* The disks' thread has them: reset() is what clears them. */
    KEPT(cc), KEPT(csts), KEPT(aqa), KEPT(int_mask), KEPT(asq), KEPT(acq), KEPT(mask_changed), KEPT(intx), KEPT(cc_seen), KEPT(ready),
    KEPT(page_bits), KEPT(change_told), KEPT(reads), KEPT(writes), KEPT(read_units),
    KEPT(write_units), KEPT(own.told_size),
    STATES(Nvme, rung, .keep = true), STATES(Nvme, freed, .keep = true), STATES(Nvme, changed, .keep = true),
    STATES(Nvme, features, .keep = true),
    PROP(Nvme, serial, .doc = "serial number, 20 characters; there is none by itself"),
    PROP(Nvme, pairs, .as = "max_ioqpairs", .def = "64", .doc = "most pairs of I/O queues"),
    PROP(Nvme, vectors, .as = "msix_qsize", .def = "65", .doc = "vectors of MSI-X"),
    PROP(Nvme, mdts, .def = "7", .doc = "a request has at most 4 KiB times 2 to the power of that; 0: 4 MiB"),
    PROP(Nvme, aerl, .def = "3", .doc = "event requests that may wait, less one"),
    PROP(Nvme, intel_id, .as = "use-intel-id", .def = "off", .doc = "the identity of an Intel controller"),
    {0}
};

DEVICE(nvme) = {
    .name = "nvme", .bus = "pci", .doc = "NVM Express controller", .size = sizeof(Nvme), .fields = fields, .base = pci_fields,
    .boot = 'c', .boot_part = "namespace@1,0", .realize = realize, .unrealize = unrealize, .reset = reset,
    .save = nvme_save, .load = nvme_load, .loaded = nvme_loaded,
};

/* ---- nvme-ns */

typedef struct NvmeNs {
    Device dev;
    NvmeSpace space;
    char *uuid;
    bool shared, detached;
} NvmeNs;

static const BusClass nvme_bus_class = { .name = "nvme-bus" };

static int hex(char c) { return g_ascii_xdigit_value(c); }

/* "auto", or 32 digits with dashes anywhere. */
static Err *take_uuid(NvmeNs *ns)
{
    uint8_t *to = ns->space.uuid;
    unsigned n = 0;

    ns->space.has_uuid = true;
    if (!strcmp(ns->uuid, "auto")) {
        for (unsigned i = 0; i < 16; i++)
            to[i] = g_random_int();
        to[6] = (to[6] & 0x0f) | 0x40;
        to[8] = (to[8] & 0x3f) | 0x80;
        return NULL;
    }
    for (const char *p = ns->uuid; *p; p++) {
        if (*p == '-')
            continue;
        if (n == 32 || hex(*p) < 0)
            return err(ERR_INVALID, "'%s' is no UUID", ns->uuid);
        to[n / 2] = to[n / 2] << 4 | hex(*p);
        n++;
    }
    return n == 32 ? NULL : err(ERR_INVALID, "'%s' is no UUID", ns->uuid);
}

static Err *realize_ns(Device *d)
{
    NvmeNs *ns = (NvmeNs *)d;
    Nvme *n = (Nvme *)d->bus->owner;

    TRY(take_uuid(ns));
    if (ns->detached)
        return err_hint(err(ERR_UNSUPPORTED, "detached=on: namespaces are not managed by the guest"), "Leave it away.");
    TRY(disk_conf_bind(d, &ns->space.conf, &port_ops, false, false));
    Attach a = { .n = n, .s = &ns->space, .tell = d->hotplugged };
    iothread_run(disks_thread(d->vm->disks), attach, &a);
    return a.e;
}

static void unrealize_ns(Device *d)
{
    NvmeNs *ns = (NvmeNs *)d;
    Attach a = { .n = ns->space.n, .s = &ns->space, .tell = true };

    if (d->vm->disks)
        iothread_run(disks_thread(d->vm->disks), detach, &a);
    disk_port_unbind(&ns->space.conf.port);
}

static const Field ns_fields[] = {
    DISK_PROPS(NvmeNs, space.conf),
    STATE(NvmeNs, space.told_size, .keep = true),
    PROP(NvmeNs, space.nsid, .as = "nsid", .def = "0", .doc = "its number in the controller; 0: the first that is free"),
    PROP(NvmeNs, uuid, .def = "auto", .doc = "auto: a random one"),
    PROP(NvmeNs, space.eui64, .as = "eui64", .def = "0", .doc = "IEEE identifier; 0: none"),
    PROP(NvmeNs, shared, .def = "on", .doc = "accepted: there is one controller"),
    PROP(NvmeNs, detached, .def = "off", .doc = "off is what there is"),
    {0}
};

DEVICE(nvme_ns) = {
    .name = "nvme-ns", .bus = "nvme-bus", .doc = "namespace of an NVM Express controller", .size = sizeof(NvmeNs),
    .fields = ns_fields, .realize = realize_ns, .unrealize = unrealize_ns,
};
