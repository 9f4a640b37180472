/* SPDX-License-Identifier: MIT */
/*
 * Lowering of floating-point operations.
 */
#include "tcg/x64/x64-priv.h"

/* ---- what is known of boxing: a bit for each of the first 64 slots of the FPR bank, by slot number */

void x64_boxed(X64Emitter *e, IrRef d, bool boxed)
{
}

static int xmm_of(const X64Emitter *e, IrRef r)
{
    return ir_tag(r) == IR_SLOT ? e->s->slot[ir_index(r)].xmm : -1;
}

/* ---- moves */

void x64_fp_mov(X64Emitter *e, const IrInsn *i)
{
    int xd = xmm_of(e, i->d), xa = xmm_of(e, i->a);
    Rm home = x64_dst_home(e, i);

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

/* ---- by the exact functions */

void x64_load_ref(X64Emitter *e, Asm *a, int reg, IrRef r)
{
    int x = xmm_of(e, r);

    if (x >= 0)
        asm_vmov_rx(a, 1, rm_reg(reg), x);
    else if (r != IR_NONE)
        x64_load(e, a, reg, x64_use(e, r));
}

static void call_exact(X64Emitter *e, Asm *a, const IrInsn *i)
{
    x64_load_ref(e, a, RAX, i->a);
    x64_load_ref(e, a, RDX, i->b);
    x64_load_ref(e, a, RCX, i->c);
    asm_store_imm(a, 2, env_spill(SPILL_ARG), (int32_t)x64_fp_word(i));
    asm_call(a, e->s->fp);
}

static void lower_exact(X64Emitter *e, const IrInsn *i)
{
    x64_flush(e);
    e->busy |= 1u << RAX | 1u << RDX | 1u << RCX;
    call_exact(e, &e->hot, i);
    x64_put(e, i, RAX);
}

#define EXACT(name) void x64_lower_##name(X64Emitter *e, const IrInsn *i) { lower_exact(e, i); }
EXACT(fadd) EXACT(fsub) EXACT(fmul) EXACT(fdiv) EXACT(fsqrt) EXACT(fmadd) EXACT(fmsub) EXACT(fnmadd) EXACT(fnmsub)
EXACT(fmin) EXACT(fmax) EXACT(fsgnj) EXACT(fsgnjn) EXACT(fsgnjx) EXACT(feq) EXACT(flt) EXACT(fle) EXACT(fclass)
EXACT(fcvt_ff) EXACT(fcvt_fi) EXACT(fcvt_if) EXACT(fmv_fi) EXACT(fmv_if)
