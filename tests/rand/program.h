/* SPDX-License-Identifier: MIT */
/*
 * Random RISC-V programs from the rows of insn.tab: straight lines with forward
 * branches and jumps, calls of leaf functions, loads, stores and atomics in a scratch
 * buffer. Operands are biased to edge values. s1 (x9) and sp (x2) hold the
 * middle of the buffer and are never written.
 */
#ifndef TESTS_RAND_PROGRAM_H
#define TESTS_RAND_PROGRAM_H

#include "target/riscv/insn.h"

enum {
    BUF_HALF = 512, BUF_SIZE = 2 * BUF_HALF + 64, PROGRAM_MAX = 256,
    BASE_REG = 9, SP = 2, ADDR_REG = 8, LINK = 1,
};

/* What a program starts from and leaves; as guest code loads and stores it. */
typedef struct Context {
    uint64_t f[32], x[32];      /* x[0] is fcsr */
    uint8_t pad[64];
    uint8_t buf[BUF_SIZE];      /* the base registers point at buf + BUF_HALF */
} Context;

typedef struct Generator {
    uint64_t seed;
    uint64_t exts;
    const uint16_t *rows; int nrows;    /* what may be used */
    bool faults;                /* sometimes addresses outside the buffer, illegal words */
    /* the program being made */
    /* target: index it goes to, -1: none; joined: only the instruction before makes it safe to run */
    struct { RvInsn i; int target; bool joined; } code[PROGRAM_MAX]; int n;
    uint16_t recent[4];         /* registers written last */
} Generator;

static inline uint64_t rnd(Generator *g) { return rv_random_bits(&g->seed); }
static inline unsigned below(Generator *g, unsigned n) { return (rnd(g) >> 33) % n; }

/* ---- values */

static uint64_t random_int(Generator *g)
{
    static const uint64_t edges[] = {
        0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff,
        0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000,
        0xffffffff80000000, 0xffffffff7fffffff, UINT64_MAX, UINT64_MAX - 1, 0x5555555555555555, 0xff00ff00ff00ff00,
    };
    uint64_t v = rnd(g);

    switch (below(g, 4)) {
    case 0:  return edges[below(g, sizeof(edges) / sizeof(edges[0]))];
    case 1:  return (int64_t)v >> below(g, 64);
    case 2:  return (uint64_t)(int64_t)(int32_t)v;
    default: return v;
    }
}

static uint64_t random_double(Generator *g)
{
    static const uint64_t edges[] = {
        0, 1, 0x000fffffffffffff, 0x0010000000000000, 0x3ca0000000000000, 0x3cb0000000000000,
        0x3fe0000000000000, 0x3fefffffffffffff, 0x3ff0000000000000, 0x3ff0000000000001, 0x3ff8000000000000,
        0x4000000000000000, 0x41dfffffffc00000, 0x41e0000000000000, 0x41efffffffe00000, 0x41f0000000000000,
        0x4330000000000000, 0x4340000000000000, 0x43e0000000000000, 0x43f0000000000000, 0x7fefffffffffffff,
        0x7ff0000000000000, 0x7ff0000000000001, 0x7ff8000000000000, 0x7ff8000000000123, 0x7ff4000000000000,
        0x36a0000000000000, 0x3810000000000000, 0x380fffffe0000000, 0x47efffffe0000000, 0x47f0000000000000,
    };
    uint64_t sign = rnd(g) & 1ull << 63;

    switch (below(g, 4)) {
    case 0:  return rnd(g);
    case 1:  /* a number of moderate size, few bits */
        return sign | (uint64_t)(1023 - 40 + below(g, 104)) << 52 | (rnd(g) >> 12 & ~0ull << below(g, 52));
    default: return sign | edges[below(g, sizeof(edges) / sizeof(edges[0]))];
    }
}

static uint32_t random_single(Generator *g)
{
    static const uint32_t edges[] = {
        0, 1, 0x007fffff, 0x00800000, 0x33000000, 0x33800000, 0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001,
        0x3fc00000, 0x40000000, 0x4effffff, 0x4f000000, 0x4f7fffff, 0x4f800000, 0x4b000000, 0x4b800000,
        0x5f000000, 0x5f800000, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fc00123, 0x7fa00000,
        0x33800001, 0x477fe000, 0x477ff000, 0x38800000, 0x387fc000,
    };
    uint32_t sign = rnd(g) & 1u << 31;

    switch (below(g, 4)) {
    case 0:  return rnd(g);
    case 1:  return sign | (127 - 20 + below(g, 60)) << 23 | ((uint32_t)rnd(g) >> 9 & ~0u << below(g, 23));
    default: return sign | edges[below(g, sizeof(edges) / sizeof(edges[0]))];
    }
}

