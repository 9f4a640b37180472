/* SPDX-License-Identifier: MIT */
/*
 * "monitor LINE" in gdb: a few commands of the stub itself, all others are the
 * machine's monitor's.
 */
#include <string.h>

#include "gdb/gdb-priv.h"

char *monitor_said(Gdb *g, const char *line)
{
    if (g->vm->monitor_line)
        return g->vm->monitor_line(g->vm, line);
    return g_strdup_printf("This machine has no monitor, so nobody knows '%s'.\n", line);
}
