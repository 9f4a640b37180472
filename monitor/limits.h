/* SPDX-License-Identifier: MIT */
/* Properties of throttle-group objects, for the tree (monitor/view_props.c). */
#ifndef MONITOR_LIMITS_H
#define MONITOR_LIMITS_H

#include <jansson.h>

#include "system/vm.h"

json_t *limits_get(Vm *vm, const char *id, const char *property);      /* NULL: there is no such property */
MUST_USE Err *limits_put(Vm *vm, const char *id, const char *property, const json_t *v);
void limits_list(Vm *vm, const char *id, void (*row)(json_t *list, const char *name, const char *type), json_t *list);

#endif
