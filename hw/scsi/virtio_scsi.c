/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi: VIRTIO 1.2, section 5.6. Queue 0 is for control, 1 for events, the
 * rest for requests; all are handled in one thread, "disks" or that of iothread=, the first of iothread-vq-mapping=.
 *
 * A command cannot be called back from the host's disks, so ABORT and RESET wait
 * until those they concern have ended, and the driver then sees each of them done.
 * Left out: protection information, bidirectional commands, ACA, asynchronous
 * notifications (queries for which are answered with "none").
 */
#include <string.h>

#include "hw/disk/disk.h"
#include "hw/disk/queue.h"
#include "hw/scsi/scsi.h"
#include "hw/virtio/pci.h"
#include "hw/virtio/saved.h"
#include "system/vmconfig.h"
#include "util/log.h"

enum {
    F_HOTPLUG = 1, F_CHANGE = 2,
    CONTROL = 0, EVENTS = 1, FIRST = 2,             /* queues */
    CONFIG_SIZE = 36, EVENT_SIZE = 16, SENSE_MOST = 96, SENSE_DEFAULT = 96, CDB_DEFAULT = 32,
    HEADER = 19, ANSWER = 12,                       /* of a command, without CDB and sense */
    RE_OK = 0, RE_OVERRUN = 1, RE_BAD_TARGET = 3, RE_RESET = 4, RE_FAILURE = 9, RE_SUCCEEDED = 10, RE_REJECTED = 11, RE_INCORRECT_LUN = 12,
    T_TMF = 0, T_AN_QUERY = 1, T_AN_SUBSCRIBE = 2,
    TMF_ABORT_TASK = 0, TMF_ABORT_TASK_SET = 1, TMF_CLEAR_TASK_SET = 3, TMF_NEXUS_RESET = 4, TMF_LUN_RESET = 5,
    TMF_QUERY_TASK = 6, TMF_QUERY_TASK_SET = 7,
    E_TRANSPORT_RESET = 1, E_PARAM_CHANGE = 3, E_MISSED = 1u << 31, E_RESCAN = 1, E_REMOVED = 2,
    MOST_QUEUES = 254, AT_ONCE = 512,
};
#define QUEUES_AUTO UINT32_MAX

typedef struct VirtioScsi VirtioScsi;

/* One buffer of a request queue, or of the control queue. */
typedef struct Cmd {
    VirtElem elem;
    VirtioScsi *s;
    DiskQueue *dq;
    unsigned target, lun;
    bool well_formed;                   /* the address is one of ours */
    uint64_t tag;
    unsigned answer, sense_room;        /* bytes of the answer's head; of its sense */
    ScsiRequest r;
    uint8_t control[24];                /* control queue: what was asked */
    struct Cmd *kept;                   /* in the list of those set aside */
    struct Cmd *under_way;              /* in the list of those that run */
} Cmd;

/* All but properties and config: the bus's thread. */
struct VirtioScsi {
    VirtioDevice v;
    ScsiBus bus;
    uint32_t num_queues, queue_size, max_sectors, cmd_per_lun;
    bool hotplug, param_change, seg_max_adjust;
    char *iothread, *mapping;
    IoThread *thread;
    Loop *loop;
    DiskQueue *queues;                  /* num_queues + FIRST of them */
    Cmd *kept, **kept_end;
    Cmd *running;
    bool missed;                        /* events that there was no buffer for */
    _Atomic uint32_t sense_size, cdb_size;
};

static uint32_t get32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }
static uint64_t get64(const uint8_t *p) { return get32(p) | (uint64_t)get32(p + 4) << 32; }
static void put(uint8_t *at, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = val >> 8 * i;
}

/* Section 5.6.6.1: 1, target, then a unit in SAM's single level forms. */
static bool parse_lun(const uint8_t *p, unsigned *target, unsigned *lun)
{
    *target = p[1];
    *lun = be16(p + 2) & 0x3fff;
    return p[0] == 1 && (p[2] & 0xc0) <= 0x40 && !p[4] && !p[5] && !p[6] && !p[7];
}

static void put_lun(uint8_t *p, const ScsiUnit *u)
{
    memset(p, 0, 8);
    p[0] = 1;
    p[1] = u->id;
    put_be(p + 2, u->lun < 256 ? u->lun : 0x4000 | u->lun, 2);
    if (u->lun >= 256)
        p[2] |= 0x40;
}

/* ---- answers to commands */

