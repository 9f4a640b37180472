/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk: VIRTIO 1.2, section 5.2, and its legacy interface.
 *
 * Queues are handled in the disk's thread, where the graph's nodes live, unless
 * iothread= or iothread-vq-mapping= says another one: a kick pops all that is there,
 * joins what is sequential, and starts a coroutine in the disk's thread for each
 * run of requests, which calls block/ with the guest's own memory. Completions of one
 * turn share an interrupt.
 *
 * A request that failed where werror or rerror say "stop" is kept, and starts anew
 * with the kick that follows when the machine runs again.
 *
 * Left out: SCSI passthrough (VIRTIO_BLK_F_SCSI), secure erase, zoned devices, lifetime.
 */
#include <errno.h>
#include <string.h>

#include "hw/disk/disk.h"
#include "hw/disk/queue.h"
#include "hw/virtio/pci.h"
#include "hw/virtio/saved.h"
#include "system/vmconfig.h"
#include "util/log.h"

enum {
    F_SEG_MAX = 2, F_GEOMETRY = 4, F_RO = 5, F_BLK_SIZE = 6, F_FLUSH = 9, F_TOPOLOGY = 10, F_CONFIG_WCE = 11, F_MQ = 12,
    F_DISCARD = 13, F_WRITE_ZEROES = 14,

    T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13,
    S_OK = 0, S_IOERR = 1, S_UNSUPP = 2,

    SECTOR = 512,
    HEADER = 16, RANGE = 16, ID_LEN = 20,
    CONFIG_SIZE = 60,
    QUEUES_AUTO = 65535, MOST_QUEUES = 256,
    MOST_RANGES = 64,               /* of one discard or write zeroes */
    MOST_JOINED = 32,               /* requests that become one */
    JOINED_BYTES = 1 << 20,
    AT_ONCE = 512,                  /* buffers handled before other queues have their turn */
};

typedef struct Range { uint64_t off, len; bool unmap; } Range;

typedef struct VirtioBlk VirtioBlk;

/* One buffer of the guest. */
typedef struct Req {
    VirtElem elem;
    VirtioBlk *b;
    uint32_t type;
    uint64_t off;                   /* bytes */
    IoVec data;                     /* without header and status */
    struct Req *joined, *last;      /* the first of a run: what comes behind it; its end */
    unsigned n_joined; size_t run_len;
    struct Req *next;               /* on its way between the threads of queue and disk */
    uint8_t status; bool keep;      /* how it ended there */
} Req;

/* All but `landed`: the queue's thread. */
typedef struct BlkQueue {
    DiskQueue dq;
    IoThread *io;
    Req *kept, **kept_end;          /* failed, to be started again */
    /* Where its thread is not the disk's: */
    Req *going, **going_end;        /* to be started there */
    _Atomic(Req *) landed;          /* ended there, the latest first */
} BlkQueue;

/* All but properties, config and queues: the disk's thread. */
struct VirtioBlk {
    VirtioDevice v;
    DiskConf conf;
    char *serial, *iothread, *mapping;
    uint16_t num_queues, queue_size;
    uint32_t max_discard, max_write_zeroes;         /* sectors */
    bool config_wce, discard, write_zeroes, report_granularity, merging, seg_max_adjust, scsi;
    uint32_t cylinders, heads, sectors;
    bool through;                   /* the drive's write cache is off, before the driver says anything */
    Loop *loop;                     /* of the disk's thread */
    BlkQueue *queues;
};

/* ---- ending requests */

static BlkQueue *queue_of(const Req *r)
{
    return &r->b->queues[virtq_index(r->elem.q)];
}

static void finish(Req *r, uint8_t status)
{
    IoVec in = virt_in(&r->elem);

    iov_write(&in, in.len - 1, &status, 1);
    dq_done(&queue_of(r)->dq, r, in.len);
}

static void keep(Req *r)
{
    BlkQueue *bq = queue_of(r);

    r->joined = NULL;
    *bq->kept_end = r;
    bq->kept_end = &r->joined;
    dq_landed(&bq->dq);
}

