/* SPDX-License-Identifier: MIT */
/*
 * A toy guest on the real translator, for tests of accel/: 16 registers, 4-byte
 * instructions, page tables that are an array in C. r0 is an ordinary register.
 *
 *   li   rd, imm16          rd = imm16
 *   addi rd, rs, imm8       rd = rs + sign-extended imm8
 *   ld   rd, rs, imm8       rd = 64 bits at rs + imm8
 *   st   rd, rs, imm8       64 bits at rs + imm8 = rd
 *   sth  rd, rs, imm8       32 bits: an instruction can be patched
 *   amo  rd, rs             old value to rd; 64 bits at rs += 1
 *   bnz  rd, imm16          if rd, go to pc + 4 * imm16
 *   jr   rs                 go to rs
 *   call imm16              r15 = pc + 4; go to pc + 4 * imm16
 *   ret                     go to r15
 *   hook rd, imm8           rd = toy.hook(v, imm8)
 *   fence                   leaves by EXIT_FLUSH
 *   halt                    waits; nothing wakes it but toy.wake
 *   par  rd, imm32          rd += imm32, which is in 4 bytes more: it may cross pages
 */
#ifndef TESTS_UNIT_ACCEL_TOY_H
#define TESTS_UNIT_ACCEL_TOY_H

#include <glib.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "accel/jit/jit.h"
#include "accel/tcg/mmu-priv.h"
#include "system/vmconfig.h"

enum { TOY_LI = 1, TOY_ADDI, TOY_LD, TOY_ST, TOY_STH, TOY_AMO, TOY_BNZ, TOY_JR, TOY_CALL, TOY_RET, TOY_HOOK,
       TOY_FENCE, TOY_HALT, TOY_PAR };

enum {
    TOY_RAM = 4 << 20, TOY_PAGES = TOY_RAM >> 12,
    TOY_ROM_AT = 0x10000000, TOY_ROM = 0x4000, TOY_IO_AT = 0x20000000, TOY_IO = 0x2000,
    TOY_VPAGES = 256, TOY_ASIDS = 8,
    TOY_CTX = 1,                        /* context of its data and fetches; 2 is one more */
    TOY_G = 8, TOY_LARGE = 16,          /* flags of a Pte, beside PageProt */
};

/* Beyond 32 bits, as programs are: code with guest addresses in it can be copied. */
#define TOY_VA UINT64_C(0x5040000000)

typedef struct ToyPte { uint64_t pa; uint8_t flags; } ToyPte;

typedef struct ToyState {
    Vcpu *v;
    bool virt;
    unsigned asid;
    uint64_t vector;                    /* where exceptions go */
    /* the last exception */
    uint64_t va, epc;
    Access access;
    enum MemFault why;
    _Atomic unsigned faults;
    _Atomic bool wake;
} ToyState;

static struct Toy {
    Vm *vm;
    VmConfig config;
    RamBlock *ram, *rom_ram;
    Region ram_region, rom, io;
    Space *space;
    uint64_t io_val; unsigned io_reads, io_writes;
    ToyPte pte[TOY_ASIDS][TOY_VPAGES];  /* global ones are the same in all */
    uint64_t (*hook)(Vcpu *v, unsigned arg);
} toy;

static inline ToyState *toy_state(Vcpu *v) { return v->state; }

/* ---- the front end */

static uint64_t toy_h_hook(Env *env, uint64_t arg, uint64_t b, uint64_t c)
{
    return toy.hook ? toy.hook(env->vcpu, arg) : 0;
}

#define TOY_SLOT(n, p) { .name = "r" #n, .type = IR_I64, .bank = BANK_GPR, .off = offsetof(Env, gpr[n]), .pin = p }
static const IrSlot toy_slots[] = {
    TOY_SLOT(0, 0), TOY_SLOT(1, 1), TOY_SLOT(2, 2), TOY_SLOT(3, 3), TOY_SLOT(4, 4), TOY_SLOT(5, 5), TOY_SLOT(6, 6),
    TOY_SLOT(7, -1), TOY_SLOT(8, -1), TOY_SLOT(9, -1), TOY_SLOT(10, -1), TOY_SLOT(11, -1), TOY_SLOT(12, -1),
    TOY_SLOT(13, -1), TOY_SLOT(14, 7), TOY_SLOT(15, 8),
};
static const IrHelper toy_helpers[] = {
    { "hook", toy_h_hook, 1, HELPER_FAULTS | HELPER_WRITES | HELPER_READS | HELPER_OUTSIDE },
};
static const IrGuest toy_guest = { .name = "toy", .slots = toy_slots, .nslots = 16, .helpers = toy_helpers, .nhelpers = 1 };

static inline uint32_t toy_insn(unsigned op, unsigned rd, unsigned rs, int imm)
{
    return op | rd << 8 | rs << 12 | (uint32_t)imm << 16;
}