static void end_cmd(Cmd *c, uint8_t response)
{
    uint8_t head[ANSWER + SENSE_MOST] = { 0 };
    IoVec in = virt_in(&c->elem);
    size_t moved = response == RE_OK ? c->r.moved : 0, data = c->r.in.len + c->r.out.len;
    unsigned sense = response == RE_OK && c->r.status == SCSI_CHECK ? MIN((unsigned)SCSI_SENSE, c->sense_room) : 0;

    put(head, sense, 4);
    put(head + 4, MIN(data - MIN(moved, data), (size_t)UINT32_MAX), 4);
    head[10] = response == RE_OK ? c->r.status : 0;
    head[11] = response;
    memcpy(head + ANSWER, c->r.sense, sense);
    iov_write(&in, 0, head, c->answer);
    dq_done(c->dq, c, in.len);
}

static void not_running(Cmd *c)
{
    Cmd **at = &c->s->running;

    while (*at != c)
        at = &(*at)->under_way;
    *at = c->under_way;
}

static void keep(Cmd *c)
{
    VirtioScsi *s = c->s;

    c->kept = NULL;
    *s->kept_end = c;
    s->kept_end = &c->kept;
    dq_landed(c->dq);
}

static void run_cmd(void *opaque)
{
    Cmd *c = opaque;
    VirtioScsi *s = c->s;

    c->under_way = s->running;
    s->running = c;
    ScsiEnd end = scsi_run(&s->bus, c->target, scsi_find(&s->bus, c->target, c->lun), &c->r);
    not_running(c);
    if (end == SCSI_KEEP)
        keep(c);
    else
        end_cmd(c, c->r.overrun ? RE_OVERRUN : RE_OK);
}

/* ---- commands of the guest */

static bool parse_cmd(VirtioScsi *s, Cmd *c)
{
    IoVec out = virt_out(&c->elem), in = virt_in(&c->elem);
    uint32_t cdb = s->cdb_size;
    uint8_t head[HEADER];

    c->sense_room = s->sense_size;
    c->answer = ANSWER + c->sense_room;
    if (out.len < HEADER + cdb || in.len < c->answer) {
        virtq_broken(c->elem.q, "a command of %zu bytes with %zu bytes for the answer", out.len, in.len);
        return false;
    }
    iov_read(&out, 0, head, HEADER);
    iov_read(&out, HEADER, c->r.cdb, MIN(cdb, (uint32_t)SCSI_CDB));
    c->well_formed = parse_lun(head, &c->target, &c->lun);
    c->tag = get64(head + 8);
    c->r.out = iov_slice(&out, HEADER + cdb, out.len - HEADER - cdb);
    c->r.in = iov_slice(&in, c->answer, in.len - c->answer);
    c->answer = ANSWER + MIN(c->sense_room, (unsigned)SENSE_MOST);
    return true;
}

static void take_cmd(VirtioScsi *s, Cmd *c)
{
    if (!c->well_formed || !scsi_has_target(&s->bus, c->target))
        end_cmd(c, RE_BAD_TARGET);
    else if (c->r.in.len && c->r.out.len)
        end_cmd(c, RE_FAILURE);          /* both ways at once: not offered */
    else
        co_start(s->loop, run_cmd, c);
}

static void start_kept(VirtioScsi *s)
{
    Cmd *list = s->kept;

    s->kept = NULL;
    s->kept_end = &s->kept;
    for (Cmd *c = list, *next; c; c = next) {
        next = c->kept;
        c->dq->flying++;
        co_start(s->loop, run_cmd, c);
    }
}

static void handle_commands(VirtioScsi *s, DiskQueue *dq)
{
    unsigned n = 0;
    Cmd *c;

    if (s->kept && virtq_ready(dq->q))
        start_kept(s);
    while (n++ < AT_ONCE && (c = virtq_pop(dq->q, sizeof(Cmd)))) {
        dq->flying++;
        c->s = s;
        c->dq = dq;
        if (parse_cmd(s, c)) {
            take_cmd(s, c);
        } else {
            virtq_drop(dq->q, c);
            dq_landed(dq);
            break;
        }
    }
    if (n > AT_ONCE)
        virtio_kick(dq->q);
}

/* ---- the control queue */

