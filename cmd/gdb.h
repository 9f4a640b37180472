/* SPDX-License-Identifier: MIT */
/* `lyre gdb [FILE]`: starts the debugger with all set. Private to cmd/. */
#ifndef CMD_GDB_H
#define CMD_GDB_H

#include <stdbool.h>

#include "util/err.h"

/* argv[0] is "gdb". Becomes the debugger; returns only with an exit status. */
int gdb_command(int argc, char **argv);

/* gdb_symbols.c: is this a kernel's symbols as text? Then: the path of an ELF file of them, which is made; g_free it. */
bool gdb_symbols_are_text(const char *path);
MUST_USE Err *gdb_symbols_to_elf(const char *path, char **out);

#endif
