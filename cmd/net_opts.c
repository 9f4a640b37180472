/* SPDX-License-Identifier: MIT */
/*
 * -netdev, -nic and -net: backends, and the NICs that come with them.
 *
 *   -netdev user,id=n0 -device KIND,netdev=n0     each by itself
 *   -nic user,model=KIND,mac=..,hostfwd=..        both at once
 *   -net nic,model=KIND -net user                 the old way: all are joined to hub 0
 *
 * Nothing of it: a NIC with -netdev user, as the usual machine has.
 */
#include "cmd/options.h"

#include <string.h>

#include "cmd/emu.h"
#include "net/net.h"
#include "system/iothread.h"
#include "util/opts.h"

/* ---- lists of options */

static void append(GString *s, const char *key, const char *value)
{
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);
    g_autofree char *quoted = g_strjoinv(",,", parts);

    g_string_append_printf(s, "%s%s=%s", s->len ? "," : "", key, quoted);
}

/* What of -nic is the NIC's, and how -device calls it; NULL: it is the backend's. */
static const char *nic_key(const char *key)
{
    static const char *const rows[][2] = {
        { "mac", "mac" }, { "macaddr", "mac" }, { "addr", "addr" }, { "vectors", "vectors" }, { "bus", "bus" },
        { "bootindex", "bootindex" }, { "romfile", "romfile" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (!strcmp(rows[i][0], key))
            return rows[i][1];
    return NULL;
}

/* One argument taken apart. */
typedef struct Nic {
    GString *backend, *props;   /* without the type; without the model */
    char *type, *id, *model, *netdev;
} Nic;

static Err *sort_pair(void *opaque, const char *key, const char *value)
{
    Nic *n = opaque;
    const char *prop = nic_key(key);
    char **at = !strcmp(key, "type") ? &n->type : !strcmp(key, "id") || !strcmp(key, "name") ? &n->id :
                !strcmp(key, "model") ? &n->model : !strcmp(key, "netdev") ? &n->netdev : NULL;

    if (at) {
        g_free(*at);
        *at = g_strdup(value);
    } else {
        append(prop ? n->props : n->backend, prop ? prop : key, value);
    }
    return NULL;
}

static Err *nic_parse(const char *arg, Nic *n)
{
    Opts *o = NULL;

    *n = (Nic){ g_string_new(NULL), g_string_new(NULL), NULL, NULL, NULL, NULL };
    TRY(opts_parse(arg, NULL, "type", &o));
    Err *e = opts_each(o, sort_pair, n);

    opts_free(o);
    return e;
}

static void nic_clear(Nic *n)
{
    g_string_free(n->backend, true);
    g_string_free(n->props, true);
    g_free(n->type);
    g_free(n->id);
    g_free(n->model);
    g_free(n->netdev);
}

/* ---- what is to be made */

static void add_backend(EmuConfig *c, const char *said, char *arg)
{
    g_ptr_array_add(c->netdevs, arg);
    g_ptr_array_add(c->netdevs_said, g_strdup(said));
    c->net_said = true;
}

/* The backend of -nic or -net; its id, g_free it. */
static char *add_backend_of(EmuConfig *c, const char *said, const Nic *n)
{
    char *id = n->id ? g_strdup(n->id) : g_strdup_printf("#net%u", c->netdevs->len);
    GString *s = g_string_new(NULL);

    append(s, "type", n->type);
    append(s, "id", id);
    if (n->netdev)
        append(s, "netdev", n->netdev);
    if (n->backend->len)
        g_string_append_printf(s, ",%s", n->backend->str);
    add_backend(c, said, g_string_free(s, false));
    return id;
}

static void add_nic(EmuConfig *c, const Nic *n, const char *netdev)
{
    GString *s = g_string_new(NULL);

    append(s, "netdev", netdev);
    if (n->props->len)
        g_string_append_printf(s, ",%s", n->props->str);
    g_ptr_array_add(c->vm.nics, g_strdup_printf("%s,%s", n->model ? n->model : "", s->str));
    g_string_free(s, true);
    c->net_said = true;
}

/* ---- the options */

Err *set_netdev(EmuConfig *c, const char *arg)
{
    g_autofree char *said = g_strdup_printf("-netdev %s", arg);

    if (asks_help(arg))
        return ask_help(c, HELP_NETDEV, arg);
    add_backend(c, said, g_strdup(arg));
    return NULL;
}

static bool asks_model_help(const Nic *n)
{
    return n->model && (!strcmp(n->model, "help") || !strcmp(n->model, "?"));
}

Err *set_nic(EmuConfig *c, const char *arg)
{
    g_autofree char *said = g_strdup_printf("-nic %s", arg);
    Nic n;

    if (asks_help(arg) && !strstr(arg, "model="))
        return ask_help(c, HELP_NETDEV, arg);
    Err *e = nic_parse(arg, &n);

    if (!e && asks_model_help(&n)) {
        e = ask_help(c, HELP_DEVICE, "help");
    } else if (!e && !n.type) {
        e = err_hint(err(ERR_INVALID, "it says no type of network"), "As in -nic user,hostfwd=tcp::2222-:22");
    } else if (!e && !strcmp(n.type, "none")) {
        c->net_said = true;
    } else if (!e) {
        g_autofree char *id = add_backend_of(c, said, &n);

        add_nic(c, &n, id);
    }
    nic_clear(&n);
    return e;
}

Err *set_net(EmuConfig *c, const char *arg)
{
    if (asks_help(arg) && !strstr(arg, "model="))
        return ask_help(c, HELP_NETDEV, arg);
    if (strstr(arg, "model=help"))
        return ask_help(c, HELP_DEVICE, "help");
    g_ptr_array_add(c->nets, g_strdup(arg));
    c->net_said = true;
    return NULL;
}

/* ---- -net, once all are known */

typedef struct Old { unsigned nics, backends; bool direct; char *backend; } Old;

static char *add_hub_port(EmuConfig *c, const char *netdev)
{
    char *id = g_strdup_printf("#hub0port%u", c->netdevs->len);

    add_backend(c, "-net", netdev ? g_strdup_printf("hubport,id=%s,hubid=0,netdev=%s", id, netdev) :
                                    g_strdup_printf("hubport,id=%s,hubid=0", id));
    return id;
}

static Err *net_backend_arg(EmuConfig *c, const char *arg, Nic *n, Old *o)
{
    g_autofree char *said = g_strdup_printf("-net %s", arg);

    if (!strcmp(n->type, "dump"))
        return err_hint(err(ERR_UNSUPPORTED, "-net dump is not available"),
                        "Use -object filter-dump,id=f0,netdev=ID,file=FILE.");
    g_autofree char *id = add_backend_of(c, said, n);

    if (o->direct)
        o->backend = g_steal_pointer(&id);
    else
        g_free(add_hub_port(c, id));
    return NULL;
}

static Err *net_nic_arg(EmuConfig *c, Nic *n, Old *o)
{
    if (n->backend->len)
        return err(ERR_INVALID, "-net nic has no option '%s'", n->backend->str);
    if (n->netdev) {
        add_nic(c, n, n->netdev);
        return NULL;
    }
    g_autofree char *id = o->direct ? g_strdup(o->backend) : add_hub_port(c, NULL);

    add_nic(c, n, id);
    return NULL;
}

static Err *each_net(EmuConfig *c, Old *o, bool nics, bool count)
{
    for (guint i = 0; i < c->nets->len; i++) {
        const char *arg = c->nets->pdata[i];
        Nic n;
        Err *e = nic_parse(arg, &n);

        if (!e && !n.type)
            e = err(ERR_INVALID, "it says no type");
        bool nic = !e && !strcmp(n.type, "nic"), none = !e && !strcmp(n.type, "none");

        if (!e && !none && count)
            *(nic ? &o->nics : &o->backends) += !(nic && n.netdev);
        else if (!e && !none && nic == nics)
            e = nic ? net_nic_arg(c, &n, o) : net_backend_arg(c, arg, &n, o);
        nic_clear(&n);
        if (e)
            return err_in(e, "-net %s", arg);
    }
    return NULL;
}

Err *net_fill_in(EmuConfig *c)
{
    Old o = { 0 };

    TRY(each_net(c, &o, false, true));
    /* One of each needs no hub between. */
    o.direct = o.nics == 1 && o.backends == 1;
    Err *e = each_net(c, &o, false, false);

    if (!e)
        e = each_net(c, &o, true, false);
    g_free(o.backend);
    TRY(e);
    if (o.backends && !o.nics)
        err_note("-net gives the machine a network, and no NIC: add -net nic");
    if (o.nics && !o.backends)
        err_note("-net nic gives the machine a NIC, and nothing is behind it: add -net user");
    if (!c->net_said && !c->nodefaults)
        c->vm.default_nic = g_strdup(",netdev=#net");
    return NULL;
}

/* ---- making them */

typedef struct Task { Vm *vm; const EmuConfig *c; Err *e; const char *dump; } Task;

static void add_all(void *opaque)
{
    Task *t = opaque;

    for (guint i = 0; !t->e && i < t->c->netdevs->len; i++)
        t->e = err_in(net_add(t->vm->net, t->c->netdevs->pdata[i]), "%s", (char *)t->c->netdevs_said->pdata[i]);
}

static void add_default(void *opaque)
{
    Task *t = opaque;

    t->e = net_add(t->vm->net, "user,id=#net");
}

Err *make_net(Vm *vm, EmuConfig *c)
{
    Task t = { vm, c, NULL, NULL };

    TRY(iothread_new(vm, "net", &vm->net_thread));
    vm->net = net_new(iothread_loop(vm->net_thread));
    iothread_run(vm->net_thread, add_all, &t);
    TRY(t.e);
    if (c->vm.default_nic)
        iothread_run(vm->net_thread, add_default, &t);
    if (t.e) {
        /* Nobody asked for it. */
        err_note("the guest has no network: %s", err_text(t.e));
        err_free(t.e);
        g_clear_pointer(&c->vm.default_nic, g_free);
    }
    return NULL;
}

static void free_all(void *opaque)
{
    net_free(opaque);
}

void free_net(Vm *vm)
{
    if (vm->net)
        iothread_run(vm->net_thread, free_all, vm->net);
    vm->net = NULL;
    iothread_free(vm->net_thread);
    vm->net_thread = NULL;
}

char *help_netdev(const char *arg)
{
    g_autofree char *kind = g_strndup(arg, strcspn(arg, ","));

    return net_help(!strcmp(kind, "help") || !strcmp(kind, "?") ? NULL : kind);
}
