/* SPDX-License-Identifier: MIT */
/*
 * Lowering of floating-point operations to the host's own, for guests whose
 * results are IEEE 754 with the default NaN (RISC-V F and D). MXCSR holds the
 * guest's rounding and gathers its flags.
 *
 * Where the host's result or flags might not be the guest's, cold code computes
 * the op again with ir_eval_fp from the operands, which are still whole: a NaN
 * result (the default NaN is wanted, and NV for inf * 0 + NaN), an operand that is not
 * NaN-boxed, equal operands of min and max, conversions out of range. Flags that the
 * host op has raised before are a part of those that the exact path raises.
 * Always by the exact path: f16, fclass, RMM, static rounding of arithmetic
 * that is not the dynamic one.
 *
 * A scalar f32 op copies bits 32-63 of its first source, so a boxed first source
 * gives a boxed result.
 */
#include "fpu/fpu.h"
#include "tcg/x64/x64-priv.h"

/* ---- what is known of boxing, since the last label */

static bool known_boxed(const X64Emitter *e, IrRef r)
{
    unsigned n = ir_index(r);

    return ir_tag(r) == IR_SLOT && n < BOXED_SLOTS && e->boxed[n / 64] >> n % 64 & 1;
}

void x64_boxed(X64Emitter *e, IrRef d, bool boxed)
{
    unsigned n = ir_index(d);

    if (ir_tag(d) != IR_SLOT || n >= BOXED_SLOTS)
        return;
    e->boxed[n / 64] &= ~((uint64_t)1 << n % 64);
    e->boxed[n / 64] |= (uint64_t)boxed << n % 64;
}

void x64_boxed_none(X64Emitter *e)
{
    memset(e->boxed, 0, sizeof e->boxed);
}

/* ---- operands */

static int xmm_of(const X64Emitter *e, IrRef r)
{
    return ir_tag(r) == IR_SLOT ? e->slot[ir_index(r)].xmm : -1;
}

/* The register or memory of a float operand; values have been flushed. */
static Rm fp_rm(X64Emitter *e, IrRef r)
{
    int x = xmm_of(e, r);

    return x >= 0 ? rm_reg(x) : x64_use(e, r).rm;
}

/* The same in a register: r's own, or `scratch`. */
static int fp_reg(X64Emitter *e, IrRef r, int scratch)
{
    Rm m = fp_rm(e, r);

    if (!m.is_mem)
        return m.base;
    asm_vmovq(&e->hot, scratch, m);
    return scratch;
}

void x64_load_ref(X64Emitter *e, Asm *a, int reg, IrRef r)
{
    int x = xmm_of(e, r);

    if (x >= 0)
        asm_vmov_rx(a, 1, rm_reg(reg), x);
    else if (r != IR_NONE)
        x64_load(e, a, reg, x64_use(e, r));
}

/* The register to compute a float result in: d's own unless an operand is there, else xmm0. */
static int fp_dst(const X64Emitter *e, const IrInsn *i)
{
    int x = xmm_of(e, i->d);

    return x < 0 || i->d == i->a || i->d == i->b || i->d == i->c ? 0 : x;
}

static void fp_put(X64Emitter *e, const IrInsn *i, int x)
{
    int xd = xmm_of(e, i->d);
    Rm home = x64_dst_home(e, i);

    x64_boxed(e, i->d, i->type == IR_F32);
    if (home.is_mem) {
        asm_vmovq_to(&e->hot, home, x);
    } else if (xd < 0) {
        int r = x64_dst(e, i);

        asm_vmov_rx(&e->hot, 1, rm_reg(r), x);
        x64_put(e, i, r);
    } else if (xd != x) {
        asm_vmovaps(&e->hot, xd, rm_reg(x));
    }
}

/* ---- the exact path */

/* rax = the result; the operands are where they were. */
static void call_exact(X64Emitter *e, Asm *a, const IrInsn *i)
{
    x64_load_ref(e, a, RAX, i->a);
    x64_load_ref(e, a, RDX, i->b);
    x64_load_ref(e, a, RCX, i->c);
    asm_store_imm(a, 2, env_spill(SPILL_ARG), (int32_t)x64_fp_word(i));
    x64_pins_out(e, a);
    asm_call(a, e->s->fp);
    x64_pins_in(e, a);
}

static bool float_result(const IrInsn *i)
{
    return i->op < IR_feq || i->op == IR_fcvt_ff || i->op == IR_fcvt_fi || i->op == IR_fmv_fi;
}

