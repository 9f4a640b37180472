/* SPDX-License-Identifier: MIT */
/*
 * Control flow of generated code: exits and their linking, polls, calls that
 * return and that don't, the jump cache, checked entries, the return stack's
 * overflow and its exchange while C runs. A few units, written as text, and the
 * smallest dispatcher that can run them.
 */
#include <signal.h>
#include <ucontext.h>

#include "tests/unit/test.h"
#include "tests/unit/x64-guest.h"

/* ---- units by pc, and running them */

typedef struct Made { uint64_t pc; void *host, *checked; X64Exit exits[16]; int nexits; uint32_t first; } Made;

static Machine *m;
static IrUnit unit;
static Made made[32];
static int nmade;
static const char *texts[32];   /* sources of units not made yet */
static int ntexts, leaves[EXIT_LINK + 1];

static void start(void)
{
    machine_reset(m);
    nmade = ntexts = 0;
    memset(leaves, 0, sizeof leaves);
    for (int i = 0; i < JC_SIZE; i++)
        m->env->jc[i].key = JC_EMPTY;
    m->env->jit_rsp = m->env->jit_rsp_base;
    m->env->ctxkey = 0x1234;
    m->env->poll = m->env->fault = 0;
    for (int i = 0; i < GPRS; i++)
        m->env->gpr[i] = 1000 + i;
    for (int i = 0; i < XT_SIZE; i++)
        m->env->xt[1][i] = 7;
}

static void source(const char *text) { texts[ntexts++] = text; }

static Made *make(const char *text)
{
    Made *u = &made[nmade++];
    Err *e = ir_parse(&unit, text);

    if (!e) {
        ir_finish(&unit);
        e = ir_check(&unit);
    }
    if (e) {
        printf("%s: %s\n", text, err_text(e));
        exit(1);
    }
    u->first = m->next_exit;
    u->host = machine_emit(m, &unit);
    u->checked = m->rx + m->code.entry_checked;
    u->pc = unit.pc;
    u->nexits = m->code.nexits;
    if (u->nexits)
        memcpy(u->exits, m->code.exits, u->nexits * sizeof(X64Exit));
    return u;
}

static uint64_t text_pc(const char *text)
{
    return strtoull(strstr(text, "test ") + 5, NULL, 0);
}

static Made *find(uint64_t pc)
{
    for (int i = 0; i < nmade; i++)
        if (made[i].pc == pc)
            return &made[i];
    for (int i = 0; i < ntexts; i++)
        if (text_pc(texts[i]) == pc)
            return make(texts[i]);
    return NULL;
}

static Made *exit_owner(uint32_t number, X64Exit **x)
{
    for (int i = 0; i < nmade; i++)
        if (number - made[i].first < (uint32_t)made[i].nexits) {
            *x = &made[i].exits[number - made[i].first];
            return &made[i];
        }
    return NULL;
}

static void link_exit(uint32_t number, Made *to)
{
    X64Exit *x;

    if (exit_owner(number, &x))
        x64_link(m->rw + x->patch, m->delta, x->cross ? to->checked : to->host);
}

static void unlink_all(Made *u)
{
    for (int i = 0; i < u->nexits; i++)
        x64_link(m->rw + u->exits[i].patch, m->delta, m->rx + u->exits[i].stub);
}

/* Runs from pc until it leaves for another reason, or to a pc that has no unit. Links and fills the jump cache. */
static IrExit run(uint64_t pc)
{
    Made *u = find(pc);
    IrExit why = EXIT_NEXT;

    m->env->pc = pc;
    while (u) {
        why = x64_enter(m->stubs, m->env, u->host);
        leaves[why]++;
        if (why != EXIT_NEXT && why != EXIT_LINK)
            return why;
        u = find(m->env->pc);
        if (u && why == EXIT_LINK)
            link_exit((uint32_t)m->env->exit_slot, u);
        else if (u)
            m->env->jc[jc_index(m->env->pc)] = (JcEntry){ m->env->pc ^ m->env->ctxkey, u->host };
    }
    return why;
}

#define R(n) (m->env->gpr[n])

/* ---- the cases */

static void all_exits(void)
{
    static const struct { const char *name; IrExit why; } exits[] = {
        { "next", EXIT_NEXT }, { "poll", EXIT_POLL }, { "halt", EXIT_HALT }, { "flush", EXIT_FLUSH }, { "debug", EXIT_DEBUG },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(exits); i++) {
        char text[200];
        Made *u;

        start();
        snprintf(text, sizeof text, "unit test 0x1000\n mark 0x1000, 4\n @r0 = add.64 @r1, #5\n exit %s 0xffffffff80001234\n",
                 exits[i].name);
        u = make(text);
        CHECK_EQ(x64_enter(m->stubs, m->env, u->host), exits[i].why);
        CHECK_EQ(m->env->pc, 0xffffffff80001234);
        CHECK_EQ(R(0), 1006);
        CHECK_EQ(m->env->in_jit, 0);
        CHECK_EQ(m->env->jit_rsp, m->env->jit_rsp_base);
    }
}

static void loop_and_poll(void)
{
    start();
    source("unit test 0x1000\n"
           " mark 0x1000, 4\n @r0 = mov.64 #0\n"
           " mark 0x1004, 4\n @r0 = add.64 @r0, #1\n"
           " mark 0x1008, 4\n br.64.ltu @r0, @r3, 0x1004\n"
           " mark 0x100c, 4\n exit halt 0x1010\n");
    R(3) = 100000;
    CHECK_EQ(run(0x1000), EXIT_HALT);
    CHECK_EQ(R(0), 100000);
    m->env->poll = 1;
    CHECK_EQ(run(0x1000), EXIT_POLL);
    CHECK_EQ(R(0), 1);
    CHECK_EQ(m->env->pc, 0x1004);
    R(3) = 1;                   /* a branch that isn't taken doesn't poll */
    CHECK_EQ(run(0x1000), EXIT_HALT);
}

/* A loop over two units: linked, it never leaves; polled at its backward edge; unlinked, it leaves again. */
static void linking(void)
{
    start();
    source("unit test 0x1000\n mark 0x1000, 4\n @r0 = add.64 @r0, #1\n mark 0x1004, 4\n gopc 0x1100\n");
    source("unit test 0x1100\n mark 0x1100, 4\n br.64.ltu @r0, @r3, 0x1000\n mark 0x1104, 4\n exit halt 0x1108\n");
    R(0) = 0;
    R(3) = 1000;
    CHECK_EQ(run(0x1000), EXIT_HALT);
    CHECK_EQ(R(0), 1000);
    CHECK_EQ(leaves[EXIT_LINK], 2);
    CHECK_EQ(leaves[EXIT_NEXT], 0);
    R(0) = 0;
    CHECK_EQ(run(0x1000), EXIT_HALT);
    CHECK_EQ(leaves[EXIT_LINK], 2);
    R(0) = 0;
    m->env->poll = 1;
    CHECK_EQ(run(0x1000), EXIT_POLL);
    CHECK_EQ(m->env->pc, 0x1000);
    CHECK_EQ(R(0), 1);
    m->env->poll = 0;
    R(0) = 998;
    unlink_all(find(0x1100));
    CHECK_EQ(run(0x1000), EXIT_HALT);
    CHECK_EQ(leaves[EXIT_LINK], 3);
}

/* An edge into another page goes to the checked entry, which looks at the exec tag. */
static void checked_entry(void)
{
    start();
    source("unit test 0x1ff8\n mark 0x1ff8, 4\n gopc 0x2000\n");
    source("unit test 0x2000\n mark 0x2000, 4\n exit halt 0x2004\n");
    CHECK_EQ(run(0x1ff8), EXIT_HALT);
    CHECK_EQ(run(0x1ff8), EXIT_HALT);
    CHECK_EQ(leaves[EXIT_LINK], 1);
    CHECK(find(0x1ff8)->exits[0].cross);
    m->env->xt[1][2] = 8;
    CHECK_EQ(x64_enter(m->stubs, m->env, find(0x1ff8)->host), EXIT_NEXT);
    CHECK_EQ(m->env->pc, 0x2000);
}

