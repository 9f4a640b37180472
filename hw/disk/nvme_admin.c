/* SPDX-License-Identifier: MIT */
/*
 * NVMe: commands of the admin queue. NVM Express Base 1.4, section 5.
 *
 * Left out, and told so by IDENTIFY: firmware, formatting, namespace management,
 * self tests, security, directives, sanitize, virtualization.
 */
#include <string.h>

#include "hw/disk/nvme.h"

enum {
    DELETE_SQ = 0x00, CREATE_SQ = 0x01, GET_LOG = 0x02, DELETE_CQ = 0x04, CREATE_CQ = 0x05, IDENTIFY = 0x06, ABORT = 0x08,
    SET_FEATURES = 0x09, GET_FEATURES = 0x0a, ASYNC_EVENT = 0x0c,

    LOG_ERRORS = 1, LOG_SMART = 2, LOG_FIRMWARE = 3, LOG_CHANGED = 4, LOG_EFFECTS = 5,
    FT_ARBITRATION = 1, FT_POWER = 2, FT_TEMPERATURE = 4, FT_ERRORS = 5, FT_CACHE = 6, FT_QUEUES = 7, FT_COALESCING = 8,
    FT_VECTOR = 9, FT_ATOMICITY = 0xa, FT_EVENTS = 0xb, FT_TIMESTAMP = 0xe,
    EVENT_SPACES = 1 << 8, PAGE = 4096, TEMPERATURE = 300 /* Kelvin */,
};

/* ---- queues */

static bool io_queue_fine(const Nvme *n, unsigned qid)
{
    return qid && qid <= n->pairs;
}

static uint16_t create_cq(NvmeReq *r)
{
    Nvme *n = r->n;
    uint32_t dw10 = nvme_dw(r, 10), dw11 = nvme_dw(r, 11), size = (dw10 >> 16) + 1;
    unsigned qid = dw10 & 0xffff, vector = dw11 >> 16;
    uint64_t base = nvme_get64(r->cmd + 24);

    if (!io_queue_fine(n, qid) || n->cqs[qid].there)
        return NVME_BAD_QID;
    if (size < 2 || size > NVME_QUEUE_ENTRIES || (n->cc_seen >> 20 & 15) != 4)
        return NVME_BAD_QSIZE;
    if (vector >= n->vectors || (!msix_on(&n->pci) && vector))
        return NVME_BAD_VECTOR;
    if (!(dw11 & 1) || base & ((UINT64_C(1) << n->page_bits) - 1))
        return NVME_BAD_FIELD;                  /* one piece of memory: CAP.CQR */
    NvmeCq *cq = &n->cqs[qid];
    *cq = (NvmeCq){ .id = qid, .vector = vector, .there = true, .interrupts = dw11 & 2, .phase = true, .size = size, .base = base };
    cq->waiting_end = &cq->waiting;
    n->doorbells[2 * qid + 1] = 0;
    return NVME_OK;
}

static uint16_t create_sq(NvmeReq *r)
{
    Nvme *n = r->n;
    uint32_t dw10 = nvme_dw(r, 10), dw11 = nvme_dw(r, 11), size = (dw10 >> 16) + 1;
    unsigned qid = dw10 & 0xffff, cqid = dw11 >> 16;
    uint64_t base = nvme_get64(r->cmd + 24);

    if (!io_queue_fine(n, cqid) || !n->cqs[cqid].there)
        return NVME_BAD_CQ;
    if (!io_queue_fine(n, qid) || n->sqs[qid].there)
        return NVME_BAD_QID;
    if (size < 2 || size > NVME_QUEUE_ENTRIES || (n->cc_seen >> 16 & 15) != 6)
        return NVME_BAD_QSIZE;
    if (!(dw11 & 1) || base & ((UINT64_C(1) << n->page_bits) - 1))
        return NVME_BAD_FIELD;
    n->sqs[qid] = (NvmeSq){ .id = qid, .there = true, .size = size, .base = base, .cq = &n->cqs[cqid] };
    n->cqs[cqid].users++;
    n->doorbells[2 * qid] = 0;
    return NVME_OK;
}

