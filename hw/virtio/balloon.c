/* SPDX-License-Identifier: MIT */
/*
 * virtio-balloon: VIRTIO 1.2, section 5.5: pages that the guest does without are
 * given back to the host, statistics, reporting of free pages.
 *
 * A page given back reads as zeroes from then on; who watches it (translated
 * code, dirty logs) is told. Free page hinting, which is for migration, is not there.
 */
#include "hw/virtio/balloon.h"

#include <inttypes.h>
#include <string.h>

#include "hw/core/board.h"
#include "hw/virtio/pci.h"
#include "hw/virtio/saved.h"
#include "hw/virtio/virtio.h"
#include "util/log.h"

enum {
    F_STATS_VQ = 1, F_DEFLATE_ON_OOM = 2, F_PAGE_POISON = 4, F_REPORTING = 5,
    QUEUE_SIZE = 128, AT_ONCE = 64, PFNS_MOST = 1 << 16,
    C_TARGET = 0, C_ACTUAL = 4, C_POISON = 12, CONFIG_SIZE = 16,
    STAT = 10,                  /* 16 bits of tag, 64 of value */
};
typedef enum Role { INFLATE, DEFLATE, STATS, REPORT, NOTHING } Role;

typedef struct Balloon {
    VirtioDevice v;
    bool deflate_on_oom, free_page_hint, page_poison, free_page_reporting;
    uint32_t interval;          /* seconds; 0: statistics are not asked for */
    uint32_t target, actual;    /* pages in the balloon: wanted, and so */
    uint32_t poison;            /* what the driver fills free pages with */
    VirtElem *stats_elem;       /* the driver's; giving it back asks for new ones */
    BalloonStats stats;
    Timer timer;
    uint64_t given_back;        /* bytes, in all */
} Balloon;

