/* SPDX-License-Identifier: MIT */
/*
 * Coroutines on the loop's calls. A coroutine that is started or woken runs on
 * top of whoever lets it run (its caller), and goes back there when it yields;
 * so callers nest, as calls do. A wake is a call of the loop.
 *
 * A stack is a mapping: a page that faults when the stack is too short, the
 * stack, and at its top the Co. Ended ones stay with the loop, to be the next.
 */
#include "util/co.h"

#include <errno.h>
#include <glib.h>
#include <sys/mman.h>

#include "util/co-stack.h"
#include "util/loop-priv.h"
#include "util/work.h"

#ifdef CO_ASAN
enum { STACK = 1 << 20 };       /* frames are larger there */
#else
enum { STACK = 256 << 10 };
#endif

enum {
    GUARD = 4096,
    MOST_FREE = 512,        /* ended coroutines kept, for each loop */
};

struct Co {
    void *sp, *caller_sp;   /* of the stack that does not run */
    Co *caller;             /* the coroutine it runs on top of, or NULL: plain code */
    Loop *loop;
    void (*fn)(void *);
    void *arg;
    unsigned wakes;         /* that came before the yield they are for */
    bool asleep, ended;
    CoFiber fiber, caller_fiber;
    char *map;
    Co *next_free;
};

/* Is never kept over a switch: a loop may be turned by another thread later. */
static _Thread_local Co *running;

Co *co_self(void)
{
    return running;
}

Loop *co_loop(void)
{
    return running ? running->loop : NULL;
}

/* ---- stacks */

/* In the coroutine: the caller goes on. */
static void switch_out(Co *co, bool for_good)
{
    fiber_leave(for_good ? NULL : &co->fiber, &co->caller_fiber);
    fiber_to(co->caller_fiber.tsan);
    co_stack_switch(&co->sp, co->caller_sp);
    fiber_enter(&co->fiber, &co->caller_fiber);
}

/* The first function of each stack. It never ends; only the coroutines on it do. */
static void co_main(void *opaque)
{
    Co *co = opaque;

    fiber_enter(&co->fiber, &co->caller_fiber);
    for (;;) {
        co->fn(co->arg);
        co->ended = true;
        co->fiber.fake = NULL;
        switch_out(co, true);
    }
}

static Co *co_make(Loop *loop)
{
    char *map = mmap(NULL, GUARD + STACK, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);

    if (map == MAP_FAILED || mprotect(map, GUARD, PROT_NONE))
        g_error("no stack for one more coroutine: %s (%u were made; see vm.max_map_count and 'ulimit -v')",
                g_strerror(errno), loop->cos_made);

    /* Not all at the same place of a page, as all would want the same lines of the first cache. */
    char *top = map + GUARD + STACK - (loop->cos_made++ % 16) * 256;
    Co *co = (Co *)((uintptr_t)(top - sizeof(*co)) & ~(uintptr_t)63);

    *co = (Co){ .loop = loop, .map = map };
    co->fiber = (CoFiber){ .bottom = map + GUARD, .size = (size_t)((char *)co - map - GUARD), .tsan = fiber_new() };
    co->sp = co_stack_make(co, co_main, co);
    return co;
}

static void co_destroy(Co *co)
{
    char *map = co->map;

    fiber_free(co->fiber.tsan);
    fiber_forget(map + GUARD, STACK);
    munmap(map, GUARD + STACK);
}

void co_pool_free(Loop *loop)
{
    while (loop->free_cos) {
        Co *co = loop->free_cos;

        loop->free_cos = co->next_free;
        co_destroy(co);
    }
    for (int fd = 0; fd < loop->fd_waits_room; fd++)
        g_free(loop->fd_waits[fd]);
    g_free(loop->fd_waits);
}

/* Lets it run until it yields or ends. */
static void co_enter(Co *co)
{
    Loop *loop = co->loop;

    co->caller = running;
    co->caller_fiber.tsan = fiber_self();
    running = co;
    fiber_leave(&co->caller_fiber, &co->fiber);
    fiber_to(co->fiber.tsan);
    co_stack_switch(&co->caller_sp, co->sp);
    fiber_enter(&co->caller_fiber, NULL);
    running = co->caller;
    if (!co->ended)
        return;
    if (loop->n_free_cos == MOST_FREE) {
        co_destroy(co);
        return;
    }
    co->next_free = loop->free_cos;
    loop->free_cos = co;
    loop->n_free_cos++;
}

/* ---- starting, sleeping, waking */

void co_start(Loop *loop, void (*fn)(void *), void *arg)
{
    Co *co = loop->free_cos;

    if (co) {
        loop->free_cos = co->next_free;
        loop->n_free_cos--;
    } else {
        co = co_make(loop);
    }
    co->fn = fn;
    co->arg = arg;
    co->ended = false;

    Loop *outer = loop_enter(loop);

    co_enter(co);
    loop_leave(loop, outer);
}

typedef struct Run {
    void (*fn)(void *);
    void *arg;
    bool done;
} Run;

static void run_one(void *opaque)
{
    Run *r = opaque;

    r->fn(r->arg);
    r->done = true;
}

void co_run(Loop *loop, void (*fn)(void *), void *arg)
{
    Run r = { fn, arg, false };

    if (running)
        g_error("co_run inside a coroutine");
    co_start(loop, run_one, &r);
    while (!r.done)
        loop_turn(loop, true);
}

/* The coroutine that yields; outside of one that is a mistake of ours. */
static Co *self(const char *what)
{
    Co *co = running;

    if (!co)
        g_error("%s outside of a coroutine", what);
    return co;
}

static void sleep_now(Co *co)
{
    if (co->wakes) {
        co->wakes--;
        return;
    }
    co->asleep = true;
    switch_out(co, false);
}

void co_yield(void)
{
    sleep_now(self("co_yield"));
}

void co_until(const bool *done)
{
    Co *co = self("co_until");
    unsigned others = 0;

    /* One wake is ours, even when *done is set already: it was sent, and must not reach a later yield. */
    for (sleep_now(co); !*done; others++)
        sleep_now(co);
    co->wakes += others;
}

static void resume(void *opaque)
{
    co_enter(opaque);
}

void co_wake(Co *co)
{
    if (!co->asleep) {
        co->wakes++;
        return;
    }
    co->asleep = false;
    loop_call(co->loop, resume, co);
}

static void wake_here(void *opaque)
{
    co_wake(opaque);
}

void co_wake_from(Co *co)
{
    loop_call(co->loop, wake_here, co);
}
