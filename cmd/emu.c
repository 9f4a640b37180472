/* SPDX-License-Identifier: MIT */
/*
 * Puts the parts together: logs, backends of serial ports, accelerator, board;
 * runs the machine; takes it apart in the opposite order.
 */
#include "cmd/emu.h"
#include "cmd/nbd/nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "accel/accel.h"
#include "chardev/chardev.h"
#include "gdb/gdb.h"
#include "hw/9p/fsdev.h"
#include "hw/core/board.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "system/disks.h"
#include "system/objects.h"
#include "system/rng.h"
#include "system/vm.h"
#include "target/isa.h"
#include "util/fdset.h"
#include "util/log.h"
#include "util/path.h"
#include "util/trace.h"

#define DEFAULT_MACHINE "virt"

/* ---- the program's own options --------------------------------------------------- */

static Err *start_logs(const EmuConfig *c)
{
    if (c->log_file)
        TRY(log_set_file(c->log_file));
    for (guint i = 0; i < c->log_filters->len; i++)
        TRY(log_set_filter(c->log_filters->pdata[i]));
    for (guint i = 0; i < c->log_items->len; i++)
        TRY(log_set_items(c->log_items->pdata[i]));
    for (guint i = 0; i < c->traces->len; i++)
        TRY(trace_option(c->traces->pdata[i]));
    return NULL;
}

/* Complete when it is there at all: written under another name first. */
static Err *write_pidfile(const char *path)
{
    char *temp = g_strdup_printf("%s.%d", path, (int)getpid());
    char text[20];
    Err *e = NULL;
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, text, n) != n || rename(temp, path) < 0)
        e = err_path(errno, path, "-pidfile: cannot write '%s'", path);
    if (fd >= 0)
        close(fd);
    if (e)
        unlink(temp);
    g_free(temp);
    return e;
}

/* ---- serial ports ------------------------------------------------------------------- */

static void host_lock(void *opaque)
{
    vm_lock(opaque);
}

static void host_unlock(void *opaque)
{
    vm_unlock(opaque);
}

static void host_quit(void *opaque)
{
    vm_request(opaque, VM_QUIT, 0);
}

static Err *make_chardevs(Vm *vm, const EmuConfig *c)
{
    ChardevHost host = {
        .context = vm->main_context, .lock = host_lock, .unlock = host_unlock,
        .quit = host_quit, .opaque = vm, .escape = c->escape, .fdsets = vm->fdsets, .yanks = vm->yanks,
    };

    vm->chardevs = chardevs_new(&host);
    for (guint i = 0; i < c->vm.chardevs->len; i++)
        TRY(chardev_add(vm->chardevs, c->vm.chardevs->pdata[i], NULL));
    TRY(make_monitor_chardevs(vm, c));
    vm->serials = g_new0(Chardev *, c->vm.serials->len + 1);
    for (guint i = 0; i < c->vm.serials->len; i++) {
        TRY(chardev_add_serial(vm->chardevs, c->vm.serials->pdata[i], i, &vm->serials[i]));
        vm->nserials = i + 1;
    }
    return NULL;
}

/* ---- signals --------------------------------------------------------------------------- */

typedef struct Ender {
    Vm *vm;
    int sig;
    GSource *src;
} Ender;

static gboolean on_signal(gpointer opaque)
{
    Ender *e = opaque;

    fprintf(stderr, "%s: ended by signal %d (%s)\n", g_get_prgname(), e->sig, strsignal(e->sig));
    vm_request_by(e->vm, VM_QUIT, 0, "host-signal");
    return G_SOURCE_CONTINUE;
}

/* A machine that stands goes on: after a disk of the host was full, for example. */
static gboolean on_go_on(gpointer opaque)
{
    Vm *vm = opaque;

    vm_lock(vm);
    if (vm->state == RUN_PAUSED)
        vm_start(vm);
    vm_unlock(vm);
    return G_SOURCE_CONTINUE;
}

/*
 * From here on these signals end the machine in order. Before, while it is
 * being made, they have their usual effect: making it may wait for a peer.
 */
static void catch_signals(Vm *vm, Ender *enders, int n)
{
    for (int i = 0; i < n; i++) {
        enders[i].vm = vm;
        enders[i].src = g_unix_signal_source_new(enders[i].sig);
        g_source_set_callback(enders[i].src, on_signal, &enders[i], NULL);
        g_source_attach(enders[i].src, vm->main_context);
    }
}

/*
 * A second SIGTERM must not kill what ends already: glib's handler, which does nothing without the source, stays in place as
 * long as somebody holds that, so its last reference is kept for the process's life. A second Ctrl-C still kills.
 */
