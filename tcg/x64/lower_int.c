/* SPDX-License-Identifier: MIT */
/*
 * Lowering of moves and integer operations.
 *
 * The destination register (x64_dst) may be the register of any operand: each
 * lowering reads what it still needs before it writes, or works in a scratch
 * register. A 32-bit result is left zero-extended in its 64-bit register. Flags
 * may be clobbered anywhere; a lowering whose flags tell whether its result is
 * zero says so (sets_flags), and a branch right behind it uses them.
 */
#include "tcg/x64/x64-priv.h"

static inline bool is_imm(IrRef r)
{
    return ir_tag(r) >= IR_IMM;
}

static inline uint64_t const_w(const X64Emitter *e, int w, IrRef r)
{
    uint64_t v = ir_const(e->u, r);

    return w ? v : (uint32_t)v;
}

/* The flags' condition cc says that the result, of the operation's width or as 32 bits, is not zero. */
static void sets_flags(X64Emitter *e, const IrInsn *i, unsigned cc)
{
    e->flags_wide = i->op != IR_setcc && x64_w(i);
    e->flags_ref = i->d;
    e->flags_cc = cc;
    e->flags_new = true;
}

/* r = o, zero-extended from 32 bits if w is 0; flags untouched */
static void load_w(Asm *a, int w, int r, Opnd o)
{
    if (o.kind == O_IMM)
        asm_mov_imm(a, r, w ? o.imm : (uint32_t)o.imm);
    else
        asm_mov(a, w, r, o.rm);
}

/* The operand as r/m: constants are put in a register. */
static Rm as_rm(X64Emitter *e, Opnd o)
{
    return o.kind == O_IMM ? rm_reg(x64_in_reg(e, o)) : o.rm;
}

static void swap_refs(IrRef *a, IrRef *b)
{
    IrRef t = *a;

    *a = *b;
    *b = t;
}

/* ---- moving */

void x64_lower_mov(X64Emitter *e, const IrInsn *i)
{
    int w = x64_w(i), r;
    Rm home;
    Opnd a;

    if (i->type >= IR_F16 && i->type <= IR_F64) {
        x64_fp_mov(e, i);
        return;
    }
    home = x64_dst_home(e, i);
    a = x64_use(e, i->a);
    if (home.is_mem && a.kind == O_IMM && imm_fits(a.imm) && (w || e->slot[ir_index(i->d)].is32)) {
        asm_store_imm(&e->hot, e->slot[ir_index(i->d)].is32 ? 2 : 3, home, (int32_t)a.imm);
        return;
    }
    if (home.is_mem && w && a.kind == O_REG) {
        x64_put(e, i, a.rm.base);
        return;
    }
    r = x64_dst(e, i);
    if (a.kind == O_IMM && a.imm == 0)
        asm_xor_self(&e->hot, r);
    else if (a.kind == O_IMM && w)
        x64_load(e, &e->hot, r, a);
    else if (!w || !opnd_is(a, r))
        load_w(&e->hot, w, r, a);
    x64_put(e, i, r);
}

typedef void ExtFn(Asm *a, int w, int d, Rm s);
static void ext_sx8(Asm *a, int w, int d, Rm s) { asm_movsx8(a, w, d, s); }
static void ext_sx16(Asm *a, int w, int d, Rm s) { asm_movsx16(a, w, d, s); }
static void ext_sx32(Asm *a, int w, int d, Rm s)
{
    if (w)
        asm_movsxd(a, d, s);
    else
        asm_mov(a, 0, d, s);
}
static void ext_zx8(Asm *a, int w, int d, Rm s) { asm_movzx8(a, d, s); }
static void ext_zx16(Asm *a, int w, int d, Rm s) { asm_movzx16(a, d, s); }
static void ext_zx32(Asm *a, int w, int d, Rm s) { asm_mov(a, 0, d, s); }

static void lower_ext(X64Emitter *e, const IrInsn *i, ExtFn *fn)
{
    Rm a = as_rm(e, x64_use(e, i->a));
    int r = x64_dst(e, i);

    fn(&e->hot, x64_w(i), r, a);
    x64_put(e, i, r);
}
void x64_lower_sext8(X64Emitter *e, const IrInsn *i) { lower_ext(e, i, ext_sx8); }
void x64_lower_sext16(X64Emitter *e, const IrInsn *i) { lower_ext(e, i, ext_sx16); }

