# SPDX-License-Identifier: MIT
# F, D, Zfhmin, Zfa: boxes, NaNs, flags, rounding, state (unprivileged manual; privileged manual 3.1.6.6 for FS).
# fcsr: rounding mode from bit 5; flags NV 16, DZ 8, OF 4, UF 2, NX 1.

# test: singles-are-boxed
    # start: mem8+0=0x3f800000 a0=0x1234567840000000
    flw     fa0, 0(s1)
    fmv.w.x fa1, a0
    fadd.s  fa2, fa0, fa1
    fmv.x.w a1, fa2
    fsw     fa2, 8(s1)
    fmv.x.d a2, fa2
    # expect: fa0=0xffffffff3f800000 fa1=0xffffffff40000000 fa2=0xffffffff40400000 a1=0x40400000
    # expect: mem8+8=0x40400000 a2=0xffffffff40400000 fcsr=0
    # code: 0004a507 f00505d3 00b57653 e00605d3 00c4a427 e2060653

# test: bad-box-is-nan
    # start: fa0=0x3f800000 fa1=0xffffffff3f800000
    fadd.s  fa2, fa0, fa1
    fsgnj.s fa3, fa0, fa0
    fmv.x.w a0, fa0
    fsw     fa0, 0(s1)
    fclass.s a1, fa0
    fneg.s  fa4, fa0
    feq.s   a2, fa0, fa0
    # expect: fa2=0xffffffff7fc00000 fa3=0xffffffff7fc00000 a0=0x3f800000 mem8+0=0x3f800000 a1=0x200
    # expect: fa4=0xffffffffffc00000 a2=0 fcsr=0
    # code: 00b57653 20a506d3 e0050553 00a4a027 e00515d3 20a51753 a0a52653

# test: nans-are-canonical
    # start: fa0=0x7ff8000000000123 fa1=0x3ff0000000000000 fa2=0xfff0000000000001
    fadd.d  fa3, fa0, fa1
    frflags a0
    fmul.d  fa4, fa1, fa2
    frflags a1
    fcvt.s.d fa5, fa0
    fsqrt.d fa6, fa2
    # expect: fa3=0x7ff8000000000000 a0=0 fa4=0x7ff8000000000000 a1=16 fa5=0xffffffff7fc00000
    # expect: fa6=0x7ff8000000000000
    # code: 02b576d3 00102573 12c5f753 001025f3 401577d3 5a067853

# test: flags-accrue
    # start: fa0=0x3ff0000000000000 fa1=0 fa2=0x7fefffffffffffff fa3=0x0010000000000000 fa4=0x4008000000000000
    fdiv.d  ft0, fa0, fa1
    frflags a0
    fadd.d  ft1, fa2, fa2
    frflags a1
    fmul.d  ft2, fa3, fa3
    fsflagsi a2, 0
    fdiv.d  ft3, fa0, fa4
    frcsr   a3
    # expect: ft0=0x7ff0000000000000 a0=8 a1=13 ft2=0 a2=15 a3=1 fcsr=1
    # code: 1ab57053 00102573 02c670d3 001025f3 12d6f153 00105673 1ae571d3 003026f3

# test: static-rounding
    # start: fa0=0x3ff0000000000000 fa1=0x3c90000000000000
    fadd.d  ft0, fa0, fa1, rne
    fadd.d  ft1, fa0, fa1, rtz
    fadd.d  ft2, fa0, fa1, rdn
    fadd.d  ft3, fa0, fa1, rup
    fadd.d  ft4, fa0, fa1, rmm
    # expect: ft0=0x3ff0000000000000 ft1=0x3ff0000000000000 ft2=0x3ff0000000000000 ft3=0x3ff0000000000001
    # expect: ft4=0x3ff0000000000000 fcsr=1
    # code: 02b50053 02b510d3 02b52153 02b531d3 02b54253

# test: ties
    # start: fa0=0x3ff0000000000000 fa1=0x3ca0000000000000
    fadd.d  ft0, fa0, fa1, rne
    fadd.d  ft4, fa0, fa1, rmm
    # expect: ft0=0x3ff0000000000000 ft4=0x3ff0000000000001
    # code: 02b50053 02b54253