/* Those set aside for when the machine goes on: u's, or (NULL) all. */
static void drop_kept(VirtioScsi *s, const ScsiUnit *u, const DiskQueue *dq, uint8_t response)
{
    Cmd *list = s->kept;

    s->kept = NULL;
    s->kept_end = &s->kept;
    for (Cmd *c = list, *next; c; c = next) {
        next = c->kept;
        bool mine = (!u || (c->target == u->id && c->lun == u->lun)) && (!dq || c->dq == dq);
        c->kept = NULL;
        if (!mine) {
            *s->kept_end = c;
            s->kept_end = &c->kept;
        } else if (response) {
            c->dq->flying++;
            end_cmd(c, response);
        } else {
            virtq_drop(c->dq->q, c);
        }
    }
}

static uint8_t reset_unit(VirtioScsi *s, ScsiUnit *u)
{
    unsigned id = u->id, lun = u->lun;

    scsi_wait(u);
    u = scsi_find(&s->bus, id, lun);    /* it may have gone meanwhile */
    if (!u)
        return RE_INCORRECT_LUN;
    drop_kept(s, u, NULL, RE_RESET);
    u->attention = SENSE_RESET;
    return RE_OK;
}

static uint8_t reset_target(VirtioScsi *s, unsigned target)
{
    bool some = false;

    for (unsigned lun = 0; lun < SCSI_LUNS; lun++) {        /* by address: the list may change while we wait */
        ScsiUnit *u = s->bus.units, *next = NULL;

        for (; u; u = u->next) {
            if (u->id == target && u->lun >= lun && (!next || u->lun < next->lun))
                next = u;
        }
        if (!next)
            break;
        lun = next->lun;
        reset_unit(s, next);
        some = true;
    }
    return some ? RE_OK : RE_BAD_TARGET;
}

static bool is_running(const VirtioScsi *s, const Cmd *of, const uint64_t *tag)
{
    for (const Cmd *c = s->running; c; c = c->under_way) {
        if (c->target == of->target && c->lun == of->lun && (!tag || c->tag == *tag))
            return true;
    }
    return false;
}

static uint8_t manage(VirtioScsi *s, Cmd *c)
{
    uint64_t tag = get64(c->control + 16);
    ScsiUnit *u;

    if (!parse_lun(c->control + 8, &c->target, &c->lun) || !scsi_has_target(&s->bus, c->target))
        return RE_BAD_TARGET;
    unsigned what = get32(c->control + 4);
    if (what == TMF_NEXUS_RESET)
        return reset_target(s, c->target);
    u = scsi_find(&s->bus, c->target, c->lun);
    if (!u)
        return RE_INCORRECT_LUN;
    switch (what) {
    case TMF_ABORT_TASK: case TMF_ABORT_TASK_SET: case TMF_CLEAR_TASK_SET:
        scsi_wait(u);
        u = scsi_find(&s->bus, c->target, c->lun);
        if (u && what != TMF_ABORT_TASK)
            drop_kept(s, u, NULL, RE_RESET);
        return RE_OK;
    case TMF_LUN_RESET:
        return reset_unit(s, u);
    case TMF_QUERY_TASK:
        return is_running(s, c, &tag) ? RE_SUCCEEDED : RE_OK;
    case TMF_QUERY_TASK_SET:
        return is_running(s, c, NULL) ? RE_SUCCEEDED : RE_OK;
    default:
        return RE_REJECTED;
    }
}

static void run_control(void *opaque)
{
    Cmd *c = opaque;
    IoVec in = virt_in(&c->elem);
    uint8_t answer[5] = { 0 };

    if (get32(c->control) == T_TMF) {
        uint8_t response = manage(c->s, c);

        iov_write(&in, 0, &response, 1);
    } else {
        iov_write(&in, 0, answer, sizeof(answer));      /* no events of those kinds */
    }
    dq_done(c->dq, c, in.len);
}

static bool parse_control(Cmd *c)
{
    IoVec out = virt_out(&c->elem);
    size_t in = c->elem.in_len;
    uint32_t type;

    if (out.len >= 4) {
        iov_read(&out, 0, c->control, MIN(out.len, sizeof(c->control)));
        type = get32(c->control);
        if (type == T_TMF && out.len >= 24 && in >= 1)
            return true;
        if ((type == T_AN_QUERY || type == T_AN_SUBSCRIBE) && out.len >= 16 && in >= 5)
            return true;
    }
    virtq_broken(c->elem.q, "a control request of %zu bytes with %zu bytes for the answer", out.len, in);
    return false;
}

