/* SPDX-License-Identifier: MIT */
/*
 * The engines that run the same tests. An engine runs a unit of the test guest
 * from its entry until it leaves; env->pc is then right even after a fault, and a direct
 * edge that was never linked counts as EXIT_NEXT.
 */
#ifndef TESTS_IR_ENGINE_H
#define TESTS_IR_ENGINE_H

#include "tcg/ir/ir.h"

typedef struct Engine {
    const char *name;
    const char *(*open)(const IrGuest *g);      /* NULL, or why this host can't */
    IrExit (*run)(const IrUnit *u, Env *env);
} Engine;

static IrExit interp_run(const IrUnit *u, Env *env)
{
    return ir_interp(u, env, 0, INT64_MAX);
}

static const Engine engines[] = {
    { "interpreter", NULL, interp_run },
};
enum { ENGINES = sizeof(engines) / sizeof(engines[0]) };

#endif