/* What ended in the disk's thread, in its order. */
static void land(void *opaque)
{
    BlkQueue *bq = opaque;
    Req *list = NULL;

    for (Req *r = atomic_exchange(&bq->landed, NULL), *next; r; r = next) {
        next = r->next;
        r->next = list;
        list = r;
    }
    for (Req *r = list, *next; r; r = next) {
        next = r->next;
        if (r->keep)
            keep(r);
        else
            finish(r, r->status);
    }
}

/* In the disk's thread: the request is done with, or shall be tried again. */
static void conclude(Req *r, uint8_t status, bool again)
{
    BlkQueue *bq = queue_of(r);

    if (bq->dq.loop == r->b->loop) {
        if (again)
            keep(r);
        else
            finish(r, status);
        return;
    }
    Req *was = atomic_load_explicit(&bq->landed, memory_order_relaxed);

    r->status = status;
    r->keep = again;
    do
        r->next = was;
    while (!atomic_compare_exchange_weak(&bq->landed, &was, r));
    if (!was)
        loop_call(bq->dq.loop, land, bq);
}

/* Every request of the run ends with that result. */
static void finish_run(Req *r, int ret)
{
    bool write = r->type != T_IN;
    DiskVerdict v = ret ? disk_port_failed(&r->b->conf.port, write, -ret) : DISK_ERROR_IGNORE;

    for (Req *next; r; r = next) {
        next = r->joined;
        conclude(r, v == DISK_ERROR_IGNORE ? S_OK : ret == -ENOTSUP ? S_UNSUPP : S_IOERR, v == DISK_ERROR_STOP);
    }
}

/* ---- ranges of discard and write zeroes */

static uint32_t get32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }

/* Is it within the disk, in whole blocks? */
static bool fits(const VirtioBlk *b, uint64_t sector, uint64_t len)
{
    uint64_t size = disk_port_size(&b->conf.port), off;

    return !__builtin_mul_overflow(sector, (uint64_t)SECTOR, &off) && off <= size && len <= size - off &&
           !(off % b->conf.logical) && !(len % b->conf.logical);
}

static uint8_t read_range(const Req *r, unsigned i, Range *out)
{
    const VirtioBlk *b = r->b;
    uint32_t most = r->type == T_DISCARD ? b->max_discard : b->max_write_zeroes;
    uint8_t raw[RANGE];

    iov_read(&r->data, (size_t)i * RANGE, raw, RANGE);
    uint64_t sector = get64(raw);
    uint32_t n = get32(raw + 8), flags = get32(raw + 12);
    if (flags & ~1u || (flags & 1 && r->type == T_DISCARD))
        return S_UNSUPP;
    if (n > most || !fits(b, sector, (uint64_t)n * SECTOR))
        return S_IOERR;
    *out = (Range){ sector * SECTOR, (uint64_t)n * SECTOR, flags & 1 };
    return S_OK;
}

/* All are looked at before the first is obeyed. */
static uint8_t read_ranges(const Req *r, Range *out, unsigned *n)
{
    uint8_t status = S_OK;

    *n = r->data.len / RANGE;
    if (!*n || *n > MOST_RANGES || r->data.len % RANGE)
        return S_IOERR;
    for (unsigned i = 0; i < *n && status == S_OK; i++)
        status = read_range(r, i, &out[i]);
    return status;
}

static void run_ranges(Req *r)
{
    Range ranges[MOST_RANGES];
    Disk *d = r->b->conf.port.disk;
    unsigned n;
    uint8_t status = read_ranges(r, ranges, &n);
    int ret = 0;

    if (status != S_OK) {
        disk_stats_invalid(&r->b->conf.port.stats, r->type == T_DISCARD ? DISK_OP_UNMAP : DISK_OP_WRITE);
        conclude(r, status, false);
        return;
    }
    for (unsigned i = 0; i < n && !ret; i++) {
        for (Range *x = &ranges[i]; x->len && !ret; ) {
            uint64_t len = MIN(x->len, (uint64_t)BLOCK_MAX_REQUEST);

            ret = r->type == T_DISCARD ? disk_discard(d, x->off, len) : disk_zero(d, x->off, len, x->unmap ? REQ_UNMAP : 0);
            x->off += len;
            x->len -= len;
        }
    }
    finish_run(r, ret);
}

/* ---- coroutines */

