/* SPDX-License-Identifier: MIT */
/*
 * A line that somebody types at a terminal: cursor keys, history, completion,
 * the keys that shells have. It knows no monitor, and nothing of its own waits.
 */
#ifndef MONITOR_HMP_EDIT_H
#define MONITOR_HMP_EDIT_H

#include <stddef.h>
#include <stdint.h>

enum { EDIT_LINE = 4096, EDIT_HISTORY = 128 };

typedef struct LineEdit LineEdit;

typedef struct LineEditHost {
    const char *prompt;
    void (*put)(void *opaque, const char *text, size_t n);      /* to the screen */
    void (*line)(void *opaque, const char *line);               /* it is finished; the screen is at the start of a new one */
    /*
     * What could be in place of the text from *from to the end of `before`: whole words, each ending in a space unless it goes
     * on. NULL or empty: nothing. g_strfreev'd.
     */
    char **(*complete)(void *opaque, const char *before, size_t *from);
    int (*columns)(void *opaque);                               /* of the screen; 0: nobody knows. May be NULL */
    void *opaque;
} LineEditHost;

LineEdit *line_edit_new(const LineEditHost *host);
void line_edit_free(LineEdit *e);
void line_edit_key(LineEdit *e, char c);
void line_edit_start(LineEdit *e);              /* an empty line with its prompt; the history stays */
const char *line_edit_text(const LineEdit *e);
size_t line_edit_at(const LineEdit *e);         /* of the cursor, in bytes */
const char *line_edit_past(const LineEdit *e, unsigned i);      /* a line of the history, the oldest 0; NULL: no more */

#endif
