/* SPDX-License-Identifier: MIT */
/*
 * The log: what -d asks for, written to stderr or to the file of -D.
 *
 * `log_on(LOG_INT)` is one load and a branch, so it may stand anywhere. Each
 * call of log_line writes its text in one piece, whichever threads write too;
 * what belongs together over several lines goes between log_begin and log_end.
 */
#ifndef UTIL_LOG_H
#define UTIL_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "util/err.h"

/* The rows of -d help, here because each becomes a bit as well: name, bit, what is shown. */
#define LOG_ITEMS(X)                                                                        \
    X("in_asm",       LOG_IN_ASM,       "guest instructions of each unit as it is translated") \
    X("op",           LOG_OP,           "the unit's intermediate code") \
    X("op_opt",       LOG_OP_OPT,       "the same after the optimiser: nothing, there is none yet") \
    X("out_asm",      LOG_OUT_ASM,      "host code made for each unit")                     \
    X("int",          LOG_INT,          "interrupts and exceptions as they are taken")      \
    X("exec",         LOG_EXEC,         "each unit as it is entered (very long)")           \
    X("cpu",          LOG_CPU,          "registers before each unit (very long)")           \
    X("fpu",          LOG_FPU,          "floating point registers too, with 'cpu'")         \
    X("mmu",          LOG_MMU,          "page table walks and TLB flushes")                 \
    X("cpu_reset",    LOG_CPU_RESET,    "registers at each reset of a vCPU")                \
    X("guest_errors", LOG_GUEST_ERRORS, "what the guest did against the manual")            \
    X("unimp",        LOG_UNIMP,        "what the guest used that is not implemented, where that is no error") \
    X("nochain",      LOG_NOCHAIN,      "units return to the loop, so that 'exec' and 'cpu' see each") \
    X("stats",        LOG_STATS,        "counters of the engine when the machine ends")

enum LogBit {
#define X(name, bit, doc) bit##_N,
    LOG_ITEMS(X)
#undef X
    LOG_BITS
};
enum LogItem {
#define X(name, bit, doc) bit = 1u << bit##_N,
    LOG_ITEMS(X)
#undef X
};

extern _Atomic unsigned log_mask;       /* LogItem bits */

static inline bool log_on(unsigned items)
{
    return __builtin_expect(atomic_load_explicit(&log_mask, memory_order_relaxed) & items, 0);
}

/* Text to the log, in one piece and ended by a newline; the caller has asked log_on. */
void log_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
FILE *log_begin(void);      /* the log, held by this thread until log_end */
void log_end(void);

/* Notes of devices and CPUs, each a sentence without a newline. Nothing when not asked for. */
void guest_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void unimp(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* -dfilter: is this guest address one that translation and execution logs show? */
bool log_wants_slow(uint64_t addr);
extern _Atomic bool log_filtered;
static inline bool log_wants(uint64_t addr)
{
    return !atomic_load_explicit(&log_filtered, memory_order_relaxed) || log_wants_slow(addr);
}

/*
 * The options, all set up before other threads start. Items: "int,exec", each
 * also with a '-' in front to take it away; "all"; "trace:PATTERN".
 */
MUST_USE Err *log_set_items(const char *list);
/* -D FILE; "%d" in it becomes the process id. */
MUST_USE Err *log_set_file(const char *path);
/* -dfilter FIRST..LAST, ADDR+LENGTH, ADDR-LENGTH, or ADDR, separated by commas. */
MUST_USE Err *log_set_filter(const char *ranges);
char *log_help(void);       /* -d help; g_free it */
void log_close(void);       /* flushes; the log is stderr again */

#endif
