/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: see block/throttle.h. The object's properties have the names
 * that QEMU gives them, both the older x-iops-total and limits.iops-total.
 *
 * Reads and writes wait in lines of their own, in each member; the members take
 * turns, so that a busy disk does not starve a calm one. One alarm for each
 * direction lets the next go. All in the graph's loop.
 */
#include "block/throttle.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#include "block/objects-priv.h"

#define RATE_MAX 1000000000000000ull        /* 10^15 per second */

typedef struct Waiter {
    Co *co;
    uint64_t bytes;
    struct Waiter *next;
} Waiter;

struct ThrottleMember {
    ThrottleGroup *group;
    struct { Waiter *first, **last; } line[2];      /* reads, writes */
    bool pass;
    ThrottleMember *next;
};

struct ThrottleGroup {
    Object ob;
    ThrottleBucket b[THROTTLE_BUCKETS];
    uint64_t ops_size;          /* bytes that count as one operation; 0: any request is one */
    int64_t leaked;             /* when it was last done */
    ThrottleMember *members, *turn[2];  /* turn: whose it is next; NULL: the first's */
    Alarm alarm[2];
    Loop *loop;                 /* NULL: no member yet */
};

/* ---- the rates */

static bool concerns(unsigned bucket, bool write)
{
    static const uint8_t kind[THROTTLE_BUCKETS] = { 3, 1, 2, 3, 1, 2 };

    return kind[bucket] & (write ? 2 : 1);
}

void throttle_leak(ThrottleBucket *b, int64_t ns)
{
    const double seconds = ns / 1e9;

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        b[i].level = fmax(0, b[i].level - b[i].avg * seconds);
        b[i].burst = fmax(0, b[i].burst - b[i].max * seconds);
    }
}

void throttle_fill(ThrottleBucket *b, bool write, uint64_t bytes, uint64_t ops_size)
{
    const double ops = ops_size && bytes > ops_size ? (double)bytes / ops_size : 1;

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        double much = i < THROTTLE_OPS_TOTAL ? (double)bytes : ops;

        if (!b[i].avg || !concerns(i, write))
            continue;
        b[i].level += much;
        if (b[i].length > 1)
            b[i].burst += much;
    }
}

/* Nanoseconds until what is over the brim has leaked. */
static int64_t time_over(double level, double brim, uint64_t rate)
{
    double over = level - brim;

    return over > 0 ? (int64_t)fmin(over / rate * 1e9 + 1, 1e18) : 0;
}

static int64_t bucket_due(const ThrottleBucket *b)
{
    int64_t due, burst;

    if (!b->avg)
        return 0;
    due = time_over(b->level, b->max ? (double)b->max * b->length : (double)b->avg / 10, b->avg);
    burst = b->max && b->length > 1 ? time_over(b->burst, (double)b->max / 10, b->max) : 0;
    return MAX(due, burst);
}

int64_t throttle_due(const ThrottleBucket *b, bool write)
{
    int64_t due = 0;

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        if (concerns(i, write))
            due = MAX(due, bucket_due(&b[i]));
    }
    return due;
}

static Err *check_bucket(const ThrottleBucket *b)
{
    if (b->avg > RATE_MAX || b->max > RATE_MAX)
        return err(ERR_INVALID, "bps/iops/max values must be within [0, %llu]", RATE_MAX);
    if (!b->length)
        return err(ERR_INVALID, "the burst length cannot be 0");
    if (b->length > 1 && !b->max)
        return err(ERR_INVALID, "burst length set without burst rate");
    if (b->max && b->length > RATE_MAX / b->max)
        return err(ERR_INVALID, "burst length too high for this burst rate");
    if (b->max && !b->avg)
        return err(ERR_INVALID, "bps_max/iops_max require corresponding bps/iops values");
    if (b->max && b->max < b->avg)
        return err(ERR_INVALID, "bps_max/iops_max cannot be lower than bps/iops");
    return NULL;
}

/* A total and a part of it: one or the other. */
static bool both(const ThrottleBucket *b, unsigned total)
{
    return (b[total].avg && (b[total + 1].avg || b[total + 2].avg)) ||
           (b[total].max && (b[total + 1].max || b[total + 2].max));
}

Err *throttle_check(const ThrottleBucket *b, uint64_t ops_size)
{
    if (both(b, THROTTLE_BPS_TOTAL) || both(b, THROTTLE_OPS_TOTAL))
        return err(ERR_INVALID, "bps/iops/max total values and read/write values cannot be used at the same time");
    if (ops_size && !b[THROTTLE_OPS_TOTAL].avg && !b[THROTTLE_OPS_READ].avg && !b[THROTTLE_OPS_WRITE].avg)
        return err(ERR_INVALID, "iops size requires an iops value to be set");
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++)
        TRY(check_bucket(&b[i]));
    return NULL;
}

/* ---- whose turn it is */

static void leak_now(ThrottleGroup *g)
{
    int64_t now = loop_now();

    throttle_leak(g->b, now - g->leaked);
    g->leaked = now;
}

/* The member to serve next that has somebody waiting, or NULL. */
static ThrottleMember *next_member(ThrottleGroup *g, bool write)
{
    ThrottleMember *from = g->turn[write] ? g->turn[write] : g->members, *m = from;

    if (!m)
        return NULL;
    do {
        if (m->line[write].first)
            return m;
        m = m->next ? m->next : g->members;
    } while (m != from);
    return NULL;
}

