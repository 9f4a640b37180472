/* SPDX-License-Identifier: MIT */
/*
 * The SCSI bus: where units are, what every unit answers alike (SPC-4: REPORT
 * LUNS, REQUEST SENSE, unit attention), and units that are not there.
 */
#include "hw/scsi/scsi.h"

#include <string.h>

#include "system/disks.h"

enum { AUTO = UINT32_MAX, MOST_LUNS_TOLD = 1024 };

const Field scsi_fields[] = {
    PROP(ScsiUnit, channel, .def = "0", .doc = "0 is what there is"),
    PROP(ScsiUnit, id, .as = "scsi-id", .def = "4294967295", .doc = "the target; 4294967295: the first that is free"),
    PROP(ScsiUnit, lun, .def = "4294967295", .doc = "the unit in it; 4294967295: the first that is free, or 0"),
    STATE(ScsiUnit, attention.key), STATE(ScsiUnit, attention.asc), STATE(ScsiUnit, attention.ascq),
    {0}
};

/* ---- answers */

ScsiEnd scsi_good(ScsiRequest *r)
{
    r->status = SCSI_GOOD;
    return SCSI_DONE;
}

static void fill_sense(uint8_t *sense, Sense what)
{
    memset(sense, 0, SCSI_SENSE);
    sense[0] = 0x70;                    /* current error, fixed format */
    sense[2] = what.key;
    sense[7] = SCSI_SENSE - 8;
    sense[12] = what.asc;
    sense[13] = what.ascq;
}

ScsiEnd scsi_check(ScsiRequest *r, Sense what)
{
    r->status = SCSI_CHECK;
    fill_sense(r->sense, what);
    return SCSI_DONE;
}

ScsiEnd scsi_reply(ScsiRequest *r, const void *data, size_t len, size_t most)
{
    len = MIN(MIN(len, most), r->in.len);
    iov_write(&r->in, 0, data, len);
    r->moved = len;
    return scsi_good(r);
}

/* ---- units by place */

ScsiUnit *scsi_find(ScsiBus *b, unsigned id, unsigned lun)
{
    for (ScsiUnit *u = b->units; u; u = u->next) {
        if (u->id == id && u->lun == lun)
            return u;
    }
    return NULL;
}

bool scsi_has_target(const ScsiBus *b, unsigned id)
{
    for (const ScsiUnit *u = b->units; u; u = u->next) {
        if (u->id == id)
            return true;
    }
    return false;
}

/* ---- commands that concern no unit, or all alike */

static ScsiEnd report_luns(ScsiBus *b, unsigned id, ScsiRequest *r)
{
    g_autofree uint8_t *list = g_malloc0(8 + 8 * MOST_LUNS_TOLD);
    uint32_t most = be32(r->cdb + 6);
    unsigned n = 0;

    if (most < 16 || r->cdb[2] > 2)
        return scsi_check(r, SENSE_BAD_FIELD);
    if (r->cdb[2] != 1 && !scsi_find(b, id, 0))
        n = 1;                          /* unit 0 answers, though it is not there */
    for (const ScsiUnit *u = b->units; u && n < MOST_LUNS_TOLD; u = u->next) {
        if (u->id != id || r->cdb[2] == 1 || !u->run)
            continue;
        uint8_t *at = list + 8 + 8 * n++;
        put_be(at, u->lun < 256 ? u->lun : 0x4000 | u->lun, 2);
    }
    put_be(list, 8 * n, 4);
    return scsi_reply(r, list, 8 + 8 * n, most);
}

static ScsiEnd request_sense(ScsiUnit *u, ScsiRequest *r)
{
    uint8_t sense[SCSI_SENSE];

    if (r->cdb[1] & 1)
        return scsi_check(r, SENSE_BAD_FIELD);      /* descriptors */
    fill_sense(sense, u ? u->attention : SENSE_NO_LUN);
    if (u)
        u->attention = (Sense){0};
    return scsi_reply(r, sense, sizeof(sense), r->cdb[4]);
}

static ScsiEnd run_absent(ScsiRequest *r)
{
    uint8_t inquiry[36] = { 0x7f, 0, 5, 2, 36 - 5 };

    if (r->cdb[0] == INQUIRY)
        return r->cdb[1] & 1 ? scsi_check(r, SENSE_BAD_FIELD) : scsi_reply(r, inquiry, sizeof(inquiry), be16(r->cdb + 3));
    if (r->cdb[0] == REQUEST_SENSE)
        return request_sense(NULL, r);
    return scsi_check(r, SENSE_NO_LUN);
}

ScsiEnd scsi_run(ScsiBus *b, unsigned id, ScsiUnit *u, ScsiRequest *r)
{
    r->moved = 0;
    r->overrun = false;
    if (r->cdb[0] == REPORT_LUNS)
        return report_luns(b, id, r);
    if (!u || !u->run)
        return run_absent(r);
    if (r->cdb[0] == REQUEST_SENSE)
        return request_sense(u, r);
    if (u->attention.key && r->cdb[0] != INQUIRY && r->cdb[0] != GET_EVENT) {
        Sense what = u->attention;

        u->attention = (Sense){0};
        return scsi_check(r, what);
    }
    u->flying++;
    ScsiEnd end = u->run(u, r);
    if (!--u->flying)
        co_queue_wake_all(&u->idle);
    return end;
}

