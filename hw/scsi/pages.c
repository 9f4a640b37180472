/* SPDX-License-Identifier: MIT */
/*
 * What a unit says of itself: INQUIRY with its vital product data (SPC-4,
 * 7.8; SBC-3, 6.5), and MODE SENSE and SELECT (SPC-4, 7.5; SBC-3, 6.4). A
 * driver can change the write cache (page 08) and nothing else.
 */
#include <string.h>

#include "hw/scsi/disk.h"

enum { PAGE_MOST = 255 + 4, UNMAP_RANGES = 255 };

/* `len` bytes, blanks behind the text. */
static void put_text(uint8_t *at, const char *text, unsigned len)
{
    unsigned n = text ? MIN(strlen(text), len) : 0;

    memset(at, ' ', len);
    if (n)
        memcpy(at, text, n);
}

static uint8_t device_type(const ScsiDisk *s) { return s->cd ? 5 : 0; }

/* ---- INQUIRY */

static ScsiEnd standard(ScsiDisk *s, ScsiRequest *r, unsigned most)
{
    uint8_t out[36] = { device_type(s), s->cd || s->removable ? 0x80 : 0, 5 /* SPC-3 */, 0x12 /* HISUP, format 2 */, 36 - 5 };

    out[7] = 2;                         /* commands are queued */
    put_text(out + 8, s->vendor ? s->vendor : "LYRE", 8);
    put_text(out + 16, s->product ? s->product : s->cd ? "LYRE CD-ROM" : "LYRE HARDDISK", 16);
    put_text(out + 32, s->ver ? s->ver : "1.0", 4);
    return scsi_reply(r, out, sizeof(out), most);
}

static unsigned page_serial(const ScsiDisk *s, uint8_t *p)
{
    unsigned n = MIN(strlen(s->serial), 36u);

    memcpy(p, s->serial, n);
    return n;
}

static unsigned page_names(const ScsiDisk *s, uint8_t *p)
{
    const char *name = s->device_id ? s->device_id : s->serial ? s->serial : s->conf.port.name;
    unsigned n = 0;

    if (name) {
        unsigned len = MIN(strlen(name), 255u - 8 - 12);

        p[n] = 2;                       /* ASCII */
        p[n + 3] = len;
        memcpy(p + n + 4, name, len);
        n += 4 + len;
    }
    if (s->wwn) {
        p[n] = 1;                       /* binary */
        p[n + 1] = 3;                   /* NAA */
        p[n + 3] = 8;
        put_be(p + n + 4, s->wwn, 8);
        n += 12;
    }
    return n;
}

static unsigned page_limits(const ScsiDisk *s, uint8_t *p)
{
    uint32_t bs = s->conf.logical;
    uint32_t grain = s->conf.discard_granularity == DISK_GRANULARITY_AUTO ? 4096 : s->conf.discard_granularity;

    memset(p, 0, 60);
    p[0] = 1;                           /* WSNZ: WRITE SAME has a length */
    put_be(p + 2, s->conf.min_io / bs, 2);
    put_be(p + 4, MIN(s->max_io, (uint64_t)INT32_MAX) / bs, 4);
    put_be(p + 8, s->conf.opt_io / bs, 4);
    if (!s->cd) {
        put_be(p + 16, s->max_unmap / bs, 4);
        put_be(p + 20, UNMAP_RANGES, 4);
        put_be(p + 24, MAX(grain / bs, 1u), 4);
        put_be(p + 32, s->max_unmap / bs, 8);
    }
    return 60;
}

static ScsiEnd vital(ScsiDisk *s, ScsiRequest *r, unsigned most)
{
    static const uint8_t disk_pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };
    uint8_t out[PAGE_MOST + 4] = { device_type(s), r->cdb[2] };
    uint8_t *p = out + 4;
    unsigned n = 0;

    switch (r->cdb[2]) {
    case 0x00:
        for (unsigned i = 0; i < (s->cd ? 4u : 6u); i++) {
            if (disk_pages[i] != 0x80 || s->serial)
                p[n++] = disk_pages[i];
        }
        break;
    case 0x80:
        if (!s->serial)
            return scsi_check(r, SENSE_BAD_FIELD);
        n = page_serial(s, p);
        break;
    case 0x83:
        n = page_names(s, p);
        break;
    case 0xb0:
        n = page_limits(s, p);
        break;
    case 0xb1:
        if (s->cd)
            return scsi_check(r, SENSE_BAD_FIELD);
        n = 60;
        put_be(p, s->rotation_rate, 2);
        break;
    case 0xb2:
        if (s->cd)
            return scsi_check(r, SENSE_BAD_FIELD);
        n = 4;
        p[1] = 0xe0;                    /* UNMAP, WRITE SAME (16) and (10) give space back */
        p[2] = 2;                       /* thin */
        break;
    default:
        return scsi_check(r, SENSE_BAD_FIELD);
    }
    put_be(out + 2, n, 2);
    return scsi_reply(r, out, 4 + n, most);
}

