/* SPDX-License-Identifier: MIT */
/*
 * Commands that a CD drive has beside those of a disk: MMC-5. The medium is one
 * session with one data track of 2048-byte blocks. No audio, no writing, no raw sectors.
 */
#include <string.h>

#include "hw/scsi/disk.h"

enum { LEAD_OUT = 0xaa, FRAMES = 75, PREGAP = 150, CD_MOST_BLOCKS = 80 * 60 * 75 /* more is a DVD */ };

static void put_address(uint8_t *at, uint64_t lba, bool msf)
{
    if (!msf) {
        put_be(at, lba, 4);
        return;
    }
    lba += PREGAP;
    at[0] = 0;
    at[1] = MIN(lba / FRAMES / 60, 255u);
    at[2] = lba / FRAMES % 60;
    at[3] = lba % FRAMES;
}

static unsigned put_track(uint8_t *p, uint8_t track, uint64_t lba, bool msf)
{
    p[1] = 0x14;                        /* a data track */
    p[2] = track;
    put_address(p + 4, lba, msf);
    return 8;
}

static ScsiEnd read_toc(ScsiDisk *s, ScsiRequest *r)
{
    bool msf = r->cdb[1] & 2;
    unsigned format = r->cdb[2] & 0xf, n = 4;
    uint8_t out[32] = { 0 };

    if (!format)
        format = r->cdb[9] >> 6;        /* where it was in older standards */
    if (format > 1 || (format == 0 && r->cdb[6] > 1 && r->cdb[6] != LEAD_OUT))
        return scsi_check(r, SENSE_BAD_FIELD);
    out[2] = out[3] = 1;                /* first and last track, or session */
    if (format == 1 || r->cdb[6] <= 1)
        n += put_track(out + n, 1, 0, msf);
    if (format == 0)
        n += put_track(out + n, LEAD_OUT, scsi_disk_blocks(s), msf);
    put_be(out, n - 2, 2);
    return scsi_reply(r, out, n, be16(r->cdb + 7));
}

static unsigned feature(uint8_t *p, unsigned code, uint8_t flags, const uint8_t *data, uint8_t len)
{
    put_be(p, code, 2);
    p[2] = flags;                       /* version, persistent, current */
    p[3] = len;
    memcpy(p + 4, data, len);
    return 4 + len;
}

static ScsiEnd get_configuration(ScsiDisk *s, ScsiRequest *r)
{
    bool there = scsi_disk_ready(s), dvd = there && scsi_disk_blocks(s) > CD_MOST_BLOCKS;
    uint8_t out[64] = { 0 };
    unsigned n = 8;

    put_be(out + 6, !there ? 0 : dvd ? 0x10 : 0x08, 2);
    n += feature(out + n, 0, 3, (const uint8_t[]){ 0, 0x10, dvd, 0, 0, 0x08, there && !dvd, 0 }, 8);      /* profiles */
    n += feature(out + n, 1, 0x0b, (const uint8_t[]){ 0, 0, 0, 1, 1, 0, 0, 0 }, 8);        /* core: SCSI */
    n += feature(out + n, 3, 3, (const uint8_t[]){ 0x29, 0, 0, 0 }, 4);                    /* a tray that locks */
    put_be(out, n - 4, 4);
    return scsi_reply(r, out, n, be16(r->cdb + 7));
}

static ScsiEnd get_event(ScsiDisk *s, ScsiRequest *r)
{
    uint8_t out[8] = { 0, 2, 0x80, 0x10 /* of the medium alone */ };

    if (!(r->cdb[1] & 1))
        return scsi_check(r, SENSE_BAD_FIELD);      /* to be told later is not for us */
    if (!(r->cdb[4] & 0x10))
        return scsi_reply(r, out, 4, be16(r->cdb + 7));
    out[1] = 6;
    out[2] = 4;
    out[4] = s->event;
    out[5] = (s->open ? 1 : 0) | (disk_port_ready(&s->conf.port) ? 2 : 0);
    s->event = 0;
    return scsi_reply(r, out, sizeof(out), be16(r->cdb + 7));
}

static ScsiEnd disc_info(ScsiDisk *s, ScsiRequest *r)
{
    uint8_t out[34] = { 0, 32, 0x0e /* complete */, 1, 1, 1, 1, 0x20 };

    if (r->cdb[1] & 7)
        return scsi_check(r, SENSE_BAD_FIELD);
    memset(out + 16, 0xff, 8);
    return scsi_reply(r, out, sizeof(out), be16(r->cdb + 7));
}

static ScsiEnd mechanism_status(ScsiDisk *s, ScsiRequest *r)
{
    uint8_t out[8] = { 0, s->open ? 0x10 : 0, 0, 0, 0, 1 };

    return scsi_reply(r, out, sizeof(out), be16(r->cdb + 8));
}

/* The user data of blocks, and nothing beside it. */
static ScsiEnd read_cd(ScsiDisk *s, ScsiRequest *r)
{
    unsigned want = r->cdb[9] & 0xf8;

    if (!want)
        return scsi_good(r);
    if (want != 0x10 || s->conf.logical != 2048)
        return scsi_check(r, SENSE_BAD_FIELD);
    return scsi_disk_read(s, r, be32(r->cdb + 2), r->cdb[6] << 16 | be16(r->cdb + 7));
}

ScsiEnd scsi_cd_run(ScsiDisk *s, ScsiRequest *r)
{
    switch (r->cdb[0]) {
    case READ_TOC:          return read_toc(s, r);
    case GET_CONFIGURATION: return get_configuration(s, r);
    case GET_EVENT:         return get_event(s, r);
    case READ_DISC_INFO:    return disc_info(s, r);
    case MECHANISM_STATUS:  return mechanism_status(s, r);
    case SET_CD_SPEED:      return scsi_good(r);
    case READ_CD:           return read_cd(s, r);
    default:                return scsi_check(r, SENSE_BAD_OPCODE);
    }
}
