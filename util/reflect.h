/* SPDX-License-Identifier: MIT */
/*
 * Fields: a table beside a plain C struct that says what each member is. One
 * row serves the command line, help, reset, introspection and the snapshot.
 *
 * Roles: PROP is set before the object comes to life; LINK is wired by others
 * (interrupt lines, register windows); STATE is what the guest can change, so
 * it is zeroed at reset and saved; TRANSIENT is neither. The C type of a member
 * is picked up by the compiler. A member `clock_hz` is shown as `clock-hz`.
 */
#ifndef UTIL_REFLECT_H
#define UTIL_REFLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

struct Irq;
struct Region;
struct Timer;
struct CharPort;
struct DiskPort;
struct IoOps;

typedef enum FieldRole { FIELD_END, FIELD_PROP, FIELD_LINK, FIELD_STATE, FIELD_TRANSIENT } FieldRole;

typedef enum FieldType {
    FIELD_OPAQUE,               /* not known here: nobody but its owner reads it */
    FIELD_BOOL,
    FIELD_U8, FIELD_U16, FIELD_U32, FIELD_U64,
    FIELD_I8, FIELD_I16, FIELD_I32, FIELD_I64,
    FIELD_STR,                  /* char *, owned by the object; NULL: not set */
    FIELD_IRQ, FIELD_REGION, FIELD_TIMER,
    FIELD_CHAR, FIELD_DISK,     /* PROP: names of a -chardev, a -drive or node; hw/core/device.c looks them up */
} FieldType;

typedef struct Field {
    const char *name;           /* of the member */
    FieldRole role;
    FieldType type;             /* of the member, or of an array's elements */
    uint32_t offset, bytes, count;      /* bytes of one element; elements, 1 if it is no array */
    /* what a row says by itself: */
    const char *as;             /* the name shown, if it is not the member's */
    const char *def, *doc;
    const char *const *names;   /* PROP: an integer that is an index here, NULL-terminated */
    bool units;                 /* PROP: a size: K, M, G.. are understood */
    bool untold;                /* PROP: the default is not shown where what was chosen is */
    bool hidden;                /* PROP: its value is shown to nobody */
    bool keep;                  /* STATE: reset leaves it alone */
    int since;                  /* STATE: the version of the saved form that brought it */
    const struct IoOps *ops; uint64_t size; bool nolock;    /* LINK of a Region */
} Field;

#define FIELD_TYPE(pointer) _Generic((pointer),                                             \
    bool *: FIELD_BOOL,                                                                     \
    uint8_t *: FIELD_U8, uint16_t *: FIELD_U16, uint32_t *: FIELD_U32, uint64_t *: FIELD_U64, \
    int8_t *: FIELD_I8, int16_t *: FIELD_I16, int32_t *: FIELD_I32, int64_t *: FIELD_I64,   \
    _Atomic bool *: FIELD_BOOL, _Atomic uint8_t *: FIELD_U8, _Atomic uint16_t *: FIELD_U16, \
    _Atomic uint32_t *: FIELD_U32, _Atomic uint64_t *: FIELD_U64,                           \
    char **: FIELD_STR,                                                                     \
    struct Irq *: FIELD_IRQ, struct Region *: FIELD_REGION, struct Timer *: FIELD_TIMER,    \
    struct CharPort *: FIELD_CHAR, struct DiskPort *: FIELD_DISK,                           \
    default: FIELD_OPAQUE)

#define FIELD(role_, T, m, ...)                                                             \
    { .name = #m, .role = role_, .type = FIELD_TYPE(&((T *)0)->m), .offset = offsetof(T, m), \
      .bytes = sizeof(((T *)0)->m), .count = 1, ##__VA_ARGS__ }
/* The same for an array. */
#define FIELDS(role_, T, m, ...)                                                            \
    { .name = #m, .role = role_, .type = FIELD_TYPE(&((T *)0)->m[0]), .offset = offsetof(T, m), \
      .bytes = sizeof(((T *)0)->m[0]), .count = sizeof(((T *)0)->m) / sizeof(((T *)0)->m[0]), \
      ##__VA_ARGS__ }

#define PROP(T, m, ...)      FIELD(FIELD_PROP, T, m, ##__VA_ARGS__)
#define LINK(T, m, ...)      FIELD(FIELD_LINK, T, m, ##__VA_ARGS__)
#define LINKS(T, m, ...)     FIELDS(FIELD_LINK, T, m, ##__VA_ARGS__)
#define STATE(T, m, ...)     FIELD(FIELD_STATE, T, m, ##__VA_ARGS__)
#define STATES(T, m, ...)    FIELDS(FIELD_STATE, T, m, ##__VA_ARGS__)
#define TRANSIENT(T, m, ...) FIELD(FIELD_TRANSIENT, T, m, ##__VA_ARGS__)

static inline void *field_at(void *obj, const Field *f, unsigned i)
{
    return (char *)obj + f->offset + (size_t)i * f->bytes;
}

/* The name it is shown by; g_free it. */
char *field_name(const Field *f);
/* "uint32", "bool", "str", "size" .. as help and introspection say. */
const char *field_type_name(const Field *f);

/* The PROP of that shown name; an error with near matches if there is none. `table` may be NULL. */
MUST_USE Err *prop_find(const Field *table, const char *name, const Field **out);
/* The same of two tables. */
MUST_USE Err *prop_find_either(const Field *first, const Field *second, const char *name, const Field **out);
/* Sets a PROP from text. Strings are copied. */
MUST_USE Err *prop_parse(void *obj, const Field *f, const char *text);
/* The value as prop_parse would take it, or NULL where there is none; g_free it. */
char *prop_print(const void *obj, const Field *f);
/* All PROPs get their `def`. */
void props_init(void *obj, const Field *table);
/* Frees what PROPs own. */
void props_clear(void *obj, const Field *table);
/* Makes the PROPs of `to` those of `from`; strings are copied. */
void props_copy(void *to, const void *from, const Field *table);
/* Sets PROPs from "name=value,..."; a bare `name` means name=on. */
MUST_USE Err *props_parse(void *obj, const Field *table, const char *list);
/* "  name=<type>  - doc (default: x)" for each PROP; g_free it. */
char *props_help(const Field *table);
/* STATE scalars become 0, but for those marked keep. */
void state_zero(void *obj, const Field *table);

#endif
