/* SPDX-License-Identifier: MIT */
/*
 * A machine in one thread, whose time stands until it is told to pass: I/O threads are loops that the
 * target turns by hand (this is instead of system/iothread.c), clocks and timers read a time of our own,
 * what would go to worker threads is done at once. So each input does the same each time, and quickly.
 *
 * The target is linked with --wrap for the functions named __wrap_ here: see sources.mk.
 */
#ifndef TESTS_FUZZ_ONE_THREAD_H
#define TESTS_FUZZ_ONE_THREAD_H

#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include "system/iothread.h"
#include "tests/fuzz/fuzz.h"

/* ---- time */

#define EPOCH INT64_C(1750000000000000000)      /* CLOCK_REALTIME when our time is 0 */
enum { CLOCK_FDS = 64 };

static int64_t time_now = INT64_C(1000000000);
static struct { int fd; bool host; int64_t when; } time_fds[CLOCK_FDS];

int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
    int64_t now = time_now + (id == CLOCK_REALTIME ? EPOCH : 0);

    *t = (struct timespec){ now / 1000000000, now % 1000000000 };
    return 0;
}

/* A timer is an eventfd that is written when its time has come. */
int __wrap_timerfd_create(int clock, int flags)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), free = -1;

    for (int i = 0; i < CLOCK_FDS; i++)
        if (!time_fds[i].fd || time_fds[i].fd == fd)
            free = free < 0 || time_fds[i].fd == fd ? i : free;
    fuzz_must(fd > 0 && free >= 0, "too many clocks");
    time_fds[free].fd = fd;
    time_fds[free].host = clock == CLOCK_REALTIME;
    time_fds[free].when = 0;
    return fd;
}

static void time_look(int i)
{
    uint64_t one = 1;

    if (!time_fds[i].when || time_fds[i].when > time_now)
        return;
    time_fds[i].when = 0;
    if (write(time_fds[i].fd, &one, 8) != 8 && errno != EAGAIN)
        time_fds[i].fd = 0;
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
    for (int i = 0; i < CLOCK_FDS; i++) {
        if (time_fds[i].fd != fd)
            continue;
        int64_t when = new->it_value.tv_sec * INT64_C(1000000000) + new->it_value.tv_nsec;
        /* 0 is never; what is before our time is now. */
        time_fds[i].when = !when ? 0 : time_fds[i].host ? MAX(when - EPOCH, 1) : when;
        time_look(i);
    }
    return 0;
}

static void time_pass(int64_t ns)
{
    time_now += ns;
    for (int i = 0; i < CLOCK_FDS; i++)
        time_look(i);
}

/* ---- workers */

void __wrap_co_offload(void (*fn)(void *), void *arg);
void __wrap_co_offload(void (*fn)(void *), void *arg) { fn(arg); }

/* ---- I/O threads */

struct IoThread { Vm *vm; char *name; Loop *loop; IoThread *next; };

Err *iothread_new(Vm *vm, const char *name, IoThread **out)
{
    IoThread *t = g_new0(IoThread, 1), **p = &vm->iothreads;

    *t = (IoThread){ .vm = vm, .name = g_strdup(name) };
    fuzz_error(loop_new(1, &t->loop));
    while (*p)
        p = &(*p)->next;
    *p = t;
    *out = t;
    return NULL;
}

void iothread_free(IoThread *t)
{
    if (!t)
        return;
    IoThread **p = &t->vm->iothreads;
    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    while (loop_turn(t->loop, false))
        ;
    loop_free(t->loop);
    g_free(t->name);
    g_free(t);
}

IoThread *iothread_next(Vm *vm, IoThread *after) { return after ? after->next : vm->iothreads; }
const char *iothread_name(const IoThread *t) { return t->name; }
Loop *iothread_loop(IoThread *t) { return t->loop; }
int iothread_id(const IoThread *t) { return 0; }

IoThread *iothread_find(Vm *vm, const char *name)
{
    for (IoThread *t = vm->iothreads; t; t = t->next)
        if (!strcmp(t->name, name))
            return t;
    return NULL;
}

/* One turn of each loop: did any do anything? */
static bool iothreads_turn(Vm *vm)
{
    bool ran = false;

    for (IoThread *t = vm->iothreads; t; t = t->next)
        ran |= loop_turn(t->loop, false);
    return ran;
}

typedef struct Run { Loop *loop; void (*fn)(void *); void *arg; bool done; } Run;

static void run_there(void *opaque)
{
    Run *r = opaque;

    r->fn(r->arg);
    r->done = true;
}

static void start_there(void *opaque)
{
    Run *r = opaque;

    co_start(r->loop, run_there, r);
}

void iothread_run(IoThread *t, void (*fn)(void *), void *arg)
{
    Run r = { t->loop, fn, arg, false };

    fuzz_must(loop_self() != t->loop, "a thread waits for itself");
    loop_call(t->loop, start_there, &r);
    for (unsigned n = 0; !r.done; n++) {
        fuzz_must(n < 100000, "somebody waits for ever for I/O thread %s", t->name);
        if (!iothreads_turn(t->vm))
            time_pass(1000000);
    }
}

#endif