static void lower_exact(X64Emitter *e, const IrInsn *i)
{
    x64_flush(e);
    e->busy |= 1u << RAX | 1u << RDX | 1u << RCX;
    call_exact(e, &e->hot, i);
    if (float_result(i))
        x64_boxed(e, i->d, i->type == IR_F32);
    x64_put(e, i, RAX);
}

/* Does the host's own operation do at all? */
static bool inlines(const X64Emitter *e, const IrInsn *i)
{
    return e->g->fpu_nan == FPU_NAN_DEFAULT_RISCV && e->g->nan_box && i->type != IR_F16;
}

/*
 * Begins an op that has a cold path: values go to memory, for both paths clobber
 * rax, rcx, rdx. Cold code will stand at what is returned.
 */
static uint8_t *begin(X64Emitter *e)
{
    x64_flush(e);
    e->busy |= 1u << RAX | 1u << RDX | 1u << RCX;
    return e->cold.p;
}

/* Unless r is boxed, to the cold path. */
static void want_boxed(X64Emitter *e, IrType t, IrRef r, const uint8_t *cold)
{
    Rm m;

    if (t != IR_F32 || r == IR_NONE || known_boxed(e, r))
        return;
    m = fp_rm(e, r);
    if (m.is_mem) {
        m.disp += 4;
        asm_alu_imm(&e->hot, ALU_CMP, 0, m, -1);
    } else {
        asm_vpextrd(&e->hot, rm_reg(RAX), m.base, 1);
        asm_alu_imm(&e->hot, ALU_CMP, 0, rm_reg(RAX), -1);
    }
    asm_jcc(&e->hot, X_NE, cold);
}

static void want_all_boxed(X64Emitter *e, const IrInsn *i, const uint8_t *cold)
{
    want_boxed(e, i->type, i->a, cold);
    if (i->b != i->a)
        want_boxed(e, i->type, i->b, cold);
    if (i->c != i->b && i->c != i->a)
        want_boxed(e, i->type, i->c, cold);
}

/* Ends a float op whose result is in x: the cold path, and d = x. */
static void end_float(X64Emitter *e, const IrInsn *i, int x)
{
    call_exact(e, &e->cold, i);
    asm_vmov_xr(&e->cold, 1, x, rm_reg(RAX));
    asm_jmp(&e->cold, e->hot.p);
    fp_put(e, i, x);
}

/* The same after the test for a NaN. */
static void end_checked(X64Emitter *e, const IrInsn *i, int x, const uint8_t *cold)
{
    asm_vucomis(&e->hot, i->type == IR_F64, x, rm_reg(x));
    asm_jcc(&e->hot, X_P, cold);
    end_float(e, i, x);
}

/* ---- moves */

void x64_fp_mov(X64Emitter *e, const IrInsn *i)
{
    int xd = xmm_of(e, i->d), xa = xmm_of(e, i->a);
    Rm home = x64_dst_home(e, i);

    x64_boxed(e, i->d, known_boxed(e, i->a));
    if (xd >= 0 && xa >= 0) {
        asm_vmovaps(&e->hot, xd, rm_reg(xa));
    } else if (home.is_mem && xa >= 0) {
        asm_vmovq_to(&e->hot, home, xa);
    } else {
        Opnd a = x64_use(e, i->a);

        if (xd >= 0 && a.kind == O_MEM) {
            asm_vmovq(&e->hot, xd, a.rm);
        } else {
            int r = x64_dst(e, i);

            x64_load(e, &e->hot, r, a);
            x64_put(e, i, r);
        }
    }
}

void x64_lower_fmv_fi(X64Emitter *e, const IrInsn *i)
{
    Rm home = x64_dst_home(e, i);
    int xd = xmm_of(e, i->d), r;

    if (!inlines(e, i) || (xd < 0 && !home.is_mem)) {
        lower_exact(e, i);
        return;
    }
    r = x64_in_reg(e, x64_use(e, i->a));
    x64_boxed(e, i->d, i->type == IR_F32);
    if (home.is_mem) {
        asm_store(&e->hot, i->type == IR_F64 ? 3 : 2, home, r);
        home.disp += 4;
        if (i->type == IR_F32)
            asm_store_imm(&e->hot, 2, home, -1);
        return;
    }
    asm_vmov_xr(&e->hot, i->type == IR_F64, xd, rm_reg(r));
    if (i->type == IR_F32)
        asm_vlogic(&e->hot, V_OR, xd, xd, ENV_RM(const_f32_box));
}

