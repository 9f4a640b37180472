/* SPDX-License-Identifier: MIT */
/*
 * The machine's life, from its configuration to its exit status. Private to cmd/.
 */
#ifndef CMD_EMU_H
#define CMD_EMU_H

#include "cmd/config.h"
#include "system/vm.h"

/*
 * Makes the machine, runs it to its end; *status is what the process shall return.
 * Fills in what the board has defaults for.
 */
MUST_USE Err *emu_run(EmuConfig *c, int *status);
/* cmd/disk_opts.c: what -object, -blockdev, -drive say; vm->disks is there. */
MUST_USE Err *make_objects(Vm *vm);
MUST_USE Err *make_disks(Vm *vm, bool snapshot);
MUST_USE Err *help_object(const char *arg, char **out);
/* The text that c->help asks for; g_free it. */
MUST_USE Err *emu_help(const EmuConfig *c, char **out);

/* cmd/net_opts.c. The network's thread and its backends, after the chardevs, before objects and the board. */
MUST_USE Err *make_net(Vm *vm, EmuConfig *c);
void free_net(Vm *vm);
/* cmd/monitor_opts.c: streams of -qmp and -monitor with the other chardevs; the monitors when the machine is made. */
MUST_USE Err *make_fdsets(Vm *vm, const EmuConfig *c);
MUST_USE Err *make_monitor_chardevs(Vm *vm, const EmuConfig *c);
MUST_USE Err *make_monitors(Vm *vm, const EmuConfig *c);
char *help_netdev(const char *arg);

#endif
