/* SPDX-License-Identifier: MIT */
/*
 * util/loop: calls of this thread and of others, timers, descriptors, a loop
 * inside another one.
 */
#include "tests/unit/test.h"
#include "util/loop.h"

#include <glib.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const int64_t ms = 1000000;

static Loop *make(void)
{
    Loop *loop = NULL;
    Err *e = loop_new(0, &loop);

    CHECK(!e);
    err_free(e);
    return loop;
}

/* ---- calls */

static char order[100];

static void note_a(void *c) { strcat(order, "a"); }
static void note_b(void *c) { strcat(order, "b"); }
static void note_then_b(void *loop)
{
    CHECK(loop_self() == loop);
    strcat(order, "(");
    loop_call(loop, note_b, NULL);
    strcat(order, ")");
}

static void calls_in_order(void)
{
    Loop *loop = make();

    order[0] = 0;
    CHECK(!loop_turn(loop, false));
    loop_call(loop, note_then_b, loop);
    loop_call(loop, note_a, NULL);
    CHECK(loop_turn(loop, true));
    CHECK_STR(order, "()a");
    CHECK(loop_turn(loop, true));
    CHECK_STR(order, "()ab");
    CHECK(!loop_turn(loop, false));
    CHECK(loop_self() == NULL);
    for (int i = 0; i < 70; i++)
        loop_call(loop, note_a, NULL);
    order[0] = 0;
    loop_turn(loop, true);
    CHECK_EQ(strlen(order), 70);
    loop_free(loop);
}

/* Threads post while the loop sleeps or runs; each one's calls come in its order. */
enum { POSTERS = 4, POSTS = 5000 };

typedef struct Post { int poster, nr; } Post;
static Post posts[POSTERS][POSTS];
static int seen[POSTERS], disorder;
static Loop *posted_to;

static void on_post(void *opaque)
{
    Post *p = opaque;

    disorder += seen[p->poster]++ != p->nr;
}

static void *poster(void *opaque)
{
    int me = (int)(intptr_t)opaque;

    for (int i = 0; i < POSTS; i++) {
        posts[me][i] = (Post){ me, i };
        loop_call(posted_to, on_post, &posts[me][i]);
        if (i % 50 == 0)
            usleep(20);
    }
    return NULL;
}

