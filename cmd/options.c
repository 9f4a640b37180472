/* SPDX-License-Identifier: MIT */
/*
 * The options of the command line: a row for each, and a row for each of
 * QEMU's that is not available, with what to do instead.
 */
#include "cmd/options.h"

#include <stddef.h>
#include <string.h>

#include "gdb/gdb.h"
#include "hw/9p/fsdev.h"
#include "util/opts.h"
#include "util/str.h"

/* ---- handlers of a line or two ------------------------------------------------ */

static Err *ask_options(EmuConfig *c, const char *arg)
{
    return ask_help(c, HELP_OPTIONS, NULL);
}

static Err *ask_version(EmuConfig *c, const char *arg)
{
    return ask_help(c, HELP_VERSION, NULL);
}

static Err *set_gdb_default(EmuConfig *c, const char *arg)
{
    g_free(c->vm.gdb);
    c->vm.gdb = g_strdup(GDB_DEFAULT);
    return NULL;
}

static Err *set_one_insn(EmuConfig *c, const char *arg)
{
    c->vm.one_insn = true;
    return NULL;
}

static Err *set_device(EmuConfig *c, const char *arg)
{
    if (asks_help(arg))
        return ask_help(c, HELP_DEVICE, arg);
    g_ptr_array_add(c->vm.devices, g_strdup(arg));
    return NULL;
}

static Err *add_drive(EmuConfig *c, const char *arg)
{
    g_ptr_array_add(c->vm.drives, g_strdup(arg));
    return NULL;
}

static Err *add_blockdev(EmuConfig *c, const char *arg)
{
    size_t first = strcspn(arg, ",=");

    /* A first word alone is the driver's name. */
    g_ptr_array_add(c->vm.blockdevs, g_strconcat(*arg != '{' && arg[first] != '=' ? "driver=" : "", arg, NULL));
    return NULL;
}

static Err *set_serial(EmuConfig *c, const char *arg)
{
    if (asks_help(arg))
        return ask_help(c, HELP_SERIAL, arg);
    g_ptr_array_add(c->vm.serials, g_strdup(arg));
    return NULL;
}

static Err *set_chardev(EmuConfig *c, const char *arg)
{
    if (asks_help(arg))
        return ask_help(c, HELP_CHARDEV, arg);
    g_ptr_array_add(c->vm.chardevs, g_strdup(arg));
    return NULL;
}

/* The device of the folder comes with it. */
static Err *set_virtfs(EmuConfig *c, const char *arg)
{
    char *fsdev, *device;

    TRY(virtfs_split(arg, c->vm.fsdevs->len, &fsdev, &device));
    g_ptr_array_add(c->vm.fsdevs, fsdev);
    g_ptr_array_add(c->vm.devices, device);
    return NULL;
}

static Err *set_display(EmuConfig *c, const char *arg)
{
    if (strcmp(arg, "none"))
        return err_hint(err(ERR_UNSUPPORTED, "there is no display '%s' yet", arg),
                        "Use -nographic (serial console in this terminal) or -display none.");
    g_free(c->vm.display);
    c->vm.display = g_strdup(arg);
    return NULL;
}

/* -vga, -parallel, -audio: "none" is what there is. */
static Err *only_none(EmuConfig *c, const char *arg)
{
    if (strcmp(arg, "none"))
        return err_hint(err(ERR_UNSUPPORTED, "'%s' is not available yet", arg),
                        "Leave it away, or use none.");
    return NULL;
}

static Err *choose(const char *what, const char *arg, const char *const *names, int *out)
{
    for (*out = 0; names[*out]; ++*out)
        if (!strcmp(arg, names[*out]))
            return NULL;
    g_autofree char *all = g_strjoinv(", ", (char **)names);
    return err_hint(err(ERR_INVALID, "'%s' is no action for %s", arg, what),
                    "There are: %s", all);
}

static Err *set_watchdog_action(EmuConfig *c, const char *arg)
{
    static const char *const names[] = { "reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi", NULL };
    int n;

    TRY(choose("a watchdog", arg, names, &n));
    c->vm.watchdog_action = n;
    return NULL;
}

