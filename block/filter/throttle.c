/* SPDX-License-Identifier: MIT */
/*
 * throttle: requests wait until their group's limits let them through. A drain
 * lets all of them go: nobody shall wait for time while the graph changes.
 */
#include <glib.h>

#include "block/filter/pass.h"
#include "block/throttle.h"

typedef struct Throttle {
    BlockNode node;
    char *group;
    ThrottleMember *member;
} Throttle;

static const Field throttle_fields[] = {
    PROP(Throttle, group, .as = "throttle-group", .doc = "the object whose limits count"),
    {0}
};

static Err *throttle_open(BlockNode *n)
{
    Throttle *t = (Throttle *)n;

    if (!t->group)
        return err_hint(err(ERR_INVALID, "Please specify a throttle group"), "throttle-group=ID");
    return throttle_join(n->graph, t->group, &t->member);
}

static void throttle_close(BlockNode *n)
{
    throttle_leave(((Throttle *)n)->member);
}

/* The node is drained: nobody waits in the old group. */
static Err *throttle_reopen(BlockNode *n, const void *opts, bool read_only)
{
    Throttle *t = (Throttle *)n;
    const Throttle *now = opts;
    ThrottleMember *m;

    if (!g_strcmp0(t->group, now->group))
        return NULL;
    TRY(throttle_join(n->graph, now->group ? now->group : "", &m));
    throttle_leave(t->member);
    t->member = m;
    throttle_pass(m, n->quiesced);
    return NULL;
}

static void throttle_drain(BlockNode *n, bool begin)
{
    Throttle *t = (Throttle *)n;

    if (t->member)
        throttle_pass(t->member, begin);
}

static int throttle_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    throttle_wait(((Throttle *)n)->member, false, q->len);
    return pass_read(n, off, q, flags);
}

static int throttle_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    throttle_wait(((Throttle *)n)->member, true, q->len);
    return pass_write(n, off, q, flags);
}

static int throttle_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    throttle_wait(((Throttle *)n)->member, true, q->len);
    return pass_write_compressed(n, off, q);
}

static int throttle_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    throttle_wait(((Throttle *)n)->member, true, len);
    return pass_zero(n, off, len, flags);
}

static int throttle_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    throttle_wait(((Throttle *)n)->member, true, len);
    return pass_discard(n, off, len);
}

BLOCK(throttle) = {
    .name = "throttle", .doc = "limits how much is done in a second", .kind = DRIVER_FILTER,
    .size = sizeof(Throttle), .fields = throttle_fields,
    .open = throttle_open, .close = throttle_close, .reopen = throttle_reopen, .drain = throttle_drain,
    .read = throttle_read, .write = throttle_write, .write_compressed = throttle_compressed,
    .zero = throttle_zero, .discard = throttle_discard, .size_now = pass_size_now,
};
