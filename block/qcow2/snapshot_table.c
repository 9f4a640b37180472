/* SPDX-License-Identifier: MIT */
/*
 * qcow2: the snapshot table (specification: "Snapshots"). Entries have any
 * length, so the table is read in pieces and ends where its last entry does.
 * Extra data that is not known here is kept.
 */
#include "block/qcow2/snapshot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading */

typedef struct Reader {
    Qcow2 *s;
    uint8_t *buf;
    uint64_t at;                    /* bytes of the table before buf */
    size_t have, pos;
} Reader;

enum { PIECE = 256 << 10 };         /* longer than any entry that is taken */

/* The next `len` bytes; NULL: *e says why not. */
static const uint8_t *need(Reader *r, size_t len, Err **e)
{
    uint64_t off = r->s->header.snapshots_offset, all = child_size(r->s->node.file);
    const uint8_t *p;
    int ret;

    if (r->pos + len > r->have) {
        r->at += r->pos;
        r->pos = 0;
        r->have = PIECE;
        ret = qcow2_pread(r->s, off + r->at, r->buf, PIECE);
        if (ret) {
            *e = err_errno(-ret, "%s: cannot read the snapshot table", node_path(&r->s->node));
            return NULL;
        }
    }
    if (r->at + r->pos + len > QCOW2_MAX_SNAPSHOT_TABLE)
        *e = qcow2_bad(r->s, off, "snapshot table is too large: more than %u bytes", QCOW2_MAX_SNAPSHOT_TABLE);
    else if (off + r->at + r->pos + len > all)
        *e = qcow2_bad(r->s, off, "snapshot table goes on beyond the end of the file, which has %" PRIu64 " bytes", all);
    if (*e)
        return NULL;
    p = r->buf + r->pos;
    r->pos += len;
    return p;
}

static uint64_t be(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes--)
        v = v << 8 | *p++;
    return v;
}

static Err *text(Reader *r, size_t len, char **out)
{
    Err *e = NULL;
    const uint8_t *p = need(r, len, &e);

    if (e)
        return e;
    *out = g_strndup((const char *)p, len);
    return NULL;
}

static Err *read_extra(Reader *r, uint32_t n, uint32_t len, Qcow2Snapshot *sn, Qcow2SnapshotFaults *faults)
{
    uint32_t keep = MIN(len, QCOW2_MAX_SNAPSHOT_EXTRA);
    Err *e = NULL;
    const uint8_t *p;

    if (len > keep && !faults)
        return err_hint(qcow2_bad(r->s, r->s->header.snapshots_offset + r->at + r->pos,
                                  "Too much extra metadata in snapshot table entry %u: %u bytes", n, len),
                        "You can force-remove this extra metadata by repairing: lyre-img check -r all %s",
                        node_path(&r->s->node));
    p = need(r, keep, &e);
    if (e)
        return e;
    sn->vm_state_size = keep >= 8 ? be(p, 8) : sn->vm_state_size;
    sn->disk_size = keep >= 16 ? be(p + 8, 8) : r->s->header.size;
    sn->icount = keep >= 24 ? be(p + 16, 8) : UINT64_MAX;
    if (keep > QCOW2_SNAPSHOT_EXTRA && len == keep) {
        sn->unknown_extra_len = keep - QCOW2_SNAPSHOT_EXTRA;
        sn->unknown_extra = g_memdup2(p + QCOW2_SNAPSHOT_EXTRA, sn->unknown_extra_len);
    }
    for (uint32_t skip = len - keep; skip && !e; skip -= MIN(skip, PIECE))
        need(r, MIN(skip, PIECE), &e);
    if (!e && faults && (len > keep || (len < 16 && r->s->header.version >= 3))) {
        faults->faults++;
        faults->say(faults->opaque, n, len);
    }
    return e;
}

