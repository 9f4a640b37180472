/* SPDX-License-Identifier: MIT */
/*
 * The IR's operations, each declared once. From these rows come the enum, the
 * checked builders, the printer, the parser, the verifier, docs/ops.md and the
 * rows that each engine must fill. Include with X defined:
 *
 *   X(name, out, in, shape, flags, meaning)
 *
 *   out    1 when the op defines a destination (a value or a slot)
 *   in     how many of the operands a, b, c it reads
 *   shape  which extra fields it has, and so how it is written:
 *            NONE  nothing                 add.64 a, b
 *            CC    aux is an IrCc          setcc.64.lt a, b
 *            MEM   x is a MemOp, imm a signed displacement   ld.64 a, +16 u8 ctx1
 *            AMO   MEM, and aux an IrAmo   amo.64.add a, b, s4 ctx1
 *            PC    imm is a guest pc       gopc 0x80000000
 *            CCPC  CC and PC               br.64.lt a, b, 0x80000000
 *            MARK  imm pc, x length and flags
 *            CALL  x indexes the helper table
 *            IND   aux is an IrInd; imm the link address of a call
 *            EXIT  aux is an IrExit, imm a guest pc
 *            FP    aux is an FpRound or FP_DYN
 *            FENCE aux is an IrFence
 *            WIDTH x is a bit position, aux a length (bext, bins)
 *   flags  COMMUTES  a and b may be exchanged
 *          MEM_R, MEM_W  touches guest memory, may fault
 *          FAULT     may leave at this instruction with state as of its MARK
 *          END       nothing falls through: ends a block
 *          FLAGS_FP  may set accrued floating-point flags
 *
 * Types: the suffix is the type of the operation: .32 and .64 are integers
 * (an i32 operand is the low half of a slot; an i32 value has no defined upper
 * half), .f16 .f32 .f64 are IEEE formats held in floating-point slots, NaN-boxed
 * in 64 bits as the RISC-V manual (F extension, NaN boxing) describes when the
 * guest's state map says so.
 */