/* A value computed in d's own pin may stay as it is until somebody reads its upper half: see low.c. */
void x64_lower_sext32(X64Emitter *e, const IrInsn *i)
{
    Opnd a = x64_use(e, i->a);
    bool positive = x64_is_val(i->a) && e->vals[ir_index(i->a)].positive, flags = e->flags_ref && e->flags_ref == i->a;
    int r;

    if (!x64_w(i) || a.kind == O_IMM) {
        lower_ext(e, i, ext_sx32);
        return;
    }
    r = x64_dst(e, i);
    if (!opnd_is(a, r) || (!positive && !x64_can_wait(e, i->d)))
        (positive ? ext_zx32 : ext_sx32)(&e->hot, 1, r, a.rm);
    else
        e->sext_left = !positive;
    x64_put(e, i, r);
    if (flags && !e->flags_wide) {
        e->flags_ref = i->d;
        e->flags_new = true;
    }
}
void x64_lower_zext8(X64Emitter *e, const IrInsn *i) { lower_ext(e, i, ext_zx8); }
void x64_lower_zext16(X64Emitter *e, const IrInsn *i) { lower_ext(e, i, ext_zx16); }
void x64_lower_zext32(X64Emitter *e, const IrInsn *i) { lower_ext(e, i, ext_zx32); }

/* ---- add, sub, and, or, xor */

static void alu(X64Emitter *e, int op, int w, int r, Opnd b)
{
    if (b.kind == O_IMM)
        asm_alu_imm(&e->hot, op, w, rm_reg(r), (int32_t)b.imm);
    else
        asm_alu(&e->hot, op, w, r, b.rm);
}

/* d = d op b on an unpinned slot: in memory */
static bool alu_in_memory(X64Emitter *e, const IrInsn *i, int op, IrRef ra, IrRef rb)
{
    Rm home = x64_dst_home(e, i);
    int w = x64_w(i);
    Opnd b;

    if (ra != i->d || !x64_in_memory(e, i, home))
        return false;
    b = x64_use(e, rb);
    if (b.kind == O_IMM && !w)
        b.imm = (uint64_t)(int32_t)b.imm;
    b = x64_small(e, b);
    if (b.kind == O_IMM)
        asm_alu_imm(&e->hot, op, w, home, (int32_t)b.imm);
    else
        asm_alu_to(&e->hot, op, w, home, x64_in_reg(e, b));
    sets_flags(e, i, X_NE);
    return true;
}

/* a + b or a - constant into another register, by lea */
static bool add_by_lea(X64Emitter *e, int w, int op, int r, Opnd a, Opnd b)
{
    if (a.kind != O_REG || opnd_is(a, r))
        return false;
    if (op == ALU_ADD && b.kind == O_REG && !opnd_is(b, r))
        asm_lea(&e->hot, w, r, rm_sib(a.rm.base, b.rm.base, 0, 0));
    else if (op == ALU_ADD && b.kind == O_IMM)
        asm_lea(&e->hot, w, r, rm_mem(a.rm.base, (int32_t)b.imm));
    else if (op == ALU_SUB && b.kind == O_IMM && (int32_t)b.imm != INT32_MIN)
        asm_lea(&e->hot, w, r, rm_mem(a.rm.base, -(int32_t)b.imm));
    else
        return false;
    return true;
}

/* a - b where the result goes to b's register */
static void reverse_sub(X64Emitter *e, int w, int r, Opnd a)
{
    asm_neg(&e->hot, w, rm_reg(r));
    alu(e, ALU_ADD, w, r, x64_small(e, a));
}

/* A mask that a zero-extending move or a 32-bit `and` does. */
static bool and_short(X64Emitter *e, const IrInsn *i, IrRef ra, uint64_t m)
{
    Opnd a;
    int r;

    if (m > UINT32_MAX || is_imm(ra))
        return false;
    a = x64_use(e, ra);
    r = x64_dst(e, i);
    if (m == 0xff) {
        asm_movzx8(&e->hot, r, a.rm);
    } else if (m == 0xffff) {
        asm_movzx16(&e->hot, r, a.rm);
    } else if (m == UINT32_MAX) {
        asm_mov(&e->hot, 0, r, a.rm);
    } else {
        if (!opnd_is(a, r))
            asm_mov(&e->hot, 0, r, a.rm);
        asm_alu_imm(&e->hot, ALU_AND, 0, rm_reg(r), (int32_t)m);
        sets_flags(e, i, X_NE);
    }
    x64_put(e, i, r);
    return true;
}

