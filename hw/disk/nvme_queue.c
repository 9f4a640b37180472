/* SPDX-License-Identifier: MIT */
/*
 * NVMe: submission and completion queues, the memory of commands. Section 4.
 *
 * Each entry of a queue and each list of addresses is read once. A submission
 * queue has at most as many commands under way as it has entries, which bounds all
 * memory; answers that find no room in their queue wait until its doorbell says there is.
 */
#include <string.h>

#include "hw/disk/nvme.h"
#include "util/log.h"

enum { LIST_MOST = 4096 + 64, AT_ONCE = 256, SGL_BATCH = 256 };

static Space *memory(const Nvme *n) { return n->pci.dev.vm->mem; }

/* ---- requests */

NvmeReq *nvme_req_new(Nvme *n)
{
    NvmeReq *r = n->free;

    if (r)
        n->free = r->next;
    else
        r = g_new0(NvmeReq, 1);
    r->n = n;
    r->next = NULL;
    r->status = NVME_OK;
    r->result = 0;
    r->n_segs = 0;
    r->to_guest = false;
    r->data = (IoVec){0};
    return r;
}

void nvme_req_free(NvmeReq *r)
{
    r->next = r->n->free;
    r->n->free = r;
}

void nvme_req_destroy(NvmeReq *r)
{
    g_free(r->v);
    g_free(r->segs);
    g_free(r);
}

static void landed(NvmeReq *r)
{
    NvmeSq *sq = r->sq;

    if (sq->flying-- == sq->size && sq->head != sq->tail) {     /* it was full, and more waits */
        atomic_fetch_or(&r->n->rung[sq->id / 64], UINT64_C(1) << sq->id % 64);
        nvme_poke(r->n);
    }
    if (!sq->flying || sq->leaving)
        co_queue_wake_all(&sq->idle);
    if (!--r->n->flying)
        co_queue_wake_all(&r->n->idle);
}

/* ---- memory of a command */

static void more_room(NvmeReq *r)
{
    r->room = r->room ? r->room * 2 : 16;
    r->v = g_renew(struct iovec, r->v, r->room);
    r->segs = g_renew(NvmeSeg, r->segs, r->room);
}

static uint16_t add_memory(NvmeReq *r, uint64_t addr, uint64_t len)
{
    RamBlock *block;
    uint64_t off;

    if (!len)
        return NVME_OK;
    void *p = pci_may_dma(&r->n->pci) ? space_ram(memory(r->n), addr, len, r->to_guest, &block, &off) : NULL;
    if (!p)
        return NVME_TRANSFER_ERROR;
    NvmeSeg *last = r->n_segs ? &r->segs[r->n_segs - 1] : NULL;
    if (last && last->block == block && last->off + last->len == off) {
        last->len += len;
        r->v[r->n_segs - 1].iov_len += len;
        return NVME_OK;
    }
    if (r->n_segs == r->room)
        more_room(r);
    r->v[r->n_segs] = (struct iovec){ p, len };
    r->segs[r->n_segs++] = (NvmeSeg){ block, off, len };
    return NVME_OK;
}

/* Section 4.3: pages behind the first are whole; beyond two there is a list, whose last entry may be the next list. */
static uint16_t map_list(NvmeReq *r, uint64_t list, uint64_t len)
{
    const uint64_t page = UINT64_C(1) << r->n->page_bits;
    g_autofree uint8_t *raw = g_malloc(page);

    while (len) {
        uint64_t off = list & (page - 1), pages = (len + page - 1) / page, room = (page - off) / 8;
        uint64_t n = MIN(pages, room);

        if (off & 7)
            return NVME_BAD_PRP_OFFSET;
        if (pci_dma_read(&r->n->pci, list, raw, n * 8) != MEM_OK)
            return NVME_TRANSFER_ERROR;
        bool chained = pages > room;
        for (uint64_t i = 0; i < n - chained; i++) {
            uint64_t at = nvme_get64(raw + 8 * i), bytes = MIN(len, page);

            if (at & (page - 1))
                return NVME_BAD_PRP_OFFSET;
            uint16_t status = add_memory(r, at, bytes);
            if (status)
                return status;
            len -= bytes;
        }
        if (!chained)
            break;
        if (n == 1)
            return NVME_BAD_PRP_OFFSET;         /* a list of nothing but another list */
        list = nvme_get64(raw + 8 * (n - 1));
        if (list & (page - 1))
            return NVME_BAD_PRP_OFFSET;
    }
    return NVME_OK;
}

