/* SPDX-License-Identifier: MIT */
/*
 * A board without CPUs that run: its vCPUs are made by hand and have no
 * threads, its devices are poked at their addresses as a vCPU would, and what
 * reaches the harts is read from their interrupt lines.
 */
#ifndef TESTS_DEV_RIG_H
#define TESTS_DEV_RIG_H

#include <stdlib.h>
#include <unistd.h>

#include "chardev/chardev.h"
#include "hw/core/board.h"
#include "system/vcpu.h"
#include "target/isa.h"
#include "target/riscv/state.h"
#include "tests/unit/test.h"

#ifndef RIG_HARTS
#define RIG_HARTS 2
#endif

typedef struct Rig {
    VmConfig config;
    Vm *vm;
    Vcpu cpus[RIG_HARTS];
    Vcpu *list[RIG_HARTS];
} Rig;

static void rig_nothing(Vcpu *v) { (void)v; }
static void rig_ctx(Vcpu *v, unsigned c) { (void)v, (void)c; }
static void rig_asid(Vcpu *v, int a, bool g) { (void)v, (void)a, (void)g; }
static void rig_page(Vcpu *v, uint64_t va, int a) { (void)v, (void)va, (void)a; }
static const MmuOps rig_mmu = {
    .flush_all = rig_nothing, .flush_ctx = rig_ctx, .flush_asid = rig_asid, .flush_page = rig_page,
    .mode_changed = rig_nothing, .address_space_changed = rig_nothing, .code_fence = rig_nothing,
};

static inline void rig_must(Err *e)
{
    if (!e)
        return;
    err_report(e);
    exit(1);
}

/* Does e say `text`? Frees it. */
static inline bool rig_says(Err *e, const char *text)
{
    bool yes = e && (strstr(err_text(e), text) || (err_hint_text(e) && strstr(err_hint_text(e), text)));

    if (e && !yes)
        printf("it says: %s\n", err_text(e));
    err_free(e);
    return yes;
}

static inline void rig_reset_cpu(void *opaque)
{
    Vcpu *v = opaque;

    v->isa->reset(v);
}

/* Who makes very many rigs, and runs no code on them, may keep the Envs. */
#ifndef RIG_OWN_ENV
static inline Env *rig_env_new(int hart)
{
    Env *env = aligned_alloc(4096, (sizeof(Env) + 4095) & ~4095ul);

    memset(env, 0, sizeof(*env));
    env_init(env);
    return env;
}

static inline void rig_env_free(Env *env) { free(env); }
#endif

static inline void rig_cpu(Rig *r, int i)
{
    Vcpu *v = &r->cpus[i];
    Env *env = rig_env_new(i);

    *v = (Vcpu){ .vm = r->vm, .index = i, .isa = r->vm->isa, .env = env };
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->cond, NULL);
    env->vcpu = v;
    rig_must(v->isa->vcpu_new(v, "rv64", NULL));
    v->isa->reset(v);
    r->list[i] = v;
    vm_on_reset(r->vm, rig_reset_cpu, v);
}

/* A machine with harts, without a board. Change r->config before rig_board. The lock is held from here on. */
static inline void rig_init(Rig *r)
{
    *r = (Rig){ .config = {
        .program = "test", .isa = "riscv64", .machine = (char *)"virt", .smp = RIG_HARTS, .maxcpus = RIG_HARTS,
        .ram_size = 64 << 20, .bios = (char *)"none", .no_reboot = false,
    } };
    r->vm = vm_new(&r->config);
    r->vm->isa = isa_find("riscv64");
    mmu_ops = &rig_mmu;
    r->vm->vcpus = r->list;
    for (int i = 0; i < RIG_HARTS; i++)
        rig_cpu(r, i);
    r->vm->nvcpus = RIG_HARTS;
    vm_lock(r->vm);
}

static inline Err *rig_try_board(Rig *r)
{
    return board_make(r->vm);
}

static inline void rig_board(Rig *r)
{
    rig_must(rig_try_board(r));
    vm_reset(r->vm);
    clock_run(r->vm, true);
}

/* What a vCPU's thread would do between two instructions. */
static inline void rig_work(Rig *r)
{
    for (int i = 0; i < RIG_HARTS; i++) {
        Vcpu *v = &r->cpus[i];

        for (VcpuWork *w; (w = v->work) != NULL;) {
            v->work = w->next;
            w->fn(v, w->opaque);
            g_free(w);
        }
    }
}

/* Lets the main loop do what is due for about that long. False: the machine was asked to end. */
static inline bool rig_turn(Rig *r, int ms)
{
    int64_t end = g_get_monotonic_time() + ms * 1000;
    bool goes_on = true;

    vm_unlock(r->vm);
    do {
        goes_on = vm_turn(r->vm, false);
        if (ms)
            usleep(200);
    } while (goes_on && g_get_monotonic_time() < end);
    /* What became due while a busy host let us wait. */
    goes_on = goes_on && vm_turn(r->vm, false);
    vm_lock(r->vm);
    return goes_on;
}

static inline void rig_free(Rig *r)
{
    board_free(r->vm);
    rig_work(r);
    vm_unlock(r->vm);
    for (int i = 0; i < RIG_HARTS; i++) {
        r->vm->isa->vcpu_free(&r->cpus[i]);
        rig_env_free(r->cpus[i].env);
    }
    r->vm->nvcpus = 0;
    vm_free(r->vm);
}

/* ---- poking */

static inline uint64_t rd(Rig *r, uint64_t addr, unsigned size)
{
    uint64_t val = 0;

    if (space_io(r->vm->mem, addr, &val, size, false) != MEM_OK)
        printf("nothing at %#" PRIx64 "\n", addr), test_case_bad++;
    return val;
}

static inline void wr(Rig *r, uint64_t addr, uint64_t val, unsigned size)
{
    if (space_io(r->vm->mem, addr, &val, size, true) != MEM_OK)
        printf("nothing at %#" PRIx64 "\n", addr), test_case_bad++;
}

static inline uint32_t rd32(Rig *r, uint64_t addr) { return rd(r, addr, 4); }
static inline void wr32(Rig *r, uint64_t addr, uint32_t val) { wr(r, addr, val, 4); }

/* Does the hart see this interrupt line (IRQ_*) high? */
static inline bool line(Rig *r, int hart, int irq)
{
    const RiscvState *s = r->cpus[hart].state;

    return s->irq_lines >> irq & 1;
}

/* A file with these bytes that is removed at exit; the name is g_malloc'ed. */
static inline char *rig_file(const void *bytes, size_t len)
{
    char *path = NULL;
    int fd = g_file_open_tmp("dev-test-XXXXXX", &path, NULL);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
        rig_must(err(ERR_IO, "cannot write a file for the test"));
    close(fd);
    return path;
}

static inline void rig_unlink(char *path)
{
    unlink(path);
    g_free(path);
}

#endif
