/* SPDX-License-Identifier: MIT */
/*
 * Encrypted reads and writes through a buffer of ours, in pieces: a long
 * request takes no more memory than a short one.
 */
#include "block/crypto/crypt_io.h"

#include <errno.h>
#include <glib.h>


enum {
    PIECE = 1 << 20,            /* bytes in the buffer at once */
    WORTH_A_THREAD = 64 << 10,  /* some 30 microseconds of work: more than handing it over costs */
};

typedef struct Task {
    const Crypt *c;
    bool encrypt;
    uint64_t sector;
    const uint8_t *src;
    uint8_t *dst;
    size_t len;
} Task;

static void run_task(void *arg)
{
    const Task *t = arg;

    crypt_run(t->c, t->encrypt, t->sector, t->src, t->dst, t->len);
}

void crypt_run_co(const Crypt *c, bool encrypt, uint64_t sector, const uint8_t *src, uint8_t *dst, size_t len)
{
    Task t = { c, encrypt, sector, src, dst, len };

    if (len >= WORTH_A_THREAD)
        co_offload(run_task, &t);
    else
        run_task(&t);
}

static int read_piece(const Crypt *c, BlockChild *child, uint64_t off, uint64_t sector, const IoVec *q, uint8_t *buf)
{
    uint8_t *flat = iov_flat(q);
    int ret = child_pread_padded(child, off, buf, q->len);

    if (ret < 0)
        return ret;
    crypt_run_co(c, false, sector, buf, flat ? flat : buf, q->len);
    if (!flat)
        iov_write(q, 0, buf, q->len);
    return 0;
}

int crypt_read(const Crypt *c, BlockChild *child, uint64_t off, uint64_t sector, const IoVec *q)
{
    uint8_t *buf = block_buf(child->node, MIN(q->len, PIECE));
    int ret = buf ? 0 : -ENOMEM;

    for (size_t at = 0; at < q->len && ret >= 0; at += PIECE) {
        IoVec part = iov_slice(q, at, MIN(q->len - at, PIECE));

        ret = read_piece(c, child, off + at, sector + at / CRYPT_SECTOR, &part, buf);
    }
    block_buf_free(buf);
    return ret;
}

static int write_piece(const Crypt *c, BlockChild *child, uint64_t off, uint64_t sector, const IoVec *q, uint8_t *buf,
                       unsigned flags)
{
    const uint8_t *flat = iov_flat(q);

    if (!flat)
        iov_read(q, 0, buf, q->len);
    crypt_run_co(c, true, sector, flat ? flat : buf, buf, q->len);
    return child_pwrite(child, off, buf, q->len, flags);
}

int crypt_write(const Crypt *c, BlockChild *child, uint64_t off, uint64_t sector, const IoVec *q, unsigned flags)
{
    uint8_t *buf = block_buf(child->node, MIN(q->len, PIECE));
    int ret = buf ? 0 : -ENOMEM;

    for (size_t at = 0; at < q->len && ret >= 0; at += PIECE) {
        IoVec part = iov_slice(q, at, MIN(q->len - at, PIECE));

        ret = write_piece(c, child, off + at, sector + at / CRYPT_SECTOR, &part, buf, flags);
    }
    block_buf_free(buf);
    return ret;
}
