/* SPDX-License-Identifier: MIT */
/*
 * Guest memory for the interpreter's half of lockstep. Nothing is changed: stores
 * go into a log, and loads see memory with the log's stores laid over it. All
 * accesses go through the page tables or the second-level TLB, never through the inline
 * table, so that generated code which hits a stale inline entry is found out.
 *
 * Only plain RAM is done here. Anything else makes the interpreter give up this
 * unit (as if a fault had happened; Lockstep.unchecked tells them apart).
 */
#include <inttypes.h>
#include <string.h>

#include "accel/jit/lockstep.h"
#include "accel/tcg/mmu-priv.h"
#include "tcg/ir/eval.h"

/* ---- the log */

static Lockstep *lockstep_of(Env *env)
{
    return tcg_env(env)->jit->lockstep;
}

static uint8_t *give_up(Lockstep *k, uint64_t *counter)
{
    k->unchecked = counter;
    k->t->env->fault = 1;
    return NULL;
}

static void note(Lockstep *k, uint64_t va, uint8_t *host, unsigned size, bool store, uint64_t val)
{
    k->log[k->nlog++] = (MemLog){ .va = va, .host = host, .size = size, .store = store, .val = val };
}

/* Lays the log's stores over `size` bytes that are memory's at `host`. */
static void overlay(const Lockstep *k, const uint8_t *host, uint8_t *bytes, unsigned size)
{
    for (int n = 0; n < k->nlog; n++) {
        const MemLog *l = &k->log[n];

        if (!l->store || l->host >= host + size || l->host + l->size <= host)
            continue;
        for (unsigned i = 0; i < l->size; i++)
            if (l->host + i >= host && l->host + i < host + size)
                bytes[l->host + i - host] = l->val >> 8 * i;
    }
}

/* The host's address of a guest access, or NULL: a fault, or the unit is given up. */
static uint8_t *find(Lockstep *k, uint64_t va, MemOp m, Access access)
{
    unsigned size = mo_size(m);
    L2Page once, *p;

    if (m & MO_ALIGN && va & (size - 1)) {
        mmu_misaligned(k->t, va, access, m);
        return NULL;
    }
    if (crosses_page(va, size) || k->nlog + 2 > LOG_MAX)
        return give_up(k, &k->stats.odd);
    p = mmu_page(k->t, va, access, mo_ctx(m), m, &once);
    if (!p)
        return NULL;
    if (p->kind != KIND_RAM && !(p->host && access == ACCESS_READ))
        return give_up(k, &k->stats.devices);
    return p->host + (va & PAGE_MASK_LOW);
}

static uint64_t in_order(uint64_t v, MemOp m)
{
    return m & MO_BE ? mmu_swap(v, mo_size(m)) : v;
}

static uint64_t read_logged(Lockstep *k, uint64_t va, uint8_t *host, MemOp m)
{
    unsigned size = mo_size(m);
    uint64_t v = host_load(host, size);

    note(k, va, host, size, false, v);
    overlay(k, host, (uint8_t *)&v, size);
    return in_order(v, m);
}

static void write_logged(Lockstep *k, uint64_t va, uint8_t *host, uint64_t val, MemOp m)
{
    note(k, va, host, mo_size(m), true, in_order(val & mmu_mask(mo_size(m)), m));
}

/* ---- accesses */

static uint64_t load(Env *env, uint64_t va, MemOp m)
{
    Lockstep *k = lockstep_of(env);
    uint8_t *host = find(k, va, m, ACCESS_READ);

    return host ? read_logged(k, va, host, m) : 0;
}

static void store(Env *env, uint64_t va, uint64_t val, MemOp m)
{
    Lockstep *k = lockstep_of(env);
    uint8_t *host = find(k, va, m, ACCESS_WRITE);

    if (host)
        write_logged(k, va, host, val, m);
}

static uint64_t amo(Env *env, uint64_t va, uint64_t val, MemOp m, IrAmo op)
{
    Lockstep *k = lockstep_of(env);
    uint8_t *host = find(k, va, m, ACCESS_WRITE);
    uint64_t old;

    if (!host)
        return 0;
    old = read_logged(k, va, host, m);
    write_logged(k, va, host, ir_eval_amo(op, m, old, val), m);
    return old;
}

