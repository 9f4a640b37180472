/* SPDX-License-Identifier: MIT */
/*
 * Calls from U mode to S mode to M mode and back: the user program, S mode's trap
 * handler, and the way in and out. See "many small traps" in traps.c.
 */
#define CALLS 0                         /* struct Storm */
#define SP    8
#define BAD   16

        .text
        .globl  storm_run, storm_s, storm_user, storm_user_end
        .align  2

/* storm_run(n, sum): in S mode, sscratch is the hart's Storm */
storm_run:
        addi    sp, sp, -128
        sd      ra, 0(sp)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11
        sd      s\n, 8 + 8 * \n(sp)
        .endr
        sd      a1, 104(sp)
        csrr    t0, sscratch
        sd      sp, SP(t0)
        mv      a1, a0
        li      a0, 0
        li      t0, 0x40000000          /* VA_TEST: the user program */
        csrw    sepc, t0
        li      t0, 0x100               /* sstatus.SPP: to U mode */
        csrc    sstatus, t0
        li      t0, 0x20                /* sstatus.SPIE */
        csrs    sstatus, t0
        sret

        .align  2
storm_s:
        csrrw   t0, sscratch, t0
        ld      t1, CALLS(t0)
        addi    t1, t1, 1
        sd      t1, CALLS(t0)
        csrr    t1, scause
        addi    t1, t1, -8              /* ecall from U mode */
        bnez    t1, bad
        csrr    t1, sstatus
        andi    t1, t1, 0x122           /* SPP, SPIE, SIE */
        addi    t1, t1, -0x20
        bnez    t1, bad
good:   csrr    t1, sepc
        addi    t1, t1, 4
        csrw    sepc, t1
        li      t1, 2
        beq     a7, t1, leave
        addi    a0, a0, 1
        ld      t1, CALLS(t0)
        andi    t1, t1, 3
        bnez    t1, 1f
        li      a7, 0x5707              /* M mode adds 3 */
        ecall
1:      csrrw   t0, sscratch, t0
        sret
bad:    ld      t1, BAD(t0)
        addi    t1, t1, 1
        sd      t1, BAD(t0)
        j       good

leave:  ld      sp, SP(t0)
        ld      t1, 104(sp)
        sd      a0, 0(t1)
        ld      ra, 0(sp)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11
        ld      s\n, 8 + 8 * \n(sp)
        .endr
        addi    sp, sp, 128
        ret

/* a0 is the sum, a1 how often; copied to a page of its own */
storm_user:
        li      a7, 1
        ecall
        addi    a1, a1, -1
        bnez    a1, storm_user
        li      a7, 2
        ecall
storm_user_end:
