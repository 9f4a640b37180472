/* SPDX-License-Identifier: MIT */
/* Pages of `info` and other commands that the console alone has. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "accel/accel.h"
#include "gdb/gdb.h"
#include "hw/core/board.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "net/net.h"
#include "system/iothread.h"
#include "system/vcpu.h"

/* ---- networks */

typedef struct NetTask { Vm *vm; const char *id, *rule; bool add; char *text; Err *e; } NetTask;

static void ask_net(void *opaque)
{
    NetTask *t = opaque;

    t->text = net_info(t->vm->net);
}

Err *hmp_info_network(Monitor *m, const HmpInfoNetworkArgs *args, GString *out)
{
    NetTask t = { .vm = m->vm };

    if (!m->vm->net)
        return NULL;
    iothread_run(m->vm->net_thread, ask_net, &t);
    g_string_append(out, t.text);
    g_free(t.text);
    return NULL;
}

static void change_forward(void *opaque)
{
    NetTask *t = opaque;

    t->e = net_forward(t->vm->net, t->id, t->rule, t->add);
}

/* "[ID] RULE" */
static Err *forward(Monitor *m, const char *text, bool add)
{
    g_auto(GStrv) words = g_strsplit(text, " ", 2);
    NetTask t = { .vm = m->vm, .id = words[1] ? words[0] : NULL, .rule = words[1] ? words[1] : words[0], .add = add };

    if (!m->vm->net)
        return err(ERR_UNSUPPORTED, "this machine has no network");
    iothread_run(m->vm->net_thread, change_forward, &t);
    return t.e;
}

Err *hmp_hostfwd_add(Monitor *m, const HmpHostfwdAddArgs *args, GString *out)
{
    return forward(m, args->rule, true);
}

Err *hmp_hostfwd_remove(Monitor *m, const HmpHostfwdRemoveArgs *args, GString *out)
{
    return forward(m, args->rule, false);
}

/* ---- memory */

/* A device's regions are members of it, or have it as the one that is accessed. NULL: it is nobody's. */
static Device *owner_of(Vm *vm, const Region *r)
{
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        uintptr_t first = (uintptr_t)d, at = (uintptr_t)r;

        if (r->dev == d || (at >= first && at - first < d->cls->size))
            return d;
    }
    return NULL;
}

static void note_owner(void *opaque, const Region *r, GString *out)
{
    Device *d = owner_of(opaque, r);
    g_autofree char *path = d ? view_device_path(d) : NULL;

    if (path)
        g_string_append_printf(out, " owner:{dev path=%s}", path);
}

Err *hmp_info_mtree(Monitor *m, const HmpInfoMtreeArgs *args, GString *out)
{
    RegionNote note = args->owner ? note_owner : NULL;
    g_autofree char *text = args->flat ? space_print(m->vm->mem, note, m->vm) : space_print_maps(m->vm->mem, note, m->vm);

    g_string_append(out, text);
    if (args->flat && args->dispatch)
        g_string_append_printf(out, "  Dispatch\n    one sorted array of %d areas, searched by halves\n", space_flat(m->vm->mem)->n);
    return NULL;
}

/* ---- devices */

typedef struct Indent { GString *out; Device *device; int depth; } Indent;

static void show_prop(void *opaque, const Field *f)
{
    const Indent *in = opaque;
    g_autofree char *name = field_name(f);
    const Field *found;
    Device *whose;

    if (!strcmp(name, "id") || !strcmp(name, "bus") || !device_prop(in->device, name, &whose, &found))
        return;
    json_t *v = field_json(whose, found);
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
    g_string_append_printf(in->out, "%*s%s = %s\n", in->depth, "", name, text ? text : "?");
    free(text);
    json_decref(v);
}

typedef struct Places { Device *device; GString *out; int depth; } Places;

static void show_place(void *opaque, uint64_t base, const Region *r)
{
    const Places *p = opaque;

    if (owner_of(p->device->vm, r) == p->device)
        g_string_append_printf(p->out, "%*smmio %016" PRIx64 "/%016" PRIx64 "\n", p->depth, "", base, r->size);
}

static void show_bus(Vm *vm, GString *out, const Bus *b, int depth);

