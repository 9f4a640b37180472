/* SPDX-License-Identifier: MIT */
/*
 * Objects of --object and object-add that the block layer uses: secrets, TLS
 * credentials, throttle groups. A row for each kind, its properties a table.
 */
#ifndef BLOCK_OBJECTS_H
#define BLOCK_OBJECTS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"
#include "util/reflect.h"

typedef struct Objects Objects;
typedef struct Object Object;

typedef struct ObjectClass {
    const char *name, *doc;
    size_t size;
    const Field *fields;
    Err *(*complete)(Object *);     /* after the properties are set */
    void (*finish)(Object *);       /* undoes complete; also after one that failed */
    void (*refresh)(Object *);      /* brings its properties up to date before they are changed; may be NULL */
    Err *(*changed)(Object *);      /* other properties while it is in use; NULL: they cannot change. Refusing undoes it */
} ObjectClass;
struct Object {                     /* the first member of each kind's struct */
    const ObjectClass *cls;
    Objects *all;
    char *id;
    unsigned refs;                  /* in use: not to be deleted */
    Object *next;
};
extern const ObjectClass *const object_classes[];   /* NULL-terminated */

Objects *objects_new(void);
/* The throttle groups that these belong to: of their own at first, then those of others. Before any is made. */
typedef struct ThrottleGroups ThrottleGroups;
ThrottleGroups *objects_throttles(Objects *o);
void objects_share_throttles(Objects *o, ThrottleGroups *all);
Object *objects_peek(Objects *o, const ObjectClass *cls, const char *id);       /* or NULL */
void objects_free(Objects *o);
/* "secret,id=sec0,data=.." or JSON {"qom-type":..,"id":..}. "help" and "secret,help" are the caller's (objects_help). */
MUST_USE Err *objects_add(Objects *o, const char *text);
MUST_USE Err *objects_add_json(Objects *o, const json_t *props);
/* Changes properties of one that is there, all or none: {"limits":{"iops-total":100}}. */
MUST_USE Err *objects_set(Objects *o, const char *id, const json_t *props);
MUST_USE Err *objects_del(Objects *o, const char *id);
/* Of that class, or an error that lists the ids there are. Borrowed. */
MUST_USE Err *objects_find(Objects *o, const char *cls, const char *id, Object **out);
char *objects_help(const char *cls);        /* NULL: all kinds; g_free it */

/* A secret's bytes (block/secret.c): format raw or base64, data= or file=, optionally AES-256-CBC by keyid= and iv=. */
MUST_USE Err *secret_bytes(Objects *o, const char *id, uint8_t **out, size_t *len);     /* secret_free it */
void secret_free(uint8_t *bytes, size_t len);   /* wiped */

#endif
