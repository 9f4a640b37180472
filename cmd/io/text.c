/* SPDX-License-Identifier: MIT */
/*
 * Numbers in and out, as qemu-io writes and reads them.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/io/io.h"

void io_size_text(double bytes, char *out, size_t len)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    char number[64], *zeroes;
    unsigned u = 0;

    while (bytes >= 1024 && u + 1 < G_N_ELEMENTS(units)) {
        bytes /= 1024;
        u++;
    }
    snprintf(number, sizeof(number), u ? "%.3f" : "%f", bytes);
    zeroes = strstr(number, ".000");
    if (zeroes)
        *zeroes = 0;
    snprintf(out, len, "%s %s", number, units[u]);
}

/* What a letter multiplies by; 0: no such letter. */
static uint64_t unit_of(char letter)
{
    static const char letters[] = "BKMGTPE";
    const char *at = letter ? strchr(letters, toupper((unsigned char)letter)) : NULL;

    return at ? UINT64_C(1) << 10 * (at - letters) : 0;
}

/* Decimal, with a letter perhaps, and then perhaps a fraction; or hexadecimal. -EINVAL, or -ERANGE beyond 63 bits. */
static int parse(const char *text, uint64_t *out)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    const char *start = text + (*text == '+');
    uint64_t unit = 1;
    double fraction = 0;
    char *end;

    if (!isdigit((unsigned char)*start))
        return -EINVAL;
    errno = 0;
    *out = strtoull(start, &end, hex ? 16 : 10);
    if (errno)
        return -ERANGE;
    if (*end == '.') {
        char *point = end;
        fraction = strspn(point + 1, "0123456789") ? strtod(point, &end) : 0;
        end = fraction > 0 || end != point ? end : point + 1;
    }
    if (*end) {
        unit = unit_of(*end);
        if (!unit || end[1])
            return -EINVAL;
        if (hex)
            err_note("warning: Using a multiplier suffix on hex numbers is deprecated: %s", text);
    }
    if (fraction > 0 && unit == 1)
        return -EINVAL;
    if (__builtin_mul_overflow(*out, unit, out) ||
        __builtin_add_overflow(*out, (uint64_t)(fraction * (double)unit + 0.5), out) || *out > INT64_MAX)
        return -ERANGE;
    return 0;
}

uint64_t io_number(const char *text)
{
    uint64_t n;
    int ret = parse(text, &n);

    if (!ret)
        return n;
    if (ret == -ERANGE)
        printf("Parsing error: argument too large -- %s\n", text);
    else
        printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n", text);
    return UINT64_MAX;
}

bool io_length(const char *text, uint64_t *out)
{
    *out = io_number(text);
    if (*out == UINT64_MAX)
        return false;
    if (*out <= IO_MAX_LENGTH)
        return true;
    printf("length cannot exceed %u, given %s\n", IO_MAX_LENGTH, text);
    return false;
}

int io_pattern(const char *text)
{
    char *end;
    long n = strtol(text, &end, 0);

    if (*text && !*end && n >= 0 && n <= 0xff)
        return (int)n;
    printf("%s is not a valid pattern byte\n", text);
    return -1;
}

void io_dump(const uint8_t *buf, uint64_t offset, size_t len)
{
    for (size_t at = 0; at < len; at += 16) {
        size_t n = MIN(len - at, 16);

        printf("%08" G_GINT64_MODIFIER "x:  ", offset + at);
        for (size_t i = 0; i < n; i++)
            printf("%02x ", buf[at + i]);
        putchar(' ');
        for (size_t i = 0; i < n; i++)
            putchar(isalnum(buf[at + i]) ? buf[at + i] : '.');
        putchar('\n');
    }
}

/* "00.01 sec", or "0:20:53.10" from a minute on, and always with -C. */
static void time_text(int64_t ns, bool terse, char *out, size_t len)
{
    int64_t hundredths = (ns + 5000000) / 10000000;
    unsigned frac = hundredths % 100, sec = hundredths / 100 % 60, min = hundredths / 6000 % 60;
    unsigned hours = hundredths / 360000;

    if (terse || hours || min)
        snprintf(out, len, "%u:%02u:%02u.%02u", hours, min, sec, frac);
    else
        snprintf(out, len, "%02u.%02u sec", sec, frac);
}

void io_report(const char *did, int64_t ns, uint64_t offset, uint64_t count, uint64_t total, bool terse)
{
    double seconds = MAX(ns, 1) / 1e9;
    char when[64], size[64], rate[64];

    time_text(ns, terse, when, sizeof(when));
    if (terse) {
        printf("%" G_GUINT64_FORMAT ",1,%s,%.3f,%.3f\n", total, when, total / seconds, 1 / seconds);
        return;
    }
    io_size_text(total, size, sizeof(size));
    io_size_text(total / seconds, rate, sizeof(rate));
    printf("%s %" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT "\n", did, total, count, offset);
    printf("%s, 1 ops; %s (%s/sec and %.4f ops/sec)\n", size, when, rate, 1 / seconds);
}
