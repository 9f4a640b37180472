/* SPDX-License-Identifier: MIT */
/*
 * Numbers, sizes and booleans as people write them on a command line. The
 * whole word must be one: "4x" is an error, never 4.
 */
#ifndef UTIL_STR_H
#define UTIL_STR_H

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

/* Decimal, 0x hexadecimal or 0 octal; never negative. */
MUST_USE Err *parse_num(const char *text, uint64_t *out);
/*
 * A size in bytes: a number with one of B K M G T P E behind it (powers of
 * 1024, either case), or a decimal fraction with one ("1.5G"). A bare number
 * counts in `unit` bytes.
 */
MUST_USE Err *parse_size(const char *text, uint64_t unit, uint64_t *out);
/* on/off, yes/no, true/false, y/n. */
MUST_USE Err *parse_bool(const char *text, bool *out);

/* "3 MiB" and the like, as exact as it fits in a word; g_free it. */
char *size_to_text(uint64_t bytes);

#endif
