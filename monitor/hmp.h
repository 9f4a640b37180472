/* SPDX-License-Identifier: MIT */
/* Text commands for others: a debugger's "monitor ..", human-monitor-command, tests. */
#ifndef MONITOR_HMP_H
#define MONITOR_HMP_H

#include "system/vm.h"

/*
 * Runs one line as if it was typed and returns what it printed, "\n" at the end of lines; g_free it.
 * An error is text as well ("Error: ..."). Main thread, machine lock held, monitors_new done.
 */
char *hmp_run(Vm *vm, const char *line);

#endif
