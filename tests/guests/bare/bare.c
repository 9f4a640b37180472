/* SPDX-License-Identifier: MIT */
/* Console, end and memory functions of bare-metal programs: see bare.h. */
#include "tests/guests/bare/bare.h"

static volatile uint8_t *const uart = (uint8_t *)0x10000000;
static volatile uint32_t *const finisher = (uint32_t *)0x100000;

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

void bare_put(const char *s)
{
    for (; *s; s++) {
        while (!(uart[5] & 0x20)) /* LSR: transmit register empty */
            ;
        uart[0] = (uint8_t)*s;
    }
}

void bare_put_hex(uint64_t v)
{
    char s[] = " 0x0000000000000000";
    for (int i = 18; i > 2; i--, v >>= 4)
        s[i] = "0123456789abcdef"[v & 15];
    bare_put(s);
}

void bare_exit(int status)
{
    *finisher = status ? (uint32_t)status << 16 | 0x3333 : 0x5555;
    for (;;)
        ;
}

void bare_nested_trap(uint64_t cause, uint64_t pc, uint64_t tval)
{
    bare_put("FAIL a trap in the trap handler: mcause mepc mtval");
    bare_put_hex(cause);
    bare_put_hex(pc);
    bare_put_hex(tval);
    bare_put("\n");
    bare_exit(1);
}
