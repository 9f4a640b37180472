/* SPDX-License-Identifier: MIT */
/*
 * A small machine for tests of the x86-64 backend: a guest with all kinds of
 * slots, a few pages of memory behind hooks, code areas mapped twice, and a way to
 * run one unit by the interpreter and by generated code from the same state.
 */
#ifndef TESTS_UNIT_X64_GUEST_H
#define TESTS_UNIT_X64_GUEST_H

#include <glib.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tcg/env.h"
#include "tcg/ir/eval.h"
#include "tcg/ir/ir.h"
#include "tcg/x64/x64.h"

enum {
    GPRS = 32, FPRS = 32,
    SLOT_F = GPRS, SLOT_SYS = SLOT_F + FPRS, SLOT_N32 = SLOT_SYS + 4, SLOTS = SLOT_N32 + 2,
    PIN_STRIDE = 3,             /* GPR slots 0, 3, 6 .. 30 are pinned */
};
#define RAM_BASE 0x80000000ull
enum { RAM_PAGES = 8, RAM_SIZE = RAM_PAGES * 4096 };

/* ---- random numbers */

static uint64_t rng_state;
static uint64_t rnd(void)
{
    rng_state ^= rng_state << 13;
    rng_state ^= rng_state >> 7;
    rng_state ^= rng_state << 17;
    return rng_state * 0x2545f4914f6cdd1d;
}
static unsigned rnd_below(unsigned n) { return (unsigned)((rnd() >> 32) % n); }

/* Integers near the edges, as often as any others. */
static uint64_t rnd_edge(void)
{
    static const uint64_t edges[] = {
        0, 1, 2, 3, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
        0x7fffffffffffffff, 0x8000000000000000, 0xffffffff80000000, 0xffffffff7fffffff, 0x0101010101010101,
    };
    uint64_t v = edges[rnd_below(G_N_ELEMENTS(edges))];

    switch (rnd_below(8)) {
    case 0: case 1: return v;
    case 2: return -v;
    case 3: return ~v;
    case 4: return v + rnd_below(5) - 2;
    case 5: return (uint64_t)(int32_t)rnd();
    case 6: return rnd() >> rnd_below(64);
    default: return rnd();
    }
}

static uint64_t rnd_float(void)
{
    static const uint64_t f64s[] = {
        0, 1ull << 63, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000, 0xfff0000000000000,
        0x7ff8000000000000, 0x7ff0000000000001, 0xfff8000000001234, 1, 0x000fffffffffffff, 0x0010000000000000,
        0x7fefffffffffffff, 0x43e0000000000000, 0xc3e0000000000000, 0x43dfffffffffffff, 0x41e0000000000000,
        0x41dfffffffc00000, 0x3fe0000000000000, 0x4340000000000001, 0x47efffffe0000000, 0x36a0000000000000,
    };
    static const uint32_t f32s[] = {
        0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc01234, 1,
        0x007fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x4effffff, 0x5f000000, 0x3f000000, 0x3effffff,
    };

    switch (rnd_below(8)) {
    case 0: return f64s[rnd_below(G_N_ELEMENTS(f64s))];
    case 1: case 2: return f32s[rnd_below(G_N_ELEMENTS(f32s))] | 0xffffffff00000000;
    case 3: return 0xffffffff00000000 | (uint32_t)(0x3f000000 + (rnd() & 0x01ffffff)) | (rnd() & 0x80000000);
    case 4: return 0x3fe0000000000000 + (rnd() & 0x003fffffffffffff);
    case 5: return (rnd() & 0x800fffff00000000) | (uint64_t)(1000 + rnd_below(50)) << 52 | (rnd() & 1 ? 0 : rnd() & 0xffffffff);
    case 6: return 0xffffffffffff0000 | (rnd() & 0xffff);
    default: return rnd();
    }
}

/* ---- the guest */

static IrSlot guest_slots[SLOTS];
static char guest_names[SLOTS][16];