static void handle_control(VirtioScsi *s, DiskQueue *dq)
{
    Cmd *c;

    while ((c = virtq_pop(dq->q, sizeof(Cmd)))) {
        dq->flying++;
        c->s = s;
        c->dq = dq;
        if (!parse_control(c)) {
            virtq_drop(dq->q, c);
            dq_landed(dq);
            break;
        }
        co_start(s->loop, run_control, c);
    }
}

/* ---- events */

static void send_event(VirtioScsi *s, uint32_t event, const ScsiUnit *u, uint32_t reason)
{
    DiskQueue *dq = &s->queues[EVENTS];
    uint8_t out[EVENT_SIZE] = { 0 };
    VirtElem *e = virtq_ready(dq->q) ? virtq_pop(dq->q, sizeof(VirtElem)) : NULL;

    if (!e) {
        s->missed |= virtq_ready(dq->q);
        return;
    }
    if (e->in_len < EVENT_SIZE) {
        virtq_broken(dq->q, "an event's buffer of %zu bytes", e->in_len);
        virtq_drop(dq->q, e);
        return;
    }
    put(out, event | (s->missed ? E_MISSED : 0), 4);
    if (u)
        put_lun(out + 4, u);
    put(out + 12, reason, 4);
    s->missed = false;
    IoVec in = virt_in(e);
    iov_write(&in, 0, out, sizeof(out));
    virtq_push(dq->q, e, sizeof(out));
    virtq_notify(dq->q);
}

/* Buffers for events came: what was missed is told. Else they wait for their time. */
static void handle_events(VirtioScsi *s)
{
    if (s->missed)
        send_event(s, 0, NULL, 0);
}

static void changed(ScsiBus *b, ScsiUnit *u, bool there)
{
    VirtioScsi *s = b->opaque;

    if (virtio_has(&s->v, F_HOTPLUG))
        send_event(s, E_TRANSPORT_RESET, u, there ? E_RESCAN : E_REMOVED);
}

static void attention(ScsiBus *b, ScsiUnit *u)
{
    VirtioScsi *s = b->opaque;

    if (virtio_has(&s->v, F_CHANGE))
        send_event(s, E_PARAM_CHANGE, u, u->attention.asc | u->attention.ascq << 8);
}

static void settle(ScsiBus *b, ScsiUnit *u)
{
    drop_kept(b->opaque, u, NULL, RE_BAD_TARGET);
}

static const ScsiHost host = { .targets = SCSI_TARGETS, .luns = SCSI_LUNS, .changed = changed, .attention = attention, .settle = settle };

/* ---- the device as virtio sees it */

static void handle(VirtioDevice *v, VirtQueue *q)
{
    VirtioScsi *s = (VirtioScsi *)v;
    unsigned n = virtq_index(q);
    DiskQueue *dq = &s->queues[n];

    dq_begin(dq);
    if (n == CONTROL)
        handle_control(s, dq);
    else if (n == EVENTS)
        handle_events(s);
    else
        handle_commands(s, dq);
    dq_end(dq);
}

typedef struct Quiet { VirtioScsi *s; VirtQueue *q; } Quiet;

/* Throttled requests need not wait for their time. */
static void drain_units(VirtioScsi *s)
{
    /* Plugging waits for the machine lock, which our caller's caller holds: the list stays. */
    for (ScsiUnit *u = s->bus.units; u; u = u->next) {
        if (u->flying && u->drain)
            u->drain(u);
    }
}

static void wait_quiet(void *opaque)
{
    const Quiet *w = opaque;
    VirtioScsi *s = w->s;

    drain_units(s);
    for (unsigned i = 0; i < s->num_queues + FIRST; i++) {
        DiskQueue *dq = &s->queues[i];

        if (w->q && dq->q != w->q)
            continue;
        dq_wait(dq);
        if (!virtq_enabled(dq->q) || !(s->v.status & VIRTIO_DRIVER_OK) || s->v.holds & VIRTIO_HOLD_BROKEN)
            drop_kept(s, NULL, dq, 0);
    }
}

static void quiesce(VirtioDevice *v, VirtQueue *q)
{
    Quiet w = { (VirtioScsi *)v, q };

    if (w.s->queues)
        iothread_run(w.s->thread, wait_quiet, &w);
}

static uint64_t features(VirtioDevice *v)
{
    const VirtioScsi *s = (VirtioScsi *)v;

    return (uint64_t)s->hotplug << F_HOTPLUG | (uint64_t)s->param_change << F_CHANGE;
}