/* What it has under way ends first; its answers that found no room are lost with it. */
static uint16_t delete_sq(NvmeReq *r)
{
    Nvme *n = r->n;
    unsigned qid = nvme_dw(r, 10) & 0xffff;

    if (!io_queue_fine(n, qid) || !n->sqs[qid].there || n->sqs[qid].leaving)
        return NVME_BAD_QID;
    NvmeSq *sq = &n->sqs[qid];
    sq->leaving = true;
    nvme_sq_settle(n, sq);
    sq->cq->users--;
    *sq = (NvmeSq){ .id = qid };
    return NVME_OK;
}

static uint16_t delete_cq(NvmeReq *r)
{
    Nvme *n = r->n;
    unsigned qid = nvme_dw(r, 10) & 0xffff;

    if (!io_queue_fine(n, qid) || !n->cqs[qid].there)
        return NVME_BAD_QID;
    if (n->cqs[qid].users)
        return NVME_BAD_DELETION;
    n->cqs[qid] = (NvmeCq){ .id = qid };
    n->cqs[qid].waiting_end = &n->cqs[qid].waiting;
    nvme_irq(n, NULL);
    return NVME_OK;
}

/* ---- IDENTIFY */

static void put_text(uint8_t *at, const char *text, unsigned len)
{
    memset(at, ' ', len);
    memcpy(at, text, MIN(strlen(text), len));
}

static void identify_controller(const Nvme *n, uint8_t *p)
{
    nvme_put(p, n->pci.config[0] | n->pci.config[1] << 8, 2);
    nvme_put(p + 2, n->pci.config[0x2c] | n->pci.config[0x2d] << 8, 2);
    put_text(p + 4, n->serial, 20);
    put_text(p + 24, "Lyre NVMe Ctrl", 40);
    put_text(p + 64, "1.0", 8);
    p[72] = 6;                          /* arbitration burst */
    p[77] = n->mdts;
    nvme_put(p + 80, 0x10400, 4);
    nvme_put(p + 92, EVENT_SPACES, 4);
    p[111] = 1;                         /* an I/O controller */
    p[258] = 3;                         /* aborts at a time */
    p[259] = n->aerl;
    p[260] = 0x03;                      /* one firmware slot, read-only */
    p[261] = 0x07;                      /* logs: for each namespace, effects, offsets */
    nvme_put(p + 266, 343, 2);
    nvme_put(p + 268, 373, 2);
    p[512] = 0x66;
    p[513] = 0x44;
    nvme_put(p + 516, NVME_MOST_SPACES, 4);
    nvme_put(p + 520, 0x4d, 2);         /* compare, dataset management, write zeroes, timestamp */
    p[525] = 0x07;                      /* a write cache; flush takes all namespaces at once */
    nvme_put(p + 536, 1, 4);            /* SGLs */
    g_snprintf((char *)p + 768, 256, "nqn.2014-08.org.nvmexpress:uuid:lyre-%s", n->serial);
    nvme_put(p + 2048, 2500, 2);        /* the one power state: 25 W */
    nvme_put(p + 2048 + 4, 16, 4);
    nvme_put(p + 2048 + 8, 4, 4);
}

static void identify_space(NvmeSpace *s, uint8_t *p)
{
    uint64_t blocks = disk_port_size(&s->conf.port) / s->conf.logical;
    uint32_t grain = s->conf.discard_granularity, bs = s->conf.logical;

    grain = grain == DISK_GRANULARITY_AUTO || !grain ? MAX(bs, 4096u) : grain;
    s->told_size = disk_port_size(&s->conf.port);
    for (unsigned i = 0; i < 3; i++)
        nvme_put(p + 8 * i, blocks, 8);
    p[24] = 0x11;                       /* thin; what is best to write and give back is told */
    p[33] = 0x08;                       /* write zeroes may give back */
    nvme_put(p + 64, MAX(s->conf.physical, s->conf.min_io) / bs - 1, 2);
    nvme_put(p + 66, s->conf.physical / bs - 1, 2);
    nvme_put(p + 68, MIN(grain / bs - 1, 0xffffu), 2);
    nvme_put(p + 70, MIN(grain / bs - 1, 0xffffu), 2);
    nvme_put(p + 72, s->conf.opt_io ? MIN(s->conf.opt_io / bs - 1, 0xffffu) : 0, 2);
    p[99] = s->conf.port.read_only;     /* NSATTR: write protected */
    for (unsigned i = 0; i < 8; i++)
        p[120 + i] = s->eui64 >> 8 * (7 - i);
    p[128 + 2] = __builtin_ctz(bs);
}