# test: dynamic-rounding-follows-frm
    # start: fa0=0x3ff0000000000000 fa1=0x3ca0000000000000
    fsrmi   3
    fadd.d  ft0, fa0, fa1
    fsrmi   2
    fadd.d  ft1, fa0, fa1
    fsrmi   a0, 4
    fadd.d  ft2, fa0, fa1
    frrm    a1
    # expect: ft0=0x3ff0000000000001 ft1=0x3ff0000000000000 ft2=0x3ff0000000000001 a0=2 a1=4 fcsr=0x81
    # code: 0021d073 02b57053 00215073 02b570d3 00225573 02b57153 002025f3

# test: static-rounding-under-another-frm
    # start: fcsr=0x60 fa0=0x3ff0000000000000 fa1=0x3ca0000000000000
    fadd.d  ft0, fa0, fa1, rup
    fadd.d  ft1, fa0, fa1, rdn
    fadd.d  ft2, fa0, fa1
    # expect: ft0=0x3ff0000000000001 ft1=0x3ff0000000000000 ft2=0x3ff0000000000001
    # code: 02b53053 02b520d3 02b57153

# test: reserved-frm-is-illegal
    # start: fcsr=0xa0
    fsgnj.d fa0, fa1, fa1
    fadd.d  fa0, fa1, fa1, rtz
    fadd.d  fa0, fa1, fa1
    # expect: trap=2 tval=0x02b5f553 pc=@+8
    # code: 22b58553 02b59553 02b5f553

# test: reserved-rm-is-illegal
    .4byte  0x02b5d553          # fadd.d fa0, fa1, fa1 with rm = 5
    # expect: trap=2 tval=0x02b5d553 pc=@
    # code: 02b5d553

# test: conversions-saturate
    # start: fa0=0x41e0000000000000 fa1=0xc3f0000000000000 fa2=0x7ff8000000000000 fa3=0xbfe0000000000000
    fcvt.w.d  a0, fa0, rtz
    fcvt.wu.d a1, fa0, rtz
    fcvt.l.d  a2, fa1, rtz
    fcvt.lu.d a3, fa1, rtz
    fcvt.w.d  a4, fa2, rtz
    fcvt.lu.d a5, fa2, rtz
    frflags   t0
    fsflags   zero
    fcvt.wu.d a6, fa3, rtz
    frflags   t1
    fcvt.wu.d a7, fa3, rdn
    frflags   t2
    # expect: a0=0x7fffffff a1=0xffffffff80000000 a2=0x8000000000000000 a3=0 a4=0x7fffffff
    # expect: a5=0xffffffffffffffff t0=16 a6=0 t1=1 a7=0 t2=17
    # code: c2051553 c21515d3 c2259653 c23596d3 c2061753 c23617d3 001022f3 00101073
    # code: c2169853 00102373 c216a8d3 001023f3

# test: conversions-from-integers
    # start: a0=0xffffffffffffffff
    fcvt.d.w  fa0, a0
    fcvt.d.wu fa1, a0
    fcvt.d.lu fa2, a0
    fcvt.s.lu fa3, a0, rtz
    fcvt.s.l  fa4, a0
    # expect: fa0=0xbff0000000000000 fa1=0x41efffffffe00000 fa2=0x43f0000000000000
    # expect: fa3=0xffffffff5f7fffff fa4=0xffffffffbf800000
    # code: d2050553 d21505d3 d2357653 d03516d3 d0257753

# test: fused-multiply-add-signs
    # start: fa0=0x4000000000000000 fa1=0x4008000000000000 fa2=0x3ff0000000000000
    fmadd.d  ft0, fa0, fa1, fa2
    fmsub.d  ft1, fa0, fa1, fa2
    fnmadd.d ft2, fa0, fa1, fa2
    fnmsub.d ft3, fa0, fa1, fa2
    # expect: ft0=0x401c000000000000 ft1=0x4014000000000000 ft2=0xc01c000000000000 ft3=0xc014000000000000
    # code: 62b57043 62b570c7 62b5714f 62b571cb

# test: infinity-times-zero-plus-quiet-nan-is-invalid
    # start: fa0=0x7ff0000000000000 fa1=0 fa2=0x7ff8000000000000
    fmadd.d ft0, fa0, fa1, fa2
    # expect: ft0=0x7ff8000000000000 fcsr=16
    # code: 62b57043

