/* SPDX-License-Identifier: MIT */
/*
 * Work for an I/O thread that a coroutine of another loop waits for; apart from
 * iothread.c, since it needs no more than the thread's loop.
 */
#include "system/iothread.h"

#include "util/co.h"
#include "util/loop.h"

typedef struct Visit {
    Loop *there, *back;
    void (*fn)(void *);
    void *arg;
    Co *co;
    bool done;                  /* of the loop `back` */
} Visit;

static void visit_over(void *opaque)
{
    Visit *v = opaque;

    v->done = true;
    co_wake(v->co);
}

static void visit_there(void *opaque)
{
    Visit *v = opaque;

    v->fn(v->arg);
    loop_call(v->back, visit_over, v);      /* v is gone from here on */
}

static void visit_begin(void *opaque)
{
    Visit *v = opaque;

    co_start(v->there, visit_there, v);
}

void iothread_visit(IoThread *t, void (*fn)(void *), void *arg)
{
    Visit v = { .there = iothread_loop(t), .back = co_loop(), .fn = fn, .arg = arg, .co = co_self() };

    if (v.back == v.there) {
        fn(arg);
        return;
    }
    loop_call(v.there, visit_begin, &v);
    co_until(&v.done);
}
