/* SPDX-License-Identifier: MIT */
/*
 * SCSI: a bus of logical units, and requests to them (SPC-4, SBC-3, MMC-5).
 *
 * A host adapter (virtio-scsi) owns a ScsiBus and turns what its driver asks
 * into ScsiRequests; a unit obeys one by scsi_run, a coroutine function in the
 * bus's thread, with the guest's own memory. The list of units is that thread's:
 * plugging and unplugging go through it.
 */
#ifndef HW_SCSI_SCSI_H
#define HW_SCSI_SCSI_H

#include "hw/core/device.h"
#include "system/iothread.h"
#include "util/co.h"
#include "util/iov.h"

enum { SCSI_TARGETS = 256, SCSI_LUNS = 16384, SCSI_CDB = 32, SCSI_SENSE = 18 };
enum { SCSI_GOOD = 0, SCSI_CHECK = 2, SCSI_CONFLICT = 0x18 };

typedef struct ScsiBus ScsiBus;
typedef struct ScsiUnit ScsiUnit;

/* Key, additional sense code and its qualifier: SPC-4, annex D. */
typedef struct Sense { uint8_t key, asc, ascq; } Sense;

typedef struct ScsiRequest {
    uint8_t cdb[SCSI_CDB];
    IoVec out, in;              /* data of the guest; what it gives for data */
    /* the answer */
    uint8_t status;
    uint8_t sense[SCSI_SENSE];  /* fixed format, when status is SCSI_CHECK */
    size_t moved;               /* bytes of either */
    bool overrun;               /* the guest's memory is too short for what it asked for: nothing was done */
} ScsiRequest;

/* What the machine shall do about a request that did not end. */
typedef enum ScsiEnd { SCSI_DONE, SCSI_KEEP /* the machine stops; run it again when it goes on */ } ScsiEnd;

struct ScsiUnit {
    Device dev;
    ScsiBus *bus;
    uint32_t channel, id, lun;  /* properties; UINT32_MAX: the first that is free */
    /* The bus's thread: */
    ScsiEnd (*run)(ScsiUnit *, ScsiRequest *);
    void (*drain)(ScsiUnit *);  /* has all that is under way end soon, throttled or not. May yield */
    Sense attention;            /* told by the next command; key 0: none */
    unsigned flying, waiting;   /* requests under way; who waits for those */
    CoQueue idle;
    ScsiUnit *next;             /* on its bus, by id and lun */
};
extern const Field scsi_fields[];               /* base of units */
extern const BusClass scsi_bus_class;           /* name "SCSI" */

/* What an adapter wants to hear, and what it can. In the bus's thread, but for limits. */
typedef struct ScsiHost {
    unsigned targets, luns;                     /* of each */
    void (*changed)(ScsiBus *, ScsiUnit *, bool there);     /* plugged or gone, while the machine runs */
    void (*attention)(ScsiBus *, ScsiUnit *);   /* it has something to tell: capacity, medium */
    void (*settle)(ScsiBus *, ScsiUnit *);      /* it goes: requests that were set aside end. May be NULL */
} ScsiHost;

struct ScsiBus {
    Bus bus;
    const ScsiHost *host;
    void *opaque;               /* the adapter */
    ScsiUnit *units;
    IoThread *thread;           /* of the adapter's queues and all its units */
};
void scsi_bus_init(Vm *vm, ScsiBus *b, IoThread *t, const ScsiHost *host, void *opaque, const char *name, Device *owner);

/* ---- in the bus's thread */
ScsiUnit *scsi_find(ScsiBus *b, unsigned id, unsigned lun);     /* or NULL */
bool scsi_has_target(const ScsiBus *b, unsigned id);
/* Obeys it. u NULL: the target has no such unit, which is an answer of its own. May yield. */
ScsiEnd scsi_run(ScsiBus *b, unsigned id, ScsiUnit *u, ScsiRequest *r);
void scsi_wait(ScsiUnit *u);                    /* until nothing of it is under way. May yield */
void scsi_attend(ScsiUnit *u, Sense what);      /* to be told by its next command */

/* For units: answers. */
ScsiEnd scsi_good(ScsiRequest *r);
ScsiEnd scsi_check(ScsiRequest *r, Sense what);
/* `len` bytes as data, at most `most` of them (the allocation length) and what there is room for. */
ScsiEnd scsi_reply(ScsiRequest *r, const void *data, size_t len, size_t most);

