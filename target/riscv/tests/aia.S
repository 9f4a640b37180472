# SPDX-License-Identifier: MIT
# CSRs of the Advanced Interrupt Architecture (AIA specification 1.0, chapters 2, 3 and 5). The hart has an IMSIC.

# test: priorities-of-machine-level mode=M without=smstateen
    li      t0, 0x30
    csrw    miselect, t0
    li      a0, -1
    csrrw   a1, mireg, a0
    csrr    a2, mireg
    li      t0, 0x32
    csrw    miselect, t0
    csrs    mireg, a0
    csrr    a3, mireg
    csrr    a4, miselect
    li      t0, 0x3e
    csrw    miselect, t0
    csrw    mireg, a0
    csrr    a5, mireg
    # expect: a1=0 a2=0xff00ff00ff00ff00 a3=0xff000000ff00 a4=0x32 a5=0
    # code: 03000293 35029073 557d 351515f3 35102673 03200293 35029073 35152073
    # code: 351026f3 35002773 03e00293 35029073 35151073 351027f3

# test: priorities-of-supervisor-level mode=S without=smstateen
    li      t0, 0x30
    csrw    siselect, t0
    li      a0, -1
    csrw    sireg, a0
    csrr    a1, sireg
    li      t0, 0x32
    csrw    siselect, t0
    csrw    sireg, a0
    csrr    a2, sireg
    li      a3, 0xff0
    slli    a3, a3, 40
    csrrc   a4, sireg, a3
    csrr    a5, sireg
    # expect: a1=0xff000000ff00 a2=0xffffff0000000000 a4=0xffffff0000000000 a5=0xfff00f0000000000
    # code: 03000293 15029073 557d 15151073 151025f3 03200293 15029073 15151073
    # code: 15102673 6685 36c1 16a2 1516b773 151027f3

# test: odd-priorities-are-of-rv32 mode=S without=smstateen
    csrwi   siselect, 0x11
    li      t0, 0x31
    csrw    siselect, t0
    csrr    a0, sireg
    # expect: trap=2 tval=0x15102573
    # code: 1508d073 03100293 15029073 15102573

# test: reserved-below mode=M without=smstateen
    li      t0, 0x2f
    csrw    miselect, t0
    csrw    mireg, t0
    # expect: trap=2 tval=0x35129073
    # code: 02f00293 35029073 35129073

# test: reserved-between mode=M without=smstateen
    li      t0, 0x6f
    csrw    miselect, t0
    csrr    a0, mireg
    # expect: trap=2 tval=0x35102573
    # code: 06f00293 35029073 35102573

# test: reserved-above mode=M without=smstateen
    li      t0, 0x100
    csrw    miselect, t0
    csrr    a1, miselect
    csrr    a0, mireg
    # expect: a1=0x100 trap=2 tval=0x35102573
    # code: 10000293 35029073 350025f3 35102573

# test: selectors-have-nine-bits mode=M without=smstateen
    li      t0, -1
    csrw    miselect, t0
    csrw    siselect, t0
    csrr    a0, miselect
    csrr    a1, siselect
    # expect: a0=0x1ff a1=0x1ff
    # code: 52fd 35029073 15029073 35002573 150025f3

# test: interrupt-file mode=S without=smstateen
    # start: a0=0x70 a1=0x72 a2=0x80 a3=0xc0 a4=0x86 t0=-1
    csrw    siselect, a0
    csrw    sireg, t0
    csrr    s2, sireg
    csrw    siselect, a1
    csrw    sireg, t0
    csrr    s3, sireg
    csrw    siselect, a2
    csrw    sireg, t0
    csrr    s4, sireg
    csrw    siselect, a3
    csrw    sireg, t0
    csrr    s5, sireg
    csrw    siselect, a4
    csrw    sireg, t0
    csrr    s6, sireg
    li      a5, 0x88
    csrw    siselect, a5
    csrw    sireg, t0
    csrr    s7, sireg
    li      a5, 0x71
    csrw    siselect, a5
    csrw    sireg, t0
    csrr    s8, sireg
    # expect: s2=1 s3=0xff s4=-2 s5=-2 s6=-1 s7=0 s8=0
    # code: 15051073 15129073 15102973 15059073 15129073 151029f3 15061073 15129073
    # code: 15102a73 15069073 15129073 15102af3 15071073 15129073 15102b73 08800793
    # code: 15079073 15129073 15102bf3 07100793 15079073 15129073 15102c73

# test: odd-pending-bits-are-of-rv32 mode=S without=smstateen
    li      t0, 0x81
    csrw    siselect, t0
    csrr    a0, sireg
    # expect: trap=2 tval=0x15102573
    # code: 08100293 15029073 15102573

