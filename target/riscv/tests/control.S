# SPDX-License-Identifier: MIT
# Branches, jumps, calls (unprivileged manual, RV32I 2.5), and neighbours that translation makes one of.

# test: each-branch-taken-and-not
    # start: a0=0xffffffffffffffff a1=1
    beq     a0, a1, 9f
    bne     a0, a0, 9f
    blt     a1, a0, 9f
    bge     a0, a1, 9f
    bltu    a0, a1, 9f
    bgeu    a1, a0, 9f
    beq     a0, a0, 1f
    j       9f
1:  bne     a0, a1, 1f
    j       9f
1:  blt     a0, a1, 1f
    j       9f
1:  bge     a1, a0, 1f
    j       9f
1:  bltu    a1, a0, 1f
    j       9f
1:  bgeu    a0, a1, 1f
    j       9f
1:  li      a2, 77
9:  nop
    # expect: a2=77
    # code: 04b50063 02a51e63 02a5cc63 02b55a63 02b56863 02a5f663 00a50363 a015
    # code: 00b51363 a839 00b54363 a821 00a5d363 a809 00a5e363 a031
    # code: 00b57363 a019 04d00613 0001

# test: loop
    li      a0, 10
    li      a1, 0
1:  add     a1, a1, a0
    addi    a0, a0, -1
    bnez    a0, 1b
    # expect: a0=0 a1=55
    # code: 4529 4581 95aa 157d fd75

# test: call-and-return
    .option norvc
    jal     ra, 1f
    addi    a0, a0, 100
    j       2f
1:  addi    a0, a0, 1
    ret
2:  nop
    # expect: a0=101 ra=@+4
    # code: 00c000ef 06450513 00c0006f 00150513 00008067 00000013

# test: recursion
    .option norvc
    li      a0, 6
    jal     ra, fact
    j       9f
fact:
    addi    sp, sp, -16
    sd      ra, 8(sp)
    sd      a0, 0(sp)
    addi    a0, a0, -1
    bgtz    a0, 1f
    li      a0, 1
    j       2f
1:  jal     ra, fact
2:  ld      a1, 0(sp)
    mul     a0, a0, a1
    ld      ra, 8(sp)
    addi    sp, sp, 16
    ret
9:  nop
    # expect: a0=720 sp=~ ra=@+8
    # code: 00600513 008000ef 0380006f ff010113 00113423 00a13023 fff50513 00a04663
    # code: 00100513 0080006f fe5ff0ef 00013583 02b50533 00813083 01010113 00008067
    # code: 00000013

# test: jalr-clears-bit-0-and-may-use-its-own-link
    .option norvc
    auipc   a0, 0
    addi    a0, a0, 17
    jalr    a0, 0(a0)
    li      a1, 1
    li      a2, 2
    # expect: a0=@+12 a1=0 a2=2
    # code: 00000517 01150513 00050567 00100593 00200613

# test: far-call
    .option norvc
    auipc   ra, 0
    jalr    ra, 16(ra)
    li      a0, 1
    j       2f
    li      a1, 2
    ret
2:  nop
    # expect: a0=1 a1=2 ra=@+8
    # code: 00000097 010080e7 00100513 00c0006f 00200593 00008067 00000013

# test: far-jump-keeps-its-register
    .option norvc
    auipc   t1, 0
    jalr    zero, 12(t1)
    li      a0, 1
    li      a1, 2
    # expect: a0=0 a1=2 t1=@
    # code: 00000317 00c30067 00100513 00200593

# test: jump-between-fused-neighbours
    .option norvc
    # start: a0=0x123 t0=3
    j       1f
0:  lui     a0, 0x7
1:  addi    a0, a0, 1
    addi    t0, t0, -1
    beqz    t0, 2f
    andi    a1, t0, 1
    beqz    a1, 0b
    j       1b
2:  nop
    # expect: a0=0x7002 t0=0
    # code: 0080006f 00007537 00150513 fff28293 00028863 0012f593 fe0586e3 fedff06f
    # code: 00000013