static uint16_t map_prp(NvmeReq *r, uint64_t len)
{
    const uint64_t page = UINT64_C(1) << r->n->page_bits;
    uint64_t prp1 = nvme_get64(r->cmd + 24), prp2 = nvme_get64(r->cmd + 32);
    uint64_t first = MIN(len, page - (prp1 & (page - 1)));
    uint16_t status;

    if (prp1 & 3)
        return NVME_BAD_PRP_OFFSET;
    status = add_memory(r, prp1, first);
    len -= first;
    if (status || !len)
        return status;
    if (len > page)
        return map_list(r, prp2, len);
    return prp2 & (page - 1) ? NVME_BAD_PRP_OFFSET : add_memory(r, prp2, len);
}

/* Section 4.4. Descriptors of all segments together are bounded, and so are the segments. */
static uint16_t map_sgl(NvmeReq *r, uint64_t len)
{
    g_autofree uint8_t *list = g_malloc(SGL_BATCH * 16);
    unsigned n = 1, seen = 0;
    bool last = false;
    uint16_t status;

    memcpy(list, r->cmd + 24, 16);
    for (;;) {
        uint64_t next = 0;
        uint32_t next_len = 0;

        for (unsigned i = 0; i < n; i++) {
            const uint8_t *d = list + 16 * i;
            uint32_t bytes = nvme_get32(d + 8);

            if (++seen > LIST_MOST)
                return NVME_BAD_SGL_COUNT;
            if (d[15] & 0xf)
                return NVME_BAD_SGL_TYPE;       /* an offset, or a key: of fabrics */
            switch (d[15] >> 4) {
            case 0:
                bytes = MIN(bytes, len);
                status = add_memory(r, nvme_get64(d), bytes);
                if (status)
                    return status;
                len -= bytes;
                break;
            case 2: case 3:
                if (i != n - 1 || last)
                    return NVME_BAD_SGL_SEGMENT;        /* only the last of a segment, and never in the last one */
                last = d[15] >> 4 == 3;
                next = nvme_get64(d);
                next_len = bytes;
                break;
            default:
                return NVME_BAD_SGL_TYPE;
            }
        }
        if (!next_len)
            return len ? NVME_BAD_SGL_LENGTH : NVME_OK;
        if (!len)
            return NVME_OK;
        if (next_len % 16 || next_len / 16 > SGL_BATCH)
            return NVME_BAD_SGL_SEGMENT;
        n = next_len / 16;
        if (pci_dma_read(&r->n->pci, next, list, next_len) != MEM_OK)
            return NVME_TRANSFER_ERROR;
    }
}

uint16_t nvme_map(NvmeReq *r, uint64_t len, bool to_guest)
{
    unsigned kind = r->cmd[1] >> 6;

    r->to_guest = to_guest;
    r->n_segs = 0;
    if (len > NVME_MOST_BYTES || (r->n->mdts && len > UINT64_C(4096) << r->n->mdts))
        return NVME_BAD_FIELD;
    if (kind == 3 || (kind && r->sq->id == 0))
        return NVME_BAD_FIELD;
    uint16_t status = kind ? map_sgl(r, len) : map_prp(r, len);
    if (!status)
        r->data = iov_of(r->v, r->n_segs);
    return status;
}

uint16_t nvme_give(NvmeReq *r, const void *bytes, uint64_t len)
{
    uint16_t status = nvme_map(r, len, true);

    if (!status && len)
        iov_write(&r->data, 0, bytes, len);
    return status;
}

static void touch(NvmeReq *r)
{
    for (unsigned i = 0; r->to_guest && i < r->n_segs; i++)
        ram_touch(r->segs[i].block, r->segs[i].off, r->segs[i].len);
}

/* ---- answers */

static bool cq_full(const NvmeCq *cq)
{
    return (cq->tail + 1) % cq->size == cq->head;
}

/*
 * Pin interrupts: the level is that of all queues with something in them. A vCPU that rings the
 * bell of one has lowered it before (nvme.c); the truth is told here, behind each such bell.
 */
static void update_intx(Nvme *n)
{
    bool level = false;

    for (unsigned i = 0; i <= n->pairs && !level; i++) {
        const NvmeCq *cq = &n->cqs[i];

        level = cq->there && cq->interrupts && cq->head != cq->tail && !(n->int_mask >> (cq->vector & 31) & 1);
    }
    n->intx = level;
    pci_intx(&n->pci, level);
}

void nvme_irq(Nvme *n, NvmeCq *cq)
{
    if (msix_on(&n->pci)) {
        if (cq && cq->there && cq->interrupts)
            msix_notify(&n->pci, cq->vector);
    } else {
        update_intx(n);
    }
}