static int read_or_write(const Req *r, const IoVec *q)
{
    Disk *d = r->b->conf.port.disk;

    return r->type == T_OUT ? disk_write(d, r->off, q, 0) : disk_read(d, r->off, q, 0);
}

/* A run as one request: its vectors one behind the other. */
static int run_joined(Req *r)
{
    g_autofree struct iovec *v = NULL;
    unsigned n = 0;
    size_t bytes;

    for (const Req *o = r; o; o = o->joined)
        n += o->data.n;
    v = g_new(struct iovec, n);
    n = 0;
    for (const Req *o = r; o; o = o->joined)
        n += iov_elements(&o->data, v + n, o->data.n, &bytes);
    IoVec q = iov_of(v, n);
    return read_or_write(r, &q);
}

static void run_data(void *opaque)
{
    Req *r = opaque;
    int ret = r->joined ? run_joined(r) : read_or_write(r, &r->data);

    if (!ret && r->joined)
        disk_stats_merged(&r->b->conf.port.stats, r->type == T_OUT ? DISK_OP_WRITE : DISK_OP_READ, r->n_joined - 1);
    if (!ret || !r->joined) {
        finish_run(r, ret);
        return;
    }
    for (Req *next; r; r = next) {      /* which of them is it? */
        next = r->joined;
        r->joined = NULL;
        finish_run(r, read_or_write(r, &r->data));
    }
}

static void run_other(void *opaque)
{
    Req *r = opaque;

    if (r->type == T_FLUSH)
        finish_run(r, disk_flush(r->b->conf.port.disk));
    else
        run_ranges(r);
}

static void get_id(Req *r)
{
    char id[ID_LEN] = { 0 };
    const char *serial = r->b->serial ? r->b->serial : "";

    memcpy(id, serial, MIN(strlen(serial), sizeof(id)));
    iov_write(&r->data, 0, id, MIN(sizeof(id), r->data.len));
    finish(r, S_OK);
}

/* ---- the guest's requests */

/* Takes header and status off; false: the driver made no sense, and the buffer is dropped. */
static bool parse(VirtioBlk *b, BlkQueue *bq, Req *r)
{
    IoVec out = virt_out(&r->elem), in = virt_in(&r->elem);
    uint8_t header[HEADER];

    if (out.len < HEADER || !in.len) {
        virtq_broken(bq->dq.q, "a request of %zu bytes with %zu bytes for the answer", out.len, in.len);
        return false;
    }
    iov_read(&out, 0, header, HEADER);
    r->b = b;
    r->type = get32(header);
    r->off = get64(header + 8);
    r->data = r->type == T_IN || r->type == T_GET_ID ? iov_slice(&in, 0, in.len - 1)
                                                     : iov_slice(&out, HEADER, out.len - HEADER);
    r->last = r;
    r->n_joined = 1;
    r->run_len = r->data.len;
    return true;
}

static void start_here(Req *r)
{
    co_start(r->b->loop, r->type == T_IN || r->type == T_OUT ? run_data : run_other, r);
}

static void start_going(void *opaque)
{
    for (Req *r = opaque, *next; r; r = next) {
        next = r->next;
        start_here(r);
    }
}

/* Starts it in the disk's thread, now or at the end of `handle`. */
static void start_run(Req *r)
{
    BlkQueue *bq = r ? queue_of(r) : NULL;

    if (!r)
        return;
    if (bq->dq.loop == r->b->loop) {
        start_here(r);
        return;
    }
    r->next = NULL;
    *bq->going_end = r;
    bq->going_end = &r->next;
}

static void send_going(VirtioBlk *b, BlkQueue *bq)
{
    if (bq->going)
        loop_call(b->loop, start_going, bq->going);
    bq->going = NULL;
    bq->going_end = &bq->going;
}

static bool can_join(const VirtioBlk *b, const Req *run, const Req *r)
{
    return run && b->merging && run->type == r->type && run->off + run->run_len == r->off &&
           run->n_joined < MOST_JOINED && run->run_len + r->data.len <= JOINED_BYTES;
}

