/* SPDX-License-Identifier: MIT */
/*
 * What the tests of accel/jit share: toy programs (accel-toy.h) on the engine
 * under test, started, waited for and looked at.
 */
#ifndef TESTS_UNIT_ACCEL_TOY_RUN_H
#define TESTS_UNIT_ACCEL_TOY_RUN_H

#include "tests/unit/test.h"
#include "tests/unit/accel-toy.h"

/* Guest memory is raced for by the guests: the toy's patches, polls and counters. Everything else has to be clean. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:^load$\nrace_top:^store$\nrace:toy_step\n";
}

static Engine engine;

static inline const TcgStats *stats(int i) { return &tcg_vcpu(toy.vm->vcpus[i])->stats; }
static inline const JitStats *jit_stats(void) { return &tcg_vm(toy.vm)->jit->stats; }
static inline Vcpu *cpu(int i) { return toy.vm->vcpus[i]; }
static inline uint64_t reg(int i, int r) { return cpu(i)->env->gpr[r]; }

/* Runs vCPU 0 from pc until it halts. */
static inline void run(uint64_t pc)
{
    toy_begin_at(cpu(0), pc);
    toy_run_all();
    CHECK(toy_wait_halted(cpu(0), 20000));
    toy_stop_all();
}

static inline ToyCode code(uint64_t at) { return (ToyCode){ at }; }
#define PUT(...) toy_put(&c, __VA_ARGS__)

/* The tests once on each engine, or on the one that the command line names. The exit status. */
static inline int run_engines(int argc, char **argv, void (*all)(void))
{
    toy_randomize("JIT_SEED");
    for (int i = 0; i < 2; i++) {
        engine = i ? ENGINE_JIT : ENGINE_INTERP;
        if (argc < 2 || !strcmp(argv[1], i ? "jit" : "interp"))
            all();
    }
    return test_end();
}

#endif
