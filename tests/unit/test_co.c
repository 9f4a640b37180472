/* SPDX-License-Identifier: MIT */
/*
 * util/co: starting, sleeping and waking, locks and queues, many at once,
 * waits for time, descriptors and workers, wakes of other threads.
 */
#include "tests/unit/test.h"
#include "util/co.h"

#include <errno.h>
#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static Loop *loop;
static GString *said;

static void say(const char *what)
{
    g_string_append(said, what);
}

static void said_is(const char *want)
{
    CHECK_STR(said->str, want);
    g_string_set_size(said, 0);
}

/* ---- starting, yielding, waking */

static Co *sleeper;

static void sleeps_twice(void *c)
{
    say("1");
    CHECK(co_self() != NULL && co_loop() == loop);
    sleeper = co_self();
    co_yield();
    say("2");
    co_wake(co_self());         /* comes first: the yield does not sleep */
    co_yield();
    say("3");
    co_yield();
    say("4");
    sleeper = NULL;
}

static void yield_and_wake(void)
{
    CHECK(co_self() == NULL && co_loop() == NULL);
    co_start(loop, sleeps_twice, NULL);
    CHECK(co_self() == NULL);
    said_is("1");
    co_wake(sleeper);
    said_is("");                /* never at once */
    loop_turn(loop, true);
    said_is("23");
    co_wake(sleeper);
    loop_turn(loop, true);
    said_is("4");
}

static void inner(void *c)
{
    say("i");
    co_pause();
    say("j");
}

static void middle(void *c)
{
    say("m");
    co_start(loop, inner, NULL);
    say("n");
    co_pause();
    say("o");
}

static void outer(void *c)
{
    say("<");
    co_start(loop, middle, NULL);
    say(">");
    co_pause();
    co_pause();
    co_pause();
    say(".");
}

static void nested(void)
{
    co_run(loop, outer, NULL);
    said_is("<min>jo.");
}

/* Deep in the stack, other coroutines in between: nothing is overwritten. */
static uint64_t deep(unsigned n, uint64_t x)
{
    volatile uint64_t here[16];

    for (int i = 0; i < 16; i++)
        here[i] = x + (uint64_t)i;
    if (n % 50 == 0)
        co_pause();
    if (n)
        x = deep(n - 1, x * 31 + 7);
    for (int i = 0; i < 16; i++)
        x += here[i];
    return x;
}

static uint64_t deep_sums[8];
static int deep_done;

static void deep_one(void *opaque)
{
    uint64_t *sum = opaque;

    *sum = deep(400, 5);
    deep_done++;
}

static void deep_stacks(void)
{
    for (int i = 0; i < 8; i++)
        co_start(loop, deep_one, &deep_sums[i]);
    while (deep_done < 8)
        loop_turn(loop, true);
    for (int i = 1; i < 8; i++)
        CHECK_EQ(deep_sums[i], deep_sums[0]);
}

/* ---- many */

static unsigned many_ended;

static void one_of_many(void *opaque)
{
    unsigned n = (unsigned)(uintptr_t)opaque;

    for (unsigned i = 0; i < n % 4; i++)
        co_pause();
    many_ended++;
}

enum { MANY = 3000, ROUNDS = 4 };

static void thousands(void)
{
    for (unsigned round = 1; round <= ROUNDS; round++) {
        for (uintptr_t i = 0; i < MANY; i++)
            co_start(loop, one_of_many, (void *)i);
        while (many_ended < round * MANY)
            loop_turn(loop, true);
    }
}

/* ---- queues and locks */

static CoQueue queue;
static CoMutex mutex;
static CoRwlock rw;
static int inside, most_inside, readers, writers, bad, ended;

static void waits_in_queue(void *name)
{
    co_queue_wait(&queue);
    say(name);
}

static void turn_all(void)
{
    while (loop_turn(loop, false))
        ;
}

