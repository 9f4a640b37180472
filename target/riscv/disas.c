/* SPDX-License-Identifier: MIT */
/*
 * The disassembler: fills in the syntax of a row (or of an alias) of insn.tab.
 * "The RISC-V Assembly Programmer's Manual" for names; numbers are printed as
 * GNU tools do.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "target/riscv/front.h"
#include "target/riscv/helpers.h"
#include "target/riscv/insn.h"

const char *const rv_xnames[32] = {
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
};
const char *const rv_fnames[32] = {
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
    "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11",
};
static const char *const rm_names[8] = { "rne", "rtz", "rdn", "rup", "rmm", "unknown", "unknown", "dyn" };
/* Zfa: what fli loads; "min" is the least normal number of the format */
static const char *const fli_names[32] = {
    "-1", "min", "1.52587890625e-05", "3.0517578125e-05", "0.00390625", "0.0078125", "0.0625", "0.125",
    "0.25", "0.3125", "0.375", "0.4375", "0.5", "0.625", "0.75", "0.875",
    "1", "1.25", "1.5", "1.75", "2", "2.5", "3", "4",
    "8", "16", "128", "256", "32768", "65536", "inf", "nan",
};

typedef struct Text { char *out; size_t size, n; } Text;

static void put(Text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(Text *t, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    int n = vsnprintf(t->out + t->n, t->size - t->n, format, ap);
    va_end(ap);
    t->n += n < 0 ? 0 : (size_t)n;
    if (t->n >= t->size)
        t->n = t->size - 1;
}

static void put_fence(Text *t, unsigned set)
{
    if (!set)
        put(t, "0");
    for (int b = 0; b < 4; b++)
        if (set & 8 >> b)
            put(t, "%c", "iorw"[b]);
}

static void put_csr(Text *t, unsigned csr)
{
    const char *name = riscv_csr_name(csr);

    if (name)
        put(t, "%s", name);
    else
        put(t, "%#x", csr);
}

/* Immediates and what shares their member. `how` is what follows the colon, or "". */
static void put_imm(Text *t, const RvInsn *i, const char *how, uint64_t pc)
{
    if (!strcmp(how, "x"))
        put(t, "%#x", i->imm);
    else if (!strcmp(how, "u"))
        put(t, "%#x", (uint32_t)i->imm >> 12 & 0xfffff);
    else if (!strcmp(how, "pc"))
        put(t, "%#" PRIx64, pc + i->imm);
    else
        put(t, "%d", i->imm);
}

static void put_rm(Text *t, unsigned rm, bool always)
{
    if (always ? rm != 0 : rm != 7)
        put(t, ", %s", rm_names[rm]);
}

/* One {name} or {name:how} of a syntax. */
static void put_item(Text *t, const RvInsn *i, const char *name, const char *how, uint64_t pc)
{
    static const char *const aq[4] = { "", ".rl", ".aq", ".aqrl" };

    if (!strcmp(name, "rd"))         put(t, "%s", rv_xnames[i->rd]);
    else if (!strcmp(name, "rs1"))   put(t, "%s", rv_xnames[i->rs1]);
    else if (!strcmp(name, "rs2"))   put(t, "%s", rv_xnames[i->rs2]);
    else if (!strcmp(name, "fd"))    put(t, "%s", rv_fnames[i->rd]);
    else if (!strcmp(name, "fs1"))   put(t, "%s", rv_fnames[i->rs1]);
    else if (!strcmp(name, "fs2"))   put(t, "%s", rv_fnames[i->rs2]);
    else if (!strcmp(name, "fs3"))   put(t, "%s", rv_fnames[i->rs3]);
    else if (!strcmp(name, "zimm"))  put(t, "%d", i->rs1);
    else if (!strcmp(name, "fli"))   put(t, "%s", fli_names[i->rs1]);
    else if (!strcmp(name, "csr"))   put_csr(t, i->imm);
    else if (!strcmp(name, "pred"))  put_fence(t, i->imm >> 4 & 15);
    else if (!strcmp(name, "succ"))  put_fence(t, i->imm & 15);
    else if (!strcmp(name, "aq"))    put(t, "%s", aq[i->aqrl & 3]);
    else if (!strcmp(name, "rm"))    put_rm(t, i->rm, false);
    else if (!strcmp(name, "rm!"))   put_rm(t, i->rm, true);
    else                             put_imm(t, i, how, pc);
}

static bool alias_holds(const RvAlias *a, const RvInsn *i)
{
    if (a->row != i->op)
        return false;
    for (int n = 0; n < a->nconds; n++) {
        int32_t want = a->conds[n].same ? rv_member(i, a->conds[n].value) : a->conds[n].value;

        if (rv_member(i, a->conds[n].member) != want)
            return false;
    }
    return true;
}

int rv_print(char *out, size_t size, const RvInsn *i, uint64_t pc, bool aliases)
{
    Text t = { out, size, 0 };
    const char *s = rv_rows[aliases ? i->op : i->row].syntax;

    for (const RvAlias *a = rv_aliases; aliases && a->row; a++)
        if (alias_holds(a, i)) {
            s = a->syntax;
            break;
        }
    while (*s) {
        const char *close = *s == '{' ? strchr(s, '}') : NULL;

        if (close) {
            char name[16];
            snprintf(name, sizeof(name), "%.*s", (int)(close - s - 1), s + 1);
            char *how = strchr(name, ':');
            if (how)
                *how++ = 0;
            put_item(&t, i, name, how ? how : "", pc);
            s = close + 1;
        } else {
            put(&t, "%c", *s++);
        }
    }
    return t.n;
}

int riscv_print(char *out, size_t size, const uint8_t *code, unsigned avail, uint64_t pc)
{
    RvInsn i;
    uint32_t w = 0;

    if (size == 0 || avail < 2)
        return 0;
    memcpy(&w, code, 2);
    if (rv_length(w) == 4) {
        if (avail < 4)
            return 0;
        memcpy(&w, code, 4);
    }
    if (rv_decode(w, UINT64_MAX, &i))
        rv_print(out, size, &i, pc, true);
    else
        snprintf(out, size, i.len == 2 ? ".short 0x%04x" : ".word 0x%08x", i.bits);
    return i.len;
}
