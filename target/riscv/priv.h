/* SPDX-License-Identifier: MIT */
/* What the files of the privileged side share among themselves. */
#ifndef TARGET_RISCV_PRIV_H
#define TARGET_RISCV_PRIV_H

#include "target/isa.h"
#include "target/riscv/helpers.h"
#include "target/riscv/state.h"
#include "util/reflect.h"

#define BIT(n) (1ull << (n))

/* menvcfg and senvcfg, privileged manual 3.1.18 */
#define ENVCFG_FIOM  BIT(0)
#define ENVCFG_CBIE  (3ull << 4)
#define ENVCFG_CBCFE BIT(6)
#define ENVCFG_CBZE  BIT(7)
#define ENVCFG_ADUE  BIT(61)
#define ENVCFG_PBMTE BIT(62)
#define ENVCFG_STCE  BIT(63)

static inline uint64_t *riscv_sys(RiscvState *s, int reg)
{
    return &s->vcpu->env->sys[reg];
}
static inline uint64_t riscv_mstatus(RiscvState *s)
{
    return *riscv_sys(s, SYS_MSTATUS);
}

/* pmp.c */
unsigned riscv_pmp_prot(RiscvState *s, uint64_t pa, unsigned prv);     /* PageProt bits that PMP grants at pa */
uint64_t riscv_pmpcfg_read(RiscvState *s, unsigned reg);
void riscv_pmpcfg_write(RiscvState *s, unsigned reg, uint64_t v);
void riscv_pmp_loaded(RiscvState *s);           /* the entries were loaded */
void riscv_pmpaddr_write(RiscvState *s, unsigned i, uint64_t v);

/* mmu.c */
bool riscv_walk(Vcpu *v, uint64_t va, Access a, unsigned ctx, Page *out);
void riscv_mem_fault(Vcpu *v, uint64_t va, Access a, unsigned ctx, MemOp m, enum MemFault why);
unsigned riscv_asid(Vcpu *v, unsigned ctx);
bool riscv_ctx_virtual(Vcpu *v, unsigned ctx);
bool riscv_look(Vcpu *v, uint64_t va, uint64_t *pa, unsigned *order);
bool riscv_mapping(Vcpu *v, uint64_t va, Mapping *out);
extern const CoreNote riscv_core_notes[];
void riscv_walks_drop(RiscvState *s);           /* forget cached page-table pointers */
bool riscv_satp_valid(const RiscvState *s, uint64_t satp);     /* is its mode one this hart has? */

/* csr.c, for a debugger: whatever the privilege */
bool riscv_csr_has(RiscvState *s, unsigned csr);
uint64_t riscv_csr_peek(RiscvState *s, unsigned csr);
void riscv_csr_poke(RiscvState *s, unsigned csr, uint64_t v);

/* regs.c */
enum { RISCV_REGS_MAX = 512, RISCV_PC_REG = 32 };
extern RegInfo riscv_regs[RISCV_REGS_MAX];
void riscv_regs_make(void);             /* when there are rows of CSRs */

/* trap.c */
bool riscv_take_irq(Vcpu *v);
void riscv_irq_counts(Vcpu *v, GString *out);
bool riscv_wakes(Vcpu *v);
void riscv_enter_fault(Vcpu *v, uint64_t pc);
bool riscv_irq_due(RiscvState *s);              /* one is pending and enabled at this privilege */
void riscv_stimecmp_changed(RiscvState *s);     /* arms the timer, sets STIP */

/* aia.c */
uint64_t riscv_pending_m(RiscvState *s);        /* pending and enabled interrupts that trap to M */
uint64_t riscv_pending_s(RiscvState *s);        /* .. to S */
int riscv_top(RiscvState *s, int level, uint64_t pending, unsigned *prio /* as xtopi shows it, or NULL */);
uint64_t riscv_topi(RiscvState *s, int level);
uint64_t riscv_mvip_read(const RiscvState *s);
void riscv_mvip_write(RiscvState *s, uint64_t v);
void riscv_mvien_write(RiscvState *s, uint64_t v);
/* mireg, sireg: *v is read, or written; false: there is no such register now. */
bool riscv_ireg(RiscvState *s, int level, bool write, uint64_t *v);

/* counters.c */
uint64_t riscv_counter_read(RiscvState *s, unsigned n);
void riscv_counter_write(RiscvState *s, unsigned n, uint64_t v);
void riscv_counter_inhibit(RiscvState *s, uint64_t v);
void riscv_hpmevent_write(RiscvState *s, unsigned n, uint64_t v);
uint64_t riscv_scountovf(RiscvState *s);
void riscv_counters_init(RiscvState *s);
uint64_t riscv_time(RiscvState *s);

/* saved.c */
extern const Field riscv_fields[];
Err *riscv_loaded(Vcpu *v);

/* cpu.c */
Err *riscv_cpu_configure(RiscvState *s, const char *cpu, const char *opts);
extern const char *const riscv_cpu_names[];
char *riscv_cpu_help(void);
Err *riscv_cpu_props(const char *cpu, const char *opts, void (*fn)(void *opaque, const char *name, bool on), void *opaque);
uint64_t riscv_misa(const RiscvState *s);

#endif
