/* SPDX-License-Identifier: MIT */
/*
 * The option table's shape: one row for each option of the command line, and
 * one for each that is known but not available. Private to cmd/.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include "cmd/config.h"

typedef enum OptionKind {
    OPTION_CALL,        /* set(config, argument) */
    OPTION_TEXT,        /* a char * at `offset`; the last one counts */
    OPTION_LIST,        /* a GPtrArray * at `offset`; each is added */
    OPTION_FLAG,        /* a bool at `offset` becomes true */
    OPTION_NOTHING,     /* accepted, and means nothing here */
} OptionKind;

typedef struct Option {
    const char *name, *alias;   /* without the dash; alias may be NULL */
    const char *arg;            /* what the argument is, for people; NULL: none */
    OptionKind kind;
    const char *doc;            /* NULL: not listed in the help */
    Err *(*set)(EmuConfig *, const char *arg);
    size_t offset;
    bool free_text;             /* the argument may be anything: empty, or look like an option */
} Option;

/* A heading in the help, and the options below it; ended by a row without a name. */
typedef struct OptionGroup {
    const char *title;
    const Option *options;
} OptionGroup;

extern const OptionGroup option_groups[];       /* ended by one without a title */

/* QEMU's options that do nothing here yet: what to do instead. */
typedef struct MissingOption {
    const char *name;
    const char *instead;        /* a sentence, or NULL */
} MissingOption;
extern const MissingOption missing_options[];   /* ended by one without a name */

/* Handlers with a syntax of their own (cmd/machine_opts.c). */
Err *set_machine(EmuConfig *c, const char *arg);
Err *set_cpu(EmuConfig *c, const char *arg);
Err *set_smp(EmuConfig *c, const char *arg);
Err *set_memory(EmuConfig *c, const char *arg);
Err *set_accel(EmuConfig *c, const char *arg);
Err *set_rtc(EmuConfig *c, const char *arg);
Err *set_name(EmuConfig *c, const char *arg);
Err *set_uuid(EmuConfig *c, const char *arg);
/* cmd/disk_opts.c; a bare argument is a disk's image. */
Err *set_disk_image(EmuConfig *c, const char *file);
Err *set_hda(EmuConfig *c, const char *arg);
Err *set_hdb(EmuConfig *c, const char *arg);
Err *set_hdc(EmuConfig *c, const char *arg);
Err *set_hdd(EmuConfig *c, const char *arg);
Err *set_cdrom(EmuConfig *c, const char *arg);
Err *set_pflash(EmuConfig *c, const char *arg);
Err *set_object(EmuConfig *c, const char *arg);

/* cmd/monitor_opts.c */
Err *set_monitor(EmuConfig *c, const char *arg);
Err *set_qmp(EmuConfig *c, const char *arg);
Err *set_qmp_pretty(EmuConfig *c, const char *arg);
Err *set_mon(EmuConfig *c, const char *arg);
bool monitor_on_terminal(const EmuConfig *c);

/* cmd/boot_opts.c */
Err *set_boot(EmuConfig *c, const char *arg);

/* -netdev, -nic, -net (cmd/net_opts.c). */
Err *set_netdev(EmuConfig *c, const char *arg);
Err *set_nic(EmuConfig *c, const char *arg);
Err *set_net(EmuConfig *c, const char *arg);
MUST_USE Err *net_fill_in(EmuConfig *c);    /* -net, once all are known; the usual NIC */

/* Is the argument, or an element of the list, a call for help? */
bool asks_help(const char *arg);
Err *ask_help(EmuConfig *c, HelpOn what, const char *arg);

#endif
