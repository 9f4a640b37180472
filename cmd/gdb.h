/* SPDX-License-Identifier: MIT */
/* `lyre gdb [FILE]`: starts the debugger with all set. Private to cmd/. */
#ifndef CMD_GDB_H
#define CMD_GDB_H

/* argv[0] is "gdb". Becomes the debugger; returns only with an exit status. */
int gdb_command(int argc, char **argv);

#endif
