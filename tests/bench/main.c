/* SPDX-License-Identifier: MIT */
/*
 * The benchmark program. Its orders are words, one for each kernel to run:
 *
 *     name[:batches[:reps]]
 *
 * It answers a line for each,
 *
 *     BENCH name batches reps best total sum
 *
 * best and total being nanoseconds for one batch and for all of them, sum the
 * checksum in hex; or "BENCH name FAIL why". The order "list" gives a line
 * "KERNEL name class reps unit" for each kernel. The last line is "BENCH END".
 *
 * One batch before the timed ones warms caches, page tables and translations.
 */
#include "tests/bench/main.h"

#define BATCHES 10

static const Kernel *const tables[] = {
    integer_kernels, memory_kernels, call_kernels, interp_kernels,
    fp_kernels, atomic_kernels, code_kernels, os_kernels,
};
#define TABLES (sizeof tables / sizeof tables[0])

static void print_number(uint64_t v, unsigned base)
{
    char s[24];
    char *p = s + sizeof s;
    *--p = 0;
    do {
        *--p = "0123456789abcdef"[v % base];
    } while (v /= base);
    place_print(" ");
    place_print(p);
}

static void print_list(void)
{
    for (size_t t = 0; t < TABLES; t++) {
        for (const Kernel *k = tables[t]; k->name; k++) {
            place_print("KERNEL ");
            place_print(k->name);
            place_print(" ");
            place_print(k->class);
            print_number(k->reps, 10);
            place_print(" ");
            place_print(k->unit);
            place_print("\n");
        }
    }
}

/* Do the first n characters of word spell name? */
static bool is_word(const char *word, size_t n, const char *name)
{
    size_t i = 0;
    while (i < n && name[i] && name[i] == word[i])
        i++;
    return i == n && !name[i];
}

static const Kernel *find_kernel(const char *word, size_t n)
{
    for (size_t t = 0; t < TABLES; t++)
        for (const Kernel *k = tables[t]; k->name; k++)
            if (is_word(word, n, k->name))
                return k;
    return NULL;
}

static void run_kernel(const Kernel *k, uint64_t batches, uint64_t reps)
{
    if (k->prepare)
        k->prepare();
    uint64_t sum = k->run(reps), best = UINT64_MAX, total = 0;
    bool same = true;
    for (uint64_t b = 0; b < batches; b++) {
        uint64_t start = place_ns();
        uint64_t s = k->run(reps);
        uint64_t took = place_ns() - start;
        same &= s == sum;
        total += took;
        if (took < best)
            best = took;
    }
    place_print("BENCH ");
    place_print(k->name);
    if (!same) {
        place_print(" FAIL two batches gave different checksums\n");
        return;
    }
    print_number(batches, 10);
    print_number(reps, 10);
    print_number(best, 10);
    print_number(total, 10);
    print_number(sum, 16);
    place_print("\n");
}

/* ":123" at *s, moving *s on; otherwise unset. */
static uint64_t read_number(const char **s, uint64_t unset)
{
    if (**s != ':')
        return unset;
    uint64_t v = 0;
    for (++*s; **s >= '0' && **s <= '9'; ++*s)
        v = v * 10 + (uint64_t)(**s - '0');
    return v ? v : unset;
}

void bench_main(const char *orders)
{
    const char *s = orders;
    while (*s) {
        const char *word = s;
        while (*s && *s != ':' && *s != ' ')
            s++;
        size_t n = (size_t)(s - word);
        uint64_t batches = read_number(&s, BATCHES);
        const Kernel *k = find_kernel(word, n);
        uint64_t reps = read_number(&s, k ? k->reps : 0);
        if (is_word(word, n, "list"))
            print_list();
        else if (k)
            run_kernel(k, batches, reps);
        else if (n)
            place_print("BENCH ? FAIL no kernel of that name\n");
        while (*s && *s != ' ')
            s++;
        while (*s == ' ')
            s++;
    }
    place_print("BENCH END\n");
}
