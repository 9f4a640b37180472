/* SPDX-License-Identifier: MIT */
/*
 * The saved form of an NVMe controller, beside the rows of its table: queues, and
 * the commands that it holds while the machine stands. Nothing is under way then but
 * answers that wait for room, commands that failed and start anew, and requests for events.
 *
 *   cqN      size, tail, head, base, vector, interrupts, phase
 *   sqN      size, head, tail, base, completion queue, leaving
 *   time     the timestamp feature, 0: never set
 *   bells    what was written to each doorbell
 *   waitN.M, keptM, eventM      a command: 16 words of it, its queue, status, result
 */
#include <string.h>

#include "hw/disk/nvme.h"
#include "system/stream.h"

enum { CMD_WORDS = NVME_SQE / 4, REQ_WORDS = CMD_WORDS + 3, CQ_WORDS = 7, SQ_WORDS = 6, QUEUE_MOST = 4096 };

/* ---- saving; the disks' thread */

static void put_req(StateOut *out, const char *kind, unsigned queue, unsigned i, const NvmeReq *r)
{
    g_autofree char *name = queue == UINT_MAX ? g_strdup_printf("%s%u", kind, i) : g_strdup_printf("%s%u.%u", kind, queue, i);
    uint32_t w[REQ_WORDS];

    for (unsigned n = 0; n < CMD_WORDS; n++)
        w[n] = nvme_get32(r->cmd + 4 * n);
    w[CMD_WORDS] = r->sq->id;
    w[CMD_WORDS + 1] = r->status;
    w[CMD_WORDS + 2] = r->result;
    state_put(out, name, 4, w, REQ_WORDS);
}

static void put_queues(const Nvme *n, StateOut *out)
{
    for (unsigned i = 0; i <= n->pairs; i++) {
        const NvmeCq *cq = &n->cqs[i];
        const NvmeSq *sq = &n->sqs[i];
        g_autofree char *cq_name = g_strdup_printf("cq%u", i), *sq_name = g_strdup_printf("sq%u", i);
        unsigned waiting = 0;

        if (cq->there) {
            const uint64_t w[CQ_WORDS] = { cq->size, cq->tail, cq->head, cq->base, cq->vector, cq->interrupts, cq->phase };

            state_put(out, cq_name, 8, w, CQ_WORDS);
            for (const NvmeReq *r = cq->waiting; r; r = r->next)
                put_req(out, "wait", i, waiting++, r);
        }
        if (sq->there) {
            const uint64_t w[SQ_WORDS] = { sq->size, sq->head, sq->tail, sq->base, sq->cq->id, sq->leaving };

            state_put(out, sq_name, 8, w, SQ_WORDS);
        }
    }
}

/* The guest's own clock counts while the controller has power. */
static uint64_t now_ms(void) { return loop_now() / 1000000; }

typedef struct Saving { Nvme *n; StateOut *out; StateIn *in; Err *e; } Saving;

static void save_there(void *opaque)
{
    const Saving *s = opaque;
    const Nvme *n = s->n;
    unsigned kept = 0;

    state_put_u64(s->out, "time", n->time_set ? n->time_base + now_ms() - n->time_set : 0);
    put_queues(n, s->out);
    state_put(s->out, "bells", 4, (const void *)n->doorbells, 2 * (n->pairs + 1));
    for (const NvmeReq *r = n->kept; r; r = r->next)
        put_req(s->out, "kept", UINT_MAX, kept++, r);
    for (unsigned i = 0; i < n->n_aers; i++)
        put_req(s->out, "event", UINT_MAX, i, n->aers[i]);
}

void nvme_save(Device *d, StateOut *out)
{
    Saving s = { .n = (Nvme *)d, .out = out };

    iothread_run(disks_thread(d->vm->disks), save_there, &s);
}

/* ---- loading */

static Err *senseless(const char *what, unsigned i)
{
    return err(ERR_INVALID, "its %s %u makes no sense", what, i);
}

static Err *get_cq(Nvme *n, StateIn *in, unsigned i)
{
    g_autofree char *name = g_strdup_printf("cq%u", i);
    uint64_t w[CQ_WORDS];
    NvmeCq *cq = &n->cqs[i];

    if (!state_has(in, name))
        return NULL;
    TRY(state_get(in, name, 8, w, CQ_WORDS));
    if (w[0] < 2 || w[0] > QUEUE_MOST || w[1] >= w[0] || w[2] >= w[0] || w[4] >= MAX(n->vectors, 1u) || w[5] > 1 || w[6] > 1)
        return senseless("completion queue", i);
    *cq = (NvmeCq){ .id = i, .there = true, .size = w[0], .tail = w[1], .head = w[2], .base = w[3], .vector = w[4],
                    .interrupts = w[5], .phase = w[6] };
    cq->waiting_end = &cq->waiting;
    return NULL;
}

