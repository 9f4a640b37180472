/* SPDX-License-Identifier: MIT */
/* See monitor/block_visit.h. */
#include "monitor/block_visit.h"

#include <string.h>

#include "block/driver.h"
#include "hw/core/board.h"
#include "monitor/view.h"

/* ---- devices */

typedef struct Find { Device *device; Device *whose; DiskPort *port; } Find;

static void find_port(void *opaque, const Field *f)
{
    Find *l = opaque;
    const Field *found;
    g_autofree char *name = field_name(f);
    Device *whose;

    if (l->port || f->type != FIELD_DISK || !device_prop(l->device, name, &whose, &found))
        return;
    l->whose = whose;
    l->port = field_at(whose, found, 0);
}

DiskPort *block_port_of(Device *d, Device **whose)
{
    Find l = { .device = d };

    device_class_props(d->cls, find_port, &l);
    if (whose)
        *whose = l.whose;
    return l.port && l.port->vm ? l.port : NULL;
}

DiskPort *block_port(Vm *vm, const char *name)
{
    const Drive *dr = disks_find(vm->disks, name);
    Device *d = dr ? NULL : view_device(vm, name);

    if (d)
        return block_port_of(d, NULL);
    for (d = dr ? machine_of(vm)->devices : NULL; d; d = d->next) {
        DiskPort *p = d->outer ? NULL : block_port_of(d, NULL);

        if (p && p->drive == dr)
            return p;
    }
    return NULL;
}

/* ---- all of them */

void block_each(Vm *vm, void (*fn)(void *, const BlockEnd *), void *opaque)
{
    for (Drive *dr = NULL; (dr = disks_next(vm->disks, dr)); ) {
        BlockEnd b = { .drive = dr };

        for (Device *d = machine_of(vm)->devices; d && dr->taken && !b.port; d = d->next) {
            DiskPort *p = d->outer ? NULL : block_port_of(d, &b.device);

            b.port = p && p->drive == dr ? p : NULL;
        }
        if (!b.port)
            b.device = NULL;
        fn(opaque, &b);
    }
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        BlockEnd b = { 0 };

        b.port = d->outer ? NULL : block_port_of(d, &b.device);
        if (b.port && !b.port->drive)
            fn(opaque, &b);
    }
}

char *block_qdev(const BlockEnd *b)
{
    return !b->device ? NULL : b->device->id ? g_strdup(b->device->id) : view_device_path(b->device);
}

bool block_removable(const BlockEnd *b, DiskTray *tray, bool *has_tray)
{
    const DiskPort *p = b->port;

    *has_tray = p && p->ops && p->ops->tray && p->removable;
    *tray = *has_tray ? p->ops->tray(p->dev) : (DiskTray){ 0 };
    return !p || *has_tray;
}

typedef struct Look { const BlockEnd *b; void (*fn)(void *, BlockNode *); void *opaque; } Look;

static void look(void *opaque)
{
    const Look *l = opaque;
    const DiskPort *p = l->b->port;
    BlockNode *n = p ? (p->disk ? disk_node(p->disk) : NULL) : l->b->drive->node;

    if (n)
        node_ref(n);
    l->fn(l->opaque, n);
    node_unref(n);
}

void block_look(const BlockEnd *b, void (*fn)(void *, BlockNode *), void *opaque)
{
    IoThread *t = b->port ? disk_port_thread(b->port) : b->drive->home;

    if (t)
        iothread_run(t, look, &(Look){ b, fn, opaque });
    else
        fn(opaque, NULL);
}

/* ---- visits */

static void visit_node(void *opaque)
{
    BlockVisit *v = opaque;

    v->node = graph_find(v->graph, v->name);
    if (!v->node)
        return;
    v->found = true;
    node_ref(v->node);
    v->e = v->fn(v);
    node_unref(v->node);
}

typedef struct VisitDevice { BlockVisit *v; const Drive *drive; } VisitDevice;

static void visit_device(void *opaque)
{
    const VisitDevice *d = opaque;
    BlockVisit *v = d->v;

    v->node = v->port ? (v->port->disk ? disk_node(v->port->disk) : NULL) : d->drive->node;
    v->found = true;
    v->empty = !v->node;
    if (!v->node)
        return;
    v->graph = v->node->graph;
    node_ref(v->node);
    v->e = v->fn(v);
    node_unref(v->node);
}

static void go_to_device(BlockVisit *v, const Drive *dr)
{
    VisitDevice d = { v, dr };

    v->port = block_port(v->vm, v->name);
    if (!v->port && !dr)
        return;
    v->thread = v->port ? disk_port_thread(v->port) : dr->home;
    if (v->thread)
        iothread_run(v->thread, visit_device, &d);
    else
        v->found = v->empty = true;
    if (v->empty)
        v->e = err(ERR_INVALID, "Device '%s' has no medium", v->name);
}

/* Names of drives come first, those of devices last. */
bool block_visit(Vm *vm, const char *name, BlockNames what, Err *(*fn)(BlockVisit *), const void *args, Err **e)
{
    BlockVisit v = { .vm = vm, .name = name, .args = args, .fn = fn };
    const Drive *dr = what & BLOCK_DEVICE ? disks_find(vm->disks, name) : NULL;

    if (dr)
        go_to_device(&v, dr);
    for (unsigned i = 0; what & BLOCK_NODE && !v.found && (v.thread = disks_nth_thread(vm->disks, i, &v.graph)); i++)
        iothread_run(v.thread, visit_node, &v);
    if (what & BLOCK_DEVICE && !v.found)
        go_to_device(&v, NULL);
    *e = v.e;
    return v.found;
}

Err *block_at(Vm *vm, const char *name, Err *(*fn)(BlockVisit *), const void *args)
{
    Err *e;

    if (block_visit(vm, name, BLOCK_ANY, fn, args, &e))
        return e;
    return err(ERR_NOT_FOUND, "Cannot find device='%s' nor node-name='%s'", name, name);
}

Err *block_at_either(Vm *vm, const char *device, const char *node, Err *(*fn)(BlockVisit *), const void *args)
{
    Err *e;

    if ((device && block_visit(vm, device, BLOCK_DEVICE, fn, args, &e)) || (node && block_visit(vm, node, BLOCK_NODE, fn, args, &e)))
        return e;
    return err(ERR_NOT_FOUND, "Cannot find device='%s' nor node-name='%s'", device ? device : "", node ? node : "");
}

Err *block_other(const BlockVisit *v, const char *name, BlockNode **out)
{
    *out = graph_find(v->graph, name);
    return *out ? NULL : err(ERR_NOT_FOUND, "Cannot find device='' nor node-name='%s'", name);
}

/* ---- meeting */

static Err *take_thread(BlockVisit *v)
{
    *(IoThread **)v->args = v->thread;
    return NULL;
}

Err *block_together(Vm *vm, const char *name, const char *other)
{
    IoThread *here = NULL, *there = NULL;
    Err *e, *e2 = NULL;

    if (!other)
        return NULL;
    bool both = block_visit(vm, name, BLOCK_ANY, take_thread, &here, &e) &&
                block_visit(vm, other, BLOCK_ANY, take_thread, &there, &e2);
    err_free(e);
    err_free(e2);
    if (!both || !here || !there || here == there)
        return NULL;
    e = disks_move_node(vm->disks, other, here);
    if (!e)
        return NULL;
    e2 = disks_move_node(vm->disks, name, there);       /* perhaps this one is free */
    if (!e2)
        err_free(e);
    else
        err_free(e2);
    return e2 ? e : NULL;
}