# test: minimum-and-maximum
    # start: fa0=0 fa1=0x8000000000000000 fa2=0x7ff8000000000000 fa3=0x3ff0000000000000 fa4=0x7ff0000000000001
    fmin.d  ft0, fa0, fa1
    fmax.d  ft1, fa1, fa0
    fmin.d  ft2, fa2, fa3
    fmin.d  ft3, fa2, fa2
    frflags a0
    fmax.d  ft4, fa4, fa3
    # expect: ft0=0x8000000000000000 ft1=0 ft2=0x3ff0000000000000 ft3=0x7ff8000000000000 a0=0
    # expect: ft4=0x3ff0000000000000 fcsr=16
    # code: 2ab50053 2aa590d3 2ad60153 2ac601d3 00102573 2ad71253

# test: comparisons
    # start: fa0=0x7ff8000000000000 fa1=0x3ff0000000000000
    feq.d   a0, fa0, fa1
    frflags a1
    flt.d   a2, fa0, fa1
    frflags a3
    fle.d   a4, fa1, fa1
    # expect: a0=0 a1=0 a2=0 a3=16 a4=1
    # code: a2b52553 001025f3 a2b51653 001026f3 a2b58753

# test: classes
    # start: fa0=0xfff0000000000000 fa1=0x8000000000000001 fa2=0x7ff0000000000001 fa3=0x7ff8000000000000 fa4=0
    fclass.d a0, fa0
    fclass.d a1, fa1
    fclass.d a2, fa2
    fclass.d a3, fa3
    fclass.d a4, fa4
    # expect: a0=1 a1=4 a2=0x100 a3=0x200 a4=0x10 fcsr=0
    # code: e2051553 e20595d3 e2061653 e20696d3 e2071753

# test: halves
    # start: mem8+0=0x3c00 a0=0xc000
    flh     fa0, 0(s1)
    fmv.h.x fa1, a0
    fcvt.s.h fa2, fa0
    fcvt.d.h fa3, fa1
    fcvt.h.s fa4, fa2
    fsh     fa1, 8(s1)
    fmv.x.h a1, fa1
    # expect: fa0=0xffffffffffff3c00 fa1=0xffffffffffffc000 fa2=0xffffffff3f800000 fa3=0xc000000000000000
    # expect: fa4=0xffffffffffff3c00 mem8+8=0xc000 a1=0xffffffffffffc000
    # code: 00049507 f40505d3 40250653 422586d3 44067753 00b49427 e40585d3

# test: zfa-constants
    .4byte  0xf0100553          # fli.s fa0, -1
    .4byte  0xf01e85d3          # fli.s fa1, 65536
    .4byte  0xf2108653          # fli.d fa2, min
    .4byte  0xf21f86d3          # fli.d fa3, nan
    .4byte  0xf0108753          # fli.s fa4, min
    # expect: fa0=0xffffffffbf800000 fa1=0xffffffff47800000 fa2=0x0010000000000000 fa3=0x7ff8000000000000
    # expect: fa4=0xffffffff00800000
    # code: f0100553 f01e85d3 f2108653 f21f86d3 f0108753

# test: fs-off-is-illegal fs=0
    .option norvc
    nop
    fadd.d  fa0, fa0, fa0
    # expect: trap=2 tval=0x02a57553 pc=@+4
    # code: 00000013 02a57553

# test: fs-off-forbids-fcsr fs=0
    frflags a0
    # expect: trap=2 tval=0x00102573
    # code: 00102573

# test: fs-off-forbids-compressed-loads fs=0
    fld     fa0, 0(s1)
    # expect: trap=2 tval=0x2088
    # code: 2088

# test: clean-becomes-dirty fs=2
    # start: fa0=0x3ff0000000000000
    fadd.d  fa0, fa0, fa0
    # expect: fa0=0x4000000000000000 mstatus=0x8000000a00006000
    # code: 02a57553

# test: reading-leaves-clean fs=2
    # start: fa0=0x3ff0000000000000
    fsd     fa0, 0(s1)
    fmv.x.d a0, fa0
    fclass.d a1, fa0
    # expect: mem8+0=0x3ff0000000000000 a0=0x3ff0000000000000 a1=0x40 mstatus=0xa00004000
    # code: a088 e2050553 e20515d3

# test: a-load-makes-dirty fs=2
    # start: mem8+0=5
    fld     fa1, 0(s1)
    # expect: fa1=5 mstatus=0x8000000a00006000
    # code: 208c