static void lower_alu(X64Emitter *e, const IrInsn *i, int op)
{
    IrRef ra = i->a, rb = i->b;
    int w = x64_w(i), r;
    Opnd a, b;

    if (op == ALU_AND && i->type == IR_I64 && x64_and_of_return(e, i))
        return;
    if (op != ALU_SUB && (i->d == rb || is_imm(ra)))
        swap_refs(&ra, &rb);
    if (op == ALU_AND && is_imm(rb) && and_short(e, i, ra, const_w(e, w, rb)))
        return;
    if (alu_in_memory(e, i, op, ra, rb))
        return;
    a = x64_use(e, ra);
    b = x64_use(e, rb);
    if (b.kind == O_IMM && !w)
        b.imm = (uint64_t)(int32_t)b.imm;
    b = x64_small(e, b);
    r = x64_dst(e, i);
    if (add_by_lea(e, w, op, r, a, b)) {
        x64_put(e, i, r);
        return;
    }
    if (opnd_is(b, r) && !opnd_is(a, r)) {
        if (op == ALU_SUB)
            reverse_sub(e, w, r, a);
        else
            alu(e, op, w, r, x64_small(e, a));
    } else {
        if (!opnd_is(a, r))
            load_w(&e->hot, w, r, a);
        alu(e, op, w, r, b);
    }
    sets_flags(e, i, X_NE);
    x64_put(e, i, r);
}
void x64_lower_add(X64Emitter *e, const IrInsn *i) { lower_alu(e, i, ALU_ADD); }
void x64_lower_sub(X64Emitter *e, const IrInsn *i) { lower_alu(e, i, ALU_SUB); }
void x64_lower_and(X64Emitter *e, const IrInsn *i) { lower_alu(e, i, ALU_AND); }
void x64_lower_or(X64Emitter *e, const IrInsn *i) { lower_alu(e, i, ALU_OR); }
void x64_lower_xor(X64Emitter *e, const IrInsn *i) { lower_alu(e, i, ALU_XOR); }

/* ---- the other logic */

void x64_lower_andn(X64Emitter *e, const IrInsn *i)
{
    Rm a = as_rm(e, x64_use(e, i->a));
    int b = x64_in_reg(e, x64_use(e, i->b));
    int r = x64_dst(e, i);

    asm_andn(&e->hot, x64_w(i), r, b, a);
    sets_flags(e, i, X_NE);
    x64_put(e, i, r);
}

void x64_lower_orn(X64Emitter *e, const IrInsn *i)
{
    int w = x64_w(i), r, t;
    Opnd a, b;

    x64_need(e, 2);
    a = x64_small(e, x64_use(e, i->a));
    b = x64_use(e, i->b);
    r = x64_dst(e, i);
    t = opnd_is(a, r) && !opnd_is(b, r) ? x64_take(e) : r;
    if (opnd_is(a, r) && opnd_is(b, r)) {       /* a | ~a */
        asm_mov_imm(&e->hot, r, w ? UINT64_MAX : UINT32_MAX);
    } else {
        x64_load(e, &e->hot, t, b);
        asm_not(&e->hot, w, rm_reg(t));
        alu(e, ALU_OR, w, t, a);
    }
    x64_put(e, i, t);
}

void x64_lower_xnor(X64Emitter *e, const IrInsn *i)
{
    IrRef ra = i->a, rb = i->b;
    int w = x64_w(i), r;
    Opnd a, b;

    if (i->d == rb || is_imm(ra))
        swap_refs(&ra, &rb);
    a = x64_use(e, ra);
    b = x64_small(e, x64_use(e, rb));
    r = x64_dst(e, i);
    if (opnd_is(b, r)) {
        Opnd t = a;
        a = b;
        b = x64_small(e, t);
    }
    x64_load(e, &e->hot, r, a);
    alu(e, ALU_XOR, w, r, b);
    asm_not(&e->hot, w, rm_reg(r));
    x64_put(e, i, r);
}

static void lower_unary(X64Emitter *e, const IrInsn *i, void (*fn)(Asm *, int, Rm))
{
    Opnd a = x64_use(e, i->a);
    Rm home = x64_dst_home(e, i);
    int r;

    if (i->a == i->d && x64_in_memory(e, i, home)) {
        fn(&e->hot, x64_w(i), home);
        return;
    }
    r = x64_dst(e, i);
    x64_load(e, &e->hot, r, a);
    fn(&e->hot, x64_w(i), rm_reg(r));
    x64_put(e, i, r);
}
void x64_lower_not(X64Emitter *e, const IrInsn *i) { lower_unary(e, i, asm_not); }
void x64_lower_neg(X64Emitter *e, const IrInsn *i) { lower_unary(e, i, asm_neg); }

/* ---- shifts and rotates */