static Err *take_action(void *opaque, const char *key, const char *value)
{
    static const char *const reboots[] = { "reset", "shutdown", NULL }, *const shutdowns[] = { "poweroff", "pause", NULL };
    static const char *const panics[] = { "shutdown", "pause", "exit-failure", "none", NULL };
    EmuConfig *c = opaque;
    int n;

    if (!strcmp(key, "watchdog"))
        return set_watchdog_action(c, value);
    if (!strcmp(key, "panic")) {
        TRY(choose("a panic", value, panics, &n));
        c->vm.panic_action = n;
    } else if (!strcmp(key, "reboot")) {
        TRY(choose("a reboot", value, reboots, &n));
        c->vm.no_reboot = n;
    } else {
        TRY(choose("power-off", value, shutdowns, &n));
        c->vm.no_shutdown = n;
    }
    return NULL;
}

static Err *set_action(EmuConfig *c, const char *arg)
{
    static const OptDesc descs[] = {
        { "reboot", OPT_STR, "" }, { "shutdown", OPT_STR, "" }, { "panic", OPT_STR, "" }, { "watchdog", OPT_STR, "" }, { 0 }
    };
    Opts *o = NULL;

    TRY(opts_parse(arg, descs, NULL, &o));
    Err *e = opts_each(o, take_action, c);
    opts_free(o);
    return e;
}

static Err *set_log_items(EmuConfig *c, const char *arg)
{
    if (asks_help(arg))
        return ask_help(c, HELP_LOG, arg);
    if (!strcmp(arg, "trace:help"))
        return ask_help(c, HELP_TRACE, arg);
    g_ptr_array_add(c->log_items, g_strdup(arg));
    return NULL;
}

static Err *set_trace(EmuConfig *c, const char *arg)
{
    if (asks_help(arg))
        return ask_help(c, HELP_TRACE, arg);
    g_ptr_array_add(c->traces, g_strdup(arg));
    return NULL;
}

/* What these ask for is how it is; the rest is refused. */
static Err *set_overcommit(EmuConfig *c, const char *arg)
{
    static const OptDesc descs[] = { { "mem-lock", OPT_BOOL, "keep memory from being swapped" }, { "cpu-pm", OPT_BOOL, "" }, { 0 } };
    Opts *o = NULL;

    TRY(opts_parse(arg, descs, NULL, &o));
    bool asks = opts_bool(o, "mem-lock", false) || opts_bool(o, "cpu-pm", false);
    opts_free(o);
    return asks ? err(ERR_UNSUPPORTED, "only off is available") : NULL;
}

static Err *set_sandbox(EmuConfig *c, const char *arg)
{
    return sandbox_parse(arg, &c->sandbox);
}

static Err *set_msg(EmuConfig *c, const char *arg)
{
    static const OptDesc descs[] = { { "timestamp", OPT_BOOL, "" }, { "guest-name", OPT_BOOL, "" }, { 0 } };
    Opts *o = NULL;

    TRY(opts_parse(arg, descs, NULL, &o));
    opts_free(o);
    return NULL;
}

static Err *set_audiodev(EmuConfig *c, const char *arg)
{
    if (g_str_has_prefix(arg, "none,") || strstr(arg, "\"driver\":\"none\"") || strstr(arg, "driver=none"))
        return NULL;
    return err_hint(err(ERR_UNSUPPORTED, "there is no sound yet"), "The driver none is accepted.");
}

static Err *set_escape(EmuConfig *c, const char *arg)
{
    uint64_t n;
    Err *e = parse_num(arg, &n);

    if (e || n < 1 || n > 255) {
        err_free(e);
        return err_hint(err(ERR_INVALID, "'%s' is not a character's number from 1 to 255", arg),
                        "1 is Ctrl-A, 2 is Ctrl-B, and so on.");
    }
    c->escape = n;
    return NULL;
}

/* ---- the tables ------------------------------------------------------------------- */

#define AT(member) .offset = offsetof(EmuConfig, member)
#define CALL(fn) OPTION_CALL, .set = fn

static const Option machine_options[] = {
    { "M", "machine", "NAME[,OPTION=VALUE]...", CALL(set_machine),
      .doc = "the machine; 'help' lists them, NAME,help their options" },
    { "cpu", NULL, "MODEL[,FEATURE=on|off]...", CALL(set_cpu),
      .doc = "the CPU model; 'help' lists them" },
    { "smp", NULL, "N", CALL(set_smp),
      .doc = "number of CPUs (also cpus=, sockets=, cores=, threads=)" },
    { "m", NULL, "SIZE", CALL(set_memory),
      .doc = "memory: 512 (MiB), 4G" },
    { "device", NULL, "NAME[,PROPERTY=VALUE]...", CALL(set_device),
      .doc = "add a device; 'help' lists them, NAME,help its properties" },
    { "global", NULL, "NAME.PROPERTY=VALUE", OPTION_LIST, "another default for all devices of that name",
      AT(vm.globals) },
    { "accel", NULL, "tcg[,OPTION=VALUE]...", CALL(set_accel),
      .doc = "how guest code is run; 'help' lists the options" },
    { "rtc", NULL, "base=utc|localtime|DATE", CALL(set_rtc),
      .doc = "what the guest's clock shows at the start" },
    { "name", NULL, "NAME", CALL(set_name), .doc = "the machine's name" },
    { "uuid", NULL, "UUID", CALL(set_uuid), .doc = "the machine's UUID" },
    { 0 }
};

