/* SPDX-License-Identifier: MIT */
/*
 * "test": a guest that is nothing but slots, helpers and 16 KiB of memory, for
 * tests of IR alone.
 *
 *   a0-a7 t0-t2      64-bit general registers with pins 0-10     t3-t15   the same without pins
 *   m0-m3            64-bit slots in memory                      w0-w3    32-bit ones
 *   f0-f9            floats with pins                            f10-f15  floats without
 *
 *   0x10000  in the inline table, read and write    0x11000  only through env->ops
 *   0x12000  in the table for reads only            0x13000  read-only: stores fault; all else faults
 *
 * All MMU contexts map the same. Misaligned accesses with MO_ALIGN fault.
 */
#ifndef TESTS_IR_GUEST_H
#define TESTS_IR_GUEST_H

#include <glib.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "fpu/fpu.h"
#include "tcg/env.h"
#include "tcg/ir/eval.h"

enum { RAM_BASE = 0x10000, RAM_SIZE = 0x4000, RAM_READ_ONLY = 0x13000 };

static uint8_t test_ram[RAM_SIZE] __attribute__((aligned(4096)));

/* ---- slots */

#define GPR(name, i, pin) { name, IR_I64, BANK_GPR, offsetof(struct Env, gpr) + 8 * (i), pin }
#define MEM(name, type, i) { name, type, BANK_MEM, offsetof(struct Env, sys) + 8 * (i), -1 }
#define FPR(name, i, pin) { name, IR_F64, BANK_FPR, offsetof(struct Env, vec) + 64 * (i), pin }

static const IrSlot test_slots[] = {
    GPR("a0", 0, 0), GPR("a1", 1, 1), GPR("a2", 2, 2), GPR("a3", 3, 3),
    GPR("a4", 4, 4), GPR("a5", 5, 5), GPR("a6", 6, 6), GPR("a7", 7, 7),
    GPR("t0", 8, 8), GPR("t1", 9, 9), GPR("t2", 10, 10), GPR("t3", 11, -1),
    GPR("t4", 12, -1), GPR("t5", 13, -1), GPR("t6", 14, -1), GPR("t7", 15, -1),
    GPR("t8", 16, -1), GPR("t9", 17, -1), GPR("t10", 18, -1), GPR("t11", 19, -1),
    GPR("t12", 20, -1), GPR("t13", 21, -1), GPR("t14", 22, -1), GPR("t15", 23, -1),
    MEM("m0", IR_I64, 0), MEM("m1", IR_I64, 1), MEM("m2", IR_I64, 2), MEM("m3", IR_I64, 3),
    MEM("w0", IR_I32, 4), MEM("w1", IR_I32, 5), MEM("w2", IR_I32, 6), MEM("w3", IR_I32, 7),
    FPR("f0", 0, 0), FPR("f1", 1, 1), FPR("f2", 2, 2), FPR("f3", 3, 3),
    FPR("f4", 4, 4), FPR("f5", 5, 5), FPR("f6", 6, 6), FPR("f7", 7, 7),
    FPR("f8", 8, 8), FPR("f9", 9, 9), FPR("f10", 10, -1), FPR("f11", 11, -1),
    FPR("f12", 12, -1), FPR("f13", 13, -1), FPR("f14", 14, -1), FPR("f15", 15, -1),
};
enum { TEST_SLOTS = sizeof(test_slots) / sizeof(test_slots[0]) };

static inline uint64_t slot_read(const Env *env, int slot)
{
    uint64_t v;

    memcpy(&v, (const char *)env + test_slots[slot].off, 8);
    return v;
}

static inline void slot_write(Env *env, int slot, uint64_t v)
{
    memcpy((char *)env + test_slots[slot].off, &v, 8);
}

/* ---- helpers */

static uint64_t help_sum(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return a + 2 * b + 3 * c;
}

static uint64_t help_seven(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return 7;
}

static uint64_t help_trap(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    env->fault = a != 0;
    return b;
}

static uint64_t help_look(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return env->gpr[0] + 10 * env->gpr[11] + 100 * env->vec[0].u64[0] + a;
}

static uint64_t help_bump(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    env->gpr[0] += a;
    env->gpr[12] += a;
    env->vec[1].u64[0] += a;
    return env->gpr[0];
}

static uint64_t help_fpflags(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    uint8_t old = env_fp_flags(env);

    env_set_fp_flags(env, a);
    return old;
}

static uint64_t help_round(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    env_set_round(env, a % 5);          /* there are five modes */
    return 0;
}

static uint64_t help_poll(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    env->poll = a;
    return 0;
}

