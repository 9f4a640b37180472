/* SPDX-License-Identifier: MIT */
/*
 * The disks' I/O thread with its block graph, and the ends of devices.
 *
 * Nodes belong to that thread; the main thread and vCPUs ask for what they want
 * there with iothread_run and wait. Devices that are handled in the thread
 * itself (virtio queues) call block/ directly.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "block/objects.h"
#include "block/job.h"
#include "system/disks-priv.h"
#include "system/exports.h"
#include "system/state.h"
#include "util/err.h"

const char *const io_error_names[] = { "auto", "report", "ignore", "enospc", "stop", NULL };

/* ---- as a whole */

static void runs(void *opaque, bool on)
{
    Disks *d = opaque;

    if (!on)
        return;
    d->told_stop = false;
    for (guint i = 0; i < d->ports->len; i++)
        ((DiskPort *)d->ports->pdata[i])->status = DISK_OK;
    /* Monitors ask before; a debugger's "continue" does not. */
    Err *e = disks_take_images(d);
    if (e) {
        err_report(err_in(e, "disks were handed over"));
        vm_request(d->vm, VM_STOP, 0);
    }
}

static void over_threshold(void *opaque, BlockNode *n, uint64_t threshold, uint64_t by)
{
    vm_event(opaque, "BLOCK_WRITE_THRESHOLD", json_pack("{s:s, s:I, s:I}", "node-name", node_name(n), "amount-exceeded",
                                                        (json_int_t)by, "write-threshold", (json_int_t)threshold));
}

static void corrupt(void *opaque, BlockNode *n, const char *what, uint64_t off, bool fatal)
{
    vm_event(opaque, "BLOCK_IMAGE_CORRUPTED", json_pack("{s:s, s:s, s:s, s:I, s:b}", "device", "", "node-name", node_name(n), "msg", what,
                                                        "offset", (json_int_t)off, "fatal", fatal));
}

static void new_graph(Disks *d, BlockGraph *g)
{
    graph_set_fdsets(g, d->vm->fdsets);
    graph_set_yanks(g, d->vm->yanks);
    graph_on_threshold(g, over_threshold, d->vm);
    graph_on_corruption(g, corrupt, d->vm);
    objects_share_throttles(graph_objects(g), d->throttles);
}

ThrottleGroups *disks_throttles(Disks *d)
{
    return d->throttles;
}

Err *disks_new(Vm *vm, Disks **out)
{
    IoThread *t;

    *out = NULL;
    TRY(iothread_new(vm, "disks", &t));
    Disks *d = g_new0(Disks, 1);
    d->vm = vm;
    d->own = (DiskHome){ t, graph_new(iothread_loop(t)), g_ptr_array_new() };
    d->throttles = throttle_groups_new();
    new_graph(d, d->own.graph);
    d->places = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    d->objects = g_ptr_array_new_with_free_func(g_free);
    d->preferred = DRIVE_VIRTIO;
    d->drives_end = &d->drives;
    d->ports = g_ptr_array_new();
    disks_news_init(d);
    vm_on_state(vm, runs, d);
    *out = d;
    return NULL;
}

typedef struct LetGo { Disks *d; DiskHome *home; } LetGo;

static void let_go(void *arg)
{
    const LetGo *l = arg;

    jobs_end(l->home->graph);
    for (Drive *dr = l->d->drives; dr; dr = dr->next) {
        if (dr->home == l->home->thread)
            node_unref(dr->node);
    }
    for (guint i = l->home->nodes->len; i--; )
        node_unref(l->home->nodes->pdata[i]);
    graph_free(l->home->graph);
}

static void home_clear(Disks *d, DiskHome *h)
{
    iothread_run(h->thread, let_go, &(LetGo){ d, h });
    g_ptr_array_free(h->nodes, true);
}

static void look_at_home(void *arg)
{
    LetGo *l = arg;

    if (graph_next(l->home->graph, NULL) || job_next(l->home->graph, NULL))
        l->home = NULL;
}

static gboolean is_thread(gpointer name, gpointer thread, gpointer which)
{
    return thread == which;
}

bool disks_leave_thread(Disks *d, IoThread *t)
{
    DiskHome **at = &d->homes;
    Drive *dr = d->drives;

    while (*at && (*at)->thread != t)
        at = &(*at)->next;
    while (dr && dr->home != t)
        dr = dr->next;
    if (dr || t == d->own.thread)
        return false;
    if (*at) {
        DiskHome *h = *at;
        LetGo l = { d, h };

        iothread_run(t, look_at_home, &l);
        if (!l.home)
            return false;
        *at = h->next;
        home_clear(d, h);
        g_free(h);
    }
    g_hash_table_foreach_remove(d->places, is_thread, t);
    return true;
}