ScsiEnd scsi_inquiry(ScsiDisk *s, ScsiRequest *r)
{
    unsigned most = be16(r->cdb + 3);

    if (r->cdb[1] & 2 || (!(r->cdb[1] & 1) && r->cdb[2]))
        return scsi_check(r, SENSE_BAD_FIELD);
    return r->cdb[1] & 1 ? vital(s, r, most) : standard(s, r, most);
}

/* ---- mode pages; `control`: 0 as it is, 1 what can be changed, 2 as it was at first */

typedef struct Mode {
    uint8_t page, len;
    bool hd, cd;
    void (*fill)(const ScsiDisk *s, uint8_t *p, unsigned control);
} Mode;

static void fill_errors(const ScsiDisk *s, uint8_t *p, unsigned control)
{
    if (control == 1)
        return;
    p[0] = 0x80;                        /* blocks are reassigned on write errors */
    if (s->cd)
        p[1] = 0x20;
}

static void fill_cache(const ScsiDisk *s, uint8_t *p, unsigned control)
{
    bool on = control == 1 || !s->conf.port.writethrough;

    p[0] = on ? 4 : 0;
}

static void fill_geometry(const ScsiDisk *s, uint8_t *p, unsigned control)
{
    uint64_t cylinders = scsi_disk_blocks(s) / (16 * 63);

    if (control == 1)
        return;
    put_be(p, MIN(MAX(cylinders, 1u), 0xffffffu), 3);
    p[3] = 16;
    put_be(p + 18, s->rotation_rate > 1 ? s->rotation_rate : 5400, 2);
}

static void fill_control(const ScsiDisk *s, uint8_t *p, unsigned control)
{
    if (control != 1)
        p[1] = 0x10;                    /* commands may be reordered */
}

static void fill_cd(const ScsiDisk *s, uint8_t *p, unsigned control)
{
    if (control == 1)
        return;
    p[0] = 0x3b;                        /* reads CD-R, CD-RW, DVD */
    p[2] = 0x7f;
    p[3] = 0xff;
    p[4] = 0x2d | (s->locked ? 2 : 0);  /* a tray that can be locked and ejected */
    put_be(p + 6, 50 * 176, 2);
    put_be(p + 8, 2, 2);
    put_be(p + 10, 2048, 2);
    put_be(p + 12, 16 * 176, 2);
}

static const Mode modes[] = {
    { 0x01, 10, true, true, fill_errors }, { 0x04, 22, true, false, fill_geometry }, { 0x08, 18, true, true, fill_cache },
    { 0x0a, 10, true, true, fill_control }, { 0x2a, 20, false, true, fill_cd },
};

static bool has_mode(const ScsiDisk *s, const Mode *m) { return s->cd ? m->cd : m->hd; }

static unsigned add_modes(const ScsiDisk *s, uint8_t *out, unsigned page, unsigned control)
{
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        const Mode *m = &modes[i];

        if (!has_mode(s, m) || (page != 0x3f && page != m->page))
            continue;
        out[n] = m->page;
        out[n + 1] = m->len;
        m->fill(s, out + n + 2, control);
        n += 2 + m->len;
    }
    return n;
}

static unsigned block_descriptor(const ScsiDisk *s, uint8_t *p)
{
    uint64_t blocks = scsi_disk_ready(s) ? scsi_disk_blocks(s) : 0;

    put_be(p, blocks > 0xffffff ? 0 : blocks, 4);
    put_be(p + 5, s->conf.logical, 3);
    return 8;
}