static const IrHelper test_helpers[] = {
    { "sum", help_sum, 3, HELPER_PURE },
    { "seven", help_seven, 0, HELPER_PURE },
    { "trap", help_trap, 2, HELPER_FAULTS },
    { "look", help_look, 1, HELPER_READS },
    { "bump", help_bump, 1, HELPER_READS | HELPER_WRITES },
    { "fpflags", help_fpflags, 1, HELPER_FP },
    { "round", help_round, 1, HELPER_FP },
    { "poll", help_poll, 1, 0 },
};
enum { TEST_HELPERS = sizeof(test_helpers) / sizeof(test_helpers[0]) };

static const IrGuest test_guest = {
    .name = "test", .slots = test_slots, .nslots = TEST_SLOTS, .helpers = test_helpers, .nhelpers = TEST_HELPERS,
    .nan_box = true, .fpu_nan = FPU_NAN_DEFAULT_RISCV,
};

/* ---- memory */

static uint8_t *ram_at(Env *env, uint64_t va, MemOp m, bool write)
{
    unsigned size = mo_size(m);

    if (va < RAM_BASE || va > RAM_BASE + RAM_SIZE - size || (write && va + size > RAM_READ_ONLY)
        || (m & MO_ALIGN && va & (size - 1))) {
        env->fault = 1;
        return NULL;
    }
    return test_ram + (va - RAM_BASE);
}

static uint64_t ram_bytes(const uint8_t *p, MemOp m)
{
    uint64_t v = 0;

    for (unsigned n = mo_size(m), k = 0; k < n; k++)
        v |= (uint64_t)p[m & MO_BE ? n - 1 - k : k] << 8 * k;
    return v;
}

static void ram_put(uint8_t *p, uint64_t v, MemOp m)
{
    for (unsigned n = mo_size(m), k = 0; k < n; k++)
        p[m & MO_BE ? n - 1 - k : k] = v >> 8 * k;
}

static uint64_t mem_load(Env *env, uint64_t va, MemOp m)
{
    uint8_t *p = ram_at(env, va, m, false);

    return p ? ram_bytes(p, m) : 0;
}

static void mem_store(Env *env, uint64_t va, uint64_t v, MemOp m)
{
    uint8_t *p = ram_at(env, va, m, true);

    if (p)
        ram_put(p, v, m);
}

static uint64_t mem_amo(Env *env, uint64_t va, uint64_t v, MemOp m, IrAmo op)
{
    uint8_t *p = ram_at(env, va, m, true);
    uint64_t old = p ? ram_bytes(p, m) : 0;

    if (p)
        ram_put(p, ir_eval_amo(op, m, old, v), m);
    return old;
}

static uint64_t mem_cas(Env *env, uint64_t va, uint64_t expect, uint64_t v, MemOp m)
{
    uint8_t *p = ram_at(env, va, m, true);
    uint64_t old = p ? ram_bytes(p, m) : 0, mask = UINT64_MAX >> (64 - 8 * mo_size(m));

    if (p && old == (expect & mask))
        ram_put(p, v, m);
    return old;
}

static uint64_t mem_lr(Env *env, uint64_t va, MemOp m)
{
    uint8_t *p = ram_at(env, va, m, false);

    if (!p)
        return 0;
    env->resv_addr = va;
    env->resv_val = ram_bytes(p, m);
    env->resv_size = mo_size(m);
    return env->resv_val;
}

static uint64_t mem_sc(Env *env, uint64_t va, uint64_t v, MemOp m)
{
    uint8_t *p = ram_at(env, va, m, true);
    bool held;

    if (!p)
        return 0;
    held = env->resv_addr == va && env->resv_size == mo_size(m) && ram_bytes(p, m) == env->resv_val;
    env->resv_addr = ENV_NO_RESV;
    if (held)
        ram_put(p, v, m);
    return !held;
}

static const EnvOps test_mem = { mem_load, mem_store, mem_amo, mem_cas, mem_lr, mem_sc };

static void map_page(Env *env, uint64_t va, bool write)
{
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        TlbEntry *e = &env->tlb[ctx][tlb_index(va)];

        e->rt = va;
        if (write)
            e->wt = va;
        e->addend = (uintptr_t)test_ram - RAM_BASE;
        env->tlb_used[ctx][tlb_index(va) / 64] |= (uint64_t)1 << tlb_index(va) % 64;
    }
}

/* A fresh Env: every slot holds a pattern of its own, memory holds its address's bytes. */
static inline Env *test_env_new(void)
{
    Env *env = aligned_alloc(4096, (sizeof(Env) + 4095) / 4096 * 4096);

    memset(env, 0, sizeof(*env));
    env_init(env);
    env->ops = &test_mem;
    for (int i = 0; i < TEST_SLOTS; i++)
        slot_write(env, i, 0x9e3779b97f4a7c15u * (i + 1));
    for (int i = 0; i < RAM_SIZE; i++)
        test_ram[i] = i * 7 + (i >> 8);
    map_page(env, 0x10000, true);
    map_page(env, 0x12000, false);
    return env;
}

#endif
