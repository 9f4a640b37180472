/* SPDX-License-Identifier: MIT */
/*
 * The barest RISC-V machine that instruction tests need: one hart in U mode over
 * a flat image of guest memory, run by the IR interpreter or by generated code.
 * No devices, no page tables, no accelerator: what is tested is translation and
 * the two engines. Addresses outside the image are page faults.
 */
#ifndef TESTS_RAND_MACHINE_H
#define TESTS_RAND_MACHINE_H

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "system/mem.h"
#include "system/vmconfig.h"
#include "target/riscv/front.h"
#include "target/riscv/insn.h"
#include "target/riscv/priv.h"
#include "tcg/x64/x64.h"

enum { PAGE = 4096, MACHINE_UNITS = 4096, MACHINE_EXITS = 1 << 16, CODE_SIZE = 32 << 20 };

typedef struct MachineUnit {
    uint64_t pc, mode;
    IrUnit ir;
    IrProg *prog;                   /* interpreter */
    const void *host;               /* generated code, NULL: not made */
    X64Site *sites; int nsites;
} MachineUnit;

typedef struct Machine {
    Vcpu hart;
    Env *env;
    RiscvState *s;
    uint64_t base, size;            /* guest addresses of the image */
    uint64_t readonly;              /* how many bytes at its start (the code) can't be written */
    uint8_t *image;
    uint64_t seed;                  /* for which pages get inline table entries */
    TranslateLimits limits;
    bool check;                     /* ir_check every unit */
    MachineUnit units[MACHINE_UNITS]; int nunits;
    /* generated code */
    X64Stubs *stubs;
    X64Emitter *emitter;
    uint8_t *code;
    CodeArea hot, cold, hot_start, cold_start;
    struct { uint64_t target; uint8_t *patch; bool cross; } exits[MACHINE_EXITS]; int nexits;
    bool jit_ready;
} Machine;

/* How a run ended: at an exception. */
typedef struct Stop { uint64_t pc, cause, tval; bool stuck; } Stop;

/* ---- memory */

static Machine *machine_of(Env *env) { return (Machine *)((char *)env->vcpu - offsetof(Machine, hart)); }

/* Host address of [va, va + size), or NULL with the fault raised. */
static uint8_t *machine_at(Env *env, uint64_t va, MemOp m, bool store)
{
    Machine *k = machine_of(env);

    if (m & MO_ALIGN && va & (mo_size(m) - 1)) {
        riscv_raise(env, store ? EXC_STORE_MISALIGNED : EXC_LOAD_MISALIGNED, va);
        return NULL;
    }
    if (va - k->base > k->size - mo_size(m) || (store && va - k->base < k->readonly)) {
        riscv_raise(env, store ? EXC_STORE_PAGE : EXC_LOAD_PAGE, va);
        return NULL;
    }
    /* some pages become known to inline accesses, some don't */
    if (rv_random_bits(&k->seed) & 1) {
        TlbEntry *e = &env->tlb[mo_ctx(m)][tlb_index(va)];
        e->rt = va & ~(uint64_t)(PAGE - 1);
        e->wt = e->rt - k->base < k->readonly ? TLB_INVALID(tlb_index(va)) : e->rt;
        e->addend = (uint64_t)(uintptr_t)(k->image - k->base);
    }
    return k->image + (va - k->base);
}

static uint64_t read_value(const void *p, MemOp m)
{
    uint64_t v = 0;

    memcpy(&v, p, mo_size(m));
    return v;
}

static uint64_t machine_load(Env *env, uint64_t va, MemOp m)
{
    uint8_t *p = machine_at(env, va, m, false);
    return p ? read_value(p, m) : 0;
}

static void machine_store(Env *env, uint64_t va, uint64_t v, MemOp m)
{
    uint8_t *p = machine_at(env, va, m, true);
    if (p)
        memcpy(p, &v, mo_size(m));
}

static int64_t sign_extend(uint64_t v, MemOp m)
{
    unsigned shift = 64 - 8 * mo_size(m);
    return (int64_t)(v << shift) >> shift;
}

