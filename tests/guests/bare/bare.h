/* SPDX-License-Identifier: MIT */
/*
 * What programs without an operating system share, on a bare RISC-V `virt`
 * machine that starts them in M mode (-bios none): 16550 UART at 0x10000000,
 * test finisher at 0x100000, CLINT at 0x2000000, time CSR at 10 MHz, RAM from
 * 0x80000000 (128 MiB at least).
 *
 * The program defines bare_main() and bare_trap(); harts beyond BARE_HARTS sleep.
 */
#ifndef TESTS_GUESTS_BARE_H
#define TESTS_GUESTS_BARE_H

#include <stddef.h>
#include <stdint.h>

enum { BARE_HARTS = 8, BARE_TIME_HZ = 10000000 };

#define BARE_FREE_RAM 0x84000000ul      /* beyond the program: zero, since nothing wrote there */
#define BARE_FREE_END 0x86000000ul      /* the device tree is behind it */

/* A trap's registers as start.S puts them away, and takes them back afterwards. */
typedef struct Frame {
    uint64_t x[32];                     /* x[0] is not used */
    uint64_t pc, cause, tval, status;   /* mepc, mcause, mtval, mstatus */
} Frame;

void bare_main(uint64_t hart, const void *fdt);         /* every hart comes here; returning sleeps */
void bare_trap(Frame *f);
void bare_nested_trap(uint64_t cause, uint64_t pc, uint64_t tval);

static inline uint64_t bare_time(void)
{
    uint64_t ticks;
    __asm__ volatile("rdtime %0" : "=r"(ticks) :: "memory");
    return ticks;
}

void bare_put(const char *s);
void bare_put_hex(uint64_t v);                          /* " 0x" and 16 digits */
_Noreturn void bare_exit(int status);                   /* powers off; the emulator's exit status */

/* gcc may call these two for plain assignments. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

#endif
