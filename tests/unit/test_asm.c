/* SPDX-License-Identifier: MIT */
/*
 * Every function of tcg/x64/asm.h against capstone: what is written must
 * disassemble to one instruction of the length written, with the mnemonic and
 * operands meant. Registers and addressing forms are run through completely where
 * two operands meet, else by samples.
 */
#include <capstone/capstone.h>
#include <stdarg.h>
#include <stdlib.h>

#include "tcg/x64/asm.h"
#include "tests/unit/test.h"

static csh cs;
static uint8_t room[0x20000], *const code = room + 0x8000;
static Asm a;
static int shown;

/* ---- operands as text: registers by name, memory as size[base+index*scale+disp], constants in decimal */

typedef struct Text { char s[64]; } Text;

static const char *reg_name(int size, int r)
{
    static const char *const names[4][16] = {
        { "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b", "r15b" },
        { "ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w", "r15w" },
        { "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d", "r14d", "r15d" },
        { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" },
    };

    return names[size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3][r];
}
static Text R(int size, int r)
{
    Text t;

    snprintf(t.s, sizeof t.s, "%s", reg_name(size, r));
    return t;
}
static Text X(int r)
{
    Text t;

    snprintf(t.s, sizeof t.s, "xmm%d", r);
    return t;
}
static Text I(int64_t v)
{
    Text t;

    snprintf(t.s, sizeof t.s, "%" PRId64, v);
    return t;
}
static Text mem_text(int size, const char *base, const char *index, int scale, int64_t disp)
{
    Text t;

    snprintf(t.s, sizeof t.s, "%d[%s+%s*%d%+" PRId64 "]", size, base, index, scale, disp);
    return t;
}
static Text M(int size, Rm m)
{
    return mem_text(size, m.base < 0 ? "-" : reg_name(8, m.base), m.index < 0 ? "-" : reg_name(8, m.index),
                    m.index < 0 ? 1 : 1 << m.scale, m.disp);
}
/* A general r/m operand, an xmm one. */
static Text G(int size, Rm m) { return m.is_mem ? M(size, m) : R(size, m.base); }
static Text V(int size, Rm m) { return m.is_mem ? M(size, m) : X(m.base); }

static Text operand(const cs_x86_op *o)
{
    Text t = { "?" };

    switch (o->type) {
    case X86_OP_REG:
        snprintf(t.s, sizeof t.s, "%s", cs_reg_name(cs, o->reg));
        break;
    case X86_OP_IMM:
        t = I(o->imm);
        break;
    case X86_OP_MEM:
        t = mem_text(o->size, o->mem.base ? cs_reg_name(cs, o->mem.base) : "-",
                     o->mem.index ? cs_reg_name(cs, o->mem.index) : "-", o->mem.index ? o->mem.scale : 1, o->mem.disp);
        break;
    default:
        break;
    }
    return t;
}

/* The instruction just written, then back to the start of the buffer. `want`: mnemonic and operands in Intel's order. */
static void expect(const char *mnemonic, int n, ...)
{
    size_t len = (size_t)(a.p - code);
    cs_insn *insn;
    char got[200] = "nothing", want[200];
    va_list ap;

    snprintf(want, sizeof want, "%s", mnemonic);
    va_start(ap, n);
    for (int k = 0; k < n; k++) {
        Text t = va_arg(ap, Text);

        snprintf(want + strlen(want), sizeof want - strlen(want), " %s", t.s);
    }
    va_end(ap);
    if (cs_disasm(cs, code, len, 0x1000, 1, &insn) == 1) {
        snprintf(got, sizeof got, "%s", insn->mnemonic);
        for (int k = 0; k < insn->detail->x86.op_count; k++)
            snprintf(got + strlen(got), sizeof got - strlen(got), " %s", operand(&insn->detail->x86.operands[k]).s);
        if (insn->size != len)
            snprintf(got + strlen(got), sizeof got - strlen(got), " (%d of %zu bytes)", insn->size, len);
        cs_free(insn, 1);
    }
    if (strcmp(got, want) && shown++ < 20)
        printf("want '%s', got '%s'\n", want, got);
    if (strcmp(got, want))
        test_case_bad++;
    a.p = code;
}

/* ---- all r/m operands worth trying */

enum { RMS = 16 + 10 * 16 };
static Rm rms[RMS];
static int nrms;

static void make_rms(void)
{
    static const int32_t disps[] = { 0, 8, -128, 127, 128, -129, 0x12345678 };

    for (int r = 0; r < 16; r++)
        rms[nrms++] = rm_reg(r);
    for (int r = 0; r < 16; r++) {
        rms[nrms++] = rm_mem(r, disps[r % 7]);
        rms[nrms++] = rm_mem(r, 0);
        rms[nrms++] = rm_mem(r, -5);
        rms[nrms++] = rm_mem(r, 0x1000);
        for (int x = 0; x < 3; x++) {
            int index = (r * 5 + x * 7 + 3) & 15;

            if (index == RSP)
                index = RCX;
            rms[nrms++] = rm_sib(r, index, (unsigned)(r + x) & 3, disps[(r + x) % 7]);
        }
        rms[nrms++] = rm_sib(r, RCX, 0, 0);
        rms[nrms++] = rm_sib(RBP, r == RSP ? R12 : r, 3, 0x2000);
    }
}
#define EACH_RM(m) for (Rm m, *m##_p = rms; m##_p < rms + nrms && (m = *m##_p, true); m##_p++)
#define EACH_W(w) for (int w = 0; w < 2; w++)
#define EACH_REG(r) for (int r = 0; r < 16; r++)
#define SIZE(w) ((w) ? 8 : 4)

/* ---- the rows */

static void moves(void)
{
    EACH_REG(r)
        EACH_RM(m) {
            EACH_W(w) {
                asm_mov(&a, w, r, m); expect("mov", 2, R(SIZE(w), r), G(SIZE(w), m));
                asm_movsx8(&a, w, r, m); expect("movsx", 2, R(SIZE(w), r), G(1, m));
                asm_movsx16(&a, w, r, m); expect("movsx", 2, R(SIZE(w), r), G(2, m));
                asm_xchg(&a, w, r, m); expect("xchg", 2, G(SIZE(w), m), R(SIZE(w), r));
                if (m.is_mem) {
                    asm_lea(&a, w, r, m);
                    expect("lea", 2, R(SIZE(w), r), M(SIZE(w), m));
                }
            }
            asm_movzx8(&a, r, m); expect("movzx", 2, R(4, r), G(1, m));
            asm_movzx16(&a, r, m); expect("movzx", 2, R(4, r), G(2, m));
            asm_movsxd(&a, r, m); expect("movsxd", 2, R(8, r), G(4, m));
            for (unsigned k = 0; k < 4 && m.is_mem; k++) {
                asm_store(&a, k, m, r);
                expect("mov", 2, M(1 << k, m), R(1 << k, r));
            }
        }
    EACH_REG(r) {
        static const uint64_t v[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };

        for (int k = 0; k < 5; k++) {
            asm_mov_imm(&a, r, v[k]); expect("mov", 2, R(4, r), I((int64_t)v[k]));
        }
        asm_mov_imm(&a, r, (uint64_t)-1); expect("mov", 2, R(8, r), I(-1));
        asm_mov_imm(&a, r, 0xffffffff80000000); expect("mov", 2, R(8, r), I(INT32_MIN));
        asm_mov_imm(&a, r, 0x123456789abcdef0); expect("movabs", 2, R(8, r), I(0x123456789abcdef0));
        if (r != RSP) {
            asm_lea(&a, 1, R15 - r, rm_sib(-1, r, 3, 0x1000));
            expect("lea", 2, R(8, R15 - r), M(8, rm_sib(-1, r, 3, 0x1000)));
        }
        asm_bswap(&a, 0, r); expect("bswap", 1, R(4, r));
        asm_bswap(&a, 1, r); expect("bswap", 1, R(8, r));
        asm_rol16_8(&a, r); expect("rol", 2, R(2, r), I(8));
        for (unsigned cc = 0; cc < 16; cc++) {
            static const char *const names[] = { "seto", "setno", "setb", "setae", "sete", "setne", "setbe", "seta", "sets",
                                                 "setns", "setp", "setnp", "setl", "setge", "setle", "setg" };
            asm_setcc(&a, cc, r); expect(names[cc], 1, R(1, r));
        }
    }
    EACH_RM(m)
        if (m.is_mem)
            for (unsigned k = 0; k < 4; k++) {
                static const int32_t v[] = { 0x7e, 0x1234, -2, -2 };

                asm_store_imm(&a, k, m, v[k]);
                expect("mov", 2, M(1 << k, m), I(k == 2 ? (int64_t)(uint32_t)v[k] : v[k]));
            }
}

static void arithmetic(void)
{
    static const char *const alu[] = { "add", "or", "adc", "sbb", "and", "sub", "xor", "cmp" };
    static const char *const cmov[] = { "cmovo", "cmovno", "cmovb", "cmovae", "cmove", "cmovne", "cmovbe", "cmova", "cmovs",
                                        "cmovns", "cmovp", "cmovnp", "cmovl", "cmovge", "cmovle", "cmovg" };

    EACH_W(w)
        EACH_RM(m) {
            EACH_REG(r) {
                int k = (r + w) & 7, s = SIZE(w);

                asm_alu(&a, k, w, r, m); expect(alu[k], 2, R(s, r), G(s, m));
                asm_alu_to(&a, k, w, m, r); expect(alu[k], 2, G(s, m), R(s, r));
                asm_test(&a, w, m, r); expect("test", 2, G(s, m), R(s, r));
                asm_cmov(&a, w, r, 15 - r, m); expect(cmov[r], 2, R(s, 15 - r), G(s, m));
                asm_imul(&a, w, r, m); expect("imul", 2, R(s, r), G(s, m));
                asm_imul_imm(&a, w, r, m, -3); expect("imul", 3, R(s, r), G(s, m), I(-3));
                asm_imul_imm(&a, w, r, m, 1000); expect("imul", 3, R(s, r), G(s, m), I(1000));
                asm_shlx(&a, w, r, m, 15 - r); expect("shlx", 3, R(s, r), G(s, m), R(s, 15 - r));
                asm_shrx(&a, w, r, m, 15 - r); expect("shrx", 3, R(s, r), G(s, m), R(s, 15 - r));
                asm_sarx(&a, w, r, m, 15 - r); expect("sarx", 3, R(s, r), G(s, m), R(s, 15 - r));
                asm_rorx(&a, w, r, m, 7); expect("rorx", 3, R(s, r), G(s, m), I(7));
                asm_andn(&a, w, r, 15 - r, m); expect("andn", 3, R(s, r), R(s, 15 - r), G(s, m));
                asm_mulx(&a, w, r, 15 - r, m); expect("mulx", 3, R(s, r), R(s, 15 - r), G(s, m));
                asm_lzcnt(&a, w, r, m); expect("lzcnt", 2, R(s, r), G(s, m));
                asm_tzcnt(&a, w, r, m); expect("tzcnt", 2, R(s, r), G(s, m));
                asm_popcnt(&a, w, r, m); expect("popcnt", 2, R(s, r), G(s, m));
                asm_shld(&a, w, m, r, 1); expect("shld", 3, G(s, m), R(s, r), I(1));
            }
        }
}

static void unary(void)
{
    static const char *const alu[] = { "add", "or", "adc", "sbb", "and", "sub", "xor", "cmp" };
    static const struct { int sh; const char *name; } shifts[] = {
        { SH_ROL, "rol" }, { SH_ROR, "ror" }, { SH_SHL, "shl" }, { SH_SHR, "shr" }, { SH_SAR, "sar" },
    };

    EACH_W(w)
        EACH_RM(m) {
            int s = SIZE(w);

            for (int k = 0; k < 8; k++) {
                int64_t small = k == ALU_AND || k == ALU_OR || k == ALU_XOR ? 5 : -5;

                asm_alu_imm(&a, k, w, m, (int32_t)small); expect(alu[k], 2, G(s, m), I(small));
                asm_alu_imm(&a, k, w, m, 0x12345); expect(alu[k], 2, G(s, m), I(0x12345));
            }
            asm_not(&a, w, m); expect("not", 1, G(s, m));
            asm_neg(&a, w, m); expect("neg", 1, G(s, m));
            asm_imul_wide(&a, w, m); expect("imul", 1, G(s, m));
            asm_div(&a, w, m); expect("div", 1, G(s, m));
            asm_idiv(&a, w, m); expect("idiv", 1, G(s, m));
            for (int k = 0; k < 5; k++) {
                asm_shift_imm(&a, shifts[k].sh, w, m, 9); expect(shifts[k].name, 2, G(s, m), I(9));
                asm_shift_imm(&a, shifts[k].sh, w, m, 1); expect(shifts[k].name, 2, G(s, m), I(1));
                asm_shift_cl(&a, shifts[k].sh, w, m); expect(shifts[k].name, 2, G(s, m), R(1, RCX));
            }
        }
    EACH_RM(m) {
        asm_cmp8_imm(&a, m, 7); expect("cmp", 2, G(1, m), I(7));
        asm_test8_imm(&a, m, 3); expect("test", 2, G(1, m), I(3));
        asm_call_rm(&a, m); expect("call", 1, G(8, m));
        asm_jmp_rm(&a, m); expect("jmp", 1, G(8, m));
        if (m.is_mem) {
            asm_push_mem(&a, m); expect("push", 1, M(8, m));
            asm_pop_mem(&a, m); expect("pop", 1, M(8, m));
            asm_ldmxcsr(&a, m); expect("vldmxcsr", 1, M(4, m));
            asm_stmxcsr(&a, m); expect("vstmxcsr", 1, M(4, m));
        }
    }
    asm_cqo(&a, 1); expect("cqo", 0);
    asm_cqo(&a, 0); expect("cdq", 0);
    EACH_REG(r) {
        asm_push(&a, r); expect("push", 1, R(8, r));
        asm_pop(&a, r); expect("pop", 1, R(8, r));
        asm_xor_self(&a, r); expect("xor", 2, R(4, r), R(4, r));
    }
    asm_push_imm(&a, -5); expect("push", 1, I(-5));
    asm_ret(&a); expect("ret", 0);
    asm_ud2(&a); expect("ud2", 0);
}

static void atomics(void)
{
    EACH_RM(m)
        EACH_REG(r)
            if (m.is_mem)
                for (unsigned k = 0; k < 4; k++) {
                    asm_xadd(&a, true, k, m, r); expect("lock xadd", 2, M(1 << k, m), R(1 << k, r));
                    asm_cmpxchg(&a, true, k, m, r); expect("lock cmpxchg", 2, M(1 << k, m), R(1 << k, r));
                    asm_cmpxchg(&a, false, k, m, r); expect("cmpxchg", 2, M(1 << k, m), R(1 << k, r));
                    asm_xchg_sized(&a, k, m, r); expect("xchg", 2, M(1 << k, m), R(1 << k, r));
                }
}

static void jumps(void)
{
    static const char *const jcc[] = { "jo", "jno", "jb", "jae", "je", "jne", "jbe", "ja", "js", "jns", "jp", "jnp", "jl",
                                       "jge", "jle", "jg" };
    uint8_t *at;

    for (unsigned cc = 0; cc < 16; cc++) {
        asm_jcc(&a, cc, code + 0x20); expect(jcc[cc], 1, I(0x1020));
        asm_jcc(&a, cc, code - 0x1000); expect(jcc[cc], 1, I(0));
        asm_set_rel32(asm_jcc32(&a, cc), code + 0x5000); expect(jcc[cc], 1, I(0x6000));
        at = asm_jcc8(&a, cc);
        asm_here8(&a, at); expect(jcc[cc], 1, I(0x1002));
    }
    asm_jmp(&a, code - 0x70); expect("jmp", 1, I(0x1000 - 0x70));
    asm_jmp(&a, code + 0x7000); expect("jmp", 1, I(0x8000));
    asm_set_rel32(asm_jmp32(&a), code + 0x10); expect("jmp", 1, I(0x1010));
    at = asm_jmp8(&a);
    asm_here8(&a, at); expect("jmp", 1, I(0x1002));
    asm_call(&a, code + 0x100); expect("call", 1, I(0x1100));
    asm_set_rel32(asm_call32(&a), code + 0x200); expect("call", 1, I(0x1200));
    EACH_REG(r) {
        asm_set_rel32(asm_lea_rip(&a, r), code + 0x107);
        expect("lea", 2, R(8, r), mem_text(8, "rip", "-", 1, 0x100));
    }
}

/* nops: any count of bytes, one instruction while it is at most 9 */
static void nops(void)
{
    for (unsigned n = 1; n < 30; n++) {
        cs_insn *insn;
        size_t count;

        asm_nop(&a, n);
        CHECK_EQ(a.p - code, n);
        count = cs_disasm(cs, code, n, 0, 0, &insn);
        CHECK_EQ(count, (n + 8) / 9);
        for (size_t k = 0; k < count; k++)
            CHECK_STR(insn[k].mnemonic, "nop");
        cs_free(insn, count);
        a.p = code;
    }
}

static void vectors(void)
{
    static const struct { int op; const char *ss, *sd; } fp[] = {
        { FP_SQRT, "vsqrtss", "vsqrtsd" }, { FP_ADD, "vaddss", "vaddsd" }, { FP_MUL, "vmulss", "vmulsd" },
        { FP_SUB, "vsubss", "vsubsd" }, { FP_MIN, "vminss", "vminsd" }, { FP_DIV, "vdivss", "vdivsd" }, { FP_MAX, "vmaxss", "vmaxsd" },
    };
    static const struct { int op; const char *ss, *sd; } fma[] = {
        { FMA_MADD, "vfmadd132ss", "vfmadd132sd" }, { FMA_MSUB, "vfmsub132ss", "vfmsub132sd" },
        { FMA_NMADD, "vfnmadd132ss", "vfnmadd132sd" }, { FMA_NMSUB, "vfnmsub132ss", "vfnmsub132sd" },
        { FMA_MADD + FMA_213, "vfmadd213ss", "vfmadd213sd" }, { FMA_MSUB + FMA_213, "vfmsub213ss", "vfmsub213sd" },
        { FMA_NMADD + FMA_213, "vfnmadd213ss", "vfnmadd213sd" }, { FMA_NMSUB + FMA_213, "vfnmsub213ss", "vfnmsub213sd" },
    };
    static const struct { int op; const char *name; } logic[] = {
        { V_AND, "vandps" }, { V_ANDN, "vandnps" }, { V_OR, "vorps" }, { V_XOR, "vxorps" },
    };

    EACH_RM(m)
        EACH_REG(r) {
            int s = 15 - r;

            for (int t = 0; t < 2; t++) {
                int z = SIZE(t);

                for (int k = 0; k < 7; k++) {
                    asm_vfp(&a, fp[k].op, t, r, s, m); expect(t ? fp[k].sd : fp[k].ss, 3, X(r), X(s), V(z, m));
                }
                for (int k = 0; k < 8; k++) {
                    asm_vfma(&a, fma[k].op, t, r, s, m); expect(t ? fma[k].sd : fma[k].ss, 3, X(r), X(s), V(z, m));
                }
                asm_vucomis(&a, t, r, m); expect(t ? "vucomisd" : "vucomiss", 2, X(r), V(z, m));
                asm_vcomis(&a, t, r, m); expect(t ? "vcomisd" : "vcomiss", 2, X(r), V(16, m));     /* 16: capstone's mistake */
                asm_vrounds(&a, t, r, s, m, 1); expect(t ? "vroundsd" : "vroundss", 4, X(r), X(s), V(z, m), I(1));
                asm_vcvt_s2s(&a, t, r, s, m); expect(t ? "vcvtsd2ss" : "vcvtss2sd", 3, X(r), X(s), V(z, m));
                EACH_W(w) {
                    asm_vcvt_si2s(&a, t, w, r, s, m);
                    expect(t ? "vcvtsi2sd" : "vcvtsi2ss", 3, X(r), X(s), G(SIZE(w), m));
                    asm_vcvt_s2si(&a, t, w, r, m); expect(t ? "vcvtsd2si" : "vcvtss2si", 2, R(SIZE(w), r), V(z, m));
                    asm_vcvtt_s2si(&a, t, w, r, m); expect(t ? "vcvttsd2si" : "vcvttss2si", 2, R(SIZE(w), r), V(z, m));
                }
            }
            for (int k = 0; k < 4; k++) {
                asm_vlogic(&a, logic[k].op, r, s, m); expect(logic[k].name, 3, X(r), X(s), V(16, m));
            }
            asm_vmov_xr(&a, 0, r, m); expect("vmovd", 2, X(r), G(4, m));
            asm_vmov_xr(&a, 1, r, m); expect("vmovq", 2, X(r), G(8, m));
            asm_vmov_rx(&a, 0, m, r); expect("vmovd", 2, G(4, m), X(r));
            asm_vmov_rx(&a, 1, m, r); expect("vmovq", 2, G(8, m), X(r));
            asm_vmovq(&a, r, m); expect("vmovq", 2, X(r), V(8, m));
            asm_vmovq_to(&a, m, r); expect("vmovq", 2, V(8, m), X(r));
            asm_vmovaps(&a, r, m); expect("vmovaps", 2, X(r), V(16, m));
            if (m.is_mem) {
                asm_vmovss(&a, r, m); expect("vmovss", 2, X(r), M(4, m));
                asm_vmovss_to(&a, m, r); expect("vmovss", 2, M(4, m), X(r));
            }
            asm_vpcmpeqb(&a, r, s, m); expect("vpcmpeqb", 3, X(r), X(s), V(16, m));
            asm_vpxor(&a, r, s, m); expect("vpxor", 3, X(r), X(s), V(16, m));
            asm_vpclmulqdq(&a, r, s, m, 0x10); expect("vpclmulqdq", 4, X(r), X(s), V(16, m), I(0x10));
            asm_vpextrq(&a, m, r, 1); expect("vpextrq", 3, G(8, m), X(r), I(1));
            asm_vpextrd(&a, m, r, 1); expect("vpextrd", 3, G(4, m), X(r), I(1));
        }
    EACH_REG(r) {
        asm_vones(&a, r); expect("vpcmpeqd", 3, X(r), X(r), X(r));
    }
}

int main(void)
{
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &cs) != CS_ERR_OK)
        return 1;
    cs_option(cs, CS_OPT_DETAIL, CS_OPT_ON);
    a.p = code;
    make_rms();
    RUN(moves);
    RUN(arithmetic);
    RUN(unary);
    RUN(atomics);
    RUN(jumps);
    RUN(nops);
    RUN(vectors);
    cs_close(&cs);
    return test_end();
}
