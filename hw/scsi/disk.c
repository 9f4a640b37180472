/* SPDX-License-Identifier: MIT */
/*
 * scsi-hd and scsi-cd: units with a drive. SBC-3 for what disks do, SPC-4 for the
 * rest; MMC-5 is in cd.c, INQUIRY and MODE are in pages.c.
 *
 * Left out: COMPARE AND WRITE, persistent reservations, protection information,
 * descriptor-format sense, READ LONG and its like.
 */
#include "hw/scsi/disk.h"

#include <errno.h>
#include <string.h>

enum { SAME_CHUNK = 1 << 20, MOST_RANGES = 255, CD_BLOCK = 2048 };

/* ---- the drive, which may be in another thread than the bus */

typedef enum DriveOp { DRIVE_READ, DRIVE_WRITE, DRIVE_FLUSH, DRIVE_ZERO, DRIVE_DISCARD } DriveOp;

typedef struct DriveCall {
    Disk *disk;
    DriveOp op;
    unsigned flags;
    uint64_t off, len;          /* len: zero and discard */
    const IoVec *q;
    int ret;
} DriveCall;

static void call_there(void *opaque)
{
    DriveCall *c = opaque;

    switch (c->op) {
    case DRIVE_READ:    c->ret = disk_read(c->disk, c->off, c->q, c->flags); break;
    case DRIVE_WRITE:   c->ret = disk_write(c->disk, c->off, c->q, c->flags); break;
    case DRIVE_FLUSH:   c->ret = disk_flush(c->disk); break;
    case DRIVE_ZERO:    c->ret = disk_zero(c->disk, c->off, c->len, c->flags); break;
    case DRIVE_DISCARD: c->ret = disk_discard(c->disk, c->off, c->len); break;
    }
}

static int call_drive(ScsiDisk *s, DriveCall c)
{
    c.disk = s->conf.port.disk;
    iothread_visit(disk_port_thread(&s->conf.port), call_there, &c);
    return c.ret;
}

/* ---- errors of the host */

static Sense sense_of(int error, bool write)
{
    switch (error) {
    case ENOMEDIUM: return SENSE_NO_MEDIUM;
    case ENOSPC:    return SENSE_NO_SPACE;
    case EROFS: case EPERM: case EACCES: return SENSE_PROTECTED;
    case ENOMEM:    return SENSE_TARGET_FAILURE;
    default:        return write ? SENSE_WRITE_ERROR : SENSE_READ_ERROR;
    }
}

/* A request to the drive ended with 0 or -errno. */
static ScsiEnd ended(ScsiDisk *s, ScsiRequest *r, bool write, int ret)
{
    DiskVerdict v = ret ? disk_port_failed(&s->conf.port, write, -ret) : DISK_ERROR_IGNORE;

    if (v == DISK_ERROR_IGNORE)
        return scsi_good(r);
    r->moved = 0;
    return v == DISK_ERROR_STOP ? SCSI_KEEP : scsi_check(r, sense_of(-ret, write));
}

/* ---- reads and writes */

static bool fits(const ScsiDisk *s, uint64_t lba, uint64_t blocks)
{
    uint64_t all = scsi_disk_blocks(s);

    return lba <= all && blocks <= all - lba;
}

ScsiEnd scsi_disk_read(ScsiDisk *s, ScsiRequest *r, uint64_t lba, uint64_t blocks)
{
    uint64_t bytes = blocks * s->conf.logical;      /* blocks: 32 bits at most */

    if (!fits(s, lba, blocks)) {
        disk_stats_invalid(&s->conf.port.stats, DISK_OP_READ);
        return scsi_check(r, SENSE_BAD_LBA);
    }
    if (bytes > r->in.len || bytes > BLOCK_MAX_REQUEST) {
        r->overrun = true;
        return scsi_good(r);
    }
    if (!bytes)
        return scsi_good(r);
    IoVec q = iov_slice(&r->in, 0, bytes);
    r->moved = bytes;
    return ended(s, r, false, call_drive(s, (DriveCall){ .op = DRIVE_READ, .off = lba * s->conf.logical, .q = &q }));
}

