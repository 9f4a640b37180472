/* SPDX-License-Identifier: MIT */
/*
 * Generated code for machine.h: its own small code cache, direct edges linked
 * inside a page, no eviction (machine_drop_units empties it).
 */
#ifndef TESTS_RAND_MACHINE_JIT_H
#define TESTS_RAND_MACHINE_JIT_H

/* Room for calls that never return: a program makes a few hundred at most. */
enum { JIT_STACK = 1 << 20 };

/* NULL, or why this host can't run generated code. */
static Err *machine_jit_start(Machine *k)
{
    static X64Hooks hooks = { &machine_memory };
    CodeArea all;

    TRY(x64_host_ok());
    k->code = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (k->code == MAP_FAILED)
        return err(ERR_UNSUPPORTED, "no memory that is writable and executable");
    all = (CodeArea){ k->code, k->code + CODE_SIZE / 2, 0 };
    k->stubs = x64_stubs_new(&all, &riscv_ir, &hooks);
    k->emitter = x64_emitter_new(k->stubs, &riscv_ir);
    k->hot = k->hot_start = all;
    k->cold = k->cold_start = (CodeArea){ k->code + CODE_SIZE / 2, k->code + CODE_SIZE, 0 };
    uint64_t *base = (uint64_t *)(g_malloc(JIT_STACK) + JIT_STACK) - 8;
    base = (uint64_t *)((uintptr_t)base & ~(uintptr_t)15);
    for (int n = 0; n < 4; n++)
        base[n] = 1;                    /* no link address */
    k->env->jit_rsp = k->env->jit_rsp_base = (uintptr_t)base;
    k->jit_ready = true;
    return NULL;
}

static void jit_make(Machine *k, MachineUnit *u)
{
    X64Request r = {
        .unit = &u->ir, .base = k->code, .hot = k->hot, .cold = k->cold, .first_exit = k->nexits,
        .exec_ctx = CTX_U, .xt_id = 1, .ungrouped = u->mode & MODE_UNGROUPED,
        .one_vcpu = rv_random_bits(&k->seed) & 1, .stir = rv_random_bits(&k->seed) & 1,
    };
    X64Code c;

    if (!x64_emit(k->emitter, &r, &c)) {
        fprintf(stderr, "the code cache is full\n");
        exit(1);
    }
    u->host = k->code + c.entry;
    u->nsites = c.nsites;
    u->sites = g_memdup2(c.sites, c.nsites * sizeof(*c.sites));
    for (int n = 0; n < c.nexits; n++) {
        k->exits[k->nexits + n].target = c.exits[n].target;
        k->exits[k->nexits + n].patch = k->code + c.exits[n].patch;
        k->exits[k->nexits + n].cross = c.exits[n].cross;
    }
    k->nexits += c.nexits;
    k->hot.rw = k->code + c.hot_end;
    k->cold.rw = k->code + c.cold_end;
    k->env->jc[jc_index(u->pc)] = (JcEntry){ u->pc ^ k->env->ctxkey, (void *)u->host };
}

/* The pc of the guest instruction whose code has this return address. */
static uint64_t jit_fault_pc(Machine *k, uint64_t site)
{
    uint32_t off = (uint8_t *)(uintptr_t)site - k->code;

    for (int n = 0; n < k->nunits; n++)
        for (int i = 0; i < k->units[n].nsites; i++)
            if (k->units[n].sites[i].off == off)
                return k->units[n].ir.insns[k->units[n].ir.marks[k->units[n].sites[i].mark]].imm;
    fprintf(stderr, "a fault at a place that is no site: %#x\n", off);
    exit(1);
}

static IrExit run_jit(Machine *k, MachineUnit *u)
{
    Env *env = k->env;

    if (!u->host)
        jit_make(k, u);
    IrExit why = x64_enter(k->stubs, env, u->host);
    while (why == EXIT_UNGROUPED) {
        u = machine_unit(k, env->pc, MODE_UNGROUPED);
        if (!u)
            return EXIT_NEXT;
        if (!u->host)
            jit_make(k, u);
        why = x64_enter(k->stubs, env, u->host);
    }
    if (why == EXIT_FAULT) {
        env->pc = jit_fault_pc(k, env->site);
    } else if (why == EXIT_LINK) {
        uint64_t slot = env->exit_slot;
        MachineUnit *to = machine_unit(k, env->pc, 0);
        if (to && !to->host)
            jit_make(k, to);
        if (to && !k->exits[slot].cross && to->mode == u->mode)
            x64_link(k->exits[slot].patch, 0, to->host);
    }
    return why;
}

#endif
