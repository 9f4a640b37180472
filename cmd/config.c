/* SPDX-License-Identifier: MIT */
/*
 * Reads the command line by the option table: finds each option's row, gives
 * it its argument, checks what belongs together, fills in defaults, and prints
 * the help from the same rows.
 */
#include "cmd/options.h"

#include <string.h>

EmuConfig *emu_config_new(const char *program, const char *isa)
{
    EmuConfig *c = g_new0(EmuConfig, 1);

    c->vm.program = program;
    c->vm.isa = isa;
    c->vm.smp = c->vm.maxcpus = 1;
    c->vm.devices = g_ptr_array_new_with_free_func(g_free);
    c->vm.globals = g_ptr_array_new_with_free_func(g_free);
    c->vm.fsdevs = g_ptr_array_new_with_free_func(g_free);
    c->vm.drives = g_ptr_array_new_with_free_func(g_free);
    c->vm.blockdevs = g_ptr_array_new_with_free_func(g_free);
    c->vm.objects = g_ptr_array_new_with_free_func(g_free);
    c->vm.nics = g_ptr_array_new_with_free_func(g_free);
    c->netdevs = g_ptr_array_new_with_free_func(g_free);
    c->netdevs_said = g_ptr_array_new_with_free_func(g_free);
    c->nets = g_ptr_array_new_with_free_func(g_free);
    c->vm.serials = g_ptr_array_new_with_free_func(g_free);
    c->vm.chardevs = g_ptr_array_new_with_free_func(g_free);
    c->vm.fw_cfgs = g_ptr_array_new_with_free_func(g_free);
    c->vm.smbios = g_ptr_array_new_with_free_func(g_free);
    c->monitors = g_ptr_array_new_with_free_func(g_free);
    c->fds = g_ptr_array_new_with_free_func(g_free);
    c->log_items = g_ptr_array_new_with_free_func(g_free);
    c->log_filters = g_ptr_array_new_with_free_func(g_free);
    c->traces = g_ptr_array_new_with_free_func(g_free);
    return c;
}

void emu_config_free(EmuConfig *c)
{
    VmConfig *v = &c->vm;
    char *const texts[] = {
        v->name, v->uuid, v->machine, v->machine_opts, v->cpu, v->cpu_opts, v->accel, v->kernel,
        v->initrd, v->append, v->dtb, v->bios, v->gdb, v->display, v->monitor, v->loadvm, v->incoming, v->rtc_base, v->rtc_clock,
        v->dumpdtb, v->default_nic, v->boot_order, v->boot_once, v->boot_splash, c->help_arg, c->pidfile, c->log_file,
    };
    GPtrArray *const lists[] = {
        c->monitors, c->fds, v->nics, c->netdevs, c->netdevs_said, c->nets,
        v->devices, v->globals, v->fsdevs, v->drives, v->blockdevs, v->objects, v->serials, v->chardevs, v->fw_cfgs, v->smbios,
        c->log_items, c->log_filters, c->traces,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        g_ptr_array_free(lists[i], TRUE);
    g_free(c);
}

/* ---- finding an option ------------------------------------------------------------ */

static const Option *find_option(const char *name)
{
    for (const OptionGroup *g = option_groups; g->title; g++) {
        for (const Option *o = g->options; o->name; o++) {
            if (!strcmp(o->name, name) || (o->alias && !strcmp(o->alias, name)))
                return o;
        }
    }
    return NULL;
}

static Err *missing_option(const char *name)
{
    for (const MissingOption *m = missing_options; m->name; m++) {
        if (strcmp(m->name, name))
            continue;
        Err *e = err(ERR_UNSUPPORTED, "the option '-%s' is not available yet", name);
        return err_hint(e, "%s", m->instead ? m->instead : "Leave it out: nothing here does what it asks for.");
    }
    return NULL;
}

static Err *unknown_option(const char *name)
{
    GPtrArray *names = g_ptr_array_new();
    Err *e = err(ERR_NOT_FOUND, "there is no option '-%s'", name);
    char *head = g_strndup(name, strcspn(name, "="));

    for (const OptionGroup *g = option_groups; g->title; g++) {
        for (const Option *o = g->options; o->name; o++) {
            g_ptr_array_add(names, (void *)o->name);
            if (o->alias)
                g_ptr_array_add(names, (void *)o->alias);
        }
    }
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(head, (const char *const *)names->pdata);
    const Option *exact = find_option(head);
    if (exact && exact->arg)
        e = err_hint(e, "The argument stands apart: -%s %s", head, name + strlen(head) + 1);
    else if (near)
        e = err_hint(e, "Did you mean '-%s'?", near);
    g_free(head);
    g_ptr_array_free(names, TRUE);
    return err_hint(e, "-help lists all options.");
}

/* ---- obeying it ---------------------------------------------------------------------- */

static Err *obey(EmuConfig *c, const Option *o, const char *arg)
{
    void *at = (char *)c + o->offset;

    switch (o->kind) {
    case OPTION_CALL:
        return err_in(o->set(c, arg), "-%s%s%s", o->name, arg ? " " : "", arg ? arg : "");
    case OPTION_TEXT:
        g_free(*(char **)at);
        *(char **)at = g_strdup(arg);
        break;
    case OPTION_LIST:
        g_ptr_array_add(*(GPtrArray **)at, g_strdup(arg));
        break;
    case OPTION_FLAG:
        *(bool *)at = true;
        break;
    case OPTION_NOTHING:
        break;
    }
    return NULL;
}

/* A missing argument makes the next option one; an unset variable makes an empty one. */
static Err *check_arg(const Option *o, const char *name, const char *arg)
{
    if (!arg)
        return err(ERR_INVALID, "the option '-%s' needs an argument: -%s %s", name, name, o->arg);
    if (o->free_text)
        return NULL;
    if (!*arg)
        return err_hint(err(ERR_INVALID, "the argument of '-%s' is empty", name),
                        "Its form is '-%s %s'. Is a variable of a script not set?", name, o->arg);
    if (arg[0] == '-' && find_option(arg + 1 + (arg[1] == '-')))
        return err_hint(err(ERR_INVALID, "the option '-%s' has no argument, '%s' comes next", name, arg),
                        "Its form is '-%s %s'. A file of that name is ./%s.", name, o->arg, arg);
    return NULL;
}

static Err *parse_one(EmuConfig *c, char **argv, int *i)
{
    const char *name = argv[*i], *arg = NULL;

    if (name[0] != '-')
        return set_disk_image(c, name);
    if (!name[1])
        return err_hint(err(ERR_INVALID, "'-' is no option"), "A disk image is given by its name, a kernel with -kernel FILE.");
    name += name[1] == '-' && name[2] ? 2 : 1;
    const Option *o = find_option(name);
    if (!o) {
        TRY(missing_option(name));
        return unknown_option(name);
    }
    if (o->arg) {
        arg = argv[++*i];
        TRY(check_arg(o, name, arg));
    }
    return obey(c, o, arg);
}

/* ---- as a whole ------------------------------------------------------------------------ */

static Err *check(const EmuConfig *c)
{
    if (c->vm.preconfig && c->vm.incoming)
        return err_hint(err(ERR_INVALID, "'preconfig' and 'incoming' options are mutually exclusive"), "-incoming defer waits, too.");
    if (c->vm.append && !c->vm.kernel)
        return err_hint(err(ERR_INVALID, "-append is the command line of a kernel, and there is no -kernel"),
                        "Add -kernel FILE.");
    if (c->vm.initrd && !c->vm.kernel)
        return err_hint(err(ERR_INVALID, "-initrd belongs to a kernel, and there is no -kernel"),
                        "Add -kernel FILE.");
    if (c->vm.bios && !strcmp(c->vm.bios, "none") && !c->vm.kernel && !c->vm.devices->len && !c->vm.dumpdtb
        && !c->vm.start_paused)
        return err_hint(err(ERR_INVALID, "with -bios none and without -kernel there is nothing to run"),
                        "Add -kernel FILE, or leave -bios out: OpenSBI is started then.");
    return NULL;
}

/*
 * The first serial port, when nobody said where it goes: this terminal, unless
 * a machine without any display was asked for (-display none).
 */
static void fill_in(EmuConfig *c)
{
    bool terminal = c->vm.nographic || !c->vm.display;

    if (!c->vm.serials->len && !c->nodefaults)
        g_ptr_array_add(c->vm.serials, g_strdup(terminal && !(monitor_on_terminal(c) && !c->vm.nographic) ? "mon:stdio" : "null"));
}

Err *emu_config_parse(EmuConfig *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        TRY(parse_one(c, argv, &i));
        if (c->help != HELP_NONE)
            return NULL;
    }
    TRY(check(c));
    fill_in(c);
    return net_fill_in(c);
}