/* fib by calls over three units; r6 is the link register, r9 a stack pointer into ram. */
#define FIB                                                                                             \
    "unit test 0x1000\n"                                                                                \
    " mark 0x1000, 4\n br.64.geu @r0, #2, 0x1010\n"                                                     \
    " mark 0x1004, 4\n goind ret @r6\n"                                                                 \
    " mark 0x1010, 4\n st.64 @r9, @r6, +8 u8\n"                                                         \
    " mark 0x1014, 4\n st.64 @r9, @r0, +16 u8\n"                                                        \
    " mark 0x1018, 4\n @r9 = add.64 @r9, #24\n"                                                         \
    " mark 0x101c, 4\n @r0 = sub.64 @r0, #1\n"                                                          \
    " mark 0x1020, 4\n @r6 = mov.64 pc:0x1024\n callpc 0x1000, link 0x1024\n"                           \
    " mark 0x1024, 4\n @r1 = ld.64 @r9, -8 u8\n"                                                        \
    " mark 0x1028, 4\n st.64 @r9, @r0, -8 u8\n"                                                         \
    " mark 0x102c, 4\n @r0 = sub.64 @r1, #2\n"                                                          \
    " mark 0x1030, 4\n @r6 = mov.64 pc:0x1034\n callpc 0x1000, link 0x1034\n"                           \
    " mark 0x1034, 4\n @r1 = ld.64 @r9, -8 u8\n"                                                        \
    " mark 0x1038, 4\n @r0 = add.64 @r0, @r1\n"                                                         \
    " mark 0x103c, 4\n @r9 = sub.64 @r9, #24\n"                                                         \
    " mark 0x1040, 4\n @r6 = ld.64 @r9, +8 u8\n"                                                        \
    " mark 0x1044, 4\n %0 = and.64 @r6, #0xfffffffffffffffe\n goind ret %0\n"

static void calls(void)
{
    start();
    source(FIB);
    source("unit test 0x3000\n mark 0x3000, 4\n @r6 = mov.64 #0x3004\n callpc 0x1000, link 0x3004\n"
           " mark 0x3004, 4\n exit halt 0x3008\n");
    R(0) = 15;
    R(9) = RAM_BASE;
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(R(0), 610);
    CHECK_EQ(R(9), RAM_BASE);
    CHECK_EQ(leaves[EXIT_NEXT], 0);     /* all returns were host returns */
    CHECK_EQ(leaves[EXIT_LINK], 1);
    CHECK_EQ(m->env->jit_rsp, m->env->jit_rsp_base);
}

/* Returns that go elsewhere, with and without the jump cache knowing. */
static void other_returns(void)
{
    start();
    source("unit test 0x3000\n mark 0x3000, 4\n @r6 = mov.64 pc:0x3004\n callpc 0x1000, link 0x3004\n"
           " mark 0x3004, 4\n exit halt 0x3008\n");
    source("unit test 0x1000\n mark 0x1000, 4\n %0 = and.64 @r5, #0xfffffffffffffffe\n goind ret %0\n");
    source("unit test 0x5000\n mark 0x5000, 4\n exit halt 0x5004\n");
    R(5) = 0x5001;
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(m->env->pc, 0x5004);
    CHECK_EQ(leaves[EXIT_NEXT], 1);
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(m->env->pc, 0x5004);
    CHECK_EQ(leaves[EXIT_NEXT], 1);     /* now from the jump cache */
    R(5) = 0x3004;
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(m->env->pc, 0x3008);
    CHECK_EQ(leaves[EXIT_NEXT], 1);
    m->env->ctxkey ^= 0x100;            /* another context: the cache doesn't hold */
    R(5) = 0x5000;
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(leaves[EXIT_NEXT], 2);
    R(5) = 0x7770;
    CHECK_EQ(run(0x3000), EXIT_NEXT);   /* no such unit */
    CHECK_EQ(m->env->pc, 0x7770);
    m->env->poll = 1;
    CHECK_EQ(run(0x3000), EXIT_POLL);
    CHECK_EQ(m->env->pc, 0x1000);       /* the backward call polls */
}

static void indirect(void)
{
    start();
    source("unit test 0x3000\n mark 0x3000, 4\n @r2 = mov.64 #0\n"
           " mark 0x3004, 4\n @r6 = mov.64 pc:0x3008\n goind call @r4, link 0x3008\n"
           " mark 0x3008, 4\n @r2 = add.64 @r2, #1\n"
           " mark 0x300c, 4\n br.64.ltu @r2, #100, 0x3004\n"
           " mark 0x3010, 4\n goind jump @r5\n");
    source("unit test 0x1000\n mark 0x1000, 4\n @r7 = add.64 @r7, @r2\n mark 0x1004, 4\n goind ret @r6\n");
    source("unit test 0x5000\n mark 0x5000, 4\n exit halt 0x5004\n");
    R(4) = 0x1000;
    R(5) = 0x5000;
    R(7) = 0;
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(R(2), 100);
    CHECK_EQ(R(7), 4950);
    CHECK_EQ(m->env->pc, 0x5004);
    CHECK_EQ(leaves[EXIT_NEXT], 2);     /* the callee's first call, and the jump */
    CHECK_EQ(m->env->jit_rsp, m->env->jit_rsp_base);
    m->env->poll = 1;
    CHECK_EQ(run(0x5000), EXIT_HALT);
    CHECK_EQ(run(0x3000), EXIT_POLL);
    CHECK_EQ(m->env->pc, 0x1000);
}

/* Devices run beside the one vCPU of a machine, so its fences are real ones: a locked "or" on the stack. */
static void fences(void)
{
    static const uint8_t fence[] = { 0xf0, 0x83, 0x4c, 0x24, 0xc0, 0x00 };
    const char *text = "unit test 0x1000\n mark 0x1000, 4\n fence %s\n mark 0x1004, 4\n exit halt 0x1008\n";

    for (unsigned i = 0; i < 4; i++) {
        g_autofree char *unit_text = g_strdup_printf(text, i & 1 ? "stld" : "compiler");

        machine_one_vcpu = i & 2;
        start();
        source(unit_text);
        uint32_t begin = (uint32_t)(m->hot.rw - m->rw);
        CHECK_EQ(run(0x1000), EXIT_HALT);
        CHECK_EQ(!!memmem(m->rw + begin, m->code.hot_end - begin, fence, sizeof fence), i & 1);
    }
    machine_one_vcpu = false;
}

/* A loop that only reads what it doesn't move on leaves after a while, so that others may run; one that scans does not. */
static void waiting(void)
{
    const char *wait = "unit test 0x1000\n mark 0x1000, 4\n @r1 = ld.64 @r0, u8\n mark 0x1004, 4\n"
                       " br.64.eq @r1, #0, 0x1000\n mark 0x1008, 4\n exit halt 0x100c\n";
    const char *scan = "unit test 0x1000\n mark 0x1000, 4\n @r1 = ld.64 @r0, u8\n mark 0x1004, 4\n"
                       " @r0 = add.64 @r0, #1\n mark 0x1008, 4\n br.64.eq @r1, #0, 0x1000\n mark 0x100c, 4\n"
                       " exit halt 0x1010\n";

    start();
    source(wait);
    memset(ram, 0, RAM_SIZE);
    R(0) = RAM_BASE;
    CHECK_EQ(run(0x1000), EXIT_POLL);
    CHECK_EQ(m->env->pc, 0x1000);
    CHECK(m->env->spin < 0);
    CHECK_EQ(m->env->poll, 0);
    m->env->spin = ENV_SPIN;
    ram[0] = 1;
    CHECK_EQ(run(0x1000), EXIT_HALT);
    ram[0] = 0;
    machine_one_vcpu = true;            /* then nobody could end the wait: the poll is for interrupts */
    start();
    source(wait);
    R(0) = RAM_BASE;
    m->env->poll = 1;
    CHECK_EQ(run(0x1000), EXIT_POLL);
    CHECK_EQ(m->env->spin, ENV_SPIN);
    m->env->poll = 0;
    machine_one_vcpu = false;
    start();
    source(scan);
    R(0) = RAM_BASE;
    ram[4 * ENV_SPIN] = 1;
    CHECK_EQ(run(0x1000), EXIT_HALT);
    CHECK_EQ(m->env->spin, ENV_SPIN);
}

/* ---- the return stack */

static int overflows;
static void on_segv(int sig, siginfo_t *info, void *context)
{
    greg_t *rsp = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];

    if (!m->env->in_jit)
        abort();
    overflows++;
    *rsp = (greg_t)(m->env->jit_rsp_base + (*rsp & 8));
}

/* r0 calls deep, far deeper than the stack is, then all the returns: those whose frames were forgotten by the cache. */
static void overflow(void)
{
    static char alt[65536];
    stack_t ss = { .ss_sp = alt, .ss_size = sizeof alt };
    struct sigaction sa = { .sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_ONSTACK }, old;

    sigaltstack(&ss, NULL);
    sigaction(SIGSEGV, &sa, &old);
    start();
    source("unit test 0x3000\n mark 0x3000, 4\n @r6 = mov.64 pc:0x3004\n callpc 0x4000, link 0x3004\n"
           " mark 0x3004, 4\n exit halt 0x3008\n");
    source("unit test 0x4000\n mark 0x4000, 4\n br.64.eq @r0, #0, 0x4010\n"
           " mark 0x4004, 4\n @r0 = sub.64 @r0, #1\n"
           " mark 0x4008, 4\n @r6 = mov.64 pc:0x400c\n callpc 0x4000, link 0x400c\n"
           " mark 0x400c, 4\n br.64.eq @r1, #0, 0x4020\n"
           " mark 0x4010, 4\n @r1 = sub.64 @r1, #1\n"
           " mark 0x4014, 4\n goind ret @r6\n"
           " mark 0x4020, 4\n @r6 = mov.64 #0x3004\n goind ret @r6\n");
    source("unit test 0x400c\n mark 0x400c, 4\n br.64.eq @r1, #0, 0x4020\n"
           " mark 0x4010, 4\n @r1 = sub.64 @r1, #1\n"
           " mark 0x4014, 4\n goind ret @r6\n"
           " mark 0x4020, 4\n @r6 = mov.64 #0x3004\n goind ret @r6\n");
    source("unit test 0x3004\n mark 0x3004, 4\n exit halt 0x3008\n");
    R(0) = R(1) = 20000;
    overflows = 0;
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(m->env->pc, 0x3008);
    CHECK_EQ(R(0), 0);
    CHECK_EQ(R(1), 0);
    CHECK(overflows >= 4);
    CHECK(leaves[EXIT_NEXT] >= 1 && leaves[EXIT_NEXT] <= 3);
    sigaction(SIGSEGV, &old, NULL);
}

/* A helper that drops the return stack: execution goes on, later returns take the long way. */
static void dropped(void)
{
    start();
    source("unit test 0x3000\n mark 0x3000, 4\n @r6 = mov.64 pc:0x3004\n callpc 0x4000, link 0x3004\n"
           " mark 0x3004, 4\n exit halt 0x3008\n");
    source("unit test 0x4000\n mark 0x4000, 4\n @r2 = call drop(@r1)\n"
           " mark 0x4004, 4\n goind ret @r6\n");
    source("unit test 0x3004\n mark 0x3004, 4\n exit halt 0x3008\n");
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(R(2), 1002);
    CHECK_EQ(leaves[EXIT_NEXT], 1);
}

/* Calls between which the dispatcher ran (EXIT_LINK in the middle of a frame) still pair. */
static void frames_survive_leaving(void)
{
    start();
    source("unit test 0x3000\n mark 0x3000, 4\n @r6 = mov.64 pc:0x3004\n callpc 0x4000, link 0x3004\n"
           " mark 0x3004, 4\n exit halt 0x3008\n");
    source("unit test 0x4000\n mark 0x4000, 4\n gopc 0x4100\n");
    source("unit test 0x4100\n mark 0x4100, 4\n gopc 0x4200\n");
    source("unit test 0x4200\n mark 0x4200, 4\n goind ret @r6\n");
    CHECK_EQ(run(0x3000), EXIT_HALT);
    CHECK_EQ(leaves[EXIT_LINK], 3);
    CHECK_EQ(leaves[EXIT_NEXT], 0);
    CHECK_EQ(m->env->jit_rsp, m->env->jit_rsp_base);
}

/* ---- tables */

