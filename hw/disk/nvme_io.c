/* SPDX-License-Identifier: MIT */
/* NVMe: commands of I/O queues. NVM Express Base 1.4, section 6. */
#include <errno.h>
#include <string.h>

#include "hw/disk/nvme.h"

enum {
    FLUSH = 0x00, WRITE = 0x01, READ = 0x02, COMPARE = 0x05, WRITE_ZEROES = 0x08, DATASET = 0x09,
    FUA = 1 << 30, DEALLOCATE = 1 << 25, DATASET_DEALLOCATE = 4, RANGES = 256,
};

static NvmeSpace *space_of(const NvmeReq *r)
{
    uint32_t nsid = nvme_dw(r, 1);

    return nsid && nsid <= NVME_MOST_SPACES ? r->n->spaces[nsid] : NULL;
}

static void end(NvmeReq *r, uint16_t status)
{
    r->status = status;
    nvme_answer(r);
}

/* A request to the drive ended with 0 or -errno. */
static void ended(NvmeReq *r, NvmeSpace *s, bool write, int ret)
{
    DiskVerdict v = ret ? disk_port_failed(&s->conf.port, write, -ret) : DISK_ERROR_IGNORE;

    if (v == DISK_ERROR_STOP)
        nvme_keep(r);
    else if (v == DISK_ERROR_IGNORE)
        end(r, NVME_OK);
    else if (ret == -ENOMEM)
        end(r, NVME_INTERNAL);
    else if (ret == -EROFS || ret == -EPERM)
        end(r, NVME_READ_ONLY);
    else
        end(r, !write ? NVME_READ_ERROR : ret == -ENOSPC ? NVME_NO_CAPACITY : NVME_WRITE_FAULT);
}

static bool fits(const NvmeSpace *s, uint64_t lba, uint64_t blocks)
{
    uint64_t all = disk_port_size(&s->conf.port) / s->conf.logical;

    return lba <= all && blocks <= all - lba;
}

/* Place and length of commands that have them in dwords 10 to 12. A status. */
static uint16_t extent_of(const NvmeReq *r, const NvmeSpace *s, uint64_t *off, uint64_t *len)
{
    uint64_t lba = nvme_get64(r->cmd + 40), blocks = (nvme_dw(r, 12) & 0xffff) + 1;

    *off = lba * s->conf.logical;
    *len = blocks * s->conf.logical;
    return fits(s, lba, blocks) ? NVME_OK : NVME_OUT_OF_RANGE;
}

static void read_write(NvmeReq *r, NvmeSpace *s, bool write)
{
    uint64_t off, len;
    uint16_t status = extent_of(r, s, &off, &len);

    if (!status && write && s->conf.port.read_only)
        status = NVME_READ_ONLY;
    if (!status)
        status = nvme_map(r, len, !write);
    if (status) {
        r->to_guest = false;
        end(r, status);
        return;
    }
    Disk *d = s->conf.port.disk;
    int ret = write ? disk_write(d, off, &r->data, nvme_dw(r, 12) & FUA ? REQ_FUA : 0) : disk_read(d, off, &r->data, 0);
    if (write) {
        r->n->writes++;
        r->n->write_units += len / 512;
    } else {
        r->n->reads++;
        r->n->read_units += len / 512;
    }
    ended(r, s, write, ret);
}

static void compare(NvmeReq *r, NvmeSpace *s)
{
    uint64_t off, len;
    uint16_t status = extent_of(r, s, &off, &len);

    if (!status)
        status = nvme_map(r, len, false);
    uint8_t *buf = status ? NULL : g_try_malloc(len);
    if (!status && !buf)
        status = NVME_INTERNAL;
    if (status) {
        end(r, status);
        return;
    }
    IoVec q = IOV_BUF(buf, len);
    int ret = disk_read(s->conf.port.disk, off, &q, 0);
    if (!ret && iov_differ(&q, &r->data) < len)
        end(r, NVME_COMPARE_FAILED);
    else
        ended(r, s, false, ret);
    g_free(buf);
}

