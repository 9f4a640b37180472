/* SPDX-License-Identifier: MIT */
/*
 * Monitors: the ways in which programs (QMP) and people (HMP) look into and
 * steer a running machine, any number of them, each on a chardev.
 *
 * They live in the machine's main loop. A command's handler runs in the main
 * thread under the machine lock; what belongs to an I/O thread it asks for with
 * iothread_run. Events may be raised by any thread (vm_event).
 */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

#include <jansson.h>

#include "chardev/chardev.h"
#include "system/vm.h"
#include "util/err.h"

typedef struct Monitor Monitor;
typedef struct Monitors Monitors;       /* vm->monitors: all of a machine */

typedef struct MonitorConfig {
    const char *id;             /* NULL: none */
    bool control;               /* QMP; else a console for people */
    bool pretty;                /* QMP with line breaks */
} MonitorConfig;

/*
 * What the monitors need of the program above them. `options`: query-command-line-options' answer, new reference.
 */
typedef struct MonitorHost {
    json_t *(*options)(void *opaque);
    void *opaque;
} MonitorHost;

/* With the machine made; under its lock. host may be NULL. */
MUST_USE Err *monitors_new(Vm *vm, const MonitorHost *host);
/* Before the chardevs go. NULL is fine. */
void monitors_free(Vm *vm);
MUST_USE Err *monitor_add(Vm *vm, Chardev *chr, const MonitorConfig *c);

#endif
