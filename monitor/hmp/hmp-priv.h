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
} HmpWord;
bool hmp_word(const char **syntax, HmpWord *out);

#endif