static ScsiEnd do_write(ScsiDisk *s, ScsiRequest *r, uint64_t lba, uint64_t blocks, bool fua)
{
    uint64_t bytes = blocks * s->conf.logical;

    if (s->conf.port.read_only)
        return scsi_check(r, SENSE_PROTECTED);
    if (!fits(s, lba, blocks)) {
        disk_stats_invalid(&s->conf.port.stats, DISK_OP_WRITE);
        return scsi_check(r, SENSE_BAD_LBA);
    }
    if (bytes > r->out.len || bytes > BLOCK_MAX_REQUEST) {
        r->overrun = true;
        return scsi_good(r);
    }
    if (!bytes)
        return scsi_good(r);
    IoVec q = iov_slice(&r->out, 0, bytes);
    r->moved = bytes;
    return ended(s, r, true, call_drive(s, (DriveCall){ .op = DRIVE_WRITE, .off = lba * s->conf.logical, .q = &q,
                                                        .flags = fua ? REQ_FUA : 0 }));
}

/* Address and count of the 6, 10, 12 and 16 byte forms. */
static void extent_of(const uint8_t *cdb, uint64_t *lba, uint64_t *blocks)
{
    switch (cdb[0] >> 5) {
    case 0:
        *lba = be32(cdb) & 0x1fffff;
        *blocks = cdb[4] ? cdb[4] : 256;
        break;
    case 4:
        *lba = be64(cdb + 2);
        *blocks = be32(cdb + 10);
        break;
    case 5:
        *lba = be32(cdb + 2);
        *blocks = be32(cdb + 6);
        break;
    default:
        *lba = be32(cdb + 2);
        *blocks = be16(cdb + 7);
    }
}

static ScsiEnd read_write(ScsiDisk *s, ScsiRequest *r, bool write)
{
    bool fua = r->cdb[0] >> 5 && r->cdb[1] & 8;
    uint64_t lba, blocks;

    extent_of(r->cdb, &lba, &blocks);
    if (r->cdb[0] >> 5 && r->cdb[1] & 0xe0)
        return scsi_check(r, SENSE_BAD_FIELD);      /* protection information: there is none */
    return write ? do_write(s, r, lba, blocks, fua) : scsi_disk_read(s, r, lba, blocks);
}

/* WRITE AND VERIFY: what is written is on stable storage after. */
static ScsiEnd write_verify(ScsiDisk *s, ScsiRequest *r)
{
    uint64_t lba, blocks;

    extent_of(r->cdb, &lba, &blocks);
    return do_write(s, r, lba, blocks, true);
}

/* VERIFY reads; with BYTCHK the guest's data would have to be compared. */
static ScsiEnd verify(ScsiDisk *s, ScsiRequest *r)
{
    uint64_t lba, blocks;

    extent_of(r->cdb, &lba, &blocks);
    if (r->cdb[1] & 6)
        return scsi_check(r, SENSE_BAD_FIELD);
    return fits(s, lba, blocks) ? scsi_good(r) : scsi_check(r, SENSE_BAD_LBA);
}

static ScsiEnd flush(ScsiDisk *s, ScsiRequest *r)
{
    return ended(s, r, true, call_drive(s, (DriveCall){ .op = DRIVE_FLUSH }));
}

/* ---- giving space back, zeroes */

static ScsiEnd unmap(ScsiDisk *s, ScsiRequest *r)
{
    size_t len = MIN((size_t)be16(r->cdb + 7), r->out.len);
    g_autofree uint8_t *list = g_malloc(len + 1);
    uint64_t sum = 0, bs = s->conf.logical;
    int ret = 0;

    if (!len)
        return scsi_good(r);
    if (len < 8)
        return scsi_check(r, SENSE_PARAM_LENGTH);
    if (s->conf.port.read_only)
        return scsi_check(r, SENSE_PROTECTED);
    iov_read(&r->out, 0, list, len);
    unsigned n = MIN((size_t)be16(list + 2), len - 8) / 16;
    if (n > MOST_RANGES)
        return scsi_check(r, SENSE_BAD_PARAM);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *x = list + 8 + 16 * i;

        sum += be32(x + 8) * bs;
        if (!fits(s, be64(x), be32(x + 8)))
            return scsi_check(r, SENSE_BAD_LBA);
    }
    if (sum > s->max_unmap)
        return scsi_check(r, SENSE_BAD_PARAM);
    for (unsigned i = 0; i < n && !ret; i++) {
        const uint8_t *x = list + 8 + 16 * i;

        if (be32(x + 8))
            ret = call_drive(s, (DriveCall){ .op = DRIVE_DISCARD, .off = be64(x) * bs, .len = be32(x + 8) * bs });
    }
    r->moved = len;
    return ended(s, r, true, ret);
}

