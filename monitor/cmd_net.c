/* SPDX-License-Identifier: MIT */
/* Network backends and cables. What belongs to the network's thread is done there. */
#include <string.h>

#include "hw/core/board.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "net/net.h"
#include "system/iothread.h"

typedef struct Task {
    Vm *vm;
    const char *arg;
    bool up;
    Err *e;
} Task;

/* fn there; its error. */
static Err *in_net(Monitor *m, void (*fn)(void *), Task t)
{
    t.vm = m->vm;
    if (!m->vm->net)
        return err(ERR_UNSUPPORTED, "this machine has no network");
    iothread_run(m->vm->net_thread, fn, &t);
    return t.e;
}

void qmp_open_netdevs(QmpOpen *to)
{
    for (const NetKind *const *k = netdev_set; *k; k++) {
        qmp_open_case(to, (*k)->name);
        qmp_open_fields(to, (*k)->fields);
    }
}

static void add(void *opaque)
{
    Task *t = opaque;

    t->e = net_add(t->vm->net, t->arg);
}

static bool is_kind(const char *name)
{
    for (const NetKind *const *k = netdev_set; *k; k++) {
        if (!strcmp((*k)->name, name))
            return true;
    }
    return false;
}

Err *qmp_netdev_add(Monitor *m, const NetdevAddArgs *args, json_t **ret)
{
    const json_t *type = json_object_get(args->all, "type");

    if (!type)
        return err(ERR_INVALID, "Parameter 'type' is missing");
    if (!json_is_string(type))
        return err(ERR_INVALID, "Invalid parameter type for 'type', expected: string");
    if (!is_kind(json_string_value(type)))
        return err(ERR_INVALID, "Parameter 'type' does not accept value '%s'", json_string_value(type));
    char *text = json_dumps(args->all, 0);
    Err *e = in_net(m, add, (Task){ .arg = text });
    free(text);
    return e;
}

Err *hmp_netdev_add(Monitor *m, const HmpNetdevAddArgs *args, GString *out)
{
    return in_net(m, add, (Task){ .arg = args->args });
}

static void del(void *opaque)
{
    Task *t = opaque;

    t->e = net_exists(t->vm->net, t->arg) ? net_del(t->vm->net, t->arg) : no_device(t->arg);
}

Err *qmp_netdev_del(Monitor *m, const NetdevDelArgs *args, json_t **ret)
{
    return in_net(m, del, (Task){ .arg = args->id });
}

/* ---- cables */

static void set_link(void *opaque)
{
    Task *t = opaque;
    NetPort *p = NULL;

    t->e = no_device(t->arg);
    while ((p = net_next(t->vm->net, p))) {
        if (strcmp(p->name, t->arg))
            continue;
        net_set_link(p, t->up);
        err_free(t->e);
        t->e = NULL;
    }
}

/* The backend of a NIC with that id; NULL: there is none. */
static const char *backend_of(Vm *vm, const char *id)
{
    Device *d = view_device(vm, id), *whose;
    const Field *f;

    if (!d || !device_prop(d, "netdev", &whose, &f) || f->type != FIELD_STR)
        return NULL;
    return *(char **)field_at(whose, f, 0);
}

Err *qmp_set_link(Monitor *m, const SetLinkArgs *args, json_t **ret)
{
    const char *name = backend_of(m->vm, args->name);
    Err *e = in_net(m, set_link, (Task){ .arg = name ? name : args->name, .up = args->up });

    if (e && name && err_class(e) == ERR_NO_DEVICE) {
        err_free(e);
        return no_device(args->name);
    }
    return e;
}
