/* SPDX-License-Identifier: MIT */
/*
 * Rings between threads: drivers ring bells without a lock from threads of their own, queues
 * are handled in I/O threads, the main thread holds, lets go, resets. Nothing is lost, and
 * after a reset nothing is written. Worth most in a build with ThreadSanitizer.
 */
#include <sched.h>

#include "tests/dev/virtio-echo.h"

static Rig rig, *r = &rig;
static Vd vd, *d = &vd;
static IoThread *ios[2];
static unsigned buffers = 4000;

/* ---- a device that answers at once, or a while later */

static bool later;
static _Atomic unsigned flying;

static void answer(Echo *e, unsigned q, EchoElem *el)
{
    echo_push(e, q, el, el->e.in_len);
}

typedef struct Late { Echo *e; unsigned q; } Late;

static void answer_late(void *opaque)
{
    Late *l = opaque;
    Echo *e = l->e;

    while (e->n_held[l->q] && echo_rand(8)) {
        answer(e, l->q, echo_take(e, l->q, e->n_held[l->q] / 2));
        __atomic_fetch_sub(&flying, 1, __ATOMIC_SEQ_CST);
    }
    virtq_notify(e->q[l->q]);
    if (e->n_held[l->q])
        loop_call(loop_self(), answer_late, l);
    else
        g_free(l);
}

static void in_thread(Echo *e, unsigned q)
{
    EchoElem *el;

    CHECK(loop_self() == iothread_loop(ios[q]));
    while ((el = echo_pop(e, q)) != NULL) {
        if (!later) {
            answer(e, q, el);
            continue;
        }
        __atomic_fetch_add(&flying, 1, __ATOMIC_SEQ_CST);
        e->held[q][e->n_held[q]++] = el;
        if (e->n_held[q] == 1) {
            Late *l = g_new(Late, 1);
            *l = (Late){ e, q };
            loop_call(loop_self(), answer_late, l);
        }
    }
    virtq_notify(e->q[q]);
}

static void pause_there(void *opaque)
{
    co_pause();
}

/* Waits for what is on its way, as devices with requests do. */
static void quiesce(VirtioDevice *v, VirtQueue *q)
{
    for (unsigned i = 0; i < 2; i++) {
        while (__atomic_load_n(&flying, __ATOMIC_SEQ_CST))
            iothread_run(ios[i], pause_there, NULL);
    }
}

static const VirtioOps ops = { .id = 63, .name = "echo", .handle = echo_handle, .quiesce = quiesce };

static Echo *begin(void)
{
    static const char *const none[] = { NULL };

    vd_board(r, none);
    for (int i = 0; i < 2; i++) {
        rig_must(iothread_new(r->vm, i ? "b" : "a", &ios[i]));
        echo_io[i] = ios[i];
    }
    echo_size = 64;
    echo_n = 2;
    echo_use = &ops;
    Echo *e = echo_make(r, d, "packed=on,in_order=on");
    e->handle = in_thread;
    return e;
}

static void end(Echo *e)
{
    device_free(&e->virtio.dev);
    for (int i = 0; i < 2; i++)
        iothread_free(ios[i]);
    vd_board_free(r);
}

/* ---- drivers */

typedef struct Driver { VdQueue *q; uint64_t mem; unsigned want, got, kicks; uint32_t x; bool lost; _Atomic bool stop, ended; } Driver;

static bool add_some(Driver *w, unsigned left)
{
    unsigned n = 0;

    for (w->x = w->x * 1103515245 + 12345; n <= (w->x >> 16 & 7) && n < left; n++) {
        uint64_t at = w->mem + (w->x >> 8 & 0xff) * 64;

        if (vd_add(w->q, (VdBuf[]){ { at, 8 }, { at + 0x8000, 16 } }, 1, 1) < 0)
            break;
    }
    return n;
}

/* Does the device want to hear of what was added? As Linux's driver asks. */
static bool wants_kick(VdQueue *q, uint16_t was)
{
    Vd *v = q->d;

    vd_fence();
    if (v->packed || !v->event_idx)
        return v->packed ? vd_get(v, q->used + 2, 2) != 1 : !(vd_get(v, q->used, 2) & 1);
    uint16_t event = vd_get(v, q->used + 4 + 8 * q->size, 2);
    return (uint16_t)(q->next - event - 1) < (uint16_t)(q->next - was);
}

