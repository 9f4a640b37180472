/* SPDX-License-Identifier: MIT */
/*
 * `lyre run FILE`: chooses guest, board, devices and firmware for what FILE is,
 * and says the command line that it comes to. Private to cmd/.
 */
#ifndef CMD_RUN_RUN_H
#define CMD_RUN_RUN_H

#include <glib.h>

#include "cmd/run/media.h"
#include "util/err.h"

typedef struct RunArgs {
    char *file;
    char *isa, *memory, *cpus, *share, *initrd, *append, *firmware, *kernel;
    char *ssh;                  /* a port, "none", or NULL: a free one */
    GPtrArray *disks;           /* more of them, char * */
    char **rest;                /* behind "--": the emulator's own options; borrowed, NULL-terminated. Or NULL */
    bool explain, snapshot, help;
} RunArgs;

MUST_USE Err *run_args_parse(RunArgs *a, int argc, char **argv);
void run_args_clear(RunArgs *a);
extern const char run_help[];

/* What it comes to. */
typedef struct RunPlan {
    const char *isa;
    GPtrArray *argv;            /* "lyre-system-riscv64", .., NULL; owned */
    unsigned ssh_port;          /* 0: none */
} RunPlan;
/* The parts that only this host knows are looked up by these; tests give their own. */
typedef struct RunHost {
    bool (*exists)(const char *path);
    unsigned (*free_port)(unsigned from);       /* a TCP port of 127.0.0.1 that is free; 0: none */
    uint64_t memory;                            /* of the host, bytes */
    unsigned cpus;
} RunHost;
extern const RunHost run_this_host;
MUST_USE Err *run_plan(const RunArgs *a, const Media *m, const RunHost *h, RunPlan *out);
void run_plan_clear(RunPlan *p);
char *run_plan_text(const RunPlan *p);          /* for a shell, an option a line; g_free it */

/* The whole command, argv[0] being "run". *go: the emulator is to be started with out->argv; else all was said. */
MUST_USE Err *run_command(int argc, char **argv, RunPlan *out, bool *go);

#endif