/* Reads and writes: `run` is what came before and has not started yet; it grows, or starts and r takes its place. */
static Req *take_data(VirtioBlk *b, Req *run, Req *r)
{
    bool write = r->type == T_OUT;

    if ((write && b->conf.port.read_only) || !fits(b, r->off, r->data.len)) {
        disk_stats_invalid(&b->conf.port.stats, write ? DISK_OP_WRITE : DISK_OP_READ);
        finish(r, S_IOERR);
        return run;
    }
    r->off *= SECTOR;
    if (!r->data.len) {
        finish(r, S_OK);
        return run;
    }
    if (can_join(b, run, r)) {
        run->last->joined = r;
        run->last = r;
        run->n_joined++;
        run->run_len += r->data.len;
        return run;
    }
    start_run(run);
    return r;
}

static Req *take(VirtioBlk *b, Req *run, Req *r)
{
    switch (r->type) {
    case T_IN: case T_OUT:
        return take_data(b, run, r);
    case T_GET_ID:
        get_id(r);
        return run;
    case T_DISCARD: case T_WRITE_ZEROES:
        if (!(r->type == T_DISCARD ? b->discard : b->write_zeroes)) {
            finish(r, S_UNSUPP);
            return run;
        }
        if (b->conf.port.read_only) {
            finish(r, S_IOERR);
            return run;
        }
        break;
    case T_FLUSH:
        break;
    default:
        finish(r, S_UNSUPP);
        return run;
    }
    start_run(run);             /* in the order they came */
    start_run(r);
    return NULL;
}

/* Those that failed when the machine stopped, as they were. */
static void start_kept(VirtioBlk *b, BlkQueue *bq)
{
    Req *list = bq->kept;

    bq->kept = NULL;
    bq->kept_end = &bq->kept;
    for (Req *r = list, *next; r; r = next) {
        next = r->joined;
        r->joined = NULL;
        r->last = r;
        bq->dq.flying++;
        start_run(r);
    }
}

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtioBlk *b = (VirtioBlk *)v;
    BlkQueue *bq = &b->queues[virtq_index(q)];
    Req *run = NULL, *r;
    unsigned n = 0;

    dq_begin(&bq->dq);
    if (bq->kept && virtq_ready(q))
        start_kept(b, bq);
    while (n++ < AT_ONCE && (r = virtq_pop(q, sizeof(Req)))) {
        bq->dq.flying++;
        if (parse(b, bq, r)) {
            run = take(b, run, r);
        } else {
            virtq_drop(q, r);
            dq_landed(&bq->dq);
            break;
        }
    }
    start_run(run);
    send_going(b, bq);
    dq_end(&bq->dq);
    if (n > AT_ONCE)
        virtio_kick(q);
}

/* ---- quiet */

typedef struct Quiet { VirtioBlk *b; VirtQueue *q; IoThread *io; bool flying; } Quiet;

static bool concerns(const Quiet *w, const BlkQueue *bq)
{
    return (!w->q || bq->dq.q == w->q) && bq->io == w->io;
}

static void look_flying(void *opaque)
{
    Quiet *w = opaque;

    for (unsigned i = 0; i < w->b->num_queues; i++)
        w->flying |= concerns(w, &w->b->queues[i]) && w->b->queues[i].dq.flying;
}

/* A queue that only waits for the machine to go on keeps what it keeps; one that is reset does not. */
static void drop_kept(VirtioBlk *b, BlkQueue *bq)
{
    if (virtq_enabled(bq->dq.q) && b->v.status & VIRTIO_DRIVER_OK && !(b->v.holds & VIRTIO_HOLD_BROKEN))
        return;
    for (Req *r = bq->kept, *next; r; r = next) {
        next = r->joined;
        virtq_drop(bq->dq.q, r);
    }
    bq->kept = NULL;
    bq->kept_end = &bq->kept;
}

static void wait_quiet(void *opaque)
{
    const Quiet *w = opaque;

    for (unsigned i = 0; i < w->b->num_queues; i++) {
        if (!concerns(w, &w->b->queues[i]))
            continue;
        dq_wait(&w->b->queues[i].dq);
        drop_kept(w->b, &w->b->queues[i]);
    }
}

/* fn in each thread that has queues. */
static void in_each_thread(Quiet *w, void (*fn)(void *))
{
    const BlkQueue *q = w->b->queues;

    for (unsigned i = 0, k; i < w->b->num_queues; i++) {
        for (k = 0; q[k].io != q[i].io; k++)
            ;
        w->io = q[i].io;
        if (k == i)
            iothread_run(w->io, fn, w);
    }
}

