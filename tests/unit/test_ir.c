/* SPDX-License-Identifier: MIT */
/*
 * tcg/ir without running anything but constants: what the builders fold, what the parser
 * and the verifier refuse (one case for each rule), labels, Env's tables, and that
 * docs/ops.md is what the rows say.
 *
 *   test_ir --ops-doc     prints docs/ops.md anew
 */
#include <stdio.h>

#include "tests/ir/guest.h"
#include "tests/unit/test.h"

static IrUnit unit;

static void start(void)
{
    ir_free(&unit);
    ir_init(&unit, &test_guest);
    ir_reset(&unit, 0x1000, 0);
    ir_mark(&unit, 0x1000, 4);
}

enum { A0, A1, A2, A3 };
#define S(n) ir_slot(n)
#define IMM(v) ir_imm(&unit, v)

/* The unit's instructions from the first mark on, one a line, as printed. */
static const char *printed(void)
{
    static char text[1024];
    char line[256];

    text[0] = 0;
    for (int n = 1; n < unit.n; n++) {
        ir_print_insn(&unit, &unit.insns[n], line, sizeof(line));
        g_strlcat(text, line, sizeof(text));
        g_strlcat(text, n + 1 < unit.n ? "\n" : "", sizeof(text));
    }
    return text;
}

/* ---- builders */

static void test_fold(void)
{
    IrRef r;

    start();
    r = ir_op2(&unit, IR_add, IR_I64, IR_NEW, IMM(5), IMM(7));
    CHECK_EQ(ir_tag(r), IR_IMM);
    CHECK_EQ(ir_const(&unit, r), 12);
    ir_op2(&unit, IR_mul, IR_I64, S(A0), r, r);
    CHECK_STR(printed(), "@a0 = mov.64 #144");

    start();
    r = ir_op2(&unit, IR_add, IR_I32, IR_NEW, IMM(0x7fffffff), IMM(1));
    CHECK_EQ(ir_const(&unit, r), 0xffffffff80000000);
    r = ir_op1(&unit, IR_zext32, IR_I64, IR_NEW, r);
    CHECK_EQ(ir_const(&unit, r), 0x80000000);
    r = ir_width(&unit, IR_bext, IR_I64, IR_NEW, IMM(0xabcd), IR_NONE, 4, 8);
    CHECK_EQ(ir_const(&unit, r), 0xbc);
    r = ir_width(&unit, IR_shladd, IR_I64, IR_NEW, IMM(3), IMM(1), 2, 0);
    CHECK_EQ(ir_const(&unit, r), 13);
    r = ir_setcc(&unit, IR_I64, CC_LTU, IR_NEW, IMM(1), IMM(-1));
    CHECK_EQ(ir_const(&unit, r), 1);
    r = ir_op2(&unit, IR_divs, IR_I64, IR_NEW, IMM(1), IMM(0));
    CHECK_EQ(ir_const(&unit, r), -1);
    CHECK_STR(printed(), "");
}

static void test_identity(void)
{
    static const struct { IrOp op; uint64_t b; } same[] = {
        { IR_add, 0 }, { IR_sub, 0 }, { IR_or, 0 }, { IR_xor, 0 }, { IR_andn, 0 }, { IR_shl, 0 }, { IR_sar, 64 },
        { IR_and, -1 }, { IR_orn, -1 }, { IR_mul, 1 }, { IR_divu, 1 }, { IR_divs, 1 },
    };
    IrRef v;

    for (unsigned i = 0; i < G_N_ELEMENTS(same); i++) {
        start();
        ir_op2(&unit, same[i].op, IR_I64, S(A0), S(A1), IMM(same[i].b));
        CHECK_STR(printed(), "@a0 = mov.64 @a1");
        start();
        ir_op2(&unit, same[i].op, IR_I64, S(A0), S(A0), IMM(same[i].b));
        CHECK_STR(printed(), "");
    }
    /* a value is passed on; a slot is copied, as it may be written before the copy is used */
    start();
    v = ir_op2(&unit, IR_add, IR_I64, IR_NEW, S(A1), S(A2));
    CHECK_EQ(ir_op2(&unit, IR_add, IR_I64, IR_NEW, v, IMM(0)), v);
    CHECK_EQ(ir_op1(&unit, IR_mov, IR_I64, IR_NEW, v), v);
    ir_op1(&unit, IR_mov, IR_I64, IR_NEW, S(A1));
    CHECK_STR(printed(), "%0 = add.64 @a1, @a2\n%1 = mov.64 @a1");
    start();
    ir_op2(&unit, IR_and, IR_I64, S(A0), S(A1), IMM(0));
    ir_op2(&unit, IR_and, IR_I32, IR_NEW, S(A1), IMM(UINT32_MAX));
    CHECK_STR(printed(), "@a0 = mov.64 #0\n%0 = mov.32 @a1");
}

static void test_order(void)
{
    start();
    ir_op2(&unit, IR_add, IR_I64, S(A0), IMM(5), S(A1));
    ir_op2(&unit, IR_sub, IR_I64, S(A0), IMM(5), S(A1));
    ir_setcc(&unit, IR_I64, CC_LT, S(A0), IMM(5), S(A1));
    ir_br(&unit, IR_I64, CC_GEU, IMM(5), S(A1), 0x1000);
    CHECK_STR(printed(), "@a0 = add.64 @a1, #5\n@a0 = sub.64 #5, @a1\n@a0 = setcc.64.gt @a1, #5\n"
                         "br.64.leu @a1, #5, 0x1000");
}

static void test_select(void)
{
    start();
    ir_op3(&unit, IR_select, IR_I64, S(A0), IMM(0), S(A1), S(A2));
    ir_op3(&unit, IR_select, IR_I64, S(A0), IMM(2), S(A1), S(A2));
    ir_op3(&unit, IR_select, IR_I64, S(A0), S(A3), S(A1), S(A1));
    ir_op3(&unit, IR_select, IR_I64, S(A0), S(A3), S(A1), IMM(0));
    CHECK_STR(printed(), "@a0 = mov.64 @a2\n@a0 = mov.64 @a1\n@a0 = mov.64 @a1\n@a0 = select.64 @a3, @a1, #0");
}

static void test_addresses(void)
{
    IrRef a, b;

    start();
    a = ir_op2(&unit, IR_add, IR_I64, IR_NEW, ir_pcimm(&unit, 0x1000), IMM(0x234));
    CHECK_EQ(ir_tag(a), IR_PCIMM);
    CHECK_EQ(ir_const(&unit, a), 0x1234);
    a = ir_op2(&unit, IR_add, IR_I64, IR_NEW, IMM(-4), a);
    CHECK_EQ(ir_tag(a), IR_PCIMM);
    CHECK_EQ(ir_const(&unit, a), 0x1230);
    b = ir_op2(&unit, IR_sub, IR_I64, IR_NEW, a, ir_pcimm(&unit, 0x1200));
    CHECK_EQ(ir_tag(b), IR_IMM);
    CHECK_EQ(ir_const(&unit, b), 0x30);
    /* other ops don't fold: the result would not move with the code */
    ir_op2(&unit, IR_and, IR_I64, S(A0), a, IMM(-16));
    ir_op1(&unit, IR_sext32, IR_I64, S(A0), a);
    CHECK_STR(printed(), "@a0 = and.64 pc:0x1230, #-16\n@a0 = sext32.64 pc:0x1230");
}

static void test_branches(void)
{
    start();
    ir_br(&unit, IR_I64, CC_EQ, IMM(1), IMM(2), 0x1000);
    CHECK_STR(printed(), "");
    ir_br(&unit, IR_I64, CC_NE, IMM(1), IMM(2), 0x1000);
    CHECK_STR(printed(), "br.64.eq #0, #0, 0x1000");
}

