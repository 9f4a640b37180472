/* SPDX-License-Identifier: MIT */
/*
 * What the compiler is told of RISC-V: where registers live, which are held in
 * host registers, and which C functions may be called. The pins are the
 * registers that compiled code names most often, in that order.
 */
#include "target/riscv/front.h"
#include "target/riscv/helper_rows.h"
#include "target/riscv/tr.h"

#define XREG(n, name, pin) { name, IR_I64, BANK_GPR, offsetof(Env, gpr[n]), pin }
#define FREG(n, name, pin) { name, IR_F64, BANK_FPR, offsetof(Env, vec[n]), pin }
#define SYSREG(id, name) { name, IR_I64, BANK_MEM, offsetof(Env, sys[id]), -1 }

static const IrSlot slots[] = {
    XREG( 1, "ra", 10), XREG( 2, "sp", 8),  XREG( 3, "gp", -1),  XREG( 4, "tp", -1),
    XREG( 5, "t0", -1), XREG( 6, "t1", -1), XREG( 7, "t2", -1),  XREG( 8, "s0", 5),
    XREG( 9, "s1", 9),  XREG(10, "a0", 3),  XREG(11, "a1", 6),   XREG(12, "a2", 4),
    XREG(13, "a3", 2),  XREG(14, "a4", 1),  XREG(15, "a5", 0),   XREG(16, "a6", 7),
    XREG(17, "a7", -1), XREG(18, "s2", -1), XREG(19, "s3", -1),  XREG(20, "s4", -1),
    XREG(21, "s5", -1), XREG(22, "s6", -1), XREG(23, "s7", -1),  XREG(24, "s8", -1),
    XREG(25, "s9", -1), XREG(26, "s10", -1), XREG(27, "s11", -1), XREG(28, "t3", -1),
    XREG(29, "t4", -1), XREG(30, "t5", -1), XREG(31, "t6", -1),

    FREG( 0, "ft0", 6), FREG( 1, "ft1", 7), FREG( 2, "ft2", -1), FREG( 3, "ft3", -1),
    FREG( 4, "ft4", -1), FREG( 5, "ft5", -1), FREG( 6, "ft6", -1), FREG( 7, "ft7", -1),
    FREG( 8, "fs0", 8), FREG( 9, "fs1", 9), FREG(10, "fa0", 0), FREG(11, "fa1", 1),
    FREG(12, "fa2", 2), FREG(13, "fa3", 3), FREG(14, "fa4", 4), FREG(15, "fa5", 5),
    FREG(16, "fa6", -1), FREG(17, "fa7", -1), FREG(18, "fs2", -1), FREG(19, "fs3", -1),
    FREG(20, "fs4", -1), FREG(21, "fs5", -1), FREG(22, "fs6", -1), FREG(23, "fs7", -1),
    FREG(24, "fs8", -1), FREG(25, "fs9", -1), FREG(26, "fs10", -1), FREG(27, "fs11", -1),
    FREG(28, "ft8", -1), FREG(29, "ft9", -1), FREG(30, "ft10", -1), FREG(31, "ft11", -1),

    SYSREG(SYS_MSTATUS, "mstatus"), SYSREG(SYS_SSCRATCH, "sscratch"), SYSREG(SYS_SEPC, "sepc"),
    SYSREG(SYS_SCAUSE, "scause"), SYSREG(SYS_STVAL, "stval"), SYSREG(SYS_STVEC, "stvec"),
    SYSREG(SYS_MSCRATCH, "mscratch"), SYSREG(SYS_MEPC, "mepc"), SYSREG(SYS_MCAUSE, "mcause"),
    SYSREG(SYS_MTVAL, "mtval"), SYSREG(SYS_MTVEC, "mtvec"),
};
_Static_assert(sizeof(slots) / sizeof(slots[0]) == SLOTS, "tr.h numbers the slots");

static const IrHelper helpers[] = {
#define X(name, fn, nargs, flags) { #name, fn, nargs, flags },
    RV_HELPERS(X)
#undef X
};

const IrGuest riscv_ir = {
    .name = "riscv64",
    .slots = slots, .nslots = SLOTS,
    .helpers = helpers, .nhelpers = RVH_COUNT,
    .nan_box = true,
    .fpu_nan = 0,               /* FPU_NAN_DEFAULT_RISCV */
};