static void identify_list(const Nvme *n, uint32_t after, uint8_t *p)
{
    unsigned at = 0;

    for (uint32_t i = 1; i <= NVME_MOST_SPACES && at < PAGE; i++) {
        if (i <= after || !n->spaces[i])
            continue;
        nvme_put(p + at, i, 4);
        at += 4;
    }
}

static void identify_names(const NvmeSpace *s, uint8_t *p)
{
    if (s->eui64) {
        p[0] = 1;
        p[1] = 8;
        for (unsigned i = 0; i < 8; i++)
            p[4 + i] = s->eui64 >> 8 * (7 - i);
        p += 12;
    }
    if (s->has_uuid) {
        p[0] = 3;
        p[1] = 16;
        memcpy(p + 4, s->uuid, 16);
    }
}

static uint16_t identify(NvmeReq *r)
{
    Nvme *n = r->n;
    uint32_t nsid = nvme_dw(r, 1);
    NvmeSpace *s = nsid && nsid <= NVME_MOST_SPACES ? n->spaces[nsid] : NULL;
    uint8_t p[PAGE] = { 0 };

    switch (nvme_dw(r, 10) & 0xff) {
    case 0x00:
        if (!nsid || (nsid > NVME_MOST_SPACES && nsid != UINT32_MAX))
            return NVME_BAD_SPACE;
        if (s)
            identify_space(s, p);       /* one that is not there reads as zeroes */
        break;
    case 0x01:
        identify_controller(n, p);
        break;
    case 0x02: case 0x10:
        if (nsid >= UINT32_MAX - 1)
            return NVME_BAD_SPACE;
        identify_list(n, nsid, p);
        break;
    case 0x03:
        if (!s)
            return NVME_BAD_SPACE;
        identify_names(s, p);
        break;
    default:
        return NVME_BAD_FIELD;
    }
    return nvme_give(r, p, PAGE);
}

/* ---- logs */

static void log_smart(const Nvme *n, uint8_t *p)
{
    nvme_put(p + 1, TEMPERATURE, 2);
    p[3] = 100;                         /* spare, per cent */
    p[4] = 10;
    nvme_put(p + 32, (n->read_units + 999) / 1000, 8);
    nvme_put(p + 48, (n->write_units + 999) / 1000, 8);
    nvme_put(p + 64, n->reads, 8);
    nvme_put(p + 80, n->writes, 8);
}

static void log_changed(Nvme *n, uint8_t *p, bool keep)
{
    unsigned at = 0;

    for (unsigned i = 1; i <= NVME_MOST_SPACES; i++) {
        if (n->changed[i]) {
            nvme_put(p + at, i, 4);
            at += 4;
        }
    }
    if (keep)
        return;
    memset(n->changed, 0, sizeof(n->changed));
    n->change_told = false;
}