static uint64_t help_pure(Env *env, uint64_t a, uint64_t b, uint64_t c) { return a * 3 + b * 5 + c * 7; }
static uint64_t help_reads(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t sum = a;

    for (int i = 0; i < GPRS; i++)
        sum = sum * 31 + env->gpr[i] + env->vec[i].u64[0];
    return sum;
}
static uint64_t help_writes(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    for (int i = 8; i < GPRS - 2; i++)
        env->gpr[i] += a + i;
    for (int i = 0; i < FPRS; i += 2)
        env->vec[i].u64[0] ^= b;
    return c;
}
static uint64_t help_faults(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    if ((a & 15) == 1)
        env->fault = 1;
    return a + 1;
}
/* Leaves dirt in everything that C may clobber, and uses floating point. */
static uint64_t help_fp(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    volatile double x = (double)(int64_t)a, y = 3;

    x = x / y;
    return (uint64_t)(int64_t)(x / 16);
}
/* Drops the return stack, as C code may. */
static uint64_t help_drop(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    env->jit_rsp = env->jit_rsp_base;
    return a + 1;
}
enum { H_PURE, H_READS, H_WRITES, H_FAULTS, H_FP, H_DROP, HELPERS };
static const IrHelper guest_helpers[HELPERS] = {
    { "pure", help_pure, 3, HELPER_PURE },
    { "reads", help_reads, 1, HELPER_READS },
    { "writes", help_writes, 3, HELPER_WRITES | HELPER_READS },
    { "faults", help_faults, 1, HELPER_FAULTS },
    { "fp", help_fp, 1, HELPER_FP },
    { "drop", help_drop, 1, 0 },
};
static IrGuest guest = {
    .name = "test", .slots = guest_slots, .nslots = SLOTS, .helpers = guest_helpers, .nhelpers = HELPERS, .nan_box = true,
};

static void guest_make(void)
{
    for (int n = 0; n < SLOTS; n++) {
        IrSlot *s = &guest_slots[n];

        s->name = guest_names[n];
        s->pin = -1;
        if (n < SLOT_F) {
            snprintf(guest_names[n], sizeof(guest_names[n]), "r%d", n);
            *s = (IrSlot){ s->name, IR_I64, BANK_GPR, (int32_t)offsetof(Env, gpr) + 8 * n, -1 };
            if (n % PIN_STRIDE == 0)
                s->pin = (int8_t)(n / PIN_STRIDE);
        } else if (n < SLOT_SYS) {
            snprintf(guest_names[n], sizeof(guest_names[n]), "f%d", n - SLOT_F);
            *s = (IrSlot){ s->name, IR_F64, BANK_FPR, (int32_t)offsetof(Env, vec) + 64 * (n - SLOT_F), -1 };
            if (n % 2 && n - SLOT_F < 20)
                s->pin = (int8_t)((n - SLOT_F) / 2);
        } else if (n < SLOT_N32) {
            snprintf(guest_names[n], sizeof(guest_names[n]), "sys%d", n - SLOT_SYS);
            *s = (IrSlot){ s->name, IR_I64, BANK_MEM, (int32_t)offsetof(Env, sys) + 8 * (n - SLOT_SYS), -1 };
        } else {
            snprintf(guest_names[n], sizeof(guest_names[n]), "n%d", n - SLOT_N32);
            *s = (IrSlot){ s->name, IR_I32, BANK_MEM, (int32_t)offsetof(Env, sys) + 8 * 8 + 4 * (n - SLOT_N32), -1 };
        }
    }
}

/* ---- its memory, by hooks */

static uint8_t *ram;            /* a page more than RAM_SIZE on either side, unused */
static bool hooks_fill;         /* may hooks fill the table? */
static int hook_calls;

static uint8_t *ram_at(Env *env, uint64_t va, unsigned size)
{
    hook_calls++;
    if (va - RAM_BASE > RAM_SIZE - size) {
        env->fault = 1;
        return NULL;
    }
    return ram + (va - RAM_BASE);
}

static void fill(Env *env, uint64_t va, unsigned ctx, bool write)
{
    TlbEntry *t = &env->tlb[ctx][tlb_index(va)];

    if (!hooks_fill || rnd_below(4) == 0)
        return;
    t->addend = (uint64_t)(uintptr_t)ram - RAM_BASE;
    t->rt = va & ~0xfffull;
    t->wt = write ? va & ~0xfffull : TLB_INVALID(tlb_index(va));
}

