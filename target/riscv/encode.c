/* SPDX-License-Identifier: MIT */
/*
 * From members to words: the encoder that tests hold against the decoder, and
 * the random-instruction maker. Both read rv_rows; neither is on a hot path.
 */
#include "target/riscv/insn.h"

int32_t rv_member(const RvInsn *i, unsigned member)
{
    switch (member) {
    case RV_ARG_RD:   return i->rd;
    case RV_ARG_RS1:  return i->rs1;
    case RV_ARG_RS2:  return i->rs2;
    case RV_ARG_RS3:  return i->rs3;
    case RV_ARG_RM:   return i->rm;
    case RV_ARG_AQRL: return i->aqrl;
    default:       return i->imm;
    }
}

void rv_set_member(RvInsn *i, unsigned member, int32_t v)
{
    switch (member) {
    case RV_ARG_RD:   i->rd = v; break;
    case RV_ARG_RS1:  i->rs1 = v; break;
    case RV_ARG_RS2:  i->rs2 = v; break;
    case RV_ARG_RS3:  i->rs3 = v; break;
    case RV_ARG_RM:   i->rm = v; break;
    case RV_ARG_AQRL: i->aqrl = v; break;
    default:       i->imm = v; break;
    }
}

uint32_t rv_encode(unsigned row, const RvInsn *i)
{
    const RvRow *r = &rv_rows[row];
    uint32_t w = r->value;

    for (int n = 0; n < r->nsegs; n++) {
        const RvSeg *s = &r->segs[n];
        uint32_t field = (uint32_t)rv_member(i, s->member) >> s->lsb;

        w |= (field & ((1u << s->width) - 1)) << s->pos;
    }
    return w;
}

/* xorshift64*: repeats on every host. */
uint64_t rv_random_bits(uint64_t *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 0x2545f4914f6cdd1d;
}

bool rv_random(unsigned row, uint64_t exts, uint64_t *seed, RvLimitFn *limit, void *opaque, RvInsn *out)
{
    const RvRow *r = &rv_rows[row];

    for (int tries = 0; tries < 1000; tries++) {
        uint32_t w = (uint32_t)(rv_random_bits(seed) >> 32) & ~r->mask;

        if (r->len == 2)
            w &= 0xffff;
        w |= r->value;
        if (rv_match(w, exts) != row)
            continue;
        rv_decode(w, exts, out);
        if (!limit)
            return true;
        limit(opaque, out);
        w = rv_encode(row, out);
        if (rv_match(w, exts) == row)
            return rv_decode(w, exts, out);
    }
    return false;
}
