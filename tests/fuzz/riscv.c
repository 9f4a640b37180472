/* SPDX-License-Identifier: MIT */
/*
 * Bytes as RISC-V code: two pages are filled with them, and units made from any
 * place must be right (ir_check) and turn into host code; the disassembler reads
 * the same bytes.
 *
 * Input: 2 bytes where to start, 1 byte mode, then code, which is put there.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/rand/machine.h"

enum { BASE = 0x10000, START_MAX = PAGE - 2 };

static Machine *machine;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    machine = machine_new(BASE, 2 * PAGE);
    machine->check = false;
    Err *e = machine_jit_start(machine);
    if (e)
        fprintf(stderr, "without generated code: %s\n", err_text(e));
    err_free(e);
    return 0;
}

static void disassemble(const uint8_t *code, size_t len)
{
    char text[256];

    for (size_t at = 0; at + 2 <= len && at < 64;) {
        int n = isa_riscv64.print(text, sizeof(text), code + at, len - at, BASE + at);

        fuzz_must(n >= 0 && (!n || (size_t)n <= len - at), "the disassembler took %d bytes of %zu", n, len - at);
        at += n ? n : 2;
    }
}

static void set_mode(uint8_t bits)
{
    static const uint8_t modes[] = { PRV_U, PRV_S, PRV_M, PRV_M };

    machine->s->prv = modes[bits & 3];
    machine_set_fs(machine, bits >> 2 & 3);
    machine->env->fp_round = bits >> 4 & 7;
    machine->limits = (TranslateLimits){ .max_insns = 512, .max_blocks = 64, .one_insn = bits >> 7 };
    riscv_update_mode(machine->s);
}

static void translate(uint64_t pc, const uint8_t *next)
{
    MachineUnit *u = &machine->units[0];
    unsigned lo, hi;

    machine_drop_units(machine);
    if (!u->ir.guest)
        ir_init(&u->ir, &riscv_ir);
    u->pc = pc;
    u->mode = machine->env->mode;
    int n = translate_unit(&machine->hart, &u->ir, pc, u->mode, machine->image, next, machine->limits, &lo, &hi);
    if (n <= 0)
        return;
    Err *e = ir_check(&u->ir);
    if (e) {
        char *text = ir_print(&u->ir);
        fuzz_must(false, "%s\n%s", err_text(e), text);
    }
    fuzz_must(lo <= hi && hi <= 2 * PAGE && (hi <= PAGE || next), "the unit is [%u, %u)", lo, hi);
    machine->nunits = 1;
    if (machine->jit_ready)
        jit_make(machine, u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 5)
        return 0;
    unsigned start = (data[0] | data[1] << 8) % START_MAX & ~1u;
    size_t len = MIN(size - 3, (size_t)2 * PAGE - start);

    memset(machine->image, 0, 2 * PAGE);
    memcpy(machine->image + start, data + 3, len);
    disassemble(data + 3, len);
    set_mode(data[2]);
    translate(BASE + start, NULL);
    translate(BASE + start, machine->image + PAGE);
    return 0;
}