/* The block over and over. */
static int write_same_data(ScsiDisk *s, const uint8_t *block, uint64_t off, uint64_t len)
{
    uint64_t size = MIN(len, (uint64_t)SAME_CHUNK);
    uint8_t *buf = g_try_malloc(size);
    int ret = buf ? 0 : -ENOMEM;

    for (uint64_t at = 0; buf && at < size; at += s->conf.logical)
        memcpy(buf + at, block, s->conf.logical);
    while (len && !ret) {
        uint64_t n = MIN(len, size);

        ret = call_drive(s, (DriveCall){ .op = DRIVE_WRITE, .off = off, .q = &IOV_BUF(buf, n) });
        off += n;
        len -= n;
    }
    g_free(buf);
    return ret;
}

static ScsiEnd write_same(ScsiDisk *s, ScsiRequest *r)
{
    bool wide = r->cdb[0] == WRITE_SAME_16, no_data = wide && r->cdb[1] & 1;
    uint64_t lba, blocks, bs = s->conf.logical;
    int ret;

    extent_of(r->cdb, &lba, &blocks);
    if (s->conf.port.read_only)
        return scsi_check(r, SENSE_PROTECTED);
    if (!blocks || blocks * bs > s->max_unmap || r->cdb[1] & 0xe6)
        return scsi_check(r, SENSE_BAD_FIELD);
    if (!fits(s, lba, blocks))
        return scsi_check(r, SENSE_BAD_LBA);
    if (!no_data && r->out.len < bs) {
        r->overrun = true;
        return scsi_good(r);
    }
    g_autofree uint8_t *block = g_malloc0(bs);
    if (!no_data)
        iov_read(&r->out, 0, block, bs);
    r->moved = no_data ? 0 : bs;
    if (buf_is_zero(block, bs))
        ret = call_drive(s, (DriveCall){ .op = DRIVE_ZERO, .off = lba * bs, .len = blocks * bs,
                                        .flags = r->cdb[1] & 8 ? REQ_UNMAP : 0 });
    else
        ret = write_same_data(s, block, lba * bs, blocks * bs);
    return ended(s, r, true, ret);
}

/* ---- capacity, medium */

static ScsiEnd read_capacity_10(ScsiDisk *s, ScsiRequest *r)
{
    uint64_t blocks = scsi_disk_blocks(s);
    uint8_t out[8];

    if (!blocks)
        return scsi_check(r, SENSE_NO_MEDIUM);
    put_be(out, MIN(blocks - 1, (uint64_t)UINT32_MAX), 4);
    put_be(out + 4, s->conf.logical, 4);
    return scsi_reply(r, out, sizeof(out), sizeof(out));
}

static ScsiEnd service_in(ScsiDisk *s, ScsiRequest *r)
{
    uint64_t blocks = scsi_disk_blocks(s);
    uint8_t out[32] = { 0 };

    if ((r->cdb[1] & 0x1f) != 0x10)         /* READ CAPACITY (16) is the one there is */
        return scsi_check(r, SENSE_BAD_FIELD);
    if (!blocks)
        return scsi_check(r, SENSE_NO_MEDIUM);
    put_be(out, blocks - 1, 8);
    put_be(out + 8, s->conf.logical, 4);
    out[13] = __builtin_ctz(s->conf.physical / s->conf.logical);
    out[14] = s->cd ? 0 : 0x80;             /* LBPME: space can be given back */
    return scsi_reply(r, out, sizeof(out), be32(r->cdb + 10));
}

enum { EVENT_ASKED = 1, EVENT_NEW = 2, EVENT_REMOVED = 3 };     /* MMC-5, 6.7.2: of the medium */