static void read_config(VirtioDevice *v)
{
    const VirtioScsi *s = (VirtioScsi *)v;
    uint8_t *p = v->config;

    put(p, s->num_queues, 4);
    put(p + 4, s->seg_max_adjust ? s->queue_size - 2 : 126, 4);
    put(p + 8, s->max_sectors, 4);
    put(p + 12, s->cmd_per_lun, 4);
    put(p + 16, EVENT_SIZE, 4);
    put(p + 20, s->sense_size, 4);
    put(p + 24, s->cdb_size, 4);
    put(p + 28, 0, 2);
    put(p + 30, SCSI_TARGETS - 1, 2);
    put(p + 32, SCSI_LUNS - 1, 4);
}

/* sense_size and cdb_size are the driver's; what makes no sense is not taken. */
static void write_config(VirtioDevice *v, unsigned off, unsigned len)
{
    VirtioScsi *s = (VirtioScsi *)v;
    uint32_t sense = get32(v->config + 20), cdb = get32(v->config + 24);

    if (sense > 65536 || cdb > 256 || cdb < 6) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("virtio-scsi: %u bytes of sense, %u bytes of command", sense, cdb);
        return;
    }
    s->sense_size = sense;
    s->cdb_size = cdb;
}

static void reset(VirtioDevice *v)
{
    VirtioScsi *s = (VirtioScsi *)v;

    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    s->missed = false;
}

static const VirtioOps ops = {
    .id = 8, .pci_class = 0x010000, .name = "virtio-scsi", .features = features, .read_config = read_config,
    .write_config = write_config, .handle = handle, .reset = reset, .quiesce = quiesce,
};

static Err *check_props(VirtioScsi *s)
{
    const Device *d = &s->v.dev;

    if (s->num_queues == QUEUES_AUTO)
        s->num_queues = d->outer ? MIN(MAX(d->vm->config->smp, 1), MOST_QUEUES) : 1;
    if (!s->num_queues || s->num_queues > MOST_QUEUES)
        return err(ERR_INVALID, "num_queues is 1 to %d", MOST_QUEUES);
    if (s->queue_size <= 2 || s->queue_size > VIRTQ_MAX || s->queue_size & (s->queue_size - 1))
        return err(ERR_INVALID, "virtqueue_size is a power of two from 4 to %d", VIRTQ_MAX);
    if (!s->max_sectors || !s->cmd_per_lun)
        return err(ERR_INVALID, "max_sectors and cmd_per_lun are at least 1");
    TRY(disk_check_iothreads(d->vm, s->iothread, s->mapping, s->num_queues));
    return d->vm->disks ? NULL : err(ERR_UNSUPPORTED, "this machine has no disks");
}

static char *bus_name(const VirtioScsi *s)
{
    const Device *d = s->v.dev.outer ? s->v.dev.outer : &s->v.dev;
    char *name = NULL;

    if (d->id)
        return g_strdup_printf("%s.0", d->id);
    for (unsigned i = 0; !name; i++) {
        name = g_strdup_printf("scsi.%u", i);
        if (bus_find(d->vm, name))
            g_clear_pointer(&name, g_free);
    }
    return name;
}

static Err *realize(Device *d)
{
    VirtioScsi *s = (VirtioScsi *)d;

    TRY(check_props(s));
    IoThread *t = s->thread = disk_first_thread(d->vm, s->iothread, s->mapping);
    s->loop = iothread_loop(t);
    s->kept_end = &s->kept;
    s->sense_size = SENSE_DEFAULT;
    s->cdb_size = CDB_DEFAULT;
    virtio_init(&s->v, &ops, CONFIG_SIZE);
    s->queues = g_new0(DiskQueue, s->num_queues + FIRST);
    for (unsigned i = 0; i < s->num_queues + FIRST; i++) {
        s->queues[i].loop = s->loop;
        s->queues[i].q = virtio_add_queue(&s->v, s->queue_size, t);
    }
    g_autofree char *name = bus_name(s);
    scsi_bus_init(d->vm, &s->bus, t, &host, s, name, d);
    s->bus.bus.hotplug = s->hotplug;
    return NULL;
}

static void unrealize(Device *d)
{
    VirtioScsi *s = (VirtioScsi *)d;

    if (s->queues)
        bus_clear(d->vm, &s->bus.bus);
    virtio_clear(&s->v);
    g_free(s->queues);
    s->queues = NULL;
}

