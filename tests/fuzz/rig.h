/* SPDX-License-Identifier: MIT */
/* tests/dev/rig.h, made often: one hart, whose Env is kept, since nothing runs on it. */
#ifndef TESTS_FUZZ_RIG_H
#define TESTS_FUZZ_RIG_H

#include <stdlib.h>
#include <string.h>

#include "tcg/env.h"

#define RIG_HARTS 1
#define RIG_OWN_ENV

static inline Env *rig_env_new(int hart)
{
    static Env *env;

    if (!env) {
        env = aligned_alloc(4096, (sizeof(Env) + 4095) & ~4095ul);
        memset(env, 0, sizeof(*env));
        env_init(env);
    }
    return env;
}

static inline void rig_env_free(Env *env) { }

#include "tests/dev/rig.h"

#endif
