/* SPDX-License-Identifier: MIT */
/*
 * See util/arena.h. First fit, a byte for each unit: what was used last is low,
 * and warm in the caches.
 */
#include "util/arena.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define UNIT 4096u

struct Arena {
    uint8_t *base;
    size_t units;
    uint8_t taken[];            /* per unit: 1 or 0 */
};

static size_t units(size_t bytes)
{
    return bytes / UNIT + (bytes % UNIT != 0);
}

Arena *arena_new(size_t bytes)
{
    size_t n = units(bytes);
    void *base = mmap(NULL, n * UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Arena *a;

    if (base == MAP_FAILED)
        return NULL;
    a = g_malloc0(sizeof(*a) + n);
    a->base = base;
    a->units = n;
    return a;
}

void arena_free(Arena *a)
{
    if (!a)
        return;
    munmap(a->base, a->units * UNIT);
    g_free(a);
}

/* Where the first `n` free units in a row are; `units`: nowhere. */
static size_t find(const Arena *a, size_t n)
{
    for (size_t at = 0; n <= a->units - at; ) {
        const uint8_t *used = memchr(a->taken + at, 1, n);
        const uint8_t *next;

        if (!used)
            return at;
        at = used - a->taken;
        next = memchr(used, 0, a->units - at);
        if (!next)
            break;
        at = next - a->taken;
    }
    return a->units;
}

void *arena_take(Arena *a, size_t len)
{
    size_t n = units(len), at = find(a, n);

    if (at == a->units)
        return NULL;
    memset(a->taken + at, 1, n);
    return a->base + at * UNIT;
}

void arena_give(Arena *a, void *buf, size_t len)
{
    memset(a->taken + ((uint8_t *)buf - a->base) / UNIT, 0, units(len));
}