static void write_zeroes(NvmeReq *r, NvmeSpace *s)
{
    uint64_t off, len;
    uint16_t status = extent_of(r, s, &off, &len);
    uint32_t dw = nvme_dw(r, 12);

    if (!status && s->conf.port.read_only)
        status = NVME_READ_ONLY;
    if (status) {
        end(r, status);
        return;
    }
    ended(r, s, true, disk_zero(s->conf.port.disk, off, len, (dw & DEALLOCATE ? REQ_UNMAP : 0) | (dw & FUA ? REQ_FUA : 0)));
}

/* Ranges are hints, but for where they lie. */
static void dataset(NvmeReq *r, NvmeSpace *s)
{
    uint8_t raw[RANGES * 16];
    unsigned n = (nvme_dw(r, 10) & 0xff) + 1;
    uint16_t status = nvme_map(r, 16 * n, false);
    int ret = 0;

    if (!status)
        iov_read(&r->data, 0, raw, 16 * n);
    for (unsigned i = 0; i < n && !status; i++) {
        if (!fits(s, nvme_get64(raw + 16 * i + 8), nvme_get32(raw + 16 * i + 4)))
            status = NVME_OUT_OF_RANGE;
    }
    if (!status && s->conf.port.read_only)
        status = NVME_READ_ONLY;
    if (status) {
        end(r, status);
        return;
    }
    for (unsigned i = 0; i < n && !ret && nvme_dw(r, 11) & DATASET_DEALLOCATE; i++) {
        uint64_t off = nvme_get64(raw + 16 * i + 8) * s->conf.logical, left = nvme_get32(raw + 16 * i + 4) * (uint64_t)s->conf.logical;

        while (left && !ret) {
            uint64_t len = MIN(left, (uint64_t)BLOCK_MAX_REQUEST & ~(uint64_t)(s->conf.logical - 1));

            ret = disk_discard(s->conf.port.disk, off, len);
            off += len;
            left -= len;
        }
    }
    ended(r, s, true, ret);
}

static int flush_space(NvmeSpace *s)
{
    s->flying++;
    int ret = disk_flush(s->conf.port.disk);
    if (!--s->flying)
        co_queue_wake_all(&s->idle);
    return ret;
}

static void flush(NvmeReq *r)
{
    NvmeSpace *s = space_of(r);

    if (nvme_dw(r, 1) == UINT32_MAX) {
        for (unsigned i = 1; i <= NVME_MOST_SPACES; i++) {
            NvmeSpace *each = r->n->spaces[i];
            int ret = each ? flush_space(each) : 0;

            if (ret) {
                end(r, NVME_WRITE_FAULT);
                return;
            }
        }
        end(r, NVME_OK);
    } else if (!s) {
        end(r, NVME_BAD_SPACE);
    } else {
        ended(r, s, true, disk_flush(s->conf.port.disk));
    }
}

void nvme_io(void *opaque)
{
    NvmeReq *r = opaque;
    NvmeSpace *s = space_of(r);

    if (r->cmd[1] & 3) {                /* fused */
        end(r, NVME_BAD_FIELD);
        return;
    }
    if (r->cmd[0] == FLUSH) {
        flush(r);
        return;
    }
    if (!s) {
        end(r, NVME_BAD_SPACE);
        return;
    }
    s->flying++;
    switch (r->cmd[0]) {
    case READ:          read_write(r, s, false); break;
    case WRITE:         read_write(r, s, true); break;
    case COMPARE:       compare(r, s); break;
    case WRITE_ZEROES:  write_zeroes(r, s); break;
    case DATASET:       dataset(r, s); break;
    default:            end(r, NVME_BAD_OPCODE);
    }
    if (!--s->flying)
        co_queue_wake_all(&s->idle);
}

void nvme_wait_space(Nvme *n, NvmeSpace *s)
{
    while (s->flying)
        co_queue_wait(&s->idle);
}

/* ---- all namespaces */

void nvme_flush_all(Nvme *n)
{
    for (unsigned i = 1; i <= NVME_MOST_SPACES; i++) {
        if (n->spaces[i])
            flush_space(n->spaces[i]);          /* there is nobody to tell */
    }
}

void nvme_drain(Nvme *n)
{
    for (unsigned i = 1; i <= NVME_MOST_SPACES; i++) {
        BlockNode *node = n->spaces[i] ? disk_node(n->spaces[i]->conf.port.disk) : NULL;

        if (!node)
            continue;
        node_ref(node);
        node_drain_begin(node);
        node_drain_end(node);
        node_unref(node);
    }
}
