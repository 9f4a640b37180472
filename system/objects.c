/* SPDX-License-Identifier: MIT */
/* See system/objects.h: finds whose a kind is, and keeps a list of what was made. */
#include "system/objects.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/objects.h"
#include "net/net.h"
#include "system/disks.h"
#include "system/rng.h"
#include "system/vmconfig.h"
#include "util/opts.h"

typedef struct Dump { char *netdev, *file; uint64_t maxlen; } Dump;
static const Field dump_fields[] = {
    PROP(Dump, netdev, .doc = "the network backend whose frames are kept"),
    PROP(Dump, file, .doc = "where, for tcpdump and Wireshark (pcap)"),
    PROP(Dump, maxlen, .units = true, .def = "65536", .doc = "bytes of each frame"),
    {0}
};

/* The main memory under a name, as management describes it. It is made by -m; this says the same once more. */
typedef struct Memory { uint64_t size; bool share, prealloc, merge, dump, reserve; } Memory;
static const Field memory_fields[] = {
    PROP(Memory, size, .units = true, .def = "0", .doc = "as -m says"),
    PROP(Memory, share, .def = "off", .doc = "off is what there is"),
    PROP(Memory, prealloc, .def = "off", .doc = "off is what there is"),
    PROP(Memory, merge, .def = "on", .doc = "accepted: -M mem-merge= decides"),
    PROP(Memory, dump, .def = "on", .doc = "accepted: -M dump-guest-core= decides"),
    PROP(Memory, reserve, .def = "on", .doc = "accepted"),
    {0}
};

static bool is_memory(const char *kind)
{
    return !strcmp(kind, "memory-backend-ram");
}

static bool is_dump(const char *kind)
{
    return !strcmp(kind, "filter-dump");
}

static bool is_iothread(const char *kind)
{
    return !strcmp(kind, "iothread");
}

/* ---- kinds */

const char *object_kind(unsigned i, const Field **fields)
{
    unsigned n = 0;

    while (object_classes[n]) {
        if (n == i) {
            *fields = object_classes[n]->fields;
            return object_classes[n]->name;
        }
        n++;
    }
    if (i == n) {
        *fields = dump_fields;
        return "filter-dump";
    }
    if (i == n + 1) {
        *fields = memory_fields;
        return "memory-backend-ram";
    }
    return rng_kind(i - n - 2, fields);
}

const Field *object_fields(const char *kind)
{
    const Field *fields = NULL;
    const char *name;

    for (unsigned i = 0; (name = object_kind(i, &fields)); i++) {
        if (!strcmp(name, kind))
            return fields;
    }
    return NULL;
}

char *object_help(const char *arg)
{
    g_autofree char *kind = g_strndup(arg, strcspn(arg, ","));
    const Field *fields = NULL;
    const char *name;

    if (!strcmp(kind, "help") || !strcmp(kind, "?")) {
        g_autofree char *all = objects_help(NULL);

        return g_strdup_printf("%s  filter-dump\n  memory-backend-ram\n  rng-builtin\n  rng-random\n", all);
    }
    for (unsigned i = 0; (name = object_kind(i, &fields)); i++) {
        if (strcmp(name, kind))
            continue;
        g_autofree char *props = props_help(fields);
        return g_strdup_printf("%s options:\n  id=<str>               - its name\n%s", kind, props);
    }
    return NULL;
}

/* ---- the list */

static void object_free(void *opaque)
{
    VmObject *o = opaque;

    g_free(o->kind);
    g_free(o->id);
    g_free(o->arg);
    g_free(o);
}

const VmObject *object_at(Vm *vm, unsigned i)
{
    return vm->objects && i < vm->objects->len ? vm->objects->pdata[i] : NULL;
}

const VmObject *object_find(Vm *vm, const char *id)
{
    const VmObject *o;

    for (unsigned i = 0; (o = object_at(vm, i)); i++) {
        if (!strcmp(o->id, id))
            return o;
    }
    return NULL;
}

void objects_forget(Vm *vm)
{
    g_clear_pointer(&vm->objects, g_ptr_array_unref);
}

/* ---- making them */