void x64_lower_fmv_if(X64Emitter *e, const IrInsn *i)
{
    int x = xmm_of(e, i->a), r;

    if (i->type == IR_F16) {
        lower_exact(e, i);
        return;
    }
    r = x64_dst(e, i);
    if (x >= 0) {
        asm_vmov_rx(&e->hot, i->type == IR_F64, rm_reg(r), x);
        if (i->type == IR_F32)
            asm_movsxd(&e->hot, r, rm_reg(r));
    } else {
        Opnd a = x64_use(e, i->a);

        if (i->type == IR_F32)
            asm_movsxd(&e->hot, r, a.rm);
        else
            x64_load(e, &e->hot, r, a);
    }
    x64_put(e, i, r);
}

/* ---- arithmetic */

static void lower_arith(X64Emitter *e, const IrInsn *i, int op)
{
    const uint8_t *cold;
    int x, a;
    Rm b;

    if (!inlines(e, i) || i->aux != FP_DYN) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_all_boxed(e, i, cold);
    x = fp_dst(e, i);
    a = fp_reg(e, i->a, 1);
    b = op == FP_SQRT ? rm_reg(a) : fp_rm(e, i->b);
    asm_vfp(&e->hot, op, i->type == IR_F64, x, a, b);
    end_checked(e, i, x, cold);
}
void x64_lower_fadd(X64Emitter *e, const IrInsn *i) { lower_arith(e, i, FP_ADD); }
void x64_lower_fsub(X64Emitter *e, const IrInsn *i) { lower_arith(e, i, FP_SUB); }
void x64_lower_fmul(X64Emitter *e, const IrInsn *i) { lower_arith(e, i, FP_MUL); }
void x64_lower_fdiv(X64Emitter *e, const IrInsn *i) { lower_arith(e, i, FP_DIV); }
void x64_lower_fsqrt(X64Emitter *e, const IrInsn *i) { lower_arith(e, i, FP_SQRT); }

/* x = a; x = +-(b * x) +- c */
static void lower_fma(X64Emitter *e, const IrInsn *i, int fma)
{
    const uint8_t *cold;
    int x, b;

    if (!inlines(e, i) || i->aux != FP_DYN) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_all_boxed(e, i, cold);
    x = fp_dst(e, i);
    asm_vmovq(&e->hot, x, fp_rm(e, i->a));
    b = fp_reg(e, i->b, 1);
    asm_vfma(&e->hot, fma + FMA_213, i->type == IR_F64, x, b, fp_rm(e, i->c));
    end_checked(e, i, x, cold);
}
void x64_lower_fmadd(X64Emitter *e, const IrInsn *i) { lower_fma(e, i, FMA_MADD); }
void x64_lower_fmsub(X64Emitter *e, const IrInsn *i) { lower_fma(e, i, FMA_MSUB); }
void x64_lower_fnmadd(X64Emitter *e, const IrInsn *i) { lower_fma(e, i, FMA_NMSUB); }
void x64_lower_fnmsub(X64Emitter *e, const IrInsn *i) { lower_fma(e, i, FMA_NMADD); }

/* The host's min and max differ for NaNs and zeros: both go the cold way, with all equal operands (ZF). */
static void lower_fminmax(X64Emitter *e, const IrInsn *i, int op)
{
    const uint8_t *cold;
    int t = i->type == IR_F64, x, a;
    Rm b;

    if (!inlines(e, i)) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_all_boxed(e, i, cold);
    x = fp_dst(e, i);
    a = fp_reg(e, i->a, 1);
    b = fp_rm(e, i->b);
    asm_vucomis(&e->hot, t, a, b);
    asm_jcc(&e->hot, X_E, cold);
    asm_vfp(&e->hot, op, t, x, a, b);
    end_float(e, i, x);
}
void x64_lower_fmin(X64Emitter *e, const IrInsn *i) { lower_fminmax(e, i, FP_MIN); }
void x64_lower_fmax(X64Emitter *e, const IrInsn *i) { lower_fminmax(e, i, FP_MAX); }

/* ---- signs. In f32 only bit 31 is touched, so the box stays whole. */

static Rm sign_mask(IrType t)
{
    return t == IR_F64 ? ENV_RM(const_f64_sign) : ENV_RM(const_f32_sign);
}