static uint64_t hook_swap(uint64_t v, MemOp m) { return m & MO_BE ? __builtin_bswap64(v) >> (64 - 8 * mo_size(m)) : v; }
static bool hook_misaligned(Env *env, uint64_t va, MemOp m)
{
    if (!(m & MO_ALIGN) || !(va & (mo_size(m) - 1)))
        return false;
    env->fault = 1;
    return true;
}
static uint64_t hook_load(Env *env, uint64_t va, MemOp m)
{
    uint64_t v = 0;
    uint8_t *p = hook_misaligned(env, va, m) ? NULL : ram_at(env, va, mo_size(m));

    if (!p)
        return 0;
    memcpy(&v, p, mo_size(m));
    fill(env, va, mo_ctx(m), false);
    return hook_swap(v, m);
}
static void hook_store(Env *env, uint64_t va, uint64_t v, MemOp m)
{
    uint8_t *p = hook_misaligned(env, va, m) ? NULL : ram_at(env, va, mo_size(m));

    if (!p)
        return;
    v = m & MO_BE ? hook_swap(v << (64 - 8 * mo_size(m)) >> (64 - 8 * mo_size(m)), m) : v;
    memcpy(p, &v, mo_size(m));
    fill(env, va, mo_ctx(m), true);
}
static uint64_t hook_amo(Env *env, uint64_t va, uint64_t v, MemOp m, IrAmo op)
{
    uint64_t old = hook_load(env, va, m | MO_ALIGN), new;

    if (env->fault)
        return 0;
    new = ir_eval_amo(op, m, old, v << (64 - 8 * mo_size(m)) >> (64 - 8 * mo_size(m)));
    hook_store(env, va, new, m);
    return old;
}
static uint64_t hook_cas(Env *env, uint64_t va, uint64_t expect, uint64_t v, MemOp m)
{
    uint64_t old = hook_load(env, va, m | MO_ALIGN);

    if (!env->fault && old == expect << (64 - 8 * mo_size(m)) >> (64 - 8 * mo_size(m)))
        hook_store(env, va, v, m);
    return old;
}
static uint64_t hook_lr(Env *env, uint64_t va, MemOp m)
{
    uint64_t v = hook_load(env, va, m | MO_ALIGN);

    if (env->fault)
        return 0;
    env->resv_addr = va;
    env->resv_val = v;
    env->resv_size = mo_size(m);
    return v;
}
static uint64_t hook_sc(Env *env, uint64_t va, uint64_t v, MemOp m)
{
    uint64_t old = hook_load(env, va, m | MO_ALIGN);
    bool ok = env->resv_addr == va && env->resv_size == mo_size(m) && env->resv_val == old;

    if (env->fault)
        return 0;
    env->resv_addr = ENV_NO_RESV;
    if (ok)
        hook_store(env, va, v, m);
    return !ok;
}
/* While machine_agree runs, it refuses sometimes, as if the page were watched. */
static bool hooks_refuse;
static uint64_t hook_group(Env *env, uint64_t va, uint64_t span, MemOp m, bool write)
{
    (void)env, (void)m, (void)write;
    if ((va & 4095) + span > 4096 || va - RAM_BASE >= RAM_SIZE || va - RAM_BASE + span > RAM_SIZE || (hooks_refuse && rnd_below(4) == 0))
        return 0;
    return (uint64_t)(uintptr_t)ram + (va - RAM_BASE);
}
static const EnvOps guest_ops = { hook_load, hook_store, hook_amo, hook_cas, hook_lr, hook_sc, hook_group };

/* ---- the machine */

enum { CODE_SIZE = 4 << 20, STACK_SIZE = 64 << 10 };

typedef struct Machine {
    Env *env;
    uint8_t *rw, *rx, *stack;
    intptr_t delta;
    X64Stubs *stubs;
    X64Emitter *em;
    CodeArea hot, cold;         /* what is left */
    X64Code code;               /* of the unit emitted last */
    uint32_t next_exit;
} Machine;

static void machine_areas(Machine *m, uint8_t *from)
{
    m->hot = (CodeArea){ from, m->rw + CODE_SIZE / 2, m->delta };
    m->cold = (CodeArea){ m->rw + CODE_SIZE / 2, m->rw + CODE_SIZE, m->delta };
}

static uint8_t *stubs_end;