# test: odd-enable-bits-are-of-rv32 mode=M without=smstateen
    li      t0, 0xff
    csrw    miselect, t0
    csrw    mireg, a0
    # expect: trap=2 tval=0x35151073
    # code: 0ff00293 35029073 35151073

# test: top-external-interrupt mode=M without=smstateen
    # start: a0=0xc0 a1=0x80 a2=0x20010020 a3=0x20010000 a4=0x72
    csrw    miselect, a0
    csrw    mireg, a3
    csrr    s2, mtopei
    csrw    miselect, a1
    csrw    mireg, a2
    csrr    s3, mtopei
    csrr    s4, mtopei
    csrrw   s5, mtopei, zero
    csrrsi  s6, mtopei, 1
    csrr    s7, mtopei
    csrr    s8, mireg
    # expect: s2=0 s3=0x100010 s4=0x100010 s5=0x100010 s6=0x1d001d s7=0 s8=0x20
    # code: 35051073 35169073 35c02973 35059073 35161073 35c029f3 35c02a73 35c01af3
    # code: 35c0eb73 35c02bf3 35102c73

# test: reading-claims-nothing mode=S without=smstateen
    # start: a0=0xc2 a1=0x82 a2=8
    csrw    siselect, a0
    csrw    sireg, a2
    csrw    siselect, a1
    csrw    sireg, a2
    csrrs   s2, stopei, zero
    csrrc   s3, stopei, zero
    csrw    stopei, zero
    csrr    s4, stopei
    # expect: s2=0x430043 s3=0x430043 s4=0
    # code: 15051073 15161073 15059073 15161073 15c02973 15c039f3 15c01073 15c02a73

# test: threshold mode=M without=smstateen
    # start: a0=0xc0 a1=0x80 a2=0x30 a3=0x72
    csrw    miselect, a0
    csrw    mireg, a2
    csrw    miselect, a1
    csrw    mireg, a2
    csrw    miselect, a3
    csrwi   mireg, 4
    csrr    s2, mtopei
    csrwi   mireg, 5
    csrr    s3, mtopei
    csrwi   mireg, 0
    csrr    s4, mtopei
    # expect: s2=0 s3=0x40004 s4=0x40004
    # code: 35051073 35161073 35059073 35161073 35069073 35125073 35c02973 3512d073
    # code: 35c029f3 35105073 35c02a73

# test: delivery-makes-the-line mode=M without=smstateen
    # start: a0=0xc0 a1=0x80 a2=0x30 a3=0x70 mie=0x800
    csrw    miselect, a0
    csrw    mireg, a2
    csrw    miselect, a1
    csrw    mireg, a2
    csrr    s2, mip
    csrr    s3, mtopi
    csrw    miselect, a3
    csrwi   mireg, 1
    csrr    s4, mip
    csrr    s5, mtopi
    csrw    mtopei, zero
    csrr    s6, mtopi
    csrw    mtopei, zero
    csrr    s7, mip
    csrr    s8, mtopi
    # expect: s2=0 s3=0 s4=0x800 s5=0xb0004 s6=0xb0005 s7=0 s8=0
    # code: 35051073 35161073 35059073 35161073 34402973 fb0029f3 35069073 3510d073
    # code: 34402a73 fb002af3 35c01073 fb002b73 35c01073 34402bf3 fb002c73

# test: top-interrupt-by-default-order mode=S without=smstateen
    # start: mip=0x222 mie=0x222 mideleg=0x222 a1=2
    csrr    s2, stopi
    csrc    sie, a1
    csrr    s3, stopi
    # expect: s2=0x900ff s3=0x900ff
    # code: db002973 1045b073 db0029f3

# test: top-interrupt-by-priority mode=S without=smstateen
    # start: mip=0x2022 mie=0x2022 mideleg=0x2022 a0=0x30 a1=0x32
    csrr    s2, stopi
    csrw    siselect, a0
    li      t0, 5
    slli    t0, t0, 40
    csrw    sireg, t0
    csrr    s3, stopi
    li      t1, 0x500
    csrs    sireg, t1
    csrr    s4, stopi
    csrw    siselect, a1
    slli    t0, t0, 8
    addi    t2, zero, 3
    slli    t2, t2, 40
    csrw    sireg, t2
    csrr    s5, stopi
    # expect: s2=0x100ff s3=0x50005 s4=0x10005 s5=0xd0003
    # code: db002973 15051073 4295 12a2 15129073 db0029f3 50000313 15132073
    # code: db002a73 15059073 02a2 438d 13a2 15139073 db002af3

# test: machine-software-comes-first mode=M without=smstateen
    # start: mie=0x2a mip=0x22
    csrr    s2, mtopi
    csrwi   mie, 0
    csrr    s3, mtopi
    # expect: s2=0x100ff s3=0
    # code: fb002973 30405073 fb0029f3