/* A register: mostly doubles and boxed singles, some halves, some bad boxes. */
static uint64_t random_float(Generator *g)
{
    switch (below(g, 16)) {
    case 0:  return 0xffffffffffff0000 | (rnd(g) & 0xffff);
    case 1:  return rnd(g) << 32 | random_single(g);
    case 2: case 3: case 4: case 5: case 6: case 7:
        return 0xffffffff00000000 | random_single(g);
    default: return random_double(g);
    }
}

static void random_context(Generator *g, Context *c, uint64_t middle)
{
    memset(c, 0, sizeof(*c));
    for (int n = 1; n < 32; n++)
        c->x[n] = random_int(g);
    for (int n = 0; n < 32; n++)
        c->f[n] = random_float(g);
    for (unsigned n = 0; n < sizeof(c->buf); n += 8) {
        uint64_t v = below(g, 3) ? random_int(g) : random_float(g);
        memcpy(c->buf + n, &v, 8);
    }
    c->x[0] = (below(g, 2) ? below(g, 5) : 0) << 5 | (below(g, 2) ? below(g, 32) : 0);
    c->x[BASE_REG] = c->x[SP] = middle;
}

/* ---- instructions */

static bool is_load_store(const RvInsn *i)
{
    switch (i->op) {
    case RV_OP_lb: case RV_OP_lh: case RV_OP_lw: case RV_OP_ld: case RV_OP_lbu: case RV_OP_lhu: case RV_OP_lwu:
    case RV_OP_sb: case RV_OP_sh: case RV_OP_sw: case RV_OP_sd: case RV_OP_flh: case RV_OP_flw: case RV_OP_fld:
    case RV_OP_fsh: case RV_OP_fsw: case RV_OP_fsd:
        return true;
    default:
        return false;
    }
}

static bool is_branch(const RvInsn *i) { return i->op >= RV_OP_beq && i->op <= RV_OP_bgeu; }
static bool is_atomic(const RvInsn *i) { return i->op >= RV_OP_lr_w && i->op <= RV_OP_amocas_q; }

static bool row_has(unsigned row, unsigned member) { return rv_rows[row].members >> member & 1; }

static bool writes_x(const RvInsn *i)
{
    return row_has(i->op, RV_ARG_RD) && !(rv_rows[i->op].regs & RVF_FD);
}

/* Immediates that meet the edge values of registers. */
static void bias_immediate(Generator *g, RvInsn *i)
{
    static const int16_t edges[] = { 0, 1, -1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 2047, -2048, -2, 0x7f, -128 };

    if (i->row == i->op && rv_rows[i->row].imm_signed && rv_rows[i->row].imm_top == 12 && !below(g, 3))
        i->imm = edges[below(g, sizeof(edges) / sizeof(edges[0]))];
}

/* Makes the random fields of a row harmless, and more telling. */
static void limit(void *opaque, RvInsn *i)
{
    Generator *g = opaque;

    bias_immediate(g, i);
    if (writes_x(i)) {
        while (i->rd == BASE_REG || i->rd == SP)
            i->rd = 10 + below(g, 6);
        if (i->op == RV_OP_amocas_q)
            i->rd = 10 + 2 * below(g, 4);
    }
    if (i->row == i->op && row_has(i->op, RV_ARG_RS1) && !(rv_rows[i->op].regs & RVF_FS1) && !below(g, 3))
        i->rs1 = g->recent[below(g, 4)];
    if (i->row == i->op && row_has(i->op, RV_ARG_RS2) && !(rv_rows[i->op].regs & RVF_FS2) && !below(g, 3) &&
        i->op != RV_OP_amocas_q)
        i->rs2 = g->recent[below(g, 4)];
    if (row_has(i->op, RV_ARG_RM))
        i->rm = below(g, 3) ? 7 : below(g, 5);
    if (is_load_store(i)) {
        if (i->row == i->op || rv_rows[i->row].members >> RV_ARG_RS1 & 1)
            i->rs1 = BASE_REG;
        if (i->row == i->op)
            i->imm = (int)below(g, 2 * BUF_HALF) - BUF_HALF;
    }
    if (is_atomic(i))
        i->rs1 = ADDR_REG;
    if (i->op >= RV_OP_csrrw && i->op <= RV_OP_csrrci) {
        i->imm = 1 + below(g, 3);
        if (i->imm != 1 && i->op == RV_OP_csrrwi)
            i->rs1 = below(g, 5);
        else if (i->imm != 1)
            i->rs1 = 0;         /* read: other values of frm may be reserved */
    }
}

