/* SPDX-License-Identifier: MIT */
/* Between state.c, state_file.c, snapshot.c and migrate.c. */
#ifndef SYSTEM_STATE_PRIV_H
#define SYSTEM_STATE_PRIV_H

#include "system/state.h"
#include "system/stream.h"

typedef struct Migration Migration;

/* vm->saving */
typedef struct State {
    GArray *parts;              /* of StatePart and its opaque, in the order of their making */
    Migration *migration;       /* migrate.c; NULL: there never was one */
    int64_t load_began;         /* us of the host, for a trace point; 0: told */
} State;
State *state_of(Vm *vm);        /* made when it is not there */

void migration_free(Vm *vm);
/* The part that has to be the same where it is loaded. */
GByteArray *state_gather_machine(Vm *vm);
MUST_USE Err *state_check_machine(Vm *vm, const void *data, size_t len);
uint32_t state_crc(const void *data, size_t len);

/*
 * Where a machine is written to and read from at any offset: a file, or the part of an image that is for this.
 * Holes read as zeros. 0 or -errno.
 */
typedef struct StateStore {
    int (*write)(void *opaque, uint64_t off, const void *data, size_t len);
    int (*read)(void *opaque, uint64_t off, void *data, size_t len);
    void *opaque;
    int fd;                     /* a file that may be mapped; -1: none */
} StateStore;
/* Machine and memory; *bytes is its length, holes and all. */
MUST_USE Err *state_store_save(Vm *vm, const StateStore *s, uint64_t *bytes);
/* state_store_load changes nothing unless state_store_check found it good; that leaves the machine's blob in *out. */
MUST_USE Err *state_store_check(Vm *vm, const StateStore *s, GBytes **out);
MUST_USE Err *state_store_load(Vm *vm, const StateStore *s, GBytes *blob);
StateStore state_file_store(int *fd);           /* *fd stays where it is as long as the store is used */
/* The guest's clock when it was saved. */
MUST_USE Err *state_store_clock(const StateStore *s, int64_t *ns);
/* Every page of every block may have changed. */
void state_touch_memory(Vm *vm);

#endif
