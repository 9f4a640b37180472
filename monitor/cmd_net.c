/* SPDX-License-Identifier: MIT */
/* Network backends and cables. What belongs to the network's thread is done there. */
#include <string.h>

#include "hw/core/board.h"
#include "hw/nic/nic.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "net/net.h"
#include "system/iothread.h"
#include "system/objects.h"

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
    TRY(in_net(m, del, (Task){ .arg = args->id }));
    objects_network_gone(m->vm);
    return NULL;
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

/* ---- what NICs take */

static json_t *macs(const GArray *list)
{
    json_t *out = json_array();

    for (guint i = 0; i < list->len; i++) {
        const uint8_t *a = g_array_index(list, Mac, i).a;
        g_autofree char *text = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5]);

        json_array_append_new(out, json_string(text));
    }
    return out;
}

static json_t *filter_json(const char *name, const NicFilter *f)
{
    static const char *const takes[] = { [NIC_TAKES_NORMAL] = "normal", [NIC_TAKES_NONE] = "none", [NIC_TAKES_ALL] = "all" };
    g_autoptr(GArray) own = g_array_new(FALSE, FALSE, sizeof(Mac));
    json_t *vlans = json_array();

    g_array_append_val(own, f->own);
    json_t *mac = macs(own);
    for (guint i = 0; i < f->vlans->len; i++)
        json_array_append_new(vlans, json_integer(g_array_index(f->vlans, uint16_t, i)));
    json_t *v = json_pack("{s:s, s:b, s:s, s:s, s:s, s:b, s:b, s:b, s:O, s:o, s:o, s:o}", "name", name, "promiscuous", f->promiscuous,
                          "multicast", takes[f->multicast], "unicast", takes[f->unicast], "vlan", takes[f->vlan], "broadcast-allowed",
                          f->broadcast, "multicast-overflow", f->multicast_overflow, "unicast-overflow", f->unicast_overflow,
                          "main-mac", json_array_get(mac, 0), "vlan-table", vlans, "unicast-table", macs(f->unicast_table),
                          "multicast-table", macs(f->multicast_table));
    json_decref(mac);
    return v;
}

/* Appends what it is; false: it is no NIC that can tell. */
static bool add_filter(Device *d, json_t *list)
{
    g_autofree char *path = view_device_path(d->inner ? d->inner : d);
    NicFilter f;

    if (!virtio_net_filter(d, path, &f))
        return false;
    json_array_append_new(list, filter_json(d->id ? d->id : d->cls->name, &f));
    nic_filter_clear(&f);
    return true;
}

static void is_backend(void *opaque)
{
    Task *t = opaque;

    t->e = net_exists(t->vm->net, t->arg) ? err(ERR_INVALID, "net client(%s) isn't a NIC", t->arg)
                                          : err(ERR_NOT_FOUND, "invalid net client name: %s", t->arg);
}

static Err *no_nic(Monitor *m, const char *name)
{
    if (device_find(m->vm, name))
        return err(ERR_INVALID, "net client(%s) isn't a NIC", name);
    return m->vm->net ? in_net(m, is_backend, (Task){ .arg = name }) : err(ERR_NOT_FOUND, "invalid net client name: %s", name);
}

Err *qmp_query_rx_filter(Monitor *m, const QueryRxFilterArgs *args, json_t **ret)
{
    json_t *list = json_array();

    for (Device *d = machine_of(m->vm)->devices; d; d = d->next) {
        if (!d->outer && (!args->name || !strcmp(d->id ? d->id : d->cls->name, args->name)))
            add_filter(d, list);
    }
    if (args->name && !json_array_size(list)) {
        json_decref(list);
        return no_nic(m, args->name);
    }
    *ret = list;
    return NULL;
}

/* ---- announcements: the driver does it, once or more often */

static bool is_listed(const json_t *names, const Device *d)
{
    json_t *n;
    size_t i;

    json_array_foreach((json_t *)names, i, n) {
        if (d->id && !strcmp(json_string_value(n), d->id))
            return true;
    }
    return !names;
}

Err *qmp_announce_self(Monitor *m, const AnnounceSelfArgs *args, json_t **ret)
{
    const json_t *names = json_object_get(args->all, "interfaces");

    for (Device *d = machine_of(m->vm)->devices; d; d = d->next) {
        if (!d->outer && d->realized && d->inner && !strcmp(d->inner->cls->name, "virtio-net-device") && is_listed(names, d))
            virtio_net_announce(d);
    }
    return NULL;
}

Err *hmp_announce_self(Monitor *m, const HmpAnnounceSelfArgs *args, GString *out)
{
    json_t *all = json_object(), *none = NULL;
    AnnounceSelfArgs a = { .all = all };

    if (args->interfaces) {
        g_auto(GStrv) names = g_strsplit(args->interfaces, ",", -1);
        json_t *list = json_array();

        for (char **n = names; *n; n++)
            json_array_append_new(list, text_json(*n));
        json_object_set_new(all, "interfaces", list);
    }
    Err *e = qmp_announce_self(m, &a, &none);
    json_decref(all);
    return e;
}