static Err *read_entry(Reader *r, uint32_t n, Qcow2Snapshot *sn, Qcow2SnapshotFaults *faults)
{
    Err *e = NULL;
    const uint8_t *p = need(r, QCOW2_SNAPSHOT_FIXED, &e);
    size_t id, name;
    uint32_t extra;

    if (e)
        return e;
    sn->l1_offset = be(p, 8);
    sn->l1_size = (uint32_t)be(p + 8, 4);
    id = be(p + 12, 2);
    name = be(p + 14, 2);
    sn->date_sec = (uint32_t)be(p + 16, 4);
    sn->date_nsec = (uint32_t)be(p + 20, 4);
    sn->vm_clock_nsec = be(p + 24, 8);
    sn->vm_state_size = be(p + 32, 4);
    extra = (uint32_t)be(p + 36, 4);
    TRY(read_extra(r, n, extra, sn, faults));
    TRY(text(r, id, &sn->id));
    TRY(text(r, name, &sn->name));
    r->pos += -(r->at + r->pos) & 7;        /* the last entry's padding need not be in the file */
    return NULL;
}

Err *qcow2_snapshot_table_read(Qcow2 *s, Qcow2SnapshotFaults *faults)
{
    uint32_t n = s->header.nb_snapshots, i = 0;
    Reader r = { .s = s };
    Err *e = NULL;

    qcow2_snapshots_free(s);
    if (!n)
        return NULL;
    s->snapshots = try_alloc(n, sizeof *s->snapshots);
    r.buf = block_buf(s->node.file->node, PIECE);
    if (!s->snapshots || !r.buf)
        e = err(ERR_IO, "%s: no memory for a table of %u snapshots", node_path(&s->node), n);
    for (; i < n && !e; i++)
        e = read_entry(&r, i, &s->snapshots[i], faults);
    if (faults)
        faults->read = e ? (i ? i - 1 : 0) : n;
    s->snapshots_bytes = r.at + r.pos;
    if (e && i) {
        qcow2_snapshot_clear(&s->snapshots[i - 1]);
        if (!faults)
            qcow2_snapshots_free(s);
    }
    block_buf_free(r.buf);
    return e;
}

Err *qcow2_snapshots_load(Qcow2 *s)
{
    Err *e;

    if (s->header.nb_snapshots && qcow2_has_data_file(s))
        return qcow2_bad(s, 60, "internal snapshots and an external data file exclude each other");
    e = qcow2_snapshot_table_read(s, NULL);
    if (e && (s->node.open_flags & OPEN_CHECK)) {       /* check will say so, and mend it */
        err_free(e);
        return NULL;
    }
    return e;
}

/* ---- writing */

static void put(uint8_t **p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        (*p)[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
    *p += bytes;
}

static void put_bytes(uint8_t **p, const void *from, size_t len)
{
    if (len)
        memcpy(*p, from, len);
    *p += len;
}

static size_t entry_len(const Qcow2Snapshot *sn)
{
    return QCOW2_SNAPSHOT_FIXED + QCOW2_SNAPSHOT_EXTRA + sn->unknown_extra_len + strlen(sn->id) + strlen(sn->name);
}

static void put_entry(uint8_t *p, const Qcow2Snapshot *sn)
{
    put(&p, sn->l1_offset, 8);
    put(&p, sn->l1_size, 4);
    put(&p, strlen(sn->id), 2);
    put(&p, strlen(sn->name), 2);
    put(&p, sn->date_sec, 4);
    put(&p, sn->date_nsec, 4);
    put(&p, sn->vm_clock_nsec, 8);
    put(&p, sn->vm_state_size > UINT32_MAX ? 0 : sn->vm_state_size, 4);
    put(&p, QCOW2_SNAPSHOT_EXTRA + sn->unknown_extra_len, 4);
    put(&p, sn->vm_state_size, 8);
    put(&p, sn->disk_size, 8);
    put(&p, sn->icount, 8);
    put_bytes(&p, sn->unknown_extra, sn->unknown_extra_len);
    put_bytes(&p, sn->id, strlen(sn->id));
    put_bytes(&p, sn->name, strlen(sn->name));
}

uint8_t *qcow2_snapshot_table_print(const Qcow2Snapshot *list, uint32_t n, size_t *len)
{
    size_t at = 0;
    uint8_t *out;

    *len = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (strlen(list[i].id) > UINT16_MAX || strlen(list[i].name) > UINT16_MAX)
            return NULL;
        *len += (entry_len(&list[i]) + 7) & ~(size_t)7;
    }
    out = *len <= QCOW2_MAX_SNAPSHOT_TABLE ? try_alloc(MAX(*len, 1), 1) : NULL;
    for (uint32_t i = 0; out && i < n; i++) {
        put_entry(out + at, &list[i]);
        at += (entry_len(&list[i]) + 7) & ~(size_t)7;
    }
    return out;
}