static void put(uint8_t *at, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = val >> 8 * i;
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

/* Drivers count queues that they have taken; ours without hinting. */
static Role role_of(const Balloon *b, unsigned queue)
{
    unsigned report = 2 + virtio_has(&b->v, F_STATS_VQ);

    if (queue < 2)
        return queue ? DEFLATE : INFLATE;
    if (queue == 2 && virtio_has(&b->v, F_STATS_VQ))
        return STATS;
    return queue == report && virtio_has(&b->v, F_REPORTING) ? REPORT : NOTHING;
}

/* ---- giving back */

/* Whole pages of RAM; they are zeroes afterwards, which is told as any other change. */
static void give_back(Balloon *b, RamBlock *r, uint64_t off, uint64_t len)
{
    uint64_t end = (off + len) & ~(uint64_t)(PAGE_SIZE - 1);

    off = (off + PAGE_SIZE - 1) & ~(uint64_t)(PAGE_SIZE - 1);
    if (off >= end || r->readonly)
        return;
    if (!ram_discard(r, off, end - off))
        return;                 /* locked, perhaps: it is the guest's loss of nothing */
    ram_touch(r, off, end - off);
    b->given_back += end - off;
}

/* One run of pages that lie together in the guest. */
static void inflate_run(Balloon *b, uint64_t pfn, uint64_t pages)
{
    RamBlock *r;
    uint64_t off, at = pfn << 12, len = pages << 12;

    if (space_ram(b->v.dev.vm->mem, at, len, true, &r, &off)) {
        give_back(b, r, off, len);
        return;
    }
    /* Not in one piece: page by page. */
    for (uint64_t i = 0; i < pages; i++, at += PAGE_SIZE) {
        if (space_ram(b->v.dev.vm->mem, at, PAGE_SIZE, true, &r, &off))
            give_back(b, r, off, PAGE_SIZE);
        else
            guest_error("virtio-balloon: page %#" PRIx64 " is no memory", at);
    }
}

static void inflate(Balloon *b, const VirtElem *e)
{
    IoVec out = virt_out(e);
    uint64_t first = 0, n = 0;

    for (size_t at = 0; at + 4 <= out.len && at < 4 * PFNS_MOST; at += 4) {
        uint8_t raw[4];

        iov_read(&out, at, raw, 4);
        uint64_t pfn = get(raw, 4);
        if (n && pfn == first + n) {
            n++;
            continue;
        }
        if (n)
            inflate_run(b, first, n);
        first = pfn;
        n = 1;
    }
    if (n)
        inflate_run(b, first, n);
}

/* The driver shows free pages as buffers to be written. With a poison other than 0 they must keep it. */
static void report(Balloon *b, const VirtElem *e)
{
    if (virtio_has(&b->v, F_PAGE_POISON) && b->poison)
        return;
    for (unsigned i = 0; i < e->n_in; i++) {
        uint8_t *p = e->in[i].iov_base;

        for (RamBlock *r = b->v.dev.vm->rams; r; r = r->next) {
            if (p >= r->host && p < r->host + r->size)
                give_back(b, r, p - r->host, MIN(e->in[i].iov_len, r->size - (size_t)(p - r->host)));
        }
    }
}

/* ---- statistics */

static void ask_later(Balloon *b)
{
    if (b->interval)
        timer_set(&b->timer, clock_now(b->v.dev.vm, CLOCK_GUEST) + b->interval * INT64_C(1000000000));
    else
        timer_del(&b->timer);
}

static void ask(void *opaque)
{
    Balloon *b = opaque;
    VirtQueue *q = virtio_queue(&b->v, 2);

    if (b->stats_elem && virtq_ready(q)) {
        virtq_push(q, b->stats_elem, 0);
        b->stats_elem = NULL;
        virtq_notify(q);
    }
    ask_later(b);
}

static void learn(Balloon *b, VirtQueue *q, VirtElem *e)
{
    IoVec out = virt_out(e);

    for (size_t at = 0; at + STAT <= out.len && at < 64 * STAT; at += STAT) {
        uint8_t raw[STAT];

        iov_read(&out, at, raw, STAT);
        unsigned tag = get(raw, 2);
        if (tag < BALLOON_STATS)
            b->stats.values[tag] = get(raw + 2, 8) & INT64_MAX;
    }
    b->stats.when = clock_now(b->v.dev.vm, CLOCK_HOST);
    if (b->stats_elem)
        virtq_push(q, b->stats_elem, 0);    /* a second one: the first goes back */
    b->stats_elem = e;
}

/* ---- queues */

static void handle(VirtioDevice *v, VirtQueue *q)
{
    Balloon *b = (Balloon *)v;
    Role role = role_of(b, virtq_index(q));
    VirtElem *e = NULL;

    for (int n = 0; n < AT_ONCE && (e = virtq_pop(q, sizeof(*e))); n++) {
        if (role == STATS) {
            learn(b, q, e);
            continue;
        }
        if (role == INFLATE)
            inflate(b, e);
        else if (role == REPORT)
            report(b, e);
        virtq_push(q, e, 0);
    }
    virtq_notify(q);
    if (e)
        virtio_kick(q);
}

static void quiesce(VirtioDevice *v, VirtQueue *q)
{
    Balloon *b = (Balloon *)v;

    if (b->stats_elem && (!q || b->stats_elem->q == q) && !virtq_waits(b->stats_elem->q)) {
        virtq_drop(b->stats_elem->q, b->stats_elem);
        b->stats_elem = NULL;
    }
}

static void reset(VirtioDevice *v)
{
    Balloon *b = (Balloon *)v;

    b->actual = b->poison = 0;
    memset(b->stats.values, 0xff, sizeof(b->stats.values));
    b->stats.when = 0;
    ask_later(b);
}

static uint64_t features(VirtioDevice *v)
{
    const Balloon *b = (Balloon *)v;
    bool report = b->free_page_reporting;

    return 1u << F_STATS_VQ | (unsigned)b->deflate_on_oom << F_DEFLATE_ON_OOM | (unsigned)report << F_REPORTING |
           (unsigned)(report && b->page_poison) << F_PAGE_POISON;
}

static void read_config(VirtioDevice *v)
{
    const Balloon *b = (Balloon *)v;

    put(v->config + C_TARGET, b->target, 4);
    put(v->config + C_ACTUAL, b->actual, 4);
    put(v->config + C_POISON, b->poison, 4);
}

/* Bytes that the guest has. */
static uint64_t left(const Balloon *b)
{
    uint64_t all = b->v.dev.vm->config->ram_size;

    return all - MIN((uint64_t)b->actual << 12, all);
}

static void write_config(VirtioDevice *v, unsigned off, unsigned len)
{
    Balloon *b = (Balloon *)v;

    uint32_t was = b->actual;

    b->actual = get(v->config + C_ACTUAL, 4);
    b->poison = get(v->config + C_POISON, 4);
    if (b->actual != was)
        vm_event(v->dev.vm, "BALLOON_CHANGE", json_pack("{s:I}", "actual", (json_int_t)left(b)));
}

static const VirtioOps ops = {
    .id = 5, .pci_class = 0x00ff00, .name = "virtio-balloon", .features = features, .read_config = read_config,
    .write_config = write_config, .handle = handle, .reset = reset, .quiesce = quiesce,
};

/* ---- for management */

extern const DeviceClass device_virtio_balloon;

static Err *find(Vm *vm, Balloon **out)
{
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        if (d->cls == &device_virtio_balloon) {
            *out = (Balloon *)d;
            return NULL;
        }
    }
    return err_hint(err(ERR_NOT_FOUND, "this machine has no balloon"), "-device virtio-balloon-pci adds one.");
}