static void shift_const(X64Emitter *e, const IrInsn *i, int sh, unsigned n)
{
    Rm home = x64_dst_home(e, i);
    int w = x64_w(i), r;
    Opnd a;

    if (i->a == i->d && x64_in_memory(e, i, home)) {
        asm_shift_imm(&e->hot, sh, w, home, n);
        return;
    }
    a = x64_use(e, i->a);
    r = x64_dst(e, i);
    if (sh == SH_SHL && n == 1 && a.kind == O_REG && !opnd_is(a, r)) {
        asm_lea(&e->hot, w, r, rm_sib(a.rm.base, a.rm.base, 0, 0));
    } else {
        if (!opnd_is(a, r))
            load_w(&e->hot, w, r, a);
        if (n || !w)
            asm_shift_imm(&e->hot, sh, w, rm_reg(r), n);
        if (n > 0)
            sets_flags(e, i, X_NE);
    }
    x64_put(e, i, r);
}

typedef void ShxFn(Asm *a, int w, int d, Rm s, int n);

static void lower_shift(X64Emitter *e, const IrInsn *i, int sh, ShxFn *fn)
{
    int r, n;
    Rm a;

    if (is_imm(i->b)) {
        n = (int)(ir_const(e->u, i->b) & (x64_w(i) ? 63 : 31));
        if (n) {
            shift_const(e, i, sh, (unsigned)n);
            if (x64_is_val(i->d) && sh == SH_SHR)
                e->vals[ir_index(i->d)].positive = true;
            return;
        }
    }
    a = as_rm(e, x64_use(e, i->a));
    n = x64_in_reg(e, x64_use(e, i->b));
    r = x64_dst(e, i);
    fn(&e->hot, x64_w(i), r, a, n);
    x64_put(e, i, r);
}
void x64_lower_shl(X64Emitter *e, const IrInsn *i) { lower_shift(e, i, SH_SHL, asm_shlx); }
void x64_lower_shr(X64Emitter *e, const IrInsn *i) { lower_shift(e, i, SH_SHR, asm_shrx); }
void x64_lower_sar(X64Emitter *e, const IrInsn *i) { lower_shift(e, i, SH_SAR, asm_sarx); }

static void lower_rotate(X64Emitter *e, const IrInsn *i, int sh)
{
    int w = x64_w(i), r;
    unsigned bits = w ? 64 : 32;
    Opnd a, b;

    if (is_imm(i->b)) {
        unsigned n = ir_const(e->u, i->b) & (bits - 1);
        Rm rm = as_rm(e, x64_use(e, i->a));

        r = x64_dst(e, i);
        asm_rorx(&e->hot, w, r, rm, sh == SH_ROR ? n : (bits - n) & (bits - 1));
        x64_put(e, i, r);
        return;
    }
    x64_flush(e);
    x64_claim(e, RCX);
    a = x64_use(e, i->a);
    b = x64_use(e, i->b);
    x64_load(e, &e->hot, RCX, b);
    r = x64_dst(e, i);
    x64_load(e, &e->hot, r, a);
    asm_shift_cl(&e->hot, sh, w, rm_reg(r));
    x64_put(e, i, r);
}
void x64_lower_rol(X64Emitter *e, const IrInsn *i) { lower_rotate(e, i, SH_ROL); }
void x64_lower_ror(X64Emitter *e, const IrInsn *i) { lower_rotate(e, i, SH_ROR); }

void x64_lower_shladd(X64Emitter *e, const IrInsn *i)
{
    int w = x64_w(i), r;
    Opnd a = x64_use(e, i->a), b = x64_small(e, x64_use(e, i->b));
    int ra = x64_in_reg(e, a);

    if (b.kind == O_IMM) {
        r = x64_dst(e, i);
        asm_lea(&e->hot, w, r, rm_sib(-1, ra, i->x, (int32_t)b.imm));
    } else {
        int rb = x64_in_reg(e, b);

        r = x64_dst(e, i);
        asm_lea(&e->hot, w, r, rm_sib(rb, ra, i->x, 0));
    }
    x64_put(e, i, r);
}

/* ---- multiplication */

void x64_lower_mul(X64Emitter *e, const IrInsn *i)
{
    IrRef ra = i->a, rb = i->b;
    int w = x64_w(i), r;
    Opnd a, b;

    if (i->d == rb || is_imm(ra))
        swap_refs(&ra, &rb);
    a = x64_use(e, ra);
    b = x64_small(e, x64_use(e, rb));
    r = x64_dst(e, i);
    if (b.kind == O_IMM) {
        asm_imul_imm(&e->hot, w, r, as_rm(e, a), (int32_t)b.imm);
    } else if (opnd_is(b, r)) {
        asm_imul(&e->hot, w, r, as_rm(e, a));
    } else {
        x64_load(e, &e->hot, r, a);
        asm_imul(&e->hot, w, r, b.rm);
    }
    x64_put(e, i, r);
}

