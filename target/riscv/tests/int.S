# SPDX-License-Identifier: MIT
# RV64I and M: results at the edges (unprivileged manual, chapters RV32I, RV64I, M).

# test: words-are-sign-extended
    li      a0, 0x7fffffff
    li      a1, 1
    addw    a2, a0, a1
    addiw   a3, a0, 1
    subw    a4, a1, a0
    sext.w  a5, a2
    lui     a6, 0x80000
    # expect: a2=0xffffffff80000000 a3=0xffffffff80000000 a4=0xffffffff80000002 a5=0xffffffff80000000
    # expect: a6=0xffffffff80000000
    # code: 80000537 357d 4585 00b5063b 0015069b 40a5873b 0006079b 80000837

# test: word-operations-ignore-high-halves
    # start: a0=0x1234567800000001 a1=0xffffffff0000003f
    addw    a2, a0, a1
    sllw    a3, a0, a1
    srlw    a4, a3, a1
    sraw    a5, a3, a1
    srliw   a6, a0, 0
    # expect: a2=0x40 a3=0xffffffff80000000 a4=1 a5=0xffffffffffffffff a6=1
    # code: 00b5063b 00b516bb 00b6d73b 40b6d7bb 0005581b

# test: shifts-use-six-bits
    # start: a0=0x8000000000000001 a1=0xffffffffffffff41
    sll     a2, a0, a1
    srl     a3, a0, a1
    sra     a4, a0, a1
    # expect: a2=2 a3=0x4000000000000000 a4=0xc000000000000000
    # code: 00b51633 00b556b3 40b55733

# test: comparisons
    # start: a0=0xffffffffffffffff a1=1
    slt     a2, a0, a1
    sltu    a3, a0, a1
    slti    a4, a1, -1
    sltiu   a5, a1, -1
    seqz    a6, a0
    snez    a7, a0
    sltu    t0, zero, zero
    sltiu   t1, zero, 1
    # expect: a2=1 a3=0 a4=0 a5=1 a6=0 a7=1 t0=0 t1=1
    # code: 00b52633 00b536b3 fff5a713 fff5b793 00153813 00a038b3 000032b3 00103313

# test: comparisons-of-equals
    # start: a0=7 a1=7 a2=0xfffffffffffffffe
    slt     a3, a0, a1
    sltu    a4, a0, a1
    slti    a5, a0, 7
    sltiu   a6, a0, 7
    slti    a7, a2, -2
    sltiu   t0, a2, -2
    sltiu   t1, a0, 8
    slti    t2, a2, -1
    # expect: a3=0 a4=0 a5=0 a6=0 a7=0 t0=0 t1=1 t2=1
    # code: 00b526b3 00b53733 00752793 00753813 ffe62893 ffe63293 00853313 fff62393

# test: x0-stays-zero
    # start: a0=5
    add     zero, a0, a0
    lui     zero, 0x12345
    auipc   zero, 1
    ld      zero, 0(s1)
    mv      a1, zero
    jal     zero, 1f
1:  slt     zero, zero, a0
    add     a2, zero, zero
    # expect: a1=0 a2=0
    # code: 00a50033 12345037 00001017 0004b003 00000593 0040006f 00a02033 00000633

# test: division
    # start: a0=0x8000000000000000 a1=0xffffffffffffffff a2=7
    div     a3, a0, a1
    rem     a4, a0, a1
    div     a5, a2, zero
    divu    a6, a2, zero
    rem     a7, a2, zero
    remu    t0, a0, zero
    div     t1, a1, a2
    rem     t2, a1, a2
    # expect: a3=0x8000000000000000 a4=0 a5=0xffffffffffffffff a6=0xffffffffffffffff a7=7
    # expect: t0=0x8000000000000000 t1=0 t2=0xffffffffffffffff
    # code: 02b546b3 02b56733 020647b3 02065833 020668b3 020572b3 02c5c333 02c5e3b3

# test: word-division
    # start: a0=0x5580000000 a1=0xff00000000ffffffff a2=0x700000000
    divw    a3, a0, a1
    remw    a4, a0, a1
    divw    a5, a0, a2
    divuw   a6, a0, a2
    remw    a7, a0, a2
    remuw   t0, a0, a2
    divuw   t1, a0, a1
    remuw   t2, a0, a1
    # expect: a3=0xffffffff80000000 a4=0 a5=0xffffffffffffffff a6=0xffffffffffffffff
    # expect: a7=0xffffffff80000000 t0=0xffffffff80000000 t1=0 t2=0xffffffff80000000
    # code: 02b546bb 02b5673b 02c547bb 02c5583b 02c568bb 02c572bb 02b5533b 02b573bb

# test: high-products
    # start: a0=0xffffffffffffffff a1=2 a2=0x8000000000000000
    mulh    a3, a0, a1
    mulhu   a4, a0, a1
    mulhsu  a5, a0, a1
    mulhsu  a6, a1, a0
    mulh    a7, a2, a2
    mul     t0, a2, a1
    mulhsu  t1, a2, a0
    mulw    t2, a0, a1
    # expect: a3=0xffffffffffffffff a4=1 a5=0xffffffffffffffff a6=1 a7=0x4000000000000000 t0=0
    # expect: t1=0x8000000000000000 t2=0xfffffffffffffffe
    # code: 02b516b3 02b53733 02b527b3 02a5a833 02c618b3 02b602b3 02a62333 02b503bb

# test: pc-relative
    auipc   a0, 0
    auipc   a1, 0xfffff
    lui     a2, 0x7ffff
    # expect: a0=@ a1=@-0xffc a2=0x7ffff000
    # code: 00000517 fffff597 7ffff637