Err *balloon_set(Vm *vm, uint64_t bytes)
{
    Balloon *b = NULL;
    uint64_t all = vm->config->ram_size;

    TRY(find(vm, &b));
    if (!bytes)
        return err(ERR_INVALID, "a guest without memory is not possible");
    b->target = (all - MIN(bytes, all)) >> 12;
    virtio_config_changed(&b->v);
    return NULL;
}

Err *balloon_get(Vm *vm, uint64_t *bytes)
{
    Balloon *b = NULL;

    TRY(find(vm, &b));
    *bytes = left(b);
    return NULL;
}

Err *balloon_poll(Vm *vm, uint32_t seconds)
{
    Balloon *b = NULL;

    TRY(find(vm, &b));
    b->interval = seconds;
    ask_later(b);
    return NULL;
}

Err *balloon_stats(Vm *vm, BalloonStats *out)
{
    Balloon *b = NULL;

    TRY(find(vm, &b));
    *out = b->stats;
    return NULL;
}

/* ---- the device */

static Err *realize(Device *d)
{
    Balloon *b = (Balloon *)d, *other = NULL;
    Err *none = find(d->vm, &other);

    if (!none)
        return err_hint(err(ERR_BUSY, "this machine has a balloon already"), "One is all that is needed.");
    err_free(none);
    if (b->free_page_hint)
        return err_hint(err(ERR_UNSUPPORTED, "free-page-hint=on is not available"),
                        "free-page-reporting=on gives free pages back to the host.");
    timer_init(&b->timer, d->vm, CLOCK_GUEST, ask, b);
    virtio_init(&b->v, &ops, CONFIG_SIZE);
    for (int i = 0; i < 3 + b->free_page_reporting; i++)
        virtio_add_queue(&b->v, QUEUE_SIZE, NULL);
    reset(&b->v);
    return NULL;
}

static void unrealize(Device *d)
{
    virtio_clear(&((Balloon *)d)->v);
}

static void save(Device *d, StateOut *out)
{
    const Balloon *b = (Balloon *)d;

    if (b->stats_elem)
        virtq_put_elem(b->stats_elem->q, out, "stats-elem", b->stats_elem);
}

static Err *load(Device *d, StateIn *in)
{
    Balloon *b = (Balloon *)d;

    return virtq_get_elem(virtio_queue(&b->v, 2), in, "stats-elem", sizeof(VirtElem), (void **)&b->stats_elem);
}

static const Field fields[] = {
    PROP(Balloon, deflate_on_oom, .def = "off", .doc = "the guest may take pages out when it has none left"),
    PROP(Balloon, free_page_hint, .def = "off", .doc = "off is what there is"),
    PROP(Balloon, page_poison, .def = "on", .doc = "with free-page-reporting: the guest says what free pages hold"),
    PROP(Balloon, free_page_reporting, .def = "off", .doc = "free pages of the guest go back to the host"),
    PROP(Balloon, interval, .as = "guest-stats-polling-interval", .def = "0", .doc = "seconds between questions for statistics"),
    STATE(Balloon, timer),
    STATE(Balloon, target, .keep = true), STATE(Balloon, actual, .keep = true), STATE(Balloon, poison, .keep = true),
    TRANSIENT(Balloon, v),
    TRANSIENT(Balloon, stats_elem), TRANSIENT(Balloon, stats), TRANSIENT(Balloon, given_back),
    {0}
};

DEVICE(virtio_balloon) = {
    .name = "virtio-balloon-device", .bus = "virtio-bus", .doc = "memory that the guest gives back", .size = sizeof(Balloon),
    .fields = fields, .base = virtio_fields, .realize = realize, .unrealize = unrealize,
    .save = save, .load = load,
};

DEVICE(virtio_balloon_pci) = VIRTIO_PCI("virtio-balloon-pci", device_virtio_balloon, "memory that the guest gives back", .alias = "virtio-balloon");
