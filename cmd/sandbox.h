/* SPDX-License-Identifier: MIT */
/*
 * -sandbox: system calls that the process gives up for good (seccomp(2)), by libseccomp, which is opened when it is
 * asked for. What a monitor's command may run into (spawn, resourcecontrol) fails with EPERM; the rest, which
 * nothing here ever does, ends the process: somebody else is at the wheel then.
 */
#ifndef CMD_SANDBOX_H
#define CMD_SANDBOX_H

#include <stdbool.h>

#include "util/err.h"

typedef struct Sandbox {
    bool on;
    bool no_obsolete;           /* calls that only old programs know */
    bool no_privileges;         /* set*uid, set*gid and their like */
    bool no_new_privileges;     /* what is started gains none by its file: with any filter, or by this alone */
    bool no_spawn;              /* no other process is started */
    bool no_resources;          /* affinity and priorities of threads */
} Sandbox;

/* "on[,obsolete=allow|deny][,elevateprivileges=allow|deny|children][,spawn=allow|deny][,resourcecontrol=allow|deny]" */
MUST_USE Err *sandbox_parse(const char *arg, Sandbox *out);
/* From here on, for all threads. */
MUST_USE Err *sandbox_enter(const Sandbox *s);

#endif