#define SENSE_NO_MEDIUM         ((Sense){ 2, 0x3a, 0x00 })
#define SENSE_TRAY_OPEN         ((Sense){ 2, 0x3a, 0x02 })
#define SENSE_READ_ERROR        ((Sense){ 3, 0x11, 0x00 })
#define SENSE_WRITE_ERROR       ((Sense){ 3, 0x0c, 0x00 })
#define SENSE_TARGET_FAILURE    ((Sense){ 4, 0x44, 0x00 })
#define SENSE_PARAM_LENGTH      ((Sense){ 5, 0x1a, 0x00 })
#define SENSE_BAD_OPCODE        ((Sense){ 5, 0x20, 0x00 })
#define SENSE_BAD_LBA           ((Sense){ 5, 0x21, 0x00 })
#define SENSE_BAD_FIELD         ((Sense){ 5, 0x24, 0x00 })
#define SENSE_NO_LUN            ((Sense){ 5, 0x25, 0x00 })
#define SENSE_BAD_PARAM         ((Sense){ 5, 0x26, 0x00 })
#define SENSE_NOT_SAVED         ((Sense){ 5, 0x39, 0x00 })
#define SENSE_BAD_MODE          ((Sense){ 5, 0x64, 0x00 })
#define SENSE_LOCKED            ((Sense){ 5, 0x53, 0x02 })
#define SENSE_RESET             ((Sense){ 6, 0x29, 0x00 })
#define SENSE_MEDIUM_GONE       ((Sense){ 6, 0x3a, 0x00 })
#define SENSE_MEDIUM_CHANGED    ((Sense){ 6, 0x28, 0x00 })
#define SENSE_CAPACITY_CHANGED  ((Sense){ 6, 0x2a, 0x09 })
#define SENSE_PROTECTED         ((Sense){ 7, 0x27, 0x00 })
#define SENSE_NO_SPACE          ((Sense){ 7, 0x27, 0x07 })

static inline unsigned be16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static inline uint32_t be32(const uint8_t *p) { return (uint32_t)be16(p) << 16 | be16(p + 2); }
static inline uint64_t be64(const uint8_t *p) { return (uint64_t)be32(p) << 32 | be32(p + 4); }
static inline void put_be(uint8_t *p, uint64_t val, unsigned bytes)
{
    for (unsigned i = bytes; i--; val >>= 8)
        p[i] = val;
}

/* Commands: SPC-4, SBC-3, MMC-5. */
enum {
    TEST_UNIT_READY = 0x00, REZERO = 0x01, REQUEST_SENSE = 0x03, READ_6 = 0x08, WRITE_6 = 0x0a, SEEK_6 = 0x0b, INQUIRY = 0x12,
    MODE_SELECT_6 = 0x15, RESERVE_6 = 0x16, RELEASE_6 = 0x17, MODE_SENSE_6 = 0x1a, START_STOP = 0x1b, PREVENT_ALLOW = 0x1e,
    READ_CAPACITY_10 = 0x25, READ_10 = 0x28, WRITE_10 = 0x2a, SEEK_10 = 0x2b, WRITE_VERIFY_10 = 0x2e, VERIFY_10 = 0x2f,
    SYNC_CACHE_10 = 0x35, WRITE_SAME_10 = 0x41, UNMAP = 0x42, READ_TOC = 0x43, GET_CONFIGURATION = 0x46, GET_EVENT = 0x4a,
    READ_DISC_INFO = 0x51, MODE_SELECT_10 = 0x55, RESERVE_10 = 0x56, RELEASE_10 = 0x57, MODE_SENSE_10 = 0x5a,
    READ_16 = 0x88, WRITE_16 = 0x8a, WRITE_VERIFY_16 = 0x8e, VERIFY_16 = 0x8f, SYNC_CACHE_16 = 0x91, WRITE_SAME_16 = 0x93,
    SERVICE_IN_16 = 0x9e, REPORT_LUNS = 0xa0, READ_12 = 0xa8, WRITE_12 = 0xaa, WRITE_VERIFY_12 = 0xae, VERIFY_12 = 0xaf,
    SET_CD_SPEED = 0xbb, MECHANISM_STATUS = 0xbd, READ_CD = 0xbe,
};

#endif