static void sites_and_marks(void)
{
    Made *u;

    start();
    u = make("unit test 0x3000\n mark 0x3000, 4\n @r1 = ld.64 @r0, u8\n"
             " mark 0x3004, 2\n @r2 = call pure(@r1, @r1, @r1)\n"
             " mark 0x3006, 4\n st.64 @r9, @r0, +8 u8\n"
             " mark 0x300a, 4\n exit halt 0x3008\n");
    CHECK_EQ(m->code.nmarks, 4);
    CHECK_EQ(m->code.marks[2].pc_delta, 6);
    CHECK_EQ(m->code.marks[1].len, 2);
    CHECK_EQ(m->code.marks[0].off, m->code.entry);
    for (int i = 1; i < m->code.nmarks; i++)
        CHECK(m->code.marks[i].off > m->code.marks[i - 1].off);
    CHECK_EQ(m->code.nsites, 3);
    R(0) = RAM_BASE;
    R(9) = 16;                  /* the store faults */
    CHECK_EQ(x64_enter(m->stubs, m->env, u->host), EXIT_FAULT);
    CHECK_EQ(machine_fault_pc(m, &unit), 0x3006);
    m->env->fault = 0;
    R(0) = 1;                   /* the load does */
    CHECK_EQ(x64_enter(m->stubs, m->env, u->host), EXIT_FAULT);
    CHECK_EQ(machine_fault_pc(m, &unit), 0x3000);
    m->env->fault = 0;
}

/* ---- copies */

/* What depends on where code is, and what doesn't. %1$s: the page's number. */
static const char everything[] =
    "unit test 0x%1$s000\n"
    " mark 0x%1$s000, 4\n @r1 = ld.64 @r0, u8\n"
    " mark 0x%1$s004, 4\n st.32 @r9, @r0, +8 u4\n"
    " mark 0x%1$s008, 4\n @r2 = call pure(@r1, @r1, @r1)\n"
    " mark 0x%1$s00c, 4\n @r3 = mov.64 pc:0x%1$s123\n"
    " mark 0x%1$s010, 4\n @r31 = mov.64 pc:0x%1$s456\n"
    " mark 0x%1$s014, 4\n @r4 = divs.64 @r1, @r2\n"
    " mark 0x%1$s018, 4\n br.64.eq @r1, @r2, 0x%1$s800\n"
    " mark 0x%1$s01c, 4\n @r7 = ld.64 @r8, u8\n @r8 = add.64 @r8, #8\n"
    " mark 0x%1$s020, 4\n br.64.ne @r7, @r2, 0x%1$s01c\n"
    " mark 0x%1$s024, 4\n @r6 = mov.64 pc:0x%1$s028\n callpc 0x%1$sf00, link 0x%1$s028\n"
    " mark 0x%1$s028, 4\n br.64.ne @r1, #0, 0x%1$s000\n"
    " mark 0x%1$s02c, 4\n @r6 = mov.64 pc:0x%1$s030\n goind call @r5, link 0x%1$s030\n"
    " mark 0x%1$s030, 4\n %%0 = and.64 @r6, #0xfffffffffffffffe\n br.64.eq @r1, #5, 0x%1$s038\n"
    " mark 0x%1$s034, 4\n goind ret @r6\n"
    " mark 0x%1$s038, 4\n gopc 0x%1$sffe\n";

/* By an emitter of its own: they number the places of loops' accesses. */
static bool emit_page(const char *page, const char *more, CodeArea hot, CodeArea cold, uint32_t id, X64Code *out)
{
    g_autofree char *text = g_strdup_printf(everything, page);
    g_autofree char *all = g_strconcat(text, more, NULL);
    X64Emitter *em = x64_emitter_new(m->stubs, &guest);
    Err *e = ir_parse(&unit, all);

    if (e) {
        printf("%s\n", err_text(e));
        exit(1);
    }
    ir_finish(&unit);
    X64Request r = { .unit = &unit, .base = m->rw, .hot = hot, .cold = cold, .first_exit = 5, .exec_ctx = 1,
                     .xt_id = id, .movable = true };
    bool made = x64_emit(em, &r, out);
    static uint32_t relocs[1024];
    static X64Exit exits[64];
    CHECK(out->nrelocs <= 1024 && out->nexits <= 64);
    if (out->nrelocs)
        memcpy(relocs, out->relocs, out->nrelocs * 4);
    out->relocs = relocs;
    out->exits = memcpy(exits, out->exits, out->nexits * sizeof(X64Exit));
    x64_emitter_free(em);
    return made;
}