static void move_tray(ScsiDisk *s, bool open)
{
    s->open = open;
    s->event = open ? EVENT_REMOVED : EVENT_NEW;
    disk_port_tray_moved(&s->conf.port, open);
}

static ScsiEnd start_stop(ScsiDisk *s, ScsiRequest *r)
{
    bool load = r->cdb[4] & 2, start = r->cdb[4] & 1;

    if (r->cdb[4] >> 4 || !load || !(s->cd || s->removable))
        return scsi_good(r);                /* power conditions mean nothing here */
    if (!start && s->locked && !s->open)
        return scsi_check(r, SENSE_LOCKED);
    if (s->open == start)
        move_tray(s, !start);
    return scsi_good(r);
}

static ScsiEnd prevent_allow(ScsiDisk *s, ScsiRequest *r)
{
    s->locked = r->cdb[4] & 1;
    return scsi_good(r);
}

/* ---- which command it is */

/* Those that need no medium. */
static bool run_any(ScsiDisk *s, ScsiRequest *r, ScsiEnd *end)
{
    switch (r->cdb[0]) {
    case INQUIRY:           *end = scsi_inquiry(s, r); break;
    case MODE_SENSE_6: case MODE_SENSE_10: *end = scsi_mode_sense(s, r); break;
    case MODE_SELECT_6: case MODE_SELECT_10: *end = scsi_mode_select(s, r); break;
    case START_STOP:        *end = start_stop(s, r); break;
    case PREVENT_ALLOW:     *end = prevent_allow(s, r); break;
    case RESERVE_6: case RESERVE_10: case RELEASE_6: case RELEASE_10:
        *end = r->cdb[1] & 3 ? scsi_check(r, SENSE_BAD_FIELD) : scsi_good(r);    /* one initiator: it has it */
        break;
    case REZERO:            *end = scsi_good(r); break;
    case GET_EVENT: case GET_CONFIGURATION: case MECHANISM_STATUS: case SET_CD_SPEED:
        *end = s->cd ? scsi_cd_run(s, r) : scsi_check(r, SENSE_BAD_OPCODE);
        break;
    default:
        return false;
    }
    return true;
}

static ScsiEnd run_disk(ScsiDisk *s, ScsiRequest *r)
{
    switch (r->cdb[0]) {
    case WRITE_6: case WRITE_10: case WRITE_12: case WRITE_16:
        return read_write(s, r, true);
    case WRITE_VERIFY_10: case WRITE_VERIFY_12: case WRITE_VERIFY_16:
        return write_verify(s, r);
    case UNMAP:
        return unmap(s, r);
    case WRITE_SAME_10: case WRITE_SAME_16:
        return write_same(s, r);
    default:
        return scsi_check(r, SENSE_BAD_OPCODE);
    }
}

static ScsiEnd run(ScsiUnit *u, ScsiRequest *r)
{
    ScsiDisk *s = (ScsiDisk *)u;
    ScsiEnd end;

    if (run_any(s, r, &end))
        return end;
    if (!scsi_disk_ready(s))
        return scsi_check(r, s->open ? SENSE_TRAY_OPEN : SENSE_NO_MEDIUM);
    switch (r->cdb[0]) {
    case TEST_UNIT_READY: case SEEK_6: case SEEK_10:
        return scsi_good(r);
    case READ_CAPACITY_10:
        return read_capacity_10(s, r);
    case SERVICE_IN_16:
        return service_in(s, r);
    case READ_6: case READ_10: case READ_12: case READ_16:
        return read_write(s, r, false);
    case VERIFY_10: case VERIFY_12: case VERIFY_16:
        return verify(s, r);
    case SYNC_CACHE_10: case SYNC_CACHE_16:
        return flush(s, r);
    default:
        return s->cd ? scsi_cd_run(s, r) : run_disk(s, r);
    }
}

/* ---- the devices */

static void new_size(void *dev)
{
    scsi_attend(dev, SENSE_CAPACITY_CHANGED);
}

/* In the drive's thread. */
static void resized(void *dev)
{
    loop_call(iothread_loop(((ScsiUnit *)dev)->bus->thread), new_size, dev);
}

typedef struct LookTray { const ScsiDisk *s; DiskTray tray; } LookTray;

