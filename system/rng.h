/* SPDX-License-Identifier: MIT */
/*
 * Sources of randomness for guests: -object rng-builtin, the host kernel's own
 * generator, and rng-random, a file or device such as /dev/hwrng.
 */
#ifndef SYSTEM_RNG_H
#define SYSTEM_RNG_H

#include <stddef.h>

#include "system/vm.h"
#include "util/reflect.h"

typedef struct Rng Rng;

/* Is `kind` that of a source? */
bool rng_is_kind(const char *kind);
/* The n-th kind and its properties; NULL: no more. */
const char *rng_kind(unsigned n, const Field **fields);
/* "rng-random,id=rng0,filename=/dev/hwrng" or JSON. In the machine's list from now on, until rngs_free. */
MUST_USE Err *rng_add(Vm *vm, const char *arg);
MUST_USE Err *rng_find(Vm *vm, const char *id, Rng **out);
void rng_del(Vm *vm, const char *id);   /* nobody uses it */
void rngs_free(Vm *vm);
char *rng_help(const char *kind);       /* its properties; NULL: it is no such kind. g_free it */

/* Bytes of `to` filled, at least one; 0: none now, see rng_wait; or -errno, when there will be none any more. Machine lock. */
long rng_read(Rng *r, void *to, size_t len);
/* Calls fn once, in the main thread under the machine lock, when there may be some. One waiter for each opaque. */
void rng_wait(Rng *r, void (*fn)(void *opaque), void *opaque);
void rng_unwait(Rng *r, void *opaque);

/* The built-in source, for devices that were given none. Never short, never an error. */
void rng_fill(void *to, size_t len);

#endif