/* High half of 32-bit operands: a 64-bit product, shifted. */
static void mul_high32(X64Emitter *e, const IrInsn *i, bool sign_a, bool sign_b)
{
    Rm a, b;

    x64_flush(e);
    x64_claim(e, RAX);
    x64_claim(e, RCX);
    a = as_rm(e, x64_use(e, i->a));
    ext_sx32(&e->hot, sign_a, RAX, a);
    b = as_rm(e, x64_use(e, i->b));
    ext_sx32(&e->hot, sign_b, RCX, b);
    asm_imul(&e->hot, 1, RAX, rm_reg(RCX));
    asm_shift_imm(&e->hot, SH_SHR, 1, rm_reg(RAX), 32);
    x64_put(e, i, RAX);
}

void x64_lower_mulhs(X64Emitter *e, const IrInsn *i)
{
    Opnd a, b;

    if (!x64_w(i)) {
        mul_high32(e, i, true, true);
        return;
    }
    x64_flush(e);
    x64_claim(e, RAX);
    x64_claim(e, RDX);
    a = x64_use(e, i->a);
    b = x64_use(e, i->b);
    x64_load(e, &e->hot, RAX, a);
    asm_imul_wide(&e->hot, 1, as_rm(e, b));
    x64_put(e, i, RDX);
}

void x64_lower_mulhu(X64Emitter *e, const IrInsn *i)
{
    Opnd a;
    Rm b;
    int r;

    if (!x64_w(i)) {
        mul_high32(e, i, false, false);
        return;
    }
    x64_flush(e);
    x64_claim(e, RDX);
    a = x64_use(e, i->a);
    b = as_rm(e, x64_use(e, i->b));
    x64_load(e, &e->hot, RDX, a);
    r = x64_dst(e, i);
    asm_mulx(&e->hot, 1, r, r, b);
    x64_put(e, i, r);
}

/* unsigned high half - (a < 0 ? b : 0) */
void x64_lower_mulhsu(X64Emitter *e, const IrInsn *i)
{
    Opnd a;
    Rm b;
    int t;

    if (!x64_w(i)) {
        mul_high32(e, i, true, false);
        return;
    }
    x64_flush(e);
    x64_claim(e, RDX);
    a = x64_use(e, i->a);
    b = as_rm(e, x64_use(e, i->b));
    x64_load(e, &e->hot, RDX, a);
    t = x64_take(e);
    asm_mulx(&e->hot, 1, t, t, b);
    asm_shift_imm(&e->hot, SH_SAR, 1, rm_reg(RDX), 63);
    asm_alu(&e->hot, ALU_AND, 1, RDX, b);
    asm_alu(&e->hot, ALU_SUB, 1, t, rm_reg(RDX));
    x64_put(e, i, t);
}

/* ---- division: RISC-V's results for zero and overflow, in cold code */

/* Hot code at `jcc`, a jcc32's rel32, goes here into the cold area. */
static void cold_here(X64Emitter *e, uint8_t *jcc)
{
    x64_set_rel32(e, jcc, e->cold.p);
}

static void div_unsigned(X64Emitter *e, const IrInsn *i, bool rem)
{
    int w = x64_w(i), res = rem ? RDX : RAX, rb;
    uint8_t *zero;
    Opnd a;

    x64_flush(e);
    x64_claim(e, RAX);
    x64_claim(e, RDX);
    a = x64_use(e, i->a);
    rb = x64_in_reg(e, x64_use(e, i->b));
    asm_test(&e->hot, w, rm_reg(rb), rb);
    zero = asm_jcc32(&e->hot, X_E);
    x64_load(e, &e->hot, RAX, a);
    asm_xor_self(&e->hot, RDX);
    asm_div(&e->hot, w, rm_reg(rb));
    cold_here(e, zero);
    if (rem)
        load_w(&e->cold, w, RDX, a);
    else
        asm_mov_imm(&e->cold, RAX, w ? UINT64_MAX : UINT32_MAX);
    asm_jmp(&e->cold, e->hot.p);
    x64_put(e, i, res);
}
void x64_lower_divu(X64Emitter *e, const IrInsn *i) { div_unsigned(e, i, false); }
void x64_lower_remu(X64Emitter *e, const IrInsn *i) { div_unsigned(e, i, true); }

