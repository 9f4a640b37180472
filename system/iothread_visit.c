/* SPDX-License-Identifier: MIT */
/*
 * Work for an I/O thread that a coroutine of another loop waits for; apart from
 * iothread.c, since it needs no more than the thread's loop.
 */
#include "system/iothread.h"

#include "util/co.h"

void iothread_visit(IoThread *t, void (*fn)(void *), void *arg)
{
    co_visit(iothread_loop(t), fn, arg);
}