static void log_effects(uint8_t *p)
{
    static const uint8_t admin[] = { DELETE_SQ, CREATE_SQ, GET_LOG, DELETE_CQ, CREATE_CQ, IDENTIFY, ABORT, SET_FEATURES, GET_FEATURES, ASYNC_EVENT };
    static const struct { uint8_t op, effects; } io[] = { { 0, 1 }, { 1, 3 }, { 2, 1 }, { 5, 1 }, { 8, 3 }, { 9, 3 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(admin); i++)
        p[4 * admin[i]] = 1;
    for (unsigned i = 0; i < G_N_ELEMENTS(io); i++)
        p[1024 + 4 * io[i].op] = io[i].effects;
}

static uint16_t get_log(NvmeReq *r)
{
    Nvme *n = r->n;
    uint32_t dw10 = nvme_dw(r, 10);
    uint64_t len = (((uint64_t)(nvme_dw(r, 11) & 0xffff) << 16 | dw10 >> 16) + 1) * 4, off = nvme_get64(r->cmd + 48), all;
    bool keep = dw10 >> 15 & 1;
    uint8_t p[PAGE] = { 0 };

    switch (dw10 & 0xff) {
    case LOG_ERRORS:
        all = 64;
        break;
    case LOG_SMART:
        all = 512;
        log_smart(n, p);
        break;
    case LOG_FIRMWARE:
        all = 512;
        p[0] = 1;
        put_text(p + 8, "1.0", 8);
        break;
    case LOG_CHANGED:
        all = PAGE;
        log_changed(n, p, keep || off);
        break;
    case LOG_EFFECTS:
        all = PAGE;
        log_effects(p);
        break;
    default:
        return NVME_BAD_LOG;
    }
    if (off & 3 || off >= all)
        return NVME_BAD_FIELD;
    return nvme_give(r, p + off, MIN(len, all - off));
}

/* ---- features */

static bool feature_there(unsigned f)
{
    return (f >= FT_ARBITRATION && f <= FT_EVENTS && f != 3) || f == FT_TIMESTAMP;
}

static uint32_t feature_default(const Nvme *n, unsigned f)
{
    switch (f) {
    case FT_ARBITRATION: return 7;
    case FT_TEMPERATURE: return 343;
    case FT_QUEUES:      return (n->pairs - 1) | (n->pairs - 1) << 16;
    case FT_EVENTS:      return EVENT_SPACES;
    default:             return 0;
    }
}

void nvme_features_reset(Nvme *n)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(n->features); f++)
        n->features[f] = feature_default(n, f);
    n->time_base = n->time_set = 0;
    n->change_told = false;
}

static bool cache_on(const Nvme *n)
{
    for (unsigned i = 1; i <= NVME_MOST_SPACES; i++) {
        if (n->spaces[i] && !n->spaces[i]->conf.port.writethrough)
            return true;
    }
    return false;
}

static void set_cache(Nvme *n, bool on)
{
    for (unsigned i = 1; i <= NVME_MOST_SPACES; i++) {
        if (!n->spaces[i])
            continue;
        n->spaces[i]->conf.port.writethrough = !on;
        disk_set_writethrough(n->spaces[i]->conf.port.disk, !on);
    }
    if (!on)
        nvme_flush_all(n);
}

static uint64_t now_ms(void) { return loop_now() / 1000000; }

static uint16_t get_timestamp(NvmeReq *r)
{
    Nvme *n = r->n;
    uint8_t p[8] = { 0 };

    nvme_put(p, n->time_base + (n->time_set ? now_ms() - n->time_set : 0), 6);
    p[6] = n->time_set ? 2 : 0;
    return nvme_give(r, p, sizeof(p));
}

static uint16_t set_timestamp(NvmeReq *r)
{
    uint8_t p[8];
    uint16_t status = nvme_map(r, sizeof(p), false);

    if (status)
        return status;
    iov_read(&r->data, 0, p, sizeof(p));
    r->n->time_base = nvme_get64(p) & 0xffffffffffff;
    r->n->time_set = now_ms();
    return NVME_OK;
}

static uint16_t get_features(NvmeReq *r)
{
    Nvme *n = r->n;
    unsigned f = nvme_dw(r, 10) & 0xff, select = nvme_dw(r, 10) >> 8 & 7, vector = nvme_dw(r, 11) & 0xffff;

    if (!feature_there(f) || select > 3)
        return NVME_BAD_FIELD;
    if (f == FT_VECTOR && vector >= n->vectors)
        return NVME_BAD_FIELD;
    if (select == 3) {
        r->result = 4;                  /* changeable, not saved */
        return NVME_OK;
    }
    if (select) {
        r->result = f == FT_CACHE ? 1 : f == FT_VECTOR ? vector : feature_default(n, f);
        return NVME_OK;
    }
    if (f == FT_TIMESTAMP)
        return get_timestamp(r);
    r->result = f == FT_CACHE ? cache_on(n) : f == FT_VECTOR ? vector | (n->features[f] & 1 << 16) : n->features[f];
    return NVME_OK;
}