/* a / 0 = -1, a / -1 = -a; a mod 0 = a, a mod -1 = 0. Hot code goes on where it is now. */
static void div_odd(X64Emitter *e, int w, bool rem, int rb, Opnd a)
{
    Asm *c = &e->cold;

    if (rem) {
        asm_xor_self(c, RDX);
        asm_test(c, w, rm_reg(rb), rb);
        asm_jcc(c, X_NE, e->hot.p);
        load_w(c, w, RDX, a);
    } else {
        load_w(c, w, RAX, a);
        asm_neg(c, w, rm_reg(RAX));
        asm_test(c, w, rm_reg(rb), rb);
        asm_jcc(c, X_NE, e->hot.p);
        asm_mov_imm(c, RAX, w ? UINT64_MAX : UINT32_MAX);
    }
    asm_jmp(c, e->hot.p);
}

/* Divisors 0 and -1 go the cold way: b + 1 <= 1 unsigned. */
static void div_signed(X64Emitter *e, const IrInsn *i, bool rem)
{
    int w = x64_w(i), res = rem ? RDX : RAX, rb;
    uint8_t *odd;
    Opnd a;

    x64_flush(e);
    x64_claim(e, RAX);
    x64_claim(e, RDX);
    a = x64_use(e, i->a);
    rb = x64_in_reg(e, x64_use(e, i->b));
    asm_lea(&e->hot, w, RDX, rm_mem(rb, 1));
    asm_alu_imm(&e->hot, ALU_CMP, w, rm_reg(RDX), 1);
    odd = asm_jcc32(&e->hot, X_BE);
    x64_load(e, &e->hot, RAX, a);
    asm_cqo(&e->hot, w);
    asm_idiv(&e->hot, w, rm_reg(rb));

    cold_here(e, odd);
    div_odd(e, w, rem, rb, a);
    x64_put(e, i, res);
}
void x64_lower_divs(X64Emitter *e, const IrInsn *i) { div_signed(e, i, false); }
void x64_lower_rems(X64Emitter *e, const IrInsn *i) { div_signed(e, i, true); }

/* ---- comparing and choosing */

static const uint8_t host_cc[] = {
    [CC_EQ] = X_E, [CC_NE] = X_NE, [CC_LT] = X_L, [CC_GE] = X_GE, [CC_LTU] = X_B, [CC_GEU] = X_AE,
    [CC_LE] = X_LE, [CC_GT] = X_G, [CC_LEU] = X_BE, [CC_GTU] = X_A,
};
/* The condition when the operands change places. */
static const uint8_t swapped_cc[] = {
    [CC_EQ] = CC_EQ, [CC_NE] = CC_NE, [CC_LT] = CC_GT, [CC_GE] = CC_LE, [CC_LTU] = CC_GTU, [CC_GEU] = CC_LEU,
    [CC_LE] = CC_GE, [CC_GT] = CC_LT, [CC_LEU] = CC_GEU, [CC_GTU] = CC_LTU,
};

static void cmp_imm(X64Emitter *e, int w, Opnd a, uint64_t imm)
{
    if (!w)
        imm = (uint64_t)(int32_t)imm;
    if (a.kind == O_REG && imm == 0)
        asm_test(&e->hot, w, a.rm, a.rm.base);
    else if (imm_fits(imm))
        asm_alu_imm(&e->hot, ALU_CMP, w, a.rm, (int32_t)imm);
    else
        asm_alu_to(&e->hot, ALU_CMP, w, a.rm, x64_in_reg(e, (Opnd){ .kind = O_IMM, .imm = imm }));
}

unsigned x64_compare(X64Emitter *e, const IrInsn *i)
{
    unsigned cc = i->aux;
    int w = x64_w(i);
    Opnd a, b;

    if (e->flags_ref == i->a && e->flags_ref && (w || !e->flags_wide) && cc <= CC_NE &&
        is_imm(i->b) && const_w(e, w, i->b) == 0)
        return cc == CC_NE ? e->flags_cc : e->flags_cc ^ 1u;
    a = x64_use(e, i->a);
    b = x64_use(e, i->b);
    if (a.kind == O_IMM && b.kind != O_IMM) {
        Opnd t = a;
        a = b;
        b = t;
        cc = swapped_cc[cc];
    }
    if (a.kind == O_IMM)
        a = (Opnd){ .kind = O_REG, .rm = rm_reg(x64_in_reg(e, a)) };
    if (b.kind == O_IMM)
        cmp_imm(e, w, a, b.imm);
    else if (a.kind == O_REG)
        asm_alu(&e->hot, ALU_CMP, w, a.rm.base, b.rm);
    else
        asm_alu_to(&e->hot, ALU_CMP, w, a.rm, x64_in_reg(e, b));
    return host_cc[cc];
}

