/* SPDX-License-Identifier: MIT */
/*
 * Monitors of the command line: -qmp, -qmp-pretty, -monitor (where, as -serial
 * says it) and -mon (on a -chardev). Descriptors that were inherited: -add-fd.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cmd/emu.h"
#include "cmd/options.h"
#include "hw/core/board.h"
#include "monitor/monitor.h"
#include "util/fdset.h"
#include "util/opts.h"

/* ---- the options */

static void add(EmuConfig *c, const char *kind, const char *arg)
{
    g_ptr_array_add(c->monitors, g_strdup_printf("%s %s", kind, arg));
}

static Err *add_where(EmuConfig *c, const char *kind, const char *arg)
{
    if (strcmp(arg, "none") && strcmp(arg, "null"))
        add(c, kind, arg);
    return NULL;
}

Err *set_monitor(EmuConfig *c, const char *arg)
{
    return add_where(c, "hmp", arg);
}

Err *set_qmp(EmuConfig *c, const char *arg)
{
    return add_where(c, "qmp", arg);
}

Err *set_qmp_pretty(EmuConfig *c, const char *arg)
{
    return add_where(c, "pretty", arg);
}

static const char *const modes[] = { "readline", "control", NULL };
static const OptDesc mon_opts[] = {
    { "chardev", OPT_STR, "the stream", .required = true },
    { "mode", OPT_ENUM, "for people, or for programs (QMP)", modes },
    { "pretty", OPT_BOOL, "QMP with line breaks" },
    { "id", OPT_STR, "its name" },
    { 0 }
};

Err *set_mon(EmuConfig *c, const char *arg)
{
    Opts *o = NULL;

    TRY(opts_parse(arg, mon_opts, "chardev", &o));
    opts_free(o);
    add(c, "mon", arg);
    return NULL;
}

bool monitor_on_terminal(const EmuConfig *c)
{
    for (guint i = 0; i < c->monitors->len; i++) {
        const char *where = strchr(c->monitors->pdata[i], ' ') + 1;

        if (!g_str_has_prefix(c->monitors->pdata[i], "mon ") && (!strcmp(where, "stdio") || g_str_has_prefix(where, "stdio,")))
            return true;
    }
    return false;
}

/* ---- making them */

static Err *add_fd(Vm *vm, const char *arg)
{
    static const OptDesc descs[] = {
        { "fd", OPT_NUM, "the descriptor", .required = true }, { "set", OPT_NUM, "the set", .required = true },
        { "opaque", OPT_STR, "a note" }, { 0 }
    };
    Opts *o = NULL;

    TRY(opts_parse(arg, descs, NULL, &o));
    uint64_t fd = opts_num(o, "fd", 0), set = opts_num(o, "set", 0);
    Err *e = NULL;
    int copy = -1;
    if (fd <= 2 || fd > INT_MAX || set > INT_MAX)
        e = err(ERR_INVALID, "fd is 3 or more, set 0 or more");
    else if (fcntl((int)fd, F_GETFD) < 0 || (copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 3)) < 0)
        e = err_errno(errno, "descriptor %d is not open", (int)fd);
    if (!e)
        e = fdsets_add(vm->fdsets, (int64_t)set, copy, opts_str(o, "opaque", NULL), NULL);
    opts_free(o);
    return e;
}

Err *make_fdsets(Vm *vm, const EmuConfig *c)
{
    vm->fdsets = fdsets_new();
    for (guint i = 0; i < c->fds->len; i++)
        TRY(err_in(add_fd(vm, c->fds->pdata[i]), "-add-fd %s", (char *)c->fds->pdata[i]));
    return NULL;
}

/* "qmp unix:x" -> is it of that kind, and where. */
static bool is_kind(const char *line, const char *kind, const char **where)
{
    size_t n = strlen(kind);

    *where = line + n + 1;
    return !strncmp(line, kind, n) && line[n] == ' ';
}

static const char *option_of(const char *line)
{
    const char *arg;

    return is_kind(line, "hmp", &arg) ? "-monitor" : is_kind(line, "qmp", &arg) ? "-qmp" : is_kind(line, "mon", &arg) ? "-mon" : "-qmp-pretty";
}