static RvInsn *push(Generator *g, unsigned row, unsigned rd, unsigned rs1, unsigned rs2, int32_t imm)
{
    RvInsn *i = &g->code[g->n].i;

    g->code[g->n].joined = false;
    g->code[g->n++].target = -1;
    *i = (RvInsn){ .row = row, .op = rv_rows[row].base, .len = rv_rows[row].len, .rd = rd, .rs1 = rs1, .rs2 = rs2, .imm = imm };
    return i;
}

static RvInsn *join(Generator *g, unsigned row, unsigned rd, unsigned rs1, unsigned rs2, int32_t imm)
{
    RvInsn *i = push(g, row, rd, rs1, rs2, imm);

    g->code[g->n - 1].joined = true;
    return i;
}

/* An aligned address for the atomic that follows; sometimes a misaligned one when faults are wanted. */
static void push_address(Generator *g)
{
    int at = ((int)below(g, 2 * BUF_HALF) - BUF_HALF) & ~15;

    if (g->faults && !below(g, 200))
        at += 1 + below(g, 15);
    push(g, RV_OP_addi, ADDR_REG, BASE_REG, 0, at);
}

static bool push_row(Generator *g, unsigned row)
{
    RvInsn i;

    if (!rv_random(row, g->exts, &g->seed, limit, g, &i))
        return false;
    if (row == RV_OP_csrrw && i.imm != 1)
        return false;
    if (is_atomic(&i)) {
        push_address(g);
        if (i.op == RV_OP_sc_w || i.op == RV_OP_sc_d) {
            /* always after lr of the same size: what another one does is left open */
            join(g, i.op == RV_OP_sc_w ? RV_OP_lr_w : RV_OP_lr_d, 10 + below(g, 8), ADDR_REG, 0, 0);
            if (!below(g, 4))           /* this one takes the reservation: the next must fail */
                join(g, i.op, 10 + below(g, 8), ADDR_REG, below(g, 32), 0);
            if (below(g, 2))
                join(g, RV_OP_xori, 15, 15, 0, -1);
        }
    }
    g->code[g->n].i = i;
    g->code[g->n].joined = is_atomic(&i);
    g->code[g->n].target = is_branch(&i) || i.op == RV_OP_jal ? g->n + 1 + (int)below(g, 6) : -1;
    g->n++;
    if (writes_x(&i))
        g->recent[below(g, 4)] = i.rd;
    return true;
}

/* auipc and jalr to a place ahead; or an address made by auipc and addi, then jalr. */
static void push_far_jump(Generator *g)
{
    unsigned reg = 10 + below(g, 6), link = below(g, 3) ? below(g, 2) : 10 + below(g, 8);

    push(g, RV_OP_auipc, reg, 0, 0, 0);
    if (below(g, 2))
        join(g, RV_OP_addi, reg, reg, 0, 0);
    join(g, RV_OP_jalr, link, reg, 0, 0);
    g->code[g->n - 1].target = g->n + (int)below(g, 5);
}

/* A leaf function, jumped over; then a call of it. */
static void push_call(Generator *g)
{
    int skip = g->n, start, body = 1 + below(g, 4);

    push(g, RV_OP_jal, 0, 0, 0, 0);
    start = g->n;
    while (body-- > 0)
        join(g, RV_OP_addi, 16 + below(g, 4), 16 + below(g, 4), 0, (int)below(g, 4096) - 2048);
    if (below(g, 2))
        join(g, RV_OP_c_jr, 0, LINK, 0, 0);
    else
        join(g, RV_OP_jalr, 0, LINK, 0, 0);
    g->code[skip].target = g->n;
    switch (below(g, 3)) {
    case 0:
        push(g, RV_OP_jal, LINK, 0, 0, 0);
        break;
    case 1:
        push(g, RV_OP_auipc, LINK, 0, 0, 0);
        join(g, RV_OP_jalr, LINK, LINK, 0, 0);
        break;
    default:
        push(g, RV_OP_auipc, 15, 0, 0, 0);
        join(g, RV_OP_addi, 15, 15, 0, 0);
        join(g, RV_OP_jalr, LINK, 15, 0, 0);
    }
    g->code[g->n - 1].target = start;
}