# test: constants-of-many-parts
    lui     a0, 0x12345
    addiw   a0, a0, 0x678
    slli    a0, a0, 12
    addi    a0, a0, -1
    slli    a0, a0, 16
    xori    a0, a0, -1
    li      a1, 0xfedcba9876543210
    lui     a2, 0x80000
    addiw   a2, a2, -1
    lui     a3, 0x80000
    addi    a3, a3, -1
    # expect: a0=0xfedcba988000ffff a1=0xfedcba9876543210 a2=0x7fffffff a3=0xffffffff7fffffff
    # code: 12345537 6785051b 0532 157d 0542 fff54513 fff6e5b7 5d55859b
    # code: 05b2 c3b58593 05b6 54358593 05b2 21058593 80000637 367d
    # code: 800006b7 16fd

# test: addresses-of-many-parts
    .option norvc
    auipc   a0, 0x10
    addi    a0, a0, -4
    addi    a0, a0, 8
    auipc   a1, 0
    addiw   a1, a1, 0
    # expect: a0=@+0x10004 a1=@+12
    # code: 00010517 ffc50513 00850513 00000597 0005859b

# test: shift-pairs
    # start: a0=0x89abcdef87654321
    slli    a1, a0, 32
    srli    a1, a1, 32
    slli    a2, a0, 48
    srli    a2, a2, 48
    slli    a3, a0, 32
    srli    a3, a3, 29
    slli    a4, a0, 32
    srai    a4, a4, 29
    slli    a5, a0, 8
    srai    a5, a5, 24
    slli    a6, a0, 56
    srai    a6, a6, 56
    slli    a7, a0, 4
    srli    t0, a7, 4
    slli    t1, a0, 63
    srli    t1, t1, 0
    # expect: a1=0x87654321 a2=0x4321 a3=0x43b2a1908 a4=0xfffffffc3b2a1908 a5=0xffffffabcdef8765
    # expect: a6=0x21 a7=0x9abcdef876543210 t0=0x9abcdef87654321 t1=0x8000000000000000
    # code: 02051593 9181 03051613 9241 02051693 82f5 02051713 8775
    # code: 00851793 87e1 03851813 43885813 00451893 0048d293 03f51313 00035313

# test: misaligned-branch-without-c without=c
    .option norvc
    .4byte  0x00000163          # beq zero, zero, .+2
    # expect: trap=0 tval=@+2 pc=@
    # code: 00000163

# test: branch-not-taken-without-c without=c
    .option norvc
    # start: a0=1
    .4byte  0x00050163          # beqz a0, .+2
    li      a1, 1
    # expect: a1=1
    # code: 00050163 00100593

# test: misaligned-jal-without-c without=c
    .option norvc
    # start: ra=5
    .4byte  0x006000ef          # jal ra, .+6
    # expect: trap=0 tval=@+6 pc=@ ra=5
    # code: 006000ef

# test: misaligned-jalr-without-c without=c
    .option norvc
    # start: a0=0x80000002 ra=5
    jalr    ra, 1(a0)
    # expect: trap=0 tval=0x80000002 pc=@ ra=5
    # code: 001500e7

# test: aligned-jalr-without-c without=c
    .option norvc
    auipc   a0, 0
    jalr    ra, 13(a0)
    li      a1, 1
    li      a2, 2
    # expect: a1=0 a2=2 ra=@+8
    # code: 00000517 00d500e7 00100593 00200613

# test: compressed-is-illegal-without-c without=c
    .option norvc
    nop
    .2byte  0x4505              # c.li a0, 1
    # expect: trap=2 tval=0x4505 pc=@+4
    # code: 00000013 4505

# test: reserved-word-is-illegal
    .4byte  0xffffffff
    # expect: trap=2 tval=0xffffffff pc=@
    # code: ffffffff

# test: all-zeros-is-illegal
    .2byte  0
    # expect: trap=2 tval=0 pc=@
    # code: 0000

# test: switched-off-extension-is-illegal without=m,zbb,zbkb
    .option norvc
    # start: a0=9
    addi    a0, a0, 1
    mul     a0, a0, a0
    # expect: trap=2 tval=0x02a50533 pc=@+4 a0=10
    # code: 00150513 02a50533
