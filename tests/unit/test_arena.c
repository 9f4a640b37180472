/* SPDX-License-Identifier: MIT */
/* Arenas: random buffers never overlap, and an empty arena takes one of its whole length. */
#include "util/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"

enum { BYTES = 1 << 20, MOST = 64 };

typedef struct Taken { uint8_t *p; size_t len; uint8_t mark; } Taken;

static int is_marked(const Taken *t)
{
    for (size_t i = 0; i < t->len; i++)
        if (t->p[i] != t->mark)
            return 0;
    return 1;
}

static void test_random(void)
{
    Arena *a = arena_new(BYTES);
    Taken t[MOST] = { 0 };
    unsigned refused = 0, taken = 0;

    srand(7);
    for (unsigned i = 0; i < 20000; i++) {
        Taken *x = &t[rand() % MOST];

        if (x->p) {
            CHECK(is_marked(x));
            arena_give(a, x->p, x->len);
            *x = (Taken){ 0 };
            continue;
        }
        x->len = 1 + rand() % (i % 9 ? 40000 : 300000);
        x->mark = i;
        x->p = arena_take(a, x->len);
        refused += !x->p;
        taken += x->p != NULL;
        if (x->p) {
            CHECK_EQ((uintptr_t)x->p % 4096, 0);
            memset(x->p, x->mark, x->len);
        }
    }
    CHECK(refused > 100 && taken > 5000);
    for (unsigned i = 0; i < MOST; i++)
        if (t[i].p)
            arena_give(a, t[i].p, t[i].len);
    arena_free(a);
}

static void test_whole(void)
{
    Arena *a = arena_new(BYTES - 5);
    void *p = arena_take(a, BYTES), *q;

    CHECK(p != NULL);
    CHECK(!arena_take(a, 1));
    arena_give(a, p, BYTES);
    CHECK(!arena_take(a, BYTES + 1));
    p = arena_take(a, 8192);
    q = arena_take(a, 4096);
    arena_give(a, p, 8192);
    CHECK(arena_take(a, 12288) == (uint8_t *)q + 4096);     /* the hole is too small */
    CHECK(arena_take(a, 1) == p);
    arena_free(a);
    arena_free(NULL);
    CHECK(!arena_new(SIZE_MAX / 2));
}

int main(void)
{
    RUN(test_random);
    RUN(test_whole);
    return test_end();
}
