/* SPDX-License-Identifier: MIT */
/*
 * Clocks and timers.
 *
 * The kernel wakes the main loop: one timerfd holds the earliest deadline of
 * CLOCK_GUEST and CLOCK_REAL, another that of CLOCK_HOST, both absolute and in
 * nanoseconds. Arming one is a system call that any thread may do, so nothing
 * else is needed to tell the main loop of a new deadline.
 */
#include "system/clock.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "system/vm.h"

#define NEVER INT64_MAX
#define NS_PER_S INT64_C(1000000000)

enum { FD_MONO, FD_HOST, FDS };

typedef struct ClockSource { GSource base; Clocks *clocks; } ClockSource;

struct Clocks {
    Vm *vm;
    /*
     * CLOCK_GUEST in one word, so that it is read without a lock: value * 2 + 1
     * while it runs, the value being what to add to CLOCK_MONOTONIC; value * 2
     * while it stands, the value being the time itself.
     */
    _Atomic int64_t guest;
    RtcTime rtc;
    pthread_mutex_t lock;           /* guards what follows */
    Timer *first[CLOCKS];           /* ascending by when */
    int64_t armed[FDS];             /* deadlines the kernel has */
    int fd[FDS];                    /* timerfds: CLOCK_MONOTONIC, CLOCK_REALTIME */
    GSource *source;
};

static int64_t host_now(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t clock_now(Vm *vm, ClockKind kind)
{
    switch (kind) {
    case CLOCK_GUEST: {
        int64_t g = atomic_load_explicit(&vm->clocks->guest, memory_order_acquire);

        return g & 1 ? (g >> 1) + host_now(CLOCK_MONOTONIC) : g >> 1;
    }
    case CLOCK_HOST:
        return host_now(CLOCK_REALTIME);
    default:
        return host_now(CLOCK_MONOTONIC);
    }
}

/* ---- arming */

static int64_t earliest(const Timer *t, int64_t shift)
{
    int64_t when;

    if (!t || __builtin_add_overflow(t->when, shift, &when))
        return NEVER;
    return when < 1 ? 1 : when;     /* 0 would disarm */
}

static void arm_fd(Clocks *c, int which, int64_t when)
{
    if (when == c->armed[which])
        return;
    struct itimerspec its = { 0 };

    if (when != NEVER) {
        its.it_value.tv_sec = when / NS_PER_S;
        its.it_value.tv_nsec = when % NS_PER_S;
    }
    timerfd_settime(c->fd[which], TFD_TIMER_ABSTIME | (which == FD_HOST ? TFD_TIMER_CANCEL_ON_SET : 0), &its, NULL);
    c->armed[which] = when;
}

/* Gives the kernel the earliest deadlines. Under c->lock. */
static void arm(Clocks *c)
{
    int64_t g = atomic_load(&c->guest);
    int64_t mono = earliest(c->first[CLOCK_REAL], 0);

    if (g & 1)
        mono = MIN(mono, earliest(c->first[CLOCK_GUEST], -(g >> 1)));
    arm_fd(c, FD_MONO, mono);
    arm_fd(c, FD_HOST, earliest(c->first[CLOCK_HOST], 0));
}

void clock_run(Vm *vm, bool run)
{
    Clocks *c = vm->clocks;

    pthread_mutex_lock(&c->lock);
    int64_t g = atomic_load(&c->guest), mono = host_now(CLOCK_MONOTONIC);
    if (run && !(g & 1))
        atomic_store(&c->guest, ((g >> 1) - mono) * 2 + 1);
    else if (!run && g & 1)
        atomic_store(&c->guest, ((g >> 1) + mono) * 2);
    arm(c);
    pthread_mutex_unlock(&c->lock);
}

void clock_set_guest(Vm *vm, int64_t now)
{
    Clocks *c = vm->clocks;

    pthread_mutex_lock(&c->lock);
    atomic_store(&c->guest, now * 2);
    arm(c);
    pthread_mutex_unlock(&c->lock);
}

/* ---- timers */

void timer_init(Timer *t, Vm *vm, ClockKind kind, void (*fire)(void *), void *opaque)
{
    *t = (Timer){ .vm = vm, .kind = kind, .fire = fire, .opaque = opaque, .when = -1 };
}

static void unlink_timer(Clocks *c, Timer *t)
{
    if (t->when < 0)
        return;
    for (Timer **p = &c->first[t->kind]; *p; p = &(*p)->next) {
        if (*p == t) {
            *p = t->next;
            break;
        }
    }
    t->next = NULL;
    t->when = -1;
}

void timer_set(Timer *t, int64_t when)
{
    Clocks *c = t->vm->clocks;

    pthread_mutex_lock(&c->lock);
    unlink_timer(c, t);
    t->when = when < 0 ? 0 : when;
    Timer **p = &c->first[t->kind];
    while (*p && (*p)->when <= t->when)
        p = &(*p)->next;
    t->next = *p;
    *p = t;
    arm(c);
    pthread_mutex_unlock(&c->lock);
}

/* A deadline that has gone is left armed: waking once for nothing costs less than a system call each time. */
void timer_del(Timer *t)
{
    Clocks *c = t->vm->clocks;

    pthread_mutex_lock(&c->lock);
    unlink_timer(c, t);
    pthread_mutex_unlock(&c->lock);
}

/* ---- the main loop's side */

static Timer *pop_due(Clocks *c, ClockKind kind, int64_t now)
{
    pthread_mutex_lock(&c->lock);
    Timer *t = c->first[kind];
    if (t && t->when <= now)
        unlink_timer(c, t);
    else
        t = NULL;
    pthread_mutex_unlock(&c->lock);
    return t;
}

static int count_due(Clocks *c, ClockKind kind, int64_t now)
{
    int n = 0;

    pthread_mutex_lock(&c->lock);
    for (const Timer *t = c->first[kind]; t && t->when <= now; t = t->next)
        n++;
    pthread_mutex_unlock(&c->lock);
    return n;
}

/* Fires what is due now, each once: one that sets itself into the past waits for the next turn. */
static void fire_due(Clocks *c, ClockKind kind)
{
    int64_t now = clock_now(c->vm, kind);

    for (int n = count_due(c, kind, now); n > 0; n--) {
        Timer *t = pop_due(c, kind, now);

        if (!t)
            break;
        t->fire(t->opaque);
    }
}

static gboolean clocks_dispatch(GSource *source, GSourceFunc fn, gpointer opaque)
{
    Clocks *c = ((ClockSource *)source)->clocks;
    uint64_t n;

    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < FDS; i++) {
        /* A read also fails when the host's wall clock was set; either way it is armed anew below. */
        if (read(c->fd[i], &n, sizeof(n)) == sizeof(n) || errno == ECANCELED)
            c->armed[i] = NEVER;
    }
    pthread_mutex_unlock(&c->lock);

    vm_lock(c->vm);
    if (atomic_load(&c->guest) & 1)
        fire_due(c, CLOCK_GUEST);
    fire_due(c, CLOCK_REAL);
    fire_due(c, CLOCK_HOST);
    vm_unlock(c->vm);

    pthread_mutex_lock(&c->lock);
    arm(c);
    pthread_mutex_unlock(&c->lock);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs clock_source_funcs = { .dispatch = clocks_dispatch };

Clocks *clocks_new(Vm *vm)
{
    int mono = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int host = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);

    if (mono < 0 || host < 0) {
        int errnum = errno;

        if (mono >= 0)
            close(mono);
        errno = errnum;
        return NULL;
    }
    Clocks *c = g_new0(Clocks, 1);
    c->vm = vm;
    c->rtc.kind = CLOCK_HOST;
    c->fd[FD_MONO] = mono;
    c->fd[FD_HOST] = host;
    c->armed[FD_MONO] = c->armed[FD_HOST] = NEVER;
    pthread_mutex_init(&c->lock, NULL);
    c->source = g_source_new(&clock_source_funcs, sizeof(ClockSource));
    ((ClockSource *)c->source)->clocks = c;
    g_source_set_name(c->source, "timers");
    for (int i = 0; i < FDS; i++)
        g_source_add_unix_fd(c->source, c->fd[i], G_IO_IN | G_IO_ERR);
    g_source_attach(c->source, vm->main_context);
    return c;
}

