/* SPDX-License-Identifier: MIT */
/*
 * The table of RISC-V instructions, row by row: random words of each row are
 * decoded, encoded again by the table's own description of the fields (which the
 * decoder doesn't use), and printed. With "--list SEED N", prints N random
 * instructions of each row as "word TAB text", for comparison with other disassemblers.
 */
#include <stdlib.h>

#include "target/riscv/front.h"
#include "target/riscv/insn.h"
#include "tests/unit/test.h"

static uint64_t seed = 0x243f6a8885a308d3;

static uint32_t decode_one(const char *name, uint32_t w, uint64_t exts, RvInsn *i)
{
    bool ok = rv_decode(w, exts, i);

    if (!ok || strcmp(rv_rows[i->row].name, name)) {
        printf("%#x is %s, want %s\n", w, ok ? rv_rows[i->row].name : "illegal", name);
        test_case_bad++;
    }
    return i->bits;
}

static void check_text(uint32_t w, bool aliases, const char *want)
{
    char text[128];
    RvInsn i;

    CHECK(rv_decode(w, UINT64_MAX, &i));
    rv_print(text, sizeof(text), &i, 0x1000, aliases);
    CHECK_STR(text, want);
}

/* Every row: what is encoded from the decoded members is the word it came from. */
static void round_trip(void)
{
    for (unsigned row = 1; row < RV_OPS; row++) {
        for (int n = 0; n < 200; n++) {
            RvInsn i, again;
            char text[128];

            if (!rv_random(row, UINT64_MAX, &seed, NULL, NULL, &i)) {
                printf("no word of row %s was found\n", rv_rows[row].name);
                test_case_bad++;
                break;
            }
            if (rv_encode(row, &i) != i.bits) {
                printf("%s: %#x decoded and encoded is %#x\n", rv_rows[row].name, i.bits, rv_encode(row, &i));
                test_case_bad++;
            }
            decode_one(rv_rows[row].name, i.bits, UINT64_MAX, &again);
            CHECK(rv_print(text, sizeof(text), &i, 0, false) > 0 && !strchr(text, '{'));
            CHECK(rv_print(text, sizeof(text), &i, 0, true) > 0 && !strchr(text, '{'));
        }
    }
}

/* A compressed word and the base word that it stands for have the same members. */
static void expansions(void)
{
    for (unsigned row = 1; row < RV_OPS; row++) {
        unsigned base = rv_rows[row].base;

        if (base == row)
            continue;
        CHECK_EQ(rv_rows[row].len, 2);
        for (int n = 0; n < 50; n++) {
            RvInsn c, b;
            uint32_t w;

            CHECK(rv_random(row, UINT64_MAX, &seed, NULL, NULL, &c));
            w = rv_encode(base, &c);
            CHECK(rv_decode(w, UINT64_MAX, &b));
            if (b.op != base && base != RV_OP_add && base != RV_OP_mop_r_n) {
                printf("%s expands to %s\n", rv_rows[row].name, rv_rows[b.op].name);
                test_case_bad++;
            }
            if (b.rd != c.rd || b.rs1 != c.rs1 || b.rs2 != c.rs2 || b.imm != c.imm) {
                printf("%s %#x: members differ from %s %#x\n", rv_rows[row].name, c.bits, rv_rows[base].name, w);
                test_case_bad++;
            }
        }
    }
}

/* Words whose meaning is written in the manual. */
static void known_words(void)
{
    RvInsn i;

    decode_one("addi", 0x00a50513, UINT64_MAX, &i);
    CHECK_EQ(i.rd, 10);
    CHECK_EQ(i.rs1, 10);
    CHECK_EQ(i.imm, 10);
    decode_one("jal", 0xfddff06f, UINT64_MAX, &i);
    CHECK_EQ(i.imm, -36);
    decode_one("beq", 0xfe0508e3, UINT64_MAX, &i);
    CHECK_EQ(i.imm, -16);
    decode_one("sd", 0xfe813c23, UINT64_MAX, &i);
    CHECK_EQ(i.imm, -8);
    decode_one("lui", 0x800002b7, UINT64_MAX, &i);
    CHECK_EQ(i.imm, INT32_MIN);
    decode_one("pause", 0x0100000f, UINT64_MAX, &i);
    decode_one("fence", 0x0ff0000f, UINT64_MAX, &i);
    decode_one("c.ebreak", 0x9002, UINT64_MAX, &i);
    CHECK_EQ(i.op, RV_OP_ebreak);
    decode_one("c.addi4spn", 0x0800, UINT64_MAX, &i);
    CHECK_EQ(i.rs1, 2);
    CHECK_EQ(i.imm, 16);
    CHECK_EQ(i.rd, 8);
}

