/* SPDX-License-Identifier: MIT */
/*
 * The x86-64 backend: one forward pass from IR to host code (no optimizer), by
 * the boundary convention below. Manual: Intel SDM volume 2; System V AMD64 ABI.
 *
 *   rbp  env + ENV_BIAS            rsp  the JIT's own stack: shadow return stack
 *   rax rcx rdx, xmm0-xmm3         scratch, dead at every mark
 *   rbx rsi rdi r8-r15             11 pins: GPR slots with pin 0..10
 *   xmm6-xmm15                     10 pins: FPR slots with pin 0..9 (low 64 bits)
 *   xmm4 xmm5                      reserved for constants
 *   MXCSR                          env.mxcsr_guest: guest rounding mode and sticky flags
 *
 * At every mark and every exit each pinned slot is in its pin and all others in
 * Env. rsp is 16-byte aligned at every mark. A direct guest call pushes the link
 * address and does a host call; a return whose address matches does a host ret.
 *
 * Needs x86-64-v3 (AVX2, BMI1/2, FMA, LZCNT, POPCNT, F16C) and PCLMULQDQ; x64_host_ok says.
 */
#ifndef TCG_X64_H
#define TCG_X64_H

#include <stdbool.h>
#include <stdint.h>

#include "tcg/env.h"
#include "tcg/ir/ir.h"

/* NULL if this host can run the code; else what it lacks. */
Err *x64_host_ok(void);

/* A piece of the code cache: writable alias at `rw`, executable at rw + delta. */
typedef struct CodeArea {
    uint8_t *rw, *end;          /* next free byte, and the end, of the writable alias */
    intptr_t delta;             /* executable address = writable address + delta */
} CodeArea;

/* ---- stubs: emitted once, at the start of the code cache, reached by rel32 */
typedef struct X64Stubs X64Stubs;
typedef struct X64Hooks {
    const EnvOps *mem;          /* slow paths of memory ops: called with all slots in Env, env->site set */
} X64Hooks;

/* Emits stubs and a thunk for each helper of `g`. NULL if `area` is too small. */
X64Stubs *x64_stubs_new(CodeArea *area, const IrGuest *g, const X64Hooks *hooks);
void x64_stubs_free(X64Stubs *s);

/*
 * Runs generated code at `host` until it leaves; returns why. env->pc is set
 * as IrExit says (EXIT_FAULT: env->site tells where; the caller finds the pc in the unit's sites).
 * Resumes the return stack at env->jit_rsp.
 */
IrExit x64_enter(X64Stubs *s, Env *env, const void *host);

/* ---- units */
typedef struct X64Exit {        /* a direct edge out of the unit */
    uint64_t target;            /* guest pc */
    uint32_t patch;             /* offset (from the area's base rw) of the rel32 to patch; it doesn't cross 16 bytes */
    uint32_t stub;              /* offset of its own exit stub: rel32's first target */
    bool cross;                 /* target is in another page: link only to the checked entry */
    bool call;                  /* it is a call (patch is in a host call) */
} X64Exit;

typedef struct X64Site {        /* a host return address that C may see, and its guest pc */
    uint32_t off;               /* offset of the return address from the area's base rw */
    uint32_t mark;              /* index of the mark within the unit (0, 1, ..) */
} X64Site;

/* pc = unit's pc + (int16_t)pc_delta; flags 1: a label */
typedef struct X64Mark { uint32_t off; uint16_t pc_delta; uint8_t len, flags; } X64Mark;

/* What x64_emit made; arrays belong to the emitter and live until the next x64_emit. */
typedef struct X64Code {
    uint32_t entry;             /* offset of the entry for in-page edges, jump cache and dispatcher */
    uint32_t entry_checked;     /* offset of the entry for cross-page edges: checks env.xt first */
    uint32_t hot, hot_end, cold, cold_end;      /* what it occupies */
    const X64Exit *exits; int nexits;
    const X64Site *sites; int nsites;           /* ascending by off within hot and within cold */
    const X64Mark *marks; int nmarks;
    int nhot_sites;
    bool movable;               /* x64_copy can make it again elsewhere, by these: */
    const uint32_t *relocs; int nrelocs;
} X64Code;

typedef struct X64Emitter X64Emitter;
X64Emitter *x64_emitter_new(X64Stubs *s, const IrGuest *g);    /* one for each translating thread */
void x64_emitter_free(X64Emitter *e);

typedef struct X64Request {
    const IrUnit *unit;         /* after ir_finish */
    uint8_t *base;              /* offsets in X64Code count from here (writable alias) */
    CodeArea hot, cold;         /* where to write; cold grows upward too */
    uint32_t first_exit;        /* number of the unit's exit 0: exit i reports env.exit_slot = first_exit + i */
    unsigned exec_ctx;          /* MMU context of instruction fetch */
    uint32_t xt_id;             /* what env.xt[exec_ctx][vpage % XT_SIZE] must hold at the checked entry */
    bool one_vcpu;              /* only one vCPU, and no device writes atomically: no lock prefixes; fences stay */
    uint32_t xt_id2;            /* not 0: the first instruction crosses into the next virtual page, and both entries check
                                   that page's tag for this too */
    bool ungrouped;             /* every memory access is checked by itself; never leaves with EXIT_UNGROUPED; standard pins */
    bool stir;                  /* for tests: the unit gets pins of its own however little it gains */
    bool movable;               /* X64Code.movable is wanted */
    bool listing;               /* keep IR index -> host offset for dumps */
} X64Request;

/* False: it didn't fit; nothing of the areas counts as used. */
bool x64_emit(X64Emitter *e, const X64Request *r, X64Code *out);

/*
 * Copies a movable unit to the areas of q, for the virtual page vpage of the same bytes: its guest addresses differ by
 * pc_delta. q->base, exec_ctx and xt_id are looked at too. `from` needs offsets and relocs only; out gets offsets. Exits and
 * sites are as far from entry_checked (in the hot part) or from cold as before; each exit is to be initialized.
 * False: no room.
 */
bool x64_copy(const X64Request *q, const X64Code *from, uint64_t vpage, uint64_t pc_delta, X64Code *out);

/* Host offset where the code of IR instruction `insn` starts (after a listing emit), in hot. */
uint32_t x64_listing(const X64Emitter *e, int insn);

/* Makes a direct edge lead to its stub, and gives it that number. Nobody runs the code yet. */
void x64_exit_init(uint8_t *base, uint32_t patch, uint32_t stub, uint32_t number);

/*
 * Points a direct edge at `to` (executable address), or back at its stub
 * (unlink: to = its stub). Atomic against running code.
 */
void x64_link(uint8_t *patch_rw, intptr_t delta, const void *to);

#endif
