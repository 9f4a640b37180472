/* SPDX-License-Identifier: MIT */
/*
 * virtio-9p: VIRTIO 1.2, section 5.9 ("9P device"; its number is reserved there,
 * the layout is that of Linux's net/9p/trans_virtio.c): one queue, whose buffers
 * hold a request and the place for its reply; the mount tag in the configuration.
 *
 * The queue has a thread of its own, in which the server runs: what the host has
 * in memory is answered there and then, all that is queued with one interrupt.
 */
#include <string.h>

#include "hw/9p/p9.h"
#include "hw/virtio/pci.h"
#include "util/co.h"

enum { F_MOUNT_TAG = 0, QUEUE_SIZE = 128, TAG_MOST = 255, AT_ONCE = 256 };

typedef struct Virtio9p {
    VirtioDevice v;
    char *mount_tag, *fsdev;
    FsDev *fs;
    IoThread *io;
    VirtQueue *q;
    /* its thread's, or anybody's while the queue is at rest */
    P9Server *server;
    CoQueue idle;
    unsigned flying;
    bool handling, notify_soon;
} Virtio9p;

typedef struct Req {
    VirtElem elem;
    P9Call call;
    Virtio9p *dev;
} Req;

static void notify(void *opaque)
{
    Virtio9p *p = opaque;

    p->notify_soon = false;
    virtq_notify(p->q);
}

static void done(P9Call *c, uint32_t len)
{
    Req *r = (Req *)((char *)c - offsetof(Req, call));
    Virtio9p *p = r->dev;

    if (!len)
        virtq_broken(p->q, "a buffer that holds no request, or has no room for a reply");
    virtq_push(p->q, r, len);
    p->flying--;
    if (p->handling)
        return;
    if (!p->notify_soon) {
        p->notify_soon = true;
        loop_call(iothread_loop(p->io), notify, p);
    }
    co_queue_wake_all(&p->idle);
}

static void handle(VirtioDevice *v, VirtQueue *q)
{
    Virtio9p *p = (Virtio9p *)v;
    Req *r = NULL;

    p->handling = true;
    for (int n = 0; n < AT_ONCE && (r = virtq_pop(q, sizeof(*r))); n++) {
        r->dev = p;
        r->call = (P9Call){ .out = virt_out(&r->elem), .in = virt_in(&r->elem), .done = done };
        p->flying++;
        p9_call(p->server, &r->call);
    }
    p->handling = false;
    virtq_notify(q);
    if (r)
        virtio_kick(q);         /* the loop has other things to do, too */
}

/* ---- rest */

static void wait_quiet(void *opaque)
{
    Virtio9p *p = opaque;

    while (p->flying)
        co_queue_wait(&p->idle);
    while (p->notify_soon)
        co_pause();
}

static void quiesce(VirtioDevice *v, VirtQueue *q)
{
    Virtio9p *p = (Virtio9p *)v;

    iothread_run(p->io, wait_quiet, p);
}

static void reset(VirtioDevice *v)
{
    p9_forget(((Virtio9p *)v)->server);
}

static uint64_t features(VirtioDevice *v)
{
    return 1u << F_MOUNT_TAG;
}

static const VirtioOps ops = {
    .id = 9, .pci_class = 0x000200, .name = "virtio-9p", .features = features, .handle = handle, .reset = reset,
    .quiesce = quiesce,
};

/* ---- the device */

static Err *check_props(Virtio9p *p)
{
    if (!p->fsdev)
        return err_hint(err(ERR_INVALID, "it has no fsdev"),
                        "-fsdev local,id=NAME,path=FOLDER,security_model=mapped-xattr, and here fsdev=NAME; or -virtfs.");
    TRY(fsdev_find(p->v.dev.vm, p->fsdev, &p->fs));
    if (!p->mount_tag || !*p->mount_tag || strlen(p->mount_tag) > TAG_MOST)
        return err_hint(err(ERR_INVALID, "its mount_tag has 1 to %d bytes", TAG_MOST),
                        "Add mount_tag=NAME; the guest says: mount -t 9p -o trans=virtio NAME /mnt");
    return NULL;
}

static Err *make_thread(Virtio9p *p)
{
    char name[32];
    int n = 0;

    do
        g_snprintf(name, sizeof(name), "9p-%d", n++);
    while (iothread_find(p->v.dev.vm, name));
    return iothread_new(p->v.dev.vm, name, &p->io);
}

static Err *realize(Device *d)
{
    Virtio9p *p = (Virtio9p *)d;

    TRY(check_props(p));
    TRY(make_thread(p));
    TRY(p9_new(p->fs, iothread_loop(p->io), &p->server));
    p->fs->used = true;
    size_t n = strlen(p->mount_tag);
    virtio_init(&p->v, &ops, 2 + n);
    p->v.config[0] = n;
    p->v.config[1] = n >> 8;
    memcpy(p->v.config + 2, p->mount_tag, n);
    p->q = virtio_add_queue(&p->v, QUEUE_SIZE, p->io);
    return NULL;
}

static void unrealize(Device *d)
{
    Virtio9p *p = (Virtio9p *)d;

    virtio_clear(&p->v);
    p9_free(p->server);
    p->server = NULL;
    iothread_free(p->io);
    p->io = NULL;
}

/* Open files and folders of the host cannot be taken along. */
static Err *can_save(Device *d)
{
    const Virtio9p *p = (Virtio9p *)d;
    unsigned n = p->server ? p9_fids(p->server) : 0;

    if (!n)
        return NULL;
    return err_hint(err(ERR_UNSUPPORTED, "the guest has the folder mounted: %u files and folders of the host are open", n),
                    "umount it in the guest, and mount it again afterwards.");
}

static const Field fields[] = {
    PROP(Virtio9p, mount_tag, .as = "mount_tag", .doc = "what the guest mounts"),
    PROP(Virtio9p, fsdev, .doc = "an -fsdev"),
    TRANSIENT(Virtio9p, v), TRANSIENT(Virtio9p, fs), TRANSIENT(Virtio9p, io), TRANSIENT(Virtio9p, q),
    TRANSIENT(Virtio9p, server), TRANSIENT(Virtio9p, idle), TRANSIENT(Virtio9p, flying),
    TRANSIENT(Virtio9p, handling), TRANSIENT(Virtio9p, notify_soon),
    {0}
};

DEVICE(virtio_9p) = {
    .name = "virtio-9p-device", .bus = "virtio-bus", .doc = "a folder of the host, by 9P", .size = sizeof(Virtio9p),
    .fields = fields, .base = virtio_fields, .realize = realize, .unrealize = unrealize,
    .can_save = can_save,
};

DEVICE(virtio_9p_pci) = VIRTIO_PCI("virtio-9p-pci", device_virtio_9p, "a folder of the host, by 9P", .alias = "virtio-9p");
DEVICE(virtio_9p_pci_transitional) = VIRTIO_PCI_TRANSITIONAL("virtio-9p-pci-transitional", device_virtio_9p, "a folder of the host, by 9P, legacy interface too");
DEVICE(virtio_9p_pci_modern) = VIRTIO_PCI_MODERN("virtio-9p-pci-non-transitional", device_virtio_9p, "a folder of the host, by 9P, no legacy interface");
