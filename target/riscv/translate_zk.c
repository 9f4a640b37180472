/* SPDX-License-Identifier: MIT */
/*
 * Scalar cryptography: Zbkb, Zbkx, Zknd, Zkne, Zknh (unprivileged manual, chapter
 * "Scalar Cryptography"). AES and the table lookups are C functions.
 */
#include "target/riscv/tr.h"

/* ---- Zbkb */

bool rv_tr_brev8(Tr *t, const RvInsn *i) { return tr_op1(t, i, IR_brev8); }

/* Low `bits` of rs1, above them the low `bits` of rs2. */
static bool pack(Tr *t, const RvInsn *i, IrOp low, unsigned bits)
{
    if (!i->rd)
        return true;
    IrRef a = ir_op1(t->ir, low, IR_I64, IR_NEW, xs(t, i->rs1));
    IrRef b = bits == 32 ? xs(t, i->rs2) : ir_op1(t->ir, low, IR_I64, IR_NEW, xs(t, i->rs2));
    b = ir_op2(t->ir, IR_shl, IR_I64, IR_NEW, b, imm(t, bits));
    if (bits == 16) {
        a = ir_op2(t->ir, IR_or, IR_I64, IR_NEW, a, b);
        ir_op1(t->ir, IR_sext32, IR_I64, xd(i->rd), a);
    } else {
        ir_op2(t->ir, IR_or, IR_I64, xd(i->rd), a, b);
    }
    return true;
}

bool rv_tr_pack(Tr *t, const RvInsn *i) { return pack(t, i, IR_zext32, 32); }
bool rv_tr_packw(Tr *t, const RvInsn *i) { return pack(t, i, IR_zext16, 16); }
bool rv_tr_packh(Tr *t, const RvInsn *i) { return pack(t, i, IR_zext8, 8); }

/* ---- by helper */

static bool call2(Tr *t, const RvInsn *i, int helper)
{
    if (i->rd)
        ir_call(t->ir, helper, xd(i->rd), xs(t, i->rs1), xs(t, i->rs2), IR_NONE);
    return true;
}

#define CALL2(row) bool rv_tr_##row(Tr *t, const RvInsn *i) { return call2(t, i, RVH_##row); }
CALL2(xperm4)
CALL2(xperm8)
CALL2(aes64ds)
CALL2(aes64dsm)
CALL2(aes64es)
CALL2(aes64esm)

bool rv_tr_aes64im(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_call(t->ir, RVH_aes64im, xd(i->rd), xs(t, i->rs1), IR_NONE, IR_NONE);
    return true;
}

bool rv_tr_aes64ks1i(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_call(t->ir, RVH_aes64ks1i, xd(i->rd), xs(t, i->rs1), imm(t, i->imm), IR_NONE);
    return true;
}

/* Low word: rs1's high word ^ rs2's low; high word: that ^ rs2's high. */
bool rv_tr_aes64ks2(Tr *t, const RvInsn *i)
{
    if (!i->rd)
        return true;
    IrRef b = xs(t, i->rs2);
    IrRef low = ir_op2(t->ir, IR_shr, IR_I64, IR_NEW, xs(t, i->rs1), imm(t, 32));
    IrRef v = ir_op2(t->ir, IR_xor, IR_I64, IR_NEW, low, b);            /* high half: rs2's high */
    IrRef up = ir_op2(t->ir, IR_shl, IR_I64, IR_NEW, v, imm(t, 32));    /* the low word, up there */
    ir_op2(t->ir, IR_xor, IR_I64, xd(i->rd), v, up);
    return true;
}

/* ---- Zknh: two rotations and a third, or a shift. FIPS 180-4, 4.1.2 and 4.1.3 */

static bool sha(Tr *t, const RvInsn *i, IrType ty, int r1, int r2, int r3, bool shift)
{
    if (!i->rd)
        return true;
    IrRef a = xs(t, i->rs1);
    IrRef v = ir_op2(t->ir, IR_ror, ty, IR_NEW, a, imm(t, r1));
    IrRef w = ir_op2(t->ir, IR_ror, ty, IR_NEW, a, imm(t, r2));
    v = ir_op2(t->ir, IR_xor, ty, IR_NEW, v, w);
    w = ir_op2(t->ir, shift ? IR_shr : IR_ror, ty, IR_NEW, a, imm(t, r3));
    if (ty == IR_I64) {
        ir_op2(t->ir, IR_xor, ty, xd(i->rd), v, w);
    } else {
        v = ir_op2(t->ir, IR_xor, ty, IR_NEW, v, w);
        ir_op1(t->ir, IR_sext32, IR_I64, xd(i->rd), v);
    }
    return true;
}

#define SHA(row, ty, a, b, c, shift) bool rv_tr_##row(Tr *t, const RvInsn *i) { return sha(t, i, ty, a, b, c, shift); }
SHA(sha256sum0, IR_I32, 2, 13, 22, false)
SHA(sha256sum1, IR_I32, 6, 11, 25, false)
SHA(sha256sig0, IR_I32, 7, 18, 3, true)
SHA(sha256sig1, IR_I32, 17, 19, 10, true)
SHA(sha512sum0, IR_I64, 28, 34, 39, false)
SHA(sha512sum1, IR_I64, 14, 18, 41, false)
SHA(sha512sig0, IR_I64, 1, 8, 7, true)
SHA(sha512sig1, IR_I64, 19, 61, 6, true)