static void look_tray(void *opaque)
{
    LookTray *l = opaque;

    l->tray = (DiskTray){ l->s->open, l->s->locked };
}

static DiskTray tray(void *dev)
{
    LookTray l = { .s = dev };

    iothread_run(l.s->unit.bus->thread, look_tray, &l);
    return l.tray;
}

typedef struct Tray { ScsiDisk *s; bool open; void (*fn)(void *); void *arg; } Tray;

static void move_there(void *opaque)
{
    const Tray *t = opaque;

    if (t->s->open == t->open)
        return;
    move_tray(t->s, t->open);
    if (disk_port_ready(&t->s->conf.port))
        scsi_attend(&t->s->unit, t->open ? SENSE_MEDIUM_GONE : SENSE_MEDIUM_CHANGED);
}

/* From the host's side. */
static void move(void *dev, bool open)
{
    ScsiDisk *s = dev;

    iothread_run(s->unit.bus->thread, move_there, &(Tray){ .s = s, .open = open });
}

static void ask_there(void *opaque)
{
    ((ScsiDisk *)opaque)->event = EVENT_ASKED;      /* guests poll for it */
}

static void ask(void *dev)
{
    iothread_run(((ScsiUnit *)dev)->bus->thread, ask_there, dev);
}

static void unlock_there(void *opaque)
{
    ((ScsiDisk *)opaque)->locked = false;
}

static void unlock(void *dev)
{
    iothread_run(((ScsiUnit *)dev)->bus->thread, unlock_there, dev);
}

/* After the wait nothing is under way, and nothing begins before fn has returned: it does not yield. */
static void hold_there(void *opaque)
{
    const Tray *t = opaque;

    scsi_wait(&t->s->unit);
    t->fn(t->arg);
}

static void hold(void *dev, void (*fn)(void *), void *arg)
{
    ScsiDisk *s = dev;

    iothread_run(s->unit.bus->thread, hold_there, &(Tray){ .s = s, .fn = fn, .arg = arg });
}

static const DiskPortOps port_ops = {
    .resized = resized, .tray = tray, .move = move, .ask = ask, .unlock = unlock, .hold = hold,
};

static Err *check_text(const char *name, const char *text, unsigned most)
{
    return err_in(disk_check_serial(text, most), "%s", name);
}

static void drain_there(void *opaque)
{
    disk_drain(opaque);
}

static void drain(ScsiUnit *u)
{
    const DiskPort *p = &((ScsiDisk *)u)->conf.port;

    if (p->disk)
        iothread_visit(disk_port_thread(p), drain_there, p->disk);
}

static void begin(void *opaque)
{
    ScsiUnit *u = opaque;

    u->run = run;
    u->drain = drain;
}

static Err *realize(Device *d, bool cd)
{
    ScsiDisk *s = (ScsiDisk *)d;

    s->cd = cd;
    TRY(check_text("vendor", s->vendor, 8));
    TRY(check_text("product", s->product, 16));
    TRY(check_text("ver", s->ver, 4));
    TRY(check_text("serial", s->serial, 36));
    TRY(check_text("device_id", s->device_id, 255 - 4));
    if (s->max_unmap > INT32_MAX || s->max_unmap < CD_BLOCK)
        return err(ERR_INVALID, "max_unmap_size is %d to %d", CD_BLOCK, INT32_MAX);
    if (cd && !s->conf.logical)
        s->conf.logical = CD_BLOCK;
    s->conf.port.any_home = true;
    TRY(disk_conf_bind(d, &s->conf, &port_ops, cd, cd || s->removable));
    iothread_run(s->unit.bus->thread, begin, s);
    return NULL;
}

static Err *realize_hd(Device *d)
{
    const Drive *dr = ((ScsiDisk *)d)->conf.port.name && d->vm->disks ? disks_find(d->vm->disks, ((ScsiDisk *)d)->conf.port.name) : NULL;

    if (dr && dr->cdrom)
        return err_hint(err(ERR_INVALID, "drive '%s' has media=cdrom", dr->id), "Use scsi-cd.");
    return realize(d, false);
}

static Err *realize_cd(Device *d)
{
    return realize(d, true);
}

static void end_here(void *opaque)
{
    ScsiUnit *u = opaque;

    scsi_wait(u);
    u->run = NULL;
}

