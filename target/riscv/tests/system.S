# SPDX-License-Identifier: MIT
# Zicsr and the privileged instructions (privileged manual, chapters 2, 3.3, 4): what translation does in place,
# and what it leaves to the helpers.

# test: swap-with-scratch mode=S
    # start: tp=0x1111 sscratch=0x2222
    csrrw   tp, sscratch, tp
    # expect: tp=0x2222 sscratch=0x1111
    # code: 14021273

# test: read-modify-write-in-place mode=S
    # start: a0=0xff scause=0x8000000000000005 stval=0xf0f0
    csrrs   a1, stval, a0
    csrrc   a2, stval, a0
    csrrwi  a3, stval, 17
    csrrsi  a4, stval, 2
    csrrci  a5, stval, 1
    csrr    a6, scause
    csrw    scause, a0
    # expect: a1=0xf0f0 a2=0xf0ff a3=0xf000 a4=17 a5=0x13 stval=0x12 a6=0x8000000000000005 scause=0xff
    # code: 143525f3 14353673 1438d6f3 14316773 1430f7f3 14202873 14251073

# test: old-and-new-in-one-register mode=S
    # start: a0=0xf sscratch=0xf3
    csrrs   a0, sscratch, a0
    csrrc   a0, sscratch, a0
    # expect: a0=0xff sscratch=0xc
    # code: 14052573 14053573

# test: exception-pc-is-even mode=S
    li      a0, 0x1235
    csrw    sepc, a0
    csrr    a1, sepc
    csrrsi  a2, sepc, 3
    # expect: a1=0x1234 a2=0x1234 sepc=0x1236
    # code: 6505 2355051b 14151073 141025f3 1411e673

# test: machine-registers-in-place mode=M
    # start: mscratch=7 mcause=2 mtval=0x99 a0=0x101
    csrrw   a1, mscratch, a0
    csrrw   a2, mepc, a0
    csrr    a3, mepc
    csrr    a4, mcause
    csrrw   a5, mtval, a1
    csrrw   a6, sscratch, a0
    # expect: a1=7 a2=0 a3=0x100 a4=2 a5=0x99 mtval=7 a6=0 sscratch=0x101
    # code: 340515f3 34151673 341026f3 34202773 343597f3 14051873

# test: status-views mode=S
    # start: mstatus=0x8000000a00006888
    csrr    a0, sstatus
    csrrsi  a1, sstatus, 2
    csrrci  a2, sstatus, 2
    csrr    a3, sstatus
    # expect: a0=0x8000000200006000 a1=0x8000000200006000 a2=0x8000000200006002 a3=0x8000000200006000
    # expect: mstatus=0x8000000a00006888
    # code: 10002573 100165f3 10017673 100026f3

# test: status-bits-by-register mode=S
    li      a0, 0x40022
    csrs    sstatus, a0
    csrr    a1, sstatus
    li      a0, 0x2
    csrc    sstatus, a0
    csrr    a2, sstatus
    # expect: a1=0x8000000200046022 a2=0x8000000200046020
    # code: 00040537 0225051b 10052073 100025f3 4509 10053073 10002673

# test: machine-interrupt-enable mode=M
    csrrsi  a0, mstatus, 8
    csrrci  a1, mstatus, 8
    csrr    a2, mstatus
    # expect: a0=0x8000000a00006000 a1=0x8000000a00006008 a2=0x8000000a00006000
    # code: 30046573 300475f3 30002673

# test: user-may-not-read-supervisor-registers mode=U
    csrr    a0, sscratch
    # expect: trap=2 tval=0x14002573 pc=@
    # code: 14002573

# test: supervisor-may-not-write-machine-registers mode=S
    csrw    mscratch, a0
    # expect: trap=2 tval=0x34051073
    # code: 34051073

# test: no-such-register mode=M
    csrr    a0, 0x5ff
    # expect: trap=2 tval=0x5ff02573
    # code: 5ff02573

# test: read-only-register mode=M
    csrrw   a0, mhartid, a0
    # expect: trap=2 tval=0xf1451573
    # code: f1451573

# test: read-only-register-may-be-read-by-csrrs mode=M
    # start: a0=9
    csrrs   a0, mhartid, zero
    # expect: a0=0
    # code: f1402573

# test: set-with-zero-register-value-is-a-write mode=M
    csrrs   a1, mhartid, a0
    # expect: trap=2 tval=0xf14525f3
    # code: f14525f3

# test: ecall-from-machine mode=M
    .option norvc
    la      t0, 1f
    csrw    mtvec, t0
    ecall
    li      a0, 1
