/* SPDX-License-Identifier: MIT */
/*
 * The semantics behind ir_eval_int, always inlined: with a constant op and type
 * nothing is left of the switch. Division follows the RISC-V manual, chapter M;
 * clmul* chapter Zbc.
 */
#ifndef TCG_IR_EVAL_INLINE_H
#define TCG_IR_EVAL_INLINE_H

#include "tcg/ir/eval.h"

#define EVAL_INLINE static inline __attribute__((always_inline))

typedef unsigned __int128 U128;

EVAL_INLINE bool eval_cc(IrType t, IrCc cc, uint64_t a, uint64_t b)
{
    uint64_t ua = t == IR_I32 ? (uint32_t)a : a, ub = t == IR_I32 ? (uint32_t)b : b;
    int64_t sa = t == IR_I32 ? (int32_t)a : (int64_t)a, sb = t == IR_I32 ? (int32_t)b : (int64_t)b;

    switch (cc) {
    case CC_EQ:  return ua == ub;
    case CC_NE:  return ua != ub;
    case CC_LT:  return sa < sb;
    case CC_GE:  return sa >= sb;
    case CC_LTU: return ua < ub;
    case CC_GEU: return ua >= ub;
    case CC_LE:  return sa <= sb;
    case CC_GT:  return sa > sb;
    case CC_LEU: return ua <= ub;
    case CC_GTU: return ua > ub;
    }
    return false;
}

EVAL_INLINE U128 eval_clmul(uint64_t a, uint64_t b)
{
    U128 r = 0;

    for (int i = 0; i < 64; i++)
        if (b >> i & 1)
            r ^= (U128)a << i;
    return r;
}

EVAL_INLINE uint64_t eval_brev8(uint64_t v)
{
    v = (v >> 1 & 0x5555555555555555) | (v & 0x5555555555555555) << 1;
    v = (v >> 2 & 0x3333333333333333) | (v & 0x3333333333333333) << 2;
    return (v >> 4 & 0x0f0f0f0f0f0f0f0f) | (v & 0x0f0f0f0f0f0f0f0f) << 4;
}

EVAL_INLINE uint64_t eval_orcb(uint64_t v)
{
    uint64_t r = 0;

    for (int i = 0; i < 64; i += 8)
        if (v >> i & 0xff)
            r |= (uint64_t)0xff << i;
    return r;
}

EVAL_INLINE uint64_t eval_bits(uint64_t v, unsigned pos, unsigned len, bool sign)
{
    v = v >> pos << (64 - len);
    return sign ? (uint64_t)((int64_t)v >> (64 - len)) : v >> (64 - len);
}

EVAL_INLINE uint64_t eval_int(IrOp op, IrType t, unsigned aux, uint32_t x, uint64_t a, uint64_t b, uint64_t c)
{
    bool w32 = t == IR_I32;
    unsigned bits = w32 ? 32 : 64, sh = b & (bits - 1);
    uint64_t ua = w32 ? (uint32_t)a : a, ub = w32 ? (uint32_t)b : b, r = 0;
    int64_t sa = w32 ? (int32_t)a : (int64_t)a, sb = w32 ? (int32_t)b : (int64_t)b;

    switch (op) {
    case IR_mov:    r = a; break;
    case IR_sext8:  r = (int8_t)a; break;
    case IR_sext16: r = (int16_t)a; break;
    case IR_sext32: r = (int32_t)a; break;
    case IR_zext8:  r = (uint8_t)a; break;
    case IR_zext16: r = (uint16_t)a; break;
    case IR_zext32: r = (uint32_t)a; break;
    case IR_add:    r = a + b; break;
    case IR_sub:    r = a - b; break;
    case IR_and:    r = a & b; break;
    case IR_or:     r = a | b; break;
    case IR_xor:    r = a ^ b; break;
    case IR_andn:   r = a & ~b; break;
    case IR_orn:    r = a | ~b; break;
    case IR_xnor:   r = ~(a ^ b); break;
    case IR_not:    r = ~a; break;
    case IR_neg:    r = -a; break;
    case IR_shl:    r = ua << sh; break;
    case IR_shr:    r = ua >> sh; break;
    case IR_sar:    r = sa >> sh; break;
    case IR_rol:    r = sh ? ua << sh | ua >> (bits - sh) : ua; break;
    case IR_ror:    r = sh ? ua >> sh | ua << (bits - sh) : ua; break;
    case IR_shladd: r = (a << x) + b; break;
    case IR_mul:    r = a * b; break;
    case IR_mulhs:  r = (__int128)sa * sb >> bits; break;
    case IR_mulhu:  r = (U128)ua * ub >> bits; break;
    case IR_mulhsu: r = (__int128)sa * (__int128)ub >> bits; break;
    case IR_divs:   r = sb == 0 ? UINT64_MAX : sb == -1 ? -ua : (uint64_t)(sa / sb); break;
    case IR_divu:   r = ub == 0 ? UINT64_MAX : ua / ub; break;
    case IR_rems:   r = sb == 0 ? ua : sb == -1 ? 0 : (uint64_t)(sa % sb); break;
    case IR_remu:   r = ub == 0 ? ua : ua % ub; break;
    case IR_mins:   r = sa < sb ? ua : ub; break;
    case IR_maxs:   r = sa > sb ? ua : ub; break;
    case IR_minu:   r = ua < ub ? ua : ub; break;
    case IR_maxu:   r = ua > ub ? ua : ub; break;
    case IR_setcc:  r = eval_cc(t, (IrCc)aux, a, b); break;
    case IR_select: r = ua ? b : c; break;
    case IR_clz:    r = ua ? (unsigned)__builtin_clzll(ua) - (64 - bits) : bits; break;
    case IR_ctz:    r = ua ? (unsigned)__builtin_ctzll(ua) : bits; break;
    case IR_popcnt: r = (unsigned)__builtin_popcountll(ua); break;
    case IR_bswap:  r = __builtin_bswap64(ua) >> (64 - bits); break;
    case IR_brev8:  r = eval_brev8(ua); break;
    case IR_orcb:   r = eval_orcb(ua); break;
    case IR_bext:   r = eval_bits(ua, x, aux, false); break;
    case IR_sbext:  r = eval_bits(ua, x, aux, true); break;
    case IR_clmul:  r = eval_clmul(ua, ub); break;
    case IR_clmulh: r = eval_clmul(ua, ub) >> bits; break;
    case IR_clmulr: r = eval_clmul(ua, ub) >> (bits - 1); break;
    default: break;
    }
    return w32 ? (uint32_t)r : r;
}

EVAL_INLINE uint64_t eval_loaded(IrType t, MemOp m, uint64_t v, bool nan_box)
{
    unsigned up = 64 - 8 * mo_size(m);

    if (m & MO_SIGN)
        v = (int64_t)(v << up) >> up;
    if (t == IR_I32)
        return (uint32_t)v;
    if (nan_box && t == IR_F32)
        return v | ~(uint64_t)0xffffffff;
    if (nan_box && t == IR_F16)
        return v | ~(uint64_t)0xffff;
    return v;
}

#endif
