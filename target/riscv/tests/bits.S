# SPDX-License-Identifier: MIT
# Bit manipulation, Zicond, scalar cryptography, may-be operations (unprivileged manual, chapters B, Zicond,
# Scalar Cryptography). The AES words are FIPS 197 appendix A.1 and B.

# test: zba
    # start: a0=0xfffffffff0000001 a1=0x10
    sh1add      a2, a0, a1
    sh3add.uw   a3, a0, a1
    add.uw      a4, a0, a1
    slli.uw     a5, a0, 8
    zext.w      a6, a0
    # expect: a2=0xffffffffe0000012 a3=0x780000018 a4=0xf0000011 a5=0xf000000100 a6=0xf0000001
    # code: 20b52633 20b566bb 08b5073b 0885179b 0805083b

# test: zbb-counts
    # start: a0=0x0000000100000000 a1=0
    clz     a2, a0
    ctz     a3, a0
    cpop    a4, a0
    clzw    a5, a0
    ctzw    a6, a0
    cpopw   a7, a0
    clz     t0, a1
    ctz     t1, a1
    # expect: a2=31 a3=32 a4=1 a5=32 a6=32 a7=0 t0=64 t1=64
    # code: 60051613 60151693 60251713 6005179b 6015181b 6025189b 60059293 60159313

# test: zbb-others
    # start: a0=0x80ff000000000180 a1=0x7f
    max     a2, a0, a1
    minu    a3, a0, a1
    sext.b  a4, a0
    sext.h  a5, a0
    zext.h  a6, a0
    orc.b   a7, a0
    rev8    t0, a0
    rori    t1, a0, 8
    rolw    t2, a0, a1
    andn    t3, a0, a1
    # expect: a2=0x7f a3=0x7f a4=0xffffffffffffff80 a5=0x180 a6=0x180 a7=0xffff00000000ffff t0=0x800100000000ff80
    # expect: t1=0x8080ff0000000001 t2=0xc0 t3=0x80ff000000000180
    # code: 0ab56633 0ab556b3 60451713 60551793 0805483b 28755893 6b855293 60855313
    # code: 60b513bb 40b57e33

# test: zbs
    # start: a0=0xff a1=0x43
    bclr    a2, a0, a1
    bset    a3, zero, a1
    binvi   a4, a0, 63
    bext    a5, a0, a1
    bexti   a6, a0, 8
    # expect: a2=0xf7 a3=8 a4=0x80000000000000ff a5=1 a6=0
    # code: 48b51633 28b016b3 6bf51713 48b557b3 48855813

# test: zbc
    # start: a0=0x8000000000000003 a1=5
    clmul   a2, a0, a1
    clmulh  a3, a0, a1
    clmulr  a4, a0, a1
    # expect: a2=0x800000000000000f a3=2 a4=5
    # code: 0ab51633 0ab536b3 0ab52733

# test: zicond
    # start: a0=7
    .4byte  0x0e0555b3          # czero.eqz a1, a0, zero
    .4byte  0x0ea55633          # czero.eqz a2, a0, a0
    .4byte  0x0e0576b3          # czero.nez a3, a0, zero
    .4byte  0x0ea57733          # czero.nez a4, a0, a0
    # expect: a1=0 a2=7 a3=7 a4=0
    # code: 0e0555b3 0ea55633 0e0576b3 0ea57733

# test: zbkb
    # start: a0=0x1122334455667788 a1=0x99aabbccddeeff00
    pack    a2, a0, a1
    packh   a3, a0, a1
    packw   a4, a0, a1
    brev8   a5, a0
    xperm8  a6, a0, a3
    # expect: a2=0xddeeff0055667788 a3=0x88 a4=0xffffffffff007788 a5=0x8844cc22aa66ee11 a6=0x8888888888888800
    # code: 08b54633 08b576b3 08b5473b 68755793 28d54833

# test: aes-key-schedule
    # start: a0=0xa6d2ae2816157e2b a1=0x3c4fcf098815f7ab
    aes64ks1i a2, a1, 0
    aes64ks2  a3, a2, a0
    aes64ks2  a4, a3, a1
    # expect: a3=0xb12c548817fefaa0 a4=0x05766c2a3939a323
    # code: 31059613 7ea606b3 7eb68733

# test: aes-first-round
    # start: a0=0x2be2f4a0bee33d19 a1=0x0848f8e92a8dc69a
    aes64es   a2, a0, a1
    aes64es   a3, a1, a0
    aes64esm  a4, a0, a1
    aes64esm  a5, a1, a0
    aes64im   a6, a4
    aes64ds   a7, a2, a3
    aes64ds   t0, a3, a2
    aes64dsm  t1, a2, a3
    aes64im   t2, a7
    xor       t2, t2, t1
    # expect: a2=0xae52b4e0305dbfd4 a3=0xe598271ef11141b8 a4=0x9a19cbe0e5816604 a5=0x4c2606287ad3f848
    # expect: a6=0xae52b4e0305dbfd4 a7=0x2be2f4a0bee33d19 t0=0x0848f8e92a8dc69a t2=0
    # code: 32b50633 32a586b3 36b50733 36a587b3 30071813 3ad608b3 3ac682b3 3ed60333
    # code: 30089393 0063c3b3

# test: sha
    # start: a0=0x6a09e667f3bcc908
    sha256sum0 a1, a0
    sha256sig1 a2, a0
    sha512sum1 a3, a0
    sha512sig0 a4, a0
    # expect: a1=0xffffffff878c8c6a a2=0xfffffffffd99889b a3=0x259a6cc1643336ef a4=0x3dbae91951caa1df
    # code: 10051593 10351613 10551693 10651713

# test: may-be-operations
    # start: a0=5 a1=6
    .4byte  0x81c04573          # mop.r.0 a0, zero
    .2byte  0x6081              # c.mop.1
    .4byte  0x82b045f3          # mop.rr.0 a1, zero, a1
    # expect: a0=0 a1=0
    # code: 81c04573 6081 82b045f3
