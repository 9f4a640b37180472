/* SPDX-License-Identifier: MIT */
/*
 * Zicsr and the privileged instructions (privileged manual, chapters 2 and 3.3),
 * cache-block operations, hints that wait. Registers that are slots are read
 * and written in place; all others by the helpers of helpers.h.
 *
 * What may change the mode key ends the unit with an indirect jump, which looks
 * up the next unit under the new mode. What can only unmask interrupts polls.
 */
#include "target/riscv/tr.h"

enum { CSR_FFLAGS = 0x001, CSR_SSTATUS = 0x100, CSR_MSTATUS = 0x300 };

/* ---- CSRs that are slots */

typedef struct CsrSlot { uint16_t csr; uint8_t sys; bool write; uint64_t mask; } CsrSlot;

/* mask: bits that a write sets. Those of mstatus are done apart. */
static const CsrSlot csr_slots[] = {
    { 0x105, SYS_STVEC, false, 0 },
    { 0x140, SYS_SSCRATCH, true, UINT64_MAX },
    { 0x141, SYS_SEPC, true, ~(uint64_t)1 },
    { 0x142, SYS_SCAUSE, true, UINT64_MAX },
    { 0x143, SYS_STVAL, true, UINT64_MAX },
    { 0x305, SYS_MTVEC, false, 0 },
    { 0x340, SYS_MSCRATCH, true, UINT64_MAX },
    { 0x341, SYS_MEPC, true, ~(uint64_t)1 },
    { 0x342, SYS_MCAUSE, true, UINT64_MAX },
    { 0x343, SYS_MTVAL, true, UINT64_MAX },
};

/* May this mode touch the register without asking? V=1 has registers of its own behind these numbers. */
static bool csr_direct(const Tr *t, unsigned csr)
{
    return tr_prv(t) >= (csr >> 8 & 3) && !(t->mode & RVM_VIRT) && tr_exts(t) >> RV_C & 1
        && (csr >= 0x300 || tr_exts(t) >> RV_S & 1);
}

static const CsrSlot *csr_slot(const Tr *t, unsigned csr)
{
    if (csr_direct(t, csr))
        for (unsigned n = 0; n < sizeof(csr_slots) / sizeof(csr_slots[0]); n++)
            if (csr_slots[n].csr == csr)
                return &csr_slots[n];
    return NULL;
}

typedef enum CsrKind { CSR_READ, CSR_WRITE, CSR_SET, CSR_CLEAR } CsrKind;

/* old = slot; slot = (what the access makes of it) & mask; rd = old. v is a slot, value or constant. */
static void slot_access(Tr *t, const CsrSlot *c, CsrKind kind, unsigned rd, IrRef v)
{
    IrRef slot = sys_slot(c->sys), old;

    if (kind == CSR_READ) {
        if (rd)
            ir_op1(t->ir, IR_mov, IR_I64, xd(rd), slot);
        return;
    }
    old = rd ? ir_op1(t->ir, IR_mov, IR_I64, IR_NEW, slot) : slot;
    if (kind != CSR_WRITE)
        v = ir_op2(t->ir, kind == CSR_SET ? IR_or : IR_andn, IR_I64, c->mask + 1 ? IR_NEW : slot, old, v);
    if (v != slot)
        ir_op2(t->ir, IR_and, IR_I64, slot, v, imm(t, c->mask));
    if (rd)
        ir_op1(t->ir, IR_mov, IR_I64, xd(rd), old);
}

/* ---- sstatus and mstatus: read in place; SIE or MIE alone set and cleared in place */

static uint64_t enable_bit(const Tr *t, unsigned csr)
{
    if (csr_direct(t, csr))
        return csr == CSR_SSTATUS ? MSTATUS_SIE : csr == CSR_MSTATUS ? MSTATUS_MIE : 0;
    return 0;
}

static IrRef status_read(Tr *t, unsigned csr, IrRef d)
{
    return ir_op2(t->ir, IR_and, IR_I64, d, sys_slot(SYS_MSTATUS), imm(t, csr == CSR_SSTATUS ? SSTATUS_MASK : UINT64_MAX));
}