1:  csrr    a1, mcause
    csrr    a2, mepc
    # expect: a0=0 a1=11 a2=@+12 prv=3
    # code: 00000297 01428293 30529073 00000073 00100513 342025f3 34102673

# test: ecall-from-user mode=U
    # start: mtvec=@+8
    .option norvc
    ecall
    nop
    csrr    a0, mcause
    csrr    a1, mstatus
    # expect: a0=8 a1=0x8000000a00006000 prv=3 mepc=@
    # code: 00000073 00000013 34202573 300025f3

# test: delegated-ecall mode=U
    # start: stvec=@+8 medeleg=0x100
    .option norvc
    ecall
    nop
    csrr    a0, scause
    # expect: a0=8 prv=1 sepc=@
    # code: 00000073 00000013 14202573

# test: return-to-user mode=S
    .option norvc
    la      t0, 1f
    csrw    sepc, t0
    li      t1, 0x120
    csrc    sstatus, t1
    sret
    li      a0, 1
1:  li      a1, 1
    # expect: a0=0 a1=1 prv=0
    # code: 00000297 01c28293 14129073 12000313 10033073 10200073 00100513 00100593

# test: machine-return-to-supervisor mode=M
    .option norvc
    la      t0, 1f
    csrw    mepc, t0
    li      t1, 0x800
    csrs    mstatus, t1
    mret
    li      a0, 1
1:  csrr    a1, sscratch
    # expect: a0=0 a1=0 prv=1
    # code: 00000297 02028293 34129073 00001337 8003031b 30032073 30200073 00100513
    # code: 140025f3

# test: mret-is-illegal-in-supervisor mode=S
    mret
    # expect: trap=2 tval=0x30200073
    # code: 30200073

# test: sret-is-illegal-in-user mode=U
    sret
    # expect: trap=2 tval=0x10200073
    # code: 10200073

# test: sret-may-be-trapped mode=S
    # start: mstatus=0xa00406000
    sret
    # expect: trap=2 tval=0x10200073
    # code: 10200073

# test: ebreak-reports-its-address mode=S
    .option norvc
    nop
    ebreak
    # expect: trap=3 tval=@+4 pc=@+4
    # code: 00000013 00100073

# test: compressed-ebreak
    c.nop
    c.ebreak
    # expect: trap=3 tval=@+2 pc=@+2
    # code: 0001 9002

# test: wfi-is-illegal-in-user mode=U
    wfi
    # expect: trap=2 tval=0x10500073
    # code: 10500073

# test: wfi-goes-on mode=M
    wfi
    li      a0, 1
    # expect: a0=1
    # code: 10500073 4505

# test: address-translation-fences mode=S
    # start: a0=0x1000
    sfence.vma
    sfence.vma a0
    sfence.vma a0, a0
    sinval.vma a0, zero
    sfence.w.inval
    sfence.inval.ir
    li      a1, 1
    # expect: a1=1
    # code: 12000073 12050073 12a50073 16050073 18000073 18100073 4585

# test: fence-is-illegal-in-user mode=U
    sfence.vma a0, a1
    # expect: trap=2 tval=0x12b50073
    # code: 12b50073

# test: fence-may-be-trapped mode=S
    # start: mstatus=0xa00106000
    sfence.vma
    # expect: trap=2 tval=0x12000073
    # code: 12000073

# test: reservation-waits
    wrs.sto
    wrs.nto
    li      a0, 1
    # expect: a0=1
    # code: 01d00073 00d00073 4505

# test: zero-a-block mode=M
    # start: mem8+0=0x1234 mem8+56=0x5678 mem8+64=0x9abc mem8-8=0xdef0
    addi    a0, s1, 7
    cbo.zero (a0)
    # expect: mem8+0=0 mem8+56=0 mem8+64=0x9abc mem8-8=0xdef0
    # code: 00748513 0045200f

# test: block-operations-need-permission mode=U
    cbo.zero (s1)
    # expect: trap=2 tval=0x0044a00f
    # code: 0044a00f

# test: floating-point-csrs
    # start: a0=0xff
    fscsr   a0
    fsflags a1, zero
    frcsr   a2
    fsrm    a3, zero
    # expect: a1=0x1f a2=0xe0 a3=7 fcsr=0
    # code: 00351073 001015f3 00302673 002016f3

# test: decoding-goes-by-the-new-mode mode=M fs=0
    li      a0, 0x6000
    csrs    mstatus, a0
    fmv.d.x fa0, a0
    csrc    mstatus, a0
    fmv.d.x fa0, a0
    # expect: fa0=0x6000 trap=2
    # code: 6519 30052073 f2050553 30053073 f2050553
