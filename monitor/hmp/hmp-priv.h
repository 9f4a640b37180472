/* SPDX-License-Identifier: MIT */
/* What the files of monitor/hmp/ share. */
#ifndef MONITOR_HMP_PRIV_H
#define MONITOR_HMP_PRIV_H

#include "monitor/schema_gen.h"

/* Rows that are commands of the console, i from 0; NULL: no more. */
const QmpCommand *hmp_row(unsigned i);
/* The row of a line's first words, *rest behind them; NULL: there is none. */
const QmpCommand *hmp_find(const char *line, const char **rest);
/* "[name]", "-f", "size": one word of a row's syntax, taken apart. *next behind it; false: no more. */
typedef struct HmpWord {
    char name[64];
    char flag;                  /* 'f' of -f; 0: none */
    bool optional, rest;
    bool format;                /* right behind the command's name and a slash */
} HmpWord;
bool hmp_word(const char **syntax, HmpWord *out);

/* monitor/hmp/expr.c: an expression at *at, which is behind it then. Registers are those of the CPU that is looked at. */
MUST_USE Err *expr_eval(Monitor *m, const char **at, uint64_t *out);

/* monitor/hmp/complete.c: what could be typed from *from on; see edit.h. */
char **hmp_complete(Monitor *m, const char *before, size_t *from);

/* monitor/hmp/console.c: the i-th line that was typed, the oldest first; NULL: no more, or m is no console. */
const char *console_past(const Monitor *m, unsigned i);

/* monitor/hmp/tasks.c */
#define MIGRATE_PARAMETERS "max-bandwidth", "downtime-limit"

#endif