static uint64_t cas(Env *env, uint64_t va, uint64_t expect, uint64_t val, MemOp m)
{
    Lockstep *k = lockstep_of(env);
    uint8_t *host = find(k, va, m, ACCESS_WRITE);
    uint64_t old;

    if (!host)
        return 0;
    old = read_logged(k, va, host, m);
    if (old == (expect & mmu_mask(mo_size(m))))
        write_logged(k, va, host, val, m);
    return old;
}

static uint64_t lr(Env *env, uint64_t va, MemOp m)
{
    Lockstep *k = lockstep_of(env);
    uint8_t *host = find(k, va, m | MO_ALIGN, ACCESS_READ);

    if (!host)
        return 0;
    env->resv_addr = va;
    env->resv_val = read_logged(k, va, host, m);
    env->resv_size = mo_size(m);
    return env->resv_val;
}

static uint64_t sc(Env *env, uint64_t va, uint64_t val, MemOp m)
{
    Lockstep *k = lockstep_of(env);
    uint8_t *host = find(k, va, m | MO_ALIGN, ACCESS_WRITE);
    bool held = env->resv_addr == va && env->resv_size == mo_size(m);

    if (!host)
        return 0;
    env->resv_addr = ENV_NO_RESV;
    if (!held || read_logged(k, va, host, m) != env->resv_val)
        return 1;
    write_logged(k, va, host, val, m);
    return 0;
}

const EnvOps lockstep_ops = { .load = load, .store = store, .amo = amo, .cas = cas, .lr = lr, .sc = sc };

/* ---- memory after generated code has run */

/* How many of the GUARD bytes on each side of a store are in its page. */
static void guard_range(const MemLog *l, unsigned *from, unsigned *to)
{
    unsigned off = l->va & PAGE_MASK_LOW;

    *from = off < GUARD ? GUARD - off : 0;
    *to = MIN(2u * GUARD + l->size, (unsigned)GUARD + PAGE_SIZE - off);
}

void lockstep_guard(Lockstep *k)
{
    for (int n = 0; n < k->nlog; n++) {
        MemLog *l = &k->log[n];
        unsigned from, to;

        if (!l->store)
            continue;
        guard_range(l, &from, &to);
        memcpy(l->around + from, l->host - GUARD + from, to - from);
    }
}

bool lockstep_memory_same(const Lockstep *k, GString *out)
{
    bool same = true;

    for (int n = 0; n < k->nlog; n++) {
        const MemLog *l = &k->log[n];
        uint8_t want[sizeof(l->around)];
        unsigned from, to;

        if (!l->store)
            continue;
        guard_range(l, &from, &to);
        memcpy(want, l->around, sizeof(want));
        overlay(k, l->host - GUARD + from, want + from, to - from);
        for (unsigned i = from; i < to; i++) {
            uint8_t got = l->host[(int)i - GUARD];

            if (got == want[i])
                continue;
            same = false;
            g_string_append_printf(out, "  byte at %#" PRIx64 ": before %02x, expected %02x, got %02x\n",
                                   l->va - GUARD + i, l->around[i], want[i], got);
        }
        if (!same)
            break;
    }
    return same;
}

/* Is this byte of memory one that was stored to, or so near that a wrong store would hit it? */
static bool near_store(const Lockstep *k, const uint8_t *host)
{
    for (int n = 0; n < k->nlog; n++) {
        const MemLog *l = &k->log[n];

        if (l->store && host + GUARD >= l->host && host < l->host + l->size + GUARD)
            return true;
    }
    return false;
}

bool lockstep_raced(const Lockstep *k)
{
    for (int n = 0; n < k->nlog; n++) {
        const MemLog *l = &k->log[n];
        uint8_t then[8];

        if (l->store)
            continue;
        memcpy(then, &l->val, 8);
        overlay(k, l->host, then, l->size);
        for (unsigned i = 0; i < l->size; i++)
            if (l->host[i] != then[i] && !near_store(k, l->host + i))
                return true;
    }
    return false;
}