/* One interrupt for all answers of a turn. */
static void notify(void *opaque)
{
    Nvme *n = opaque;

    n->irq_called = false;
    for (unsigned i = 0; i <= n->pairs; i++) {
        NvmeCq *cq = &n->cqs[i];

        if (!cq->irq_soon)
            continue;
        cq->irq_soon = false;
        nvme_irq(n, cq);
    }
    n->flying--;                        /* this call counted */
    if (!n->flying)
        co_queue_wake_all(&n->idle);
}

static void notify_soon(Nvme *n, NvmeCq *cq)
{
    cq->irq_soon = true;
    if (!n->irq_called) {
        n->irq_called = true;
        n->flying++;
        loop_call(n->loop, notify, n);
    }
}

/* Into the queue, which has room; the half with the phase last. */
static void post(NvmeReq *r)
{
    NvmeSq *sq = r->sq;
    NvmeCq *cq = sq->cq;
    uint64_t at = cq->base + (uint64_t)cq->tail * NVME_CQE;
    uint8_t cqe[NVME_CQE] = { 0 };

    touch(r);
    nvme_put(cqe, r->result, 4);
    nvme_put(cqe + 8, sq->head, 2);
    nvme_put(cqe + 10, sq->id, 2);
    memcpy(cqe + 12, r->cmd + 2, 2);
    nvme_put(cqe + 14, r->status << 1 | cq->phase, 2);
    pci_dma_write(&r->n->pci, at, cqe, 8);
    pci_dma_write(&r->n->pci, at + 8, cqe + 8, 8);
    if (++cq->tail == cq->size) {
        cq->tail = 0;
        cq->phase = !cq->phase;
    }
    notify_soon(r->n, cq);
    landed(r);
    nvme_req_free(r);
}

void nvme_answer(NvmeReq *r)
{
    NvmeCq *cq = r->sq->cq;

    if (!cq->waiting && !cq_full(cq)) {
        post(r);
        return;
    }
    r->next = NULL;
    *cq->waiting_end = r;
    cq->waiting_end = &r->next;
    if (r->sq->leaving)                 /* who waits for the queue's end drops it */
        co_queue_wake_all(&r->sq->idle);
}

static void post_waiting(NvmeCq *cq)
{
    while (cq->waiting && !cq_full(cq)) {
        NvmeReq *r = cq->waiting;

        cq->waiting = r->next;
        if (!cq->waiting)
            cq->waiting_end = &cq->waiting;
        post(r);
    }
}

/* ---- set aside */

void nvme_keep(NvmeReq *r)
{
    Nvme *n = r->n;

    r->next = NULL;
    *n->kept_end = r;
    n->kept_end = &r->next;
    landed(r);
}

static void start(NvmeReq *r)
{
    r->sq->flying++;
    r->n->flying++;
    co_start(r->n->loop, r->sq->id ? nvme_io : nvme_admin, r);
}

void nvme_start_kept(Nvme *n)
{
    NvmeReq *list = n->kept;

    n->kept = NULL;
    n->kept_end = &n->kept;
    for (NvmeReq *r = list, *next; r; r = next) {
        next = r->next;
        start(r);
    }
}

void nvme_drop_kept(Nvme *n, const NvmeSq *sq)
{
    NvmeReq *list = n->kept;

    n->kept = NULL;
    n->kept_end = &n->kept;
    for (NvmeReq *r = list, *next; r; r = next) {
        next = r->next;
        if (!sq || r->sq == sq) {
            nvme_req_free(r);
            continue;
        }
        r->next = NULL;
        *n->kept_end = r;
        n->kept_end = &r->next;
    }
}

void nvme_set_aside(NvmeReq *r)
{
    landed(r);
}

static void drop_waiting(NvmeCq *cq, const NvmeSq *sq)
{
    NvmeReq *list = cq->waiting;

    cq->waiting = NULL;
    cq->waiting_end = &cq->waiting;
    for (NvmeReq *r = list, *next; r; r = next) {
        next = r->next;
        if (!sq || r->sq == sq) {
            landed(r);
            nvme_req_free(r);
            continue;
        }
        r->next = NULL;
        *cq->waiting_end = r;
        cq->waiting_end = &r->next;
    }
}

void nvme_sq_settle(Nvme *n, NvmeSq *sq)
{
    nvme_drop_kept(n, sq);
    for (;;) {
        drop_waiting(sq->cq, sq);
        if (!sq->flying)
            return;
        co_queue_wait(&sq->idle);
    }
}