void disks_free(Disks *d)
{
    if (!d)
        return;
    vm_off_state(d->vm, d);
    exports_free(d);
    while (d->homes) {
        DiskHome *h = d->homes;

        d->homes = h->next;
        home_clear(d, h);
        g_free(h);
    }
    home_clear(d, &d->own);
    iothread_free(d->own.thread);
    for (Drive *dr = d->drives, *next; dr; dr = next) {
        next = dr->next;
        throttle_group_put(dr->limits);
        g_free(dr->id);
        g_free(dr);
    }
    g_hash_table_destroy(d->places);
    g_ptr_array_free(d->objects, true);
    g_ptr_array_free(d->ports, true);
    throttle_groups_unref(d->throttles);
    disks_news_free(d);
    snapshot_jobs_free(d->vm);
    g_free(d);
}

BlockGraph *disks_graph(Disks *d)
{
    return d->own.graph;
}

IoThread *disks_thread(Disks *d)
{
    return d->own.thread;
}

void disks_set_default(Disks *d, DriveInterface i)
{
    d->preferred = i;
}

/* ---- images that change hands */

typedef struct Hand { BlockGraph *graph; Err *(*fn)(BlockGraph *); Err *e; } Hand;

static void in_graph(void *opaque)
{
    Hand *h = opaque;

    h->e = h->fn(h->graph);
}

/* fn of each graph, in its thread; up to the first error. */
static Err *each_graph(Disks *d, Err *(*fn)(BlockGraph *))
{
    IoThread *t;
    Hand h = { .fn = fn };

    for (unsigned i = 0; !h.e && (t = disks_nth_thread(d, i, &h.graph)) != NULL; i++)
        iothread_run(t, in_graph, &h);
    return h.e;
}

static Err *open_inactive(BlockGraph *g)
{
    graph_open_inactive(g);
    return NULL;
}

void disks_wait_for_images(Disks *d)
{
    d->away = true;
    err_free(each_graph(d, open_inactive));
}

Err *disks_hand_over(Disks *d)
{
    Err *e = each_graph(d, graph_deactivate);

    d->away = true;
    if (e)
        err_free(disks_take_images(d));
    return e;
}

Err *disks_take_images(Disks *d)
{
    if (!d->away)
        return NULL;
    TRY(each_graph(d, graph_activate));
    d->away = false;
    return NULL;
}

/* ---- homes */

typedef struct AddObject { BlockGraph *graph; const char *arg; Err *e; } AddObject;

static void add_object(void *opaque)
{
    AddObject *a = opaque;

    a->e = objects_add(graph_objects(a->graph), a->arg);
}

static Err *add_to_home(DiskHome *h, const char *arg)
{
    AddObject a = { h->graph, arg, NULL };

    iothread_run(h->thread, add_object, &a);
    return a.e;
}

Err *disks_add_object(Disks *d, const char *arg)
{
    TRY(add_to_home(&d->own, arg));
    for (DiskHome *h = d->homes; h; h = h->next)
        TRY(add_to_home(h, arg));
    g_ptr_array_add(d->objects, g_strdup(arg));
    return NULL;
}

static Err *new_home(Disks *d, IoThread *t, DiskHome **out)
{
    DiskHome *h = *out = g_new0(DiskHome, 1);

    *h = (DiskHome){ t, graph_new(iothread_loop(t)), g_ptr_array_new(), d->homes };
    d->homes = h;
    new_graph(d, h->graph);
    if (d->away)
        graph_open_inactive(h->graph);          /* its thread has not heard of it */
    for (guint i = 0; i < d->objects->len; i++)
        TRY(add_to_home(h, d->objects->pdata[i]));
    return NULL;
}

BlockGraph *disks_graph_of(Disks *d, IoThread *home)
{
    for (DiskHome *h = d->homes; h; h = h->next) {
        if (h->thread == home)
            return h->graph;
    }
    return d->own.graph;
}

DiskHome *disks_nth_home(Disks *d, unsigned i)
{
    DiskHome *h = &d->own;

    for (; h && i; i--)
        h = h == &d->own ? d->homes : h->next;
    return h;
}