/* Reserved words, and rows whose extension is off. */
static void illegal_words(void)
{
    static const uint32_t words[] = {
        0x0000, 0xffffffff, 0x2001 /* c.addiw x0 */, 0x4002 /* c.lwsp x0 */, 0x8002 /* c.jr x0 */,
        0x6101 /* c.addi16sp 0 */, 0x9c7d /* no Zcb operation has 31 */, 0x302000f3 /* mret with rd */,
        0x0000705b /* custom-2 */, 0x04001013 /* slli with bit 26 */, 0x0020006b, 0x00000007 /* no such load */,
    };
    RvInsn i;

    for (unsigned n = 0; n < sizeof(words) / sizeof(words[0]); n++) {
        CHECK(!rv_decode(words[n], UINT64_MAX, &i));
        CHECK_EQ(i.len, (words[n] & 3) == 3 ? 4 : 2);
    }
    CHECK(rv_decode(0x02b50533, 1ull << RV_M, &i));             /* mul */
    CHECK(!rv_decode(0x02b50533, 0, &i));
    CHECK(rv_decode(0x4505, 1ull << RV_C, &i));                 /* c.li */
    CHECK(!rv_decode(0x4505, 0, &i));
    CHECK(rv_decode(0x40b57533, 1ull << RV_ZBKB, &i));          /* andn: either of two */
    CHECK(rv_decode(0x40b57533, 1ull << RV_ZBB, &i));
    CHECK(!rv_decode(0x40b57533, ~(1ull << RV_ZBB | 1ull << RV_ZBKB), &i));
    CHECK(!rv_decode(0x9c75, 1ull << RV_ZCB, &i));              /* Zcb without C */
    decode_one("fence", 0x0100000f, 0, &i);                     /* pause is a fence elsewhere */
    decode_one("add", 0x00200033, 0, &i);                       /* as ntl.p1 is an add */
}

static void text(void)
{
    check_text(0x00004463, true, "bltz zero, 0x1008");      /* two names fit: the one that others print */
    check_text(0x00005463, true, "blez zero, 0x1008");
    check_text(0x00a50513, true, "addi a0, a0, 10");
    check_text(0x00008067, true, "ret");
    check_text(0x00008067, false, "jalr zero, 0(ra)");
    check_text(0x8082, true, "ret");
    check_text(0x8082, false, "c.jr ra");
    check_text(0xfddff06f, true, "j 0xfdc");
    check_text(0x30002573, true, "csrr a0, mstatus");
    check_text(0x0ff0000f, true, "fence");
    check_text(0x0330000f, true, "fence rw, rw");
    check_text(0x1605252f, true, "lr.w.aqrl a0, (a0)");
    check_text(0x02b57553, true, "fadd.d fa0, fa0, fa1");
    check_text(0x02b51553, true, "fadd.d fa0, fa0, fa1, rtz");
    check_text(0x22b50553, true, "fsgnj.d fa0, fa0, fa1");
    check_text(0x22a50553, true, "fmv.d fa0, fa0");
    check_text(0xf01c0553, true, "fli.s fa0, 8");
}

/* Any 32 bits: the decoder neither crashes nor says things that its own table denies. */
static void any_word(void)
{
    for (int n = 0; n < 2000000; n++) {
        uint32_t w = rv_random_bits(&seed) >> 32;
        RvInsn i;

        if (!rv_decode(w, UINT64_MAX, &i))
            continue;
        const RvRow *r = &rv_rows[i.row];
        if ((i.bits & r->mask) != r->value || r->len != i.len || rv_encode(i.row, &i) != i.bits) {
            printf("%#x is not %s\n", w, r->name);
            test_case_bad++;
            return;
        }
    }
}

static void list(unsigned per_row)
{
    for (unsigned row = 1; row < RV_OPS; row++)
        for (unsigned n = 0; n < per_row; n++) {
            RvInsn i;
            char plain[128], alias[128];

            if (!rv_random(row, UINT64_MAX, &seed, NULL, NULL, &i))
                continue;
            rv_print(plain, sizeof(plain), &i, 0, false);
            rv_print(alias, sizeof(alias), &i, 0, true);
            printf("%s\t%d\t%08x\t%s\t%s\n", rv_rows[row].name, i.len, i.bits, plain, alias);
        }
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--list")) {
        seed = strtoull(argv[2], NULL, 0) * 2 + 1;
        list(atoi(argv[3]));
        return 0;
    }
    RUN(round_trip);
    RUN(expansions);
    RUN(known_words);
    RUN(illegal_words);
    RUN(text);
    RUN(any_word);
    return test_end();
}
