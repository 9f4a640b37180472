/* SPDX-License-Identifier: MIT */
/*
 * The x86-64 backend against the interpreter: random programs, then control flow,
 * faults and linking by hand. LYRE_SEED repeats a run, LYRE_ROUNDS lengthens it.
 */
#include "tests/unit/test.h"
#include "tests/unit/x64-gen.h"

static Machine *m;
static IrUnit unit;
static int rounds = 3000;

static void random_programs(bool fp)
{
    static State start;
    int emitted = 0;

    for (int n = 0; n < rounds; n++) {
        uint64_t seed = rng_state;
        Err *e;

        gen_unit(&unit, 4 + rnd_below(40), fp);
        e = ir_check(&unit);
        if (e) {
            printf("seed %" PRIu64 ": %s\n", seed, err_text(e));
            err_free(e);
            CHECK(!"the generator made a bad unit");
            return;
        }
        hooks_fill = rnd_below(8) != 0;
        machine_one_vcpu = rnd_below(2);
        for (unsigned c = 0; c < 3; c++)
            for (unsigned i = 0; i < TLB_SIZE; i++)
                m->env->tlb[c][i].rt = m->env->tlb[c][i].wt = TLB_INVALID(i);
        for (int k = 0; k < 3; k++) {
            state_random(&start);
            start.gpr[COUNTER_PIN] = rnd_below(4);
            start.gpr[COUNTER_MEM] = rnd_below(4);
            env_set_round(m->env, rnd_below(3) ? FP_RNE : rnd_below(FP_RMM));     /* dynamic RMM: front ends say it in the op */
            if (!machine_agree(m, &unit, &start)) {
                printf("LYRE_SEED=%" PRIu64 " (program %d)\n", seed, n);
                CHECK(!"the engines agree");
                return;
            }
            emitted++;
        }
    }
    CHECK_EQ(emitted, rounds * 3);
}

static void random_integer(void) { random_programs(false); }
static void random_float(void) { random_programs(true); }

int main(void)
{
    const char *seed = getenv("LYRE_SEED"), *r = getenv("LYRE_ROUNDS");

    rng_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 2654435761u + (uint64_t)getpid();
    rng_state |= !rng_state;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %" PRIu64 "\n", rng_state);
    if (r)
        rounds = atoi(r);
    guest_make();
    ram = (uint8_t *)mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m = machine_new();
    ir_init(&unit, &guest);
    RUN(random_integer);
    RUN(random_float);
    ir_free(&unit);
    machine_free(m);
    return test_end();
}
