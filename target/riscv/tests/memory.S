# SPDX-License-Identifier: MIT
# Loads, stores and atomics (unprivileged manual, RV32I 2.6, A, Zacas, Zabha). s1 = sp = the middle of the buffer.

# test: extension-of-loads
    # start: mem8+0=0x8182838485868788
    lb      a0, 0(s1)
    lbu     a1, 0(s1)
    lh      a2, 0(s1)
    lhu     a3, 0(s1)
    lw      a4, 0(s1)
    lwu     a5, 0(s1)
    ld      a6, 0(s1)
    # expect: a0=0xffffffffffffff88 a1=0x88 a2=0xffffffffffff8788 a3=0x8788 a4=0xffffffff85868788
    # expect: a5=0x85868788 a6=0x8182838485868788
    # code: 00048503 0004c583 00049603 0004d683 4098 0004e783 0004b803

# test: stores-write-their-size
    # start: a0=0x1122334455667788 mem8+0=0xffffffffffffffff mem8+8=0xffffffffffffffff
    sb      a0, 0(s1)
    sh      a0, 2(s1)
    sw      a0, 8(s1)
    sd      a0, -8(s1)
    # expect: mem8+0=0xffffffff7788ff88 mem8+8=0xffffffff55667788 mem8-8=0x1122334455667788
    # code: 00a48023 00a49123 c488 fea4bc23

# test: misaligned-and-across-pages
    # start: a0=0x1122334455667788
    sd      a0, 3(s1)
    ld      a1, 3(s1)
    sw      a0, -2(s1)
    lw      a2, -2(s1)
    lhu     a3, -1(s1)
    # expect: a1=0x1122334455667788 a2=0x55667788 a3=0x6677
    # code: 00a4b1a3 0034b583 fea4af23 ffe4a603 fff4d683

# test: load-into-its-base
    # start: mem8+16=0x77
    mv      a0, s1
    ld      a0, 16(a0)
    # expect: a0=0x77
    # code: 8526 6908

# test: load-to-x0-faults-too
    # start: a0=0x1000
    ld      zero, 8(a0)
    # expect: trap=13 tval=0x1008 pc=@
    # code: 00853003

# test: store-fault-leaves-registers
    # start: a0=0x2000 a1=5
    addi    a1, a1, 1
    sd      a1, 4(a0)
    addi    a1, a1, 1
    # expect: trap=15 tval=0x2004 a1=6
    # code: 0585 00b53223 0585

# test: stack-forms
    li      a0, 0x1234
    sd      a0, 8(sp)
    sw      a0, 16(sp)
    ld      a1, 8(sp)
    lw      a2, 16(sp)
    addi    a3, sp, 16
    addi    sp, sp, -64
    # expect: a1=0x1234 a2=0x1234 a3=~+16 sp=~-64
    # code: 6505 2345051b e42a c82a 65a2 4642 0814 7139

# test: amo-words
    # start: a0=0x180000001 mem8+0=0x1111111180000000
    amoadd.w    a1, a0, (s1)
    amomax.w    a2, a0, (s1)
    amominu.w   a3, zero, (s1)
    amoswap.w   a4, a0, (s1)
    # expect: a1=0xffffffff80000000 a2=1 a3=1 a4=0 mem8+0=0x1111111180000001
    # code: 00a4a5af a0a4a62f c004a6af 08a4a72f

# test: amo-doubles
    # start: a0=0xf0 mem8+0=0x8000000000000001
    amoor.d     a1, a0, (s1)
    amoand.d    a2, a0, (s1)
    amoxor.d.aqrl a3, a0, (s1)
    amomin.d    a4, a0, (s1)
    # expect: a1=0x8000000000000001 a2=0x80000000000000f1 a3=0xf0 a4=0 mem8+0=0
    # code: 40a4b5af 60a4b62f 26a4b6af 80a4b72f

