/* SPDX-License-Identifier: MIT */
/*
 * The machine's life, from its configuration to its exit status. Private to cmd/.
 */
#ifndef CMD_EMU_H
#define CMD_EMU_H

#include "cmd/config.h"

/*
 * Makes the machine, runs it to its end; *status is what the process shall return.
 * Fills in what the board has defaults for.
 */
MUST_USE Err *emu_run(EmuConfig *c, int *status);
/* The text that c->help asks for; g_free it. */
MUST_USE Err *emu_help(const EmuConfig *c, char **out);

#endif
