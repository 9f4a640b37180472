/* SPDX-License-Identifier: MIT */
/* Between state.c, state_file.c, snapshot.c and migrate.c. */
#ifndef SYSTEM_STATE_PRIV_H
#define SYSTEM_STATE_PRIV_H

#include "system/state.h"
#include "system/stream.h"

typedef struct Migration Migration;
typedef struct StateLoan StateLoan;

/* vm->saving */
typedef struct State {
    GArray *parts;              /* of StatePart and its opaque, in the order of their making */
    Migration *migration;       /* migrate.c; NULL: there never was one */
    StateLoan *loan;            /* state_loan.c; NULL: memory is the machine's own */
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
    /*
     * An image's: where its first `bytes` are in a file of the host, as StateRuns, ascending, whole pages; what is in none
     * is a hole. A descriptor, or -errno. lend: see node_lend. NULL: there is no such file.
     */
    int (*map)(void *opaque, uint64_t bytes, GArray *runs);
    void (*lend)(void *opaque, void (*back)(void *), void *back_opaque);
} StateStore;
typedef struct StateRun { uint64_t off, len, host; } StateRun;
enum { STATE_RUNS_MAX = 16384 };        /* each is a mapping, of which the host allows some 65000 */

/* Memory that is mapped from an image becomes the machine's own in the background. Main thread. */
typedef struct StateLoanPart { uint8_t *host; size_t len; } StateLoanPart;
MUST_USE Err *state_loan_begin(Vm *vm, const StateStore *s, GArray *parts);
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