static void status_access(Tr *t, unsigned csr, CsrKind kind, unsigned rd)
{
    IrRef status = sys_slot(SYS_MSTATUS);
    uint64_t bit = enable_bit(t, csr);

    if (rd)
        status_read(t, csr, xd(rd));
    if (kind == CSR_CLEAR) {
        ir_op2(t->ir, IR_and, IR_I64, status, status, imm(t, ~bit));
    } else if (kind == CSR_SET) {
        ir_op2(t->ir, IR_or, IR_I64, status, status, imm(t, bit));
        ir_call(t->ir, RVH_irq_check, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
        ir_poll(t->ir, t->next);
    }
}

/* ---- all others */

static int csr_helper(CsrKind kind, bool outside)
{
    static const int helpers[2][4] = {
        { RVH_csr_read, RVH_csr_write, RVH_csr_set, RVH_csr_clear },
        { RVH_csr_read_out, RVH_csr_write_out, RVH_csr_set_out, RVH_csr_clear_out },
    };
    return helpers[outside][kind];
}

static bool changes_mode(const Tr *t, unsigned csr)
{
    /* flags change FS alone, once */
    if (csr == CSR_FFLAGS && (t->mode >> RVM_FS_SHIFT & 3) == RVM_FS_DIRTY)
        return false;
    return riscv_csr_changes_mode(csr);
}

static void call_access(Tr *t, const RvInsn *i, CsrKind kind, IrRef v)
{
    unsigned csr = i->imm;
    IrRef a = imm(t, csr | (uint64_t)i->bits << 12);
    int helper = csr_helper(kind, riscv_csr_outside(csr));

    ir_call(t->ir, helper, i->rd ? xd(i->rd) : IR_NONE, a, kind == CSR_READ ? IR_NONE : v, IR_NONE);
    if (kind == CSR_READ)
        return;
    if (changes_mode(t, csr))
        end_at(t, t->next);
    else if (riscv_csr_unmasks(csr))
        ir_poll(t->ir, t->next);
}

static bool access_csr(Tr *t, const RvInsn *i, CsrKind kind, bool immediate)
{
    unsigned csr = i->imm;
    const CsrSlot *slot = csr_slot(t, csr);
    IrRef v = immediate ? imm(t, i->rs1) : xs(t, i->rs1);

    if (i->rs1 == 0 && kind != CSR_WRITE)
        kind = CSR_READ;
    if (slot && (kind == CSR_READ || slot->write))
        slot_access(t, slot, kind, i->rd, v);
    else if (enable_bit(t, csr) &&
             (kind == CSR_READ || (immediate && kind != CSR_WRITE && i->rs1 == enable_bit(t, csr))))
        status_access(t, csr, kind, i->rd);
    else
        call_access(t, i, kind, v);
    return true;
}

bool rv_tr_csrrw(Tr *t, const RvInsn *i) { return access_csr(t, i, CSR_WRITE, false); }
bool rv_tr_csrrs(Tr *t, const RvInsn *i) { return access_csr(t, i, CSR_SET, false); }
bool rv_tr_csrrc(Tr *t, const RvInsn *i) { return access_csr(t, i, CSR_CLEAR, false); }
bool rv_tr_csrrwi(Tr *t, const RvInsn *i) { return access_csr(t, i, CSR_WRITE, true); }
bool rv_tr_csrrsi(Tr *t, const RvInsn *i) { return access_csr(t, i, CSR_SET, true); }
bool rv_tr_csrrci(Tr *t, const RvInsn *i) { return access_csr(t, i, CSR_CLEAR, true); }

/* ---- traps and returns */

static bool call_and_go(Tr *t, const RvInsn *i, int helper)
{
    IrRef v = ir_call(t->ir, helper, IR_NEW, ir_pcimm(t->ir, t->pc), imm(t, i->bits), IR_NONE);

    ir_goind(t->ir, IND_JUMP, v, 0);
    t->ended = true;
    return true;
}

bool rv_tr_mret(Tr *t, const RvInsn *i) { return call_and_go(t, i, RVH_mret); }
bool rv_tr_sret(Tr *t, const RvInsn *i) { return call_and_go(t, i, RVH_sret); }

bool rv_tr_ecall(Tr *t, const RvInsn *i)
{
    IrRef v = ir_call(t->ir, RVH_ecall, IR_NEW, ir_pcimm(t->ir, t->pc), IR_NONE, IR_NONE);

    (void)i;
    ir_goind(t->ir, IND_JUMP, v, 0);
    t->ended = true;
    return true;
}

bool rv_tr_ebreak(Tr *t, const RvInsn *i)
{
    (void)i;
    ir_call(t->ir, RVH_ebreak, IR_NONE, ir_pcimm(t->ir, t->pc), IR_NONE, IR_NONE);
    end_raised(t);
    return true;
}

/* ---- waiting */

bool rv_tr_wfi(Tr *t, const RvInsn *i)
{
    ir_call(t->ir, RVH_wfi, IR_NONE, imm(t, i->bits), IR_NONE, IR_NONE);
    ir_exit(t->ir, EXIT_HALT, t->next);
    t->ended = true;
    return true;
}

static bool wait_for_reservation(Tr *t, const RvInsn *i)
{
    ir_call(t->ir, RVH_wrs, IR_NONE, imm(t, i->bits), IR_NONE, IR_NONE);
    ir_poll(t->ir, t->next);
    return true;
}

bool rv_tr_wrs_nto(Tr *t, const RvInsn *i) { return wait_for_reservation(t, i); }
bool rv_tr_wrs_sto(Tr *t, const RvInsn *i) { return wait_for_reservation(t, i); }

bool rv_tr_pause(Tr *t, const RvInsn *i)
{
    if (!(t->mode & MODE_ONE_VCPU))
        ir_call(t->ir, RVH_pause, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    ir_poll(t->ir, t->next);
    return true;
}

/* ---- fences of address translation and of code */

bool rv_tr_sfence_vma(Tr *t, const RvInsn *i)
{
    uint64_t c = i->bits | (uint64_t)(i->rs1 == 0) << 32 | (uint64_t)(i->rs2 == 0) << 33;

    ir_call(t->ir, RVH_sfence_vma, IR_NONE, xs(t, i->rs1), xs(t, i->rs2), imm(t, c));
    end_at(t, t->next);
    return true;
}

bool rv_tr_sinval_vma(Tr *t, const RvInsn *i) { return rv_tr_sfence_vma(t, i); }

static bool inval_fence(Tr *t, const RvInsn *i)
{
    ir_call(t->ir, RVH_sfence_inval, IR_NONE, imm(t, i->bits), IR_NONE, IR_NONE);
    return true;
}

bool rv_tr_sfence_w_inval(Tr *t, const RvInsn *i) { return inval_fence(t, i); }
bool rv_tr_sfence_inval_ir(Tr *t, const RvInsn *i) { return inval_fence(t, i); }

bool rv_tr_fence_i(Tr *t, const RvInsn *i)
{
    (void)i;
    ir_call(t->ir, RVH_fence_i, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    ir_exit(t->ir, EXIT_FLUSH, t->next);
    t->ended = true;
    return true;
}

/* ---- cache blocks */

static bool cache_block(Tr *t, const RvInsn *i)
{
    ir_call(t->ir, RVH_cbo, IR_NONE, imm(t, i->bits >> 20), xs(t, i->rs1), imm(t, i->bits));
    return true;
}

bool rv_tr_cbo_inval(Tr *t, const RvInsn *i) { return cache_block(t, i); }
bool rv_tr_cbo_clean(Tr *t, const RvInsn *i) { return cache_block(t, i); }
bool rv_tr_cbo_flush(Tr *t, const RvInsn *i) { return cache_block(t, i); }
bool rv_tr_cbo_zero(Tr *t, const RvInsn *i) { return cache_block(t, i); }

/* ---- hints without any effect */

static bool hint(Tr *t, const RvInsn *i)
{
    return (void)t, (void)i, true;
}

bool rv_tr_prefetch_i(Tr *t, const RvInsn *i) { return hint(t, i); }
bool rv_tr_prefetch_r(Tr *t, const RvInsn *i) { return hint(t, i); }
bool rv_tr_prefetch_w(Tr *t, const RvInsn *i) { return hint(t, i); }
bool rv_tr_ntl_p1(Tr *t, const RvInsn *i) { return hint(t, i); }
bool rv_tr_ntl_pall(Tr *t, const RvInsn *i) { return hint(t, i); }
bool rv_tr_ntl_s1(Tr *t, const RvInsn *i) { return hint(t, i); }
bool rv_tr_ntl_all(Tr *t, const RvInsn *i) { return hint(t, i); }