static void quiesce(VirtioDevice *v, VirtQueue *q)
{
    VirtioBlk *b = (VirtioBlk *)v;
    Quiet w = { .b = b, .q = q };

    if (!disk_port_ready(&b->conf.port))
        return;
    in_each_thread(&w, look_flying);
    if (w.flying)
        disk_port_drain(&b->conf.port);         /* throttled requests need not wait for their time */
    in_each_thread(&w, wait_quiet);
}

/* ---- configuration */

static void put(uint8_t *at, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = val >> 8 * i;
}

static uint32_t discard_alignment(const VirtioBlk *b)
{
    uint32_t g = b->conf.discard_granularity;

    if (!b->report_granularity || g == DISK_GRANULARITY_AUTO || !g)
        g = b->conf.logical;
    return g / SECTOR;
}

static uint32_t seg_max(const VirtioBlk *b)
{
    return b->seg_max_adjust ? b->queue_size - 2 : 128 - 2;
}

static void read_config(VirtioDevice *v)
{
    VirtioBlk *b = (VirtioBlk *)v;
    const DiskConf *c = &b->conf;
    uint8_t *p = v->config;

    put(p + 0, disk_port_size(&c->port) / c->logical * c->logical / SECTOR, 8);
    put(p + 12, seg_max(b), 4);
    put(p + 16, b->cylinders, 2);
    put(p + 18, b->heads, 1);
    put(p + 19, b->sectors, 1);
    put(p + 20, c->logical, 4);
    put(p + 24, __builtin_ctz(c->physical / c->logical), 1);
    put(p + 26, c->min_io / c->logical, 2);
    put(p + 28, c->opt_io / c->logical, 4);
    put(p + 32, !c->port.writethrough, 1);
    put(p + 34, b->num_queues, 2);
    if (b->discard) {
        put(p + 36, b->max_discard, 4);
        put(p + 40, MOST_RANGES, 4);
        put(p + 44, discard_alignment(b), 4);
    }
    if (b->write_zeroes) {
        put(p + 48, b->max_write_zeroes, 4);
        put(p + 52, MOST_RANGES, 4);
        put(p + 56, 1, 1);
    }
}

static void write_config(VirtioDevice *v, unsigned off, unsigned len)
{
    VirtioBlk *b = (VirtioBlk *)v;

    if (off <= 32 && off + len > 32 && virtio_has(v, F_CONFIG_WCE))
        disk_port_set_writethrough(&b->conf.port, !v->config[32]);
}

static uint64_t features(VirtioDevice *v)
{
    const VirtioBlk *b = (VirtioBlk *)v;
    const struct { bool yes; unsigned bit; } rows[] = {
        { true, F_SEG_MAX }, { true, F_GEOMETRY }, { true, F_BLK_SIZE }, { true, F_TOPOLOGY }, { true, F_FLUSH },
        { b->config_wce, F_CONFIG_WCE }, { b->conf.port.read_only, F_RO }, { b->num_queues > 1, F_MQ },
        { b->discard, F_DISCARD }, { b->write_zeroes, F_WRITE_ZEROES },
    };
    uint64_t f = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        f |= (uint64_t)rows[i].yes << rows[i].bit;
    return f;
}

static void set_through(VirtioBlk *b, bool on)
{
    if (disk_port_ready(&b->conf.port) && b->conf.port.writethrough != on)
        disk_port_set_writethrough(&b->conf.port, on);
}

/* Section 5.2.5.2: a driver that knows neither of FLUSH and CONFIG_WCE counts on a cache that writes through. */
static void accepted(VirtioDevice *v)
{
    VirtioBlk *b = (VirtioBlk *)v;

    set_through(b, b->through || (!virtio_has(v, F_CONFIG_WCE) && !virtio_has(v, F_FLUSH)));
}

static void reset(VirtioDevice *v)
{
    VirtioBlk *b = (VirtioBlk *)v;

    set_through(b, b->through);
}