static uint16_t set_features(NvmeReq *r)
{
    Nvme *n = r->n;
    unsigned f = nvme_dw(r, 10) & 0xff;
    uint32_t val = nvme_dw(r, 11);

    if (!feature_there(f))
        return NVME_BAD_FIELD;
    if (nvme_dw(r, 10) >> 31)
        return NVME_NOT_SAVEABLE;
    switch (f) {
    case FT_TIMESTAMP:
        return set_timestamp(r);
    case FT_POWER:
        return val & 0x1f ? NVME_BAD_FIELD : NVME_OK;
    case FT_CACHE:
        set_cache(n, val & 1);
        return NVME_OK;
    case FT_QUEUES:
        if ((val & 0xffff) == 0xffff || val >> 16 == 0xffff)
            return NVME_BAD_FIELD;
        r->result = (MIN(val & 0xffff, n->pairs - 1)) | MIN(val >> 16, n->pairs - 1) << 16;
        n->features[f] = r->result;
        return NVME_OK;
    case FT_VECTOR:
        if ((val & 0xffff) >= n->vectors)
            return NVME_BAD_FIELD;
        return NVME_OK;
    default:
        n->features[f] = val;
        return NVME_OK;
    }
}

/* ---- events */

/* One that waits is answered, if there is something to tell that was not told yet. */
static void tell_changes(Nvme *n)
{
    bool some = false;

    for (unsigned i = 1; i <= NVME_MOST_SPACES; i++)
        some |= n->changed[i];
    if (!some || n->change_told || !n->n_aers || !(n->features[FT_EVENTS] & EVENT_SPACES))
        return;
    NvmeReq *r = n->aers[--n->n_aers];
    n->change_told = true;
    r->result = 2 /* notice */ | 0 << 8 | LOG_CHANGED << 16;
    r->sq->flying++;
    n->flying++;
    nvme_answer(r);
}

void nvme_event_spaces(Nvme *n, uint32_t nsid)
{
    n->changed[nsid] = 1;
    if (n->ready)
        tell_changes(n);
}

static uint16_t async_event(NvmeReq *r)
{
    Nvme *n = r->n;

    if (n->n_aers > n->aerl || n->n_aers >= NVME_AERS)
        return NVME_AER_LIMIT;
    n->aers[n->n_aers++] = r;
    nvme_set_aside(r);
    tell_changes(n);
    return NVME_OK;
}

/* ---- which command it is */

static uint16_t abort_command(NvmeReq *r)
{
    r->result = 1;                      /* it was not: what the host's disks do is not called back */
    return NVME_OK;
}

void nvme_admin(void *opaque)
{
    static const struct { uint8_t op; uint16_t (*run)(NvmeReq *); } rows[] = {
        { DELETE_SQ, delete_sq }, { CREATE_SQ, create_sq }, { GET_LOG, get_log }, { DELETE_CQ, delete_cq },
        { CREATE_CQ, create_cq }, { IDENTIFY, identify }, { ABORT, abort_command }, { SET_FEATURES, set_features },
        { GET_FEATURES, get_features },
    };
    NvmeReq *r = opaque;

    if (r->cmd[0] == ASYNC_EVENT) {
        uint16_t status = async_event(r);

        if (status) {
            r->status = status;
            nvme_answer(r);
        }
        return;
    }
    r->status = NVME_BAD_OPCODE;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].op == r->cmd[0])
            r->status = r->cmd[1] & 3 ? NVME_BAD_FIELD : rows[i].run(r);
    }
    if (r->status)
        r->to_guest = false;
    nvme_answer(r);
}
