/* SPDX-License-Identifier: MIT */
/* Media and trays: eject, blockdev-open-tray and its kin, and what disks tell by events (DEVICE_TRAY_MOVED, BLOCK_IO_ERROR). */
#include "monitor/block_events.h"

#include <string.h>

#include "hw/core/board.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"

/* ---- finding it */

typedef struct Tray {
    Vm *vm;
    const char *name;               /* as given */
    DiskPort *port;
} Tray;

static Err *find(Monitor *m, const char *device, const char *id, Tray *out)
{
    const char *name = device ? device : id;

    if (!device == !id)
        return err(ERR_INVALID, "Need exactly one of 'device' and 'id'");
    *out = (Tray){ m->vm, name, block_port(m->vm, name) };
    if (out->port)
        return NULL;
    if (disks_find(m->vm->disks, name))
        return err(ERR_INVALID, "Drive '%s' has no device, so it has no tray", name);
    return id && view_device(m->vm, id) ? err(ERR_INVALID, "Device does not have a block device backend") : no_device(name);
}

static Err *check_removable(const Tray *t)
{
    if (t->port->removable && t->port->ops && t->port->ops->move)
        return NULL;
    return err(ERR_INVALID, "Device '%s' is not removable", t->name);
}

static DiskTray state_of(const Tray *t)
{
    return t->port->ops->tray(t->port->dev);
}

/* ---- its parts */

/* *waits: the guest is asked, and opens it when it likes. */
static Err *open_tray(const Tray *t, bool force, bool *waits)
{
    const DiskPortOps *ops = t->port->ops;

    *waits = false;
    TRY(check_removable(t));
    DiskTray now = state_of(t);
    if (now.open)
        return NULL;
    if (now.locked)
        ops->ask(t->port->dev);
    if (now.locked && !force) {
        *waits = true;
        return NULL;
    }
    ops->unlock(t->port->dev);
    ops->move(t->port->dev, true);
    return NULL;
}

static Err *must_open(const Tray *t, bool force)
{
    bool waits;

    TRY(open_tray(t, force, &waits));
    return waits ? err(ERR_BUSY, "Device '%s' is locked and force was not specified, wait for tray to open and try again", t->name) : NULL;
}

static Err *check_open(const Tray *t)
{
    TRY(check_removable(t));
    return state_of(t).open ? NULL : err(ERR_INVALID, "Tray of device '%s' is not open", t->name);
}

static Err *remove_medium(const Tray *t)
{
    TRY(check_open(t));
    if (t->port->disk)
        disk_port_change(t->port, NULL);
    return NULL;
}

/* Takes the medium. */
static Err *insert(const Tray *t, DiskMedium *m)
{
    Err *e = check_open(t);

    if (!e && t->port->disk)
        e = err(ERR_INVALID, "There already is a medium in the device");
    if (e)
        disk_medium_free(m);
    else
        disk_port_change(t->port, m);
    return e;
}

static Err *close_tray(const Tray *t)
{
    TRY(check_removable(t));
    t->port->ops->move(t->port->dev, false);
    return NULL;
}

/* What was told on the way comes before the answer. */
static Err *done(Monitor *m, Err *e)
{
    disks_tell_now(m->vm->disks);
    return e;
}

/* ---- commands */

Err *qmp_blockdev_open_tray(Monitor *m, const BlockdevOpenTrayArgs *a, json_t **ret)
{
    bool waits;
    Tray t;

    TRY(find(m, a->device, a->id, &t));
    return done(m, open_tray(&t, a->force, &waits));
}

Err *qmp_blockdev_close_tray(Monitor *m, const BlockdevCloseTrayArgs *a, json_t **ret)
{
    Tray t;

    TRY(find(m, a->device, a->id, &t));
    return done(m, close_tray(&t));
}

Err *qmp_blockdev_remove_medium(Monitor *m, const BlockdevRemoveMediumArgs *a, json_t **ret)
{
    Tray t;

    TRY(find(m, NULL, a->id, &t));
    return remove_medium(&t);
}

