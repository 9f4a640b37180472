/* SPDX-License-Identifier: MIT */
/*
 * The x86-64 backend against the interpreter: random programs, then control flow,
 * faults and linking by hand. LYRE_SEED repeats a run, LYRE_ROUNDS lengthens it.
 */
#include "tests/unit/test.h"
#include "tests/unit/x64-gen.h"

static Machine *m;
static IrUnit unit;
static int rounds = 2000;

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

/* ---- each op with each kind of place for its operands and result */

enum { IN_PIN, IN_MEM, IN_VAL, IN_IMM, AS_A = 3, AS_B = 4 };

/* Operand k (0-2) in such a place. Pins are r0 r3 r6, unpinned slots r1 r2 r4. */
static IrRef place(IrType t, int where, int k)
{
    static const uint8_t pin[] = { 0, 3, 6 }, mem[] = { 1, 2, 4 };

    switch (where) {
    case IN_PIN: return ir_slot(pin[k]);
    case IN_MEM: return ir_slot(mem[k]);
    case IN_VAL: return ir_op2(&unit, IR_add, t, IR_NEW, ir_slot(rnd_below(2) ? pin[k] : mem[k]), ir_imm(&unit, k));
    default:     return ir_imm(&unit, rnd_edge());
    }
}

static void put_insn(IrOp op, IrType t, unsigned aux, uint32_t x, IrRef d, IrRef a, IrRef b, IrRef c)
{
    ir_op3(&unit, op, t, d, a, b, c);
    unit.insns[unit.n - 1].aux = aux;
    unit.insns[unit.n - 1].x = x;
}

static void finish_op(void)
{
    ir_mark(&unit, UNIT_PC + 4, 4);
    ir_exit(&unit, EXIT_NEXT, UNIT_PC + 8);
    ir_finish(&unit);
}

static void one_op(IrOp op, IrType t, int wa, int wb, int wd)
{
    static State start;
    int in = ir_ops[op].in, bits = t == IR_I32 ? 32 : 64, bad = test_case_bad;
    unsigned len = 1 + rnd_below(bits), aux = op == IR_setcc ? rnd_below(10) : len;
    uint32_t x = op == IR_shladd ? 1 + rnd_below(3) : rnd_below(bits - len + 1);
    IrRef a, b = IR_NONE, c = IR_NONE, d;
    Err *e;

    ir_reset(&unit, UNIT_PC, 0);
    ir_mark(&unit, UNIT_PC, 4);
    a = place(t, wa, 0);
    if (in > 1)
        b = place(t, wb, 1);
    if (in > 2)
        c = place(t, rnd_below(4), 2);
    if (op == IR_select && ir_tag(a) == IR_IMM)
        a = ir_slot(0);         /* the builder folds it */
    d = wd == AS_A ? a : wd == AS_B ? b : place(t, wd, 2);
    if (ir_tag(d) != IR_SLOT || t == IR_I32)
        d = ir_ref(IR_VAL, unit.nvalues++);
    if (op == IR_mov) {
        unit.insns = g_renew(IrInsn, unit.insns, unit.cap += 4);
        unit.insns[unit.n++] = (IrInsn){ .op = op, .type = t, .d = d, .a = a };
    } else if (op == IR_select || in == 3) {
        ir_op3(&unit, op, t, d, a, b, c);
    } else {
        if (ir_tag(a) == IR_IMM && (in == 1 || ir_tag(b) == IR_IMM))
            return;             /* folded: nothing to lower */
        put_insn(op, t, aux, x, d, a, b, c);
    }
    if (ir_tag(d) == IR_VAL)
        ir_op1(&unit, t == IR_I32 ? IR_zext32 : IR_mov, IR_I64, ir_slot(rnd_below(2) ? 9 : 10), d);
    if (rnd_below(2) && ir_tag(a) == IR_VAL)    /* an operand that lives on */
        ir_op1(&unit, t == IR_I32 ? IR_zext32 : IR_mov, IR_I64, ir_slot(12), a);
    finish_op();
    e = ir_check(&unit);
    if (e) {
        printf("%s\n", err_text(e));
        err_free(e);
        CHECK(!"a good unit");
        return;
    }
    for (int n = 0; n < 4 && bad == test_case_bad; n++) {
        state_random(&start);
        for (int r = 0; r < 7; r++)
            start.gpr[r] = rnd_edge();
        CHECK(machine_agree(m, &unit, &start));
    }
}

