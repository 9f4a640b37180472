/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: see block/throttle.h. The object's properties have the names
 * that QEMU gives them, both the older x-iops-total and limits.iops-total.
 *
 * Reads and writes wait in lines of their own, in each member; the members of a
 * thread take turns, so that a busy disk does not starve a calm one, and so do the
 * threads: those in which somebody waits stand in the group's line, the first of
 * it lets one request go and wakes the next. One alarm for each direction and thread.
 */
#include "block/throttle.h"

#include <glib.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "block/block-priv.h"
#include "block/objects-priv.h"

#define RATE_MAX 1000000000000000ull        /* 10^15 per second */

typedef struct Waiter {
    Co *co;
    uint64_t bytes;
    struct Waiter *next;
} Waiter;

typedef struct ThrottlePart ThrottlePart;

struct ThrottleMember {
    ThrottlePart *part;
    struct { Waiter *first, **last; } line[2];      /* reads, writes */
    bool pass;
    ThrottleMember *next;
};

typedef struct Poke { ThrottlePart *part; bool write, on_its_way; } Poke;

/* The members in one graph, and so in one thread, which owns all but what is said to be under the group's lock. */
struct ThrottlePart {
    ThrottleGroup *group;               /* held */
    BlockGraph *graph;
    ThrottleMember *members, *turn[2];  /* turn: whose it is next; NULL: the first's */
    Alarm alarm[2];
    ThrottlePart *next;                 /* of the graph */
    /* Under the lock: */
    bool waits[2];                      /* it is in the group's line */
    ThrottlePart *behind[2];            /* in it */
    Poke poke[2];
    bool gone;                          /* has no members; freed when no poke is on its way */
};

struct ThrottleGroup {
    char *name;
    ThrottleGroups *all;
    unsigned refs;                      /* under all->lock */
    unsigned objects;                   /* likewise: objects of that name, one in each graph */
    ThrottleGroup *next;
    pthread_mutex_t lock;               /* the rest: */
    ThrottleLimits limits;
    int64_t leaked;                     /* when it was last done */
    struct { ThrottlePart *first; } line[2];
};

struct ThrottleGroups {
    pthread_mutex_t lock;
    unsigned refs;                      /* itself, and each group */
    ThrottleGroup *first;
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

/* ---- all groups */

ThrottleGroups *throttle_groups_new(void)
{
    ThrottleGroups *all = g_new0(ThrottleGroups, 1);

    pthread_mutex_init(&all->lock, NULL);
    all->refs = 1;
    return all;
}

ThrottleGroups *throttle_groups_ref(ThrottleGroups *all)
{
    pthread_mutex_lock(&all->lock);
    all->refs++;
    pthread_mutex_unlock(&all->lock);
    return all;
}

void throttle_groups_unref(ThrottleGroups *all)
{
    if (!all)
        return;
    pthread_mutex_lock(&all->lock);
    bool last = !--all->refs;
    pthread_mutex_unlock(&all->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&all->lock);
    g_free(all);
}

static ThrottleGroup *group_new(ThrottleGroups *all, const char *name)
{
    ThrottleGroup *g = g_new0(ThrottleGroup, 1);

    g->name = g_strdup(name);
    g->all = all;
    g->leaked = loop_now();
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++)
        g->limits.b[i].length = 1;
    pthread_mutex_init(&g->lock, NULL);
    g->next = all->first;
    all->first = g;
    all->refs++;
    return g;
}

ThrottleGroup *throttle_group_get(ThrottleGroups *all, const char *name)
{
    ThrottleGroup *g;

    pthread_mutex_lock(&all->lock);
    for (g = all->first; g && strcmp(g->name, name); g = g->next)
        ;
    if (!g)
        g = group_new(all, name);
    g->refs++;
    pthread_mutex_unlock(&all->lock);
    return g;
}

void throttle_group_put(ThrottleGroup *g)
{
    ThrottleGroups *all = g ? g->all : NULL;
    ThrottleGroup **at;

    if (!g)
        return;
    pthread_mutex_lock(&all->lock);
    bool last = !--g->refs;
    for (at = &all->first; last && *at != g; at = &(*at)->next)
        ;
    if (last)
        *at = g->next;
    pthread_mutex_unlock(&all->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&g->lock);
    g_free(g->name);
    g_free(g);
    throttle_groups_unref(all);
}