static StepResult toy_step(Tr *t)
{
    uint32_t w = 0;
    IrUnit *u = t->ir;

    if (t->avail < 4)
        return STEP_NEED_BYTES;
    memcpy(&w, t->code, 4);
    unsigned op = w & 255, len = op == TOY_PAR ? 8 : 4;
    if (t->avail < len)
        return STEP_NEED_BYTES;
    IrRef rd = ir_slot(w >> 8 & 15), rs = ir_slot(w >> 12 & 15);
    int64_t imm = (int16_t)(w >> 16);
    MemOp m = MO_64 | TOY_CTX << MO_CTX_SHIFT;

    ir_mark(u, t->pc, len);
    t->next = t->pc + len;
    switch (op) {
    case TOY_LI:   ir_op1(u, IR_mov, IR_I64, rd, ir_imm(u, imm & 0xffff)); break;
    case TOY_ADDI: ir_op2(u, IR_add, IR_I64, rd, rs, ir_imm(u, imm)); break;
    case TOY_PAR:
        memcpy(&w, t->code + 4, 4);
        ir_op2(u, IR_add, IR_I64, rd, rd, ir_imm(u, w));
        break;
    case TOY_LD:   ir_ld(u, IR_I64, rd, rs, imm, m); break;
    case TOY_ST:   ir_st(u, IR_I64, rs, imm, rd, m); break;
    case TOY_STH:  ir_st(u, IR_I32, rs, imm, rd, (m & ~MO_SIZE) | MO_32); break;
    case TOY_AMO:  ir_amo(u, IR_I64, AMO_ADD, rd, rs, ir_imm(u, 1), m); break;
    case TOY_BNZ:
        if (imm <= 0)
            ir_poll(u, t->pc);
        ir_br(u, IR_I64, CC_NE, rd, ir_imm(u, 0), t->pc + 4 * imm);
        break;
    case TOY_JR:   ir_goind(u, IND_JUMP, rs, 0); t->ended = true; break;
    case TOY_CALL:
        ir_op1(u, IR_mov, IR_I64, ir_slot(15), ir_pcimm(u, t->next));
        ir_callpc(u, t->pc + 4 * imm, t->next);
        t->ended = true;
        break;
    case TOY_RET:  ir_goind(u, IND_RET, ir_slot(15), 0); t->ended = true; break;
    case TOY_HOOK: ir_call(u, 0, rd, ir_imm(u, imm), ir_ref(IR_NONE, 0), ir_ref(IR_NONE, 0)); break;
    case TOY_FENCE: ir_exit(u, EXIT_FLUSH, t->next); t->ended = true; break;
    default:       ir_exit(u, EXIT_HALT, t->next); t->ended = true; break;
    }
    return STEP_OK;
}

/* ---- memory and life */

static bool toy_walk(Vcpu *v, uint64_t va, Access a, unsigned ctx, Page *out)
{
    static const uint8_t need[] = { PROT_R, PROT_W, PROT_X };
    ToyState *s = toy_state(v);
    uint64_t n = (va - TOY_VA) >> 12;

    if (!s->virt) {
        *out = (Page){ .pa = va & ~4095ull, .order = 30, .prot = 7 };
        return true;
    }
    if (n >= TOY_VPAGES)
        return false;
    const ToyPte *p = &toy.pte[s->asid][n];
    *out = (Page){ .pa = p->pa, .order = p->flags & TOY_LARGE ? 16 : 12, .prot = p->flags & 7, .global = p->flags & TOY_G };
    return p->flags & need[a];
}

static void toy_mem_fault(Vcpu *v, uint64_t va, Access a, unsigned ctx, MemOp m, enum MemFault why)
{
    ToyState *s = toy_state(v);

    s->va = va;
    s->access = a;
    s->why = why;
    v->env->fault = 1;
}

static void toy_enter_fault(Vcpu *v, uint64_t pc)
{
    ToyState *s = toy_state(v);

    s->epc = pc;
    atomic_fetch_add(&s->faults, 1);
    v->env->fault = 0;
    v->env->pc = s->vector;
}

static Err *toy_vcpu_new(Vcpu *v, const char *cpu, const char *opts)
{
    ToyState *s = g_new0(ToyState, 1);

    s->v = v;
    v->state = s;
    return NULL;
}

static void toy_vcpu_free(Vcpu *v) { g_free(v->state); }
static void toy_reset(Vcpu *v)
{
    v->env->mode = (v->env->mode & MODE_ONE_VCPU) | TOY_CTX;
    mmu_ops->mode_changed(v);
}
static unsigned toy_fetch_ctx(uint64_t mode) { return mode & MODE_CTX; }
static bool toy_irq(Vcpu *v) { atomic_store(&toy_state(v)->wake, false); return false; }
static bool toy_wakes(Vcpu *v) { return atomic_load(&toy_state(v)->wake); }
static unsigned toy_asid(Vcpu *v, unsigned ctx) { return toy_state(v)->asid; }
static bool toy_virtual(Vcpu *v, unsigned ctx) { return toy_state(v)->virt; }