/* ---- help --------------------------------------------------------------------------------- */

enum { HELP_COLUMN = 26, HELP_WIDTH = 79 };

/* The words of doc from the column on, in lines of the terminal's width. */
static void wrap(GString *s, int at, const char *doc)
{
    char **words = g_strsplit(doc, " ", -1);

    if (at >= HELP_COLUMN) {
        g_string_truncate(s, s->len - 1);       /* the blank behind the option */
        g_string_append_c(s, '\n');
        at = 0;
    }
    g_string_append_printf(s, "%*s", HELP_COLUMN - at, "");
    at = HELP_COLUMN;
    for (char **w = words; *w; w++) {
        int n = strlen(*w);

        if (at > HELP_COLUMN && at + 1 + n > HELP_WIDTH) {
            g_string_append_printf(s, "\n%*s", HELP_COLUMN, "");
            at = HELP_COLUMN;
        }
        g_string_append_printf(s, "%s%s", at > HELP_COLUMN ? " " : "", *w);
        at += n + (at > HELP_COLUMN);
    }
    g_string_append_c(s, '\n');
    g_strfreev(words);
}

char *emu_config_help(const char *program)
{
    GString *s = g_string_new(NULL);

    g_string_append_printf(s,
        "Usage: %s [OPTION]...\n"
        "Runs a machine. For example, a Linux kernel with its console in this terminal:\n"
        "  %s -M virt -m 1G -smp 2 -nographic \\\n"
        "      -kernel Image -initrd initrd.gz -append console=ttyS0\n"
        "Each option may be written with one dash or two.\n", program, program);
    for (const OptionGroup *g = option_groups; g->title; g++) {
        g_string_append_printf(s, "\n%s:\n", g->title);
        for (const Option *o = g->options; o->name; o++) {
            char *left = g_strdup_printf("  -%s%s%s%s%s ", o->name, o->alias ? ", -" : "",
                                         o->alias ? o->alias : "", o->arg ? " " : "",
                                         o->arg ? o->arg : "");

            if (o->doc) {
                g_string_append(s, left);
                wrap(s, strlen(left), o->doc);
            }
            g_free(left);
        }
    }
    return g_string_free(s, FALSE);
}