void clocks_free(Clocks *c)
{
    if (!c)
        return;
    g_source_destroy(c->source);
    g_source_unref(c->source);
    close(c->fd[FD_MONO]);
    close(c->fd[FD_HOST]);
    pthread_mutex_destroy(&c->lock);
    g_free(c);
}

/* ---- -rtc */

RtcTime clock_rtc(const Vm *vm)
{
    return vm->clocks->rtc;
}

/* "YYYY-MM-DD" or "YYYY-MM-DDThh:mm:ss" as seconds since 1970, UTC. */
static Err *parse_date(const char *text, int64_t *out)
{
    struct tm tm = { 0 };
    const char *end = strptime(text, "%Y-%m-%d", &tm);

    if (end && *end == 'T')
        end = strptime(end + 1, "%H:%M:%S", &tm);
    if (!end || *end)
        return err_hint(err(ERR_INVALID, "'%s' is not a date", text),
                        "It is 'utc', 'localtime', or a date as 2006-06-17T16:01:21 or 2006-06-17.");
    *out = timegm(&tm);
    return NULL;
}

static Err *parse_rtc_clock(const char *text, ClockKind *kind)
{
    static const char *const names[] = { "host", "rt", "vm", NULL };
    static const ClockKind kinds[] = { CLOCK_HOST, CLOCK_REAL, CLOCK_GUEST };

    for (int i = 0; names[i]; i++) {
        if (!strcmp(text, names[i])) {
            *kind = kinds[i];
            return NULL;
        }
    }
    const char *near = nearest_name(text, names);
    return err_hint(err(ERR_INVALID, "-rtc: clock '%s' is not known", text),
                    near ? "Did you mean '%s'?" : "It is one of host, rt, vm.", near);
}

Err *clock_set_rtc(Vm *vm, const char *base, const char *clock)
{
    RtcTime rtc = { .kind = CLOCK_HOST };
    int64_t start = host_now(CLOCK_REALTIME);

    if (clock)
        TRY(parse_rtc_clock(clock, &rtc.kind));
    if (base && !strcmp(base, "localtime")) {
        time_t now = start / NS_PER_S;
        struct tm tm;

        localtime_r(&now, &tm);
        start += tm.tm_gmtoff * NS_PER_S;
    } else if (base && strcmp(base, "utc")) {
        int64_t seconds = 0;

        TRY(err_in(parse_date(base, &seconds), "-rtc"));
        start = seconds * NS_PER_S;
    }
    rtc.offset = start - clock_now(vm, rtc.kind);
    vm->clocks->rtc = rtc;
    return NULL;
}