static void queues(void)
{
    CHECK(co_queue_empty(&queue));
    CHECK(!co_queue_wake(&queue));
    for (const char **n = (const char *[]){ "a", "b", "c", "d", NULL }; *n; n++)
        co_start(loop, waits_in_queue, (void *)*n);
    CHECK(co_queue_wake(&queue));
    turn_all();
    said_is("a");
    co_start(loop, waits_in_queue, (void *)"e");
    co_queue_wake(&queue);
    co_queue_wake_all(&queue);
    CHECK(co_queue_empty(&queue));
    turn_all();
    said_is("bcde");
    co_start(loop, waits_in_queue, (void *)"f");
    co_queue_wake_all(&queue);
    turn_all();
    said_is("f");
}

static void locks_often(void *c)
{
    for (int i = 0; i < 50; i++) {
        co_lock(&mutex);
        inside++;
        most_inside = MAX(most_inside, inside);
        if (i % 3)
            co_pause();
        inside--;
        co_unlock(&mutex);
        if (i % 7 == 0)
            co_pause();
    }
    ended++;
}

static void locks(void)
{
    ended = 0;
    for (int i = 0; i < 20; i++)
        co_start(loop, locks_often, NULL);
    while (ended < 20)
        loop_turn(loop, true);
    CHECK_EQ(most_inside, 1);
    CHECK(!mutex.owner && co_queue_empty(&mutex.waiting));
}

static void reads_and_writes(void *opaque)
{
    unsigned x = (unsigned)(uintptr_t)opaque;

    for (int i = 0; i < 50; i++) {
        x = x * 1103515245 + 12345;
        if ((x >> 16) % 4) {
            co_rdlock(&rw);
            readers++;
            most_inside = MAX(most_inside, readers);
            bad += writers;
            co_pause();
            readers--;
        } else {
            co_wrlock(&rw);
            writers++;
            bad += readers || writers != 1;
            co_pause();
            writers--;
        }
        co_rwunlock(&rw);
    }
    ended++;
}

static void reader(void *c) { co_rdlock(&rw); say("r"); co_pause(); co_pause(); co_rwunlock(&rw); }
static void writer(void *c) { co_wrlock(&rw); say("W"); co_pause(); co_rwunlock(&rw); }

static void rwlocks(void)
{
    ended = most_inside = 0;
    for (uintptr_t i = 0; i < 20; i++)
        co_start(loop, reads_and_writes, (void *)i);
    while (ended < 20)
        loop_turn(loop, true);
    CHECK_EQ(bad, 0);
    CHECK(most_inside > 1);
    CHECK(!rw.readers && !rw.writer && co_queue_empty(&rw.waiting));

    /* A waiting writer holds back readers that come later. */
    co_start(loop, reader, NULL);
    co_start(loop, reader, NULL);
    co_start(loop, writer, NULL);
    co_start(loop, reader, NULL);
    co_start(loop, reader, NULL);
    co_start(loop, writer, NULL);
    said_is("rr");
    turn_all();
    said_is("WrrW");
}

/* A wake for a later yield comes while a lock is waited for: it stays for that yield. */
static void wake_is_kept_one(void *opaque)
{
    Co **me = opaque;

    *me = co_self();
    co_lock(&mutex);            /* is taken */
    say("L");
    co_yield();                 /* woken already */
    say("Y");
    co_unlock(&mutex);
}

static void wake_is_kept_holder(void *opaque)
{
    Co *other = NULL;

    co_lock(&mutex);
    co_start(loop, wake_is_kept_one, &other);
    co_wake(other);
    co_pause();
    co_pause();
    co_pause();
    say("U");
    co_unlock(&mutex);
    co_pause();
    co_pause();
}

static void wake_is_kept(void)
{
    co_run(loop, wake_is_kept_holder, NULL);
    said_is("ULY");
}

/* ---- crowds */

static int crowd_now, crowd_most;