static const Option boot_options[] = {
    { "kernel", NULL, "FILE", OPTION_TEXT, "the operating system's kernel (Image, also gzip'ed), or any ELF file",
      AT(vm.kernel) },
    { "initrd", NULL, "FILE", OPTION_TEXT, "its initial RAM disk", AT(vm.initrd) },
    { "append", NULL, "TEXT", OPTION_TEXT, "its command line", AT(vm.append), .free_text = true },
    { "dtb", NULL, "FILE", OPTION_TEXT, "a device tree to use instead of the machine's own",
      AT(vm.dtb) },
    { "bios", NULL, "FILE|none|default", OPTION_TEXT,
      "the firmware; default is OpenSBI, none starts the kernel itself in machine mode", AT(vm.bios) },
    { "boot", NULL, "[order=]KINDS[,OPTION=VALUE]...", CALL(set_boot),
      .doc = "what firmware tries to boot: order=, once= (a floppy, c disk, d CD, n network), "
             "menu=on, splash-time=MS, strict=on" },
    { "fw_cfg", NULL, "[name=]NAME,file=FILE|string=TEXT", OPTION_LIST,
      "a file that firmware and guest can read by fw_cfg; names begin with opt/", AT(vm.fw_cfgs) },
    { "smbios", NULL, "file=FILE|type=N[,FIELD=VALUE]...", OPTION_LIST,
      "what SMBIOS says of the machine: type 0 (firmware), 1 (system: manufacturer, product, version, serial, uuid, sku, "
      "family), 2 (board), 3 (chassis), 4 (CPU), 11 (value=TEXT), 17 (memory)", AT(vm.smbios) },
    { 0 }
};

static const Option disk_options[] = {
    { "drive", NULL, "file=IMAGE[,OPTION=VALUE]...", CALL(add_drive),
      .doc = "a disk; with if=none,id=NAME it is for -device KIND,drive=NAME. Options: format, media, readonly, "
             "snapshot, cache, aio, discard, detect-zeroes, werror, rerror, copy-on-read, throttling.*, and those of the format" },
    { "blockdev", NULL, "driver=NAME,node-name=NAME,...", CALL(add_blockdev),
      .doc = "a block node by itself, also as JSON; -device KIND,drive=NAME uses it" },
    { "hda", NULL, "IMAGE", CALL(set_hda), .doc = "the first disk, as IMAGE alone; hdb, hdc and hdd are the next" },
    { "hdb", NULL, "IMAGE", CALL(set_hdb) }, { "hdc", NULL, "IMAGE", CALL(set_hdc) },
    { "hdd", NULL, "IMAGE", CALL(set_hdd) },
    { "cdrom", NULL, "IMAGE", CALL(set_cdrom), .doc = "a disk that is read-only" },
    { "pflash", NULL, "IMAGE", CALL(set_pflash), .doc = "what is in the flash: firmware, then its variables" },
    { "snapshot", NULL, NULL, OPTION_FLAG, "no -drive changes its image: what is written is lost at the end",
      AT(snapshot) },
    { "object", NULL, "KIND,id=NAME[,OPTION=VALUE]...", CALL(set_object),
      .doc = "a secret, a throttle group, TLS credentials, an I/O thread; 'help' lists the kinds" },
    { "fsdev", NULL, "local,id=NAME,path=FOLDER,security_model=MODEL[,...]", OPTION_LIST,
      "a folder for -device virtio-9p-pci,fsdev=NAME,mount_tag=TAG", AT(vm.fsdevs) },
    { "virtfs", NULL, "local,path=FOLDER,mount_tag=TAG,security_model=MODEL[,...]", CALL(set_virtfs),
      .doc = "share a folder; the guest: mount -t 9p -o trans=virtio TAG /mnt" },
    { 0 }
};

