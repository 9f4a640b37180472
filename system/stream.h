/* SPDX-License-Identifier: MIT */
/*
 * The saved form of a machine's parts: sections with a name and a version, each
 * of named fields. It says of itself what is in it, so that one build reads what
 * another has written, and names what it does not know.
 *
 *   section:  u16 length of name, name, u32 version, u32 bytes of fields, fields
 *   field:    u8 length of name, name, u8 bytes of an element (1, 2, 4, 8), u32 elements, data
 *
 * All little-endian. A reader takes the whole apart before anybody asks, bounds
 * checked; nothing in it is trusted.
 */
#ifndef SYSTEM_STREAM_H
#define SYSTEM_STREAM_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/reflect.h"

typedef struct Vm Vm;
typedef struct StateOut StateOut;
typedef struct StateIn StateIn;

/* ---- writing: cannot fail */
StateOut *state_out_new(void);
GByteArray *state_out_end(StateOut *o);         /* the bytes; o is gone */
void state_out_free(StateOut *o);
void state_begin(StateOut *o, const char *section, unsigned version);
void state_put(StateOut *o, const char *name, unsigned bytes, const void *data, size_t count);
void state_put_u64(StateOut *o, const char *name, uint64_t v);
void state_put_text(StateOut *o, const char *name, const char *text);       /* NULL: as "" */
/* The STATE rows of a table; `prefix` is put before each name, "" for none. */
void state_put_fields(StateOut *o, const char *prefix, const Field *table, const void *obj);

/* ---- reading */
MUST_USE Err *state_in_new(const void *data, size_t len, StateIn **out);    /* keeps no pointer to data */
void state_in_free(StateIn *in);
/* The section of that name is the one that is read from here on. Newer than `version`, or missing: an error. */
MUST_USE Err *state_open(StateIn *in, const char *section, unsigned version);
bool state_has_section(const StateIn *in, const char *section);
unsigned state_version(const StateIn *in);      /* of the open section */
/* No field of the open section was left unread: what we don't know is not dropped in silence. */
MUST_USE Err *state_close(StateIn *in);
/* Every section was opened. */
MUST_USE Err *state_all_read(const StateIn *in);
/* Exactly `count` elements of that size. */
MUST_USE Err *state_get(StateIn *in, const char *name, unsigned bytes, void *data, size_t count);
/* The same; `max` is the largest that makes sense. */
MUST_USE Err *state_get_u64(StateIn *in, const char *name, uint64_t max, uint64_t *v);
/* As many as there are, at most `max` elements: *data is the reader's, valid as long as it is. */
MUST_USE Err *state_get_any(StateIn *in, const char *name, unsigned bytes, size_t max, const void **data, size_t *count);
MUST_USE Err *state_get_text(StateIn *in, const char *name, char **out);
bool state_has(const StateIn *in, const char *name);
/* The STATE rows. Rows with a `since` above the section's version keep what they have. */
MUST_USE Err *state_get_fields(StateIn *in, const char *prefix, const Field *table, void *obj);
/* The highest `since` of its STATE rows, at least 1: the version of its form. */
unsigned state_fields_version(const Field *table);

/* Calls fn with each section's name, in the order of the stream. */
void state_each_section(const StateIn *in, void (*fn)(const char *name, void *opaque), void *opaque);

/* ---- parts of a machine */
typedef struct StatePart {
    const char *name;
    Err *(*can_save)(void *opaque);                     /* a reason why it cannot be saved now; NULL: none */
    void (*save)(void *opaque, StateOut *out);
    Err *(*check)(void *opaque, StateIn *in);           /* before anything is changed: has it a place for all of this? */
    Err *(*load)(void *opaque, StateIn *in);            /* memory is loaded, the machine was reset */
    Err *(*finish)(void *opaque);                       /* what is derived; parts in the opposite order */
} StatePart;
/* In the order of their making; under the machine lock. The row is the caller's. */
void state_part_add(Vm *vm, const StatePart *part, void *opaque);
void state_part_remove(Vm *vm, void *opaque);

#endif
