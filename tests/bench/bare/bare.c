/* SPDX-License-Identifier: MIT */
/*
 * The benchmark program's place when that is a bare RISC-V `virt` machine in
 * M mode: 16550 UART at 0x10000000, test finisher at 0x100000, time CSR at
 * 10 MHz, RAM from 0x80000000 (128 MiB at least). No interrupts, no paging.
 */
#include "tests/bench/main.h"

#define TIME_NS 100 /* one tick of the virt board's 10 MHz time base */

static volatile uint8_t *const uart = (uint8_t *)0x10000000;
static volatile uint32_t *const finisher = (uint32_t *)0x100000;

/* The runner writes the orders over this string in a copy of the ELF file. */
char bare_orders[1024] = "BENCH-ORDERS-HERE";

void bare_main(void);
void bare_trap(uint64_t cause, uint64_t pc, uint64_t value);

/* gcc may call these two for plain assignments. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);

void *memcpy(void *to, const void *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)to)[i] = (uint8_t)byte;
    return to;
}

uint64_t place_ns(void)
{
    uint64_t ticks;
    __asm__ volatile("rdtime %0" : "=r"(ticks) :: "memory");
    return ticks * TIME_NS;
}

void place_print(const char *s)
{
    for (; *s; s++) {
        while (!(uart[5] & 0x20)) /* LSR: transmit register empty */
            ;
        uart[0] = (uint8_t)*s;
    }
}

uint8_t *place_arena(void)
{
    return (uint8_t *)0x84000000; /* beyond the program: zero, since nothing wrote there */
}

uint8_t *place_code_page(void)
{
    static uint8_t page[4096] __attribute__((aligned(4096)));
    return page;
}

static _Noreturn void power_off(uint32_t how)
{
    *finisher = how;
    for (;;)
        ;
}

static void print_hex(uint64_t v)
{
    char s[] = " 0x0000000000000000";
    for (int i = 18; i > 2; i--, v >>= 4)
        s[i] = "0123456789abcdef"[v & 15];
    place_print(s);
}

void bare_trap(uint64_t cause, uint64_t pc, uint64_t value)
{
    place_print("BENCH ? FAIL trap: mcause mepc mtval");
    print_hex(cause);
    print_hex(pc);
    print_hex(value);
    place_print("\n");
    power_off(1u << 16 | 0x3333); /* fail, exit status 1 */
}

void bare_main(void)
{
    bench_main(bare_orders);
    power_off(0x5555);
}

const Kernel os_kernels[] = { { 0 } };