static void release_signals(Ender *enders, int n)
{
    for (int i = 0; i < n; i++) {
        g_source_destroy(enders[i].src);
        if (enders[i].sig == SIGINT)
            g_source_unref(enders[i].src);
    }
}

/* ---- what the user may not expect ---------------------------------------------------- */

static void note_oddities(const Vm *vm, const EmuConfig *c)
{
    const char *bios = c->vm.bios;

    for (int i = 0; i < vm->nserials; i++)
        if (vm->serials[i] && !chardev_used(vm->serials[i]) && strcmp(c->vm.serials->pdata[i], "null"))
            err_note("-serial %s: machine '%s' has no serial port number %d for it",
                     (char *)c->vm.serials->pdata[i], c->vm.machine, i);
    if (!c->vm.kernel && (!bios || !strcmp(bios, "default")) && !c->vm.devices->len && !c->vm.drives->len && !c->vm.blockdevs->len &&
        !c->vm.dumpdtb)
        err_note("there is no -kernel: the firmware will find nothing to start");
}

/* ---- its life --------------------------------------------------------------------------- */

static void print_stats(Vm *vm)
{
    if (!log_on(LOG_STATS) || !vm->accel || !vm->accel->stats)
        return;
    GString *s = g_string_new(NULL);
    vm->accel->stats(vm, s);
    log_line("%s", s->str);
    g_string_free(s, TRUE);
}

static Err *make_machine(Vm *vm, EmuConfig *c)
{
    TRY(make_fdsets(vm, c));
    TRY(make_chardevs(vm, c));
    for (guint i = 0; i < c->vm.fsdevs->len; i++)
        TRY(fsdev_add(vm, c->vm.fsdevs->pdata[i]));
    TRY(disks_new(vm, &vm->disks));
    if (vm->config->incoming)
        disks_wait_for_images(vm->disks);
    TRY(make_net(vm, c));
    TRY(make_objects(vm));
    TRY(make_disks(vm, c->snapshot));
    TRY(accel_start(vm));
    vm_lock(vm);
    Err *e = board_make(vm);
    if (!e)
        e = make_monitors(vm, c);
    if (!e && c->vm.gdb)
        e = err_in(gdb_start(vm, c->vm.gdb), "-gdb %s", c->vm.gdb);
    vm_unlock(vm);
    return e;
}

static int run_machine(Vm *vm)
{
    if (atomic_load(&vm->request) & VM_QUIT)
        return vm->exit_status;     /* -M dumpdtb: making the machine was all */
    Ender enders[] = { { .sig = SIGINT }, { .sig = SIGTERM }, { .sig = SIGHUP } };
    GSource *go_on = g_unix_signal_source_new(SIGUSR1);

    catch_signals(vm, enders, G_N_ELEMENTS(enders));
    g_source_set_callback(go_on, on_go_on, vm, NULL);
    g_source_attach(go_on, vm->main_context);
    int status = vm_main(vm);
    print_stats(vm);
    release_signals(enders, G_N_ELEMENTS(enders));
    g_source_destroy(go_on);
    g_source_unref(go_on);
    return status;
}

static void free_machine(Vm *vm)
{
    accel_stop(vm);
    vm_lock(vm);
    gdb_end(vm, vm->exit_status);
    board_free(vm);
    vm_unlock(vm);
    rngs_free(vm);
    free_net(vm);
    disks_free(vm->disks);
    vm->disks = NULL;           /* monitors look */
    fsdevs_free(vm);
    objects_forget(vm);
    monitors_free(vm);
    chardevs_free(vm->chardevs);
    fdsets_free(vm->fdsets);
    g_free(vm->serials);
    vm_free(vm);
}

/* What only the guest and the board can say of the configuration. */
static Err *fill_in(EmuConfig *c, const Isa *isa)
{
    const Board *b;

    if (!c->vm.cpu)
        c->vm.cpu = g_strdup(isa->default_cpu);
    if (!c->vm.machine)
        c->vm.machine = g_strdup(DEFAULT_MACHINE);
    TRY(err_in(board_find(c->vm.isa, c->vm.machine, &b), "-M"));
    if (!c->vm.ram_size)
        c->vm.ram_size = b->ram_default;
    if (b->no_cpus)
        c->vm.smp = -1;
    /* The board says so too, but only when all those vCPUs have been made. */
    if (c->vm.smp > b->max_cpus)
        return err(ERR_INVALID, "-smp %d: machine '%s' has at most %d CPUs", c->vm.smp, b->name,
                   b->max_cpus);
    return NULL;
}

