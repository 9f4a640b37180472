/* SPDX-License-Identifier: MIT */
/*
 * Cuts a stream of bytes into JSON values, wherever the reads happened to end,
 * with bounds on what one may cost: its length, its nesting.
 *
 * As QEMU's reader does, it takes strings in 'single quotes' too, and a byte
 * that no JSON has (0xff: a client that wants to start anew) ends what came before.
 */
#ifndef MONITOR_QMP_SPLIT_H
#define MONITOR_QMP_SPLIT_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPLIT_DEPTH = 1024, SPLIT_BYTES = 64 << 20 };

typedef struct Splitter {
    GString *text;              /* of the value so far */
    char nest[SPLIT_DEPTH];     /* the brackets that are open */
    unsigned depth;
    unsigned skip;              /* too much came: what is open is skipped, that deep */
    char quote;                 /* of the string we are in; 0: none */
    bool escaped;
    /* A whole value, NUL behind it; or text NULL and what is wrong with what came. */
    void (*value)(void *opaque, const char *text, size_t len, const char *wrong);
    void *opaque;
} Splitter;

void split_init(Splitter *s, void (*value)(void *, const char *, size_t, const char *), void *opaque);
void split_clear(Splitter *s);
void split_reset(Splitter *s);          /* another peer */
void split_feed(Splitter *s, const uint8_t *buf, size_t n);

/*
 * A value's text with whole numbers beyond int64 as doubles, and doubles beyond those as the largest: the parser takes it,
 * so that the answer has the command's id and names the argument. g_free it.
 */
char *split_wide_numbers(const char *text);

#endif
