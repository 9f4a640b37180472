/* SPDX-License-Identifier: MIT */
/* One throttle group over disks in two threads: who is over the limit waits in both, and goes on when it may. */
#define RIG_HARTS 1
#include "tests/dev/disk-rig.h"

enum { LEN = 4096, MOST = 64 };

typedef struct Ask {
    DiskReq r;
    struct iovec v;
    uint8_t buf[LEN];
    _Atomic bool done;
} Ask;

typedef struct Box {
    Rig r;
    DiskRig disk;
    DiskPort p[2];
    Ask ask[MOST];
    unsigned n;
} Box;

static void box_make(Box *b)
{
    memset(b, 0, sizeof(*b));
    disk_rig_init(&b->disk, &b->r, LEN);
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *id = g_strdup_printf("d%u", i), *arg = g_strdup_printf("if=none,id=%s,driver=null-co,size=1M", id);
        IoThread *t;

        rig_must(iothread_new(b->r.vm, i ? "t1" : "t0", &t));
        rig_must(disks_place(b->r.vm->disks, id, t));
        rig_must(disks_add_drive(b->r.vm->disks, arg, false));
        b->p[i] = (DiskPort){ .name = g_strdup(id), .any_home = true };
        rig_must(disk_port_bind(b->r.vm, &b->p[i], NULL, NULL, true, false));
    }
    CHECK(b->p[0].home != b->p[1].home);
    rig_board(&b->r);
}

static void box_free(Box *b)
{
    for (unsigned i = 0; i < 2; i++) {
        disk_port_unbind(&b->p[i]);
        g_free(b->p[i].name);
    }
    disk_rig_free(&b->disk, &b->r);
}

static void done(void *opaque, int ret)
{
    Ask *a = opaque;

    CHECK(!ret);
    atomic_store(&a->done, true);
}

static Ask *ask(Box *b, unsigned disk)
{
    Ask *a = &b->ask[b->n++];

    a->v = (struct iovec){ a->buf, LEN };
    a->r = (DiskReq){ .op = DISK_READ, .q = iov_of(&a->v, 1), .done = done, .opaque = a };
    disk_submit(b->p[disk].disk, &a->r, NULL);
    return a;
}

static bool ends(Ask *a)
{
    for (int i = 0; i < 60000 && !atomic_load(&a->done); i++)
        g_usleep(1000);
    return atomic_load(&a->done);
}

static ThrottleGroup *group(Box *b, uint64_t bps)
{
    ThrottleGroup *g = throttle_group_get(disks_throttles(b->r.vm->disks), "g");
    ThrottleLimits l;

    throttle_group_limits(g, &l);
    l.b[THROTTLE_BPS_TOTAL].avg = bps;
    rig_must(throttle_group_set(g, &l));
    return g;
}

static void test_shared(void)
{
    Box b;

    box_make(&b);
    disk_port_set_limits(&b.p[0], group(&b, 1));
    disk_port_set_limits(&b.p[1], group(&b, 1));
    CHECK(ends(ask(&b, 0)));            /* the next one is over an hour away, in either */
    Ask *x = ask(&b, 1), *y = ask(&b, 0), *z = ask(&b, 1);
    g_usleep(20000);
    CHECK(!x->done && !y->done && !z->done);
    throttle_group_put(group(&b, 100000000));
    CHECK(ends(x) && ends(y) && ends(z));
    g_usleep(50000);                    /* the bucket is empty again, for sure */
    throttle_group_put(group(&b, 1));
    CHECK(ends(ask(&b, 0)));            /* and full */
    x = ask(&b, 0);
    y = ask(&b, 1);
    disk_port_drain(&b.p[1]);           /* a drain does not wait for time */
    CHECK(ends(y) && !x->done);
    disk_port_set_limits(&b.p[0], NULL);
    CHECK(ends(x));
    box_free(&b);
}

/* Many from both sides: each gets its turn, and nobody is forgotten. */
static void test_turns(void)
{
    Box b;

    box_make(&b);
    for (unsigned i = 0; i < 2; i++)
        disk_port_set_limits(&b.p[i], group(&b, 100 * LEN * 10));
    for (unsigned i = 0; i < MOST; i++)
        ask(&b, i % 2);
    for (unsigned i = 0; i < MOST; i++)
        CHECK(ends(&b.ask[i]));
    box_free(&b);
}

/* An object of that name is in all threads; what changes by one way is seen by the other. */
static void test_object(void)
{
    Box b;
    ThrottleLimits l;

    box_make(&b);
    Disks *d = b.r.vm->disks;
    rig_must(disks_add_object(d, "throttle-group,id=g,x-iops-total=1000,x-bps-total=5"));
    ThrottleGroup *g = throttle_group_get(disks_throttles(d), "g");
    throttle_group_limits(g, &l);
    CHECK(l.b[THROTTLE_OPS_TOTAL].avg == 1000 && l.b[THROTTLE_BPS_TOTAL].avg == 5);
    l.b[THROTTLE_BPS_TOTAL].avg = 7;
    rig_must(throttle_group_set(g, &l));
    json_t *o = json_pack("{s:{s:i}}", "limits", "iops-total", 9);
    rig_must(disks_set_object(d, "g", o));
    json_decref(o);
    throttle_group_limits(g, &l);
    CHECK(l.b[THROTTLE_OPS_TOTAL].avg == 9 && l.b[THROTTLE_BPS_TOTAL].avg == 7);
    o = json_pack("{s:{s:i}}", "limits", "iops-read", 9);
    CHECK(rig_says(disks_set_object(d, "g", o), "same time"));
    json_decref(o);
    disk_port_set_limits(&b.p[0], g);
    CHECK(rig_says(disks_del_object(d, "g", "throttle-group,id=g"), "in use"));
    disk_port_set_limits(&b.p[0], NULL);
    rig_must(disks_del_object(d, "g", "throttle-group,id=g"));
    box_free(&b);
}

int main(void)
{
    RUN(test_shared);
    RUN(test_turns);
    RUN(test_object);
    return test_end();
}