static const Option net_options[] = {
    { "nic", NULL, "KIND|none[,model=NAME][,mac=ADDRESS][,OPTION=VALUE]...", CALL(set_nic),
      .doc = "a NIC and what is behind it; without -nic, -netdev and -net it is -nic user. Forward ssh: "
             "-nic user,hostfwd=tcp::2222-:22" },
    { "netdev", NULL, "KIND,id=NAME[,OPTION=VALUE]...", CALL(set_netdev),
      .doc = "what is behind a NIC (-device virtio-net-pci,netdev=NAME), also as JSON; 'help' lists the kinds, KIND,help their options" },
    { "net", NULL, "nic|KIND|none[,OPTION=VALUE]...", CALL(set_net), .doc = "the old spelling: -net nic -net user" },
    { 0 }
};

static const Option console_options[] = {
    { "nographic", NULL, NULL, OPTION_FLAG,
      "serial console in this terminal; Ctrl-A x ends, Ctrl-A h helps", AT(vm.nographic) },
    { "serial", NULL, "WHERE", CALL(set_serial),
      .doc = "where a serial port goes: stdio, mon:stdio, pty, file:PATH, ... ('help' lists all)" },
    { "chardev", NULL, "KIND,id=NAME[,OPTION=VALUE]...", CALL(set_chardev),
      .doc = "something a serial port can go to: -serial chardev:NAME; 'help' lists the kinds" },
    { "echr", NULL, "NUMBER", CALL(set_escape), .doc = "the character to use instead of Ctrl-A (1)" },
    { "display", NULL, "none", CALL(set_display), .doc = "no window" },
    { "monitor", NULL, "WHERE", CALL(set_monitor), .doc = "a console for commands there (as -serial); none" },
    { "qmp", NULL, "WHERE", CALL(set_qmp), .doc = "the machine protocol there: unix:PATH,server=on,wait=off" },
    { "qmp-pretty", NULL, "WHERE", CALL(set_qmp_pretty), .doc = "the same, with line breaks" },
    { "mon", NULL, "[chardev=]NAME[,mode=readline|control][,pretty=on]", CALL(set_mon), .doc = "a monitor on a -chardev" },
    { "add-fd", NULL, "fd=N,set=M[,opaque=TEXT]", OPTION_LIST, "a descriptor that was inherited, as /dev/fdset/M", AT(fds) },
    { 0 }
};

static const Option running_options[] = {
    { "no-reboot", NULL, NULL, OPTION_FLAG, "end instead of rebooting", AT(vm.no_reboot) },
    { "no-shutdown", NULL, NULL, OPTION_FLAG, "stay, stopped, when the guest powers off",
      AT(vm.no_shutdown) },
    { "action", NULL, "EVENT=ACTION[,...]", CALL(set_action),
      .doc = "reboot=reset|shutdown shutdown=poweroff|pause panic=shutdown|pause|exit-failure|none watchdog=ACTION" },
    { "watchdog-action", NULL, "ACTION", CALL(set_watchdog_action),
      .doc = "an expired watchdog: reset, shutdown, poweroff, pause, debug, none, inject-nmi" },
    { "S", NULL, NULL, OPTION_FLAG, "do not start the CPUs", AT(vm.start_paused) },
    { "preconfig", NULL, NULL, OPTION_FLAG, "begin when x-exit-preconfig says so; until then most commands are refused", AT(vm.preconfig) },
    { "loadvm", NULL, "NAME", OPTION_TEXT, "go on from that snapshot; a PATH with a slash: from that file", AT(vm.loadvm) },
    { "incoming", NULL, "URI", OPTION_TEXT, "wait for a machine that is migrated: tcp:HOST:PORT, unix:PATH, fd:N, exec:COMMAND, file:PATH, defer",
      AT(vm.incoming) },
    { "pidfile", NULL, "FILE", OPTION_TEXT, "write the process id there", AT(pidfile) },
    { "audiodev", NULL, "none,id=NAME", CALL(set_audiodev), .doc = "accepted: there is no sound" },
    { "sandbox", NULL, "on[,spawn=deny][,elevateprivileges=deny][,..]", CALL(set_sandbox),
      .doc = "give up system calls that a machine never needs, and those that are named" },
    { "overcommit", NULL, "mem-lock=off,cpu-pm=off", CALL(set_overcommit), .doc = "accepted" },
    { "msg", NULL, "timestamp=on|off", CALL(set_msg), .doc = "accepted: messages have no time" },
    { "daemonize", NULL, NULL, OPTION_FLAG, "go on in the background when the machine is made", AT(daemonize) },
    { "nodefaults", NULL, NULL, OPTION_FLAG, "no serial port unless -serial says so", AT(nodefaults) },
    { "no-user-config", NULL, NULL, OPTION_NOTHING, "accepted: there are no configuration files" },
    { 0 }
};