IoThread *disks_nth_thread(Disks *d, unsigned i, BlockGraph **graph)
{
    DiskHome *h = disks_nth_home(d, i);

    if (h)
        *graph = h->graph;
    return h ? h->thread : NULL;
}

static void del_object(void *opaque)
{
    AddObject *a = opaque;

    a->e = objects_del(graph_objects(a->graph), a->arg);
}

Err *disks_del_object(Disks *d, const char *id, const char *arg)
{
    DiskHome *h;
    guint at;

    for (unsigned i = 0; (h = disks_nth_home(d, i)); i++) {
        AddObject a = { h->graph, id, NULL };

        iothread_run(h->thread, del_object, &a);
        if (!a.e)
            continue;
        while (i--)         /* in use here: the others get it back */
            err_free(add_to_home(disks_nth_home(d, i), arg));
        return a.e;
    }
    if (g_ptr_array_find_with_equal_func(d->objects, arg, g_str_equal, &at))
        g_ptr_array_remove_index(d->objects, at);
    return NULL;
}

typedef struct SetObject { BlockGraph *graph; const char *id; const json_t *props; Err *e; } SetObject;

static void set_object(void *opaque)
{
    SetObject *s = opaque;

    s->e = objects_set(graph_objects(s->graph), s->id, s->props);
}

/* All are alike, so what the first takes the others take. */
Err *disks_set_object(Disks *d, const char *id, const json_t *props)
{
    SetObject s = { .id = id, .props = props };
    DiskHome *h;

    for (unsigned i = 0; !s.e && (h = disks_nth_home(d, i)); i++) {
        s.graph = h->graph;
        iothread_run(h->thread, set_object, &s);
    }
    return s.e;
}

Err *disks_home_in(Disks *d, IoThread *t, DiskHome **out)
{
    DiskHome *h;

    *out = &d->own;
    if (t == d->own.thread)
        return NULL;
    for (h = d->homes; h && h->thread != t; h = h->next)
        ;
    *out = h;
    return h ? NULL : new_home(d, t, out);
}

Err *disks_home(Disks *d, const char *name, DiskHome **out)
{
    return disks_home_in(d, disks_place_of(d, name), out);
}

IoThread *disks_place_of(Disks *d, const char *name)
{
    IoThread *t = g_hash_table_lookup(d->places, name);

    return t ? t : d->own.thread;
}

Err *disks_place(Disks *d, const char *name, IoThread *t)
{
    IoThread *was = g_hash_table_lookup(d->places, name);

    if (was && was != t)
        return err(ERR_INVALID, "'%s' cannot be in two I/O threads, '%s' and '%s'", name, iothread_name(was), iothread_name(t));
    g_hash_table_insert(d->places, g_strdup(name), t);
    return NULL;
}

/* ---- drives by name */

Drive *disks_next(Disks *d, Drive *after)
{
    return after ? after->next : d->drives;
}

Drive *disks_find(Disks *d, const char *id)
{
    for (Drive *dr = d->drives; dr; dr = dr->next) {
        if (!strcmp(dr->id, id))
            return dr;
    }
    return NULL;
}

Drive *disks_find_unit(Disks *d, DriveInterface i, int unit)
{
    for (Drive *dr = d->drives; dr; dr = dr->next) {
        if (dr->interface == i && !dr->bus && dr->unit == unit)
            return dr;
    }
    return NULL;
}

/* ---- a device's end */

static void port_resized(void *opaque)
{
    DiskPort *p = opaque;

    p->size = disk_size(p->disk);
    if (p->ops && p->ops->resized)
        p->ops->resized(p->dev);
}

static const DiskOps port_disk_ops = { .resized = port_resized };

typedef struct Bind {
    Disks *d;
    DiskHome *home;
    DiskPort *p;
    Drive *drive;
    bool read_only, removable;
    Err *e;
} Bind;

static Err *unknown_drive(const Bind *b)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *name = b->p->name;

    for (Drive *dr = b->d->drives; dr; dr = dr->next)
        g_ptr_array_add(names, dr->id);
    for (BlockNode *n = NULL; (n = graph_next(b->home->graph, n)); ) {
        if (*node_name(n) != '#')
            g_ptr_array_add(names, (void *)node_name(n));
    }
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "there is no drive or block node '%s'", name);
    if (near)
        return err_hint(e, "Did you mean '%s'?", near);
    return err_hint(e, "Add it: -drive if=none,id=%s,format=qcow2,file=FILE", name);
}

