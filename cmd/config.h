/* SPDX-License-Identifier: MIT */
/*
 * The command line as data: the machine's part (system/vmconfig.h), and what
 * concerns the program alone.
 */
#ifndef CMD_CONFIG_H
#define CMD_CONFIG_H

#include "cmd/sandbox.h"
#include "system/vmconfig.h"
#include "util/err.h"

/* What -help, -M help and their like ask for: print it, and end. */
typedef enum HelpOn {
    HELP_NONE, HELP_OPTIONS, HELP_VERSION, HELP_MACHINE, HELP_CPU, HELP_ACCEL, HELP_DEVICE,
    HELP_LOG, HELP_TRACE, HELP_CHARDEV, HELP_SERIAL, HELP_OBJECT, HELP_NETDEV,
} HelpOn;

typedef struct EmuConfig {
    VmConfig vm;
    HelpOn help;
    char *help_arg;             /* the whole argument, "virtio-blk-device,help"; or NULL */
    bool nodefaults;
    bool snapshot;              /* -snapshot: no -drive changes its image */
    GPtrArray *netdevs, *netdevs_said;  /* arguments of -netdev and what became such; the option they came from */
    GPtrArray *nets;            /* each -net argument */
    bool net_said;              /* something was said of networks: no usual NIC */
    GPtrArray *monitors;        /* -qmp, -qmp-pretty, -monitor, -mon: "qmp WHERE" .. "mon OPTIONS" (cmd/monitor_opts.c) */
    GPtrArray *fds;             /* each -add-fd argument */
    Sandbox sandbox;
    char *pidfile;
    bool daemonize;
    int escape;                 /* of the mux; 0: Ctrl-A */
    /* Debugging: each argument given, in order. */
    GPtrArray *log_items, *log_filters, *traces;
    char *log_file;
} EmuConfig;

/* Nothing asked for yet. The strings of vm that are const stay the caller's. */
EmuConfig *emu_config_new(const char *program, const char *isa);
void emu_config_free(EmuConfig *c);

/*
 * argv[1..] into c. When help is asked for, the rest is not looked at. After
 * that, what belongs together has been checked, and defaults are filled in.
 */
MUST_USE Err *emu_config_parse(EmuConfig *c, int argc, char **argv);
/* -help; g_free it. */
char *emu_config_help(const char *program);

#endif
