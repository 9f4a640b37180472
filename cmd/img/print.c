/* SPDX-License-Identifier: MIT */
/*
 * What goes to stdout, in the very bytes that scripts know from qemu-img: JSON
 * with its layout and order of keys, trees of format specific information, the
 * table of snapshots, sizes.
 */
#include "cmd/img/img.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

char *img_size_text(uint64_t bytes)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    unsigned u = 0;
    double v = bytes;

    /* The next unit comes in at 1000 of the one before: "0.977 KiB" is 1000 bytes. */
    while (v >= 1000.0 && u + 1 < G_N_ELEMENTS(units)) {
        v /= 1024.0;
        u++;
    }
    return g_strdup_printf("%0.3g %sB", v, units[u]);
}

/* ---- JSON ------------------------------------------------------------------------- */

/*
 * QEMU's objects are hash tables of 512 buckets, and print in that order. The
 * hash is that of the trivial database (tdb), in 32 bits.
 */
static unsigned key_bucket(const char *key)
{
    uint32_t h = 0x238F13AFu * (uint32_t)strlen(key);

    for (unsigned i = 0; key[i]; i++)
        h += (uint32_t)(unsigned char)key[i] << (i * 5 % 24);
    return (1103515243u * h + 12345u) % 512;
}

typedef struct Entry {
    const char *key;
    json_t *value;
    unsigned bucket, order;
} Entry;

/* Within a bucket, the key that came last is first. */
static int compare_entries(const void *a, const void *b)
{
    const Entry *x = a, *y = b;

    if (x->bucket != y->bucket)
        return x->bucket < y->bucket ? -1 : 1;
    return x->order > y->order ? -1 : 1;
}

static Entry *sorted_entries(const json_t *object, size_t *count)
{
    Entry *all = g_new(Entry, json_object_size(object) + 1);
    const char *key;
    json_t *value;
    unsigned n = 0;

    json_object_foreach((json_t *)object, key, value) {
        all[n] = (Entry){ key, value, key_bucket(key), n };
        n++;
    }
    qsort(all, n, sizeof(*all), compare_entries);
    *count = n;
    return all;
}

static void add_json(GString *s, const json_t *v, unsigned depth);

static void add_line_break(GString *s, unsigned depth)
{
    g_string_append_printf(s, "\n%*s", (int)depth * 4, "");
}

static void add_json_object(GString *s, const json_t *v, unsigned depth)
{
    size_t n;
    g_autofree Entry *all = sorted_entries(v, &n);

    g_string_append_c(s, '{');
    for (size_t i = 0; i < n; i++) {
        g_autoptr(GString) key = g_string_new(NULL);
        json_t *name = json_string(all[i].key);
        add_json(key, name, 0);
        json_decref(name);
        g_string_append(s, i ? "," : "");
        add_line_break(s, depth + 1);
        g_string_append_printf(s, "%s: ", key->str);
        add_json(s, all[i].value, depth + 1);
    }
    add_line_break(s, depth);
    g_string_append_c(s, '}');
}

static void add_json(GString *s, const json_t *v, unsigned depth)
{
    if (json_is_object(v)) {
        add_json_object(s, v, depth);
    } else if (json_is_array(v)) {
        g_string_append_c(s, '[');
        for (size_t i = 0; i < json_array_size(v); i++) {
            g_string_append(s, i ? "," : "");
            add_line_break(s, depth + 1);
            add_json(s, json_array_get(v, i), depth + 1);
        }
        add_line_break(s, depth);
        g_string_append_c(s, ']');
    } else {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
        g_string_append(s, text ? text : "null");
        free(text);
    }
}

char *img_json(const json_t *v)
{
    GString *s = g_string_new(NULL);

    add_json(s, v, 0);
    return g_string_free(s, FALSE);
}

void img_print_json(const json_t *v)
{
    g_autofree char *text = img_json(v);

    puts(text);
}

/* ---- trees ---------------------------------------------------------------------------- */

static bool is_tree(const json_t *v)
{
    return json_is_object(v) || json_is_array(v);
}

static void print_scalar(const json_t *v)
{
    if (json_is_string(v)) {
        puts(json_string_value(v));
    } else {
        char *text = json_dumps(v, JSON_ENCODE_ANY);
        puts(text ? text : "");
        free(text);
    }
}

void img_print_tree(const json_t *v, unsigned depth)
{
    size_t n;

    if (json_is_array(v)) {
        for (size_t i = 0; i < json_array_size(v); i++) {
            const json_t *item = json_array_get(v, i);
            printf("%*s[%zu]:%c", (int)depth * 4, "", i, is_tree(item) ? '\n' : ' ');
            img_print_tree(item, depth + 1);
        }
    } else if (json_is_object(v)) {
        g_autofree Entry *all = sorted_entries(v, &n);
        for (size_t i = 0; i < n; i++) {
            g_autofree char *key = g_strdelimit(g_strdup(all[i].key), "-", ' ');
            printf("%*s%s:%c", (int)depth * 4, "", key, is_tree(all[i].value) ? '\n' : ' ');
            img_print_tree(all[i].value, depth + 1);
        }
    } else {
        print_scalar(v);
    }
}

/* ---- snapshots --------------------------------------------------------------------------- */

void img_print_snapshots(const Snapshot *list, unsigned count)
{
    printf("%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for (const Snapshot *s = list; s < list + count; s++) {
        g_autofree char *size = img_size_text(s->vm_state_size);
        char date[64] = "", clock[64], icount[32] = "";
        time_t at = s->date_sec;
        uint64_t ms = s->vm_clock_nsec / 1000000, sec = ms / 1000;
        struct tm tm;

        if (localtime_r(&at, &tm))
            strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
        snprintf(clock, sizeof(clock), "%02u:%02u:%02u.%03u", (unsigned)(sec / 3600),
                 (unsigned)(sec / 60 % 60), (unsigned)(sec % 60), (unsigned)(ms % 1000));
        if (s->icount != UINT64_MAX)
            snprintf(icount, sizeof(icount), "%llu", (unsigned long long)s->icount);
        printf("%-9s %-16s %8s%20s%13s%11s\n", s->id, s->name, size, date, clock, icount);
    }
}

bool img_json_output(const Img *im)
{
    return im->a.output && !strcmp(im->a.output, "json");
}
