/* SPDX-License-Identifier: MIT */
/*
 * The monitors of a whole board without a guest, in a folder and network of their own: what is typed at a console, keys and
 * all, and what a QMP client asks for; the commands are run. The machine is made anew for each input.
 *
 * A line of the input goes to the console, one that begins with '{' to QMP, one with '!' lets the machine's threads work for a
 * moment. What names other folders, programs or descriptors is not tried: that is its good right.
 */
#include "tests/fuzz/fuzz.h"

#include "cmd/emu.c"
#include "monitor/monitor-priv.h"
#include "system/state.h"

enum { LINES = 64 };

static void good(Err *e)
{
    if (e)
        err_report(e);
    fuzz_must(!e, "the machine could not be made");
}

static const char *const command_line[] = {
    "lyre-system-riscv64", "-M", "virt", "-m", "16", "-smp", "2", "-S", "-nodefaults", "-display", "none", "-bios", "none", "-no-shutdown",
    "-chardev", "null,id=h", "-mon", "h", "-chardev", "null,id=q", "-mon", "q,mode=control",
    "-blockdev", "driver=null-co,node-name=n,size=1M,read-zeroes=on", "-blockdev", "driver=null-co,node-name=m,size=1M,read-zeroes=on",
    "-device", "virtio-blk-device,id=d,drive=n", "-device", "pcie-root-port,id=rp,chassis=1", "-device", "virtio-serial-pci,id=s",
    "-netdev", "hubport,id=e,hubid=0", "-device", "virtio-net-pci,id=f,netdev=e", "-chardev", "ringbuf,id=r,size=64",
    "-device", "virtserialport,bus=s.0,chardev=r,name=x",
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    int null = open("/dev/null", O_RDWR);

    fuzz_hide();
    dup2(null, 0);
    return 0;
}

static Monitor *monitor_of(Vm *vm, const char *chardev)
{
    Chardev *chr = NULL;

    err_free(chardev_find(vm->chardevs, chardev, &chr));
    for (Monitor *m = vm->monitors->list; m; m = m->next)
        if (chr && m->port.chr == chr)
            return m;
    return NULL;
}

static void turn(Vm *vm)
{
    for (int i = 0; i < 20 && g_main_context_pending(vm->main_context); i++)
        vm_turn(vm, false);
}

static void send_bytes(Vm *vm, const char *chardev, const char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        vm_lock(vm);
        Monitor *m = monitor_of(vm, chardev);
        size_t n = m ? MIN(size - at, (size_t)m->port.events->room(m)) : 0;

        if (n)
            m->port.events->data(m, (const uint8_t *)text + at, (int)n);
        vm_unlock(vm);
        turn(vm);
        if (!n)
            return;             /* a command that goes on; or its stream is another one now */
        at += n;
    }
}

static void open_monitor(Vm *vm, const char *chardev)
{
    vm_lock(vm);
    Monitor *m = monitor_of(vm, chardev);
    m->port.events->event(m, CHR_OPENED);
    vm_unlock(vm);
}

/* Escapes of JSON could spell what must not be named. */
static bool forbidden(const char *text)
{
    static const char *const words[] = { "exec", "fd", "\\u", "stdio", "pipe", "quit", "/", "..", "host", "pid" };

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
        if (strstr(text, words[i]))
            return true;
    return false;
}

static void do_line(Vm *vm, char *line)
{
    if (*line == '!') {
        usleep(1000);
        turn(vm);
    } else if (*line == '{') {
        send_bytes(vm, "q", line, strlen(line));
    } else {
        send_bytes(vm, "h", line, strlen(line));
        send_bytes(vm, "h", "\n", 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = fuzz_text(data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", LINES);
    EmuConfig *c = emu_config_new("lyre-system-riscv64", "riscv64");

    good(emu_config_parse(c, G_N_ELEMENTS(command_line), (char **)command_line));
    Vm *vm = vm_new(&c->vm);
    vm->isa = isa_find("riscv64");
    vm->monitor_line = hmp_run;
    good(fill_in(c, vm->isa));
    good(make_machine(vm, c));
    open_monitor(vm, "h");
    open_monitor(vm, "q");
    send_bytes(vm, "q", "{'execute':'qmp_capabilities'}", 30);
    for (char **l = lines; *l; l++)
        if (!forbidden(*l))
            do_line(vm, *l);
    turn(vm);
    migration_end(vm);
    vm_lock(vm);
    vm_stop(vm, RUN_SHUTDOWN);
    state_loan_end(vm);
    vm_unlock(vm);
    free_machine(vm);
    emu_config_free(c);
    fuzz_tidy();
    return 0;
}
