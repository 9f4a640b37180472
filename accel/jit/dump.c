/* SPDX-License-Identifier: MIT */
/*
 * -d in_asm,op,out_asm: one guest instruction after the other, each with its IR
 * and under each IR instruction the host code made of it; then the host code that
 * is out of line. Host code is disassembled by capstone.
 */
#include <capstone/capstone.h>
#include <glib.h>
#include <inttypes.h>

#include "accel/jit/dump.h"
#include "util/log.h"

enum { PAGE = 4096, GUEST_INDENT = 0, IR_INDENT = 4, HOST_INDENT = 24 };

/* ---- host code */

static csh host_disassembler(void)
{
    static csh handle;
    static gsize made;

    if (g_once_init_enter(&made)) {
        if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK)
            handle = 0;
        g_once_init_leave(&made, 1);
    }
    return handle;
}

/* Bytes that are no instruction: up to 8 a line. */
static size_t dump_bytes(FILE *f, const uint8_t *bytes, size_t size, uint64_t at, int indent)
{
    size_t n = MIN(size, 8);

    fprintf(f, "%*s%#" PRIx64 "  .byte", indent, "", at);
    for (size_t i = 0; i < n; i++)
        fprintf(f, " %02x", bytes[i]);
    fputc('\n', f);
    return n;
}

void dump_host(FILE *f, const uint8_t *bytes, size_t size, uint64_t at, int indent)
{
    csh h = host_disassembler();
    cs_insn *insn = h ? cs_malloc(h) : NULL;

    while (size) {
        if (insn && cs_disasm_iter(h, &bytes, &size, &at, insn)) {
            fprintf(f, "%*s%#" PRIx64 "  %s %s\n", indent, "", insn->address, insn->mnemonic, insn->op_str);
        } else {
            size_t n = dump_bytes(f, bytes, size, at, indent);

            bytes += n;
            size -= n;
            at += n;
        }
    }
    if (insn)
        cs_free(insn, 1);
}

static void host_range(FILE *f, const Dump *d, uint32_t from, uint32_t to, int indent)
{
    if (to > from)
        dump_host(f, d->base + from, to - from, (uint64_t)(d->base + d->delta) + from, indent);
}

/* ---- guest code */

/* Copies up to n guest bytes at pc; returns how many there are. */
static unsigned guest_bytes(const Dump *d, uint64_t pc, uint8_t *out, unsigned n)
{
    uint64_t off = pc - (d->ir->pc & ~(uint64_t)(PAGE - 1));
    unsigned i = 0;

    for (; i < n; i++, off++) {
        const uint8_t *page = off < PAGE ? d->page : off < 2 * PAGE ? d->next_page : NULL;

        if (!page)
            break;
        out[i] = page[off % PAGE];
    }
    return i;
}

/* The guest instructions of a mark: several, if they were fused. */
static void dump_guest(FILE *f, const Dump *d, const IrInsn *mark)
{
    uint64_t pc = mark->imm, end = pc + (mark->x & MARK_LEN);

    while (pc < end) {
        uint8_t bytes[16];
        char text[160];
        unsigned have = guest_bytes(d, pc, bytes, MIN(sizeof(bytes), d->isa->max_insn));
        int len = have ? d->isa->print(text, sizeof(text), bytes, have, pc) : 0;

        fprintf(f, "%*s%#" PRIx64 "  %s%s\n", GUEST_INDENT, "", pc, len > 0 ? text : "(bytes not at hand)",
                pc == (uint64_t)mark->imm && mark->x & MARK_LABEL ? "    <- label" : "");
        if (len <= 0)
            break;
        pc += len;
    }
}

/* ---- a unit */

static uint32_t host_of_insn(const Dump *d, int n)
{
    return n < d->ir->n ? x64_listing(d->emitter, n) : d->code->hot_end;
}

static void dump_insns(FILE *f, const Dump *d, unsigned items)
{
    char text[256];

    for (int n = 0; n < d->ir->n; n++) {
        const IrInsn *i = &d->ir->insns[n];

        if (i->op == IR_mark && items & LOG_IN_ASM)
            dump_guest(f, d, i);
        if (items & LOG_OP && (i->op != IR_mark || !(items & LOG_IN_ASM))) {
            ir_print_insn(d->ir, i, text, sizeof(text));
            fprintf(f, "%*s%s\n", i->op == IR_mark ? IR_INDENT - 2 : IR_INDENT, "", text);
        }
        if (items & LOG_OUT_ASM && d->code)
            host_range(f, d, host_of_insn(d, n), host_of_insn(d, n + 1), HOST_INDENT);
    }
}

void dump_unit(FILE *f, const Dump *d, unsigned items)
{
    const X64Code *c = items & LOG_OUT_ASM ? d->code : NULL;

    fprintf(f, "---- unit %#" PRIx64 " mode %#" PRIx64 ", %d guest instructions", d->ir->pc, d->ir->mode, d->ir->nmarks);
    if (d->code)
        fprintf(f, ", host %u + %u bytes", d->code->hot_end - d->code->hot, d->code->cold_end - d->code->cold);
    fputc('\n', f);
    if (c && c->hot < host_of_insn(d, 0)) {
        fprintf(f, "entries\n");
        host_range(f, d, c->hot, host_of_insn(d, 0), HOST_INDENT);
    }
    dump_insns(f, d, items);
    if (c && c->cold_end > c->cold) {
        fprintf(f, "out of line\n");
        host_range(f, d, c->cold, c->cold_end, HOST_INDENT);
    }
    fputc('\n', f);
}