# test: amo-result-in-its-address
    # start: mem8+0=5 a1=3
    mv      a0, s1
    amoadd.d a0, a1, (a0)
    # expect: a0=5 mem8+0=8
    # code: 8526 00b5352f

# test: amo-misaligned
    addi    a0, s1, 4
    amoadd.d a1, a1, (a0)
    # expect: trap=6 tval=~+4
    # code: 00448513 00b535af

# test: lr-misaligned
    addi    a0, s1, 2
    lr.w    a1, (a0)
    # expect: trap=4 tval=~+2
    # code: 00248513 100525af

# test: sc-misaligned
    addi    a0, s1, 1
    sc.w    a1, a1, (a0)
    # expect: trap=6 tval=~+1
    # code: 00148513 18b525af

# test: amo-fault-is-a-store-fault
    # start: a0=0x3000
    amoswap.w a1, a1, (a0)
    # expect: trap=15 tval=0x3000
    # code: 08b525af

# test: reservation
    # start: mem8+0=0xfffffffe a1=7
    lr.w    a0, (s1)
    sc.w    a2, a1, (s1)
    sc.w    a3, a1, (s1)
    # expect: a0=0xfffffffffffffffe a2=0 a3=1 mem8+0=7
    # code: 1004a52f 18b4a62f 18b4a6af

# test: reservation-is-lost-by-a-store
    # start: mem8+0=1 a1=7
    lr.d    a0, (s1)
    sd      a1, 0(s1)
    sc.d    a2, zero, (s1)
    # expect: a0=1 a2=1 mem8+0=7
    # code: 1004b52f e08c 1804b62f

# test: reservation-elsewhere
    # start: a1=7
    addi    a3, s1, 16
    lr.d    a0, (s1)
    sc.d    a2, a1, (a3)
    # expect: a2=1 mem8+16=0
    # code: 01048693 1004b52f 18b6b62f

# test: compare-and-swap
    # start: mem8+0=0x1280000000 a0=0x80000000 a1=5 a2=6
    .4byte  0x28b4a52f          # amocas.w a0, a1, (s1)
    .4byte  0x28b4a62f          # amocas.w a2, a1, (s1)
    # expect: a0=0xffffffff80000000 a2=5 mem8+0=0x1200000005
    # code: 28b4a52f 28b4a62f

# test: compare-and-swap-quad
    # start: mem8+0=1 mem8+8=2 a0=1 a1=2 a2=3 a3=4 a4=9 a5=9
    .4byte  0x28c4c52f          # amocas.q a0, a2, (s1)
    .4byte  0x28c4c72f          # amocas.q a4, a2, (s1)
    # expect: a0=1 a1=2 a4=3 a5=4 mem8+0=3 mem8+8=4
    # code: 28c4c52f 28c4c72f

# test: compare-and-swap-quad-misaligned
    addi    a0, s1, 8
    .4byte  0x28c5462f          # amocas.q a2, a2, (a0)
    # expect: trap=6 tval=~+8
    # code: 00848513 28c5462f

# test: compare-and-swap-quad-odd-register-is-illegal
    .4byte  0x28c4c5af          # amocas.q a1, a2, (s1)
    # expect: trap=2 tval=0x28c4c5af
    # code: 28c4c5af

# test: amo-bytes
    # start: mem8+0=0x1122334455667fff a0=1
    .4byte  0x00a485af          # amoadd.b a1, a0, (s1)
    addi    a3, s1, 1
    .4byte  0x00a6862f          # amoadd.b a2, a0, (a3)
    # expect: a1=0xffffffffffffffff a2=0x7f mem8+0=0x1122334455668000
    # code: 00a485af 00148693 00a6862f

# test: fences-and-hints
    # start: a0=3
    fence
    fence   rw, w
    fence.tso
    pause
    fence.i
    prefetch.r 32(a0)
    .4byte  0x00200033          # ntl.p1
    li      a1, 1
    # expect: a1=1 a0=3
    # code: 0ff0000f 0310000f 8330000f 0100000f 0000100f 02156013 00200033 4585