/* qom-type and id of an object in either spelling; g_free them, NULL where they are missing. */
static Err *object_head(const char *arg, char **kind, char **id)
{
    *kind = *id = NULL;
    if (*arg == '{') {
        json_error_t why;
        json_t *o = json_loads(arg, JSON_REJECT_DUPLICATES, &why);

        if (!o)
            return err(ERR_INVALID, "it is no JSON: %s (column %d)", why.text, why.column);
        *kind = g_strdup(json_string_value(json_object_get(o, "qom-type")));
        *id = g_strdup(json_string_value(json_object_get(o, "id")));
        json_decref(o);
        return NULL;
    }
    Opts *o;
    TRY(opts_parse(arg, NULL, "qom-type", &o));
    *kind = g_strdup(opts_str(o, "qom-type", NULL));
    *id = g_strdup(opts_str(o, "id", NULL));
    opts_free(o);
    return NULL;
}

/* Kinds that machines have elsewhere: what there is in their place. */
static Err *check_absent(const char *kind)
{
    static const struct { const char *prefix, *instead; } rows[] = {
        { "memory-backend-", "The machine's memory is what -m says; it is not shared with other processes." },
        { "rng-egd", "rng-random reads a file or a device, rng-builtin the host's kernel." },
        { "can-", "There are no CAN buses." }, { "cryptodev-", "There are no crypto devices." },
        { "colo-compare", NULL }, { "sev-guest", NULL },
        { "input-linux", NULL }, { "pr-manager-helper", NULL }, { "x-remote-object", NULL },
    };

    for (size_t i = 0; kind && i < G_N_ELEMENTS(rows); i++) {
        if (g_str_has_prefix(kind, rows[i].prefix)) {
            Err *e = err(ERR_UNSUPPORTED, "objects of the kind '%s' are not implemented", kind);
            return rows[i].instead ? err_hint(e, "%s", rows[i].instead) : e;
        }
    }
    return NULL;
}

static void append(GString *s, const char *key, const char *value)
{
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);
    g_autofree char *doubled = g_strjoinv(",,", parts);

    g_string_append_printf(s, "%s%s=%s", s->len ? "," : "", key, doubled);
}

/* JSON's members as the other spelling has them. */
static char *props_of(const char *arg)
{
    GString *s = g_string_new(NULL);
    json_t *o = json_loads(arg, 0, NULL), *v;
    const char *key;

    json_object_foreach(o, key, v) {
        char *text = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);

        append(s, key, text ? text : json_string_value(v));
        free(text);
    }
    json_decref(o);
    return g_string_free(s, false);
}

typedef struct Task { Vm *vm; const char *arg; Err *e; } Task;

static void add_dump(void *opaque)
{
    Task *t = opaque;

    t->e = net_dump_add(t->vm->net, t->arg);
}

static Err *make_dump(Vm *vm, const char *arg)
{
    g_autofree char *props = *arg == '{' ? props_of(arg) : g_strdup(arg);
    Task t = { vm, props, NULL };

    if (!vm->net)
        return err(ERR_UNSUPPORTED, "this machine has no network");
    iothread_run(vm->net_thread, add_dump, &t);
    return t.e;
}

typedef struct DumpTask { Net *net; const char *id; bool del, found; } DumpTask;

static void find_dump(void *opaque)
{
    DumpTask *t = opaque;

    t->found = net_dump_exists(t->net, t->id, t->del);
}

static bool dump_exists(Vm *vm, const char *id, bool del)
{
    DumpTask t = { vm->net, id, del, false };

    iothread_run(vm->net_thread, find_dump, &t);
    return t.found;
}

void objects_network_gone(Vm *vm)
{
    for (guint i = vm->objects ? vm->objects->len : 0; i-- > 0; ) {
        const VmObject *o = vm->objects->pdata[i];

        if (is_dump(o->kind) && !dump_exists(vm, o->id, false))
            g_ptr_array_remove_index(vm->objects, i);
    }
}

/* "KIND,id=NAME,.." of either spelling, taken apart. */
static Err *object_opts(const char *arg, Opts **out)
{
    g_autofree char *props = *arg == '{' ? props_of(arg) : g_strdup(arg);

    return opts_parse(props, NULL, "qom-type", out);
}

static Err *check_value(const Field *f, const char *value)
{
    uint64_t room[2] = { 0 };
    Field alone = *f;

    alone.offset = 0;
    return prop_parse(room, &alone, value);
}

static Err *check_pair(void *fields, const char *key, const char *value)
{
    const Field *f = NULL;

    if (!strcmp(key, "qom-type") || !strcmp(key, "id"))
        return NULL;
    TRY(prop_find(fields, key, &f));
    return check_value(f, value);
}

/* Properties of a thread are those of the tools' table: checked, and without effect, as our loops never poll. */
static Err *make_iothread(Vm *vm, const char *arg, const char *id)
{
    IoThread *t;
    Opts *o = NULL;

    TRY(object_opts(arg, &o));
    Err *e = opts_each(o, check_pair, (void *)object_fields("iothread"));
    opts_free(o);
    return e ? e : iothread_new(vm, id, &t);
}

