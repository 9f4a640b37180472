/* SPDX-License-Identifier: MIT */
/*
 * What the files of the NVMe controller share: NVM Express Base 1.4.
 *
 * Everything but registers lives in the disks' thread: vCPUs store what they
 * write (atomics) and call for it there; the thread then looks at the doorbells that were
 * rung and at CC. Commands are coroutines with the guest's own memory.
 */
#ifndef HW_DISK_NVME_H
#define HW_DISK_NVME_H

#include "hw/disk/disk.h"
#include "hw/pci/pci.h"
#include "util/co.h"

enum {
    NVME_MOST_PAIRS = 255, NVME_MOST_SPACES = 256, NVME_QUEUE_ENTRIES = 2048,
    NVME_AERS = 16, NVME_MOST_BYTES = 4 << 20,
    NVME_SQE = 64, NVME_CQE = 16,
};

/* Status of a command: code type << 8 | code; DNR: asking again changes nothing. */
enum {
    NVME_DNR = 0x4000,
    NVME_OK = 0, NVME_BAD_OPCODE = 0x4001, NVME_BAD_FIELD = 0x4002, NVME_TRANSFER_ERROR = 0x4004, NVME_INTERNAL = 0x0006,
    NVME_SQ_DELETED = 0x0008, NVME_BAD_SPACE = 0x400b, NVME_BAD_SGL_SEGMENT = 0x400d, NVME_BAD_SGL_COUNT = 0x400e,
    NVME_BAD_SGL_LENGTH = 0x400f, NVME_BAD_SGL_TYPE = 0x4011, NVME_BAD_PRP_OFFSET = 0x4013,
    NVME_OUT_OF_RANGE = 0x4080, NVME_NO_CAPACITY = 0x0081,
    NVME_BAD_CQ = 0x4100, NVME_BAD_QID = 0x4101, NVME_BAD_QSIZE = 0x4102, NVME_AER_LIMIT = 0x4105, NVME_BAD_VECTOR = 0x4108,
    NVME_BAD_LOG = 0x4109, NVME_BAD_DELETION = 0x410c, NVME_NOT_SAVEABLE = 0x410d, NVME_NOT_CHANGEABLE = 0x410e,
    NVME_READ_ONLY = 0x4182, NVME_WRITE_FAULT = 0x0280, NVME_READ_ERROR = 0x0281, NVME_COMPARE_FAILED = 0x4285,
};

typedef struct Nvme Nvme;
typedef struct NvmeReq NvmeReq;

/* A namespace: of the controller's own drive=, or a device nvme-ns. */
typedef struct NvmeSpace {
    DiskConf conf;
    uint32_t nsid;
    uint8_t uuid[16];
    bool has_uuid;
    uint64_t eui64;
    Nvme *n;
    uint64_t told_size;             /* bytes that IDENTIFY said last; 0: never asked */
    unsigned flying;                /* commands under way */
    CoQueue idle;
} NvmeSpace;

typedef struct NvmeCq {
    uint16_t id, vector;
    bool there, interrupts, phase, irq_soon;
    uint32_t size, tail, head;
    uint64_t base;
    unsigned users;                 /* submission queues that use it */
    NvmeReq *waiting, **waiting_end;        /* ended, and there is no room */
} NvmeCq;

typedef struct NvmeSq {
    uint16_t id;
    bool there, leaving;
    uint32_t size, head, tail;
    uint64_t base;
    NvmeCq *cq;
    unsigned flying;                /* taken, not yet answered or kept */
    CoQueue idle;                   /* who waits for that */
} NvmeSq;

typedef struct NvmeSeg { RamBlock *block; uint64_t off, len; } NvmeSeg;

struct NvmeReq {
    Nvme *n;
    NvmeSq *sq;
    uint8_t cmd[NVME_SQE];
    uint16_t status;
    uint32_t result;                /* dword 0 of the answer */
    /* data: the guest's memory */
    bool to_guest;
    struct iovec *v; NvmeSeg *segs;
    unsigned n_segs, room;
    IoVec data;
    NvmeReq *next;
};