/* Neighbours that the front end makes one of, now and then almost: with another register. */
static void push_fused(Generator *g)
{
    unsigned reg = 10 + below(g, 8), other = below(g, 8) ? reg : 10 + below(g, 8);
    int up = below(g, 2) ? 8 * (1 + below(g, 7)) : below(g, 64), down = below(g, 2) ? up : (int)below(g, 64);

    switch (below(g, 4)) {
    case 0:
        push(g, RV_OP_slli, reg, below(g, 32), 0, up);
        push(g, below(g, 2) ? RV_OP_srli : RV_OP_srai, other, reg, 0, down);
        break;
    case 1:
        push(g, RV_OP_lui, reg, 0, 0, (int32_t)(rnd(g) & 0xfffff000));
        push(g, below(g, 2) ? RV_OP_addi : RV_OP_addiw, other, reg, 0, (int)below(g, 4096) - 2048);
        break;
    case 2:
        push(g, RV_OP_auipc, reg, 0, 0, (int32_t)(rnd(g) & 0xfffff000));
        push(g, RV_OP_addi, reg, other, 0, (int)below(g, 4096) - 2048);
        break;
    default:
        push(g, RV_OP_addi, reg, 0, 0, (int)below(g, 4096) - 2048);
        push(g, RV_OP_slli, reg, reg, 0, up);
        push(g, RV_OP_xori, reg, other, 0, (int)below(g, 4096) - 2048);
    }
}

/* Something that raises. */
static void push_fault(Generator *g)
{
    switch (below(g, 3)) {
    case 0:
        push(g, RV_OP_ld, 10, 10 + below(g, 6), 0, 0);
        break;
    case 1:
        push(g, RV_OP_sw, 0, 10 + below(g, 6), 11, 4);
        break;
    default:
        push(g, RV_OP_fadd_d, 1, 2, 3, 0)->rm = 5;
    }
}

/* Sets what depends on where instructions stand. False: a target is out of reach. */
static bool place(Generator *g, uint64_t pc, uint64_t *end)
{
    uint64_t at[PROGRAM_MAX + 1];

    for (int n = 0; n < g->n; n++) {
        at[n] = pc;
        pc += g->code[n].i.len;
    }
    at[g->n] = *end = pc;
    for (int n = 0; n < g->n; n++) {
        RvInsn *i = &g->code[n].i;
        int t = g->code[n].target;

        if (t > g->n)
            t = g->n;
        while (t > n && t < g->n && g->code[t].joined)
            t++;
        if (t >= 0 && i->op == RV_OP_jalr) {
            /* the offset is in the instruction before it that works on the same register */
            int from = n - 1;
            RvInsn *low = i;
            if (g->code[from].i.op == RV_OP_addi)
                low = &g->code[from--].i;
            low->imm = at[t] - at[from];
            if (low->imm < -2048 || low->imm > 2047)
                return false;
        } else if (t >= 0) {
            i->imm = at[t] - at[n];
        }
    }
    for (int n = 0; n < g->n; n++) {
        RvInsn *i = &g->code[n].i, again;

        i->bits = rv_encode(i->row, i);
        if (g->code[n].target >= 0 && (!rv_decode(i->bits, UINT64_MAX, &again) || again.imm != i->imm))
            return false;
    }
    return true;
}

/*
 * Makes a program of about `size` instructions at pc into `out`; returns its
 * bytes, 0 if it did not work out (try again). *count: how many instructions.
 */
static inline unsigned random_program(Generator *g, int size, uint64_t pc, uint8_t *out, int *count)
{
    uint64_t end;
    unsigned bytes = 0;

    g->n = 0;
    for (int n = 0; n < 4; n++)
        g->recent[n] = 10 + n;
    while (g->n < size && g->n < PROGRAM_MAX - 16) {
        unsigned what = below(g, 100);
        if (what < 3)
            push_far_jump(g);
        else if (what < 10 && what > 6)
            push_fused(g);
        else if (what < 5)
            push_call(g);
        else if (g->faults && what < 6 && !below(g, 4))
            push_fault(g);
        else
            push_row(g, g->rows[below(g, g->nrows)]);
    }
    if (!place(g, pc, &end))
        return 0;
    for (int n = 0; n < g->n; n++) {
        memcpy(out + bytes, &g->code[n].i.bits, g->code[n].i.len);
        bytes += g->code[n].i.len;
    }
    *count = g->n;
    return bytes;
}

#endif