static void nothing(void *opaque)
{
}

static void unrealize(Device *d)
{
    ScsiDisk *s = (ScsiDisk *)d;

    if (s->unit.run)
        iothread_run(s->unit.bus->thread, end_here, s);
    disk_port_unbind(&s->conf.port);
    if (s->unit.bus)
        iothread_run(s->unit.bus->thread, nothing, NULL);     /* a new size that was on its way has been told */
}

/* In the bus's thread, as a unit's own reset by its adapter is. */
static void reset_state(void *opaque)
{
    ScsiDisk *s = opaque;

    s->locked = s->open = s->reserved = false;
    s->event = 0;
}

static void reset(Device *d)
{
    iothread_run(((ScsiUnit *)d)->bus->thread, reset_state, d);
}

#define COMMON_PROPS                                                                            \
    DISK_PROPS(ScsiDisk, conf),                                                                 \
    PROP(ScsiDisk, serial, .doc = "serial number, 36 characters"),                              \
    PROP(ScsiDisk, vendor, .doc = "8 characters (LYRE)"),                                       \
    PROP(ScsiDisk, product, .doc = "16 characters"),                                            \
    PROP(ScsiDisk, ver, .doc = "4 characters"),                                                 \
    PROP(ScsiDisk, device_id, .as = "device_id", .doc = "name in VPD page 83; serial, or the drive's name"), \
    PROP(ScsiDisk, wwn, .def = "0", .doc = "world wide name in VPD page 83; 0: none"),          \
    PROP(ScsiDisk, max_unmap, .as = "max_unmap_size", .def = "1073741824", .doc = "most bytes of an UNMAP or WRITE SAME"), \
    STATE(ScsiDisk, locked), STATE(ScsiDisk, open), STATE(ScsiDisk, reserved), STATE(ScsiDisk, event),  \
    PROP(ScsiDisk, max_io, .as = "max_io_size", .def = "2147483647", .doc = "most bytes of a request, as told")

static const Field hd_fields[] = {
    COMMON_PROPS,
    PROP(ScsiDisk, removable, .def = "off", .doc = "the medium can be taken out"),
    PROP(ScsiDisk, dpofua, .def = "off", .doc = "say that writes may ask to be on stable storage"),
    PROP(ScsiDisk, rotation_rate, .as = "rotation_rate", .def = "0", .doc = "0: not told; 1: no rotation (SSD); else per minute"),
    {0}
};

static const Field cd_fields[] = { COMMON_PROPS, {0} };

DEVICE(scsi_hd) = {
    .name = "scsi-hd", .alias = "scsi-disk", .bus = "SCSI", .doc = "SCSI disk", .size = sizeof(ScsiDisk), .boot = 'c',
    .fields = hd_fields, .base = scsi_fields, .realize = realize_hd, .unrealize = unrealize, .reset = reset,
};
DEVICE(scsi_cd) = {
    .name = "scsi-cd", .bus = "SCSI", .doc = "SCSI CD-ROM", .size = sizeof(ScsiDisk), .boot = 'd',
    .fields = cd_fields, .base = scsi_fields, .realize = realize_cd, .unrealize = unrealize, .reset = reset,
};

/* ---- passing commands to a device of the host: not here */

static Err *refuse(Device *d)
{
    return err_hint(err(ERR_UNSUPPORTED, "commands do not pass through to a device of the host"),
                    "scsi-hd shows a host's device as a disk: -drive if=none,id=ID,format=raw,file=/dev/.. -device scsi-hd,drive=ID");
}

static const Field refused_fields[] = { DISK_PROPS(ScsiDisk, conf), {0} };

DEVICE(scsi_block) = {
    .name = "scsi-block", .bus = "SCSI", .doc = "a SCSI device of the host: not available, use scsi-hd",
    .size = sizeof(ScsiDisk), .fields = refused_fields, .base = scsi_fields, .realize = refuse,
};
DEVICE(scsi_generic) = {
    .name = "scsi-generic", .bus = "SCSI", .doc = "a SCSI device of the host: not available, use scsi-hd",
    .size = sizeof(ScsiDisk), .fields = refused_fields, .base = scsi_fields, .realize = refuse,
};
