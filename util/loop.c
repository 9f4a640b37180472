/* SPDX-License-Identifier: MIT */
/*
 * The event loop: epoll, calls, timers in a heap, and parts that work
 * elsewhere (loop-priv.h).
 *
 * A turn runs what is due and looks at the descriptors only when nothing was
 * (or when much has been done since the last look): a coroutine that
 * wakes another one costs no system call. Another thread writes the eventfd
 * only when the loop sleeps. Both sides first say what they did and then look
 * at what the other one did (`posted`, `sleeping`, in the one order of all
 * sequentially consistent operations), so no wake is lost.
 */
#include "util/loop.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "util/loop-priv.h"

enum {
    FIRST_ROOM = 64,
    NEAR = 10000000,    /* ns: a timer that is due sooner must not be kept waiting by a system call */
    LOOK_AFTER = 64,    /* calls and requests done at once between two looks at the descriptors */
};

static _Thread_local Loop *current;

Loop *loop_self(void)
{
    return current;
}

Loop *loop_enter(Loop *loop)
{
    Loop *outer = current;

    current = loop;
    loop->depth++;
    return outer;
}

int64_t loop_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- making it */

/* Descriptors that only end a sleep: told of once for each write or expiry, so nobody need read them. */
static int add_alarm_clock(Loop *loop, int fd)
{
    struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };

    return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static Err *loop_init(Loop *loop)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return err_hint(err_errno(errno, "no event loop: epoll_create1"),
                        "'ulimit -n' says how many descriptors this process may have");
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->event_fd < 0 || add_alarm_clock(loop, loop->event_fd))
        return err_hint(err_errno(errno, "no event loop: eventfd"),
                        "'ulimit -n' says how many descriptors this process may have");
    return NULL;
}

Err *loop_new(unsigned threads, Loop **out)
{
    Loop *loop = aligned_alloc(64, (sizeof(*loop) + 63) & ~(size_t)63);

    if (!loop)
        return err_errno(ENOMEM, "no event loop");
    memset(loop, 0, sizeof(*loop));
    loop->threads = threads;
    loop->epoll_fd = loop->event_fd = loop->timer_fd = -1;
    loop->room = FIRST_ROOM;
    loop->calls = g_new(Call, loop->room);
    pthread_mutex_init(&loop->lock, NULL);

    Err *e = loop_init(loop);

    if (e) {
        loop_free(loop);
        return e;
    }
    *out = loop;
    return NULL;
}

void loop_free(Loop *loop)
{
    if (!loop)
        return;
    while (loop->parts) {
        LoopPart *p = loop->parts;

        loop->parts = p->next;
        p->free(p);
    }
    co_pool_free(loop);
    for (int fd, *p = (int[]){ loop->epoll_fd, loop->event_fd, loop->timer_fd, -2 }; (fd = *p) != -2; p++) {
        if (fd >= 0)
            close(fd);
    }
    pthread_mutex_destroy(&loop->lock);
    g_free(loop->calls);
    g_free(loop->posts);
    g_free(loop->heap);
    free(loop);
}

void loop_add_part(Loop *loop, LoopPart *part)
{
    part->next = loop->parts;
    loop->parts = part;
}

/* ---- calls */