/* x = a's bits with b's sign, or its opposite */
static void copy_sign(X64Emitter *e, IrOp op, IrType t, int x, int a, int b)
{
    Asm *c = &e->hot;

    asm_vmovq(c, 2, sign_mask(t));
    asm_vlogic(c, op == IR_fsgnjn ? V_ANDN : V_AND, 3, b, rm_reg(2));      /* sign & b, or sign & ~b */
    if (op == IR_fsgnjx) {
        asm_vlogic(c, V_XOR, x, a, rm_reg(3));
        return;
    }
    asm_vlogic(c, V_ANDN, x, 2, rm_reg(a));
    asm_vlogic(c, V_OR, x, x, rm_reg(3));
}

static void lower_sign(X64Emitter *e, const IrInsn *i)
{
    const uint8_t *cold;
    int x, a;

    if (!inlines(e, i)) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_all_boxed(e, i, cold);
    x = fp_dst(e, i);
    a = fp_reg(e, i->a, 1);
    if (i->a != i->b) {
        copy_sign(e, i->op, i->type, x, a, fp_reg(e, i->b, 3));
    } else if (i->op == IR_fsgnj) {             /* a move, of what is boxed */
        asm_vmovq(&e->hot, x, rm_reg(a));
    } else if (i->op == IR_fsgnjn) {            /* negated */
        asm_vlogic(&e->hot, V_XOR, x, a, sign_mask(i->type));
    } else {                                    /* without sign */
        asm_vmovq(&e->hot, 2, sign_mask(i->type));
        asm_vlogic(&e->hot, V_ANDN, x, 2, rm_reg(a));
    }
    if (i->type == IR_F32)
        end_float(e, i, x);
    else
        fp_put(e, i, x);
}
void x64_lower_fsgnj(X64Emitter *e, const IrInsn *i) { lower_sign(e, i); }
void x64_lower_fsgnjn(X64Emitter *e, const IrInsn *i) { lower_sign(e, i); }
void x64_lower_fsgnjx(X64Emitter *e, const IrInsn *i) { lower_sign(e, i); }

/* ---- comparisons. The host's flags: unordered is CF ZF PF, less CF, equal ZF. */

void x64_lower_feq(X64Emitter *e, const IrInsn *i)
{
    const uint8_t *cold;
    Asm *a = &e->hot;

    if (!inlines(e, i)) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_all_boxed(e, i, cold);
    asm_vucomis(a, i->type == IR_F64, fp_reg(e, i->a, 0), fp_rm(e, i->b));
    asm_setcc(a, X_NP, RAX);
    asm_setcc(a, X_E, RCX);
    asm_alu(a, ALU_AND, 0, RAX, rm_reg(RCX));
    asm_movzx8(a, RAX, rm_reg(RAX));
    if (i->type == IR_F32) {
        call_exact(e, &e->cold, i);
        asm_jmp(&e->cold, a->p);
    }
    x64_put(e, i, RAX);
}

/* b > a, b >= a: true only when ordered. A branch on the result can use the flags: cold code sets them alike. */
static void lower_less(X64Emitter *e, const IrInsn *i, unsigned cc)
{
    const uint8_t *cold;
    Asm *a = &e->hot;

    if (!inlines(e, i)) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_all_boxed(e, i, cold);
    asm_vcomis(a, i->type == IR_F64, fp_reg(e, i->b, 0), fp_rm(e, i->a));
    asm_setcc(a, cc, RAX);
    asm_movzx8(a, RAX, rm_reg(RAX));
    if (i->type == IR_F32) {
        call_exact(e, &e->cold, i);
        asm_alu_imm(&e->cold, ALU_CMP, 0, rm_reg(RAX), cc == X_AE ? 1 : 0);
        asm_jmp(&e->cold, a->p);
    }
    x64_put(e, i, RAX);
    e->flags_ref = i->d;
    e->flags_cc = (uint8_t)cc;
    e->flags_wide = false;
    e->flags_new = true;
}
void x64_lower_flt(X64Emitter *e, const IrInsn *i) { lower_less(e, i, X_A); }
void x64_lower_fle(X64Emitter *e, const IrInsn *i) { lower_less(e, i, X_AE); }

void x64_lower_fclass(X64Emitter *e, const IrInsn *i)
{
    lower_exact(e, i);
}

/* ---- conversions */

void x64_lower_fcvt_ff(X64Emitter *e, const IrInsn *i)
{
    bool widen = i->type == IR_F64;
    const uint8_t *cold;
    int x, a;

    if (!inlines(e, i) || i->x == IR_F16 || i->x == i->type || (!widen && i->aux != FP_DYN)) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_boxed(e, i->x, i->a, cold);
    x = fp_dst(e, i);
    a = fp_reg(e, i->a, 1);
    asm_vcvt_s2s(&e->hot, !widen, x, a, rm_reg(a));
    if (!widen)
        asm_vlogic(&e->hot, V_OR, x, x, ENV_RM(const_f32_box));
    end_checked(e, i, x, cold);
}

