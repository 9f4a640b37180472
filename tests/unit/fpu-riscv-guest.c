/* SPDX-License-Identifier: MIT */
/*
 * The guest half of test_fpu_riscv, for riscv64 Linux with the D and (last rows) Zfh
 * extensions: reads Records from standard input, runs the instruction of each under its
 * rounding mode with no flag raised, writes an Outcome for each.
 */
#include <stdio.h>
#include "tests/unit/fpu-riscv.h"

typedef union Reg { uint64_t u; double d; } Reg;        /* moved whole, never computed with */

#define BEGIN ".option push\n\t.option arch,+zfh\n\tcsrw frm,%5\n\tcsrw fflags,zero\n\t"
#define END "\n\tcsrr %1,fflags\n\t.option pop"
#define RUN_F(insn, operands, o, a, b, c, rm) \
    __asm__ volatile(BEGIN insn " %0," operands END \
                     : "=&f" ((o)->d), "=&r" (flags) : "f" (a), "f" (b), "f" (c), "r" (rm))
#define RUN_X(insn, operands, o, a, b, c, rm) \
    __asm__ volatile(BEGIN insn " %0," operands END \
                     : "=&r" ((o)->u), "=&r" (flags) : "f" (a), "f" (b), "f" (c), "r" (rm))
#define F_F(insn) RUN_F(insn, "%2", &out, a.d, b.d, c.d, rm)
#define F_FF(insn) RUN_F(insn, "%2,%3", &out, a.d, b.d, c.d, rm)
#define F_FFF(insn) RUN_F(insn, "%2,%3,%4", &out, a.d, b.d, c.d, rm)
#define X_F(insn) RUN_X(insn, "%2", &out, a.d, b.d, c.d, rm)
#define X_FF(insn) RUN_X(insn, "%2,%3", &out, a.d, b.d, c.d, rm)
#define F_X(insn) \
    __asm__ volatile(BEGIN insn " %0,%2" END \
                     : "=&f" (out.d), "=&r" (flags) : "r" (a.u), "f" (b.d), "f" (c.d), "r" (rm))

static Outcome run(const Record *r)
{
    Reg a = { r->a }, b = { r->b }, c = { r->c }, out = { 0 };
    unsigned long flags = 0, rm = r->rm;

    switch (r->op) {
#define CASE(name, insn, shape, format, soft) case RV_##name: shape(insn); break;
    FPU_RISCV_ROWS(CASE)
    }
    return (Outcome) { out.u, flags };
}

int main(void)
{
    static Record in[1024];
    static Outcome out[1024];
    size_t n;

    while ((n = fread(in, sizeof(*in), 1024, stdin)) != 0) {
        for (size_t i = 0; i < n; i++)
            out[i] = run(&in[i]);
        if (fwrite(out, sizeof(*out), n, stdout) != n)
            return 1;
    }
    return fflush(stdout) != 0;
}
