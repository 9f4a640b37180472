/* SPDX-License-Identifier: MIT */
/*
 * Making and freeing the unit cache and the vCPUs' share of it; its counters.
 */
#include "accel/debug.h"
#include "accel/jit/jit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_INSNS = 128, MAX_BLOCKS = 8, MAX_STRAIGHT = 1000 };

static TranslateLimits limits_of(const VmConfig *c)
{
    TranslateLimits l = { .max_insns = MAX_INSNS, .max_blocks = MAX_BLOCKS };

    l.one_insn = c->one_insn;
    /*
     * A straight line is compared to its end: code that goes on without groups of
     * accesses starts in the middle and must not stop elsewhere.
     */
    l.single_block = c->engine == ENGINE_LOCKSTEP;
    if (l.single_block)
        l.max_insns = MAX_STRAIGHT;
    return l;
}

static Err *code_new(Jit *j)
{
    static const X64Hooks hooks = { .mem = &mmu_env_ops };
    CodeArea area = { j->rw, j->rw + j->regions[0].start, j->delta };

    j->stubs = x64_stubs_new(&area, j->vm->isa->ir, &hooks);
    if (!j->stubs)
        return err(ERR_UNSUPPORTED, "the stubs of generated code do not fit into their place");
    j->emitter = x64_emitter_new(j->stubs, j->vm->isa->ir);
    stacks_catch_overflow();
    return NULL;
}

static void open_perfmap(Jit *j)
{
    char path[64];

    snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
    j->perfmap = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

Err *jit_new(Vm *vm, Jit **out)
{
    const VmConfig *c = vm->config;
    bool code = c->engine != ENGINE_INTERP;
    Jit *j = g_new0(Jit, 1);
    Err *e = NULL;

    j->vm = vm;
    j->engine = c->engine;
    j->perfmap = -1;
    j->limits = limits_of(c);
    pthread_mutex_init(&j->lock, NULL);
    pthread_mutex_init(&j->turn, NULL);
    j->deep = g_array_new(false, false, sizeof(RamBlock *));
    ir_init(&j->ir, vm->isa->ir);
    j->hash = cache_map(sizeof(j->hash[0]) << HASH_BITS);
    if (!j->hash)
        e = err_errno(errno, "cannot map the table of translated code");
    if (!e && code)
        e = x64_host_ok();
    if (!e)
        e = cache_new(j, c->tb_size, code);
    if (!e && code)
        e = code_new(j);
    if (e) {
        jit_free(j);
        return e;
    }
    if (c->perfmap && code)
        open_perfmap(j);
    ram_code_touched = jit_touched;
    *out = j;
    return NULL;
}

void jit_free(Jit *j)
{
    x64_emitter_free(j->emitter);
    x64_stubs_free(j->stubs);
    cache_free(j);
    pages_free(j);
    ir_free(&j->ir);
    debug_set_unref(j->debug);
    if (j->hash)
        munmap((void *)j->hash, sizeof(j->hash[0]) << HASH_BITS);
    if (j->perfmap >= 0)
        close(j->perfmap);
    pthread_mutex_destroy(&j->lock);
    pthread_mutex_destroy(&j->turn);
    g_free(j);
}

Err *jit_vcpu_new(TcgVcpu *t)
{
    JitVcpu *jv = g_new0(JitVcpu, 1);

    jv->t = t;
    t->jit = jv;
    ir_init(&jv->one, t->v->isa->ir);
    return stacks_new(jv);
}

void jit_vcpu_free(TcgVcpu *t)
{
    stacks_free(t->jit);
    ir_free(&t->jit->one);
    lockstep_free(t->jit->lockstep);
    g_free(t->jit);
    t->jit = NULL;
}

static void stat_line(GString *out, const char *doc, uint64_t n)
{
    if (n)
        g_string_append_printf(out, "  %-44s %12" PRIu64 "\n", doc, n);
}

void jit_print_stats(Jit *j, GString *out)
{
    const JitStats *s = &j->stats;
    uint64_t heap = cache_heap(j);

    g_string_append(out, "translation\n");
    stat_line(out, "units", s->units);
    stat_line(out, "of these, copies for another address", s->copies);
    stat_line(out, "guest instructions in them", s->insns);
    stat_line(out, "guest bytes", s->guest_bytes);
    stat_line(out, "host bytes, in line", s->hot_bytes);
    stat_line(out, "host bytes, out of line", s->cold_bytes);
    stat_line(out, "bytes of the heap for records", heap);
    stat_line(out, "microseconds", s->translate_ns / 1000);
    stat_line(out, "units invalidated by stores", s->invalidated);
    stat_line(out, "units evicted", s->evicted_units);
    stat_line(out, "regions evicted", s->evictions);
    stat_line(out, "pages whose writers were stopped", s->revocations);
}