static void calls_of_threads(void)
{
    pthread_t t[POSTERS];
    int all = 0;

    posted_to = make();
    for (intptr_t i = 0; i < POSTERS; i++)
        pthread_create(&t[i], NULL, poster, (void *)i);
    while (all < POSTERS * POSTS) {
        loop_turn(posted_to, true);
        all = 0;
        for (int i = 0; i < POSTERS; i++)
            all += seen[i];
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(t[i], NULL);
    CHECK_EQ(disorder, 0);
    loop_free(posted_to);
}

/* ---- timers */

typedef struct Ring { Alarm a; int64_t fired; int n; } Ring;
static int64_t last_due;
static int out_of_order;

static void ring(void *opaque)
{
    Ring *r = opaque;

    r->fired = loop_now();
    r->n++;
}

static void timers_in_order_fire(void *opaque)
{
    Ring *r = opaque;

    out_of_order += r->fired < last_due;
    last_due = r->fired;
    r->n++;
}

static void timers(void)
{
    Loop *loop = make();
    Ring a = { 0 }, b = { 0 };
    int64_t start = loop_now();

    alarm_init(&a.a, loop, ring, &a);
    alarm_init(&b.a, loop, ring, &b);
    alarm_set(&a.a, start + 3 * ms);
    alarm_set(&b.a, start + 1 * ms);
    while (!a.n)
        loop_turn(loop, true);
    CHECK(b.n == 1 && a.n == 1);
    CHECK(b.fired >= start + 1 * ms && a.fired >= start + 3 * ms);
    CHECK_EQ(a.a.when, -1);
    alarm_set(&a.a, start);             /* long ago: at once */
    CHECK(loop_turn(loop, false));
    CHECK_EQ(a.n, 2);
    alarm_set(&a.a, loop_now() + 1000 * 1000 * ms);
    alarm_del(&a.a);
    alarm_del(&a.a);
    CHECK(!loop_turn(loop, false));

    /* Many, set, moved and deleted at random; `fired` holds when each is due. */
    Ring *many = g_new0(Ring, 1000);
    int want = 0, got = 0;

    srand(1);
    for (int i = 0; i < 1000; i++)
        alarm_init(&many[i].a, loop, timers_in_order_fire, &many[i]);
    for (int i = 0; i < 5000; i++) {
        Ring *r = &many[rand() % 1000];

        r->fired = 1 + rand() % 1000;
        if (rand() % 4)
            alarm_set(&r->a, r->fired);
        else
            alarm_del(&r->a);
    }
    for (int i = 0; i < 1000; i++)
        want += many[i].a.when >= 0;
    while (loop_turn(loop, false))
        ;
    for (int i = 0; i < 1000; i++)
        got += many[i].n;
    CHECK_EQ(got, want);
    CHECK_EQ(out_of_order, 0);
    g_free(many);
    loop_free(loop);
}

/* ---- descriptors */

static int reads_seen;
static Watch *victim;

static void read_one(void *opaque, uint32_t events)
{
    Watch *w = opaque;
    char c;

    CHECK(events & EPOLLIN);
    CHECK_EQ(read(w->fd, &c, 1), 1);
    reads_seen++;
}

static void kill_victim(void *opaque, uint32_t events)
{
    reads_seen++;
    watch_del(opaque);
    watch_del(victim);
}

static void descriptors(void)
{
    Loop *loop = make();
    Watch w, w2, none = { .fd = -1 };
    int p[2], q[2];

    CHECK(!pipe(p) && !socketpair(AF_UNIX, SOCK_STREAM, 0, q));
    err_free(watch_add(&w, loop, p[0], EPOLLIN, read_one, &w));
    CHECK(!loop_turn(loop, false));
    CHECK_EQ(write(p[1], "xy", 2), 2);
    while (reads_seen < 2)
        loop_turn(loop, true);
    CHECK(!loop_turn(loop, false));

    /* not asked for now: no call, hangups neither */
    watch_events(&w, 0);
    CHECK_EQ(write(p[1], "z", 1), 1);
    CHECK(!loop_turn(loop, false));
    watch_events(&w, EPOLLIN);
    CHECK(loop_turn(loop, true));
    CHECK_EQ(reads_seen, 3);
    watch_events(&w, 0);
    close(p[1]);
    CHECK(!loop_turn(loop, false));
    watch_del(&w);
    watch_del(&w);
    watch_del(&none);

    /* One of two that are ready deletes both: the other one is not called. */
    int r[2];

    CHECK(!pipe(r));
    reads_seen = 0;
    CHECK_EQ(write(r[1], "a", 1) + write(q[1], "b", 1), 2);
    err_free(watch_add(&w, loop, r[0], EPOLLIN, kill_victim, &w));
    err_free(watch_add(&w2, loop, q[0], EPOLLIN, kill_victim, &w2));
    victim = &w2;
    Watch w3;
    Err *e = watch_add(&w3, loop, q[0], EPOLLIN, read_one, &w3);

    CHECK(e && err_class(e) == ERR_BUSY);
    err_free(e);
    loop_turn(loop, true);
    if (w.fd >= 0) {                    /* q came first and deleted itself alone */
        victim = &w;
        watch_del(&w);
    }
    CHECK_EQ(reads_seen, 1);
    CHECK(!loop_turn(loop, false));

    char name[] = "/tmp/lyre-loop-XXXXXX";
    int file = mkstemp(name);

    unlink(name);
    e = watch_add(&w3, loop, file, EPOLLIN, read_one, &w3);
    CHECK(e != NULL);                   /* a plain file cannot be watched */
    err_free(e);
    for (int *fd = (int[]){ p[0], q[0], q[1], r[0], r[1], file, -1 }; *fd >= 0; fd++)
        close(*fd);
    loop_free(loop);
}

/* Calls that go on for ever do not hide descriptors and timers. */
static int again_left;

static void again(void *loop)
{
    if (again_left)
        loop_call(loop, again, loop);
}

static void stop_again(void *opaque, uint32_t events)
{
    watch_del(opaque);
    again_left = 0;
}

static void fairness(void)
{
    Loop *loop = make();
    Watch w;
    Ring r = { 0 };
    int p[2];

    CHECK(!pipe(p));
    CHECK_EQ(write(p[1], "x", 1), 1);
    err_free(watch_add(&w, loop, p[0], EPOLLIN, stop_again, &w));
    again_left = 1;
    alarm_init(&r.a, loop, ring, &r);
    alarm_set(&r.a, 0);
    loop_call(loop, again, loop);
    for (int i = 0; i < 100 && again_left; i++)
        loop_turn(loop, true);
    CHECK_EQ(again_left, 0);
    CHECK_EQ(r.n, 1);
    close(p[0]);
    close(p[1]);
    loop_free(loop);
}

/* ---- inside another loop */

static bool readable(int fd, int timeout)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, timeout) == 1;
}

static void *post_later(void *loop)
{
    usleep(2000);
    loop_call(loop, note_a, NULL);
    return NULL;
}

static void inner_loop(void)
{
    Loop *loop = make();
    int fd = loop_fd(loop);
    Ring r = { 0 };
    pthread_t t;

    CHECK(fd >= 0);
    CHECK(!readable(fd, 0));
    order[0] = 0;
    loop_call(loop, note_then_b, loop);
    CHECK(readable(fd, 0));
    CHECK(loop_turn(loop, false));
    CHECK(readable(fd, 0));             /* what that call asked for */
    CHECK(loop_turn(loop, false));
    CHECK_STR(order, "()b");
    while (loop_turn(loop, false))
        ;
    CHECK(!readable(fd, 0));

    alarm_init(&r.a, loop, ring, &r);
    alarm_set(&r.a, loop_now() + 2 * ms);
    CHECK(!readable(fd, 0));
    CHECK(readable(fd, 1000));
    loop_turn(loop, false);
    CHECK_EQ(r.n, 1);
    CHECK(!readable(fd, 0));
    alarm_set(&r.a, 1);
    CHECK(readable(fd, 0));
    loop_turn(loop, false);
    CHECK_EQ(r.n, 2);
    alarm_set(&r.a, loop_now() + 2 * ms);
    alarm_del(&r.a);

    pthread_create(&t, NULL, post_later, loop);
    for (order[0] = 0; !order[0]; loop_turn(loop, false))
        CHECK(readable(fd, 1000));
    CHECK_STR(order, "a");
    pthread_join(t, NULL);
    loop_free(loop);
}

int main(void)
{
    RUN(calls_in_order);
    RUN(calls_of_threads);
    RUN(timers);
    RUN(descriptors);
    RUN(fairness);
    RUN(inner_loop);
    return test_end();
}