static void each_integer_op(void)
{
    for (IrOp op = IR_mov; op <= IR_clmulr; op++)
        for (IrType t = IR_I32; t <= IR_I64; t++) {
            int in = ir_ops[op].in;

            if (t == IR_I32 && (op == IR_sext32 || op == IR_zext32))
                continue;
            for (int wa = IN_PIN; wa <= IN_IMM; wa++)
                for (int wb = IN_PIN; wb <= (in > 1 ? IN_IMM : IN_PIN); wb++)
                    for (int wd = IN_PIN; wd <= (in > 1 ? AS_B : AS_A); wd++)
                        one_op(op, t, wa, wb, wd);
        }
}

/* Each float op on pinned and unpinned slots, with the destination apart or an operand's; many edge operands. */
static void one_float_op(IrOp op, IrType t, unsigned round, unsigned places)
{
    static State start;
    static const IrType others[] = { IR_F32, IR_F64, IR_F16 };
    int in = ir_ops[op].in, bad = test_case_bad;
    IrRef r[4], d, a;
    uint32_t x = op == IR_fcvt_ff ? others[rnd_below(3)] : op == IR_fcvt_fi || op == IR_fcvt_if ? rnd_below(4) : 0;

    for (int k = 0; k < 4; k++)         /* odd f registers below 20 are pinned */
        r[k] = ir_slot(SLOT_F + 2 * k + (places >> k & 1));
    d = places & 16 ? r[places >> 5 & (in > 1 ? 1 : 0)] : r[3];
    if ((op >= IR_feq && op <= IR_fclass) || op == IR_fcvt_if || op == IR_fmv_if)
        d = ir_slot(places & 16 ? 0 : 1);
    a = op == IR_fcvt_fi || op == IR_fmv_fi ? ir_slot(places & 1 ? 3 : 2) : r[0];
    ir_reset(&unit, UNIT_PC, 0);
    ir_mark(&unit, UNIT_PC, 4);
    ir_fp(&unit, op, t, round, d, a, in > 1 ? (places & 64 ? r[0] : r[1]) : IR_NONE, in > 2 ? r[2] : IR_NONE, x);
    if (op >= IR_feq && op <= IR_fle && rnd_below(2)) {
        ir_mark(&unit, UNIT_PC + 4, 4);
        ir_br(&unit, IR_I64, rnd_below(2), d, ir_imm(&unit, 0), UNIT_PC + 0x100);
    }
    ir_exit(&unit, EXIT_NEXT, UNIT_PC + 8);
    ir_finish(&unit);
    for (int n = 0; n < 40 && bad == test_case_bad; n++) {
        state_random(&start);
        if (rnd_below(3) == 0)
            start.fpr[2 + rnd_below(2)] = start.fpr[rnd_below(2)];      /* equal operands */
        env_set_round(m->env, rnd_below(FP_RMM));
        CHECK(machine_agree(m, &unit, &start));
    }
}

static void each_float_op(void)
{
    for (IrOp op = IR_fadd; op <= IR_fmv_if; op++)
        for (IrType t = IR_F16; t <= IR_F64; t++)
            for (int n = 0; n < (t == IR_F16 ? 4 : 60); n++)
                one_float_op(op, t, rnd_below(2) ? FP_DYN : rnd_below(5), (unsigned)rnd());
}

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
    RUN(each_integer_op);
    RUN(each_float_op);
    RUN(random_integer);
    RUN(random_float);
    ir_free(&unit);
    machine_free(m);
    return test_end();
}