/* ---- moving */
X(mov,     1, 1, NONE,  0,         "d = a")
X(sext8,   1, 1, NONE,  0,         "d = low 8 bits of a, sign-extended to the type")
X(sext16,  1, 1, NONE,  0,         "d = low 16 bits of a, sign-extended")
X(sext32,  1, 1, NONE,  0,         "d = low 32 bits of a, sign-extended (.64)")
X(zext8,   1, 1, NONE,  0,         "d = low 8 bits of a")
X(zext16,  1, 1, NONE,  0,         "d = low 16 bits of a")
X(zext32,  1, 1, NONE,  0,         "d = low 32 bits of a (.64)")
/* ---- integer */
X(add,     1, 2, NONE,  COMMUTES,  "d = a + b")
X(sub,     1, 2, NONE,  0,         "d = a - b")
X(and,     1, 2, NONE,  COMMUTES,  "d = a & b")
X(or,      1, 2, NONE,  COMMUTES,  "d = a | b")
X(xor,     1, 2, NONE,  COMMUTES,  "d = a ^ b")
X(andn,    1, 2, NONE,  0,         "d = a & ~b")
X(orn,     1, 2, NONE,  0,         "d = a | ~b")
X(xnor,    1, 2, NONE,  COMMUTES,  "d = ~(a ^ b)")
X(not,     1, 1, NONE,  0,         "d = ~a")
X(neg,     1, 1, NONE,  0,         "d = -a")
X(shl,     1, 2, NONE,  0,         "d = a << (b mod width)")
X(shr,     1, 2, NONE,  0,         "d = a >> (b mod width), zeros come in")
X(sar,     1, 2, NONE,  0,         "d = a >> (b mod width), the sign comes in")
X(rol,     1, 2, NONE,  0,         "d = a rotated left by b mod width")
X(ror,     1, 2, NONE,  0,         "d = a rotated right by b mod width")
X(shladd,  1, 2, WIDTH, 0,         "d = (a << x) + b, x is 1 to 3")
X(mul,     1, 2, NONE,  COMMUTES,  "d = low half of a * b")
X(mulhs,   1, 2, NONE,  COMMUTES,  "d = high half of signed a * signed b")
X(mulhu,   1, 2, NONE,  COMMUTES,  "d = high half of unsigned a * unsigned b")
X(mulhsu,  1, 2, NONE,  0,         "d = high half of signed a * unsigned b")
X(divs,    1, 2, NONE,  0,         "d = a / b signed; b = 0: -1; overflow: a (RISC-V M)")
X(divu,    1, 2, NONE,  0,         "d = a / b unsigned; b = 0: all ones")
X(rems,    1, 2, NONE,  0,         "d = a mod b signed; b = 0: a; overflow: 0")
X(remu,    1, 2, NONE,  0,         "d = a mod b unsigned; b = 0: a")
X(mins,    1, 2, NONE,  COMMUTES,  "d = the lesser, signed")
X(maxs,    1, 2, NONE,  COMMUTES,  "d = the greater, signed")
X(minu,    1, 2, NONE,  COMMUTES,  "d = the lesser, unsigned")
X(maxu,    1, 2, NONE,  COMMUTES,  "d = the greater, unsigned")
X(setcc,   1, 2, CC,    0,         "d = a cc b ? 1 : 0")
X(select,  1, 3, NONE,  0,         "d = a != 0 ? b : c")
X(clz,     1, 1, NONE,  0,         "d = leading zeros; a = 0: width")
X(ctz,     1, 1, NONE,  0,         "d = trailing zeros; a = 0: width")
X(popcnt,  1, 1, NONE,  0,         "d = number of ones")
X(bswap,   1, 1, NONE,  0,         "d = a with its bytes reversed")
X(brev8,   1, 1, NONE,  0,         "d = a with the bits of each byte reversed")
X(orcb,    1, 1, NONE,  0,         "d = each byte of a: 0 stays 0, others become 0xff")
X(bext,    1, 1, WIDTH, 0,         "d = aux bits of a from bit x, zero-extended")
X(sbext,   1, 1, WIDTH, 0,         "d = aux bits of a from bit x, sign-extended")
X(clmul,   1, 2, NONE,  COMMUTES,  "d = low half of the carry-less product")
X(clmulh,  1, 2, NONE,  COMMUTES,  "d = high half of the carry-less product")
X(clmulr,  1, 2, NONE,  COMMUTES,  "d = carry-less product shifted right by width - 1")
/* ---- memory */
X(ld,      1, 1, MEM,   MEM_R,     "d = memory at a + imm")
X(st,      0, 2, MEM,   MEM_W,     "memory at a + imm = b")
X(amo,     1, 2, AMO,   MEM_W,     "d = memory at a; memory at a = d op b, in one step")
X(cas,     1, 3, MEM,   MEM_W,     "d = memory at a; if d == b: memory at a = c, in one step")
X(lr,      1, 1, MEM,   MEM_R,     "d = memory at a; reserve it in env")
X(sc,      1, 2, MEM,   MEM_W,     "if memory at a is still as reserved, it = b and d = 0; else d = 1")
X(fence,   0, 0, FENCE, 0,         "order earlier against later memory accesses")
/* ---- control. A pc that has a MARK in the same unit is a jump inside it. */
X(mark,    0, 0, MARK,  0,         "a guest instruction starts: imm is its pc")
X(br,      0, 2, CCPC,  0,         "if a cc b, go to imm")
X(gopc,    0, 0, PC,    END,       "go to imm, a direct edge")
X(callpc,  0, 0, IND,   END,       "direct call of imm; imm2 is the address it returns to")
X(goind,   0, 1, IND,   END,       "go to the address a; aux says jump, call (returns to imm2) or return")
X(poll,    0, 0, PC,    FAULT,     "if env.poll is set, leave to the dispatcher with pc = imm")
X(exit,    0, 0, EXIT,  END,       "leave to the dispatcher for the reason, pc = imm")
X(call,    1, 3, CALL,  0,         "d = helper(env, a, b, c); see IrHelper for what it may do")
/* ---- floating point: aux is the rounding; results are canonical (fp rule of the state map) */
X(fadd,    1, 2, FP,    FLAGS_FP,  "d = a + b")
X(fsub,    1, 2, FP,    FLAGS_FP,  "d = a - b")
X(fmul,    1, 2, FP,    FLAGS_FP,  "d = a * b")
X(fdiv,    1, 2, FP,    FLAGS_FP,  "d = a / b")
X(fsqrt,   1, 1, FP,    FLAGS_FP,  "d = square root of a")
X(fmadd,   1, 3, FP,    FLAGS_FP,  "d = a * b + c, rounded once")
X(fmsub,   1, 3, FP,    FLAGS_FP,  "d = a * b - c")
X(fnmadd,  1, 3, FP,    FLAGS_FP,  "d = -(a * b) - c")
X(fnmsub,  1, 3, FP,    FLAGS_FP,  "d = -(a * b) + c")
X(fmin,    1, 2, FP,    FLAGS_FP,  "d = minimumNumber(a, b)")
X(fmax,    1, 2, FP,    FLAGS_FP,  "d = maximumNumber(a, b)")
X(fsgnj,   1, 2, FP,    0,         "d = a with the sign of b")
X(fsgnjn,  1, 2, FP,    0,         "d = a with the opposite of b's sign")
X(fsgnjx,  1, 2, FP,    0,         "d = a with the signs' xor")
X(feq,     1, 2, FP,    FLAGS_FP,  "integer d = a == b, quiet")
X(flt,     1, 2, FP,    FLAGS_FP,  "integer d = a < b, signalling")
X(fle,     1, 2, FP,    FLAGS_FP,  "integer d = a <= b, signalling")
X(fclass,  1, 1, FP,    0,         "integer d = class bits of a (RISC-V fclass)")
X(fcvt_ff, 1, 1, FP,    FLAGS_FP,  "d = a; type is the result's, x the IrType of a")
X(fcvt_fi, 1, 1, FP,    FLAGS_FP,  "float d = integer a; x is FpInt: i32 u32 i64 u64")
X(fcvt_if, 1, 1, FP,    FLAGS_FP,  "integer d = float a, saturating; type is a's, x an FpInt; 32-bit results are sign-extended")
X(fmv_fi,  1, 1, FP,    0,         "float d = low bits of integer a, boxed")
X(fmv_if,  1, 1, FP,    0,         "integer d = bits of float slot a as stored, sign-extended from the type's width")