static CodeArea further(CodeArea a, unsigned by)
{
    a.rw += by;
    return a;
}

/* A copy for another page and place is what is emitted for that page at that place. */
static void copies(void)
{
    X64Code from, to, fresh;

    start();
    for (unsigned n = 0; n < 200; n++) {
        CodeArea hot = further(m->hot, 8192 + n * 7), cold = further(m->cold, 8192 + n * 129);
        CHECK(emit_page("3fabcdef12", "", further(m->hot, n), further(m->cold, n * 3), 7, &from));
        CHECK(from.movable);
        X64Request q = { .base = m->rw, .hot = hot, .cold = cold, .exec_ctx = 1, .xt_id = 99 };
        CHECK(x64_copy(&q, &from, 0x7112345678, (UINT64_C(0x7112345678) - UINT64_C(0x3fabcdef12)) << 12, &to));
        CHECK(to.entry_checked >= hot.rw - m->rw && to.cold >= cold.rw - m->rw);
        uint32_t moved = to.entry_checked - from.entry_checked, cold_moved = to.cold - from.cold;
        for (int i = 0; i < from.nexits; i++) {
            bool in_cold = from.exits[i].patch >= from.cold && from.exits[i].patch < from.cold_end;
            x64_exit_init(m->rw, from.exits[i].patch + (in_cold ? cold_moved : moved), from.exits[i].stub + cold_moved, 5 + i);
        }
        uint32_t hot_size = to.hot_end - to.entry_checked, cold_size = to.cold_end - to.cold;
        g_autofree uint8_t *h = g_memdup2(m->rw + to.entry_checked, hot_size), *c = g_memdup2(m->rw + to.cold, cold_size);
        hot.rw = m->rw + to.entry_checked;
        cold.rw = m->rw + to.cold;
        CHECK(emit_page("7112345678", "", hot, cold, 99, &fresh));
        CHECK_EQ(fresh.entry, to.entry);
        CHECK_EQ(fresh.hot_end, to.hot_end);
        CHECK_EQ(fresh.cold_end, to.cold_end);
        CHECK(!memcmp(h, hot.rw, hot_size));
        CHECK(!memcmp(c, cold.rw, cold_size));
        q.hot.end = q.hot.rw + 100;
        CHECK(!x64_copy(&q, &from, 1, 0, &to));
    }
    /* what can't be copied: guest addresses of 32 bits, computing with one */
    CHECK(emit_page("12345", "", m->hot, m->cold, 7, &from) && !from.movable);
    CHECK(emit_page("3fabcdef12", " mark 0x3fabcdef12040, 4\n @r1 = xor.64 @r2, pc:0x3fabcdef12000\n"
                    " mark 0x3fabcdef12044, 4\n exit next 0x3fabcdef12048\n", m->hot, m->cold, 7, &from) && !from.movable);
}

/* Too little room: nothing is written beyond the end, false is returned. */
static void no_room(void)
{
    X64Request r;

    start();
    make("unit test 0x3000\n mark 0x3000, 4\n @r1 = ld.64 @r0, u8\n mark 0x3004, 4\n exit halt 0x3008\n");
    machine_reset(m);
    r = (X64Request){ .unit = &unit, .base = m->rw, .hot = m->hot, .cold = m->cold };
    for (size_t room = 0; room < 4096; room += 64) {
        r.hot.end = r.hot.rw + room;
        memset(r.hot.end, 0xcc, 64);
        if (x64_emit(m->em, &r, &m->code))
            CHECK(m->code.hot_end - m->code.hot <= room);
        CHECK_EQ(*r.hot.end, 0xcc);
    }
}

int main(void)
{
    guest_make();
    ram = (uint8_t *)mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    rng_state = 1;
    hooks_fill = true;
    m = machine_new();
    ir_init(&unit, &guest);
    RUN(all_exits);
    RUN(loop_and_poll);
    RUN(waiting);
    RUN(linking);
    RUN(checked_entry);
    RUN(calls);
    RUN(other_returns);
    RUN(indirect);
    RUN(overflow);
    RUN(dropped);
    RUN(frames_survive_leaving);
    RUN(fences);
    RUN(sites_and_marks);
    RUN(copies);
    RUN(no_room);
    ir_free(&unit);
    machine_free(m);
    return test_end();
}
