/* SPDX-License-Identifier: MIT */
/*
 * Return stacks: where generated code keeps pairs of host return address and
 * guest link address (tcg/x64/stubs.c says how).
 *
 * A pair is good as long as env->ctxkey is what it was when the pair was pushed.
 * So a vCPU has a few stacks, each belonging to a key, and changes stacks when
 * its key changes: a kernel doesn't return into a program's frames, and the
 * program finds its own frames again. C code may exchange the stack at any time,
 * since generated code takes rsp from env->jit_rsp when C returns.
 *
 * A full stack runs into its guard page; the signal handler starts it again at
 * its base: forgotten frames only cost a look into the jump cache.
 */
#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "accel/jit/jit.h"

enum { SLOT = STACK_GUARD + STACK_SIZE, SENTINELS = 4 };
#define SENTINEL UINT64_C(1)            /* odd: no link address */

Err *stacks_new(JitVcpu *jv)
{
    void *p = mmap(NULL, STACKS * SLOT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        return err_errno(errno, "cannot map the return stacks");
    jv->stacks = p;
    for (int i = 0; i < STACKS; i++) {
        char *room = jv->stacks + i * SLOT + STACK_GUARD;

        if (mprotect(room, STACK_SIZE, PROT_READ | PROT_WRITE))
            return err_errno(errno, "cannot map the return stacks");
        uint64_t *base = (uint64_t *)(room + STACK_SIZE) - 8;
        for (int k = 0; k < 8; k++)
            base[k] = SENTINEL;
        jv->stack[i] = (ReturnStack){ .base = (uint64_t)base, .rsp = (uint64_t)base };
    }
    jv->t->env->jit_rsp = jv->t->env->jit_rsp_base = jv->stack[0].base;
    return NULL;
}

void stacks_free(JitVcpu *jv)
{
    if (jv->stacks)
        munmap(jv->stacks, STACKS * SLOT);
}

void stacks_drop(TcgVcpu *t)
{
    JitVcpu *jv = t->jit;

    t->stats.stack_drop++;
    atomic_store(&jv->drop, false);
    for (int i = 0; i < STACKS; i++)
        jv->stack[i].rsp = jv->stack[i].base;
    t->env->jit_rsp = t->env->jit_rsp_base;
}

void jit_key_changed(TcgVcpu *t, uint64_t key)
{
    JitVcpu *jv = t->jit;
    Env *env = t->env;
    int i = 0;

    jv->stack[jv->stack_now].rsp = env->jit_rsp;
    env->ctxkey = key;
    while (i < STACKS && jv->stack[i].key != key)
        i++;
    if (i == STACKS) {
        i = jv->stack_next = (jv->stack_next + 1) % STACKS;
        if (i == jv->stack_now)
            i = jv->stack_next = (jv->stack_next + 1) % STACKS;
        jv->stack[i].key = key;
        jv->stack[i].rsp = jv->stack[i].base;
    }
    jv->stack_now = i;
    env->jit_rsp = jv->stack[i].rsp;
    env->jit_rsp_base = jv->stack[i].base;
}

void jit_code_fence(TcgVcpu *t)
{
    if (atomic_load(&t->jit->drop))
        stacks_drop(t);
}

/* ---- overflow */

static struct sigaction old_segv;

/* Is addr on a guard page of v's stacks? */
static bool on_guard(const JitVcpu *jv, uint64_t addr)
{
    uint64_t off = addr - (uint64_t)jv->stacks;

    return off < (uint64_t)STACKS * SLOT && off % SLOT < STACK_GUARD;
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    Vcpu *v = current_vcpu;
    TcgVcpu *t = v ? tcg_vcpu(v) : NULL;

    if (t && t->jit && t->env->in_jit && on_guard(t->jit, (uint64_t)info->si_addr)) {
        greg_t *rsp = &c->uc_mcontext.gregs[REG_RSP];

        t->stats.overflow++;
        *rsp = t->env->jit_rsp_base + (*rsp & 8);
        return;
    }
    /* Somebody else's, or a bug: as if we were not here. The instruction faults again. */
    sigaction(sig, &old_segv, NULL);
}

static void catch_overflow(void)
{
    struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    sigemptyset(&sa.sa_mask);
    sigaction(SIGSEGV, &sa, &old_segv);
}

void stacks_catch_overflow(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, catch_overflow);
}
