/* SPDX-License-Identifier: MIT */
/*
 * What the stress programs share. A program is a table of cases; every hart
 * runs every case at the same time, from barrier to barrier. The first thing
 * that is wrong is printed with its values and ends the machine with status 1.
 *
 * -append carries the orders: "ms=N" how long a case lasts, "seed=N", "only=NAME"
 * one case, "strict" the strict cases too, "qemu" see on_qemu().
 */
#ifndef TESTS_STRESS_H
#define TESTS_STRESS_H

#include <stdbool.h>

#include "tests/guests/bare/bare.h"

enum { MODE_U = 0, MODE_S = 1, MODE_M = 3 };

enum {  /* mcause */
    CAUSE_INSN_ACCESS = 1, CAUSE_ILLEGAL = 2, CAUSE_BREAK = 3, CAUSE_LOAD_ACCESS = 5,
    CAUSE_STORE_ACCESS = 7, CAUSE_ECALL_U = 8, CAUSE_ECALL_S = 9, CAUSE_ECALL_M = 11,
    CAUSE_INSN_PAGE = 12, CAUSE_LOAD_PAGE = 13, CAUSE_STORE_PAGE = 15,
    IRQ_SSI = 1, IRQ_MSI = 3, IRQ_STI = 5, IRQ_MTI = 7
};
#define CAUSE_IRQ (1ul << 63)

#define MSTATUS_SIE  (1ul << 1)
#define MSTATUS_MIE  (1ul << 3)
#define MSTATUS_SPIE (1ul << 5)
#define MSTATUS_MPIE (1ul << 7)
#define MSTATUS_SPP  (1ul << 8)
#define MSTATUS_MPP  (3ul << 11)
#define MSTATUS_FS   (3ul << 13)
#define MSTATUS_MPRV (1ul << 17)
#define MSTATUS_SUM  (1ul << 18)
#define MSTATUS_MXR  (1ul << 19)
#define MSTATUS_TW   (1ul << 21)

#define csr_read(csr) ({ uint64_t v_; \
    __asm__ volatile("csrr %0, " #csr : "=r"(v_) :: "memory"); v_; })
#define csr_write(csr, v) \
    __asm__ volatile("csrw " #csr ", %0" :: "r"((uint64_t)(v)) : "memory")
#define csr_set(csr, v) \
    __asm__ volatile("csrs " #csr ", %0" :: "r"((uint64_t)(v)) : "memory")
#define csr_clear(csr, v) \
    __asm__ volatile("csrc " #csr ", %0" :: "r"((uint64_t)(v)) : "memory")

#define clint_msip     ((volatile uint32_t *)0x2000000)
#define clint_mtimecmp ((volatile uint64_t *)0x2004000)
#define clint_mtime    ((volatile uint64_t *)0x200bff8)

typedef volatile uint64_t Word;         /* shared between harts */

/* A hart's own things; in tp. Nobody else writes them. */
typedef struct Hart {
    unsigned id;
    uint64_t rng;
    unsigned mode;                      /* MODE_*, as set_mode() left it */
    unsigned rounds;
    /*
     * Exceptions while `catch` is set are written down and stepped over: the
     * instruction that faulted, or, if it could not even be fetched, the call to it.
     */
    volatile bool catch;
    volatile unsigned caught;
    volatile uint64_t cause, tval, pc;
    /* A case's own handlers. on_exception returns whether the exception was its. */
    void (*on_irq)(Frame *f, unsigned irq);
    bool (*on_exception)(Frame *f);
    char pad[64];
} Hart;

typedef struct Case {
    const char *name;
    void (*run)(Hart *h);
    const char *(*missing)(void);       /* what the machine lacks for it, or NULL. May be NULL */
    unsigned min_harts;                 /* 0 is 1 */
    bool strict;
} Case;

/* The program's. */
extern const char subject[];
extern const Case cases[];              /* ends with a row without a name */

extern unsigned harts;                  /* how many take part */
extern Hart hart_data[BARE_HARTS];

static inline Hart *me(void)
{
    Hart *h;
    __asm__("mv %0, tp" : "=r"(h));
    return h;
}

/* printf's %d %u %lu %lx %x %s %c; fail() ends the machine. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define want(cond, ...) do { if (!(cond)) fail(__VA_ARGS__); } while (0)
#define want_eq(got, expected, what) do { \
        uint64_t got_ = (got), expected_ = (expected); \
        if (got_ != expected_) \
            fail("%s is %lx, not %lx", what, got_, expected_); \
    } while (0)

/* Does riscv,isa name the extension ("zabha", "c")? */
bool has_ext(const char *name);
/* The number in "name=N" of the orders. */
uint64_t order(const char *name, uint64_t otherwise);
/* The order "qemu": mistakes that QEMU 7.2 is known to make are let pass, each with a comment. */
bool on_qemu(void);

uint64_t rnd(Hart *h);
static inline uint64_t rnd_below(Hart *h, uint64_t n) { return (rnd(h) >> 16) % n; }
/* Lets some time pass, to shift the harts against each other. */
void rnd_delay(Hart *h);

/* All harts wait for all; from any mode. Interrupts stay off meanwhile, and mtimecmp is spoilt. */
void barrier(void);
/* Is there time left in this case? For harts on their own, and for all together (a barrier). */
bool more(void);
bool more_rounds(Hart *h);
/* A line beside the result: how often something was seen. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Adds to the count that is printed with "ok". */
void count(uint64_t n);

static inline void pause(void)
{
    __asm__ volatile(".4byte 0x0100000f" ::: "memory");     /* pause, Zihintpause */
}
static inline void fence(void) { __asm__ volatile("fence rw, rw" ::: "memory"); }
static inline void fence_i(void) { __asm__ volatile("fence.i" ::: "memory"); }

/* Goes on in that mode, by ecall. U and S use satp as it is. */
void set_mode(unsigned mode);
/* Interrupts that are enabled in mie are taken from now on (always so in S and U mode). */
void irqs_on(void);
void irqs_off(void);

/*
 * Orders to other harts by interprocessor interrupt; returns when all of them
 * have carried it out. They must take interrupts: S mode, or irqs_on(). The
 * caller does it for itself beforehand. One hart at a time.
 */
typedef struct Remote { void (*act)(uint64_t a, uint64_t b); uint64_t a, b; } Remote;
void remote(const Remote *what);
void remote_fence_i(void);
void remote_sfence(uint64_t va);        /* this address, all address spaces */
void remote_sfence_all(void);
/* Lets remote() interrupt this hart until remote_end(). */
void remote_begin(void);
void remote_end(void);

/* rd = *va with a load of that many bytes (signed), or a store; the caught exception is in h. */
uint64_t load(unsigned size, uint64_t va);
void store(unsigned size, uint64_t va, uint64_t v);
/* The same while catching: how many exceptions there were (0 or 1). *v keeps its value then. */
unsigned try_load(Hart *h, unsigned size, uint64_t va, uint64_t *v);
unsigned try_store(Hart *h, unsigned size, uint64_t va, uint64_t v);
unsigned try_call(Hart *h, uint64_t va, uint64_t *v);
void want_trap(Hart *h, uint64_t cause, uint64_t tval, const char *what);

#endif
