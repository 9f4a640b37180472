/* SPDX-License-Identifier: MIT */
/*
 * libslirp's descriptors and timers on a Loop. The library wants to be asked
 * before each sleep what it waits for, and told after it what happened. Here it
 * is asked after it has done something, and epoll keeps the answer.
 *
 * A descriptor that is not waited for any more stays watched until it tells of
 * something that nobody wants: mostly it is waited for again before that.
 */
#include <string.h>
#include <sys/epoll.h>

#include "net/user/user.h"
#include "util/log.h"

typedef struct Poll {
    User *user;
    Watch watch;
    int fd;
    int wants, got;             /* SLIRP_POLL_* */
    unsigned generation;        /* the last answer that named it */
} Poll;

static const struct { int slirp; uint32_t epoll; } bits[] = {
    { SLIRP_POLL_IN, EPOLLIN }, { SLIRP_POLL_OUT, EPOLLOUT }, { SLIRP_POLL_PRI, EPOLLPRI },
    { SLIRP_POLL_ERR, EPOLLERR }, { SLIRP_POLL_HUP, EPOLLHUP },
};

static uint32_t to_epoll(int events)
{
    uint32_t e = 0;

    for (size_t i = 0; i < 3; i++)
        e |= events & bits[i].slirp ? bits[i].epoll : 0;
    return e;
}

static int to_slirp(uint32_t events)
{
    int s = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++)
        s |= events & bits[i].epoll ? bits[i].slirp : 0;
    return s;
}

static void run_soon(User *u)
{
    if (u->run.when < 0)
        alarm_set(&u->run, 0);
}

static void ready(void *opaque, uint32_t events)
{
    Poll *p = opaque;
    int what = to_slirp(events) & (p->wants | SLIRP_POLL_ERR | SLIRP_POLL_HUP);

    /* Nobody wants it, or the guest has no room for what it would bring. */
    if (!p->wants || !what || p->user->held) {
        watch_events(&p->watch, p->user->held ? 0 : to_epoll(p->wants));
        return;
    }
    p->got |= what;
    run_soon(p->user);
}

static void poll_free(void *opaque)
{
    Poll *p = opaque;

    watch_del(&p->watch);
    g_free(p);
}

static int add_poll(int fd, int events, void *opaque)
{
    User *u = opaque;
    Poll *p = g_hash_table_lookup(u->polls, GINT_TO_POINTER(fd));

    if (!p) {
        p = g_new0(Poll, 1);
        p->user = u;
        p->fd = fd;
        p->watch.fd = -1;
        g_hash_table_insert(u->polls, GINT_TO_POINTER(fd), p);
    }
    p->wants = events;
    p->generation = u->generation;
    uint32_t e = to_epoll(events);

    if (p->watch.fd < 0) {
        Err *err = watch_add(&p->watch, u->loop, fd, e, ready, p);

        if (err) {
            guest_error("user network: %s", err_text(err));
            err_free(err);
        }
    } else if (e & ~p->watch.events) {
        watch_events(&p->watch, e | p->watch.events);
    }
    return fd;
}

static int get_events(int idx, void *opaque)
{
    User *u = opaque;
    Poll *p = g_hash_table_lookup(u->polls, GINT_TO_POINTER(idx));
    int got = p ? p->got : 0;

    if (p)
        p->got = 0;
    return got;
}

/* Asks slirp what it waits for. */
static void ask(User *u)
{
    uint32_t timeout = UINT32_MAX;
    GHashTableIter i;
    void *value;

    u->generation++;
    u->lib.pollfds_fill(u->slirp, &timeout, add_poll, u);
    g_hash_table_iter_init(&i, u->polls);
    while (g_hash_table_iter_next(&i, NULL, &value)) {
        Poll *p = value;

        if (p->generation != u->generation)
            p->wants = p->got = 0;
    }
    if (timeout == UINT32_MAX)
        alarm_del(&u->timeout);
    else
        alarm_set(&u->timeout, loop_now() + timeout * INT64_C(1000000));
}

static void run(void *opaque)
{
    User *u = opaque;

    alarm_del(&u->settle);
    if (u->held)
        return;                 /* user_resume comes */
    u->lib.pollfds_poll(u->slirp, 0, get_events, u);
    ask(u);
}

static void settle(void *opaque)
{
    User *u = opaque;

    if (u->run.when < 0 && !u->held)
        ask(u);
}

void user_settle(User *u)
{
    if (u->settle.when < 0 && u->run.when < 0)
        alarm_set(&u->settle, 0);
}

void user_resume(User *u)
{
    run_soon(u);
}

static void on_timeout(void *opaque)
{
    run_soon(opaque);
}

/* ---- callbacks */

typedef struct UserTimer {
    Alarm alarm;
    SlirpTimerCb cb;
    void *opaque;
    User *user;
} UserTimer;

static void timer_fire(void *opaque)
{
    UserTimer *t = opaque;

    t->cb(t->opaque);
    user_settle(t->user);
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    User *u = opaque;
    UserTimer *t = g_new0(UserTimer, 1);

    *t = (UserTimer){ .cb = cb, .opaque = cb_opaque, .user = u };
    alarm_init(&t->alarm, u->loop, timer_fire, t);
    return t;
}

static void timer_free(void *timer, void *opaque)
{
    UserTimer *t = timer;

    alarm_del(&t->alarm);
    g_free(t);
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
    UserTimer *t = timer;

    alarm_set(&t->alarm, expire_ms * 1000000);
}

static int64_t clock_get_ns(void *opaque)
{
    return loop_now();
}

static void on_guest_error(const char *msg, void *opaque)
{
    guest_error("user network: %s", msg);
}

/* A new socket may have the number of one that was closed; epoll forgot that one by itself. */
static void forget_fd(int fd, void *opaque)
{
    User *u = opaque;

    g_hash_table_remove(u->polls, GINT_TO_POINTER(fd));
}

static void on_notify(void *opaque)
{
    user_settle(opaque);
}

const SlirpCb user_callbacks = {
    .send_packet = user_send_packet, .guest_error = on_guest_error, .clock_get_ns = clock_get_ns,
    .timer_new = timer_new, .timer_free = timer_free, .timer_mod = timer_mod,
    .register_poll_fd = forget_fd, .unregister_poll_fd = forget_fd, .notify = on_notify,
};

void user_poll_start(User *u)
{
    u->polls = g_hash_table_new_full(NULL, NULL, NULL, poll_free);
    alarm_init(&u->timeout, u->loop, on_timeout, u);
    alarm_init(&u->run, u->loop, run, u);
    alarm_init(&u->settle, u->loop, settle, u);
}

void user_poll_stop(User *u)
{
    alarm_del(&u->timeout);
    alarm_del(&u->run);
    alarm_del(&u->settle);
    g_clear_pointer(&u->polls, g_hash_table_destroy);
}