/* ---- taking commands */

static bool sq_work(Nvme *n, NvmeSq *sq)
{
    for (unsigned i = 0; sq->there && !sq->leaving && sq->head != sq->tail && sq->flying < sq->size && !n->kept; i++) {
        if (i == AT_ONCE)
            return true;
        NvmeReq *r = nvme_req_new(n);

        r->sq = sq;
        if (pci_dma_read(&n->pci, sq->base + (uint64_t)sq->head * NVME_SQE, r->cmd, NVME_SQE) != MEM_OK) {
            nvme_req_free(r);
            atomic_fetch_or(&n->csts, 2);       /* CFS: the queue is not there */
            sq->leaving = true;
            return false;
        }
        sq->head = (sq->head + 1) % sq->size;
        start(r);
    }
    return false;
}

static void guest_rang(const Nvme *n, unsigned id, const char *kind, uint32_t val)
{
    if (log_on(LOG_GUEST_ERRORS))
        guest_error("nvme: %u is no place in %s queue %u", val, kind, id);
}

static void take_heads(Nvme *n, unsigned word)
{
    if (!n->freed[word])
        return;
    for (uint64_t bits = atomic_exchange(&n->freed[word], 0); bits; bits &= bits - 1) {
        unsigned id = word * 64 + __builtin_ctzll(bits);
        NvmeCq *cq = &n->cqs[id];
        uint32_t head = n->doorbells[2 * id + 1];

        if (!cq->there || head >= cq->size) {
            guest_rang(n, id, "completion", head);
            continue;
        }
        cq->head = head;
        post_waiting(cq);
        for (unsigned i = 0; i <= n->pairs; i++) {      /* commands that waited for others to end */
            if (n->sqs[i].there && n->sqs[i].cq == cq && n->sqs[i].head != n->sqs[i].tail)
                atomic_fetch_or(&n->rung[i / 64], UINT64_C(1) << i % 64);
        }
    }
    if (!msix_on(&n->pci))
        update_intx(n);
}

static bool take_tails(Nvme *n, unsigned word)
{
    bool more = false;

    for (uint64_t bits = atomic_exchange(&n->rung[word], 0); bits; bits &= bits - 1) {
        unsigned id = word * 64 + __builtin_ctzll(bits);
        NvmeSq *sq = &n->sqs[id];
        uint32_t tail = n->doorbells[2 * id];

        if (!sq->there || tail >= sq->size) {
            guest_rang(n, id, "submission", tail);
            continue;
        }
        sq->tail = tail;
        if (sq_work(n, sq)) {
            atomic_fetch_or(&n->rung[word], UINT64_C(1) << id % 64);
            more = true;
        }
    }
    return more;
}

void nvme_work(Nvme *n)
{
    bool more = false;

    if (!n->ready || n->stopped || n->kept)
        return;
    for (unsigned word = 0; word < G_N_ELEMENTS(n->freed); word++)
        take_heads(n, word);
    for (unsigned word = 0; word < G_N_ELEMENTS(n->rung); word++)
        more |= take_tails(n, word);
    if (more)
        nvme_poke(n);
}

/* ---- quiet */

void nvme_wait(Nvme *n)
{
    /* Answers that nobody makes room for count as flying: a reset does not wait for them. */
    for (;;) {
        unsigned stuck = 0;

        for (unsigned i = 0; i <= n->pairs; i++) {
            for (const NvmeReq *r = n->cqs[i].waiting; r; r = r->next)
                stuck++;
        }
        if (n->flying <= stuck)
            return;
        if (stuck)
            co_pause();
        else
            co_queue_wait(&n->idle);
    }
}

void nvme_queues_clear(Nvme *n)
{
    nvme_drop_kept(n, NULL);
    for (unsigned i = 0; i <= n->pairs; i++) {
        NvmeCq *cq = &n->cqs[i];

        if (cq->there)
            drop_waiting(cq, NULL);
        *cq = (NvmeCq){ .id = i };
        cq->waiting_end = &cq->waiting;
    }
    for (unsigned i = 0; i <= n->pairs; i++)
        n->sqs[i] = (NvmeSq){ .id = i };
    for (unsigned i = 0; i < n->n_aers; i++)
        nvme_req_free(n->aers[i]);
    n->n_aers = 0;
    for (unsigned i = 0; i < 2 * (n->pairs + 1); i++)
        n->doorbells[i] = 0;
    for (unsigned word = 0; word < G_N_ELEMENTS(n->rung); word++)
        n->rung[word] = n->freed[word] = 0;
    update_intx(n);
}