Err *emu_run(EmuConfig *c, int *status)
{
    const Isa *isa = isa_find(c->vm.isa);

    if (!isa)
        return err(ERR_NOT_FOUND, "there is no guest '%s' in this program", c->vm.isa);
    TRY(fill_in(c, isa));
    TRY(start_logs(c));
    int ready = -1;
    Vm *vm = vm_new(&c->vm);
    if (!vm)
        return err_errno(errno, "cannot make the machine's clocks");
    vm->isa = isa;
    vm->monitor_line = hmp_run;
    Err *e = c->daemonize ? daemon_fork(&ready) : NULL;
    if (!e)
        e = err_in(sandbox_enter(&c->sandbox), "-sandbox");
    if (!e)
        e = make_machine(vm, c);
    if (!e && strcmp(c->vm.machine, "none"))
        note_oddities(vm, c);
    if (!e && c->pidfile)
        e = write_pidfile(c->pidfile);
    if (!e)
        daemon_ready(&ready, false);
    if (!e)
        *status = run_machine(vm);
    if (!e && c->pidfile)
        unlink(c->pidfile);
    free_machine(vm);
    log_close();
    return e;
}

/* ---- help ---------------------------------------------------------------------------------- */

static Err *help_chardev(const char *arg, char **out)
{
    char *kind = g_strndup(arg, strcspn(arg, ","));
    bool all = !strcmp(kind, "help") || !strcmp(kind, "?");

    *out = chardev_help(all ? NULL : kind);
    Err *e = **out ? NULL : err(ERR_NOT_FOUND, "-chardev: there is no kind '%s'", kind);
    g_free(kind);
    return e;
}

/* "help": all machines; "virt,help": what virt can be told. */
static Err *help_machine(const EmuConfig *c, const char *arg, char **out)
{
    char *name = g_strndup(arg, strcspn(arg, ","));
    const Board *b;

    if (!strcmp(name, "help") || !strcmp(name, "?")) {
        *out = board_help(c->vm.isa);
        g_free(name);
        return NULL;
    }
    Err *e = err_in(board_find(c->vm.isa, name, &b), "-M");
    g_free(name);
    if (e)
        return e;
    char *props = b->fields ? props_help(b->fields) : g_strdup("");
    char *common = props_help(machine_fields);
    *out = g_strdup_printf("Options of the machine %s:\n%s%s"
                           "  dumpdtb=<file>         - write the device tree there, and end\n"
                           "  accel=<str>            - the same as -accel (default: tcg)\n", b->name, props, common);
    g_free(common);
    g_free(props);
    return NULL;
}

static char *help_accel(void)
{
    return g_strdup(
        "Accelerators:\n"
        "  tcg    guest code is translated to host code as it runs\n"
        "Options of tcg:\n"
        "  engine=jit|interp|lockstep  how: translated (default), interpreted, or both at\n"
        "                              once, compared after each unit\n"
        "  tb-size=SIZE                the code cache, 1 MiB to 1 GiB; MiB without a suffix (256)\n"
        "  one-insn-per-tb=on|off      translate each instruction alone\n");
}

Err *emu_help(const EmuConfig *c, char **out)
{
    const Isa *isa = isa_find(c->vm.isa);
    const char *arg = c->help_arg ? c->help_arg : "help";

    *out = NULL;
    switch (c->help) {
    case HELP_NONE:
        break;
    case HELP_OPTIONS:
        *out = emu_config_help(c->vm.program);
        break;
    case HELP_VERSION:
        *out = g_strdup_printf("Lyre emulator version %s\n", LYRE_VERSION);
        break;
    case HELP_MACHINE:
        return help_machine(c, arg, out);
    case HELP_CPU:
        *out = isa && isa->cpu_help ? isa->cpu_help() : g_strdup("");
        break;
    case HELP_ACCEL:
        *out = help_accel();
        break;
    case HELP_DEVICE:
        return device_help(arg, out);
    case HELP_LOG:
        *out = log_help();
        break;
    case HELP_TRACE:
        *out = trace_help();
        break;
    case HELP_CHARDEV:
        return help_chardev(arg, out);
    case HELP_OBJECT:
        return help_object(arg, out);
    case HELP_NETDEV:
        *out = help_netdev(arg);
        break;
    case HELP_SERIAL:
        *out = g_strdup("-serial takes one of: stdio  mon:stdio  null  none  pty[:LINK]  file:PATH  pipe:PATH\n"
                        "  unix:PATH[,server=on][,wait=off]  tcp:HOST:PORT[,server=on][,wait=off]\n"
                        "  telnet:HOST:PORT[,server=on][,wait=off]  udp:HOST:PORT[@OWN-HOST:OWN-PORT]\n"
                        "  /dev/ttyS0  ringbuf[,size=SIZE]  chardev:NAME\n"
                        "mon: in front keeps Ctrl-C for the guest, and makes Ctrl-A a prefix for commands.\n");
        break;
    }
    return NULL;
}