struct Nvme {
    PciDevice pci;
    NvmeSpace own;                  /* drive= */
    Bus bus;                        /* of nvme-ns */
    Region regs;
    char *serial;
    uint32_t pairs;                 /* max_ioqpairs */
    uint16_t vectors;               /* msix_qsize */
    uint8_t mdts, aerl;
    bool intel_id, hooked;
    Loop *loop;
    /* Registers; any thread. */
    _Atomic uint32_t cc, csts, aqa, int_mask;
    _Atomic uint64_t asq, acq;
    _Atomic uint32_t *doorbells;    /* 2 * (pairs + 1) */
    _Atomic uint64_t rung[4], freed[4];     /* a bit for each submission, completion queue */
    _Atomic bool called, stopped;   /* poke is on its way; the machine stands */
    _Atomic bool mask_changed;
    _Atomic bool intx;              /* the pin was raised; it may be low again */
    /* The disks' thread: */
    uint32_t cc_seen;
    bool ready, changing;           /* enabled; a coroutine is about to make it so or not so */
    bool irq_called;                /* interrupts are on their way */
    unsigned page_bits;
    NvmeSq *sqs;
    NvmeCq *cqs;
    NvmeSpace *spaces[NVME_MOST_SPACES + 1];        /* by nsid */
    unsigned flying;
    CoQueue idle;
    NvmeReq *kept, **kept_end;      /* failed where the machine shall stop; free ones */
    NvmeReq *free;
    NvmeReq *aers[NVME_AERS];
    unsigned n_aers;
    bool change_told;               /* the log of changes was not read since the last event */
    uint8_t changed[NVME_MOST_SPACES + 1];
    uint32_t features[32];
    uint64_t time_base, time_set;   /* timestamp feature: ms, and when */
    uint64_t reads, writes, read_units, write_units;        /* SMART */
};

extern const DeviceClass device_nvme;

/* nvme_queue.c */
void nvme_poke(Nvme *n);                        /* any thread: look at registers and doorbells soon */
void nvme_work(Nvme *n);                        /* the thread: rung queues */
void nvme_answer(NvmeReq *r);                   /* status and result are set */
void nvme_keep(NvmeReq *r);
void nvme_set_aside(NvmeReq *r);                /* it flies no more; who has it answers it later, after counting it again */
void nvme_sq_settle(Nvme *n, NvmeSq *sq);       /* ends or drops what is under way of a queue that leaves. Coroutine */
void nvme_irq(Nvme *n, NvmeCq *cq);
void nvme_queues_clear(Nvme *n);                /* nothing is under way */
void nvme_wait(Nvme *n);                        /* until that is so. Coroutine */
void nvme_start_kept(Nvme *n);
void nvme_drop_kept(Nvme *n, const NvmeSq *sq); /* NULL: all */
/* The data of a command: `len` bytes by PRP or SGL. A status. */
uint16_t nvme_map(NvmeReq *r, uint64_t len, bool to_guest);
/* Maps as much of `bytes` as the command has room for, and copies it there. */
uint16_t nvme_give(NvmeReq *r, const void *bytes, uint64_t len);

/* nvme_admin.c, nvme_io.c: coroutines; end with nvme_answer or nvme_keep */
void nvme_admin(void *req);
void nvme_io(void *req);
void nvme_features_reset(Nvme *n);
void nvme_event_spaces(Nvme *n, uint32_t nsid); /* a namespace is new, another size, or gone */
void nvme_flush_all(Nvme *n);
void nvme_wait_space(Nvme *n, NvmeSpace *s);    /* it was taken off; nothing is under way any more. Coroutine */
void nvme_req_destroy(NvmeReq *r);
void nvme_drain(Nvme *n);                       /* throttled requests need not wait for their time */

/* nvme_saved.c; the machine stands */
void nvme_save(Device *d, struct StateOut *out);
MUST_USE Err *nvme_load(Device *d, struct StateIn *in);
MUST_USE Err *nvme_loaded(Device *d);
NvmeReq *nvme_req_new(Nvme *n);
void nvme_req_free(NvmeReq *r);

static inline uint32_t nvme_get32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }
static inline uint64_t nvme_get64(const uint8_t *p) { return nvme_get32(p) | (uint64_t)nvme_get32(p + 4) << 32; }
static inline uint32_t nvme_dw(const NvmeReq *r, unsigned i) { return nvme_get32(r->cmd + 4 * i); }
static inline void nvme_put(uint8_t *p, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = val >> 8 * i;
}

#endif
