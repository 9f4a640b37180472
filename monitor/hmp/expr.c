/* SPDX-License-Identifier: MIT */
/*
 * Expressions of the console, 64 bits, no sign: numbers (decimal, 0x, 0 for
 * octal, 'c'), $register, unary + - ~, and from the tightest to the loosest
 * * / %, & | ^, + -, << >>. They end where the next letter is no operator.
 */
#include <string.h>

#include "monitor/hmp/hmp-priv.h"
#include "monitor/monitor-priv.h"
#include "system/vcpu.h"
#include "target/isa.h"

enum { DEPTH = 64 };

typedef struct Expr { Monitor *m; const char *at; int depth; } Expr;

static char peek(Expr *x)
{
    x->at += strspn(x->at, " \t");
    return *x->at;
}

/* ---- registers */

typedef struct RegRead { const RegInfo *reg; uint64_t value; bool there; } RegRead;

static void read_reg(Vcpu *v, void *opaque)
{
    RegRead *r = opaque;

    r->there = !r->reg->has || r->reg->has(v, r->reg->arg);
    r->value = r->there ? r->reg->get(v, r->reg->arg) : 0;
}

static Err *reg(Expr *x, uint64_t *out)
{
    size_t n = strspn(++x->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.");
    g_autofree char *name = g_strndup(x->at, n);
    Vcpu *v = NULL;

    x->at += n;
    TRY(monitor_vcpu(x->m, &v));
    for (const RegInfo *i = v->isa->regs; i && i->name; i++) {
        RegRead r = { .reg = i };

        if (g_ascii_strcasecmp(i->name, name))
            continue;
        vcpu_run_on(v, read_reg, &r, true);
        *out = r.value;
        return r.there ? NULL : err(ERR_UNSUPPORTED, "this CPU model has no register $%s", name);
    }
    return err_hint(err(ERR_NOT_FOUND, "unknown register"), "There is no $%s; 'info registers' shows those there are.", name);
}

/* ---- numbers */

static Err *sum(Expr *x, uint64_t *out);

static Err *number(Expr *x, uint64_t *out)
{
    char *end;

    *out = g_ascii_strtoull(x->at, &end, 0);
    if (end == x->at || g_ascii_isalnum(*end) || *end == '_')
        return err(ERR_INVALID, "invalid char '%c' in expression", end == x->at ? *x->at : *end);
    x->at = end;
    return NULL;
}

static Err *letter(Expr *x, uint64_t *out)
{
    if (!x->at[1] || x->at[2] != '\'')
        return err(ERR_INVALID, "missing terminating ' character");
    *out = (uint8_t)x->at[1];
    x->at += 3;
    return NULL;
}

static Err *unary(Expr *x, uint64_t *out)
{
    char c = peek(x);
    Err *e = NULL;

    if (++x->depth > DEPTH)
        return err(ERR_INVALID, "the expression is nested too deeply");
    if (c == '+' || c == '-' || c == '~') {
        x->at++;
        e = unary(x, out);
        *out = c == '-' ? -*out : c == '~' ? ~*out : *out;
    } else if (c == '(') {
        x->at++;
        e = sum(x, out);
        if (!e && peek(x) != ')')
            e = err(ERR_INVALID, "')' expected");
        else if (!e)
            x->at++;
    } else {
        e = !c ? err(ERR_INVALID, "unexpected end of expression") : c == '$' ? reg(x, out) : c == '\'' ? letter(x, out) : number(x, out);
    }
    x->depth--;
    return e;
}

/* ---- operators */

/* "16 /tmp/file" are two words. */
static bool is_path(const Expr *x)
{
    char next = x->at[1];

    return x->at[0] == '/' && (x->at[-1] == ' ' || x->at[-1] == '\t') && next && !strchr(" \t$('0123456789+-~", next);
}

static Err *product(Expr *x, uint64_t *out)
{
    TRY(unary(x, out));
    for (char c = peek(x); (c == '*' || c == '/' || c == '%') && !is_path(x); c = peek(x)) {
        uint64_t b = 0;

        x->at++;
        TRY(unary(x, &b));
        if (c != '*' && !b)
            return err(ERR_INVALID, "division by zero");
        *out = c == '*' ? *out * b : c == '/' ? *out / b : *out % b;
    }
    return NULL;
}

static Err *logic(Expr *x, uint64_t *out)
{
    TRY(product(x, out));
    for (char c = peek(x); c == '&' || c == '|' || c == '^'; c = peek(x)) {
        uint64_t b = 0;

        x->at++;
        TRY(product(x, &b));
        *out = c == '&' ? *out & b : c == '|' ? *out | b : *out ^ b;
    }
    return NULL;
}

static Err *plus(Expr *x, uint64_t *out)
{
    TRY(logic(x, out));
    for (char c = peek(x); c == '+' || c == '-'; c = peek(x)) {
        uint64_t b = 0;

        x->at++;
        TRY(logic(x, &b));
        *out = c == '+' ? *out + b : *out - b;
    }
    return NULL;
}

static Err *sum(Expr *x, uint64_t *out)
{
    TRY(plus(x, out));
    for (char c = peek(x); (c == '<' || c == '>') && x->at[1] == c; c = peek(x)) {
        uint64_t b = 0;

        x->at += 2;
        TRY(plus(x, &b));
        *out = b > 63 ? 0 : c == '<' ? *out << b : *out >> b;
    }
    return NULL;
}

Err *expr_eval(Monitor *m, const char **at, uint64_t *out)
{
    Expr x = { m, *at, 0 };

    *out = 0;
    Err *e = sum(&x, out);
    *at = x.at;
    return e;
}
