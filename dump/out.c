/* SPDX-License-Identifier: MIT */
/*
 * Bytes into the dump's descriptor: a file, or a pipe whose reader may be slow
 * or gone. Nothing waits without being asked to end now and then; who is not
 * detached holds up the machine, and so waits for a reader a bounded time.
 *
 * The flattened form (makedumpfile's IMPLEMENTATION, "flattened format"): a
 * page that says what it is, then pieces, each behind its position and size,
 * both 64 bits and big-endian; the last one has -1 for both.
 */
#include "dump/dump-priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, NAP_MS = 100 };

static Err *wait_for_room(struct Dump *d, int *waited)
{
    struct pollfd p = { .fd = d->fd, .events = POLLOUT };

    if (atomic_load(&d->cancel))
        return err(ERR_BUSY, "dump: the machine ends");
    if (poll(&p, 1, NAP_MS) == 0 && !d->request.detach && (*waited += NAP_MS) > PATIENCE_MS)
        return err_hint(err(ERR_IO, "dump: nobody has read for a minute"), "With \"detach\" it waits as long as it takes.");
    return NULL;
}

Err *dump_out(struct Dump *d, const void *data, size_t n)
{
    const uint8_t *at = data;
    int waited = 0;

    while (n) {
        ssize_t got = atomic_load(&d->cancel) ? 0 : write(d->fd, at, MIN(n, (size_t)1 << 20));

        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return err_errno(errno, "dump: failed to save memory");
        if (got <= 0) {
            TRY(wait_for_room(d, &waited));
            continue;
        }
        waited = 0;
        at += got;
        n -= (size_t)got;
    }
    return NULL;
}

static void put_be(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(v >> (56 - 8 * i));
}

static Err *piece(struct Dump *d, uint64_t at, uint64_t n)
{
    uint8_t head[16];

    put_be(head, at);
    put_be(head + 8, n);
    return dump_out(d, head, sizeof(head));
}

Err *dump_out_at(struct Dump *d, uint64_t at, const void *data, size_t n)
{
    if (d->flat)
        TRY(piece(d, at, n));
    else if (lseek(d->fd, (off_t)at, SEEK_SET) < 0)
        return err_errno(errno, "dump: failed to seek");
    return dump_out(d, data, n);
}

bool dump_out_seeks(const struct Dump *d)
{
    return lseek(d->fd, 0, SEEK_CUR) >= 0;
}

Err *dump_out_begin(struct Dump *d)
{
    uint8_t page[DUMP_PAGE] = "makedumpfile";
    int flags = fcntl(d->fd, F_GETFL);

    if (flags >= 0 && !dump_out_seeks(d))
        fcntl(d->fd, F_SETFL, flags | O_NONBLOCK);
    if (!d->flat)
        return NULL;
    put_be(page + 16, 1);
    put_be(page + 24, 1);
    return dump_out(d, page, sizeof(page));
}

Err *dump_out_end(struct Dump *d)
{
    return d->flat ? piece(d, UINT64_MAX, UINT64_MAX) : NULL;
}
