/* SPDX-License-Identifier: MIT */
/*
 * The code that is emitted once, at the start of the code cache: entering and
 * leaving, slow paths of memory operations, thunks of the guest's helpers.
 *
 * Two stacks. C runs on the thread's stack; generated code on the JIT stack,
 * which holds pairs {host return address, guest link address} and the return
 * addresses of stubs. A stub that calls C pops its return address into
 * env->site, saves env->jit_rsp, and takes both from there when C returns: so C
 * may set env->jit_rsp to env->jit_rsp_base (to drop the return stack) or
 * exchange it for another stack's while it runs.
 *
 * The JIT stack as its owner must make it: env->jit_rsp_base is 16-aligned; the 4
 * words from there up hold sentinels (odd, so no link address); below it is the
 * room; below that a guard page. A fault on the guard page is an overflow: its
 * handler sets rsp = jit_rsp_base + (rsp & 8) and resumes the instruction, which
 * is a push or a call and has not changed anything yet. Signal handlers need an
 * alternate stack (SA_ONSTACK), for rsp may be near the guard page.
 */
#include <cpuid.h>
#include <glib.h>

#include "tcg/ir/eval.h"
#include "tcg/x64/x64-priv.h"

const int8_t x64_gpr_pin[GPR_PINS] = { RBX, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* The pins that C functions don't keep. */
static bool lost_in_calls(int reg)
{
    return reg == RSI || reg == RDI || (reg >= R8 && reg <= R11);
}

static SlotLoc slot_loc(const IrSlot *s)
{
    SlotLoc l = { .reg = -1, .xmm = -1, .disp = s->off - ENV_BIAS };

    if (s->bank == BANK_GPR && s->pin >= 0 && s->pin < GPR_PINS)
        l.reg = x64_gpr_pin[s->pin];
    if (s->bank == BANK_FPR && s->pin >= 0 && s->pin < FPR_PINS)
        l.xmm = FIRST_FPR_PIN + s->pin;
    l.is32 = s->type == IR_I32 && l.reg < 0;
    return l;
}

/* ---- saving and loading pins */

enum { ALL_PINS, LOST_PINS };

static void save_pins(Asm *a, const X64Stubs *s, int which)
{
    for (int i = 0; i < s->guest->nslots; i++) {
        SlotLoc l = s->slot[i];

        if (l.reg >= 0 && (which == ALL_PINS || lost_in_calls(l.reg)))
            asm_store(a, 3, rm_mem(RBP, l.disp), l.reg);
        if (l.xmm >= 0)
            asm_vmovq_to(a, rm_mem(RBP, l.disp), l.xmm);
    }
}

static void load_pins(Asm *a, const X64Stubs *s, int which)
{
    for (int i = 0; i < s->guest->nslots; i++) {
        SlotLoc l = s->slot[i];

        if (l.reg >= 0 && (which == ALL_PINS || lost_in_calls(l.reg)))
            asm_mov(a, 1, l.reg, rm_mem(RBP, l.disp));
        if (l.xmm >= 0)
            asm_vmovq(a, l.xmm, rm_mem(RBP, l.disp));
    }
}

/* ---- entering and leaving */

static const int8_t callee_saved[] = { RBP, RBX, R12, R13, R14, R15 };

/* enter(rdi = env, rsi = host code): 6 pushes and 8 bytes keep the C stack 16-aligned for calls from stubs. */
static void emit_enter(Asm *a, X64Stubs *s)
{
    s->enter = (IrExit (*)(Env *, const void *))(a->p + s->delta);
    for (unsigned i = 0; i < G_N_ELEMENTS(callee_saved); i++)
        asm_push(a, callee_saved[i]);
    asm_alu_imm(a, ALU_SUB, 1, rm_reg(RSP), 8);
    asm_lea(a, 1, RBP, rm_mem(RDI, ENV_BIAS));
    asm_store(a, 3, ENV_RM(host_rsp), RSP);
    asm_stmxcsr(a, ENV_RM(mxcsr_host));
    asm_ldmxcsr(a, ENV_RM(mxcsr_guest));
    asm_store_imm(a, 0, ENV_RM(in_jit), 1);
    asm_mov(a, 1, RAX, rm_reg(RSI));
    load_pins(a, s, ALL_PINS);
    asm_mov(a, 1, RSP, ENV_RM(jit_rsp));
    asm_jmp_rm(a, rm_reg(RAX));
}

/* eax = reason; pins are saved, rsp is the C stack, jit_rsp is stored. */
static uint8_t *emit_return(Asm *a)
{
    uint8_t *at = a->p;

    asm_stmxcsr(a, ENV_RM(mxcsr_guest));
    asm_ldmxcsr(a, ENV_RM(mxcsr_host));
    asm_store_imm(a, 0, ENV_RM(in_jit), 0);
    asm_alu_imm(a, ALU_ADD, 1, rm_reg(RSP), 8);
    for (int i = (int)G_N_ELEMENTS(callee_saved) - 1; i >= 0; i--)
        asm_pop(a, callee_saved[i]);
    asm_ret(a);
    return at;
}

static void emit_leave(Asm *a, X64Stubs *s, const uint8_t *ret)
{
    uint8_t *common = a->p;

    save_pins(a, s, ALL_PINS);
    asm_store(a, 3, ENV_RM(jit_rsp), RSP);
    asm_mov(a, 1, RSP, ENV_RM(host_rsp));
    asm_jmp(a, ret);

    for (int why = 0; why < EXIT_LINK; why++) {
        s->leave[why] = a->p;
        asm_store(a, 3, ENV_RM(pc), RAX);
        asm_mov_imm(a, RAX, why);
        asm_jmp(a, common);
    }
    s->link = a->p;
    asm_store(a, 3, ENV_RM(exit_slot), RAX);
    asm_store(a, 3, ENV_RM(pc), RCX);
    asm_mov_imm(a, RAX, EXIT_LINK);
    asm_jmp(a, common);
}

/* ---- indirect jumps: rax = guest address */

static void emit_ind(Asm *a, X64Stubs *s)
{
    uint8_t *polled, *miss;

    s->ind = a->p;
    asm_cmp8_imm(a, ENV_RM(poll), 0);
    polled = asm_jcc32(a, X_NE);
    asm_rorx(a, 1, RCX, rm_reg(RAX), JC_BITS);
    asm_alu(a, ALU_XOR, 0, RCX, rm_reg(RAX));
    asm_alu_imm(a, ALU_AND, 0, rm_reg(RCX), (JC_SIZE - 1) << 1);
    asm_mov(a, 1, RDX, ENV_RM(ctxkey));
    asm_alu(a, ALU_XOR, 1, RDX, rm_reg(RAX));
    asm_alu(a, ALU_CMP, 1, RDX, rm_sib(RBP, RCX, 3, ENV_DISP(jc) + (int)offsetof(JcEntry, key)));
    miss = asm_jcc32(a, X_NE);
    asm_jmp_rm(a, rm_sib(RBP, RCX, 3, ENV_DISP(jc) + (int)offsetof(JcEntry, host)));
    asm_set_rel32(polled, s->leave[EXIT_POLL]);
    asm_set_rel32(miss, s->leave[EXIT_NEXT]);
    s->ind_miss = s->leave[EXIT_NEXT];
}

/* ---- calls of C */

/*
 * The parts before and after the call of a C function: `which` pins are saved.
 * Between them rsp is the C stack; rax, rcx, rdx are as at the stub's entry.
 */
static void begin_c(Asm *a, const X64Stubs *s, int which)
{
    asm_pop_mem(a, ENV_RM(site));
    asm_store(a, 3, ENV_RM(jit_rsp), RSP);
    save_pins(a, s, which);
    asm_mov(a, 1, RSP, ENV_RM(host_rsp));
}

static void call_c(Asm *a, uintptr_t fn)
{
    asm_mov_imm(a, R11, fn);
    asm_call_rm(a, rm_reg(R11));
}

static void end_c(Asm *a, const X64Stubs *s, int which)
{
    asm_mov(a, 1, RSP, ENV_RM(jit_rsp));
    asm_push_mem(a, ENV_RM(site));
    asm_store_imm(a, 3, ENV_RM(site), 0);
    load_pins(a, s, which);
    asm_ret(a);
}

/* env->fault: leave, with env->site standing. Not reached: falls through when there is none. */
static void check_fault(Asm *a, const uint8_t *leave_fault)
{
    asm_cmp8_imm(a, ENV_RM(fault), 0);
    asm_jcc(a, X_NE, leave_fault);
}

static uint8_t *emit_leave_fault(Asm *a, const uint8_t *ret)
{
    uint8_t *at = a->p;

    asm_mov_imm(a, RAX, EXIT_FAULT);
    asm_jmp(a, ret);
    return at;
}

/*
 * Slow paths of memory operations: rax = va, ecx = MemOp. All pins are saved
 * first, so that the hook sees the guest's precise state; MXCSR stays the guest's.
 *   ld, lr   result in rax
 *   st, sc   rdx = the value; sc: rax = 0 or 1
 *   amo      rdx = the operand, ecx = MemOp | IrAmo << 24
 *   cas      rdx = what is expected, rcx = the new value, MemOp in spill[SPILL_ARG]
 */
static uint8_t *emit_mem(Asm *a, X64Stubs *s, uintptr_t fn, int args, const uint8_t *leave_fault)
{
    uint8_t *at = a->p;

    begin_c(a, s, ALL_PINS);
    asm_lea(a, 1, RDI, rm_mem(RBP, -ENV_BIAS));
    asm_mov(a, 1, RSI, rm_reg(RAX));
    if (args == 2)
        asm_mov(a, 0, RDX, rm_reg(RCX));
    if (args == 4) {            /* amo */
        asm_mov(a, 0, R8, rm_reg(RCX));
        asm_shift_imm(a, SH_SHR, 0, rm_reg(R8), 24);
        asm_alu_imm(a, ALU_AND, 0, rm_reg(RCX), 0xffffff);
    }
    if (args == 5)              /* cas */
        asm_mov(a, 0, R8, env_spill(SPILL_ARG));
    call_c(a, fn);
    check_fault(a, leave_fault);
    end_c(a, s, LOST_PINS);
    return at;
}

static uint8_t *emit_helper(Asm *a, const X64Stubs *s, const IrHelper *h, const uint8_t *leave_fault)
{
    int seen = h->flags & (HELPER_READS | HELPER_WRITES | HELPER_FAULTS) ? ALL_PINS : LOST_PINS;
    uint8_t *at = a->p;

    begin_c(a, s, seen);
    asm_mov(a, 1, RSI, rm_reg(RAX));
    asm_lea(a, 1, RDI, rm_mem(RBP, -ENV_BIAS));
    if (h->flags & HELPER_FP) {
        asm_stmxcsr(a, ENV_RM(mxcsr_guest));
        asm_ldmxcsr(a, ENV_RM(mxcsr_host));
    }
    call_c(a, (uintptr_t)h->fn);
    if (h->flags & HELPER_FP)
        asm_ldmxcsr(a, ENV_RM(mxcsr_guest));
    if (h->flags & HELPER_FAULTS)
        check_fault(a, leave_fault);
    end_c(a, s, h->flags & HELPER_WRITES ? ALL_PINS : LOST_PINS);
    return at;
}

/* The exact path of floating point: rax, rdx, rcx are operands a, b, c, the instruction (x64_fp_word) is in spill[SPILL_ARG]. */
static uint64_t fp_exact(Env *env, uint64_t a, uint64_t b, uint64_t c, uint32_t word, const IrGuest *g)
{
    IrInsn i = { .op = word & 0xff, .type = word >> 8 & 15, .aux = word >> 12 & 15, .x = word >> 16 };

    return ir_eval_fp(&i, env, a, b, c, g);
}

/* The soft floating point is integer code: MXCSR stays the guest's. */
static uint8_t *emit_fp(Asm *a, const X64Stubs *s)
{
    uint8_t *at = a->p;

    begin_c(a, s, LOST_PINS);
    asm_mov(a, 1, RSI, rm_reg(RAX));
    asm_lea(a, 1, RDI, rm_mem(RBP, -ENV_BIAS));
    asm_mov(a, 0, R8, env_spill(SPILL_ARG));
    asm_mov_imm(a, R9, (uintptr_t)s->guest);
    call_c(a, (uintptr_t)fp_exact);
    end_c(a, s, LOST_PINS);
    return at;
}

/* Whether a group of accesses may be done without further checks: rax = va, rdx = span, ecx = word. */
static uint8_t *emit_group(Asm *a, const X64Stubs *s, uintptr_t fn)
{
    uint8_t *at = a->p;

    begin_c(a, s, LOST_PINS);
    asm_lea(a, 1, RDI, rm_mem(RBP, -ENV_BIAS));
    asm_mov(a, 1, RSI, rm_reg(RAX));
    asm_mov(a, 0, R8, rm_reg(RCX));
    asm_shift_imm(a, SH_SHR, 0, rm_reg(R8), 31);
    asm_alu_imm(a, ALU_AND, 0, rm_reg(RCX), INT32_MAX);
    call_c(a, fn);
    end_c(a, s, LOST_PINS);
    return at;
}

/* ---- all of them */

static void emit_all(Asm *a, X64Stubs *s)
{
    const EnvOps *m = s->hooks.mem;
    const uint8_t *ret, *fault;

    emit_enter(a, s);
    ret = emit_return(a);
    fault = emit_leave_fault(a, ret);
    emit_leave(a, s, ret);
    emit_ind(a, s);
    s->ld = emit_mem(a, s, (uintptr_t)m->load, 2, fault);
    s->st = emit_mem(a, s, (uintptr_t)m->store, 3, fault);
    s->amo = emit_mem(a, s, (uintptr_t)m->amo, 4, fault);
    s->cas = emit_mem(a, s, (uintptr_t)m->cas, 5, fault);
    s->lr = emit_mem(a, s, (uintptr_t)m->lr, 2, fault);
    s->group = m->group ? emit_group(a, s, (uintptr_t)m->group) : NULL;
    s->sc = emit_mem(a, s, (uintptr_t)m->sc, 3, fault);
    s->fp = emit_fp(a, s);
    for (int i = 0; i < s->guest->nhelpers; i++) {
        asm_nop(a, -(uintptr_t)a->p & 15);
        s->helper[i] = emit_helper(a, s, &s->guest->helpers[i], fault);
    }
}

/* More than any stub's or thunk's length. */
enum { STUB_BYTES = 1024 };

X64Stubs *x64_stubs_new(CodeArea *area, const IrGuest *g, const X64Hooks *hooks)
{
    size_t want = (size_t)STUB_BYTES * (24 + g->nhelpers);
    X64Stubs *s;
    Asm a = { area->rw };

    if ((size_t)(area->end - area->rw) < want)
        return NULL;
    s = g_new0(X64Stubs, 1);
    s->guest = g;
    s->hooks = *hooks;
    s->delta = area->delta;
    s->slot = g_new(SlotLoc, g->nslots);
    for (int i = 0; i < g->nslots; i++)
        s->slot[i] = slot_loc(&g->slots[i]);
    s->helper = g_new0(uint8_t *, g->nhelpers);
    emit_all(&a, s);
    area->rw = a.p;
    return s;
}

void x64_stubs_free(X64Stubs *s)
{
    if (!s)
        return;
    g_free(s->slot);
    g_free(s->helper);
    g_free(s);
}

IrExit x64_enter(X64Stubs *s, Env *env, const void *host)
{
    return s->enter(env, host);
}

/* ---- patching */

void x64_link(uint8_t *patch_rw, intptr_t delta, const void *to)
{
    int32_t rel = (int32_t)((const uint8_t *)to - (patch_rw + delta + 4));

    /* The backend never lets a patched rel32 cross 16 bytes, so this store is seen whole. */
    __atomic_store_n((int32_t *)patch_rw, rel, __ATOMIC_RELEASE);
}

/* ---- what the host must have (x86-64-v3 and PCLMULQDQ) */

typedef struct HostBit { const char *name; uint32_t leaf; uint8_t reg /* eax 0 .. edx 3 */, bit; } HostBit;
static const HostBit host_bits[] = {
    { "AVX", 1, 2, 28 }, { "FMA", 1, 2, 12 }, { "F16C", 1, 2, 29 }, { "MOVBE", 1, 2, 22 }, { "POPCNT", 1, 2, 23 },
    { "PCLMULQDQ", 1, 2, 1 }, { "XSAVE", 1, 2, 27 }, { "AVX2", 7, 1, 5 }, { "BMI1", 7, 1, 3 }, { "BMI2", 7, 1, 8 },
    { "LZCNT", 0x80000001, 2, 5 },
};

Err *x64_host_ok(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(host_bits); i++) {
        const HostBit *b = &host_bits[i];
        uint32_t r[4] = { 0 };

        if (__get_cpuid_count(b->leaf, 0, &r[0], &r[1], &r[2], &r[3]) && r[b->reg] >> b->bit & 1)
            continue;
        return err_hint(err(ERR_UNSUPPORTED, "the translator needs a processor with %s (x86-64-v3 and PCLMULQDQ)",
                            b->name),
                        "A virtual machine may hide it: give that machine the host's CPU model.");
    }
    return NULL;
}
