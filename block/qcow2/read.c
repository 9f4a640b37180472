/* SPDX-License-Identifier: MIT */
/*
 * qcow2: reading. A request is cut where the mapping changes kind or place; the
 * parts that need I/O run side by side, which lets compressed clusters be
 * unpacked on several processors.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

enum { PARALLEL = 8 };

int qcow2_pread(Qcow2 *s, uint64_t off, void *buf, size_t len)
{
    return child_pread_padded(s->node.file, off, buf, len);
}

int qcow2_read_data(Qcow2 *s, uint64_t host, const IoVec *q)
{
    if (!s->data)
        return -ENOMEDIUM;          /* opened without its data file */
    block_event(s->data, "read_aio");
    if (host + q->len > s->data_end)
        s->data_end = child_size(s->data);
    if (host + q->len <= s->data_end)
        return child_read(s->data, host, q, 0);
    size_t there = host < s->data_end ? s->data_end - host : 0;
    int ret = 0;
    if (there) {
        IoVec part = iov_slice(q, 0, there);
        ret = child_read(s->data, host, &part, 0);
    }
    iov_fill(q, there, 0, q->len - there);
    return ret;
}

static int read_encrypted(Qcow2 *s, uint64_t off, uint64_t host, const IoVec *q)
{
    if (!s->crypt)
        return -EACCES;             /* opened without a key */
    void *flat = iov_flat(q), *buf = flat ? flat : block_buf(s->data->node, q->len);
    if (!buf)
        return -ENOMEM;
    int ret = qcow2_read_data(s, host, &IOV_BUF(buf, q->len));
    if (!ret)
        ret = qcow2_decrypt(s, host, off, buf, q->len);
    if (buf != flat) {
        if (!ret)
            iov_write(q, 0, buf, q->len);
        block_buf_free(buf);
    }
    return ret;
}

static int read_below(Qcow2 *s, uint64_t off, const IoVec *q)
{
    BlockChild *b = s->node.backing;
    uint64_t size = b ? node_size(b->node) : 0;
    size_t there = off < size ? MIN(q->len, size - off) : 0;
    int ret = 0;
    if (there) {
        IoVec part = iov_slice(q, 0, there);
        block_event(s->node.file, "read_backing_aio");
        ret = child_read(b, off, &part, 0);
    }
    iov_fill(q, there, 0, q->len - there);
    return ret;
}

static int read_packed(Qcow2 *s, uint64_t off, uint64_t entry, const IoVec *q)
{
    uint32_t in = qcow2_in_cluster(s, off);
    if (s->unpacked_entry == entry) {
        iov_write(q, 0, s->unpacked + in, q->len);
        return 0;
    }
    uint8_t *flat = q->len == s->cluster_size ? iov_flat(q) : NULL;
    if (flat)
        return qcow2_read_packed(s, entry, flat);
    uint8_t *buf = g_try_malloc(s->cluster_size);
    if (!buf)
        return -ENOMEM;
    int ret = qcow2_read_packed(s, entry, buf);
    if (!ret)
        iov_write(q, 0, buf + in, q->len);
    if (ret || q->len == s->cluster_size || s->req_first != s->req_last) {
        g_free(buf);
        return ret;
    }
    g_free(s->unpacked);            /* alone, and with more of the same cluster likely to be read next */
    s->unpacked = buf;
    s->unpacked_entry = entry;
    return 0;
}

static int read_part(Qcow2 *s, const Qcow2Map *m, uint64_t off, const IoVec *q)
{
    switch (m->kind) {
    case QCOW2_ZERO_PLAIN:
    case QCOW2_ZERO_ALLOC:
        iov_fill(q, 0, 0, q->len);
        return 0;
    case QCOW2_NORMAL:
        return s->header.crypt_method ? read_encrypted(s, off, m->host, q) : qcow2_read_data(s, m->host, q);
    case QCOW2_PACKED:
        return read_packed(s, off, m->entry, q);
    default:
        return read_below(s, off, q);
    }
}

typedef struct Part { Qcow2 *s; Qcow2Map map; uint64_t off; IoVec q; } Part;

static int part_run(void *arg)
{
    Part *p = arg;
    int ret = read_part(p->s, &p->map, p->off, &p->q);
    g_free(p);
    return ret;
}

int qcow2_read_guest(Qcow2 *s, uint64_t off, const IoVec *q)
{
    CoCrowd crowd = { .max = PARALLEL };
    int ret = 0;
    for (uint64_t done = 0; done < q->len && !ret && !crowd.status;) {
        Qcow2Map m;
        ret = qcow2_map(s, off + done, q->len - done, &m);
        if (ret)
            break;
        IoVec part = iov_slice(q, done, m.len);
        bool nothing = !s->node.backing && (m.kind == QCOW2_UNALLOCATED || m.kind == QCOW2_RESERVED);
        bool quick = nothing || m.kind == QCOW2_ZERO_PLAIN || m.kind == QCOW2_ZERO_ALLOC || done + m.len == q->len;
        if (quick) {
            ret = read_part(s, &m, off + done, &part);
        } else {
            Part *p = g_new(Part, 1);
            *p = (Part){ s, m, off + done, part };
            crowd_start(&crowd, part_run, p);
        }
        done += m.len;
    }
    int other = crowd_wait(&crowd);
    return ret ? ret : other;
}

int qcow2_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Request r;
    qcow2_request_begin(s, &r);
    int ret = qcow2_read_guest(s, off, q);
    qcow2_request_end(s, &r);
    return ret;
}

int qcow2_reads_zero(Qcow2 *s, uint64_t off, uint64_t len)
{
    uint64_t below = s->node.backing ? node_size(s->node.backing->node) : 0;
    while (len) {
        Qcow2Map m;
        int ret = qcow2_map(s, off, len, &m);
        if (ret)
            return ret;
        bool nothing = m.kind == QCOW2_UNALLOCATED || m.kind == QCOW2_RESERVED;
        if (m.kind == QCOW2_NORMAL || m.kind == QCOW2_PACKED || (nothing && off < below))
            return 0;
        off += m.len;
        len -= m.len;
    }
    return 1;
}
