/* SPDX-License-Identifier: MIT */
/*
 * The emulator's main(). The name it was started by chooses the guest:
 * lyre-system-riscv64, or any name that ends in -system-riscv64; `lyre run FILE`
 * chooses by the file.
 */
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd/emu.h"
#include "cmd/gdb.h"
#include "cmd/run/run.h"
#include "target/isa.h"

/* The text behind "-system-" in the program's name, or NULL. */
static const char *guest_of(const char *program)
{
    const char *at = g_strrstr(program, "-system-");

    return at ? at + strlen("-system-") : NULL;
}

static char *guest_names(void)
{
    GPtrArray *names = g_ptr_array_new();

    for (const Isa *const *i = isas; *i; i++)
        g_ptr_array_add(names, (void *)(*i)->name);
    g_ptr_array_add(names, NULL);
    char *all = g_strjoinv(", ", (char **)names->pdata);
    g_ptr_array_free(names, TRUE);
    return all;
}

/* Started as "lyre": the name does not say which guest. */
static int explain(const char *program, const char *guest)
{
    char *names = guest_names();

    if (guest)
        fprintf(stderr, "%s: there is no guest '%s' in this program\n", program, guest);
    fprintf(stderr,
            "This is the machine emulator Lyre, version %s.\n"
            "  lyre run DISK|ISO|KERNEL   runs it; lyre run --help says more\n"
            "  lyre gdb [VMLINUX]         debugs one that was started with -s; lyre gdb --help\n"
            "  lyre-system-GUEST          all options: lyre-system-%s --help\n"
            "Guests: %s\n", LYRE_VERSION, isas[0] ? isas[0]->name : "GUEST", names);
    g_free(names);
    return 1;
}

static int print_help(const EmuConfig *c)
{
    char *text;
    Err *e = emu_help(c, &text);

    if (e) {
        err_report(e);
        return 1;
    }
    if (text)
        fputs(text, stdout);
    g_free(text);
    return fflush(stdout) ? 1 : 0;
}

static int run_guest(const char *program, const char *guest, int argc, char **argv)
{
    EmuConfig *c = emu_config_new(program, guest);
    Err *e = emu_config_parse(c, argc, argv);
    int status = 1;

    if (!e && c->help != HELP_NONE)
        status = print_help(c);
    else if (!e)
        e = emu_run(c, &status);
    if (e) {
        err_report(e);
        status = 1;
    }
    emu_config_free(c);
    return status;
}

/* argv[0] is "run". */
static int run_file(int argc, char **argv)
{
    RunPlan plan;
    bool go;
    Err *e = run_command(argc, argv, &plan, &go);
    int status = 0;

    if (e) {
        err_report(e);
        return 1;
    }
    if (go) {
        status = run_guest(plan.argv->pdata[0], plan.isa, plan.argv->len - 1, (char **)plan.argv->pdata);
        run_plan_clear(&plan);
    }
    return status;
}

int main(int argc, char **argv)
{
    char *program = g_path_get_basename(argc ? argv[0] : "lyre");
    const char *guest = guest_of(program);
    int status;

    g_set_prgname(program);
    signal(SIGPIPE, SIG_IGN);
    if (!guest && argc > 1 && !strcmp(argv[1], "run"))
        status = run_file(argc - 1, argv + 1);
    else if (!guest && argc > 1 && !strcmp(argv[1], "gdb"))
        status = gdb_command(argc - 1, argv + 1);
    else if (!guest || !isa_find(guest))
        status = explain(program, guest);
    else
        status = run_guest(program, guest, argc, argv);
    g_free(program);
    return status;
}