static Machine *machine_new(void)
{
    Machine *m = g_new0(Machine, 1);
    int fd = memfd_create("code", 0);
    CodeArea area;

    if (fd < 0 || ftruncate(fd, CODE_SIZE))
        abort();
    m->rw = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    m->rx = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    close(fd);
    m->delta = m->rx - m->rw;
    m->env = mmap(NULL, sizeof(Env), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(m->stack, 4096, PROT_NONE);
    env_init(m->env);
    m->env->jit_rsp_base = m->env->jit_rsp = (uint64_t)(uintptr_t)(m->stack + STACK_SIZE - 64);
    for (int i = 0; i < 8; i++)
        ((uint64_t *)(m->stack + STACK_SIZE - 64))[i] = 1;
    m->env->ops = &guest_ops;
    area = (CodeArea){ m->rw, m->rw + CODE_SIZE / 2, m->delta };
    m->stubs = x64_stubs_new(&area, &guest, &(X64Hooks){ .mem = &guest_ops });
    stubs_end = area.rw;
    m->em = x64_emitter_new(m->stubs, &guest);
    machine_areas(m, stubs_end);
    return m;
}

static void machine_free(Machine *m)
{
    x64_emitter_free(m->em);
    x64_stubs_free(m->stubs);
    munmap(m->rw, CODE_SIZE);
    munmap(m->rx, CODE_SIZE);
    munmap(m->env, sizeof(Env));
    munmap(m->stack, STACK_SIZE);
    g_free(m);
}

static bool machine_one_vcpu, machine_ungrouped;

/* Emits u behind what is there; its entry (executable), or NULL. */
static void *machine_emit(Machine *m, const IrUnit *u)
{
    X64Request r = {
        .unit = u, .base = m->rw, .hot = m->hot, .cold = m->cold, .first_exit = m->next_exit, .exec_ctx = 1, .xt_id = 7,
        .one_vcpu = machine_one_vcpu, .ungrouped = machine_ungrouped, .stir = u->n & 1, .listing = true,
    };

    if (!x64_emit(m->em, &r, &m->code))
        return NULL;
    m->hot.rw = m->rw + m->code.hot_end;
    m->cold.rw = m->rw + m->code.cold_end;
    m->next_exit += m->code.nexits;
    return m->rx + m->code.entry;
}

static void machine_reset(Machine *m)
{
    machine_areas(m, stubs_end);
    m->next_exit = 0;
}

/* pc of the instruction that env->site belongs to. */
static uint64_t machine_fault_pc(Machine *m, const IrUnit *u)
{
    uint32_t off = (uint32_t)((uint8_t *)(uintptr_t)m->env->site - m->rx);

    for (int i = 0; i < m->code.nsites; i++)
        if (m->code.sites[i].off == off)
            return u->insns[u->marks[m->code.sites[i].mark]].imm;
    return 0;
}

/* ---- states */

typedef struct State {
    uint64_t gpr[GPRS], fpr[FPRS], sys[9], resv_addr, resv_val, pc;
    uint8_t flags, fault;
    IrExit why;
    uint8_t ram[RAM_SIZE];
    bool ram_filled;
} State;

static void state_get(State *s, const Env *env)
{
    memcpy(s->gpr, env->gpr, sizeof s->gpr);
    for (int i = 0; i < FPRS; i++)
        s->fpr[i] = env->vec[i].u64[0];
    memcpy(s->sys, env->sys, sizeof s->sys);
    s->resv_addr = env->resv_addr;
    s->resv_val = env->resv_val;
    s->flags = env_fp_flags(env);
    s->fault = env->fault;
    s->pc = env->pc;
    memcpy(s->ram, ram, RAM_SIZE);
}

static void state_set(const State *s, Env *env)
{
    memcpy(env->gpr, s->gpr, sizeof s->gpr);
    for (int i = 0; i < FPRS; i++)
        env->vec[i].u64[0] = s->fpr[i];
    memcpy(env->sys, s->sys, sizeof s->sys);
    env->resv_addr = s->resv_addr;
    env->resv_val = s->resv_val;
    env_set_fp_flags(env, s->flags);
    env->fault = s->fault;
    env->pc = s->pc;
    memcpy(ram, s->ram, RAM_SIZE);
}

__attribute__((unused)) static void state_random(State *s)
{
    for (int i = 0; i < GPRS; i++)
        s->gpr[i] = rnd_below(4) ? rnd_edge() : RAM_BASE + rnd_below(RAM_SIZE);
    for (int i = 0; i < FPRS; i++)
        s->fpr[i] = rnd_float();
    for (int i = 0; i < 9; i++)
        s->sys[i] = rnd_edge();
    s->resv_addr = ENV_NO_RESV;
    s->resv_val = 0;
    s->flags = 0;
    s->fault = 0;
    s->pc = 0;
    for (int n = 0; n < (s->ram_filled ? 32 : RAM_SIZE / 8); n++) {      /* all once, then some */
        uint64_t v = rnd_below(2) ? rnd_edge() : rnd_float();
        memcpy(s->ram + 8 * (s->ram_filled ? rnd_below(RAM_SIZE / 8) : (unsigned)n), &v, 8);
    }
    s->ram_filled = true;
}

/* Prints what differs; true if nothing does. */
static bool state_same(const State *want, const State *got)
{
    bool same = true;

    for (int i = 0; i < GPRS; i++)
        if (want->gpr[i] != got->gpr[i]) {
            printf("  r%d is %#" PRIx64 ", want %#" PRIx64 "\n", i, got->gpr[i], want->gpr[i]);
            same = false;
        }
    for (int i = 0; i < FPRS; i++)
        if (want->fpr[i] != got->fpr[i]) {
            printf("  f%d is %#" PRIx64 ", want %#" PRIx64 "\n", i, got->fpr[i], want->fpr[i]);
            same = false;
        }
    for (int i = 0; i < 9; i++)
        if (want->sys[i] != got->sys[i]) {
            printf("  sys%d is %#" PRIx64 ", want %#" PRIx64 "\n", i, got->sys[i], want->sys[i]);
            same = false;
        }
    if (want->resv_addr != got->resv_addr || (want->resv_addr != ENV_NO_RESV && want->resv_val != got->resv_val)) {
        printf("  reservation differs\n");
        same = false;
    }
    if (want->flags != got->flags) {
        printf("  fp flags are %#x, want %#x\n", got->flags, want->flags);
        same = false;
    }
    if (want->fault != got->fault || want->why != got->why || want->pc != got->pc) {
        printf("  left with %d at %#" PRIx64 " fault %d, want %d at %#" PRIx64 " fault %d\n", got->why, got->pc, got->fault,
               want->why, want->pc, want->fault);
        same = false;
    }
    for (int i = 0; i < RAM_SIZE && memcmp(want->ram, got->ram, RAM_SIZE); i++)
        if (want->ram[i] != got->ram[i]) {
            printf("  ram[%#x] is %#x, want %#x\n", i, got->ram[i], want->ram[i]);
            same = false;
            break;
        }
    return same;
}

/* A group was refused: the same unit without groups, from the mark at env->pc. */
__attribute__((unused)) static IrExit machine_go_on(Machine *m, const IrUnit *u)
{
    machine_ungrouped = true;
    bool made = machine_emit(m, u);
    machine_ungrouped = false;
    for (int i = 0; made && i < m->code.nmarks; i++)
        if (m->code.marks[i].pc_delta == (uint16_t)(m->env->pc - u->pc))
            return x64_enter(m->stubs, m->env, m->rx + m->code.marks[i].off);
    return EXIT_UNGROUPED;
}

/* Runs u by both engines from `start`; true if they agree. EXIT_LINK counts as EXIT_NEXT. */
__attribute__((unused)) static bool machine_agree(Machine *m, const IrUnit *u, const State *start)
{
    static State want, got;
    void *entry;
    char *text;

    state_set(start, m->env);
    want.why = ir_interp(u, m->env, 0, INT64_MAX);
    state_get(&want, m->env);
    state_set(start, m->env);
    machine_reset(m);
    entry = machine_emit(m, u);
    if (!entry) {
        printf("  the unit was not emitted\n");
        return false;
    }
    m->env->jit_rsp = m->env->jit_rsp_base;
    hooks_refuse = true;
    got.why = x64_enter(m->stubs, m->env, entry);
    hooks_refuse = false;
    if (got.why == EXIT_UNGROUPED)
        got.why = machine_go_on(m, u);
    if (got.why == EXIT_LINK)
        got.why = EXIT_NEXT;
    if (got.why == EXIT_FAULT)
        m->env->pc = machine_fault_pc(m, u);
    state_get(&got, m->env);
    if (state_same(&want, &got))
        return true;
    text = ir_print(u);
    printf("%s", text);
    g_free(text);
    return false;
}

#endif
