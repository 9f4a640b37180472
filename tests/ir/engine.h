/* SPDX-License-Identifier: MIT */
/*
 * The engines that run the same tests. An engine runs a unit of the test guest
 * from its entry until it leaves; env->pc is then right even after a fault, and a direct
 * edge that was never linked counts as EXIT_NEXT.
 */
#ifndef TESTS_IR_ENGINE_H
#define TESTS_IR_ENGINE_H

#include <errno.h>
#include <sys/mman.h>

#include "tests/ir/guest.h"
#include "tcg/x64/x64.h"

typedef struct Engine {
    const char *name;
    Err *(*open)(const IrGuest *g);     /* NULL, or why this host can't */
    IrExit (*run)(const IrUnit *u, Env *env);
} Engine;

/* ---- the interpreter */

static Err *interp_open(const IrGuest *g)
{
    return NULL;
}

static IrExit interp_run(const IrUnit *u, Env *env)
{
    return ir_interp(u, env, 0, INT64_MAX);
}

/* ---- generated code: one unit at a time in a small code cache */

enum { JIT_CODE = 1 << 20, JIT_COLD = JIT_CODE / 2, JIT_STACK = 1 << 16 };

static struct { uint8_t *code, *after_stubs; X64Stubs *stubs; X64Emitter *emitter; uint64_t *stack; } jit;

static Err *jit_open(const IrGuest *g)
{
    static const X64Hooks hooks = { .mem = &test_mem };
    CodeArea area;

    if (jit.code)
        return NULL;
    TRY(x64_host_ok());
    jit.code = mmap(NULL, JIT_CODE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (jit.code == MAP_FAILED) {
        jit.code = NULL;
        return err_errno(errno, "no memory that is writable and executable");
    }
    area = (CodeArea){ jit.code, jit.code + JIT_COLD, 0 };
    jit.stubs = x64_stubs_new(&area, g, &hooks);
    if (!jit.stubs)
        return err(ERR_UNSUPPORTED, "the stubs do not fit");
    jit.after_stubs = area.rw;
    jit.emitter = x64_emitter_new(jit.stubs, g);
    jit.stack = aligned_alloc(64, JIT_STACK);
    return NULL;
}

static uint64_t jit_fault_pc(const IrUnit *u, const X64Code *c, uint64_t site)
{
    for (int n = 0; n < c->nsites; n++)
        if ((uint64_t)(uintptr_t)jit.code + c->sites[n].off == site)
            return u->insns[u->marks[c->sites[n].mark]].imm;
    return 0xbad;
}

static IrExit jit_run_with(const IrUnit *u, Env *env, bool stir)
{
    X64Request r = {
        .unit = u, .base = jit.code, .hot = { jit.after_stubs, jit.code + JIT_COLD, 0 },
        .cold = { jit.code + JIT_COLD, jit.code + JIT_CODE, 0 }, .xt_id = 1, .stir = stir,
    };
    uint64_t *base = jit.stack + JIT_STACK / 8 - 8;
    X64Code c;
    IrExit why;

    if (!x64_emit(jit.emitter, &r, &c))
        return EXIT_DEBUG;
    for (int n = 0; n < 8; n++)
        base[n] = 1;                /* no link address: the return stack is empty */
    env->jit_rsp = env->jit_rsp_base = (uintptr_t)base;
    why = x64_enter(jit.stubs, env, jit.code + c.entry);
    if (why == EXIT_FAULT)
        env->pc = jit_fault_pc(u, &c, env->site);
    return why == EXIT_LINK ? EXIT_NEXT : why;
}

static IrExit jit_run(const IrUnit *u, Env *env)
{
    return jit_run_with(u, env, false);
}

static IrExit jit_run_stirred(const IrUnit *u, Env *env)
{
    return jit_run_with(u, env, true);
}

static const Engine engines[] = {
    { "interpreter", interp_open, interp_run },
    { "x86-64", jit_open, jit_run },
    { "x86-64 with pins of the unit's own", jit_open, jit_run_stirred },
};
enum { ENGINES = sizeof(engines) / sizeof(engines[0]) };

#endif
