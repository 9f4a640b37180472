/* SPDX-License-Identifier: MIT */
/*
 * key=value lists: "virt,aclint=on,share". The syntax that QEMU's options have:
 *   - elements are separated by commas; a doubled comma is one that belongs to the value
 *   - the first element may be a bare value of the implied key
 *   - another bare KEY means KEY=on, and noKEY means KEY=off, if KEY is a boolean
 *   - where a key is given twice the last one counts (opts_each sees all)
 * Values are checked when the list is parsed, by the rows of a table, so that
 * the getters cannot fail.
 */
#ifndef UTIL_OPTS_H
#define UTIL_OPTS_H

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

typedef enum OptKind {
    OPT_STR,
    OPT_BOOL,
    OPT_NUM,
    OPT_SIZE,           /* a bare number counts bytes */
    OPT_MIB,            /* a size whose bare number counts MiB */
    OPT_ENUM,           /* one of `names` */
} OptKind;

typedef struct OptDesc {
    const char *name;
    OptKind kind;
    const char *doc;
    const char *const *names;       /* OPT_ENUM: what it may be, NULL-terminated */
    bool required;
} OptDesc;

typedef struct Opts Opts;

/*
 * Parses `text` by the table `descs` (ended by a row without a name; NULL:
 * any key, all values strings). `implied` is the key of a bare first element,
 * or NULL.
 */
MUST_USE Err *opts_parse(const char *text, const OptDesc *descs, const char *implied, Opts **out);
void opts_free(Opts *o);            /* NULL is fine */

bool opts_has(const Opts *o, const char *key);
/* The value of the key, or `def` when it was not given. Strings are owned by o. */
const char *opts_str(const Opts *o, const char *key, const char *def);
bool opts_bool(const Opts *o, const char *key, bool def);
uint64_t opts_num(const Opts *o, const char *key, uint64_t def);    /* numbers and sizes, in bytes */
int opts_enum(const Opts *o, const char *key, int def);             /* index in `names` */

/* Every pair in the order given; stops and returns the first error. */
Err *opts_each(const Opts *o, Err *(*fn)(void *opaque, const char *key, const char *value),
               void *opaque);
/* The list without its first element `key` if it is the first, commas doubled again; g_free it. */
char *opts_rest(const char *text, char **first);

/* One line for each row: "  name=KIND  doc". g_free it. */
char *opts_help(const OptDesc *descs);

#endif