static uint64_t amo_result(uint64_t old, uint64_t v, MemOp m, IrAmo op)
{
    uint64_t mask = mo_size(m) == 8 ? UINT64_MAX : (1ull << 8 * mo_size(m)) - 1;
    int64_t so = sign_extend(old, m), sv = sign_extend(v, m);

    v &= mask;
    switch (op) {
    case AMO_SWAP: return v;
    case AMO_ADD:  return old + v;
    case AMO_AND:  return old & v;
    case AMO_OR:   return old | v;
    case AMO_XOR:  return old ^ v;
    case AMO_MINS: return so < sv ? old : v;
    case AMO_MAXS: return so > sv ? old : v;
    case AMO_MINU: return old < v ? old : v;
    default:       return old > v ? old : v;
    }
}

static uint64_t machine_amo(Env *env, uint64_t va, uint64_t v, MemOp m, IrAmo op)
{
    uint8_t *p = machine_at(env, va, m, true);
    if (!p)
        return 0;
    uint64_t old = read_value(p, m);
    v = amo_result(old, v, m, op);
    memcpy(p, &v, mo_size(m));
    return old;
}

static uint64_t machine_cas(Env *env, uint64_t va, uint64_t expect, uint64_t v, MemOp m)
{
    uint8_t *p = machine_at(env, va, m, true);
    if (!p)
        return 0;
    uint64_t old = read_value(p, m);
    if (old == read_value(&expect, m))
        memcpy(p, &v, mo_size(m));
    return old;
}

static uint64_t machine_lr(Env *env, uint64_t va, MemOp m)
{
    uint8_t *p = machine_at(env, va, m, false);
    if (!p)
        return 0;
    env->resv_addr = va;
    env->resv_val = read_value(p, m);
    env->resv_size = mo_size(m);
    return env->resv_val;
}

static uint64_t machine_sc(Env *env, uint64_t va, uint64_t v, MemOp m)
{
    uint8_t *p = machine_at(env, va, m, true);
    if (!p)
        return 0;
    bool ok = env->resv_addr == va && env->resv_size == mo_size(m) && env->resv_val == read_value(p, m);
    if (ok)
        memcpy(p, &v, mo_size(m));
    env->resv_addr = ENV_NO_RESV;
    return !ok;
}

static uint64_t machine_group(Env *env, uint64_t va, uint64_t span, MemOp m, bool write)
{
    Machine *k = machine_of(env);
    if ((va & (PAGE - 1)) + span > PAGE || rv_random_bits(&k->seed) % 4 == 0)
        return 0;
    (void)m;
    if (va - k->base > k->size - span || (write && va - k->base < k->readonly))
        return 0;
    return (uint64_t)(uintptr_t)k->image + (va - k->base);
}

static const EnvOps machine_memory = {
    .load = machine_load, .store = machine_store, .amo = machine_amo, .cas = machine_cas,
    .lr = machine_lr, .sc = machine_sc, .group = machine_group,
};

/* ---- what the privileged side tells the memory system */
static void machine_ignore(Vcpu *v) { (void)v; }
static void machine_mode_changed(Vcpu *v) { v->env->ctxkey = v->env->mode << 32; }
static void machine_ignore_ctx(Vcpu *v, unsigned c) { (void)v, (void)c; }
static void machine_ignore_asid(Vcpu *v, int a, bool g) { (void)v, (void)a, (void)g; }
static void machine_ignore_page(Vcpu *v, uint64_t va, int a) { (void)v, (void)va, (void)a; }
static const MmuOps machine_mmu = {
    .flush_all = machine_ignore, .flush_ctx = machine_ignore_ctx, .flush_asid = machine_ignore_asid,
    .flush_page = machine_ignore_page, .mode_changed = machine_mode_changed,
    .address_space_changed = machine_ignore, .code_fence = machine_ignore,
};

extern const Isa isa_riscv64;

/* ---- life */

/* A machine lives as long as the program: no leaks to be told of by a sanitizer. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

/* A hart with every extension that can be translated, FS dirty, in U mode. The image is zeros. */
static Machine *machine_new(uint64_t base, uint64_t size)
{
    static VmConfig config = { .smp = 1 };
    Machine *k = g_new0(Machine, 1);

    mmu_ops = &machine_mmu;
    k->base = base;
    k->size = size;
    k->seed = 88172645463325252;
    k->limits = (TranslateLimits){ .max_insns = 512, .max_blocks = 64 };
    k->check = true;
    k->image = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    k->env = aligned_alloc(PAGE, (sizeof(Env) + PAGE - 1) & ~(size_t)(PAGE - 1));
    memset(k->env, 0, sizeof(Env));
    env_init(k->env);
    k->env->vcpu = &k->hart;
    k->hart = (Vcpu){ .vm = vm_new(&config), .isa = &isa_riscv64, .env = k->env };
    Err *e = isa_riscv64.vcpu_new(&k->hart, "max", NULL);
    if (e) {
        err_report(e);
        exit(1);
    }
    isa_riscv64.reset(&k->hart);
    k->s = k->hart.state;
    k->s->prv = PRV_U;
    k->s->exts = ~(1ull << RV_V | 1ull << RV_H);
    k->env->ops = &machine_memory;
    k->env->sys[SYS_MSTATUS] |= MSTATUS_FS | MSTATUS_SD;
    riscv_update_mode(k->s);
    return k;
}

/* FS: 0 off, 2 clean, 3 dirty */
static void machine_set_fs(Machine *k, unsigned fs)
{
    uint64_t m = k->env->sys[SYS_MSTATUS] & ~(MSTATUS_FS | MSTATUS_SD);

    k->env->sys[SYS_MSTATUS] = m | (uint64_t)fs << 13 | (fs == 3 ? MSTATUS_SD : 0);
    riscv_update_mode(k->s);
}

static void machine_set_fcsr(Machine *k, unsigned v)
{
    machine_set_fs(k, 3);
    riscv_h_csr_write(k->env, 0x003, v, 0);
}

/* Forgets all units: the image has new code. */
static void machine_drop_units(Machine *k)
{
    for (int n = 0; n < k->nunits; n++) {
        ir_interp_free(k->units[n].prog);
        g_free(k->units[n].sites);
        k->units[n].prog = NULL;
        k->units[n].sites = NULL;
        k->units[n].nsites = 0;
    }
    k->nunits = 0;
    k->nexits = 0;
    k->hot = k->hot_start;
    k->cold = k->cold_start;
    memset(k->env->jc, 0x55, sizeof(k->env->jc));
    k->env->jit_rsp = k->env->jit_rsp_base;
}

/* The unit at pc under the mode that holds now; made if it isn't there. */
static MachineUnit *machine_unit(Machine *k, uint64_t pc, uint64_t extra_mode)
{
    uint64_t mode = k->env->mode | extra_mode;

    for (int n = 0; n < k->nunits; n++)
        if (k->units[n].pc == pc && k->units[n].mode == mode)
            return &k->units[n];
    if (k->nunits == MACHINE_UNITS || pc - k->base >= k->size)
        return NULL;
    MachineUnit *u = &k->units[k->nunits++];
    uint64_t page = (pc - k->base) & ~(uint64_t)(PAGE - 1);
    unsigned lo, hi;

    if (!u->ir.guest)
        ir_init(&u->ir, &riscv_ir);
    u->pc = pc;
    u->mode = mode;
    u->host = NULL;
    translate_unit(&k->hart, &u->ir, pc, u->mode, k->image + page,
                   page + PAGE < k->size ? k->image + page + PAGE : NULL, k->limits, &lo, &hi);
    Err *e = k->check ? ir_check(&u->ir) : NULL;
    if (e) {
        char *text = ir_print(&u->ir);
        err_report(e);
        fprintf(stderr, "%s", text);
        g_free(text);
        exit(1);
    }
    return u;
}

/* ---- engines: run from env->pc until an exception is raised */

typedef IrExit EngineRun(Machine *k, MachineUnit *u);

static IrExit run_interp(Machine *k, MachineUnit *u)
{
    if (!u->prog)
        u->prog = ir_interp_prepare(&u->ir);
    return ir_interp_run(u->prog, k->env, 0, INT64_MAX);
}

#include "tests/rand/machine-jit.h"

static Stop machine_run(Machine *k, EngineRun *engine, uint64_t pc)
{
    Env *env = k->env;
    Stop stop = { 0 };

    env->pc = pc;
    env->fault = 0;
    env->resv_addr = ENV_NO_RESV;
    for (int n = 0; n < 100000; n++) {
        MachineUnit *u = machine_unit(k, env->pc, 0);
        if (!u) {
            stop.stuck = true;
            break;
        }
        IrExit why = engine(k, u);
        if (why == EXIT_POLL)
            __atomic_store_n(&env->poll, 0, __ATOMIC_SEQ_CST);
        if (why != EXIT_FAULT)
            continue;
        stop = (Stop){ env->pc, k->s->exc_cause, k->s->exc_tval, false };
        env->fault = 0;
        return stop;
    }
    stop.stuck = true;
    return stop;
}

#endif