static bool from_int_exact(const IrInsn *i)
{
    return i->type == IR_F64 && (i->x == FPI_S32 || i->x == FPI_U32);
}

void x64_lower_fcvt_fi(X64Emitter *e, const IrInsn *i)
{
    int t = i->type == IR_F64, x;
    const uint8_t *cold;
    Asm *a = &e->hot;
    Opnd o;
    Rm s;

    if (!inlines(e, i) || (i->aux != FP_DYN && !from_int_exact(i))) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    o = x64_use(e, i->a);
    s = o.rm;
    if (o.kind == O_IMM) {
        asm_mov_imm(a, RAX, i->x == FPI_U32 ? (uint32_t)o.imm : o.imm);
        s = rm_reg(RAX);
    } else if (i->x == FPI_U32) {
        asm_mov(a, 0, RAX, s);
        s = rm_reg(RAX);
    }
    if (i->x == FPI_U64) {      /* half of the range is the signed conversion's too */
        asm_alu_imm(a, ALU_CMP, 1, s, 0);
        asm_jcc(a, X_S, cold);
    }
    x = fp_dst(e, i);
    asm_vones(a, 1);            /* bits 32-63 of an f32 */
    asm_vcvt_si2s(a, t, i->x != FPI_S32, x, 1, s);
    if (i->x == FPI_U64)
        end_float(e, i, x);
    else
        fp_put(e, i, x);
}

/* Leaves for the cold path unless operand x is +0 or positive and below 2^bits. */
static void want_below(X64Emitter *e, IrType t, int x, unsigned bits, const uint8_t *cold)
{
    Asm *a = &e->hot;
    int wide = t == IR_F64;

    asm_vmov_rx(a, wide, rm_reg(RAX), x);
    asm_shift_imm(a, SH_SHR, wide, rm_reg(RAX), wide ? 52 : 23);
    asm_alu_imm(a, ALU_CMP, 0, rm_reg(RAX), (int32_t)((wide ? 1023 : 127) + bits));
    asm_jcc(a, X_AE, cold);
}

/* rax = x as an integer in the given rounding; x out of its range: the host's "indefinite", tested by the caller */
static void to_int(X64Emitter *e, const IrInsn *i, int w, int x)
{
    int t = i->type == IR_F64;
    Asm *a = &e->hot;

    if (i->aux == FP_DYN) {
        asm_vcvt_s2si(a, t, w, RAX, rm_reg(x));
        return;
    }
    if (i->aux != FP_RTZ) {     /* RNE, RDN, RUP are 0, 1, 2 for vround */
        asm_vrounds(a, t, 0, x, rm_reg(x), i->aux == FP_RNE ? 0 : i->aux - 1);
        x = 0;
    }
    asm_vcvtt_s2si(a, t, w, RAX, rm_reg(x));
}

void x64_lower_fcvt_if(X64Emitter *e, const IrInsn *i)
{
    bool narrow = i->x == FPI_S32 || i->x == FPI_U32, odd = i->aux != FP_DYN && i->aux != FP_RTZ;
    const uint8_t *cold;
    Asm *a = &e->hot;
    int x;

    /* vround raises NX even where the conversion then is out of 32 bits' range: there only NV is due. */
    if (!inlines(e, i) || i->aux == FP_RMM || (odd && narrow)) {
        lower_exact(e, i);
        return;
    }
    cold = begin(e);
    want_boxed(e, i->type, i->a, cold);
    x = fp_reg(e, i->a, 1);
    if (i->x == FPI_U32 || i->x == FPI_U64)
        want_below(e, i->type, x, i->x == FPI_U32 ? 32 : 63, cold);
    to_int(e, i, i->x != FPI_S32, x);
    switch (i->x) {
    case FPI_S32:
        asm_alu_imm(a, ALU_CMP, 0, rm_reg(RAX), 1);     /* overflows for the indefinite value alone */
        asm_jcc(a, X_O, cold);
        break;
    case FPI_S64:
        asm_alu_imm(a, ALU_CMP, 1, rm_reg(RAX), 1);
        asm_jcc(a, X_O, cold);
        break;
    }
    if (narrow)
        asm_movsxd(a, RAX, rm_reg(RAX));
    call_exact(e, &e->cold, i);
    asm_jmp(&e->cold, a->p);
    x64_put(e, i, RAX);
}
