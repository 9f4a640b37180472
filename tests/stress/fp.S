/* SPDX-License-Identifier: MIT */
/* Floating-point registers as a block of memory, and a computation that uses them all. See fp.c. */
        .option arch, +d
        .text
        .globl  fp_save, fp_load, fp_work, fp_clobber
        .align  2

/* fp_save(p), fp_load(p): f0-f31 at p, fcsr behind them */
fp_save:
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        fsd     f\n, 8 * \n(a0)
        .endr
        csrr    t0, fcsr
        sd      t0, 256(a0)
        ret
fp_load:
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        fld     f\n, 8 * \n(a0)
        .endr
        ld      t0, 256(a0)
        csrw    fcsr, t0
        ret

/* Spoils every register, the flags and the rounding mode. */
fp_clobber:
        li      t0, 0x3fe123456789abcd
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        fmv.d.x f\n, t0
        .endr
        li      t0, 0x5f                /* frm 2, all flags */
        csrw    fcsr, t0
        fdiv.d  f0, f1, f2
        ret

/*
 * fp_work(p, n): loads everything from p, n times round, stores everything to p.
 * The values stay near 1, so that every result is rounded.
 */
        .macro  step a, b, c, d
        fmul.d  f\a, f\a, f\b
        fdiv.d  f\b, f\c, f\b
        fmadd.d f\c, f\a, f\d, f\c
        fsqrt.d f\d, f\d
        fadd.d  f\a, f\a, f\d
        fnmsub.d f\b, f\b, f\d, f\c
        fsgnjx.d f\c, f\c, f\c
        fsqrt.d f\c, f\c
        fsgnjx.d f\a, f\a, f\a
        fsqrt.d f\a, f\a
        fsgnjx.d f\b, f\b, f\b
        fsqrt.d f\b, f\b
        .endm
fp_work:
        mv      t1, ra
        call    fp_load
        mv      ra, t1
1:      step    0, 1, 2, 3
        step    4, 5, 6, 7
        step    8, 9, 10, 11
        step    12, 13, 14, 15
        step    16, 17, 18, 19
        step    20, 21, 22, 23
        step    24, 25, 26, 27
        step    28, 29, 30, 31
        step    3, 4, 7, 8
        step    11, 12, 15, 16
        step    19, 20, 23, 24
        step    27, 28, 31, 0
        fcvt.s.d f1, f1
        fadd.s  f1, f1, f1
        fcvt.d.s f1, f1
        addi    a1, a1, -1
        bnez    a1, 1b
        mv      t1, ra
        call    fp_save
        mv      ra, t1
        ret