static const Isa toy_isa = {
    .name = "toy", .ir = &toy_guest, .vcpu_new = toy_vcpu_new, .vcpu_free = toy_vcpu_free, .reset = toy_reset,
    .step = toy_step, .fetch_ctx = toy_fetch_ctx, .max_insn = 8, .walk = toy_walk, .mem_fault = toy_mem_fault,
    .enter_fault = toy_enter_fault, .irq = toy_irq, .wakes = toy_wakes, .asid = toy_asid, .ctx_virtual = toy_virtual,
};

/* ---- the machine */

static uint64_t toy_io_read(void *dev, uint64_t off, unsigned size)
{
    toy.io_reads++;
    return toy.io_val >> (off & 7) * 8;
}
static void toy_io_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
    toy.io_writes++;
    toy.io_val = val;
}
static const IoOps toy_io_ops = { toy_io_read, toy_io_write, 0, 0 };

static inline void toy_must(Err *e)
{
    if (e) {
        err_report(e);
        abort();
    }
}

static inline void toy_start(Engine engine, int smp, uint64_t tb_size)
{
    memset(&toy, 0, sizeof(toy));
    toy.config = (VmConfig){ .program = "test", .smp = smp, .engine = engine, .tb_size = tb_size };
    toy.vm = vm_new(&toy.config);
    toy.vm->isa = &toy_isa;
    toy_must(ram_new(toy.vm, "ram", TOY_RAM, &toy.ram));
    toy_must(ram_new(toy.vm, "rom", TOY_ROM, &toy.rom_ram));
    toy.ram_region = (Region){ .name = "ram", .kind = REGION_RAM, .size = TOY_RAM, .ram = toy.ram };
    toy.rom = (Region){ .name = "rom", .kind = REGION_ROM, .size = TOY_ROM, .ram = toy.rom_ram };
    toy.io = (Region){ .name = "io", .kind = REGION_IO, .size = TOY_IO, .ops = &toy_io_ops };
    vm_lock(toy.vm);
    toy_must(space_map(toy.vm->mem, 0, &toy.ram_region, 0));
    toy_must(space_map(toy.vm->mem, TOY_ROM_AT, &toy.rom, 0));
    toy_must(space_map(toy.vm->mem, TOY_IO_AT, &toy.io, 0));
    toy_must(accel_start(toy.vm));
    vm_unlock(toy.vm);
    for (int i = 0; i < toy.vm->nvcpus; i++)
        atomic_store(&toy.vm->vcpus[i]->halted, true);
}

static inline void toy_end(void)
{
    vm_lock(toy.vm);
    vm_stop(toy.vm, RUN_SHUTDOWN);
    vm_unlock(toy.vm);
    accel_stop(toy.vm);
    vm_free(toy.vm);
}

/* A program at guest physical `at`. */
typedef struct ToyCode { uint64_t at; } ToyCode;
static inline void toy_put(ToyCode *c, unsigned op, unsigned rd, unsigned rs, int imm)
{
    uint32_t w = toy_insn(op, rd, rs, imm);

    memcpy(toy.ram->host + c->at, &w, 4);
    c->at += op == TOY_PAR ? 8 : 4;
}

static inline bool toy_wait_halted(Vcpu *v, int ms)
{
    for (int i = 0; i < ms * 10; i++) {
        if (atomic_load(&v->halted))
            return true;
        g_usleep(100);
    }
    return false;
}

/* Before vm_start: v begins at pc; the others stay halted. */
static inline void toy_begin_at(Vcpu *v, uint64_t pc)
{
    v->env->pc = pc;
    atomic_store(&v->halted, false);
}

static inline void toy_run_all(void)
{
    vm_lock(toy.vm);
    vm_start(toy.vm);
    vm_unlock(toy.vm);
}

static inline void toy_stop_all(void)
{
    vm_lock(toy.vm);
    vm_stop(toy.vm, RUN_PAUSED);
    vm_unlock(toy.vm);
}

/* xorshift64 */
static uint64_t toy_seed;
static inline uint64_t toy_rand(void)
{
    toy_seed ^= toy_seed << 13;
    toy_seed ^= toy_seed >> 7;
    return toy_seed ^= toy_seed << 17;
}
static inline void toy_randomize(const char *env_name)
{
    const char *s = getenv(env_name);

    toy_seed = s ? strtoull(s, NULL, 0) : (uint64_t)g_get_real_time() | 1;
    printf("%s=%#" PRIx64 "\n", env_name, toy_seed);
}

#endif
