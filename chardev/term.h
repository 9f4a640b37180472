/* SPDX-License-Identifier: MIT */
/*
 * The terminal on standard input, in raw mode while a machine uses it, and as
 * it was before on every way out: exit, signals that kill, Ctrl-Z and fg.
 */
#ifndef CHARDEV_TERM_H
#define CHARDEV_TERM_H

#include <stdbool.h>

/*
 * Sets up the handlers, early: who handles SIGSEGV for purposes of its own does so later,
 * and passes on to the handler it found what is not its own.
 */
void term_prepare(void);
/* Raw from now on; does nothing when standard input is no terminal. signals: Ctrl-C etc. stay signals. */
void term_raw(bool signals);
/* As it was. May be called at any time, from a signal handler too. */
void term_restore(void);

#endif
