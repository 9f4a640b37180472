/* SPDX-License-Identifier: MIT */
/*
 * Numbers, sizes and booleans as people write them: see util/str.h.
 */
#include "util/str.h"

#include <ctype.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>

/* Digits of `base` at *p, which moves behind them. False: none, or too many. */
static bool read_digits(const char **p, unsigned base, uint64_t *out)
{
    const char *start = *p;
    uint64_t n = 0;

    for (; isxdigit((unsigned char)**p); (*p)++) {
        unsigned d = g_ascii_xdigit_value(**p);

        if (d >= base)
            break;
        if (__builtin_mul_overflow(n, (uint64_t)base, &n) ||
            __builtin_add_overflow(n, (uint64_t)d, &n))
            return false;
    }
    *out = n;
    return *p > start;
}

static bool read_num(const char **p, uint64_t *out)
{
    if ((*p)[0] == '0' && ((*p)[1] | 32) == 'x') {
        *p += 2;
        return read_digits(p, 16, out);
    }
    return read_digits(p, (*p)[0] == '0' ? 8 : 10, out);
}

Err *parse_num(const char *text, uint64_t *out)
{
    const char *p = text;

    if (!read_num(&p, out) || *p)
        return err_hint(err(ERR_INVALID, "'%s' is not a number", text),
                        "A number is written as 20, 0x14 or 024; it is not negative and at most 2^64-1.");
    return NULL;
}

/* log2 of what a suffix means, -1: not a suffix. */
static int suffix_shift(char c)
{
    static const char suffixes[] = "BKMGTPE";
    const char *at = c ? strchr(suffixes, toupper((unsigned char)c)) : NULL;

    return at ? (int)(at - suffixes) * 10 : -1;
}

/* ".5" behind the whole part: the fraction of `unit` bytes, rounded down. */
static bool read_fraction(const char **p, uint64_t *num, uint64_t *den)
{
    *num = 0;
    *den = 1;
    if (**p != '.')
        return true;
    for ((*p)++; isdigit((unsigned char)**p); (*p)++) {
        if (*den >= 1000000000)     /* digits beyond the ninth do not matter */
            continue;
        *num = *num * 10 + (**p - '0');
        *den *= 10;
    }
    return *den > 1;
}

static Err *bad_size(const char *text)
{
    return err_hint(err(ERR_INVALID, "'%s' is not a size", text),
                    "A size is a number with an optional suffix K, M, G, T, P or E: 512M, 4G, 1.5G");
}

Err *parse_size(const char *text, uint64_t unit, uint64_t *out)
{
    const char *p = text;
    uint64_t whole, num, den, part;
    bool decimal = !(p[0] == '0' && isalnum((unsigned char)p[1]) && (p[1] | 32) == 'x');

    if (!(decimal ? read_digits(&p, 10, &whole) : read_num(&p, &whole)))
        return bad_size(text);
    if (!read_fraction(&p, &num, &den) || (!decimal && den > 1))
        return bad_size(text);
    if (*p) {
        int shift = suffix_shift(*p++);

        if (shift < 0 || *p)
            return bad_size(text);
        unit = 1ULL << shift;
    }
    if (den > 1 && unit == 1)
        return bad_size(text);
    if (__builtin_mul_overflow(whole, unit, &whole))
        return err(ERR_INVALID, "size '%s' is too large", text);
    part = (uint64_t)((unsigned __int128)unit * num / den);
    if (__builtin_add_overflow(whole, part, out))
        return err(ERR_INVALID, "size '%s' is too large", text);
    return NULL;
}

Err *parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {
        "on", "off", "yes", "no", "true", "false", "y", "n", NULL
    };

    for (int i = 0; words[i]; i++) {
        if (!strcmp(text, words[i])) {
            *out = i % 2 == 0;
            return NULL;
        }
    }
    return err(ERR_INVALID, "'%s' is neither on nor off", text);
}

char *size_to_text(uint64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    int u = 0;

    while (u < 6 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        u++;
    }
    return g_strdup_printf("%" PRIu64 " %s", bytes, units[u]);
}
