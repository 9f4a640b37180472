/* SPDX-License-Identifier: MIT */
/*
 * Media that come and go, and what disks tell the machine's users.
 *
 * A medium is a Disk that no device has yet, in the thread of its node. To change
 * it, the device is asked to hold still; between two of its requests it finds
 * another Disk in its DiskPort, perhaps in another thread. All in the main thread.
 *
 * News (trays that moved, requests that failed) come from any thread; whoever hears
 * of them (a monitor) is called in the main thread, as it wants to know names of devices.
 */
#include <string.h>

#include "block/driver.h"
#include "system/disks-priv.h"

/* ---- news */

struct DiskNewsBox {
    GAsyncQueue *queue;             /* DiskNews, allocated */
    void (*fn)(void *, const DiskNews *);   /* main thread; NULL: nobody listens */
    void *opaque;
};

void disks_news_init(Disks *d)
{
    d->news = g_new0(DiskNewsBox, 1);
    d->news->queue = g_async_queue_new_full(g_free);
}

void disks_news_free(Disks *d)
{
    vm_forget_calls(d->vm, d->news);
    g_async_queue_unref(d->news->queue);
    g_free(d->news);
}

void disks_on_news(Disks *d, void (*fn)(void *, const DiskNews *), void *opaque)
{
    d->news->fn = fn;
    d->news->opaque = opaque;
}

static void tell(void *opaque)
{
    DiskNewsBox *b = opaque;

    for (DiskNews *n; (n = g_async_queue_try_pop(b->queue)) != NULL; g_free(n)) {
        if (b->fn)
            b->fn(b->opaque, n);
    }
}

void disks_tell(Disks *d, DiskNews n)
{
    g_async_queue_push(d->news->queue, g_memdup2(&n, sizeof(n)));
    vm_call_main(d->vm, tell, d->news);
}

void disks_tell_now(Disks *d)
{
    tell(d->news);
}

void disk_port_tray_moved(DiskPort *p, bool open)
{
    disks_tell(p->vm->disks, (DiskNews){ .port = p, .what = DISK_TRAY_MOVED, .open = open });
}

/* ---- media */

struct DiskMedium {
    IoThread *home;
    Disk *disk;
    bool read_only;
    uint64_t size;
};

typedef struct Make {
    DiskHome *home;
    DiskPort *p;
    const char *name;               /* of a node that is there; or NULL, and */
    const json_t *options;          /* what opens one */
    bool writes;
    DiskMedium *m;
    Err *e;
} Make;

static bool has_disk(const BlockNode *n)
{
    for (const BlockChild *c = n->parents; c; c = c->next_parent) {
        if (c->disk)
            return true;
    }
    return false;
}

static void make_disk(void *opaque)
{
    Make *k = opaque;
    BlockNode *n = NULL;

    if (k->name) {
        n = graph_find(k->home->graph, k->name);
        if (n && has_disk(n))
            k->e = err(ERR_BUSY, "Node '%s' is already in use", k->name);
        else if (n)
            node_ref(n);
    } else {
        k->e = node_open(k->home->graph, k->options, k->writes ? OPEN_RW | OPEN_RESIZE : 0, &n);
    }
    if (!k->e && n) {
        k->m->read_only = k->p->reader || node_read_only(n);
        k->e = disk_port_disk(k->p, n, k->m->read_only, &k->m->disk);
        k->m->size = k->e ? 0 : disk_size(k->m->disk);
        node_unref(n);              /* the disk has a hold of its own */
    }
}

static Err *make_medium(Make *k, DiskMedium **out)
{
    k->m = g_new0(DiskMedium, 1);
    k->m->home = k->home->thread;
    iothread_run(k->home->thread, make_disk, k);
    if (k->e)
        g_free(k->m);
    else
        *out = k->m;
    return k->e;
}

Err *disk_medium_of(DiskPort *p, const char *node, DiskMedium **out)
{
    Make k = { .p = p, .name = node };

    *out = NULL;
    k.home = disks_home_with(p->vm->disks, node);
    return k.home ? make_medium(&k, out) : err(ERR_NOT_FOUND, "Node '%s' not found", node);
}

Err *disk_medium_open(DiskPort *p, const json_t *options, bool writes, DiskMedium **out)
{
    Make k = { .p = p, .options = options, .writes = writes };
    IoThread *t = p->drive ? p->drive->home : NULL;

    *out = NULL;
    for (unsigned i = 0; t && (k.home = disks_nth_home(p->vm->disks, i)) && k.home->thread != t; i++)
        ;
    if (!k.home)
        k.home = &p->vm->disks->own;
    return make_medium(&k, out);
}

static void free_disk(void *opaque)
{
    disk_free(opaque);
}

void disk_medium_free(DiskMedium *m)
{
    if (!m)
        return;
    if (m->disk)
        iothread_run(m->home, free_disk, m->disk);
    g_free(m);
}

static void forget_ops(void *opaque)
{
    disk_set_ops(opaque, NULL, NULL);
}

static void start_ops(void *opaque)
{
    disk_port_listen(opaque);
}

typedef struct Swap { DiskPort *p; DiskMedium *m; Disk *old; } Swap;

/* The device's thread, which has no request under way. */
static void swap(void *opaque)
{
    Swap *s = opaque;
    DiskPort *p = s->p;

    s->old = p->disk;
    p->disk = s->m ? s->m->disk : NULL;
    p->read_only = s->m ? s->m->read_only : p->reader;
    if (s->m)
        p->home = s->m->home;
    p->size = s->m ? s->m->size : 0;
}

static void drop_drive_node(void *opaque)
{
    Drive *dr = opaque;

    node_unref(dr->node);
    dr->node = NULL;
}

void disk_port_change(DiskPort *p, DiskMedium *m)
{
    Swap s = { p, m, NULL };
    IoThread *was = p->home;

    if (p->disk)
        iothread_run(was, forget_ops, p->disk);
    p->ops->hold(p->dev, swap, &s);
    if (p->disk)
        iothread_run(p->home, start_ops, p);
    if (s.old)
        iothread_run(was, free_disk, s.old);
    if (p->drive && p->drive->node)
        iothread_run(p->drive->home, drop_drive_node, p->drive);
    g_free(m);
}
