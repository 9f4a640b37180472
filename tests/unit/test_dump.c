/* SPDX-License-Identifier: MIT */
/*
 * accel/jit/dump: what -d in_asm,op,out_asm shows of a unit, and in which order.
 */
#include <glib.h>

#include "accel/jit/dump.h"
#include "tests/ir/engine.h"
#include "tests/unit/test.h"
#include "util/log.h"

static uint8_t page[4096];

/* Two-byte instructions; their text is their first byte. */
static int print(char *out, size_t size, const uint8_t *code, unsigned avail, uint64_t pc)
{
    if (avail < 2)
        return 0;
    snprintf(out, size, "insn %c", code[0]);
    return 2;
}

static const Isa toy = { .name = "toy", .ir = &test_guest, .print = print, .max_insn = 2 };

static const char source[] =
    "unit test 0x1000 mode 0x7\n mark 0x1000, 4\n @a0 = add.64 @a1, @a2\n mark 0x1004, 2\n @a3 = ld.64 @a0, u8 ctx1\n"
    "br.64.ne @a3, #0, 0x1000\n gopc 0x2000";

static const char *dumped(unsigned items, bool host)
{
    static char text[16384];
    X64Request r = {
        .base = jit.code, .hot = { jit.after_stubs, jit.code + JIT_COLD, 0 },
        .cold = { jit.code + JIT_COLD, jit.code + JIT_CODE, 0 }, .xt_id = 1, .listing = true,
    };
    X64Code code;
    IrUnit u;
    Dump d = { .isa = &toy, .ir = &u, .page = page };
    FILE *f = fmemopen(text, sizeof(text), "w");

    ir_init(&u, &test_guest);
    err_free(ir_parse(&u, source));
    r.unit = &u;
    if (host && x64_emit(jit.emitter, &r, &code)) {
        d.code = &code;
        d.emitter = jit.emitter;
        d.base = jit.code;
    }
    dump_unit(f, &d, items);
    fclose(f);
    ir_free(&u);
    return text;
}

/* The words come in this order. */
static bool in_order(const char *text, const char *const *words)
{
    for (; *words; words++) {
        const char *at = strstr(text, *words);

        if (!at) {
            printf("no '%s' where it should be\n", *words);
            return false;
        }
        text = at + strlen(*words);
    }
    return true;
}

static void test_guest_alone(void)
{
    CHECK_STR(dumped(LOG_IN_ASM, false),
              "---- unit 0x1000 mode 0x7, 2 guest instructions\n"
              "0x1000  insn a    <- label\n0x1002  insn b\n0x1004  insn c\n\n");
}

static void test_ir_alone(void)
{
    CHECK_STR(dumped(LOG_OP, false),
              "---- unit 0x1000 mode 0x7, 2 guest instructions\n"
              "  mark 0x1000, 4, label\n    @a0 = add.64 @a1, @a2\n  mark 0x1004, 2\n"
              "    @a3 = ld.64 @a0, u8 ctx1\n    br.64.ne @a3, #0, 0x1000\n    gopc 0x2000\n\n");
}

static void test_all(void)
{
    static const char *const words[] = {
        "host ", "entries", "cmp", "0x1000  insn a", "0x1002  insn b", "@a0 = add.64", "  lea ", "0x1004  insn c",
        "@a3 = ld.64", "ja 0x", "br.64.ne", "cmp byte ptr", "gopc 0x2000", "jmp 0x", "out of line", "call 0x", NULL,
    };

    CHECK(in_order(dumped(LOG_IN_ASM | LOG_OP | LOG_OUT_ASM, true), words));
    CHECK(!strstr(dumped(LOG_OUT_ASM, true), "add.64"));
    CHECK(strstr(dumped(LOG_OUT_ASM, true), "  lea "));
}

static void test_bytes_missing(void)
{
    IrUnit u;
    char text[1024];
    Dump d = { .isa = &toy, .ir = &u, .page = page };
    FILE *f = fmemopen(text, sizeof(text), "w");

    ir_init(&u, &test_guest);
    err_free(ir_parse(&u, "unit test 0x1ffe\n mark 0x1ffe, 4\n exit next 0x2002"));
    dump_unit(f, &d, LOG_IN_ASM);
    fclose(f);
    CHECK(strstr(text, "0x1ffe  insn z\n0x2000  (bytes not at hand)\n"));
    ir_free(&u);
}

static void test_host(void)
{
    static const uint8_t bytes[] = { 0x48, 0x89, 0xd8, 0x06, 0xc3 };      /* 06: no instruction in 64-bit code */
    char text[1024];
    FILE *f = fmemopen(text, sizeof(text), "w");

    dump_host(f, bytes, sizeof(bytes), 0x1000, 2);
    fclose(f);
    CHECK_STR(text, "  0x1000  mov rax, rbx\n  0x1003  .byte 06 c3\n");
}

int main(void)
{
    Err *e = jit_open(&test_guest);

    page[0] = 'a', page[2] = 'b', page[4] = 'c', page[4094] = 'z';
    RUN(test_guest_alone);
    RUN(test_ir_alone);
    RUN(test_bytes_missing);
    RUN(test_host);
    if (e)
        printf("the test of host code is left out: %s\n", err_text(e));
    else
        RUN(test_all);
    err_free(e);
    return test_end();
}