static void show_device(GString *out, Device *d, int depth)
{
    Indent in = { out, d, depth + 2 };

    g_string_append_printf(out, "%*sdev: %s, id \"%s\"\n", depth, "", d->cls->name, d->id ? d->id : "");
    device_class_props(d->cls, show_prop, &in);
    space_each(d->vm->mem, show_place, &(Places){ d, out, depth + 2 });
    for (const Bus *b = machine_of(d->vm)->buses; b; b = b->next) {
        if (b->owner == d || (d->inner && b->owner == d->inner))
            show_bus(d->vm, out, b, depth + 2);
    }
}

static void show_bus(Vm *vm, GString *out, const Bus *b, int depth)
{
    g_string_append_printf(out, "%*sbus: %s\n%*stype %s\n", depth, "", b->name, depth + 2, "", b->cls->name);
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        if (d->bus == b && !d->outer)
            show_device(out, d, depth + 2);
    }
}

/* What is on no bus is the system's; the buses that belong to no device come behind. */
Err *hmp_info_qtree(Monitor *m, const HmpInfoQtreeArgs *args, GString *out)
{
    g_string_append(out, "bus: main-system-bus\n  type System\n");
    for (Device *d = machine_of(m->vm)->devices; d; d = d->next) {
        if (!d->bus && !d->outer)
            show_device(out, d, 2);
    }
    for (const Bus *b = machine_of(m->vm)->buses; b; b = b->next) {
        if (!b->owner)
            show_bus(m->vm, out, b, 0);
    }
    return NULL;
}

static void tree(Monitor *m, const char *path, int depth, GString *out)
{
    const QomListArgs args = { path };
    json_t *list = NULL, *p;
    size_t i;

    if (depth > 16)
        return;
    err_free(qmp_qom_list(m, &args, &list));
    json_array_foreach(list, i, p) {
        const char *name = json_string_value(json_object_get(p, "name")), *type = json_string_value(json_object_get(p, "type"));

        if (!g_str_has_prefix(type, "child<"))
            continue;
        g_autofree char *below = g_strdup_printf("%s%s%s", path, g_str_has_suffix(path, "/") ? "" : "/", name);
        g_string_append_printf(out, "%*s/%s (%.*s)\n", depth * 2, "", name, (int)strlen(type) - 7, type + 6);
        tree(m, below, depth + 1, out);
    }
    json_decref(list);
}

Err *hmp_info_qom_tree(Monitor *m, const HmpInfoQomTreeArgs *args, GString *out)
{
    const char *path = args->path ? args->path : "/machine";
    const QomListArgs list = { path };
    json_t *there = NULL;

    TRY(qmp_qom_list(m, &list, &there));
    json_decref(there);
    g_string_append_printf(out, "%s\n", path);
    tree(m, path, 1, out);
    return NULL;
}

/* ---- CPUs */

/* With the floating-point registers, which -d cpu leaves out. */
static void dump(Vcpu *v, void *out)
{
    int n = 0;

    v->isa->dump(v, out);
    for (const RegInfo *r = v->isa->regs; r && r->name; r++) {
        if (r->type && !strcmp(r->type, "float") && (!r->has || r->has(v, r->arg)))
            g_string_append_printf(out, "%-4s %016" PRIx64 "%s", r->name, r->get(v, r->arg), ++n % 4 ? "  " : "\n");
    }
}

Err *hmp_info_registers(Monitor *m, const HmpInfoRegistersArgs *args, GString *out)
{
    if (args->has_cpu && (args->cpu < 0 || args->cpu >= m->vm->nvcpus))
        return err(ERR_INVALID, "CPU#%d not available", (int)args->cpu);
    for (int i = 0; i < m->vm->nvcpus; i++) {
        Vcpu *v = m->vm->vcpus[i];

        if (!args->all && i != (args->has_cpu ? args->cpu : m->cpu))
            continue;
        g_string_append_printf(out, "\nCPU#%d\n", i);
        if (v->isa->dump)
            vcpu_run_on(v, dump, out, true);
    }
    return NULL;
}

Err *hmp_info_jit(Monitor *m, const HmpInfoJitArgs *args, GString *out)
{
    if (m->vm->accel && m->vm->accel->stats)
        m->vm->accel->stats(m->vm, out);
    return NULL;
}

/* ---- looking deeper */

Err *hmp_gdbserver(Monitor *m, const HmpGdbserverArgs *args, GString *out)
{
    const char *where = args->where ? args->where : GDB_DEFAULT;

    TRY(gdb_start(m->vm, where));
    if (!strcmp(where, "none"))
        g_string_append(out, "Disabled gdbserver\n");
    else
        g_string_append_printf(out, "Waiting for gdb connection on device '%s'\n", where);
    return NULL;
}