static const VirtioOps ops = {
    .id = 2, .pci_class = 0x010000, .name = "virtio-blk", .features = features, .accepted = accepted,
    .read_config = read_config, .write_config = write_config, .handle = handle, .reset = reset, .quiesce = quiesce,
};

/* ---- the device */

static void resized(void *dev)
{
    virtio_config_changed(dev);
}

static const DiskPortOps port_ops = { .resized = resized };

/* 16 heads and 63 sectors, as systems that look at it expect of a disk. */
static void guess_geometry(VirtioBlk *b)
{
    uint64_t sectors = disk_port_size(&b->conf.port) / SECTOR;

    if (b->cylinders || b->heads || b->sectors)
        return;
    b->heads = 16;
    b->sectors = 63;
    b->cylinders = MIN(MAX(sectors / (16 * 63), 1u), 16383u);
}

static Err *check_props(VirtioBlk *b)
{
    const Device *d = &b->v.dev;

    if (b->num_queues == QUEUES_AUTO)
        b->num_queues = d->outer ? MIN(MAX(d->vm->config->smp, 1), MOST_QUEUES) : 1;
    if (!b->num_queues || b->num_queues > MOST_QUEUES)
        return err(ERR_INVALID, "num-queues is 1 to %d", MOST_QUEUES);
    if (b->queue_size <= 2 || b->queue_size > VIRTQ_MAX || b->queue_size & (b->queue_size - 1))
        return err(ERR_INVALID, "queue-size is a power of two from 4 to %d", VIRTQ_MAX);
    if (b->scsi)
        return err_hint(err(ERR_UNSUPPORTED, "scsi=on: SCSI commands do not pass through a virtio-blk"),
                        "Use virtio-scsi-pci with scsi-hd for a disk that speaks SCSI.");
    if (b->cylinders > 65535 || b->heads > 255 || b->sectors > 255)
        return err(ERR_INVALID, "cyls is at most 65535, heads and secs at most 255");
    TRY(disk_check_iothreads(d->vm, b->iothread, b->mapping, b->num_queues));
    const uint32_t most = INT32_MAX / SECTOR;
    if (b->max_discard > most || b->max_write_zeroes > most)
        return err(ERR_INVALID, "max-discard-sectors and max-write-zeroes-sectors are at most %u", most);
    if ((b->discard && !b->max_discard) || (b->write_zeroes && !b->max_write_zeroes))
        return err(ERR_INVALID, "max-discard-sectors and max-write-zeroes-sectors are at least 1");
    return disk_check_serial(b->serial, ID_LEN);
}

static void init_queue(VirtioBlk *b, BlkQueue *bq, IoThread *t)
{
    bq->io = t;
    bq->dq.loop = iothread_loop(t);
    bq->dq.q = virtio_add_queue(&b->v, b->queue_size, t);
    bq->kept_end = &bq->kept;
    bq->going_end = &bq->going;
}

static Err *realize(Device *d)
{
    VirtioBlk *b = (VirtioBlk *)d;

    TRY(check_props(b));
    b->conf.port.any_home = true;
    TRY(disk_conf_bind(d, &b->conf, &port_ops, false, false));
    b->loop = iothread_loop(disk_port_thread(&b->conf.port));
    b->through = b->conf.port.writethrough;
    guess_geometry(b);
    virtio_init(&b->v, &ops, CONFIG_SIZE);
    b->queues = g_new0(BlkQueue, b->num_queues);
    for (unsigned i = 0; i < b->num_queues; i++)
        init_queue(b, &b->queues[i], disk_queue_thread(&b->conf, b->iothread, b->mapping, i));
    return NULL;
}

static void unrealize(Device *d)
{
    VirtioBlk *b = (VirtioBlk *)d;

    virtio_clear(&b->v);
    disk_port_unbind(&b->conf.port);
    g_free(b->queues);
    b->queues = NULL;
}

/* ---- saved */

static void save(Device *d, StateOut *out)
{
    const VirtioBlk *b = (VirtioBlk *)d;

    state_put_u64(out, "writethrough", b->conf.port.writethrough);
    for (unsigned i = 0; i < b->num_queues; i++) {
        unsigned n = 0;

        for (const Req *r = b->queues[i].kept; r; r = r->joined) {
            g_autofree char *name = g_strdup_printf("kept%u.%u", i, n++);

            virtq_put_elem(r->elem.q, out, name, r);
        }
    }
}