# test: delegated-interrupts-are-not-for-machine-level mode=M without=smstateen
    # start: mie=0x22 mip=0x22 mideleg=0x20
    csrr    s2, mtopi
    csrr    s3, stopi
    # expect: s2=0x100ff s3=0x500ff
    # code: fb002973 db0029f3

# test: top-interrupts-cannot-be-written mode=M without=smstateen
    csrw    mtopi, zero
    # expect: trap=2 tval=0xfb001073
    # code: fb001073

# test: machine-level-is-not-for-supervisors mode=S without=smstateen
    csrr    a0, mtopi
    # expect: trap=2 tval=0xfb002573
    # code: fb002573

# test: supervisor-level-is-not-for-users mode=U without=smstateen
    csrr    a0, stopei
    # expect: trap=2 tval=0x15c02573
    # code: 15c02573

# test: high-halves-are-of-rv32 mode=M without=smstateen
    .4byte  0x30802573      # csrr a0, mvien
    .4byte  0x31802573      # csrr a0, mvienh
    # expect: a0=0 trap=2 tval=0x31802573
    # code: 30802573 31802573

# test: interrupts-made-up mode=M without=smstateen
    # start: t0=-1 mip=0x202
    csrr    s2, mvip
    csrw    mvien, t0
    csrr    s3, mvien
    csrr    s4, mvip
    csrr    s5, mip
    csrw    mvip, t0
    csrr    s6, mvip
    csrr    s7, mip
    csrr    s8, sip
    csrw    sie, t0
    csrr    s9, sie
    csrr    s10, mie
    # expect: s2=0x202 s3=0xffffffffffffe202 s4=0x202 s5=0x2 s6=0xffffffffffffe222 s7=0x22 s8=0xffffffffffffe202
    # expect: s9=0xffffffffffffe202 s10=0
    # code: 30902973 30829073 308029f3 30902a73 34402af3 30929073 30902b73 34402bf3
    # code: 14402c73 10429073 10402cf3 30402d73

# test: made-up-ones-that-are-not-lent mode=M without=smstateen
    # start: t0=-1
    csrw    mvip, t0
    csrr    s2, mvip
    csrr    s3, mip
    csrr    s4, sip
    csrr    s5, stopi
    # expect: s2=0xffffffffffffe222 s3=0x222 s4=0 s5=0
    # code: 30929073 30902973 344029f3 14402a73 db002af3

# test: made-up-ones-come-to-the-supervisor mode=S without=smstateen
    # start: mvien=0x100000002 mvip=0x100000002 t0=-1 t1=2
    csrr    s2, stopi
    csrw    sie, t0
    csrr    s3, stopi
    csrrc   s4, sip, t1
    csrr    s5, sip
    csrr    s6, stopi
    csrw    sip, zero
    csrr    s7, stopi
    # expect: s2=0 s3=0x100ff s4=0x100000002 s5=0x100000000 s6=0x2000ff s7=0
    # code: db002973 10429073 db0029f3 14433a73 14402af3 db002b73 14401073 db002bf3

# test: the-supervisors-file-is-kept-by-the-machine mode=S without=smstateen
    # start: mvien=0x200
    csrr    a0, stopei
    # expect: trap=2 tval=0x15c02573
    # code: 15c02573

# test: kept-through-the-window-too mode=S without=smstateen
    # start: mvien=0x200
    li      t0, 0x30
    csrw    siselect, t0
    csrr    a1, sireg
    li      t0, 0x70
    csrw    siselect, t0
    csrr    a0, sireg
    # expect: a1=0 trap=2 tval=0x15102573
    # code: 03000293 15029073 151025f3 07000293 15029073 15102573

# test: kept-but-not-from-the-machine mode=M without=smstateen
    # start: mvien=0x200
    csrr    a0, stopei
    li      t0, 0x70
    csrw    siselect, t0
    csrwi   sireg, 1
    csrr    a1, sireg
    # expect: a0=0 a1=1
    # code: 15c02573 07000293 15029073 1510d073 151025f3

# test: state-enable mode=M
    # start: t0=-1
    csrw    0x30c, t0
    csrr    a0, 0x30c
    # expect: a0=0xdc00000000000000
    # code: 30c29073 30c02573

# test: selector-by-state-enable mode=S
    csrr    a0, siselect
    # expect: trap=2 tval=0x15002573
    # code: 15002573

# test: top-interrupt-by-state-enable mode=S
    csrr    a0, stopi
    # expect: trap=2 tval=0xdb002573
    # code: db002573

# test: external-interrupt-by-state-enable mode=S
    csrr    a0, stopei
    # expect: trap=2 tval=0x15c02573
    # code: 15c02573