static void *drive(void *opaque)
{
    Driver *w = opaque;
    unsigned given = 0;
    uint32_t len;
    int64_t last = g_get_monotonic_time();

    while (w->got < w->want && !w->lost) {
        unsigned flying_was = w->q->flying;
        uint16_t was = w->q->next;

        if (given < w->want && add_some(w, w->want - given)) {
            given += (w->q->flying - flying_was) / 2;
            if (wants_kick(w->q, was)) {
                w->kicks++;
                w->q->d->t->kick(w->q->d, w->q->n);
            }
        }
        while (vd_used(w->q, &len) >= 0) {
            w->got++;
            last = g_get_monotonic_time();
            w->lost |= len != 16;
        }
        if (w->x & 0x100)
            sched_yield();
        w->lost |= g_get_monotonic_time() - last > 5000000;
    }
    w->ended = true;
    return NULL;
}

static void stream(uint64_t features, bool late)
{
    Echo *e = begin();
    Driver w[2] = { 0 };
    pthread_t t[2];

    later = late;
    CHECK(vd_start(d, features));
    for (unsigned i = 0; i < 2; i++)
        w[i] = (Driver){ .q = vd_queue(d, i, 64), .mem = vd_alloc(d, 0x10000, 4096), .want = buffers, .x = i + 7 };
    vd_go(d);
    for (unsigned i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, drive, &w[i]);
    for (unsigned i = 0; !w[0].ended || !w[1].ended; i++) {
        virtio_hold(&e->virtio, VIRTIO_HOLD_STOPPED, true);
        virtio_hold(&e->virtio, VIRTIO_HOLD_STOPPED, false);
        d->t->isr(d);
        rig_turn(r, 1);
    }
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
        CHECK_EQ(w[i].got, buffers);
        CHECK(!w[i].lost);
    }
    CHECK_EQ(d->t->status(d), 15);
    printf("features %#" PRIx64 "%s: %u and %u buffers, %u and %u kicks\n", features, late ? ", late" : "", w[0].got, w[1].got,
           w[0].kicks, w[1].kicks);
    end(e);
}

static void test_streams(void)
{
    static const uint64_t features[] = { 0, VD_BIT(VIRTIO_F_EVENT_IDX), VD_BIT(VIRTIO_F_RING_PACKED),
                                         VD_BIT(VIRTIO_F_RING_PACKED) | VD_BIT(VIRTIO_F_EVENT_IDX) };

    for (unsigned i = 0; i < G_N_ELEMENTS(features); i++) {
        stream(features[i], false);
        stream(features[i] | (i & 1 ? VD_BIT(VIRTIO_F_IN_ORDER) : 0), true);
    }
}

/* ---- reset, while all is on its way */

static void *hurry(void *opaque)
{
    Driver *w = opaque;
    uint32_t len;

    while (!w->stop) {
        if (add_some(w, 8))
            w->q->d->t->kick(w->q->d, w->q->n);
        while (vd_used(w->q, &len) >= 0)
            ;
    }
    return NULL;
}

static void test_resets(void)
{
    Echo *e = begin();

    later = true;
    for (unsigned round = 0; round < 60; round++) {
        uint64_t features = round & 1 ? VD_BIT(VIRTIO_F_RING_PACKED) : 0;
        Driver w[2] = { 0 };
        pthread_t t[2];
        uint8_t was[2][64 * 16], now[64 * 16];

        d->heap = VD_RAM + 0x1000000;
        CHECK(vd_start(d, features | VD_BIT(VIRTIO_F_EVENT_IDX) | VD_BIT(VIRTIO_F_RING_RESET)));
        for (unsigned i = 0; i < 2; i++)
            w[i] = (Driver){ .q = vd_queue(d, i, 64), .mem = vd_alloc(d, 0x10000, 4096), .x = round * 2 + i };
        vd_go(d);
        for (unsigned i = 0; i < 2; i++)
            pthread_create(&t[i], NULL, hurry, &w[i]);
        usleep(round % 7 * 300);
        if (round % 3 == 0) {
            d->t->queue_reset(d, 0);
            d->t->queue_reset(d, 1);
        } else {
            d->t->set_status(d, 0);
        }
        CHECK_EQ(flying, 0);
        for (unsigned i = 0; i < 2; i++) {
            w[i].stop = true;
            pthread_join(t[i], NULL);
            memcpy(was[i], vd_ptr(d, features ? w[i].q->desc : w[i].q->used, 512), 512);
        }
        usleep(500);
        for (unsigned i = 0; i < 2; i++) {
            memcpy(now, vd_ptr(d, features ? w[i].q->desc : w[i].q->used, 512), 512);
            CHECK(!memcmp(was[i], now, 512));
        }
    }
    end(e);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        buffers = atoi(argv[1]);
    RUN(test_streams);
    RUN(test_resets);
    return test_end();
}
