/* SPDX-License-Identifier: MIT */
/*
 * What tools/gensch makes of monitor/schema/: types, commands and events as
 * tables. They are data; check.c reads JSON by them, introspect.c shows them,
 * hmp/ makes text commands of them.
 */
#ifndef MONITOR_SCHEMA_H
#define MONITOR_SCHEMA_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"
#include "util/reflect.h"

typedef struct Monitor Monitor;
typedef struct QmpType QmpType;
typedef struct QmpOpen QmpOpen;

typedef enum QmpKind {
    QMP_STR, QMP_BOOL, QMP_INT, QMP_NUMBER, QMP_NULL, QMP_ANY,
    QMP_OBJECT,                 /* any JSON object */
    QMP_ENUM, QMP_STRUCT, QMP_ALTERNATE, QMP_ARRAY,
} QmpKind;

typedef struct QmpMember {
    const char *name;           /* NULL ends a table */
    const QmpType *type;
    const char *doc, *def;      /* def: told to people */
    bool optional, has_has;
    uint32_t offset, has;       /* in the command's struct of arguments */
} QmpMember;

typedef struct QmpCase { const char *value; const QmpType *type; } QmpCase;

struct QmpType {
    QmpKind kind;
    const char *name, *doc;
    int64_t min, max;                   /* INT */
    const char *const *values;          /* ENUM */
    const QmpType *of;                  /* ARRAY */
    const QmpMember *members;           /* STRUCT, ALTERNATE */
    const char *tag;                    /* STRUCT: the enum member that says which case, or NULL */
    const QmpCase *cases;
    const char *const *features;
    /* STRUCT: further cases or members come from tables of the program. Which there are is checked by who takes them. */
    void (*open)(QmpOpen *to);
};

typedef struct QmpCommand {
    const char *name, *doc;             /* NULL ends a table */
    const QmpMember *members;
    const QmpType *args;                /* instead of members: a union or open struct; the handler gets JSON at `all` */
    const QmpType *returns;             /* NULL: nothing */
    size_t size, all;
    bool oob, early;
    const char *const *features;
    const char *hmp, *syntax, *also;    /* "info block", "[device]"; another name. NULL: no text command */
    void (*print)(GString *out, const json_t *ret);
    Err *(*run)(Monitor *m, const void *args, void *out);       /* out: json_t **; of text commands a GString * */
} QmpCommand;

typedef struct QmpEvent {
    const char *name, *doc;
    const QmpMember *members;
    bool rate;                          /* at most one a second */
    const char *rate_key;               /* for each value of that member */
} QmpEvent;

extern const QmpCommand qmp_commands[], hmp_commands[];
extern const QmpEvent qmp_events[];

const QmpCommand *qmp_command_find(const char *name);   /* or NULL */
const QmpEvent *qmp_event_find(const char *name);

/* ---- arguments (check.c) */

/* Does the value fit the type? `at`: its name for the message, "file.filename". */
MUST_USE Err *qmp_check(const QmpType *t, const json_t *v, const char *at);
/* Checks the arguments of a command (NULL: none given) and fills its struct, which is zeroed; strings are borrowed from v. */
MUST_USE Err *qmp_args(const QmpCommand *c, const json_t *v, void *args);
/* The index of the value in the enum's names, or -1. */
int qmp_enum(const char *const *names, const char *value);

/* ---- what open types consist of: filled by qmp_open_* hooks, read by introspection (introspect.c) */

/* Begins the case `value` of the tag; the members that follow are its own. */
void qmp_open_case(QmpOpen *to, const char *value);
void qmp_open_member(QmpOpen *to, const char *name, const char *type /* "str", "int", "bool" */, bool optional);
void qmp_open_enum(QmpOpen *to, const char *name, const char *const *values, bool optional);
/* Members for all PROPs of a table; dotted names become structs. */
void qmp_open_fields(QmpOpen *to, const Field *table);

/* Are the members that an open type's hook tells of their types? */
Err *qmp_check_open(const QmpType *t, const json_t *v, const char *at);

/* query-qmp-schema's answer; new reference. */
json_t *qmp_introspect(void);

#endif