void scsi_wait(ScsiUnit *u)
{
    u->waiting++;
    while (u->flying)
        co_queue_wait(&u->idle);
    u->waiting--;
}

void scsi_attend(ScsiUnit *u, Sense what)
{
    u->attention = what;
    if (u->bus && u->bus->host->attention)
        u->bus->host->attention(u->bus, u);
}

/* ---- plugging */

static bool taken(ScsiBus *b, uint32_t id, uint32_t lun)
{
    return lun == AUTO ? scsi_has_target(b, id) : scsi_find(b, id, lun) != NULL;
}

typedef struct Place { ScsiBus *b; ScsiUnit *u; Err *e; } Place;

static Err *find_place(ScsiBus *b, ScsiUnit *u)
{
    const ScsiHost *h = b->host;

    if (u->channel)
        return err(ERR_INVALID, "channel=%u: bus '%s' has channel 0 alone", u->channel, b->bus.name);
    if (u->id != AUTO && u->id >= h->targets)
        return err(ERR_INVALID, "scsi-id=%u: bus '%s' has targets 0 to %u", u->id, b->bus.name, h->targets - 1);
    if (u->lun != AUTO && u->lun >= h->luns)
        return err(ERR_INVALID, "lun=%u: bus '%s' has units 0 to %u", u->lun, b->bus.name, h->luns - 1);
    if (u->id == AUTO) {
        for (u->id = 0; u->id < h->targets && taken(b, u->id, u->lun); u->id++)
            ;
        if (u->id == h->targets)
            return err(ERR_BUSY, "bus '%s' has no target that is free", b->bus.name);
        if (u->lun == AUTO)
            u->lun = 0;
    } else if (u->lun == AUTO) {
        for (u->lun = 0; u->lun < h->luns && scsi_find(b, u->id, u->lun); u->lun++)
            ;
        if (u->lun == h->luns)
            return err(ERR_BUSY, "target %u of bus '%s' has no unit that is free", u->id, b->bus.name);
    }
    const ScsiUnit *other = scsi_find(b, u->id, u->lun);
    if (other)
        return err(ERR_BUSY, "target %u, unit %u of bus '%s' is taken by '%s'", u->id, u->lun, b->bus.name,
                   other->dev.id ? other->dev.id : other->dev.cls->name);
    return NULL;
}

/* Into the list, so that the place is taken; it answers once it has `run`. */
static void place(void *opaque)
{
    Place *p = opaque;
    ScsiUnit **at = &p->b->units;

    p->e = find_place(p->b, p->u);
    if (p->e)
        return;
    while (*at && ((*at)->id < p->u->id || ((*at)->id == p->u->id && (*at)->lun < p->u->lun)))
        at = &(*at)->next;
    p->u->next = *at;
    *at = p->u;
}

static Err *plug(Bus *bus, Device *d)
{
    Place p = { (ScsiBus *)bus, (ScsiUnit *)d, NULL };

    if (!d->vm->disks)
        return err(ERR_UNSUPPORTED, "this machine has no disks");
    p.u->bus = p.b;
    p.u->run = NULL;
    iothread_run(p.b->thread, place, &p);
    return p.e;
}

static void announce(void *opaque)
{
    Place *p = opaque;

    if (p->b->host->changed)
        p->b->host->changed(p->b, p->u, true);
}

static void plugged(Bus *bus, Device *d)
{
    Place p = { (ScsiBus *)bus, (ScsiUnit *)d, NULL };

    if (d->hotplugged)
        iothread_run(p.b->thread, announce, &p);
}

static void displace(void *opaque)
{
    Place *p = opaque;
    ScsiUnit **at = &p->b->units;

    while (*at && *at != p->u)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = p->u->next;
    p->u->next = NULL;
    scsi_wait(p->u);
    while (p->u->waiting)               /* others that waited still look at it */
        co_pause();
    if (p->b->host->settle)
        p->b->host->settle(p->b, p->u);
    if (p->u->run && p->b->host->changed)
        p->b->host->changed(p->b, p->u, false);
}

static void unplug(Bus *bus, Device *d)
{
    Place p = { (ScsiBus *)bus, (ScsiUnit *)d, NULL };

    if (d->vm->disks)
        iothread_run(p.b->thread, displace, &p);
}

static void reset_unit(void *opaque)
{
    ((ScsiUnit *)opaque)->attention = SENSE_RESET;
}

static void reset(Bus *bus, Device *d)
{
    if (d->vm->disks)
        iothread_run(((ScsiBus *)bus)->thread, reset_unit, d);
}

/* "channel@0/disk@ID,LUN", below the adapter's own part. */
static char *path(const Bus *bus, const Device *d)
{
    const ScsiUnit *u = (const ScsiUnit *)d;

    return g_strdup_printf("channel@%x/disk@%x,%x", u->channel, u->id, u->lun);
}

const BusClass scsi_bus_class = {
    .name = "SCSI", .plug = plug, .plugged = plugged, .unplug = unplug, .reset = reset, .path = path,
};

void scsi_bus_init(Vm *vm, ScsiBus *b, IoThread *t, const ScsiHost *host, void *opaque, const char *name, Device *owner)
{
    b->host = host;
    b->opaque = opaque;
    b->thread = t;
    bus_init(vm, &b->bus, &scsi_bus_class, name, owner);
}
