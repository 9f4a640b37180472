/* SPDX-License-Identifier: MIT */
/*
 * First instructions of a bare-metal program, and its way into bare_trap() and
 * back. Each hart has a stack, and another one for traps whose top is in
 * mscratch while no trap is being handled; 0 there means that one is, so that a
 * trap inside the handler is told apart instead of ruining the first.
 */
#define HARTS      8            /* as BARE_HARTS in bare.h */
#define STACK      65536
#define TRAP_STACK 8192
#define FRAME      288          /* struct Frame of bare.h */

        .section .text.start, "ax"
        .globl  _start
_start:
        csrr    a0, mhartid             /* a1 is the device tree */
        li      t0, HARTS
        bgeu    a0, t0, park
        .option push
        .option norelax
        la      gp, __global_pointer$
        .option pop
        addi    t0, a0, 1
        li      t1, STACK
        mul     t1, t1, t0
        la      sp, stacks
        add     sp, sp, t1
        li      t1, TRAP_STACK
        mul     t1, t1, t0
        la      t0, trap_stacks
        add     t0, t0, t1
        csrw    mscratch, t0
        la      t0, trap
        csrw    mtvec, t0
        li      t0, 1 << 13             /* mstatus.FS = initial */
        csrs    mstatus, t0
        csrw    fcsr, zero
        call    bare_main
park:   wfi
        j       park

        .align  4
trap:   csrrw   sp, mscratch, sp
        beqz    sp, nested
        addi    sp, sp, -FRAME
        sd      x1, 8(sp)
        .irp    n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        sd      x\n, 8 * \n(sp)
        .endr
        csrrw   t0, mscratch, zero
        sd      t0, 16(sp)
        csrr    t0, mepc
        sd      t0, 256(sp)
        csrr    t0, mcause
        sd      t0, 264(sp)
        csrr    t0, mtval
        sd      t0, 272(sp)
        csrr    t0, mstatus
        sd      t0, 280(sp)
        mv      a0, sp
        call    bare_trap
        ld      t0, 256(sp)
        csrw    mepc, t0
        ld      t0, 280(sp)
        csrw    mstatus, t0
        addi    t0, sp, FRAME
        csrw    mscratch, t0
        ld      x1, 8(sp)
        .irp    n, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        ld      x\n, 8 * \n(sp)
        .endr
        ld      sp, 16(sp)
        mret

nested: la      sp, nested_stack
        csrr    a0, mcause
        csrr    a1, mepc
        csrr    a2, mtval
        call    bare_nested_trap
        j       park

        .bss
        .align  12
stacks:
        .space  HARTS * STACK
trap_stacks:
        .space  HARTS * TRAP_STACK
        .space  4096
nested_stack:
