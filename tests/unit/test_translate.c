/* SPDX-License-Identifier: MIT */
/*
 * target/translate.c with a toy guest: which instructions a unit takes, in what
 * order, how it ends. A toy instruction is an opcode byte, its length (2 or 4) and,
 * when that is 4, a signed 16-bit distance from its own address.
 */
#include "tests/ir/guest.h"
#include "tests/unit/test.h"
#include "target/isa.h"

static uint8_t page[2 * 4096];
static IrUnit unit;
static unsigned lo, hi;
static int covered;

static StepResult toy_step(Tr *t)
{
    unsigned len = t->avail >= 2 ? t->code[1] : 2;
    uint64_t target;

    ir_mark(t->ir, t->pc, len);         /* as a front end may: the mark comes before the bytes are looked at */
    if (t->avail < len)
        return STEP_NEED_BYTES;
    t->next = t->pc + len;
    target = t->pc + (len == 4 ? (int16_t)(t->code[2] | t->code[3] << 8) : 0);
    switch (t->code[0]) {
    case 'b':
        ir_br(t->ir, IR_I64, CC_EQ, ir_slot(0), ir_imm(t->ir, 0), target);
        return STEP_OK;
    case 'j':
        ir_gopc(t->ir, target);
        break;
    case 'c':
        ir_callpc(t->ir, target, t->next);
        break;
    case 'i':
        ir_goind(t->ir, IND_CALL, ir_slot(1), t->next);
        break;
    case 'r':
        ir_goind(t->ir, IND_RET, ir_slot(1), 0);
        break;
    case 'x':
        ir_exit(t->ir, EXIT_FLUSH, t->next);
        break;
    default:
        ir_op2(t->ir, IR_add, IR_I64, ir_slot(0), ir_slot(0), ir_imm(t->ir, 1));
        return STEP_OK;
    }
    t->ended = true;
    return STEP_OK;
}

static const Isa toy = { .name = "toy", .ir = &test_guest, .step = toy_step, .max_insn = 4 };

static void put(unsigned off, char op, unsigned len, int target)
{
    int16_t rel = target - (int)off;

    page[off] = op;
    page[off + 1] = len;
    if (len == 4)
        memcpy(page + off + 2, &rel, 2);
}

/* A page of two-byte instructions that do nothing special. */
static void blank(void)
{
    for (unsigned off = 0; off < sizeof(page); off += 2)
        put(off, 'n', 2, 0);
}

static const TranslateLimits wide = { .max_insns = 512, .max_blocks = 64 };

/*
 * The unit at page offset `pc`, as the offsets of its marks, a label marked by ':', and what
 * its last op is.
 */
static const char *form(unsigned pc, const uint8_t *next_page, TranslateLimits lim)
{
    static char out[4096];
    Vcpu v = { .isa = &toy };
    char *p = out, *end = out + sizeof(out);
    Err *e;

    ir_free(&unit);
    ir_init(&unit, &test_guest);
    covered = translate_unit(&v, &unit, 0x10000 + pc, 5, page, next_page, lim, &lo, &hi);
    out[0] = 0;
    if (!covered)
        return out;
    CHECK_EQ(unit.pc, 0x10000 + pc);
    CHECK_EQ(unit.mode, 5);
    CHECK_EQ(covered, hi - lo);
    for (int m = 0; m < unit.nmarks && end - p > 64; m++) {
        const IrInsn *i = &unit.insns[unit.marks[m]];

        p += snprintf(p, end - p, "%s%x%s", m ? " " : "", (unsigned)i->imm - 0x10000, i->x & MARK_LABEL ? ":" : "");
    }
    snprintf(p, end - p, " %s", ir_ops[unit.insns[unit.n - 1].op].name);
    e = ir_check(&unit);
    if (e)
        printf("%s\n", err_text(e));
    CHECK(!e);
    err_free(e);
    return out;
}

static uint64_t last_pc(void)
{
    return unit.insns[unit.n - 1].imm;
}

static void test_straight(void)
{
    blank();
    put(4, 'r', 2, 0);
    CHECK_STR(form(0, NULL, wide), "0 2 4 goind");
    CHECK_EQ(lo, 0);
    CHECK_EQ(hi, 6);
    CHECK_STR(form(2, NULL, wide), "2 4 goind");
    CHECK_EQ(lo, 2);
    put(4, 'x', 2, 0);
    CHECK_STR(form(0, NULL, wide), "0 2 4 exit");
}

static void test_loop(void)
{
    blank();
    put(4, 'b', 4, 2);          /* back into the unit */
    put(8, 'j', 4, 0x100);
    put(0x100, 'r', 2, 0);
    CHECK_STR(form(0, NULL, wide), "0 2: 4 8 100: goind");
    CHECK_EQ(hi, 0x102);
    /* entered behind the loop's head, the branch leaves */
    CHECK_STR(form(4, NULL, wide), "4 8 100: goind");
}