/* Nothing that may fault is dropped, whatever its operands. */
static void test_faults_stay(void)
{
    start();
    ir_ld(&unit, IR_I64, IR_NEW, IMM(0), 0, MO_64);
    ir_st(&unit, IR_I64, IMM(0), 8, IMM(0), MO_64);
    ir_amo(&unit, IR_I64, AMO_OR, IR_NEW, S(A0), IMM(0), MO_64);
    ir_call(&unit, 2, IR_NEW, IMM(0), IMM(0), IR_NONE);
    CHECK_STR(printed(), "%0 = ld.64 #0, u8\nst.64 #0, #0, +8 u8\n%1 = amo.64.or @a0, #0, u8\n"
                         "%2 = call trap(#0, #0)");
}

static void test_labels(void)
{
    start();
    ir_br(&unit, IR_I64, CC_EQ, S(A0), IMM(0), 0x1008);
    ir_mark(&unit, 0x1004, 4);
    ir_callpc(&unit, 0x5000, 0x100c);
    ir_mark(&unit, 0x1008, 4);
    ir_goind(&unit, IND_CALL, S(A0), 0x1010);
    ir_mark(&unit, 0x100c, 4);
    ir_mark(&unit, 0x1010, 4);
    ir_mark(&unit, 0x1014, 4);
    ir_gopc(&unit, 0x1004);
    ir_finish(&unit);
    for (int m = 0; m < unit.nmarks; m++) {
        CHECK_EQ(ir_find_mark(&unit, 0x1000 + 4 * m), m);
        CHECK_EQ(!!(unit.insns[unit.marks[m]].x & MARK_LABEL), m >= 1 && m <= 4);
    }
    CHECK_EQ(ir_find_mark(&unit, 0x1002), -1);
    CHECK_EQ(ir_find_mark(&unit, 0x1018), -1);
    CHECK_EQ(ir_find_mark(&unit, 0), -1);
}

static void test_marks_unordered(void)
{
    start();
    ir_gopc(&unit, 0x800);
    ir_mark(&unit, 0x800, 4);
    ir_gopc(&unit, 0x1000);
    ir_finish(&unit);
    CHECK_EQ(ir_find_mark(&unit, 0x800), 1);
    CHECK_EQ(ir_find_mark(&unit, 0x1000), 0);
    CHECK_EQ(ir_find_mark(&unit, 0x804), -1);
    CHECK(ir_check(&unit) == NULL);
}

/* ---- parser */

