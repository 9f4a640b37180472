/* SPDX-License-Identifier: MIT */
/* What the two files of lockstep share. */
#ifndef ACCEL_JIT_LOCKSTEP_H
#define ACCEL_JIT_LOCKSTEP_H

#include "accel/jit/jit.h"

/* What is compared and put back of Env: all before the exec tags. */
enum { ENV_PART = offsetof(struct Env, xt), LOG_MAX = 2048, GUARD = 16 /* bytes on each side of a store */,
       OFTEN = 2048 /* runs of a unit after which only one in OFTEN_EACH is compared */, OFTEN_EACH = 31 };

/* An access that the interpreter made. A store is only noted: memory is as it was. */
typedef struct MemLog {
    uint64_t va;
    uint8_t *host;
    uint8_t size;
    bool store;
    uint64_t val;               /* stored, or what memory itself held when it was loaded; in memory's byte order */
    uint8_t around[2 * GUARD + 8];      /* store: the bytes from host - GUARD on, before generated code runs */
} MemLog;

/* Why a unit, or the rest of it, ran without comparison. */
#define LOCKSTEP_STATS(X)                                                       \
    X(units,    "units compared")                                               \
    X(insns,    "guest instructions in them")                                   \
    X(hot,      "units not compared: run very often, then one run in 31 is")      \
    X(outside,  "units not compared: a helper reaches beyond the vCPU")         \
    X(devices,  "units not compared: they touch devices")                       \
    X(odd,      "units not compared: an access across pages, or too many")      \
    X(retried,  "units not compared: an instruction had to be done again")      \
    X(raced,    "differences forgiven: memory changed from outside meanwhile")

typedef struct LockstepStats {
#define X(name, doc) uint64_t name;
    LOCKSTEP_STATS(X)
#undef X
} LockstepStats;

typedef struct Snapshot {
    uint8_t env[ENV_PART] __attribute__((aligned(_Alignof(struct Env))));
    void *state;                /* Isa.state_size bytes */
} Snapshot;

typedef struct Lockstep {
    TcgVcpu *t;
    LockstepStats stats;
    Snapshot before, expected;
    /* the return stacks' share of `before`: a change of the mode key changes stacks */
    ReturnStack stack[STACKS];
    int stack_now, stack_next;
    MemLog log[LOG_MAX];
    int nlog;
    uint64_t *unchecked;        /* the counter of why the interpreter gave up in this unit, or NULL */
} Lockstep;

/* ---- lockstep-mem.c */
extern const EnvOps lockstep_ops;
/* Does memory hold what the log says was stored, and beside it what was there before? Says what differs. */
bool lockstep_memory_same(const Lockstep *k, GString *out);
/*
 * Has memory that was loaded changed since, but for the stores? Then a device is at work. What is at or beside a
 * store doesn't count: a wrong store is likelier there.
 */
bool lockstep_raced(const Lockstep *k);
/* Notes what stands around the stores, before generated code runs. */
void lockstep_guard(Lockstep *k);

#endif