static Err *take_memory(void *opaque, const char *key, const char *value)
{
    const Field *f = NULL;

    if (!strcmp(key, "qom-type") || !strcmp(key, "id"))
        return NULL;
    TRY(prop_find(memory_fields, key, &f));
    return prop_parse(opaque, f, value);
}

static Err *check_memory(Vm *vm, const char *arg)
{
    Memory mem = { 0 };
    Opts *o = NULL;

    props_init(&mem, memory_fields);
    TRY(object_opts(arg, &o));
    Err *e = opts_each(o, take_memory, &mem);
    opts_free(o);
    if (!e && mem.size != vm->config->ram_size)
        e = err(ERR_INVALID, "size=%" PRIu64 ": the machine has %" PRIu64 " bytes of memory (-m), all in one piece", mem.size,
                vm->config->ram_size);
    if (!e && (mem.share || mem.prealloc))
        e = err(ERR_UNSUPPORTED, "share=on and prealloc=on are not available");
    return e;
}

static Err *make(Vm *vm, const char *arg, const char *kind, const char *id)
{
    if (is_memory(kind))
        return check_memory(vm, arg);
    if (is_iothread(kind))
        return make_iothread(vm, arg, id);
    if (is_dump(kind))
        return make_dump(vm, arg);
    if (rng_is_kind(kind))
        return rng_add(vm, arg);
    TRY(check_absent(kind));
    return disks_add_object(vm->disks, arg);
}

Err *object_add(Vm *vm, const char *arg)
{
    g_autofree char *kind = NULL;
    g_autofree char *id = NULL;

    TRY(object_head(arg, &kind, &id));
    if (!kind)
        return err_hint(err(ERR_INVALID, "an object needs its kind"), "-object KIND,id=NAME; -object help lists the kinds.");
    if (!id)
        return err_hint(err(ERR_INVALID, "an object needs an id"), "-object %s,id=NAME", kind);
    if (object_find(vm, id))
        return err(ERR_INVALID, "there is an object '%s' already", id);
    TRY(make(vm, arg, kind, id));
    VmObject *o = g_new(VmObject, 1);
    *o = (VmObject){ g_steal_pointer(&kind), g_steal_pointer(&id), g_strdup(arg) };
    if (!vm->objects)
        vm->objects = g_ptr_array_new_with_free_func(object_free);
    g_ptr_array_add(vm->objects, o);
    return NULL;
}

/* ---- what they were given */

char *object_prop(const VmObject *o, const Field *f)
{
    g_autofree char *name = field_name(f);
    Opts *opts = NULL;
    Err *e = object_opts(o->arg, &opts);
    char *value = g_strdup(e ? f->def : opts_str(opts, name, f->def));

    err_free(e);
    if (opts)
        opts_free(opts);
    return value;
}

Err *object_set_prop(Vm *vm, const char *id, const Field *f, const char *value)
{
    VmObject *o = (VmObject *)object_find(vm, id);
    g_autofree char *name = field_name(f);

    if (!is_iothread(o->kind))
        return err(ERR_UNSUPPORTED, "Property '%s.%s' cannot be changed while the object is there", o->kind, name);
    TRY(check_value(f, value));
    g_autofree char *old = o->arg, *props = *old == '{' ? props_of(old) : g_strdup(old);
    o->arg = g_strdup_printf("%s,%s=%s", props, name, value);
    return NULL;
}

/* ---- and deleting */

Err *object_del(Vm *vm, const char *id)
{
    const VmObject *o = object_find(vm, id);

    if (!o)
        return err(ERR_NOT_FOUND, "object '%s' not found", id);
    if (is_memory(o->kind))
        return err(ERR_BUSY, "object '%s' is in use, can not be deleted", id);
    if (is_iothread(o->kind) && vm->disks && !disks_leave_thread(vm->disks, iothread_find(vm, id)))
        return err(ERR_BUSY, "object '%s' is in use, can not be deleted", id);
    if (is_iothread(o->kind)) {
        iothread_free(iothread_find(vm, id));
    } else if (is_dump(o->kind)) {
        dump_exists(vm, id, true);
    } else if (rng_is_kind(o->kind)) {
        rng_del(vm, id);
    } else {
        TRY(disks_del_object(vm->disks, id, o->arg));
    }
    g_ptr_array_remove(vm->objects, (void *)o);
    return NULL;
}