Err *disk_port_disk(DiskPort *p, BlockNode *n, bool read_only, Disk **out)
{
    g_autofree char *who = p->name ? g_strdup_printf("the device with drive '%s'", p->name) : g_strdup("a device");
    unsigned shared = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED | PERM_RESIZE;

    if (p->share_rw || read_only)
        shared |= PERM_WRITE;
    TRY(disk_new(n, PERM_CONSISTENT_READ | (read_only ? 0 : PERM_WRITE), shared, who, out));
    disk_set_writethrough(*out, p->writethrough);
    disk_set_stats(*out, &p->stats);
    disk_set_limits(*out, p->limits);
    return NULL;
}

void disk_port_listen(DiskPort *p)
{
    disk_set_ops(p->disk, &port_disk_ops, p);
    p->size = disk_size(p->disk);
}

static Err *bind_node(Bind *b, BlockNode *n)
{
    DiskPort *p = b->p;

    p->read_only = b->read_only || node_read_only(n);
    p->writethrough = b->drive && b->drive->writethrough;
    TRY(disk_port_disk(p, n, p->read_only, &p->disk));
    disk_port_listen(p);
    return NULL;
}

static void bind(void *opaque)
{
    Bind *b = opaque;
    BlockNode *n = b->drive ? b->drive->node : graph_find(b->home->graph, b->p->name);

    if (!b->drive && !n)
        b->e = unknown_drive(b);
    else if (n)
        b->e = bind_node(b, n);
    else if (!b->removable)
        b->e = err_hint(err(ERR_INVALID, "drive '%s' has no medium, and the device cannot be without", b->p->name),
                        "Give the drive a file=.");
}

static Err *check_free(const Drive *dr)
{
    if (!dr || !dr->taken)
        return NULL;
    Err *e = err(ERR_BUSY, "drive '%s' is in use by another device already", dr->id);
    return dr->interface == DRIVE_NONE ? e : err_hint(e, "Is if=none missing at that -drive?");
}

Err *disk_port_bind(Vm *vm, DiskPort *p, const DiskPortOps *ops, void *dev, bool read_only, bool removable)
{
    p->vm = vm;
    p->ops = ops;
    p->dev = dev;
    p->removable = removable;
    p->reader = p->read_only = read_only;
    if (!p->name && removable && vm->disks)
        g_ptr_array_add(vm->disks->ports, p);
    if (!p->name && removable) {
        p->werror = p->werror ? p->werror : IO_ERROR_ENOSPC;
        p->rerror = p->rerror ? p->rerror : IO_ERROR_REPORT;
        return NULL;
    }
    if (!p->name)
        return err_hint(err(ERR_INVALID, "drive property not set"),
                        "Add drive=ID, and -drive if=none,id=ID,format=qcow2,file=FILE");
    if (!vm->disks)
        return err(ERR_UNSUPPORTED, "this machine has no disks");
    Bind b = { .d = vm->disks, .p = p, .drive = disks_find(vm->disks, p->name), .read_only = read_only,
               .removable = removable };
    TRY(check_free(b.drive));
    TRY(disks_home(vm->disks, p->name, &b.home));
    if (b.drive && b.drive->limits && !p->limits)
        p->limits = throttle_group_get(vm->disks->throttles, throttle_group_name(b.drive->limits));
    if (b.home != &vm->disks->own && !p->any_home)
        return err_hint(err(ERR_UNSUPPORTED, "drive '%s' is in the I/O thread '%s', where this device cannot reach it", p->name,
                            iothread_name(b.home->thread)), "Leave iothread= of the other device away.");
    p->home = b.home->thread;
    iothread_run(p->home, bind, &b);
    TRY(b.e);
    g_ptr_array_add(vm->disks->ports, p);
    p->drive = b.drive;
    if (b.drive)
        b.drive->taken = true;
    if (p->werror == IO_ERROR_AUTO)
        p->werror = b.drive && b.drive->werror ? b.drive->werror : IO_ERROR_ENOSPC;
    if (p->rerror == IO_ERROR_AUTO)
        p->rerror = b.drive && b.drive->rerror ? b.drive->rerror : IO_ERROR_REPORT;
    return NULL;
}

static void unbind(void *arg)
{
    disk_free(arg);
}

