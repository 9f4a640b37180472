/* SPDX-License-Identifier: MIT */
/* The benchmark program's place when that is a Linux process, native or guest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "tests/bench/main.h"

static void *pages(size_t size, int prot)
{
    void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("bench: mmap");
        exit(1);
    }
    return p;
}

uint64_t place_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void place_print(const char *s)
{
    fputs(s, stdout);
}

uint8_t *place_arena(void)
{
    static uint8_t *arena;
    if (!arena)
        arena = pages(ARENA_SIZE, PROT_READ | PROT_WRITE);
    return arena;
}

uint8_t *place_code_page(void)
{
    static uint8_t *page;
    if (!page)
        page = pages(4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    return page;
}

int main(int argc, char **argv)
{
    char orders[4096] = "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        size_t n = strlen(orders);
        snprintf(orders + n, sizeof orders - n, "%s ", argv[i]);
    }
    bench_main(orders);
    return 0;
}