static bool reads_reg(X64Emitter *e, IrRef ref, int r)
{
    if (ir_tag(ref) == IR_SLOT)
        return e->slot[ir_index(ref)].reg == r;
    return x64_is_val(ref) && e->vals[ir_index(ref)].reg == r;
}

void x64_lower_setcc(X64Emitter *e, const IrInsn *i)
{
    int r = x64_dst(e, i);
    bool apart = !reads_reg(e, i->a, r) && !reads_reg(e, i->b, r) && e->flags_ref != i->a;
    unsigned cc;

    if (apart)                  /* zero it first: shorter than movzx, and breaks the dependency */
        asm_xor_self(&e->hot, r);
    cc = x64_compare(e, i);
    asm_setcc(&e->hot, cc, r);
    if (!apart)
        asm_movzx8(&e->hot, r, rm_reg(r));
    x64_put(e, i, r);
    sets_flags(e, i, cc);
}

void x64_lower_select(X64Emitter *e, const IrInsn *i)
{
    int w = x64_w(i), r;
    Opnd a, b, c;

    x64_need(e, 2);
    a = x64_use(e, i->a);
    b = x64_use(e, i->b);
    c = x64_use(e, i->c);
    if (a.kind == O_IMM)
        a = (Opnd){ .kind = O_REG, .rm = rm_reg(x64_in_reg(e, a)) };
    r = x64_dst(e, i);
    if (opnd_is(b, r) && !opnd_is(c, r)) {
        Rm other = as_rm(e, c);

        cmp_imm(e, w, a, 0);
        asm_cmov(&e->hot, w, X_E, r, other);
    } else {
        Rm other = as_rm(e, b);

        cmp_imm(e, w, a, 0);
        x64_load(e, &e->hot, r, c);
        asm_cmov(&e->hot, w, X_NE, r, other);
    }
    x64_put(e, i, r);
}

static void lower_minmax(X64Emitter *e, const IrInsn *i, unsigned cc)
{
    IrRef ra = i->a, rb = i->b;
    int w = x64_w(i), r;
    Opnd a;
    Rm b;

    if (i->d == rb || is_imm(ra))
        swap_refs(&ra, &rb);
    a = x64_use(e, ra);
    b = as_rm(e, x64_use(e, rb));
    r = x64_dst(e, i);
    if (!b.is_mem && b.base == r) {
        b = as_rm(e, a);
        a = (Opnd){ .kind = O_REG, .rm = rm_reg(r) };
    }
    x64_load(e, &e->hot, r, a);
    asm_alu(&e->hot, ALU_CMP, w, r, b);
    asm_cmov(&e->hot, w, cc, r, b);
    x64_put(e, i, r);
}
void x64_lower_mins(X64Emitter *e, const IrInsn *i) { lower_minmax(e, i, X_G); }
void x64_lower_maxs(X64Emitter *e, const IrInsn *i) { lower_minmax(e, i, X_L); }
void x64_lower_minu(X64Emitter *e, const IrInsn *i) { lower_minmax(e, i, X_A); }
void x64_lower_maxu(X64Emitter *e, const IrInsn *i) { lower_minmax(e, i, X_B); }

/* ---- bits */

static void lower_count(X64Emitter *e, const IrInsn *i, void (*fn)(Asm *, int, int, Rm))
{
    Rm a = as_rm(e, x64_use(e, i->a));
    int r = x64_dst(e, i);

    fn(&e->hot, x64_w(i), r, a);
    x64_put(e, i, r);
}
void x64_lower_clz(X64Emitter *e, const IrInsn *i) { lower_count(e, i, asm_lzcnt); }
void x64_lower_ctz(X64Emitter *e, const IrInsn *i) { lower_count(e, i, asm_tzcnt); }
void x64_lower_popcnt(X64Emitter *e, const IrInsn *i) { lower_count(e, i, asm_popcnt); }

void x64_lower_bswap(X64Emitter *e, const IrInsn *i)
{
    Opnd a = x64_use(e, i->a);
    int r = x64_dst(e, i);

    x64_load(e, &e->hot, r, a);
    asm_bswap(&e->hot, x64_w(i), r);
    x64_put(e, i, r);
}