/* ---- saved: what is kept starts anew when the machine goes on, as it would have there */

static void save(Device *d, StateOut *out)
{
    const VirtioScsi *s = (VirtioScsi *)d;
    unsigned n = 0;

    for (const Cmd *c = s->kept; c; c = c->kept) {
        g_autofree char *name = g_strdup_printf("kept%u", n), *queue = g_strdup_printf("kept%u.queue", n);

        n++;
        state_put_u64(out, queue, c->dq - s->queues);
        virtq_put_elem(c->elem.q, out, name, c);
    }
}

static Err *load_kept(VirtioScsi *s, StateIn *in, unsigned n, bool *more)
{
    g_autofree char *name = g_strdup_printf("kept%u", n), *queue = g_strdup_printf("kept%u.queue", n);
    uint64_t i;
    void *elem = NULL;

    *more = state_has(in, queue);
    if (!*more)
        return NULL;
    TRY(state_get_u64(in, queue, s->num_queues + FIRST - 1, &i));
    TRY(virtq_get_elem(s->queues[i].q, in, name, sizeof(Cmd), &elem));
    Cmd *c = elem;
    if (c) {
        c->s = s;
        c->dq = &s->queues[i];
    }
    if (c && i >= FIRST && parse_cmd(s, c) && c->well_formed && !(c->r.in.len && c->r.out.len)) {
        *s->kept_end = c;
        s->kept_end = &c->kept;
        return NULL;
    }
    if (c)
        virtq_drop(c->dq->q, c);
    return err(ERR_INVALID, "a request that it kept makes no sense");
}

static Err *load(Device *d, StateIn *in)
{
    VirtioScsi *s = (VirtioScsi *)d;
    bool more = true;

    if (s->sense_size > 65536 || s->cdb_size < 6 || s->cdb_size > 256)
        return err(ERR_INVALID, "it was saved with %u bytes of sense and %u bytes of command", s->sense_size, s->cdb_size);
    for (unsigned n = 0; more; n++)
        TRY(load_kept(s, in, n, &more));
    return NULL;
}

static const Field fields[] = {
    STATE(VirtioScsi, missed, .keep = true), STATE(VirtioScsi, sense_size, .keep = true), STATE(VirtioScsi, cdb_size, .keep = true),
    PROP(VirtioScsi, num_queues, .as = "num_queues", .def = "4294967295", .doc = "4294967295: one for each CPU on PCI, else one"),
    PROP(VirtioScsi, queue_size, .as = "virtqueue_size", .def = "256", .doc = "descriptors of each queue"),
    PROP(VirtioScsi, max_sectors, .as = "max_sectors", .def = "65535", .doc = "most in one request, of 512 bytes"),
    PROP(VirtioScsi, cmd_per_lun, .as = "cmd_per_lun", .def = "128", .doc = "commands under way for each unit"),
    PROP(VirtioScsi, hotplug, .def = "on", .doc = "units may come and go"),
    PROP(VirtioScsi, param_change, .as = "param_change", .def = "on", .doc = "the guest hears of new sizes"),
    PROP(VirtioScsi, seg_max_adjust, .as = "seg_max_adjust", .def = "on", .doc = "a request has as many parts as the queue allows"),
    PROP(VirtioScsi, iothread, .doc = "an -object iothread: the thread of all queues and units"),
    PROP(VirtioScsi, mapping, .as = "iothread-vq-mapping", .doc = "the same, as a JSON list; the first thread takes all queues"),
    {0}
};

DEVICE(virtio_scsi) = {
    .name = "virtio-scsi-device", .bus = "virtio-bus", .doc = "virtio SCSI host adapter", .size = sizeof(VirtioScsi),
    .fields = fields, .base = virtio_fields, .realize = realize, .unrealize = unrealize,
    .save = save, .load = load,
};

DEVICE(virtio_scsi_pci) = VIRTIO_PCI("virtio-scsi-pci", device_virtio_scsi, "virtio SCSI host adapter", .alias = "virtio-scsi");
DEVICE(virtio_scsi_pci_transitional) = VIRTIO_PCI_TRANSITIONAL("virtio-scsi-pci-transitional", device_virtio_scsi, "virtio SCSI host adapter, legacy interface too");
DEVICE(virtio_scsi_pci_modern) = VIRTIO_PCI_MODERN("virtio-scsi-pci-non-transitional", device_virtio_scsi, "virtio SCSI host adapter, no legacy interface");