static Err *get_sq(Nvme *n, StateIn *in, unsigned i)
{
    g_autofree char *name = g_strdup_printf("sq%u", i);
    uint64_t w[SQ_WORDS];

    if (!state_has(in, name))
        return NULL;
    TRY(state_get(in, name, 8, w, SQ_WORDS));
    if (w[0] < 2 || w[0] > QUEUE_MOST || w[1] >= w[0] || w[2] >= w[0] || w[4] > n->pairs || !n->cqs[w[4]].there || w[5] > 1)
        return senseless("submission queue", i);
    n->sqs[i] = (NvmeSq){ .id = i, .there = true, .leaving = w[5], .size = w[0], .head = w[1], .tail = w[2], .base = w[3],
                          .cq = &n->cqs[w[4]] };
    n->cqs[w[4]].users++;
    return NULL;
}

/* The next of that kind, or *out NULL. `most`: of its queue, all kinds together. */
static Err *get_req(Nvme *n, StateIn *in, const char *kind, unsigned queue, unsigned i, NvmeReq **out)
{
    g_autofree char *name = queue == UINT_MAX ? g_strdup_printf("%s%u", kind, i) : g_strdup_printf("%s%u.%u", kind, queue, i);
    uint32_t w[REQ_WORDS];

    *out = NULL;
    if (!state_has(in, name))
        return NULL;
    TRY(state_get(in, name, 4, w, REQ_WORDS));
    if (w[CMD_WORDS] > n->pairs || !n->sqs[w[CMD_WORDS]].there || w[CMD_WORDS + 1] > UINT16_MAX)
        return senseless(kind, i);
    NvmeReq *r = nvme_req_new(n);
    for (unsigned k = 0; k < CMD_WORDS; k++)
        nvme_put(r->cmd + 4 * k, w[k], 4);
    r->sq = &n->sqs[w[CMD_WORDS]];
    r->status = w[CMD_WORDS + 1];
    r->result = w[CMD_WORDS + 2];
    *out = r;
    return NULL;
}

/* Answers that wait for room are under way. */
static Err *get_waiting(Nvme *n, StateIn *in, unsigned queue)
{
    NvmeCq *cq = &n->cqs[queue];
    NvmeReq *r;

    for (unsigned i = 0;; i++) {
        TRY(get_req(n, in, "wait", queue, i, &r));
        if (!r)
            return NULL;
        if (r->sq->cq != cq || r->sq->flying == r->sq->size) {
            nvme_req_free(r);
            return senseless("waiting answer", i);
        }
        r->sq->flying++;
        n->flying++;
        *cq->waiting_end = r;
        cq->waiting_end = &r->next;
    }
}

static Err *get_kept(Nvme *n, StateIn *in)
{
    NvmeReq *r;

    for (unsigned i = 0;; i++) {
        TRY(get_req(n, in, "kept", UINT_MAX, i, &r));
        if (!r)
            return NULL;
        *n->kept_end = r;
        n->kept_end = &r->next;
    }
}

static Err *get_events(Nvme *n, StateIn *in)
{
    NvmeReq *r;

    for (n->n_aers = 0;; n->n_aers++) {
        TRY(get_req(n, in, "event", UINT_MAX, n->n_aers, &r));
        if (!r)
            return NULL;
        if (n->n_aers == NVME_AERS || r->sq->id) {
            nvme_req_free(r);
            return senseless("event request", n->n_aers);
        }
        n->aers[n->n_aers] = r;
    }
}

static Err *load(Nvme *n, StateIn *in)
{
    TRY(state_get_u64(in, "time", (UINT64_C(1) << 48) - 1, &n->time_base));
    n->time_set = n->time_base ? now_ms() : 0;
    if (n->page_bits < 12 || n->page_bits > 16)
        return err(ERR_INVALID, "it has pages of 2 to the power of %u", n->page_bits);
    for (unsigned i = 0; i <= n->pairs; i++)
        TRY(get_cq(n, in, i));
    for (unsigned i = 0; i <= n->pairs; i++)
        TRY(get_sq(n, in, i));
    if (n->ready != n->sqs[0].there || n->ready != n->cqs[0].there)
        return err(ERR_INVALID, "it is %s, and its admin queues are not so", n->ready ? "enabled" : "disabled");
    for (unsigned i = 0; i <= n->pairs; i++) {
        if (n->cqs[i].there)
            TRY(get_waiting(n, in, i));
    }
    TRY(get_kept(n, in));
    TRY(get_events(n, in));
    return state_get(in, "bells", 4, (void *)n->doorbells, 2 * (n->pairs + 1));
}

static void load_there(void *opaque)
{
    Saving *s = opaque;

    s->e = load(s->n, s->in);
    if (s->e)
        s->n->ready = false;
}

Err *nvme_load(Device *d, StateIn *in)
{
    Saving s = { .n = (Nvme *)d, .in = in };

    iothread_run(disks_thread(d->vm->disks), load_there, &s);
    return s.e;
}

static void loaded_there(void *opaque)
{
    nvme_irq(opaque, NULL);     /* the pin, as the queues say; messages were sent before */
}

Err *nvme_loaded(Device *d)
{
    iothread_run(disks_thread(d->vm->disks), loaded_there, d);
    return NULL;
}