ScsiEnd scsi_mode_sense(ScsiDisk *s, ScsiRequest *r)
{
    bool wide = r->cdb[0] == MODE_SENSE_10, no_descriptor = r->cdb[1] & 8 || s->cd;
    unsigned control = r->cdb[2] >> 6, page = r->cdb[2] & 0x3f, n = wide ? 8 : 4;
    uint8_t out[256] = { 0 };

    if (control == 3)
        return scsi_check(r, SENSE_NOT_SAVED);
    if (r->cdb[3] && r->cdb[3] != 0xff)
        return scsi_check(r, SENSE_BAD_FIELD);      /* subpages */
    uint8_t flags = s->cd ? 0 : (s->conf.port.read_only ? 0x80 : 0) | (s->dpofua ? 0x10 : 0);
    unsigned descriptor = no_descriptor ? 0 : block_descriptor(s, out + n);
    n += descriptor;
    unsigned pages = add_modes(s, out + n, page, control);
    if (!pages && page)
        return scsi_check(r, SENSE_BAD_FIELD);
    n += pages;
    if (wide) {
        put_be(out, n - 2, 2);
        out[3] = flags;
        out[7] = descriptor;
    } else {
        out[0] = n - 1;
        out[2] = flags;
        out[3] = descriptor;
    }
    return scsi_reply(r, out, n, wide ? be16(r->cdb + 7) : r->cdb[4]);
}

/* ---- MODE SELECT */

static const Mode *find_mode(const ScsiDisk *s, unsigned page)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (modes[i].page == page && has_mode(s, &modes[i]))
            return &modes[i];
    }
    return NULL;
}

/* Does what was sent differ from what is, but for what can be changed? */
static bool page_fine(const ScsiDisk *s, const Mode *m, const uint8_t *sent)
{
    uint8_t now[32] = { 0 }, mask[32] = { 0 };

    m->fill(s, now, 0);
    m->fill(s, mask, 1);
    for (unsigned i = 0; i < m->len; i++) {
        if ((sent[i] ^ now[i]) & ~mask[i])
            return false;
    }
    return true;
}

static void set_through(void *opaque)
{
    const ScsiDisk *s = opaque;

    disk_set_writethrough(s->conf.port.disk, s->conf.port.writethrough);
}

/* Checks all pages, and then obeys (apply). False: one of them makes no sense. */
static bool take_pages(ScsiDisk *s, const uint8_t *p, size_t len, bool apply)
{
    while (len) {
        const Mode *m = len >= 2 && !(p[0] & 0x40) ? find_mode(s, p[0] & 0x3f) : NULL;

        if (!m || p[1] != m->len || len < 2u + m->len || !page_fine(s, m, p + 2))
            return false;
        if (apply && m->page == 0x08) {
            s->conf.port.writethrough = !(p[2] & 4);
            if (s->conf.port.disk)
                iothread_visit(disk_port_thread(&s->conf.port), set_through, s);
        }
        p += 2 + m->len;
        len -= 2 + m->len;
    }
    return true;
}

ScsiEnd scsi_mode_select(ScsiDisk *s, ScsiRequest *r)
{
    bool wide = r->cdb[0] == MODE_SELECT_10;
    size_t len = wide ? be16(r->cdb + 7) : r->cdb[4], head = wide ? 8 : 4;
    uint8_t in[512];

    if (!(r->cdb[1] & 0x10) || r->cdb[1] & 1)
        return scsi_check(r, SENSE_BAD_FIELD);      /* pages as SPC says, none is saved */
    if (!len)
        return scsi_good(r);
    if (len > r->out.len || len > sizeof(in) || len < head)
        return scsi_check(r, SENSE_PARAM_LENGTH);
    iov_read(&r->out, 0, in, len);
    size_t descriptor = wide ? be16(in + 6) : in[3];
    if (descriptor && descriptor != 8)
        return scsi_check(r, SENSE_BAD_PARAM);
    if (head + descriptor > len)
        return scsi_check(r, SENSE_PARAM_LENGTH);
    if (descriptor && (be32(in + head + 4) & 0xffffff) != s->conf.logical)
        return scsi_check(r, SENSE_BAD_PARAM);
    r->moved = len;
    if (!take_pages(s, in + head + descriptor, len - head - descriptor, false))
        return scsi_check(r, SENSE_BAD_PARAM);
    take_pages(s, in + head + descriptor, len - head - descriptor, true);
    return scsi_good(r);
}