void disk_port_unbind(DiskPort *p)
{
    if (p->vm && p->vm->disks) {
        disks_tell_now(p->vm->disks);       /* nobody hears of it later */
        g_ptr_array_remove(p->vm->disks->ports, p);
    }
    if (p->disk)
        iothread_run(p->home, unbind, p->disk);
    if (p->drive)
        p->drive->taken = false;
    p->disk = NULL;
    p->drive = NULL;
    p->size = 0;
    disk_stats_clear(&p->stats);
    throttle_group_put(p->limits);
    p->limits = NULL;
}

static void new_limits(void *arg)
{
    const DiskPort *p = arg;

    disk_set_limits(p->disk, p->limits);
}

void disk_port_set_limits(DiskPort *p, ThrottleGroup *g)
{
    ThrottleGroup *was = p->limits;

    p->limits = g;
    if (p->disk)
        iothread_run(p->home, new_limits, p);
    throttle_group_put(was);
}

static void flush(void *arg)
{
    disk_flush(arg);
}

void disks_flush(Disks *d)
{
    for (guint i = 0; i < d->ports->len; i++) {
        const DiskPort *p = d->ports->pdata[i];

        if (p->disk && !p->read_only)
            iothread_run(p->home, flush, p->disk);
    }
}

static void drain(void *arg)
{
    disk_drain(arg);
}

void disk_port_drain(DiskPort *p)
{
    if (p->disk)
        iothread_run(p->home, drain, p->disk);
}

static void set_through(void *arg)
{
    const DiskPort *p = arg;

    disk_set_writethrough(p->disk, p->writethrough);
}

void disk_port_set_writethrough(DiskPort *p, bool on)
{
    p->writethrough = on;
    if (p->disk)
        iothread_run(p->home, set_through, p);
}

/* ---- errors */

static const char *verb(bool write)
{
    return write ? "write to" : "read";
}

static void say_stop(DiskPort *p, bool write, int error)
{
    Disks *d = p->vm->disks;

    if (atomic_exchange(&d->told_stop, true))
        return;
    err_note("drive '%s': cannot %s it: %s. The machine stands until it is told to go on (kill -USR1 %d), and then "
             "tries again; %s=report would let the guest see the error instead",
             p->name, verb(write), strerror(error), (int)getpid(), write ? "werror" : "rerror");
}

DiskVerdict disk_port_failed(DiskPort *p, bool write, int error)
{
    OnIoError what = write ? p->werror : p->rerror;

    if (what == IO_ERROR_ENOSPC)
        what = error == ENOSPC ? IO_ERROR_STOP : IO_ERROR_REPORT;
    if (what != IO_ERROR_IGNORE && what != IO_ERROR_STOP)
        what = IO_ERROR_REPORT;
    if (what == IO_ERROR_STOP)
        p->status = error == ENOSPC ? DISK_NO_SPACE : DISK_FAILED;
    disks_tell(p->vm->disks, (DiskNews){ .port = p, .what = DISK_IO_FAILED, .write = write, .error = error, .action = what });
    if (what != IO_ERROR_STOP)
        return what == IO_ERROR_IGNORE ? DISK_ERROR_IGNORE : DISK_ERROR_REPORT;
    say_stop(p, write, error);
    vm_request_stop(p->vm, RUN_IO_ERROR);
    return DISK_ERROR_STOP;
}

/* ---- in place */

typedef struct Whole {
    DiskPort *p;
    uint64_t off, len;
    uint8_t *buf;
    bool write;
    int ret;
} Whole;

static void whole(void *opaque)
{
    Whole *w = opaque;

    while (w->len && !w->ret) {
        uint64_t n = MIN(w->len, (uint64_t)BLOCK_MAX_REQUEST);
        IoVec q = IOV_BUF(w->buf, n);

        w->ret = w->write ? disk_write(w->p->disk, w->off, &q, 0) : disk_read(w->p->disk, w->off, &q, 0);
        w->off += n;
        w->buf += n;
        w->len -= n;
    }
}

static int run_whole(Whole w)
{
    if (!w.p->disk)
        return -ENOMEDIUM;
    iothread_run(w.p->home, whole, &w);
    return w.ret;
}

int disk_port_pread(DiskPort *p, uint64_t off, void *buf, uint64_t len)
{
    return run_whole((Whole){ .p = p, .off = off, .len = len, .buf = buf });
}

int disk_port_pwrite(DiskPort *p, uint64_t off, const void *buf, uint64_t len)
{
    return run_whole((Whole){ .p = p, .off = off, .len = len, .buf = (void *)buf, .write = true });
}
