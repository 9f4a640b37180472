/* SPDX-License-Identifier: MIT */
/* First instructions of the bare-metal benchmark: stack, FPU on, traps reported. */
        .section .text.start, "ax"
        .globl  _start
_start:
        csrr    t0, mhartid
        bnez    t0, park
        .option push
        .option norelax
        la      gp, __global_pointer$
        .option pop
        la      sp, stack_top
        la      t0, trap
        csrw    mtvec, t0
        li      t0, 1 << 13             /* mstatus.FS = initial */
        csrs    mstatus, t0
        csrw    fcsr, zero
        call    bare_main
park:   wfi
        j       park

        .align  2
trap:   la      sp, stack_top
        csrr    a0, mcause
        csrr    a1, mepc
        csrr    a2, mtval
        call    bare_trap

        .bss
        .align  12
        .space  65536
stack_top:
