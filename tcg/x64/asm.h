/* SPDX-License-Identifier: MIT */
/*
 * The x86-64 assembler: a function for each machine instruction form that the
 * backend uses, writing through a byte pointer. Manual: Intel SDM volume 2.
 *
 * `w` chooses the operand size: 0 is 32 bits (the upper half of a destination
 * register becomes zero), 1 is 64 bits. A register number is 0-15 as the
 * hardware counts, for both general and xmm registers. Nothing is checked
 * here; tests/unit/test_asm.c holds every form against a disassembler.
 */
#ifndef TCG_X64_ASM_H
#define TCG_X64_ASM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/*
 * What code depends on besides its own bytes: places of rel32 fields, which change when code moves against their targets,
 * and of constants of 64 bits that are guest addresses. One that is full has lost some.
 */
enum { ASM_NOTES = 4096 };
typedef struct AsmNotes { uint8_t *rel[ASM_NOTES], *pc[ASM_NOTES]; int nrel, npc; bool full; } AsmNotes;

/* notes: NULL, or where calls and jumps beyond [start, p) are noted. */
typedef struct Asm { uint8_t *p, *start; AsmNotes *notes; } Asm;

/* The r/m operand: a register, or memory at base + (index << scale) + disp. */
typedef struct Rm {
    int32_t disp;
    int8_t base, index;         /* base: register of either kind; index -1: none */
    uint8_t scale;              /* 0 to 3 */
    bool is_mem;
} Rm;

static inline Rm rm_reg(int r)
{
    return (Rm){ .base = (int8_t)r, .index = -1 };
}
static inline Rm rm_mem(int base, int32_t disp)
{
    return (Rm){ .base = (int8_t)base, .index = -1, .disp = disp, .is_mem = true };
}
static inline Rm rm_sib(int base, int index, unsigned scale, int32_t disp)
{
    return (Rm){ .base = (int8_t)base, .index = (int8_t)index, .scale = (uint8_t)scale, .disp = disp, .is_mem = true };
}

/* ---- bytes */

static inline void asm_8(Asm *a, unsigned v) { *a->p++ = (uint8_t)v; }
static inline void asm_32(Asm *a, uint32_t v) { memcpy(a->p, &v, 4); a->p += 4; }
static inline void asm_64(Asm *a, uint64_t v) { memcpy(a->p, &v, 8); a->p += 8; }

/* An opcode word: the opcode byte, and what stands before it. */
enum {
    OP_0F = 1 << 8, OP_0F38 = 2 << 8, OP_0F3A = 3 << 8, OP_MAP = 3 << 8,
    OP_66 = 1 << 10, OP_F2 = 1 << 11, OP_F3 = 1 << 12,
    OP_W = 1 << 13,
    OP_B = 1 << 14,             /* reg names a byte register: 4-7 need REX for spl.. dil */
    OP_BM = 1 << 15,            /* so does r/m, when it is a register */
    OP_L = 1 << 16,             /* VEX.L: 256 bits */
};
static inline unsigned op_w(int w) { return w ? OP_W : 0; }

static inline void asm_modrm(Asm *a, int reg, Rm m)
{
    unsigned r = (reg & 7) << 3, b = m.base & 7;

    if (!m.is_mem) {
        asm_8(a, 0xc0 | r | b);
        return;
    }
    if (m.base < 0) {                   /* index * scale + disp32, no base */
        asm_8(a, 0x04 | r);
        asm_8(a, m.scale << 6 | (m.index & 7) << 3 | 5);
        asm_32(a, m.disp);
        return;
    }
    bool sib = m.index >= 0 || b == RSP;
    unsigned mod = m.disp == 0 && b != RBP ? 0 : m.disp == (int8_t)m.disp ? 0x40 : 0x80;

    asm_8(a, mod | r | (sib ? 4 : b));
    if (sib)
        asm_8(a, m.scale << 6 | (m.index >= 0 ? (m.index & 7) << 3 : 0x20) | b);
    if (mod == 0x40)
        asm_8(a, m.disp);
    else if (mod == 0x80)
        asm_32(a, m.disp);
}

static inline unsigned rm_x(Rm m) { return m.index >= 8; }
static inline unsigned rm_b(Rm m) { return m.base >= 8; }

/* A legacy-encoded instruction with a ModRM byte. */
static inline void asm_op(Asm *a, unsigned op, int reg, Rm m)
{
    unsigned rex = (op & OP_W ? 8 : 0) | (reg >= 8) << 2 | rm_x(m) << 1 | rm_b(m);

    if (op & OP_66)
        asm_8(a, 0x66);
    if (op & OP_F2)
        asm_8(a, 0xf2);
    if (op & OP_F3)
        asm_8(a, 0xf3);
    if (rex || (op & OP_B && reg >= 4) || (op & OP_BM && !m.is_mem && m.base >= 4))
        asm_8(a, 0x40 | rex);
    if (op & OP_MAP)
        asm_8(a, 0x0f);
    if ((op & OP_MAP) == OP_0F38)
        asm_8(a, 0x38);
    if ((op & OP_MAP) == OP_0F3A)
        asm_8(a, 0x3a);
    asm_8(a, op);
    asm_modrm(a, reg, m);
}

/* A VEX-encoded one; v is the second source (0 when the form has none). */
static inline void asm_vex(Asm *a, unsigned op, int reg, int v, Rm m)
{
    unsigned pp = op & OP_66 ? 1 : op & OP_F3 ? 2 : op & OP_F2 ? 3 : 0;
    unsigned low = (~v & 15) << 3 | (op & OP_L ? 4 : 0) | pp;
    unsigned map = (op & OP_MAP) >> 8;

    if (map == 1 && !(op & OP_W) && !rm_x(m) && !rm_b(m)) {
        asm_8(a, 0xc5);
        asm_8(a, (reg < 8 ? 0x80 : 0) | low);
    } else {
        asm_8(a, 0xc4);
        asm_8(a, (reg < 8 ? 0x80 : 0) | (rm_x(m) ? 0 : 0x40) | (rm_b(m) ? 0 : 0x20) | map);
        asm_8(a, (op & OP_W ? 0x80 : 0) | low);
    }
    asm_8(a, op);
    asm_modrm(a, reg, m);
}

/* ---- moves */

static inline void asm_mov(Asm *a, int w, int d, Rm s) { asm_op(a, 0x8b | op_w(w), d, s); }
static inline void asm_movzx8(Asm *a, int d, Rm s) { asm_op(a, 0xb6 | OP_0F | OP_BM, d, s); }
static inline void asm_movzx16(Asm *a, int d, Rm s) { asm_op(a, 0xb7 | OP_0F, d, s); }
static inline void asm_movsx8(Asm *a, int w, int d, Rm s) { asm_op(a, 0xbe | OP_0F | OP_BM | op_w(w), d, s); }
static inline void asm_movsx16(Asm *a, int w, int d, Rm s) { asm_op(a, 0xbf | OP_0F | op_w(w), d, s); }
static inline void asm_movsxd(Asm *a, int d, Rm s) { asm_op(a, 0x63 | OP_W, d, s); }
static inline void asm_lea(Asm *a, int w, int d, Rm m) { asm_op(a, 0x8d | op_w(w), d, m); }
/* memory = s, of 1 << size bytes */
static inline void asm_store(Asm *a, unsigned size, Rm m, int s)
{
    unsigned op = size == 0 ? 0x88 | OP_B : size == 1 ? 0x89 | OP_66 : size == 2 ? 0x89 : 0x89 | OP_W;

    asm_op(a, op, s, m);
}
/* memory = imm; 64 bits: sign-extended */
static inline void asm_store_imm(Asm *a, unsigned size, Rm m, int32_t imm)
{
    unsigned op = size == 0 ? 0xc6 : size == 1 ? 0xc7 | OP_66 : size == 2 ? 0xc7 : 0xc7 | OP_W;

    asm_op(a, op, 0, m);
    if (size == 0)
        asm_8(a, imm);
    else if (size == 1) {
        asm_8(a, imm);
        asm_8(a, imm >> 8);
    } else
        asm_32(a, imm);
}
/* 64-bit register = v, in the shortest form that leaves the flags alone */
static inline void asm_mov_imm(Asm *a, int d, uint64_t v)
{
    if (v == (uint32_t)v) {
        if (d >= 8)
            asm_8(a, 0x41);
        asm_8(a, 0xb8 | (d & 7));
        asm_32(a, v);
    } else if (v == (uint64_t)(int32_t)v) {
        asm_op(a, 0xc7 | OP_W, 0, rm_reg(d));
        asm_32(a, v);
    } else {
        asm_8(a, 0x48 | (d >= 8));
        asm_8(a, 0xb8 | (d & 7));
        asm_64(a, v);
    }
}
static inline void asm_xchg(Asm *a, int w, int r, Rm m) { asm_op(a, 0x87 | op_w(w), r, m); }
static inline void asm_cmov(Asm *a, int w, unsigned cc, int d, Rm s) { asm_op(a, 0x40 | cc | OP_0F | op_w(w), d, s); }
static inline void asm_setcc(Asm *a, unsigned cc, int d) { asm_op(a, 0x90 | cc | OP_0F | OP_BM, 0, rm_reg(d)); }

/* ---- two-operand arithmetic */

enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };

static inline void asm_alu(Asm *a, int alu, int w, int d, Rm s) { asm_op(a, alu << 3 | 3 | op_w(w), d, s); }
static inline void asm_alu_to(Asm *a, int alu, int w, Rm d, int s) { asm_op(a, alu << 3 | 1 | op_w(w), s, d); }
static inline void asm_alu_imm(Asm *a, int alu, int w, Rm d, int32_t imm)
{
    if (imm == (int8_t)imm) {
        asm_op(a, 0x83 | op_w(w), alu, d);
        asm_8(a, imm);
    } else if (!d.is_mem && d.base == RAX) {
        if (w)
            asm_8(a, 0x48);
        asm_8(a, alu << 3 | 5);
        asm_32(a, imm);
    } else {
        asm_op(a, 0x81 | op_w(w), alu, d);
        asm_32(a, imm);
    }
}
static inline void asm_cmp8_imm(Asm *a, Rm d, int8_t imm) { asm_op(a, 0x80 | OP_BM, ALU_CMP, d); asm_8(a, imm); }
static inline void asm_test(Asm *a, int w, Rm d, int s) { asm_op(a, 0x85 | op_w(w), s, d); }
static inline void asm_test8_imm(Asm *a, Rm d, int imm) { asm_op(a, 0xf6 | OP_BM, 0, d); asm_8(a, imm); }
static inline void asm_xor_self(Asm *a, int d) { asm_alu(a, ALU_XOR, 0, d, rm_reg(d)); }
static inline void asm_not(Asm *a, int w, Rm d) { asm_op(a, 0xf7 | op_w(w), 2, d); }
static inline void asm_neg(Asm *a, int w, Rm d) { asm_op(a, 0xf7 | op_w(w), 3, d); }
static inline void asm_bswap(Asm *a, int w, int d)
{
    if (w || d >= 8)
        asm_8(a, 0x40 | (w ? 8 : 0) | (d >= 8));
    asm_8(a, 0x0f);
    asm_8(a, 0xc8 | (d & 7));
}
/* 16-bit rotate by 8: swaps the two low bytes */
static inline void asm_rol16_8(Asm *a, int d) { asm_op(a, 0xc1 | OP_66, 0, rm_reg(d)); asm_8(a, 8); }

enum { SH_ROL = 0, SH_ROR = 1, SH_SHL = 4, SH_SHR = 5, SH_SAR = 7 };

static inline void asm_shift_imm(Asm *a, int sh, int w, Rm d, unsigned n)
{
    if (n == 1) {
        asm_op(a, 0xd1 | op_w(w), sh, d);
        return;
    }
    asm_op(a, 0xc1 | op_w(w), sh, d);
    asm_8(a, n);
}
static inline void asm_shift_cl(Asm *a, int sh, int w, Rm d) { asm_op(a, 0xd3 | op_w(w), sh, d); }
static inline void asm_shld(Asm *a, int w, Rm d, int s, unsigned n)
{
    asm_op(a, 0xa4 | OP_0F | op_w(w), s, d);
    asm_8(a, n);
}

static inline void asm_imul(Asm *a, int w, int d, Rm s) { asm_op(a, 0xaf | OP_0F | op_w(w), d, s); }
static inline void asm_imul_imm(Asm *a, int w, int d, Rm s, int32_t imm)
{
    if (imm == (int8_t)imm) {
        asm_op(a, 0x6b | op_w(w), d, s);
        asm_8(a, imm);
    } else {
        asm_op(a, 0x69 | op_w(w), d, s);
        asm_32(a, imm);
    }
}
/* rdx:rax = rax * s (signed); quotient to rax, remainder to rdx of rdx:rax / s */
static inline void asm_imul_wide(Asm *a, int w, Rm s) { asm_op(a, 0xf7 | op_w(w), 5, s); }
static inline void asm_div(Asm *a, int w, Rm s) { asm_op(a, 0xf7 | op_w(w), 6, s); }
static inline void asm_idiv(Asm *a, int w, Rm s) { asm_op(a, 0xf7 | op_w(w), 7, s); }
static inline void asm_cqo(Asm *a, int w)
{
    if (w)
        asm_8(a, 0x48);
    asm_8(a, 0x99);
}

/* ---- BMI, LZCNT, POPCNT */

static inline void asm_shlx(Asm *a, int w, int d, Rm s, int n) { asm_vex(a, 0xf7 | OP_0F38 | OP_66 | op_w(w), d, n, s); }
static inline void asm_sarx(Asm *a, int w, int d, Rm s, int n) { asm_vex(a, 0xf7 | OP_0F38 | OP_F3 | op_w(w), d, n, s); }
static inline void asm_shrx(Asm *a, int w, int d, Rm s, int n) { asm_vex(a, 0xf7 | OP_0F38 | OP_F2 | op_w(w), d, n, s); }
static inline void asm_rorx(Asm *a, int w, int d, Rm s, unsigned n)
{
    asm_vex(a, 0xf0 | OP_0F3A | OP_F2 | op_w(w), d, 0, s);
    asm_8(a, n);
}
static inline void asm_andn(Asm *a, int w, int d, int inverted, Rm s) { asm_vex(a, 0xf2 | OP_0F38 | op_w(w), d, inverted, s); }
/* hi:lo = rdx * s, unsigned; hi alone when hi == lo */
static inline void asm_mulx(Asm *a, int w, int hi, int lo, Rm s) { asm_vex(a, 0xf6 | OP_0F38 | OP_F2 | op_w(w), hi, lo, s); }
static inline void asm_lzcnt(Asm *a, int w, int d, Rm s) { asm_op(a, 0xbd | OP_0F | OP_F3 | op_w(w), d, s); }
static inline void asm_tzcnt(Asm *a, int w, int d, Rm s) { asm_op(a, 0xbc | OP_0F | OP_F3 | op_w(w), d, s); }
static inline void asm_popcnt(Asm *a, int w, int d, Rm s) { asm_op(a, 0xb8 | OP_0F | OP_F3 | op_w(w), d, s); }

/* ---- atomics; size is log2 of bytes, lock writes the prefix */

static inline void asm_lock(Asm *a, bool lock)
{
    if (lock)
        asm_8(a, 0xf0);
}
static inline unsigned op_sized(unsigned op, unsigned size)
{
    return size == 0 ? (op - 1) | OP_B : size == 1 ? op | OP_66 : size == 2 ? op : op | OP_W;
}
static inline void asm_xadd(Asm *a, bool lock, unsigned size, Rm m, int r)
{
    asm_lock(a, lock);
    asm_op(a, op_sized(0xc1, size) | OP_0F, r, m);
}
static inline void asm_cmpxchg(Asm *a, bool lock, unsigned size, Rm m, int r)
{
    asm_lock(a, lock);
    asm_op(a, op_sized(0xb1, size) | OP_0F, r, m);
}
static inline void asm_xchg_sized(Asm *a, unsigned size, Rm m, int r) { asm_op(a, op_sized(0x87, size), r, m); }

/* ---- stack, jumps */

static inline void asm_push(Asm *a, int r)
{
    if (r >= 8)
        asm_8(a, 0x41);
    asm_8(a, 0x50 | (r & 7));
}
static inline void asm_pop(Asm *a, int r)
{
    if (r >= 8)
        asm_8(a, 0x41);
    asm_8(a, 0x58 | (r & 7));
}
static inline void asm_push_imm(Asm *a, int32_t v) { asm_8(a, 0x68); asm_32(a, v); }
static inline void asm_push_mem(Asm *a, Rm m) { asm_op(a, 0xff, 6, m); }
static inline void asm_pop_mem(Asm *a, Rm m) { asm_op(a, 0x8f, 0, m); }
static inline void asm_ret(Asm *a) { asm_8(a, 0xc3); }
static inline void asm_ud2(Asm *a) { asm_8(a, 0x0f); asm_8(a, 0x0b); }

/* Host condition codes. */
enum { X_O, X_NO, X_B, X_AE, X_E, X_NE, X_BE, X_A, X_S, X_NS, X_P, X_NP, X_L, X_GE, X_LE, X_G };

/* Writes the rel32 that makes an instruction ending after it reach `to`. */
static inline void asm_set_rel32(uint8_t *at, const uint8_t *to)
{
    int32_t rel = (int32_t)(to - (at + 4));

    memcpy(at, &rel, 4);
}
static inline void asm_note_rel32(AsmNotes *n, uint8_t *at)
{
    if (n->nrel < ASM_NOTES)
        n->rel[n->nrel++] = at;
    else
        n->full = true;
}
static inline void asm_rel32(Asm *a, const uint8_t *to)
{
    if (a->notes)
        asm_note_rel32(a->notes, a->p);
    asm_set_rel32(a->p, to);
    a->p += 4;
}
/* May a jump to there have the short form? Not between areas, whose distance may change. */
static inline bool asm_short(const Asm *a, const uint8_t *to)
{
    intptr_t rel = to - (a->p + 2);

    return rel == (int8_t)rel && (!a->notes || (to >= a->start && to < a->p));
}
static inline void asm_call(Asm *a, const uint8_t *to) { asm_8(a, 0xe8); asm_rel32(a, to); }
static inline void asm_call_rm(Asm *a, Rm m) { asm_op(a, 0xff, 2, m); }
static inline void asm_jmp_rm(Asm *a, Rm m) { asm_op(a, 0xff, 4, m); }
/* Jumps to a known place, in the short form if it reaches. */
static inline void asm_jmp(Asm *a, const uint8_t *to)
{
    intptr_t rel = to - (a->p + 2);

    if (asm_short(a, to)) {
        asm_8(a, 0xeb);
        asm_8(a, rel);
    } else {
        asm_8(a, 0xe9);
        asm_rel32(a, to);
    }
}
static inline void asm_jcc(Asm *a, unsigned cc, const uint8_t *to)
{
    intptr_t rel = to - (a->p + 2);

    if (asm_short(a, to)) {
        asm_8(a, 0x70 | cc);
        asm_8(a, rel);
    } else {
        asm_8(a, 0x0f);
        asm_8(a, 0x80 | cc);
        asm_rel32(a, to);
    }
}
/* Forms with a rel32 to be filled in: its place is returned. */
static inline uint8_t *asm_jmp32(Asm *a) { asm_8(a, 0xe9); a->p += 4; return a->p - 4; }
static inline uint8_t *asm_call32(Asm *a) { asm_8(a, 0xe8); a->p += 4; return a->p - 4; }
static inline uint8_t *asm_jcc32(Asm *a, unsigned cc)
{
    asm_8(a, 0x0f);
    asm_8(a, 0x80 | cc);
    a->p += 4;
    return a->p - 4;
}
/* Short forward jumps: the place of the rel8 is returned, asm_here8 fills it in. */
static inline uint8_t *asm_jcc8(Asm *a, unsigned cc) { asm_8(a, 0x70 | cc); asm_8(a, 0); return a->p - 1; }
static inline uint8_t *asm_jmp8(Asm *a) { asm_8(a, 0xeb); asm_8(a, 0); return a->p - 1; }
static inline void asm_here8(Asm *a, uint8_t *at) { *at = (uint8_t)(a->p - (at + 1)); }
/* reg = the address of the place that asm_set_rel32 will say */
static inline uint8_t *asm_lea_rip(Asm *a, int d)
{
    asm_8(a, 0x48 | (d >= 8) << 2);
    asm_8(a, 0x8d);
    asm_8(a, (d & 7) << 3 | 5);
    a->p += 4;
    return a->p - 4;
}

/* n bytes that do nothing, in as few instructions as can be */
static inline void asm_nop(Asm *a, unsigned n)
{
    static const uint8_t nops[9][9] = {
        { 0x90 }, { 0x66, 0x90 }, { 0x0f, 0x1f, 0x00 }, { 0x0f, 0x1f, 0x40, 0x00 },
        { 0x0f, 0x1f, 0x44, 0x00, 0x00 }, { 0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00 },
        { 0x0f, 0x1f, 0x80, 0, 0, 0, 0 }, { 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
        { 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0 },
    };

    while (n) {
        unsigned k = n < 9 ? n : 9;

        memcpy(a->p, nops[k - 1], k);
        a->p += k;
        n -= k;
    }
}

/* ---- MXCSR */

static inline void asm_ldmxcsr(Asm *a, Rm m) { asm_vex(a, 0xae | OP_0F, 2, 0, m); }
static inline void asm_stmxcsr(Asm *a, Rm m) { asm_vex(a, 0xae | OP_0F, 3, 0, m); }

/* ---- vector and scalar floating point, all VEX, 128 bits; t: 0 is f32, 1 is f64 */

static inline unsigned op_ss(int t) { return t ? OP_F2 : OP_F3; }   /* scalar prefix */
static inline unsigned op_ps(int t) { return t ? OP_66 : 0; }       /* packed prefix */

/* between a general register or memory and xmm, 32 bits (w 0) or 64; the rest of xmm becomes zero */
static inline void asm_vmov_xr(Asm *a, int w, int x, Rm s) { asm_vex(a, 0x6e | OP_0F | OP_66 | op_w(w), x, 0, s); }
static inline void asm_vmov_rx(Asm *a, int w, Rm d, int x) { asm_vex(a, 0x7e | OP_0F | OP_66 | op_w(w), x, 0, d); }
/* low 64 bits between xmm and xmm or memory; the rest of xmm becomes zero */
static inline void asm_vmovq(Asm *a, int x, Rm s) { asm_vex(a, 0x7e | OP_0F | OP_F3, x, 0, s); }
static inline void asm_vmovq_to(Asm *a, Rm d, int x) { asm_vex(a, 0xd6 | OP_0F | OP_66, x, 0, d); }
/* the same for 32 bits of memory */
static inline void asm_vmovss(Asm *a, int x, Rm s) { asm_vex(a, 0x10 | OP_0F | OP_F3, x, 0, s); }
static inline void asm_vmovss_to(Asm *a, Rm d, int x) { asm_vex(a, 0x11 | OP_0F | OP_F3, x, 0, d); }
static inline void asm_vmovaps(Asm *a, int d, Rm s) { asm_vex(a, 0x28 | OP_0F, d, 0, s); }

enum { FP_SQRT = 0x51, FP_ADD = 0x58, FP_MUL = 0x59, FP_SUB = 0x5c, FP_MIN = 0x5d, FP_DIV = 0x5e, FP_MAX = 0x5f };
static inline void asm_vfp(Asm *a, int fp, int t, int d, int s1, Rm s2) { asm_vex(a, fp | OP_0F | op_ss(t), d, s1, s2); }
enum { FMA_MADD = 0x99, FMA_MSUB = 0x9b, FMA_NMADD = 0x9d, FMA_NMSUB = 0x9f, FMA_213 = 0x10 };
/* form 132: d = d * s2 + s1; with FMA_213 added: d = s1 * d + s2 */
static inline void asm_vfma(Asm *a, int fma, int t, int d, int s1, Rm s2) { asm_vex(a, fma | OP_0F38 | OP_66 | op_w(t), d, s1, s2); }
static inline void asm_vucomis(Asm *a, int t, int x, Rm s) { asm_vex(a, 0x2e | OP_0F | op_ps(t), x, 0, s); }
static inline void asm_vcomis(Asm *a, int t, int x, Rm s) { asm_vex(a, 0x2f | OP_0F | op_ps(t), x, 0, s); }
enum { V_AND = 0x54, V_ANDN = 0x55, V_OR = 0x56, V_XOR = 0x57 };
static inline void asm_vlogic(Asm *a, int op, int d, int s1, Rm s2) { asm_vex(a, op | OP_0F, d, s1, s2); }
/* conversions: w is the integer's size */
static inline void asm_vcvt_si2s(Asm *a, int t, int w, int d, int upper, Rm s) { asm_vex(a, 0x2a | OP_0F | op_ss(t) | op_w(w), d, upper, s); }
static inline void asm_vcvt_s2si(Asm *a, int t, int w, int d, Rm s) { asm_vex(a, 0x2d | OP_0F | op_ss(t) | op_w(w), d, 0, s); }
static inline void asm_vcvtt_s2si(Asm *a, int t, int w, int d, Rm s) { asm_vex(a, 0x2c | OP_0F | op_ss(t) | op_w(w), d, 0, s); }
/* the other scalar format: t is the source's */
static inline void asm_vcvt_s2s(Asm *a, int t, int d, int upper, Rm s) { asm_vex(a, 0x5a | OP_0F | op_ss(t), d, upper, s); }
static inline void asm_vrounds(Asm *a, int t, int d, int upper, Rm s, unsigned mode)
{
    asm_vex(a, (t ? 0x0b : 0x0a) | OP_0F3A | OP_66, d, upper, s);
    asm_8(a, mode);
}
static inline void asm_vpcmpeqb(Asm *a, int d, int s1, Rm s2) { asm_vex(a, 0x74 | OP_0F | OP_66, d, s1, s2); }
static inline void asm_vpxor(Asm *a, int d, int s1, Rm s2) { asm_vex(a, 0xef | OP_0F | OP_66, d, s1, s2); }
static inline void asm_vpclmulqdq(Asm *a, int d, int s1, Rm s2, unsigned sel)
{
    asm_vex(a, 0x44 | OP_0F3A | OP_66, d, s1, s2);
    asm_8(a, sel);
}
/* all ones in the low 128 bits */
static inline void asm_vones(Asm *a, int d) { asm_vex(a, 0x76 | OP_0F | OP_66, d, d, rm_reg(d)); }
static inline void asm_vpextrd(Asm *a, Rm d, int x, unsigned lane)
{
    asm_vex(a, 0x16 | OP_0F3A | OP_66, x, 0, d);
    asm_8(a, lane);
}
static inline void asm_vpextrq(Asm *a, Rm d, int x, unsigned lane)
{
    asm_vex(a, 0x16 | OP_0F3A | OP_66 | OP_W, x, 0, d);
    asm_8(a, lane);
}

#endif