const char *throttle_group_name(const ThrottleGroup *g)
{
    return g->name;
}

void throttle_group_limits(ThrottleGroup *g, ThrottleLimits *out)
{
    pthread_mutex_lock(&g->lock);
    *out = g->limits;
    pthread_mutex_unlock(&g->lock);
}

bool throttle_limits_any(const ThrottleLimits *l)
{
    bool any = false;

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++)
        any |= l->b[i].avg > 0;
    return any;
}

/* ---- whose turn it is: under the group's lock */

static void leak_now(ThrottleGroup *g)
{
    int64_t now = loop_now();

    throttle_leak(g->limits.b, MAX(now - g->leaked, 0));
    g->leaked = MAX(now, g->leaked);
}

/* The member to serve next that has somebody waiting, or NULL. Its thread's. */
static ThrottleMember *next_member(const ThrottlePart *p, bool write)
{
    ThrottleMember *from = p->turn[write] ? p->turn[write] : p->members, *m = from;

    if (!m)
        return NULL;
    do {
        if (m->line[write].first)
            return m;
        m = m->next ? m->next : p->members;
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

static void poked(void *opaque);

static void poke(ThrottlePart *p, bool write)
{
    Poke *k = &p->poke[write];

    if (k->on_its_way)
        return;
    *k = (Poke){ p, write, true };
    loop_call(graph_loop(p->graph), poked, k);
}

static void join_line(ThrottlePart *p, bool write)
{
    ThrottlePart **at = &p->group->line[write].first;

    if (p->waits[write])
        return;
    while (*at)
        at = &(*at)->behind[write];
    *at = p;
    p->behind[write] = NULL;
    p->waits[write] = true;
}

/* Who is the first then is told. */
static void leave_line(ThrottlePart *p, bool write)
{
    ThrottlePart **at = &p->group->line[write].first;
    bool first = *at == p;

    if (!p->waits[write])
        return;
    while (*at != p)
        at = &(*at)->behind[write];
    *at = p->behind[write];
    p->waits[write] = false;
    if (first && p->group->line[write].first)
        poke(p->group->line[write].first, write);
}

/* The next that may go, taken from its line; NULL: nobody, or not yet, and then the alarm is set. */
static Waiter *next_to_go(ThrottlePart *p, bool write)
{
    ThrottleGroup *g = p->group;
    ThrottleMember *m = next_member(p, write);
    int64_t due;

    if (!m) {
        leave_line(p, write);
        return NULL;
    }
    join_line(p, write);
    if (g->line[write].first != p)
        return NULL;
    leak_now(g);
    due = throttle_due(g->limits.b, write);
    if (due) {
        alarm_set(&p->alarm[write], loop_now() + due);
        return NULL;
    }
    Waiter *w = take_first(m, write);
    p->turn[write] = m->next;
    throttle_fill(g->limits.b, write, w->bytes, g->limits.ops_size);
    leave_line(p, write);
    return w;
}

/* Lets those go that may. In its thread, without the lock. */
static void serve(ThrottlePart *p, bool write)
{
    for (;;) {
        pthread_mutex_lock(&p->group->lock);
        Waiter *w = next_to_go(p, write);
        pthread_mutex_unlock(&p->group->lock);
        if (!w)
            return;
        co_wake(w->co);
    }
}

static void part_free(ThrottlePart *p)
{
    throttle_group_put(p->group);
    g_free(p);
}

static void poked(void *opaque)
{
    Poke *k = opaque;
    ThrottlePart *p = k->part;

    pthread_mutex_lock(&p->group->lock);
    k->on_its_way = false;
    bool gone = p->gone, last = gone && !p->poke[0].on_its_way && !p->poke[1].on_its_way;
    pthread_mutex_unlock(&p->group->lock);
    if (!gone)
        serve(p, k->write);
    else if (last)
        part_free(p);
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
    ThrottlePart *p = m->part;
    ThrottleGroup *g = p->group;
    Waiter w = { co_self(), bytes, NULL };

    pthread_mutex_lock(&g->lock);
    leak_now(g);
    bool now = m->pass || (!g->line[write].first && !next_member(p, write) && !throttle_due(g->limits.b, write));
    if (now)
        throttle_fill(g->limits.b, write, bytes, g->limits.ops_size);
    pthread_mutex_unlock(&g->lock);
    if (now)
        return;
    *m->line[write].last = &w;
    m->line[write].last = &w.next;
    serve(p, write);
    co_yield();
}

void throttle_pass(ThrottleMember *m, bool on)
{
    ThrottleGroup *g = m->part->group;

    m->pass = on;
    for (int write = 0; on && write < 2; write++) {
        while (m->line[write].first) {
            Waiter *w = take_first(m, write);

            pthread_mutex_lock(&g->lock);
            throttle_fill(g->limits.b, write, w->bytes, g->limits.ops_size);
            pthread_mutex_unlock(&g->lock);
            co_wake(w->co);
        }
        serve(m->part, write);
    }
}

Err *throttle_group_set(ThrottleGroup *g, const ThrottleLimits *l)
{
    TRY(throttle_check(l->b, l->ops_size));
    pthread_mutex_lock(&g->lock);
    leak_now(g);
    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++) {
        ThrottleBucket *b = &g->limits.b[i];

        b->avg = l->b[i].avg;
        b->max = l->b[i].max;
        b->length = l->b[i].length;
    }
    g->limits.ops_size = l->ops_size;
    for (int write = 0; write < 2; write++) {
        if (g->line[write].first)
            poke(g->line[write].first, write);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* ---- members */

static ThrottlePart *part_of(BlockGraph *graph, ThrottleGroup *g)
{
    ThrottlePart *p;

    for (p = graph->throttles; p && p->group != g; p = p->next)
        ;
    if (p)
        return p;
    p = g_new0(ThrottlePart, 1);
    p->group = throttle_group_get(g->all, g->name);
    p->graph = graph;
    alarm_init(&p->alarm[0], graph_loop(graph), fire_reads, p);
    alarm_init(&p->alarm[1], graph_loop(graph), fire_writes, p);
    p->next = graph->throttles;
    graph->throttles = p;
    return p;
}

ThrottleMember *throttle_join_group(BlockGraph *graph, ThrottleGroup *g)
{
    ThrottlePart *p = part_of(graph, g);
    ThrottleMember *m = g_new0(ThrottleMember, 1);
    Object *ob = objects_peek(graph_objects(graph), &object_throttle_group, g->name);

    m->part = p;
    m->line[0].last = &m->line[0].first;
    m->line[1].last = &m->line[1].first;
    m->next = p->members;
    p->members = m;
    if (ob)
        ob->refs++;
    return m;
}

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
    ThrottleGroup *g = throttle_group_get(objects_throttles(graph_objects(graph)), group);
    *out = throttle_join_group(graph, g);
    throttle_group_put(g);
    return NULL;
}

static void part_end(ThrottlePart *p)
{
    ThrottlePart **at;

    for (at = &p->graph->throttles; *at != p; at = &(*at)->next)
        ;
    *at = p->next;
    alarm_del(&p->alarm[0]);
    alarm_del(&p->alarm[1]);
    pthread_mutex_lock(&p->group->lock);
    leave_line(p, false);
    leave_line(p, true);
    p->gone = true;
    bool last = !p->poke[0].on_its_way && !p->poke[1].on_its_way;
    pthread_mutex_unlock(&p->group->lock);
    if (last)
        part_free(p);
}

void throttle_leave(ThrottleMember *m)
{
    ThrottlePart *p = m ? m->part : NULL;
    ThrottleMember **at;

    if (!m)
        return;
    Object *ob = objects_peek(graph_objects(p->graph), &object_throttle_group, p->group->name);
    if (ob && ob->refs)
        ob->refs--;
    for (at = &p->members; *at != m; at = &(*at)->next)
        ;
    *at = m->next;
    for (int i = 0; i < 2; i++) {
        if (p->turn[i] == m)
            p->turn[i] = m->next;
    }
    g_free(m);
    if (!p->members)
        part_end(p);
}

/* ---- limits by name */

#define RATE(T, name_, i, prefix)                                                                                  \
    PROP(T, l.b[i].avg, .as = prefix name_, .units = true, .doc = "in a second; 0: no limit"),                     \
    PROP(T, l.b[i].max, .as = prefix name_ "-max", .units = true, .doc = "in a second of a burst"),                 \
    PROP(T, l.b[i].length, .as = prefix name_ "-max-length", .def = "1", .doc = "how many seconds a burst may last")
#define RATES(T, prefix)                                                                                           \
    RATE(T, "iops-total", THROTTLE_OPS_TOTAL, prefix), RATE(T, "iops-read", THROTTLE_OPS_READ, prefix),            \
    RATE(T, "iops-write", THROTTLE_OPS_WRITE, prefix), RATE(T, "bps-total", THROTTLE_BPS_TOTAL, prefix),           \
    RATE(T, "bps-read", THROTTLE_BPS_READ, prefix), RATE(T, "bps-write", THROTTLE_BPS_WRITE, prefix),              \
    PROP(T, l.ops_size, .as = prefix "iops-size", .units = true, .doc = "bytes that count as one operation")

typedef struct ByName { ThrottleLimits l; } ByName;

static const Field limit_fields[] = { RATES(ByName, ""), {0} };

Err *throttle_limits_set(ThrottleLimits *l, const json_t *o)
{
    ByName n = { *l };
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        g_autofree char *text = json_scalar_text(v);
        const Field *f;

        TRY(prop_find(limit_fields, key, &f));
        if (!text)
            return err(ERR_INVALID, "Invalid parameter type for '%s', expected: integer", key);
        TRY(prop_parse(&n, f, text));
    }
    TRY(throttle_check(n.l.b, n.l.ops_size));
    *l = n.l;
    return NULL;
}

json_t *throttle_limits_json(const ThrottleLimits *l)
{
    const ByName n = { *l };
    json_t *o = json_object();

    for (const Field *f = limit_fields; f->role != FIELD_END; f++) {
        g_autofree char *name = field_name(f), *text = prop_print(&n, f);

        json_object_set_new(o, name, json_integer((json_int_t)g_ascii_strtoull(text, NULL, 10)));
    }
    return o;
}

/* ---- the object: each graph has one, of the same group */

typedef struct ThrottleObject {
    Object ob;
    ThrottleLimits l;
    ThrottleGroup *group;
} ThrottleObject;

/* The first of that name says what the limits are. */
static Err *group_complete(Object *ob)
{
    ThrottleObject *t = (ThrottleObject *)ob;
    ThrottleGroups *all = objects_throttles(ob->all);

    TRY(throttle_check(t->l.b, t->l.ops_size));
    t->group = throttle_group_get(all, ob->id);
    pthread_mutex_lock(&all->lock);
    bool first = !t->group->objects++;
    pthread_mutex_unlock(&all->lock);
    return first ? throttle_group_set(t->group, &t->l) : NULL;
}

static void group_finish(Object *ob)
{
    ThrottleObject *t = (ThrottleObject *)ob;
    ThrottleGroups *all = objects_throttles(ob->all);

    if (!t->group)
        return;
    pthread_mutex_lock(&all->lock);
    t->group->objects--;
    pthread_mutex_unlock(&all->lock);
    throttle_group_put(t->group);
}

static void group_refresh(Object *ob)
{
    ThrottleObject *t = (ThrottleObject *)ob;

    throttle_group_limits(t->group, &t->l);
}

/* Other limits, while requests wait: whoever may go now goes. */
static Err *group_changed(Object *ob)
{
    ThrottleObject *t = (ThrottleObject *)ob;

    return throttle_group_set(t->group, &t->l);
}

static const Field group_fields[] = {
    RATES(ThrottleObject, "x-"),
    RATES(ThrottleObject, "limits."),
    {0}
};

const ObjectClass object_throttle_group = {
    .name = "throttle-group", .doc = "limits that several disks share", .size = sizeof(ThrottleObject),
    .fields = group_fields, .complete = group_complete, .finish = group_finish, .refresh = group_refresh, .changed = group_changed,
};