/* What is kept starts anew when the machine goes on, as it would have there. */
static Err *load_kept(VirtioBlk *b, unsigned i, StateIn *in)
{
    BlkQueue *bq = &b->queues[i];

    for (unsigned n = 0;; n++) {
        g_autofree char *name = g_strdup_printf("kept%u.%u", i, n);
        void *elem = NULL;

        TRY(virtq_get_elem(bq->dq.q, in, name, sizeof(Req), &elem));
        if (!elem)
            return NULL;
        if (!parse(b, bq, elem)) {
            virtq_drop(bq->dq.q, elem);
            return err(ERR_INVALID, "a request that it kept makes no sense");
        }
        *bq->kept_end = elem;
        bq->kept_end = &((Req *)elem)->joined;
    }
}

static Err *load(Device *d, StateIn *in)
{
    VirtioBlk *b = (VirtioBlk *)d;
    uint64_t through;

    TRY(state_get_u64(in, "writethrough", 1, &through));
    set_through(b, through);
    for (unsigned i = 0; i < b->num_queues; i++)
        TRY(load_kept(b, i, in));
    return NULL;
}

static const Field fields[] = {
    DISK_PROPS(VirtioBlk, conf),
    PROP(VirtioBlk, serial, .doc = "what the guest reads as the disk's serial number, 20 characters"),
    PROP(VirtioBlk, num_queues, .def = "65535", .doc = "65535: one for each CPU on PCI, else one"),
    PROP(VirtioBlk, queue_size, .def = "256", .doc = "requests under way in a queue"),
    PROP(VirtioBlk, discard, .def = "on", .doc = "the guest may give space back"),
    PROP(VirtioBlk, write_zeroes, .def = "on", .doc = "the guest may have zeroes written without sending them"),
    PROP(VirtioBlk, max_discard, .as = "max-discard-sectors", .def = "4194303", .doc = "most in one request, of 512 bytes"),
    PROP(VirtioBlk, max_write_zeroes, .as = "max-write-zeroes-sectors", .def = "4194303", .doc = "the same"),
    PROP(VirtioBlk, report_granularity, .as = "report-discard-granularity", .def = "on", .doc = "tell discard_granularity"),
    PROP(VirtioBlk, config_wce, .def = "on", .doc = "the guest may turn the write cache on and off"),
    PROP(VirtioBlk, merging, .as = "request-merging", .def = "on", .doc = "sequential requests become one"),
    PROP(VirtioBlk, seg_max_adjust, .def = "on", .doc = "a request has as many parts as the queue allows"),
    PROP(VirtioBlk, iothread, .doc = "an -object iothread: the thread of disk and queues"),
    PROP(VirtioBlk, mapping, .as = "iothread-vq-mapping", .doc = "the same for each queue, a JSON list; the disk is in the first"),
    PROP(VirtioBlk, scsi, .def = "off", .doc = "off is what there is"),
    PROP(VirtioBlk, cylinders, .as = "cyls", .def = "0", .doc = "0: guessed"),
    PROP(VirtioBlk, heads, .def = "0"), PROP(VirtioBlk, sectors, .as = "secs", .def = "0"),
    {0}
};

DEVICE(virtio_blk) = {
    .name = "virtio-blk-device", .bus = "virtio-bus", .doc = "virtio disk", .size = sizeof(VirtioBlk),
    .boot = 'c', .boot_part = "disk@0,0",
    .fields = fields, .base = virtio_fields, .realize = realize, .unrealize = unrealize,
    .save = save, .load = load,
};

DEVICE(virtio_blk_pci) = VIRTIO_PCI("virtio-blk-pci", device_virtio_blk, "virtio disk", .alias = "virtio-blk");
DEVICE(virtio_blk_pci_transitional) = VIRTIO_PCI_TRANSITIONAL("virtio-blk-pci-transitional", device_virtio_blk, "virtio disk, legacy interface too");
DEVICE(virtio_blk_pci_modern) = VIRTIO_PCI_MODERN("virtio-blk-pci-non-transitional", device_virtio_blk, "virtio disk, no legacy interface");