static int crowd_member(void *opaque)
{
    int n = *(int *)opaque;

    crowd_now++;
    crowd_most = MAX(crowd_most, crowd_now);
    for (int i = 0; i < n % 5; i++)
        co_pause();
    crowd_now--;
    return n == 33 ? -EIO : n == 77 ? -ENOSPC : 0;
}

static void crowd_of_100(void *opaque)
{
    CoCrowd c = { .max = 7 };
    int n[100];

    for (int i = 0; i < 100; i++) {
        n[i] = i;
        crowd_start(&c, crowd_member, &n[i]);
    }
    CHECK_EQ(crowd_wait(&c), -EIO);
    CHECK_EQ(crowd_now, 0);
    CHECK_EQ(crowd_most, 7);
    crowd_start(&c, crowd_member, &n[1]);
    CHECK_EQ(crowd_wait(&c), 0);
    CHECK_EQ(crowd_wait(&c), 0);

    CoCrowd free = { .max = 0 };

    for (int i = 0; i < 100; i++)
        crowd_start(&free, crowd_member, &n[i]);
    CHECK(crowd_now > 7);
    crowd_wait(&free);
}

static void crowds(void)
{
    co_run(loop, crowd_of_100, NULL);
}

/* ---- time, descriptors, workers */

static void sleep_sort(void *opaque)
{
    int n = *(const char *)opaque - '0';
    int64_t start = loop_now();

    co_sleep(n * INT64_C(3000000));
    CHECK(loop_now() - start >= n * INT64_C(3000000));
    say((char[]){ (char)('0' + n), 0 });
    ended++;
}

static void sleeping(void)
{
    ended = 0;
    for (const char *p = "4213"; *p; p++)
        co_start(loop, sleep_sort, (void *)p);
    while (ended < 4)
        loop_turn(loop, true);
    said_is("1234");
}

static int pair[2];

static void waits_to_read(void *c)
{
    uint32_t got = co_wait_fd(pair[0], EPOLLIN);

    say(got & EPOLLIN ? "r" : got & EPOLLHUP ? "h" : "?");
}

static void waits_to_write(void *c)
{
    uint32_t got = co_wait_fd(pair[0], EPOLLOUT);

    say(got & EPOLLOUT ? "w" : "?");
}

static void waiting_for_fds(void)
{
    char fill[4096] = { 0 };
    size_t n = 0;
    char c;

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    co_run(loop, waits_to_write, NULL);
    said_is("w");
    for (ssize_t k; (k = write(pair[0], fill, sizeof(fill))) > 0; )
        n += (size_t)k;
    co_start(loop, waits_to_write, NULL);
    co_start(loop, waits_to_read, NULL);    /* the same one, for another reason */
    turn_all();
    said_is("");
    CHECK_EQ(write(pair[1], "x", 1), 1);
    turn_all();
    said_is("r");
    for (ssize_t k; n && (k = read(pair[1], fill, sizeof(fill))) > 0; )
        n -= (size_t)k;
    CHECK_EQ(n, 0);
    turn_all();
    said_is("w");
    CHECK_EQ(read(pair[0], &c, 1), 1);
    co_start(loop, waits_to_read, NULL);
    co_start(loop, waits_to_read, NULL);
    turn_all();
    said_is("");
    close(pair[1]);
    turn_all();
    said_is("rr");                          /* the end of a stream is readable */
    close(pair[0]);

    char name[] = "/tmp/lyre-co-XXXXXX";

    pair[0] = mkstemp(name);
    unlink(name);
    co_run(loop, waits_to_read, NULL);      /* a plain file: always */
    said_is("r");
    close(pair[0]);
}

typedef struct Sum { const char *data; unsigned n, sum; pthread_t thread; } Sum;

static void add_up(void *opaque)
{
    Sum *s = opaque;

    s->thread = pthread_self();
    for (unsigned i = 0; i < s->n; i++)
        s->sum += (unsigned char)s->data[i];
}