static const Option debug_options[] = {
    { "d", NULL, "ITEM[,ITEM]...", CALL(set_log_items), .doc = "what to log; 'help' lists the items" },
    { "D", NULL, "FILE", OPTION_TEXT, "log into that file instead of stderr", AT(log_file) },
    { "dfilter", NULL, "FIRST..LAST[,...]", OPTION_LIST, "log only code at these addresses",
      AT(log_filters) },
    { "trace", NULL, "PATTERN", CALL(set_trace), .doc = "show trace points; 'help' lists them" },
    { "gdb", NULL, "WHERE", OPTION_TEXT, "let gdb connect there: tcp::1234, unix:PATH, stdio, chardev:NAME; -S waits with starting the guest",
      AT(vm.gdb) },
    { "s", NULL, NULL, CALL(set_gdb_default), .doc = "the same as -gdb tcp::1234" },
    { "perfmap", NULL, NULL, OPTION_FLAG, "write /tmp/perf-PID.map, so that 'perf' names guest code",
      AT(vm.perfmap) },
    { "one-insn-per-tb", "singlestep", NULL, CALL(set_one_insn),
      .doc = "the same as -accel tcg,one-insn-per-tb=on" },
    { 0 }
};

static const Option other_options[] = {
    { "help", "h", NULL, CALL(ask_options), .doc = "this text" },
    { "version", NULL, NULL, CALL(ask_version), .doc = "the version" },
    { "vga", NULL, "none", CALL(only_none) },
    { "parallel", NULL, "none", CALL(only_none) },
    { "audio", NULL, "none", CALL(only_none) },
    { 0 }
};

const OptionGroup option_groups[] = {
    { "The machine", machine_options },
    { "What it boots", boot_options },
    { "Disks", disk_options },
    { "Networks", net_options },
    { "Consoles", console_options },
    { "Running", running_options },
    { "Looking inside", debug_options },
    { "Other", other_options },
    { 0 }
};

#define NO_MEDIUM "No machine here has one: use -drive file=IMAGE, which is a virtio disk."
#define NO_GFX "There is no graphics yet: use -nographic."
#define NO_KVM "-accel tcg is what there is; it needs no support by the host's CPU."

const MissingOption missing_options[] = {
    { "fda", NO_MEDIUM }, { "fdb", NO_MEDIUM }, { "sd", NO_MEDIUM }, { "mtdblock", NO_MEDIUM },
    { "iscsi", "Attach it with the host's iSCSI initiator, and use its device: -drive file=/dev/..,format=raw" },
    { "debugcon", NULL },
    { "vnc", NO_GFX }, { "spice", NO_GFX }, { "sdl", NO_GFX }, { "curses", NO_GFX },
    { "full-screen", NO_GFX }, { "rotate", NO_GFX }, { "portrait", NO_GFX }, { "k", NO_GFX },
    { "enable-kvm", NO_KVM }, { "enable-hax", NO_KVM },
    { "icount", NULL }, { "numa", NULL },
    { "set", "Use -device NAME,PROPERTY=VALUE." },
{ "acpitable", NULL }, { "no-acpi", "Use -M NAME,acpi=off." },
    { "no-hpet", NULL }, { "option-rom", NULL }, { "L", "Give the file's whole path to -bios." },
    { "mem-path", NULL }, { "mem-prealloc", NULL },
    { "usb", NULL }, { "usbdevice", NULL }, { "tpmdev", NULL }, { "only-migratable", NULL }, { "chroot", NULL }, { "runas", NULL },
    { "run-with", NULL }, { "semihosting", NULL }, { "semihosting-config", NULL },
    { "readconfig", NULL }, { "writeconfig", NULL }, { "plugin", NULL },
    { "watchdog", "Use -device i6300esb." },
    { "compat", NULL }, { "seed", NULL }, { "dump-vmstate", NULL },
    { "async-teardown", NULL }, { "enable-sync-profile", NULL }, { "win2k-hack", NULL },
    { 0 }
};