static Waiter *take_first(ThrottleMember *m, bool write)
{
    Waiter *w = m->line[write].first;

    m->line[write].first = w->next;
    if (!w->next)
        m->line[write].last = &m->line[write].first;
    return w;
}

/* Lets those go that may, and sets the alarm for the next. */
static void serve(ThrottleGroup *g, bool write)
{
    ThrottleMember *m;

    leak_now(g);
    while ((m = next_member(g, write))) {
        int64_t due = throttle_due(g->b, write);

        if (due) {
            alarm_set(&g->alarm[write], loop_now() + due);
            return;
        }
        Waiter *w = take_first(m, write);
        g->turn[write] = m->next;
        throttle_fill(g->b, write, w->bytes, g->ops_size);
        co_wake(w->co);
    }
}

static void fire_reads(void *opaque)
{
    serve(opaque, false);
}

static void fire_writes(void *opaque)
{
    serve(opaque, true);
}

void throttle_wait(ThrottleMember *m, bool write, uint64_t bytes)
{
    ThrottleGroup *g = m->group;
    Waiter w = { co_self(), bytes, NULL };

    leak_now(g);
    if (m->pass || (!next_member(g, write) && !throttle_due(g->b, write))) {
        throttle_fill(g->b, write, bytes, g->ops_size);
        return;
    }
    *m->line[write].last = &w;
    m->line[write].last = &w.next;
    serve(g, write);
    co_yield();
}

void throttle_pass(ThrottleMember *m, bool on)
{
    m->pass = on;
    for (int write = 0; on && write < 2; write++) {
        while (m->line[write].first) {
            Waiter *w = take_first(m, write);

            throttle_fill(m->group->b, write, w->bytes, m->group->ops_size);
            co_wake(w->co);
        }
    }
}

/* ---- members */

Err *throttle_join(BlockGraph *graph, const char *group, ThrottleMember **out)
{
    Object *ob;

    *out = NULL;
    Err *e = objects_find(graph_objects(graph), "throttle-group", group, &ob);
    if (e) {
        err_free(e);
        return err_hint(err(ERR_NOT_FOUND, "Throttle group '%s' does not exist", group),
                        "Make it: --object throttle-group,id=%s,x-iops-total=100", group);
    }
    ThrottleGroup *g = (ThrottleGroup *)ob;
    if (!g->loop) {
        g->loop = graph_loop(graph);
        alarm_init(&g->alarm[0], g->loop, fire_reads, g);
        alarm_init(&g->alarm[1], g->loop, fire_writes, g);
        g->leaked = loop_now();
    }
    ThrottleMember *m = g_new0(ThrottleMember, 1);
    m->group = g;
    m->line[0].last = &m->line[0].first;
    m->line[1].last = &m->line[1].first;
    m->next = g->members;
    g->members = m;
    ob->refs++;
    *out = m;
    return NULL;
}

void throttle_leave(ThrottleMember *m)
{
    ThrottleMember **at;

    if (!m)
        return;
    ThrottleGroup *g = m->group;
    for (at = &g->members; *at != m; at = &(*at)->next)
        ;
    *at = m->next;
    for (int i = 0; i < 2; i++) {
        if (g->turn[i] == m)
            g->turn[i] = m->next;
        if (!g->members)
            alarm_del(&g->alarm[i]);
    }
    g->ob.refs--;
    g_free(m);
}

/* ---- the object */

static Err *group_complete(Object *ob)
{
    ThrottleGroup *g = (ThrottleGroup *)ob;

    return throttle_check(g->b, g->ops_size);
}

/* Other limits, while requests wait: whoever may go now goes. */
static Err *group_changed(Object *ob)
{
    ThrottleGroup *g = (ThrottleGroup *)ob;

    TRY(throttle_check(g->b, g->ops_size));
    for (int write = 0; g->loop && write < 2; write++) {
        alarm_del(&g->alarm[write]);
        serve(g, write);
    }
    return NULL;
}

#define RATE(name_, i, prefix)                                                                                     \
    PROP(ThrottleGroup, b[i].avg, .as = prefix name_, .units = true, .doc = "in a second; 0: no limit"),           \
    PROP(ThrottleGroup, b[i].max, .as = prefix name_ "-max", .units = true, .doc = "in a second of a burst"),       \
    PROP(ThrottleGroup, b[i].length, .as = prefix name_ "-max-length", .def = "1", .doc = "how many seconds a burst may last")
#define RATES(prefix)                                                                                              \
    RATE("iops-total", THROTTLE_OPS_TOTAL, prefix), RATE("iops-read", THROTTLE_OPS_READ, prefix),                  \
    RATE("iops-write", THROTTLE_OPS_WRITE, prefix), RATE("bps-total", THROTTLE_BPS_TOTAL, prefix),                 \
    RATE("bps-read", THROTTLE_BPS_READ, prefix), RATE("bps-write", THROTTLE_BPS_WRITE, prefix),                    \
    PROP(ThrottleGroup, ops_size, .as = prefix "iops-size", .units = true, .doc = "bytes that count as one operation")

static const Field group_fields[] = {
    RATES("x-"),
    RATES("limits."),
    {0}
};

const ObjectClass object_throttle_group = {
    .name = "throttle-group", .doc = "limits that several disks share", .size = sizeof(ThrottleGroup),
    .fields = group_fields, .complete = group_complete, .changed = group_changed,
};