static void test_forward_targets(void)
{
    blank();
    put(0, 'b', 4, 0x40);
    put(4, 'b', 4, 0x20);
    put(8, 'r', 2, 0);
    put(0x20, 'r', 2, 0);
    put(0x40, 'r', 2, 0);
    CHECK_STR(form(0, NULL, wide), "0 4 8 20: 40: goind");      /* the lowest first */
    put(0x20, 'j', 4, 0x2000);                                  /* beyond the page */
    CHECK_STR(form(0, NULL, wide), "0 4 8 20: 40: goind");
    put(0x20, 'j', 4, -0x10);                                   /* before the page */
    CHECK_STR(form(0, NULL, wide), "0 4 8 20: 40: goind");
    put(0x20, 'j', 4, 4);                                       /* inside, already there */
    CHECK_STR(form(0, NULL, wide), "0 4: 8 20: 40: goind");
}

static void test_calls_continue(void)
{
    blank();
    put(2, 'c', 4, 0x2000);
    put(6, 'i', 2, 0);
    put(10, 'r', 2, 0);
    CHECK_STR(form(0, NULL, wide), "0 2 6: 8: a goind");
    put(2, 'c', 4, 0x80);       /* the callee is in the page: it comes too */
    put(0x80, 'r', 2, 0);
    CHECK_STR(form(0, NULL, wide), "0 2 6: 8: a 80: goind");
}

static void test_into_the_middle(void)
{
    blank();
    put(0, 'b', 4, 6);          /* into the middle of the next but one */
    put(4, 'n', 4, 0);
    put(8, 'r', 2, 0);
    CHECK_STR(form(0, NULL, wide), "0 4 8 goind");
    CHECK_EQ(ir_find_mark(&unit, 0x10006), -1);
}

static void test_limits(void)
{
    TranslateLimits lim = wide;

    blank();
    lim.max_insns = 3;
    CHECK_STR(form(0, NULL, lim), "0 2 4 gopc");
    CHECK_EQ(last_pc(), 0x10006);
    CHECK_EQ(hi, 6);
    lim = wide;
    lim.one_insn = true;
    CHECK_STR(form(0, NULL, lim), "0 gopc");
    CHECK_EQ(last_pc(), 0x10002);
    put(0, 'r', 2, 0);
    CHECK_STR(form(0, NULL, lim), "0 goind");

    blank();
    put(0, 'b', 4, 0x20);
    put(4, 'b', 4, 0x20);
    put(8, 'b', 4, 0x20);
    lim = wide;
    lim.max_blocks = 2;
    CHECK_STR(form(0, NULL, lim), "0 4 gopc");
    CHECK_EQ(last_pc(), 0x10008);
    lim = wide;
    lim.single_block = true;
    CHECK_STR(form(0, NULL, lim), "0 gopc");
    put(0, 'c', 4, 0x20);
    CHECK_STR(form(0, NULL, lim), "0 callpc");
    lim = wide;
    lim.max_insns = 1;          /* the limit falls on an end: nothing is added */
    CHECK_STR(form(0, NULL, lim), "0 callpc");
}

static void test_page_end(void)
{
    blank();
    CHECK_STR(form(0xffc, NULL, wide), "ffc ffe gopc");
    CHECK_EQ(last_pc(), 0x11000);
    CHECK_EQ(hi, 0x1000);
    put(0xffe, 'r', 2, 0);
    CHECK_STR(form(0xffc, NULL, wide), "ffc ffe goind");
}

static void test_crossing(void)
{
    blank();
    put(0xffe, 'n', 4, 0);
    CHECK_STR(form(0xffa, page + 4096, wide), "ffa ffc gopc");       /* ends before it */
    CHECK_EQ(last_pc(), 0x10ffe);
    CHECK_EQ(hi, 0xffe);
    CHECK_STR(form(0xffe, page + 4096, wide), "ffe gopc");           /* alone */
    CHECK_EQ(last_pc(), 0x11002);
    CHECK_EQ(hi, 0x1002);
    CHECK_STR(form(0xffe, NULL, wide), "");
    CHECK_EQ(unit.n, 0);
    CHECK_EQ(unit.nmarks, 0);
    /* reached by a branch behind an end: left to another unit */
    put(0xff0, 'b', 4, 0xffe);
    put(0xff4, 'r', 2, 0);
    CHECK_STR(form(0xff0, page + 4096, wide), "ff0 ff4 goind");
    put(0xffe, 'c', 4, 0x100);
    CHECK_STR(form(0xffe, page + 4096, wide), "ffe callpc");
}

/* A whole page of branches: no limit but the page. */
static void test_many(void)
{
    TranslateLimits lim = { .max_insns = 100000, .max_blocks = 100000 };

    for (unsigned off = 0; off < 4096; off += 4)
        put(off, off % 8 ? 'b' : 'c', 4, 0xffc);
    form(0, NULL, lim);
    CHECK_EQ(unit.nmarks, 1024);
    CHECK_EQ(hi, 4096);
}

int main(void)
{
    RUN(test_straight);
    RUN(test_loop);
    RUN(test_forward_targets);
    RUN(test_calls_continue);
    RUN(test_into_the_middle);
    RUN(test_limits);
    RUN(test_page_end);
    RUN(test_crossing);
    RUN(test_many);
    ir_free(&unit);
    return test_end();
}