static const struct { const char *text, *why; } not_parsed[] = {
    { "", "no unit" },
    { "mark 0x1000, 4", "'unit'" },
    { "unit riscv64 0x1000", "not a unit of guest test" },
    { "unit test 0x1000\n mark 0x1004, 4", "line 2: the first mark is not the unit's pc" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = ad.64 @a1, @a2", "line 3: 'ad' is no op" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.65 @a1, @a2", "'65' is no type" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = add @a1, @a2", "'.'" },
    { "unit test 0x1000\n mark 0x1000, 4\n @b0 = add.64 @a1, @a2", "no slot 'b0'" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.64 @a1", "','" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.64 @a1, @a2, @a3", "more than expected" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.64 @a1, 5", "not an operand" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.64 @a1, #x", "not a number" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.64 @a1, %99999999", "value number too large" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = setcc.64.xx @a1, @a2", "'xx' is no detail" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = ld.64 @a1, u3", "sizes are" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = ld.64 @a1, x4", "'u'" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = ld.64 @a1, u4 ctx16", "number too large" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = ld.64 @a1, u4 fast", "unknown word" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = call none()", "no helper 'none'" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = call sum(#1, #2, #3, #4)", "more than 3" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = call sum(#1, #2", "')'" },
    { "unit test 0x1000\n mark 0x1000, 4\n exit somewhere 0x1000", "'somewhere' is no reason" },
    { "unit test 0x1000\n mark 0x1000, 4\n goind call @a0", "','" },
    { "unit test 0x1000\n mark 0x1000, 300\n", "too long" },
    { "unit test 0x1000\n mark 0x1000, 4\n @a0 = fcvt_if.f64 @f0, s16", "'s16' is no format" },
};

static void test_parser_refuses(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(not_parsed); i++) {
        Err *e;

        ir_free(&unit);
        ir_init(&unit, &test_guest);
        e = ir_parse(&unit, not_parsed[i].text);
        if (!e || !strstr(err_text(e), not_parsed[i].why))
            printf("'%s': got '%s', want '%s'\n", not_parsed[i].text, e ? err_text(e) : "(fine)", not_parsed[i].why);
        CHECK(e && strstr(err_text(e), not_parsed[i].why));
        err_free(e);
    }
}

/* ---- verifier: each body stands between the first mark and an exit, unless it ends by itself */

static const struct { const char *body, *why; } not_checked[] = {
    { "@a0 = add.64 %0, #1", "not defined" },
    { "%0 = mov.64 @a0\n mark 0x1004, 4\n @a0 = add.64 %0, #1", "not defined" },
    { "%0 = mov.64 @a0\n %0 = mov.64 @a1", "defined twice" },
    { "%0 = mov.64 @a0\n mark 0x1004, 4\n %0 = mov.64 @a1", "defined twice" },
    { "@a0 = mov.64 #1\n %0 = ld.64 @a1, u8", "may fault after a slot was written" },
    { "@a0 = mov.64 #1\n st.64 @a1, #0, u8", "may fault after a slot was written" },
    { "@a0 = mov.64 #1\n poll 0x1000", "may fault after a slot was written" },
    { "@a0 = mov.64 #1\n @a1 = call trap(#1, #2)", "may fault after a slot was written" },
    { "gopc 0x1000\n @a0 = mov.64 #1", "cannot be reached" },
    { "exit next 0x1000\n gopc 0x2000", "cannot be reached" },
    { "mark 0x1000, 4", "two marks" },
    { "mark 0x1004, 0", "no bytes" },
    { "add.64 @a0, @a1", "neither slot nor value" },
    { "@a0 = st.64 @a0, @a1, u8", "no destination" },
    { "@a0 = add.32 @a1, @a2", "wider than a 32-bit result" },
    { "@w0 = add.64 @a1, @a2", "narrower than the result" },
    { "%0 = add.32 @a1, @a2\n @a0 = add.64 %0, #1", "no upper half" },
    { "@a0 = add.64 @w0, #1", "no upper half" },
    { "%0 = mov.32 @a1\n @a0 = ld.64 %0, u8", "no upper half" },
    { "%0 = mov.32 @a1\n st.64 @a0, %0, u8", "no upper half" },
    { "%0 = mov.32 @a1\n goind jump %0", "no upper half" },
    { "%0 = mov.32 @a1\n @a0 = call sum(%0, %0, %0)", "extend the operand" },
    { "%0 = mov.32 @a1\n @a0 = bext.64 %0, 30:3", "no upper half" },
    { "@a0 = add.64 @f0, #1", "a float where an integer" },
    { "@a0 = add.f64 @f0, @f1", "not an integer type" },
    { "@f0 = fadd.64 @f0, @f1", "not a float type" },
    { "@f0 = fadd.f64 @f0, @a1", "an integer where a float" },
    { "@f0 = fadd.f64 @f0, #1", "an integer where a float" },
    { "@f0 = add.64 @a0, @a1", "mixed" },
    { "@a0 = fadd.f64 @f0, @f1", "mixed" },
    { "@f0 = feq.f64 @f0, @f1", "mixed" },
    { "%0 = fadd.f32 @f0, @f1\n @f0 = fadd.f64 %0, @f1", "another format" },
    { "@a0 = zext32.32 @a1", "the width that it has" },
    { "br.f64.eq @f0, @f1, 0x1000", "comparisons are of integers" },
    { "@a0 = ld.64 @a1, u16", "not supported" },
    { "@a0 = ld.64 @a1, u8 ctx8", "no such MMU context" },
    { "%0 = ld.32 @a1, u8", "wider than its type" },
    { "@f0 = ld.f64 @a1, u4", "as its format is" },
    { "@f0 = ld.f32 @a1, s4", "as its format is" },
    { "@f0 = amo.f64.swap @a1, @f1, u8", "are on integers" },
    { "@a0 = amo.64.add @a1, @a2, +8 u8", "no displacement" },
    { "@a0 = shladd.64 @a1, @a2, 4", "1 to 3" },
    { "@a0 = bext.64 @a1, 60:5", "not inside" },
    { "@a0 = bext.64 @a1, 6", "not inside" },
    { "%0 = bext.32 @a1, 30:4", "not inside" },
    { "@f0 = fcvt_ff.f64 @f1, f64", "no such conversion" },
    { "@f0 = fcvt_ff.f64 @f1, 32", "no such conversion" },
    { "@a0 = call sum(@a1, @a2)", "wrong number of operands" },
    { "@a0 = call seven(@a1)", "wrong number of operands" },
    { "exit fault 0x1000", "no such reason" },
    { "exit link 0x1000", "no such reason" },
};

static void test_verifier_refuses(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(not_checked); i++) {
        const char *body = not_checked[i].body;
        g_autofree char *text = g_strdup_printf("unit test 0x1000\n mark 0x1000, 4\n %s\n mark 0x1010, 4\n exit next 0x1014",
                                                body);
        Err *e;

        ir_free(&unit);
        ir_init(&unit, &test_guest);
        e = ir_parse(&unit, text);
        if (!e)
            e = ir_check(&unit);
        if (!e || !strstr(err_text(e), not_checked[i].why))
            printf("'%s': got '%s', want '%s'\n", body, e ? err_text(e) : "(fine)", not_checked[i].why);
        CHECK(e && strstr(err_text(e), not_checked[i].why));
        err_free(e);
    }
}

/* What text cannot say: breaks one field of a good unit at a time. */

static void make_good(void)
{
    start();
    ir_op2(&unit, IR_add, IR_I64, S(A0), S(A1), IMM(5));
    ir_exit(&unit, EXIT_NEXT, 0x1004);
    ir_finish(&unit);
}

static void refused(const char *why)
{
    Err *e = ir_check(&unit);

    if (!e || !strstr(err_text(e), why))
        printf("got '%s', want '%s'\n", e ? err_text(e) : "(fine)", why);
    CHECK(e && strstr(err_text(e), why));
    err_free(e);
    make_good();
}

static void test_verifier_fields(void)
{
    make_good();
    CHECK(ir_check(&unit) == NULL);
    unit.insns[1].op = IR_OPS;
    refused("no such op");
    unit.insns[1].a = ir_slot(TEST_SLOTS);
    refused("no such slot");
    unit.insns[1].d = ir_slot(TEST_SLOTS);
    refused("no such slot");
    unit.insns[1].b = ir_ref(IR_IMM, 1);
    refused("no such constant");
    unit.insns[1].a = ir_ref(IR_VAL, 0);
    refused("not defined");
    unit.insns[1].d = ir_ref(IR_VAL, 0);
    refused("no such value");
    unit.insns[1].d = ir_imm(&unit, 0);
    refused("neither slot nor value");
    unit.insns[1].b = IR_NONE;
    refused("wrong number of operands");
    unit.insns[1].a = IR_NONE;
    refused("wrong number of operands");
    unit.insns[1].c = ir_slot(0);
    refused("wrong number of operands");
    unit.insns[1].type = IR_VOID;
    refused("not an integer type");
    unit.insns[1].op = IR_setcc;
    unit.insns[1].aux = 10;
    refused("no such condition");
    unit.insns[1] = (IrInsn){ .op = IR_amo, .type = IR_I64, .aux = 9, .d = S(A0), .a = S(A1), .b = S(A2), .x = MO_64 };
    refused("no such atomic operation");
    unit.insns[1] = (IrInsn){ .op = IR_fadd, .type = IR_F64, .aux = 5, .d = S(A0), .a = S(A1), .b = S(A2) };
    refused("no such rounding");
    unit.insns[1] = (IrInsn){ .op = IR_fcvt_fi, .type = IR_F64, .x = 4, .d = S(A0), .a = S(A1) };
    refused("no such integer format");
    unit.insns[1] = (IrInsn){ .op = IR_call, .type = IR_I64, .x = TEST_HELPERS };
    refused("no such helper");
    unit.insns[1] = (IrInsn){ .op = IR_call, .type = IR_I32, .x = 1 };
    refused("return 64 bits");
    unit.insns[1] = (IrInsn){ .op = IR_fence, .type = IR_VOID, .aux = 2 };
    refused("no such fence");
    unit.insns[1] = (IrInsn){ .op = IR_goind, .type = IR_I64, .aux = 3, .a = S(A0) };
    refused("no such kind");
    unit.insns[2].aux = 77;
    refused("no such reason");
    unit.n = 2;
    refused("falls through");
    unit.n = 0;
    refused("falls through");
    unit.insns[0].op = IR_fence;
    refused("before the first mark");
    unit.nmarks = 0;
    refused("does not have it");
    unit.pc = 0x1004;
    refused("not the unit's pc");
}

/* ---- Env */

static void test_env_tlb(void)
{
    Env *env = test_env_new();
    uint64_t va = 0x123456000;
    TlbEntry *e = &env->tlb[2][tlb_index(va)];

    CHECK((va ^ e->rt) > 4095 && (va ^ e->wt) > 4095);
    e->rt = e->wt = va;
    env->tlb_used[2][tlb_index(va) / 64] |= (uint64_t)1 << tlb_index(va) % 64;
    env_tlb_clear_page(env, 2, va + (1 << 23));     /* the same entry, another page */
    CHECK_EQ(e->rt, va);
    env_tlb_clear_page(env, 1, va);
    CHECK_EQ(e->rt, va);
    env_tlb_clear_page(env, 2, va + 5);
    CHECK((va ^ e->rt) > 4095 && (va ^ e->wt) > 4095);
    e->wt = va;
    env->tlb_used[2][tlb_index(va) / 64] |= (uint64_t)1 << tlb_index(va) % 64;
    env_tlb_clear(env, 1);
    CHECK_EQ(e->wt, va);
    env_tlb_clear(env, 2);
    CHECK((va ^ e->wt) > 4095);
    for (unsigned w = 0; w < TLB_SIZE / 64; w++)
        CHECK_EQ(env->tlb_used[2][w], 0);
    for (unsigned i = 0; i < JC_SIZE; i++)
        if (env->jc[i].key != JC_EMPTY)
            CHECK(!"an entry of a new jump cache is not empty");
    free(env);
}

static void test_env_fp(void)
{
    Env *env = test_env_new();

    CHECK_EQ(env_fp_flags(env), 0);
    CHECK_EQ(env->mxcsr_guest, 0x1f80);
    env->mxcsr_guest |= 0x3f;                       /* DE (2) is no guest flag */
    CHECK_EQ(env_fp_flags(env), 31);
    env->mxcsr_guest = 0x1f80 | 4;
    env->fp_flags = 1;
    CHECK_EQ(env_fp_flags(env), 9);
    env_set_round(env, FP_RUP);
    CHECK_EQ(env->mxcsr_guest, 0x5f84);             /* rounding changes, flags stay */
    env_set_fp_flags(env, 2);
    CHECK_EQ(env_fp_flags(env), 2);
    CHECK_EQ(env->mxcsr_guest, 0x5f80);
    env_set_round(env, FP_RTZ);
    CHECK_EQ(env->mxcsr_guest, 0x7f80);
    env_set_round(env, FP_RDN);
    CHECK_EQ(env->mxcsr_guest, 0x3f80);
    env_set_round(env, FP_RMM);
    CHECK_EQ(env->mxcsr_guest, 0x1f80);
    CHECK_EQ(env->fp_round, FP_RMM);
    free(env);
}

/* ---- the interpreter's limits */

static void test_max_marks(void)
{
    Env *env = test_env_new();
    Err *e;
    IrProg *p;

    ir_free(&unit);
    ir_init(&unit, &test_guest);
    e = ir_parse(&unit, "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.64 @a0, #1\n mark 0x1004, 2\n"
                        "@a0 = add.64 @a0, #10\n gopc 0x1000");
    CHECK(!e);
    p = ir_interp_prepare(&unit);
    env->gpr[0] = 0;
    CHECK_EQ(ir_interp_run(p, env, 0, 0), EXIT_NEXT);
    CHECK_EQ(env->pc, 0x1000);
    CHECK_EQ(env->gpr[0], 0);
    CHECK_EQ(ir_interp_run(p, env, 0, 1), EXIT_NEXT);
    CHECK_EQ(env->pc, 0x1004);
    CHECK_EQ(env->gpr[0], 1);
    CHECK_EQ(ir_interp_run(p, env, 1, 4), EXIT_NEXT);
    CHECK_EQ(env->pc, 0x1004);
    CHECK_EQ(env->gpr[0], 1 + 10 + 1 + 10 + 1);
    CHECK_EQ(ir_prog_mark(p, 0x1004), 1);
    CHECK_EQ(ir_prog_mark(p, 0x1002), -1);
    ir_interp_free(p);
    free(env);
}

/* ---- docs/ops.md */

static const char *const shape_words[] = {
    "", "condition", "memory", "memory, op", "pc", "condition, pc", "pc, length", "helper", "pc or address",
    "reason, pc", "rounding", "kind", "bit, length",
};

static char *ops_doc(void)
{
    static const struct { unsigned flag; const char *word; } flags[] = {
        { IRF_COMMUTES, "commutes" }, { IRF_MEM_R, "reads memory" }, { IRF_MEM_W, "writes memory" },
        { IRF_FAULT, "may leave" }, { IRF_END, "ends a block" }, { IRF_FLAGS_FP, "accrues flags" },
    };
    GString *s = g_string_new("# The IR's operations\n\nMade from the rows of `tcg/ir/ops.h` by `test_ir --ops-doc`; "
                              "change those. The text form is in `tcg/ir/README.md`,\nthe rules are in `tcg/ir/ir.h`.\n\n"
                              "| op | operands | fields | meaning | |\n|---|---|---|---|---|\n");

    for (int op = 0; op < IR_OPS; op++) {
        const IrOpInfo *i = &ir_ops[op];
        const char *comma = "";
        g_auto(GStrv) parts = g_strsplit(i->meaning, "|", -1);
        g_autofree char *meaning = g_strjoinv("\\|", parts);

        g_string_append_printf(s, "| %s%s | %.*s | %s | %s | ", i->out ? "d = " : "", i->name,
                               i->in ? i->in * 3 - 2 : 0, "a, b, c", shape_words[i->shape], meaning);
        for (unsigned k = 0; k < G_N_ELEMENTS(flags); k++) {
            if (i->flags & flags[k].flag) {
                g_string_append_printf(s, "%s%s", comma, flags[k].word);
                comma = ", ";
            }
        }
        g_string_append(s, " |\n");
    }
    return g_string_free(s, FALSE);
}

static void test_ops_doc(void)
{
    const char *src = getenv("LYRE_SRC");
    g_autofree char *path = g_build_filename(src ? src : ".", "docs/ops.md", NULL);
    g_autofree char *now = ops_doc(), *file = NULL;

    g_file_get_contents(path, &file, NULL, NULL);
    if (!file || strcmp(file, now))
        printf("%s is not what the rows say: test_ir --ops-doc > docs/ops.md\n", path);
    CHECK(file && !strcmp(file, now));
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "--ops-doc")) {
        g_autofree char *doc = ops_doc();

        fputs(doc, stdout);
        return 0;
    }
    RUN(test_fold);
    RUN(test_identity);
    RUN(test_order);
    RUN(test_select);
    RUN(test_addresses);
    RUN(test_branches);
    RUN(test_faults_stay);
    RUN(test_labels);
    RUN(test_marks_unordered);
    RUN(test_parser_refuses);
    RUN(test_verifier_refuses);
    RUN(test_verifier_fields);
    RUN(test_env_tlb);
    RUN(test_env_fp);
    RUN(test_max_marks);
    RUN(test_ops_doc);
    ir_free(&unit);
    return test_end();
}
