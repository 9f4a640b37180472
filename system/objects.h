/* SPDX-License-Identifier: MIT */
/*
 * Objects of -object and object-add, whichever part of the machine they belong
 * to: secrets, credentials and throttle groups (block/objects.h), I/O threads,
 * sources of randomness, captures of networks.
 */
#ifndef SYSTEM_OBJECTS_H
#define SYSTEM_OBJECTS_H

#include "system/vm.h"
#include "util/reflect.h"

typedef struct VmObject { char *kind, *id, *arg; } VmObject;

/* "KIND,id=NAME,.." or JSON {"qom-type":..,"id":..}. Main thread; vm->disks and vm->net are there. */
MUST_USE Err *object_add(Vm *vm, const char *arg);
/* The caller has made sure that no device uses it. */
MUST_USE Err *object_del(Vm *vm, const char *id);
/* A backend has gone: captures of it went with it. */
void objects_network_gone(Vm *vm);
const VmObject *object_find(Vm *vm, const char *id);    /* or NULL */
const VmObject *object_at(Vm *vm, unsigned i);          /* in the order of making; NULL: no more */

/* Kinds by number, and their properties; NULL: no more. *fields may become NULL. */
const char *object_kind(unsigned i, const Field **fields);
const Field *object_fields(const char *kind);           /* of one kind; NULL: it has none */
/* What it was given for a property of its kind's table, or the default; NULL: neither. g_free it. */
char *object_prop(const VmObject *o, const Field *f);
/* Changes a property of one that is there, as object_prop spells it. Only threads take that. */
MUST_USE Err *object_set_prop(Vm *vm, const char *id, const Field *f, const char *value);
char *object_help(const char *arg);     /* "help", or "KIND,help"; NULL: there is no such kind. g_free it */
void objects_forget(Vm *vm);            /* the list alone: their owners free them */

#endif
