/* SPDX-License-Identifier: MIT */
/*
 * A decoded RISC-V instruction, and what is known of each row of insn.tab.
 * The tables and the decoder behind these declarations are made by tools/gendec.
 */
#ifndef TARGET_RISCV_INSN_H
#define TARGET_RISCV_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "riscv/insn_gen.h"
#include "target/riscv/state.h"

/*
 * Members hold what the row's fields say; those that the row doesn't have are 0.
 * imm is the immediate, shift amount, CSR number, or fence sets as they apply;
 * rs1 also holds csrr*i's number and fli's index; aqrl: 2 aq, 1 rl.
 */
typedef struct RvInsn {
    uint16_t row;               /* RvOp as written: c_add */
    uint16_t op;                /* RvOp that it stands for: add */
    uint8_t len;                /* bytes: 2 or 4 */
    uint8_t rd, rs1, rs2, rs3, rm, aqrl;
    int32_t imm;
    uint32_t bits;
} RvInsn;

/* Bits [pos, pos + width) of the word are bits [lsb, lsb + width) of member RV_ARG_*. */
typedef struct RvSeg { uint8_t member, lsb, width, pos; } RvSeg;

/* Which members are registers that the syntax shows, and of which file. */
enum {
    RVF_RD = 1, RVF_RS1 = 2, RVF_RS2 = 4, RVF_RS3 = 8,
    RVF_FD = 16, RVF_FS1 = 32, RVF_FS2 = 64, RVF_FS3 = 128,
};

typedef struct RvRow {
    const char *name, *syntax;
    uint32_t mask, value;       /* the literal bits */
    uint8_t len;
    uint16_t base;              /* what a compressed row stands for, else itself */
    uint8_t imm_signed, imm_top, imm_low;       /* the immediate's bits are [imm_low, imm_top) */
    uint8_t regs;               /* RVF_* */
    uint8_t members;            /* bit RV_ARG_*: it has a field there */
    uint64_t need[3];           /* extensions: of each non-zero word at least one */
    uint8_t nsegs;
    RvSeg segs[10];
} RvRow;
extern const RvRow rv_rows[RV_OPS];

/* Another way to print: holds when each member equals a value, or another member. */
typedef struct RvAlias {
    uint16_t row;
    uint8_t nconds;
    struct { uint8_t member, same; int32_t value; } conds[4];
    const char *syntax;
} RvAlias;
extern const RvAlias rv_aliases[];      /* ends with row 0 */

/* The row of a word with these extensions (1 << RvExt), or RV_OP_none. Looks at the low half alone if that is compressed. */
unsigned rv_match(uint32_t w, uint64_t exts);
void rv_extract(unsigned row, uint32_t w, RvInsn *i);

static inline unsigned rv_length(uint16_t low) { return (low & 3) == 3 ? 4 : 2; }

/* False: illegal, or not there with these extensions; then bits and len are set all the same. */
static inline bool rv_decode(uint32_t w, uint64_t exts, RvInsn *i)
{
    unsigned len = rv_length(w), row;

    if (len == 2)
        w &= 0xffff;
    *i = (RvInsn){ .len = len, .bits = w };
    row = rv_match(w, exts);
    if (row == RV_OP_none)
        return false;
    i->row = row;
    i->op = rv_rows[row].base;
    rv_extract(row, w, i);
    return true;
}

/* encode.c: the word of `row` with the members' values, as far as they fit in its fields. */
uint32_t rv_encode(unsigned row, const RvInsn *i);
int32_t rv_member(const RvInsn *i, unsigned member);
void rv_set_member(RvInsn *i, unsigned member, int32_t v);

/*
 * The random-instruction maker. Fills the free bits of `row` from *seed (any
 * number but 0; advanced), then lets `limit` change members (registers that must not be
 * touched, immediates that must stay small; may be NULL), until the word means `row`
 * and nothing else under `exts`. False: no such word was found.
 */
typedef void RvLimitFn(void *opaque, RvInsn *i);
bool rv_random(unsigned row, uint64_t exts, uint64_t *seed, RvLimitFn *limit, void *opaque, RvInsn *out);
uint64_t rv_random_bits(uint64_t *seed);

/*
 * disas.c: text of the instruction. pc is its address; aliases: as assemblers write it ("ret"), else
 * row by row ("jalr zero, 0(ra)"), and compressed rows by their own names.
 */
int rv_print(char *out, size_t size, const RvInsn *i, uint64_t pc, bool aliases);

extern const char *const rv_xnames[32], *const rv_fnames[32];

#endif