/* Three rounds: exchange neighbouring groups of 1, 2 and 4 bits. */
void x64_lower_brev8(X64Emitter *e, const IrInsn *i)
{
    static const uint64_t mask[] = { 0x5555555555555555, 0x3333333333333333, 0x0f0f0f0f0f0f0f0f };
    int r, t, m;
    Opnd a;

    x64_need(e, 3);
    a = x64_use(e, i->a);
    r = x64_dst(e, i);
    t = x64_take(e);
    m = x64_take(e);
    load_w(&e->hot, x64_w(i), r, a);
    for (int k = 0; k < 3; k++) {
        asm_mov_imm(&e->hot, m, mask[k]);
        asm_mov(&e->hot, 1, t, rm_reg(r));
        asm_shift_imm(&e->hot, SH_SHR, 1, rm_reg(t), 1u << k);
        asm_alu(&e->hot, ALU_AND, 1, t, rm_reg(m));
        asm_alu(&e->hot, ALU_AND, 1, r, rm_reg(m));
        asm_shift_imm(&e->hot, SH_SHL, 1, rm_reg(r), 1u << k);
        asm_alu(&e->hot, ALU_OR, 1, r, rm_reg(t));
    }
    x64_put(e, i, r);
}

void x64_lower_orcb(X64Emitter *e, const IrInsn *i)
{
    Rm a = as_rm(e, x64_use(e, i->a));
    int r = x64_dst(e, i), w = x64_w(i);

    asm_vmov_xr(&e->hot, w, 0, a);
    asm_vpxor(&e->hot, 1, 1, rm_reg(1));
    asm_vpcmpeqb(&e->hot, 0, 0, rm_reg(1));     /* ff where the byte is 0 */
    asm_vpcmpeqb(&e->hot, 0, 0, rm_reg(1));
    asm_vmov_rx(&e->hot, w, rm_reg(r), 0);
    x64_put(e, i, r);
}

/* aux bits from bit x: by the move that does it, or a pair of shifts */
static void lower_bits(X64Emitter *e, const IrInsn *i, bool sign)
{
    unsigned bits = x64_w(i) ? 64 : 32, up = bits - i->x - i->aux, down = bits - i->aux;
    static ExtFn *const ext[2][3] = { { ext_zx8, ext_zx16, ext_zx32 }, { ext_sx8, ext_sx16, ext_sx32 } };
    int w = x64_w(i), r;
    Opnd a;

    if (i->x == 0 && (i->aux == 8 || i->aux == 16 || i->aux == 32)) {
        lower_ext(e, i, ext[sign][__builtin_ctz(i->aux) - 3]);
        return;
    }
    a = x64_use(e, i->a);
    r = x64_dst(e, i);
    load_w(&e->hot, w, r, a);
    if (up)
        asm_shift_imm(&e->hot, SH_SHL, w, rm_reg(r), up);
    if (down)
        asm_shift_imm(&e->hot, sign ? SH_SAR : SH_SHR, w, rm_reg(r), down);
    x64_put(e, i, r);
}
void x64_lower_bext(X64Emitter *e, const IrInsn *i) { lower_bits(e, i, false); }
void x64_lower_sbext(X64Emitter *e, const IrInsn *i) { lower_bits(e, i, true); }

/* ---- carry-less multiplication */

/* r = bits from `from` up of the product; a 32-bit product is 64 bits, all in the low half. */
static void lower_clmul(X64Emitter *e, const IrInsn *i, unsigned from)
{
    int w = x64_w(i), r, t;
    Rm a, b;

    if (from == 63)
        x64_flush(e);
    a = as_rm(e, x64_use(e, i->a));
    b = as_rm(e, x64_use(e, i->b));
    asm_vmov_xr(&e->hot, w, 0, a);
    asm_vmov_xr(&e->hot, w, 1, b);
    asm_vpclmulqdq(&e->hot, 0, 0, rm_reg(1), 0);
    r = x64_dst(e, i);
    if (from == 64) {
        asm_vpextrq(&e->hot, rm_reg(r), 0, 1);
    } else {
        asm_vmov_rx(&e->hot, from || w, rm_reg(r), 0);
        if (from == 63) {
            t = x64_take(e);
            asm_vpextrq(&e->hot, rm_reg(t), 0, 1);
            asm_shld(&e->hot, 1, rm_reg(t), r, 1);
            asm_mov(&e->hot, 1, r, rm_reg(t));
        } else if (from) {
            asm_shift_imm(&e->hot, SH_SHR, 1, rm_reg(r), from);
            asm_mov(&e->hot, 0, r, rm_reg(r));
        }
    }
    x64_put(e, i, r);
}
void x64_lower_clmul(X64Emitter *e, const IrInsn *i) { lower_clmul(e, i, 0); }
void x64_lower_clmulh(X64Emitter *e, const IrInsn *i) { lower_clmul(e, i, x64_w(i) ? 64 : 32); }
void x64_lower_clmulr(X64Emitter *e, const IrInsn *i) { lower_clmul(e, i, x64_w(i) ? 63 : 31); }
