/* SPDX-License-Identifier: MIT */
/*
 * The benchmark program's place when that is a bare RISC-V `virt` machine in
 * M mode (tests/guests/bare). No interrupts, no paging, one hart.
 */
#include "tests/bench/main.h"
#include "tests/guests/bare/bare.h"

#define TIME_NS (1000000000 / BARE_TIME_HZ)

/* The runner writes the orders over this string in a copy of the ELF file. */
char bare_orders[1024] = "BENCH-ORDERS-HERE";

uint64_t place_ns(void)
{
    return bare_time() * TIME_NS;
}

void place_print(const char *s)
{
    bare_put(s);
}

uint8_t *place_arena(void)
{
    return (uint8_t *)BARE_FREE_RAM;
}

uint8_t *place_code_page(void)
{
    static uint8_t page[4096] __attribute__((aligned(4096)));
    return page;
}

void bare_trap(Frame *f)
{
    bare_put("BENCH ? FAIL trap: mcause mepc mtval");
    bare_put_hex(f->cause);
    bare_put_hex(f->pc);
    bare_put_hex(f->tval);
    bare_put("\n");
    bare_exit(1);
}

void bare_main(uint64_t hart, const void *fdt)
{
    if (hart != 0)
        return;
    bench_main(bare_orders);
    bare_exit(0);
}

const Kernel os_kernels[] = { { 0 } };