static void wake_up(Loop *loop)
{
    uint64_t one = 1;

    /* EAGAIN: the counter is full, so it is readable. */
    while (write(loop->event_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void loop_poke(Loop *loop)
{
    atomic_store(&loop->posted, true);
    if (atomic_exchange(&loop->sleeping, false))
        wake_up(loop);
}

static void queue_call(Loop *loop, Call c)
{
    if (loop->n == loop->room) {
        Call *more = g_new(Call, (size_t)loop->room * 2);

        for (unsigned i = 0; i < loop->n; i++)
            more[i] = loop->calls[(loop->first + i) & (loop->room - 1)];
        g_free(loop->calls);
        loop->calls = more;
        loop->first = 0;
        loop->room *= 2;
    }
    loop->calls[(loop->first + loop->n++) & (loop->room - 1)] = c;
}

/* Calls of other threads join the queue. */
static void take_posts(Loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->was_called |= loop->n_posts > 0;
    for (unsigned i = 0; i < loop->n_posts; i++)
        queue_call(loop, loop->posts[i]);
    loop->n_posts = 0;
    pthread_mutex_unlock(&loop->lock);
}

void loop_call(Loop *loop, void (*fn)(void *), void *arg)
{
    Call c = { fn, arg };

    if (current == loop) {
        /* What another thread asked before it told us to ask comes first. */
        if (atomic_load_explicit(&loop->posted, memory_order_relaxed))
            take_posts(loop);
        queue_call(loop, c);
        return;
    }
    pthread_mutex_lock(&loop->lock);
    if (loop->n_posts == loop->posts_room) {
        loop->posts_room = loop->posts_room ? loop->posts_room * 2 : FIRST_ROOM;
        loop->posts = g_renew(Call, loop->posts, loop->posts_room);
    }
    loop->posts[loop->n_posts++] = c;
    pthread_mutex_unlock(&loop->lock);
    loop_poke(loop);
}

/* Those that were there when it began; what they ask for is for the next turn. */
static bool run_calls(Loop *loop)
{
    bool ran = loop->n > 0;

    loop->unlooked += loop->n;
    for (unsigned n = loop->n; n && loop->n; n--) {
        Call c = loop->calls[loop->first];

        loop->first = (loop->first + 1) & (loop->room - 1);
        loop->n--;
        c.fn(c.arg);
    }
    return ran;
}

/* ---- descriptors */

static Err *watch_error(int errnum, int fd)
{
    if (errnum == EEXIST)
        return err(ERR_BUSY, "descriptor %d is watched already", fd);
    return err_errno(errnum, "cannot watch descriptor %d", fd);
}

Err *watch_add(Watch *w, Loop *loop, int fd, uint32_t events, void (*ready)(void *, uint32_t), void *opaque)
{
    *w = (Watch){ ready, opaque, fd, events, loop };
    if (!events)
        return NULL;

    struct epoll_event ev = { .events = events, .data.ptr = w };

    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev)) {
        w->fd = -1;
        return watch_error(errno, fd);
    }
    loop->watching++;
    return NULL;
}

/* Events that are under way to it are not for it any more. */
static void forget_events(Watch *w)
{
    for (Batch *b = w->loop->batch; b; b = b->outer) {
        for (int i = b->at; i < b->n; i++) {
            if (b->ev[i].data.ptr == w)
                b->ev[i].events = 0;
        }
    }
}

void watch_events(Watch *w, uint32_t events)
{
    if (w->events == events)
        return;

    /* Out of the set, as epoll tells of errors and hangups even when asked for nothing. */
    int op = !events ? EPOLL_CTL_DEL : !w->events ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    struct epoll_event ev = { .events = events, .data.ptr = w };

    epoll_ctl(w->loop->epoll_fd, op, w->fd, &ev);
    w->loop->watching += op == EPOLL_CTL_ADD;
    w->loop->watching -= op == EPOLL_CTL_DEL;
    w->events = events;
    if (!events)
        forget_events(w);
}

void watch_del(Watch *w)
{
    if (!w->loop || w->fd < 0)
        return;
    watch_events(w, 0);
    w->fd = -1;
}

/* Waits up to ns nanoseconds (-1: without end) for descriptors. */
static int wait_events(Loop *loop, Batch *b, int64_t ns)
{
    const int max = G_N_ELEMENTS(b->ev);

    if (!loop->no_pwait2 && ns > 0) {
        struct timespec t = { ns / 1000000000, ns % 1000000000 };
        int n = epoll_pwait2(loop->epoll_fd, b->ev, max, &t, NULL);

        if (n >= 0 || errno != ENOSYS)
            return n;
        loop->no_pwait2 = true;
    }

    int64_t ms = ns <= 0 ? ns : ns / 1000000 + (ns % 1000000 != 0);

    return epoll_wait(loop->epoll_fd, b->ev, max, ms > INT_MAX ? INT_MAX : (int)ms);
}

static bool dispatch(Loop *loop, Batch *b)
{
    bool ran = false;

    b->outer = loop->batch;
    loop->batch = b;
    while (b->at < b->n) {
        struct epoll_event *ev = &b->ev[b->at++];
        Watch *w = ev->data.ptr;

        /* NULL: our own; what there is to do stands elsewhere. No events: the watch is gone. */
        if (!w || !ev->events)
            continue;

        uint32_t events = ev->events & (w->events | EPOLLERR | EPOLLHUP);

        if (events) {
            w->ready(w->opaque, events);
            ran = true;
        }
    }
    loop->batch = b->outer;
    return ran;
}

/* ---- timers: a heap, its first element is due first */

static void heap_put(Loop *loop, unsigned slot, Alarm *a)
{
    loop->heap[slot] = a;
    a->slot = slot;
}

static void heap_up(Loop *loop, Alarm *a)
{
    unsigned i = a->slot;

    for (; i && loop->heap[(i - 1) / 2]->when > a->when; i = (i - 1) / 2)
        heap_put(loop, i, loop->heap[(i - 1) / 2]);
    heap_put(loop, i, a);
}

static void heap_down(Loop *loop, Alarm *a)
{
    unsigned i = a->slot;

    for (unsigned child; (child = 2 * i + 1) < loop->alarms; i = child) {
        if (child + 1 < loop->alarms && loop->heap[child + 1]->when < loop->heap[child]->when)
            child++;
        if (loop->heap[child]->when >= a->when)
            break;
        heap_put(loop, i, loop->heap[child]);
    }
    heap_put(loop, i, a);
}

/* Has something a loop that sleeps, or one inside another, must hear of. */
static void settle(Loop *loop);

void alarm_init(Alarm *a, Loop *loop, void (*fire)(void *), void *opaque)
{
    *a = (Alarm){ fire, opaque, -1, loop, 0 };
}

void alarm_del(Alarm *a)
{
    Loop *loop = a->loop;

    if (!loop || a->when < 0)
        return;

    Alarm *last = loop->heap[--loop->alarms];

    a->when = -1;
    if (last == a)
        return;
    heap_put(loop, a->slot, last);
    heap_up(loop, last);
    heap_down(loop, last);
}

void alarm_set(Alarm *a, int64_t when)
{
    Loop *loop = a->loop;

    when = when < 0 ? 0 : when;
    if (a->when < 0) {
        if (loop->alarms == loop->heap_room) {
            loop->heap_room = loop->heap_room ? loop->heap_room * 2 : 16;
            loop->heap = g_renew(Alarm *, loop->heap, loop->heap_room);
        }
        a->when = when;
        heap_put(loop, loop->alarms++, a);
    }
    a->when = when;
    heap_up(loop, a);
    heap_down(loop, a);
    settle(loop);
}

/* Those due when it began, each once. */
static bool fire_alarms(Loop *loop)
{
    if (!loop->alarms)
        return false;

    int64_t now = loop_now();
    bool ran = false;

    for (unsigned n = loop->alarms; n && loop->alarms && loop->heap[0]->when <= now; n--) {
        Alarm *a = loop->heap[0];

        alarm_del(a);
        a->fire(a->opaque);
        ran = true;
    }
    return ran;
}

/* ---- turning */

bool loop_is_alone(Loop *loop)
{
    return loop->may_wait && loop->outstanding == 1 && !loop->n && !loop->watching && !loop->was_called &&
           loop->timer_fd < 0 && !atomic_load_explicit(&loop->posted, memory_order_relaxed) &&
           (!loop->alarms || loop->heap[0]->when - loop_now() > NEAR);
}

static bool run_due(Loop *loop)
{
    bool ran = false;

    loop->eager = 0;
    if (atomic_load_explicit(&loop->posted, memory_order_relaxed)) {
        atomic_store(&loop->posted, false);
        take_posts(loop);
    }
    for (LoopPart *p = loop->parts; p; p = p->next)
        ran |= p->reap(p);
    ran |= fire_alarms(loop);
    ran |= run_calls(loop);
    return ran;
}

/* The parts get what was asked for; how long the loop may sleep for them, -1: no limit. */
static int64_t push_parts(Loop *loop)
{
    int64_t least = -1;

    for (LoopPart *p = loop->parts; p; p = p->next) {
        int64_t ns = p->push(p);

        if (ns >= 0 && (least < 0 || ns < least))
            least = ns;
    }
    return least;
}

/* How long until the first timer, at most `most` (-1: no limit). */
static int64_t until_alarm(Loop *loop, int64_t most)
{
    if (!loop->alarms)
        return most;

    int64_t ns = loop->heap[0]->when - loop_now();

    ns = ns < 0 ? 0 : ns;
    return most >= 0 && most < ns ? most : ns;
}

/* Looks at the descriptors, and sleeps up to ns when nobody has posted anything. False: interrupted. */
static bool look(Loop *loop, int64_t ns, bool *ran)
{
    Batch b = { .n = 0 };

    if (ns) {
        atomic_store(&loop->sleeping, true);
        if (atomic_load(&loop->posted))
            ns = 0;
    }
    b.n = wait_events(loop, &b, ns);
    atomic_store_explicit(&loop->sleeping, false, memory_order_relaxed);
    loop->unlooked = 0;
    if (b.n < 0)
        return errno != EINTR;
    *ran |= dispatch(loop, &b);
    return true;
}

bool loop_turn(Loop *loop, bool wait)
{
    Loop *outer = loop_enter(loop);
    bool may_wait = loop->may_wait, ran, go_on = true;

    do {
        ran = run_due(loop);
        loop->may_wait = wait;

        int64_t most = push_parts(loop);

        loop->may_wait = false;
        loop->unlooked += loop->eager + 1;
        if ((ran || loop->n) && loop->unlooked < LOOK_AFTER)
            break;
        most = ran || loop->n || !wait ? 0 : until_alarm(loop, most);
        go_on = look(loop, most, &ran);
        if (!ran && (!wait || !go_on))      /* a request that ended interrupts as a signal does */
            ran = run_due(loop);
    } while (!ran && wait && go_on);
    loop->may_wait = may_wait;
    loop_leave(loop, outer);
    return ran || loop->n;
}

/* ---- inside another loop */

/*
 * After what was asked of the loop outside its turns, and after each turn: the
 * descriptor is readable if there is something to do, and will be when the
 * next timer is due. Nothing of a loop that sleeps by itself.
 */
static void settle(Loop *loop)
{
    if (loop->timer_fd < 0 || loop->depth)
        return;

    int64_t most = until_alarm(loop, push_parts(loop));
    struct itimerspec t = { .it_value = { most / 1000000000, most % 1000000000 } };

    atomic_store(&loop->sleeping, true);
    if (loop->n || most == 0 || atomic_load(&loop->posted)) {
        loop_poke(loop);
        return;
    }
    if (most < 0)
        t.it_value = (struct timespec){ 0 };
    timerfd_settime(loop->timer_fd, 0, &t, NULL);
}

void loop_leave(Loop *loop, Loop *outer)
{
    loop->depth--;
    current = outer;
    settle(loop);
}

int loop_fd(Loop *loop)
{
    if (loop->timer_fd < 0) {
        loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        if (loop->timer_fd < 0 || add_alarm_clock(loop, loop->timer_fd))
            return -1;
        settle(loop);
    }
    return loop->epoll_fd;
}
