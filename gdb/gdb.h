/* SPDX-License-Identifier: MIT */
/*
 * A debugger's stub: what -gdb, -s and the monitor start. One for a machine.
 * All of it runs in the main thread under the machine lock.
 */
#ifndef GDB_GDB_H
#define GDB_GDB_H

#include "system/vm.h"

#define GDB_DEFAULT "tcp::1234"

/*
 * Listens at `where`: tcp:HOST:PORT, unix:PATH, stdio, pty, chardev:NAME, .. (as -serial; sockets are servers that
 * nobody waits for). "none" ends the one there is. The machine's vCPUs exist.
 */
MUST_USE Err *gdb_start(Vm *vm, const char *where);
/* The machine goes away; who is connected is told `status`, the guest's or the process's exit status. */
void gdb_end(Vm *vm, int status);

#endif