static int write_table(Qcow2 *s, uint32_t n, uint64_t *off, size_t *len)
{
    uint8_t *table = qcow2_snapshot_table_print(s->snapshots, n, len);
    int64_t at = !table ? -EFBIG : n ? qcow2_alloc(s, *len) : 0;
    int ret = at < 0 ? (int)at : n ? qcow2_pwrite(s, 0, (uint64_t)at, table, *len) : 0;

    free(table);
    *off = at < 0 ? 0 : (uint64_t)at;
    if (!ret)
        ret = qcow2_write_refcounts(s);
    if (!ret)
        ret = qcow2_barrier(s);
    if (ret && at > 0)
        qcow2_unalloc(s, *off, *len);
    return ret;
}

int qcow2_snapshot_table_replace(Qcow2 *s, uint32_t n)
{
    Qcow2Header was = s->header;
    uint64_t old_bytes = s->snapshots_bytes, off, count = 0;
    size_t len;
    int ret = write_table(s, n, &off, &len);

    if (ret)
        return ret;
    s->header.nb_snapshots = n;
    s->header.snapshots_offset = off;
    ret = qcow2_write_fields(s, offsetof(Qcow2Header, nb_snapshots), QCOW2_V2_LENGTH);
    if (!ret)
        ret = child_flush(s->node.file);
    if (ret) {
        s->header = was;
        return ret;
    }
    for (uint32_t i = n; i < was.nb_snapshots; i++)
        qcow2_snapshot_clear(&s->snapshots[i]);
    s->snapshots_bytes = len;
    qcow2_overlap_changed(s);
    /* After a repair the old table may have been no table, and count for nothing. */
    if (old_bytes && !qcow2_refcount_get(s, was.snapshots_offset >> s->cluster_bits, &count) && count)
        qcow2_free(s, was.snapshots_offset, old_bytes, QCOW2_FREE_OTHER);
    return 0;
}

/* ---- in memory */

void qcow2_snapshot_clear(Qcow2Snapshot *sn)
{
    g_free(sn->id);
    g_free(sn->name);
    g_free(sn->unknown_extra);
    *sn = (Qcow2Snapshot){ 0 };
}

void qcow2_snapshots_free(Qcow2 *s)
{
    for (uint32_t i = 0; s->snapshots && i < s->header.nb_snapshots; i++)
        qcow2_snapshot_clear(&s->snapshots[i]);
    free(s->snapshots);
    s->snapshots = NULL;
    s->snapshots_bytes = 0;
}

int64_t qcow2_snapshot_find(const Qcow2 *s, const char *id_or_name)
{
    uint32_t n = s->snapshots ? s->header.nb_snapshots : 0;

    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(s->snapshots[i].id, id_or_name))
            return i;
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(s->snapshots[i].name, id_or_name))
            return i;
    return -1;
}

Err *qcow2_snapshots(BlockNode *n, Snapshot **list, unsigned *count)
{
    Qcow2 *s = qcow2_of(n);

    *count = s->snapshots ? s->header.nb_snapshots : 0;
    *list = g_new0(Snapshot, *count);
    for (unsigned i = 0; i < *count; i++) {
        const Qcow2Snapshot *q = &s->snapshots[i];

        (*list)[i] = (Snapshot){
            .id = g_strdup(q->id), .name = g_strdup(q->name), .vm_state_size = q->vm_state_size,
            .disk_size = q->disk_size, .date_sec = q->date_sec, .date_nsec = q->date_nsec,
            .vm_clock_nsec = q->vm_clock_nsec, .icount = q->icount,
        };
    }
    return NULL;
}