static Err *stream(Vm *vm, const char *where, guint i, Chardev **out)
{
    g_autofree char *id = g_strdup_printf("compat_monitor%u", i);

    if (g_str_has_prefix(where, "chardev:"))
        return chardev_find(vm->chardevs, where + strlen("chardev:"), out);
    return chardev_add_line(vm->chardevs, where, id, out);
}

Err *make_monitor_chardevs(Vm *vm, const EmuConfig *c)
{
    for (guint i = 0; i < c->monitors->len; i++) {
        const char *line = c->monitors->pdata[i], *where;
        Chardev *chr;

        if (!is_kind(line, "mon", &where))
            TRY(err_in(stream(vm, strchr(line, ' ') + 1, i, &chr), "%s %s", option_of(line), strchr(line, ' ') + 1));
    }
    return NULL;
}

static Err *add_mon(Vm *vm, const char *arg)
{
    MonitorConfig config = { 0 };
    Opts *o = NULL;
    Chardev *chr;

    TRY(opts_parse(arg, mon_opts, "chardev", &o));
    config.id = opts_str(o, "id", NULL);
    config.control = opts_enum(o, "mode", 0) == 1;
    config.pretty = opts_bool(o, "pretty", false);
    Err *e = chardev_find(vm->chardevs, opts_str(o, "chardev", ""), &chr);
    if (!e)
        e = monitor_add(vm, chr, &config);
    opts_free(o);
    return e;
}

static Err *add_one(Vm *vm, const char *line, guint i)
{
    const char *where;
    Chardev *chr;
    g_autofree char *id = g_strdup_printf("compat_monitor%u", i);

    if (is_kind(line, "mon", &where))
        return add_mon(vm, where);
    where = strchr(line, ' ') + 1;
    TRY(chardev_find(vm->chardevs, g_str_has_prefix(where, "chardev:") ? where + strlen("chardev:") : id, &chr));
    MonitorConfig config = { .id = id, .pretty = g_str_has_prefix(line, "pretty "), .control = !g_str_has_prefix(line, "hmp ") };
    return monitor_add(vm, chr, &config);
}

static void option_param(json_t *list, const Field *f)
{
    const char *type = f->type == FIELD_BOOL ? "boolean" : f->units ? "size" : f->type == FIELD_STR || f->names ? "string" : "number";
    g_autofree char *name = field_name(f);
    json_t *o = json_pack("{s:s, s:s}", "name", name, "type", type);

    if (f->doc)
        json_object_set_new(o, "help", json_string(f->doc));
    json_array_append_new(list, o);
}

/* query-command-line-options: every option, and for -machine what the boards take. */
static json_t *options_json(void *opaque)
{
    json_t *all = json_array();

    for (const OptionGroup *g = option_groups; g->title; g++) {
        for (const Option *o = g->options; o->name; o++) {
            bool machine = !strcmp(o->name, "M");
            json_t *params = json_array();

            for (const Field *f = machine_fields; machine && f->role != FIELD_END; f++)
                option_param(params, f);
            json_array_append_new(all, json_pack("{s:s, s:o}", "option", machine ? "machine" : o->name, "parameters", params));
        }
    }
    return all;
}

Err *make_monitors(Vm *vm, const EmuConfig *c)
{
    const MonitorConfig people = { 0 };
    const MonitorHost host = { options_json, vm };

    TRY(monitors_new(vm, &host));
    for (guint i = 0; i < c->monitors->len; i++) {
        const char *line = c->monitors->pdata[i];

        TRY(err_in(add_one(vm, line, i), "%s %s", option_of(line), strchr(line, ' ') + 1));
    }
    /* Behind the device of "mon:stdio", which has the keyboard first. */
    for (Chardev *chr = NULL; (chr = chardev_next(vm->chardevs, chr)); ) {
        if (chardev_for_monitor(chr))
            TRY(monitor_add(vm, chr, &people));
    }
    return NULL;
}
