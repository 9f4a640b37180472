/* SPDX-License-Identifier: MIT */
/*
 * Entropy device: virtio 1.2, section 5.4. One queue of buffers to be filled.
 *
 * max-bytes in each period of guest time is a limit on what the guest takes from
 * the host. A buffer is filled to at most 64 KiB, which the driver is told.
 */
#include "hw/virtio/pci.h"

#include "system/rng.h"

enum { QUEUE_SIZE = 8, MOST = 64 << 10, BATCH = 64 };

typedef struct VirtioRng {
    VirtioDevice virtio;
    char *rng;
    uint64_t max_bytes;
    uint32_t period;                /* ms */
    VirtQueue *queue;
    Rng *source;                    /* NULL: the built-in one */
    Timer renew;
    uint64_t left;                  /* of max_bytes in this period */
    bool waits;                     /* for the source */
} VirtioRng;

static void renewed(void *opaque)
{
    VirtioRng *r = opaque;

    r->left = r->max_bytes;
    virtio_kick(r->queue);
}

static void source_has_some(void *opaque)
{
    VirtioRng *r = opaque;

    r->waits = false;
    virtio_kick(r->queue);
}

/* Fills it as far as the source gives; bytes, or nothing now: 0, or ever: negative. */
static long fill(VirtioRng *r, const VirtElem *e)
{
    size_t want = MIN(MIN(e->in_len, r->left), MOST), done = 0;

    for (unsigned i = 0; i < e->n_in && done < want; i++) {
        size_t len = MIN(e->in[i].iov_len, want - done);
        long n = len;

        if (r->source)
            n = rng_read(r->source, e->in[i].iov_base, len);
        else
            rng_fill(e->in[i].iov_base, len);
        if (n <= 0)
            return done ? (long)done : n;
        done += n;
        if ((size_t)n < len)
            break;
    }
    return done;
}

/* One buffer; false: there is none, or it has to wait. */
static bool serve(VirtioRng *r)
{
    VirtElem *e = r->left ? virtq_pop(r->queue, sizeof(*e)) : NULL;

    if (!e)
        return false;
    long n = e->in_len ? fill(r, e) : 0;
    if (n <= 0 && e->in_len) {
        virtq_unpop(r->queue, e);
        if (!n) {
            r->waits = true;
            rng_wait(r->source, source_has_some, r);
        }
        return false;
    }
    virtq_push(r->queue, e, n);
    r->left -= n;
    if (!r->renew.vm || r->renew.when < 0)
        timer_set(&r->renew, clock_now(r->virtio.dev.vm, CLOCK_GUEST) + r->period * INT64_C(1000000));
    return true;
}

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtioRng *r = (VirtioRng *)v;
    unsigned n = 0;

    if (r->waits)
        return;
    while (n < BATCH && serve(r))
        n++;
    if (n)
        virtq_notify(q);
    if (n == BATCH)         /* others want the main thread, too */
        virtio_kick(q);
}

static const VirtioOps ops = { .id = 4, .pci_class = 0x00ff00, .name = "virtio-rng", .handle = handle };

static Err *realize(Device *d)
{
    VirtioRng *r = (VirtioRng *)d;

    if (!r->period)
        return err(ERR_INVALID, "period=0: it is a number of milliseconds above 0");
    if (r->max_bytes > INT64_MAX)
        return err(ERR_INVALID, "max-bytes is below 2^63");
    if (r->rng)
        TRY(rng_find(d->vm, r->rng, &r->source));
    r->left = r->max_bytes;
    timer_init(&r->renew, d->vm, CLOCK_GUEST, renewed, r);
    virtio_init(&r->virtio, &ops, 0);
    r->queue = virtio_add_queue(&r->virtio, QUEUE_SIZE, NULL);
    return NULL;
}

static void unrealize(Device *d)
{
    VirtioRng *r = (VirtioRng *)d;

    virtio_clear(&r->virtio);
    if (r->source)
        rng_unwait(r->source, r);
}

static void reset(Device *d)
{
    VirtioRng *r = (VirtioRng *)d;

    r->left = r->max_bytes;
}

static const Field fields[] = {
    PROP(VirtioRng, rng, .doc = "the -object rng-random or rng-builtin that the bytes come from (default: rng-builtin)"),
    PROP(VirtioRng, max_bytes, .def = "9223372036854775807", .doc = "bytes in each period"),
    PROP(VirtioRng, period, .def = "65536", .doc = "milliseconds"),
    STATE(VirtioRng, left), STATE(VirtioRng, renew),
    {0}
};

DEVICE(virtio_rng) = {
    .name = "virtio-rng-device", .bus = "virtio-bus", .doc = "source of randomness",
    .size = sizeof(VirtioRng), .fields = fields, .base = virtio_fields,
    .realize = realize, .unrealize = unrealize, .reset = reset,
};

DEVICE(virtio_rng_pci) = VIRTIO_PCI("virtio-rng-pci", device_virtio_rng, "source of randomness", .alias = "virtio-rng");
DEVICE(virtio_rng_pci_transitional) =
    VIRTIO_PCI_TRANSITIONAL("virtio-rng-pci-transitional", device_virtio_rng, "source of randomness, legacy interface too");
DEVICE(virtio_rng_pci_modern) =
    VIRTIO_PCI_MODERN("virtio-rng-pci-non-transitional", device_virtio_rng, "source of randomness, no legacy interface");