static int offload_one(void *opaque)
{
    co_offload(add_up, opaque);
    CHECK(!pthread_equal(((Sum *)opaque)->thread, pthread_self()));
    return 0;
}

static void offloads(void *opaque)
{
    char *data = g_malloc(20000);
    Sum *s = g_new(Sum, 500);
    CoCrowd c = { .max = 20 };

    for (int i = 0; i < 20000; i++)
        data[i] = (char)i;
    for (unsigned i = 0; i < 500; i++) {
        s[i] = (Sum){ .data = data, .n = i % 10 ? i : 20000 };
        crowd_start(&c, offload_one, &s[i]);
    }
    CHECK_EQ(crowd_wait(&c), 0);
    for (unsigned i = 0; i < 500; i++) {
        Sum want = { .data = data, .n = s[i].n };

        add_up(&want);
        CHECK_EQ(s[i].sum, want.sum);
    }
    g_free(s);
    g_free(data);
}

static _Atomic int blocked, most_blocked;

static void block_a_while(void *opaque)
{
    int n = ++blocked;

    for (int most = most_blocked; n > most && !atomic_compare_exchange_weak(&most_blocked, &most, n);)
        continue;
    usleep(20000);
    blocked--;
}

static int offload_block(void *opaque)
{
    co_offload(block_a_while, NULL);
    return 0;
}

/* Calls that wait do so side by side, however short the calls before them were. */
static void slow_offloads(void *opaque)
{
    CoCrowd c = { .max = 30 };

    for (int i = 0; i < 30; i++)
        crowd_start(&c, offload_block, NULL);
    crowd_wait(&c);
    CHECK(most_blocked > 3);
}

static void workers(void)
{
    co_run(loop, offloads, NULL);
    co_run(loop, slow_offloads, NULL);
}

/* ---- wakes of other threads */

typedef struct Ping {
    _Atomic(Co *) waiting;
    atomic_bool stop;
    unsigned wakes;
} Ping;

static void *pinger(void *opaque)
{
    Ping *p = opaque;

    while (!atomic_load(&p->stop)) {
        Co *co = atomic_exchange(&p->waiting, NULL);

        if (co) {
            p->wakes++;
            co_wake_from(co);
        }
    }
    return NULL;
}

static void pinged(void *opaque)
{
    Ping *p = opaque;

    for (int i = 0; i < 5000; i++) {
        atomic_store(&p->waiting, co_self());
        if (i % 10 == 0)
            co_pause();         /* the wake may come before the yield */
        co_yield();
    }
    atomic_store(&p->stop, true);
}

static void wakes_of_threads(void)
{
    Ping p = { .wakes = 0 };
    pthread_t t;

    pthread_create(&t, NULL, pinger, &p);
    co_run(loop, pinged, &p);
    pthread_join(t, NULL);
    CHECK_EQ(p.wakes, 5000);
}

/* A loop of another thread's, and offloads from both at once. */
static void *other_loop(void *opaque)
{
    Loop *mine = NULL;

    err_free(loop_new(3, &mine));
    co_run(mine, offloads, NULL);
    loop_free(mine);
    return NULL;
}

static void two_loops(void)
{
    pthread_t t;

    pthread_create(&t, NULL, other_loop, NULL);
    for (int i = 0; i < 50; i++)
        nested();
    co_run(loop, offloads, NULL);
    pthread_join(t, NULL);
}

int main(void)
{
    said = g_string_new("");
    err_free(loop_new(0, &loop));
    RUN(yield_and_wake);
    RUN(nested);
    RUN(deep_stacks);
    RUN(thousands);
    RUN(queues);
    RUN(locks);
    RUN(rwlocks);
    RUN(wake_is_kept);
    RUN(crowds);
    RUN(sleeping);
    RUN(waiting_for_fds);
    RUN(workers);
    RUN(wakes_of_threads);
    RUN(two_loops);
    loop_free(loop);
    g_string_free(said, TRUE);
    return test_end();
}
