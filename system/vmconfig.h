/* SPDX-License-Identifier: MIT */
/* What the command line asked for, as plain data; strings are owned by the config or NULL. */
#ifndef SYSTEM_VMCONFIG_H
#define SYSTEM_VMCONFIG_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum Engine { ENGINE_JIT, ENGINE_INTERP, ENGINE_LOCKSTEP } Engine;

/* -action: what an expired watchdog, and a guest that says it panicked, mean. The first is the default. */
typedef enum WatchdogAction { WATCHDOG_RESET, WATCHDOG_SHUTDOWN, WATCHDOG_POWEROFF, WATCHDOG_PAUSE, WATCHDOG_DEBUG, WATCHDOG_NONE, WATCHDOG_INJECT_NMI } WatchdogAction;
typedef enum PanicAction { PANIC_SHUTDOWN, PANIC_PAUSE, PANIC_EXIT_FAILURE, PANIC_NONE } PanicAction;

struct VmConfig {
    const char *program;        /* "lyre-system-riscv64" */
    const char *isa;            /* "riscv64" */
    char *name, *uuid;
    char *machine, *machine_opts;   /* "virt", "aclint=on,..." (key=value list without the name) */
    char *cpu, *cpu_opts;       /* "rv64", "zba=off,..." */
    int smp, maxcpus;           /* smp -1: no CPU at all (the machine "none") */
    uint64_t ram_size;
    /* -accel */
    char *accel;                /* "tcg", "kvm:tcg" */
    Engine engine;
    uint64_t tb_size;           /* code cache in bytes; 0: default */
    bool one_insn;              /* one-insn-per-tb=on */
    /* boot */
    char *kernel, *initrd, *append, *dtb, *bios;
    char *boot_order, *boot_once;   /* letters, "cdn" */
    bool boot_menu, boot_strict;
    char *boot_splash;          /* a picture's file */
    bool boot_has_splash_time, boot_has_reboot_timeout;
    int boot_splash_time, boot_reboot_timeout;      /* ms */
    GPtrArray *fw_cfgs;         /* each -fw_cfg argument */
    GPtrArray *smbios;          /* each -smbios argument */
    GPtrArray *devices;         /* each -device argument, char* */
    GPtrArray *globals;         /* each -global argument, char*; NULL: none */
    GPtrArray *fsdevs;          /* each -fsdev argument, also of -virtfs */
    char *default_nic;          /* a NIC when nobody asked for one: as below; NULL: none */
    GPtrArray *nics;            /* of -nic and -net: "[MODEL],netdev=ID,PROPERTY=VALUE.." */
    GPtrArray *drives, *blockdevs, *objects;    /* arguments of -drive (and of -hda .. as such), -blockdev, -object */
    /* consoles */
    GPtrArray *serials;         /* each -serial argument */
    GPtrArray *chardevs;        /* each -chardev argument */
    bool nographic, no_reboot, no_shutdown, start_paused;
    bool preconfig;             /* nothing begins until somebody says so (x-exit-preconfig) */
    WatchdogAction watchdog_action;
    PanicAction panic_action;
    char *display, *monitor;
    char *loadvm, *incoming;    /* a snapshot to go on from; who may send a machine (system/state.h) */
    char *rtc_base, *rtc_clock;
    bool perfmap;
    char *gdb;                  /* -gdb: where the debugger's stub listens; NULL: nowhere */
    char *dumpdtb;              /* -M dumpdtb=FILE */
};
typedef struct VmConfig VmConfig;
#endif