Err *qmp_blockdev_insert_medium(Monitor *m, const BlockdevInsertMediumArgs *a, json_t **ret)
{
    DiskMedium *medium;
    Tray t;

    TRY(find(m, NULL, a->id, &t));
    TRY(check_removable(&t));
    TRY(disk_medium_of(t.port, a->node_name, &medium));
    return insert(&t, medium);
}

Err *qmp_eject(Monitor *m, const EjectArgs *a, json_t **ret)
{
    Tray t;

    TRY(find(m, a->device, a->id, &t));
    Err *e = must_open(&t, a->force);
    return done(m, e ? e : remove_medium(&t));
}

static Err *open_file(const Tray *t, const char *file, const char *format, QmpBlockdevChangeReadOnlyMode mode, DiskMedium **out)
{
    bool writes = mode == QMP_BLOCKDEV_CHANGE_READ_ONLY_MODE_READ_WRITE ||
                  (mode == QMP_BLOCKDEV_CHANGE_READ_ONLY_MODE_RETAIN && !t->port->read_only);
    json_t *o = NULL;

    if (format && !driver_find(format))
        return err(ERR_INVALID, "Unknown driver '%s'", format);
    TRY(options_from_name(file, format, &o));
    json_object_set_new(o, "read-only", json_boolean(!writes));
    Err *e = disk_medium_open(t->port, o, writes, out);
    json_decref(o);
    return e;
}

/* The new medium is opened first, so that a name that is wrong leaves the old one where it is. */
static Err *change(const Tray *t, const char *file, const char *format, QmpBlockdevChangeReadOnlyMode mode, bool force)
{
    DiskMedium *medium;

    TRY(check_removable(t));
    TRY(open_file(t, file, format, mode, &medium));
    Err *e = must_open(t, force);
    if (!e)
        e = remove_medium(t);
    if (e) {
        disk_medium_free(medium);
        return e;
    }
    TRY(insert(t, medium));
    return close_tray(t);
}

Err *qmp_blockdev_change_medium(Monitor *m, const BlockdevChangeMediumArgs *a, json_t **ret)
{
    Tray t;

    TRY(find(m, a->device, a->id, &t));
    return done(m, change(&t, a->filename, a->format, a->read_only_mode, a->force));
}

Err *hmp_change(Monitor *m, const HmpChangeArgs *a, GString *out)
{
    Tray t;

    TRY(find(m, a->device, NULL, &t));
    return done(m, change(&t, a->target, a->format, a->read_only_mode, a->force));
}

/* ---- events */

typedef struct Find { const DiskPort *port; BlockEnd end; } Find;

static void match(void *opaque, const BlockEnd *b)
{
    Find *f = opaque;

    if (b->port == f->port)
        f->end = *b;
}

static void take_name(void *opaque, BlockNode *n)
{
    *(char **)opaque = g_strdup(n ? node_name(n) : NULL);
}

static json_t *error_json(const DiskNews *n, const BlockEnd *b)
{
    g_autofree char *node = NULL, *path = view_device_path(b->device);

    block_look(b, take_name, &node);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "qom-path", path, "device", b->drive ? b->drive->id : "", "operation",
                          n->write ? "write" : "read", "action", io_error_names[n->action], "nospace", n->error == ENOSPC, "reason",
                          g_strerror(n->error));

    if (node)
        json_object_set_new(o, "node-name", json_string(node));
    return o;
}

static void heard(void *opaque, const DiskNews *n)
{
    Vm *vm = opaque;
    Find f = { .port = n->port };

    if (!vm->board)
        return;
    block_each(vm, match, &f);
    if (!f.end.device)
        return;
    g_autofree char *qdev = block_qdev(&f.end);
    if (n->what == DISK_TRAY_MOVED)
        vm_event(vm, "DEVICE_TRAY_MOVED", json_pack("{s:s, s:s, s:b}", "device", f.end.drive ? f.end.drive->id : "", "id", qdev,
                                                    "tray-open", n->open));
    else
        vm_event(vm, "BLOCK_IO_ERROR", error_json(n, &f.end));
}

void block_events_init(Vm *vm)
{
    if (vm->disks)
        disks_on_news(vm->disks, heard, vm);
}

void block_events_clear(Vm *vm)
{
    if (vm->disks)
        disks_on_news(vm->disks, NULL, NULL);
}
