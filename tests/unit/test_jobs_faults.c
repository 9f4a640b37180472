/* SPDX-License-Identifier: MIT */
/*
 * What may happen to any job while a guest writes to its disk: cancelling at any moment, errors, limits of speed,
 * transactions, and what is refused. What each kind does: test_jobs.c.
 */
#include "tests/unit/jobs-rig.h"

static void start_any(BlockNode *n, BlockNode *target, unsigned kind, const JobConfig *c, Job **j)
{
    MirrorConfig m = { .sync = SYNC_FULL, .target = target, .write_blocking = kind == 1 };
    BackupConfig b = { .sync = SYNC_FULL, .target = target };

    switch (kind) {
    case 0: case 1: CHECK(ok(job_mirror(n, &m, c, j))); break;
    case 2:         CHECK(ok(job_backup(n, &b, c, j))); break;
    case 3:         CHECK(ok(job_stream(n, NULL, NULL, c, j))); break;
    case 4:         CHECK(ok(job_commit(n, below(n, 1), below(n, 2), NULL, c, j))); break;
    default:        CHECK(ok(job_commit(n, n, below(n, 2), NULL, c, j)));
    }
}
#define KINDS 6

/* At any moment, with and without force: the guest and the chain are as if it had never been; or it ends already, and does. */
static void test_cancel(BlockGraph *g)
{
    for (unsigned i = 0; i < 30 && !test_case_bad; i++) {
        BlockNode *n = open_chain(g, 3), *target = open_target(g), *b1 = below(n, 1), *b2 = below(n, 2), *where;
        unsigned kind = i % KINDS;
        JobConfig c;
        bool ending = false;
        Watcher w;
        Guest guest;
        Job *j;

        guest_start(&guest, n);
        c = config(&w);
        c.manual_dismiss = true;
        c.speed = rand() % 2 ? 8 << 20 : 0;
        start_any(n, target, kind, &c, &j);
        if (c.speed || rand() % 3)
            co_sleep(rand() % 6000000);
        else                    /* in its last step, where that waits for a disk */
            for (int64_t end = loop_now() + 50000000; j->status < JOB_READY && loop_now() < end;)
                co_pause();
        if (j->status < JOB_ABORTING) {
            if (rand() % 3 == 0 && j->status < JOB_WAITING)
                CHECK(ok(job_pause(j)));
            ending = j->status == JOB_PENDING;
            if (ending)
                CHECK(fails(job_cancel(j, true), "cannot accept"));
            else
                CHECK(ok(job_cancel(j, rand() % 2)));
        }
        job_wait(j, NULL);
        where = disk_node(guest.d);
        CHECK(where == n);
        if (w.last == JOB_NULL && kind < 3 && !ending)
            CHECK(below(n, 1) == b1 && below(n, 2) == b2);
        guest_end(&guest, n);
        CHECK(!job_next(g, NULL));
        node_unref(n);
        node_unref(target);
    }
}

/* The n-th request of a side fails. Report: the job does. Stop: it goes on when told. Ignore: it goes on, and tries again. */
static void test_errors(BlockGraph *g)
{
    for (unsigned i = 0; i < 36 && !test_case_bad; i++) {
        BlockNode *n = open_chain(g, 3), *target = open_target(g);
        unsigned kind = i % KINDS, at = 1 + rand() % 12;
        OnError how = (OnError[]){ ON_ERROR_REPORT, ON_ERROR_STOP, ON_ERROR_IGNORE, ON_ERROR_ENOSPC }[rand() % 4];
        bool no_space = rand() % 2, wrong_kind = how == ON_ERROR_ENOSPC && !no_space;
        Overlay *side = (Overlay *)(kind < 3 ? target : kind == 3 ? n : below(n, 2));
        g_autofree uint8_t *then = NULL;
        JobConfig c;
        Watcher w;
        Guest guest;
        Job *j;
        int ret;

        guest_start(&guest, n);
        guest_hold(&guest);
        then = g_memdup2(guest.model, SIZE);
        c = config(&w);
        c.manual_dismiss = true;
        c.on_read_error = c.on_write_error = how;
        side->fail_errno = no_space ? ENOSPC : EIO;
        start_any(n, target, kind, &c, &j);
        side->fail_write = at;
        if (kind != 3)
            guest_go(&guest);               /* the stream's writes and the guest's go to one node */
        guest.may_fail = true;
        while (j->status < JOB_CONCLUDED) {
            if (j->io_status) {
                CHECK(j->user_paused);
                CHECK_EQ(j->io_status, side->fail_errno);
                CHECK(ok(job_resume(j)));
            }
            if (j->status == JOB_READY)
                CHECK(ok(job_complete(j)));
            co_sleep(1000000);
        }
        ret = job_wait(j, NULL);
        if (kind == 3 && how == ON_ERROR_IGNORE && w.errors)
            CHECK(ret);         /* a stream leaves out what it could not write, says so at its end, and the backing file stays */
        else if (ret)           /* a mirror's last step, with everything drained, asks nobody */
            CHECK(how == ON_ERROR_REPORT || wrong_kind || !w.errors);
        CHECK(!ret || ret == -side->fail_errno);
        side->fail_write = 0;
        guest_go(&guest);
        if (!ret && kind == 2)
            same_bytes(target, then);
        guest_end(&guest, disk_node(guest.d));          /* an error that was ignored loses nothing either */
        node_unref(n);
        node_unref(target);
    }
}

/* 1.5 MiB at 16 MiB a second, then without a limit. */
static void test_speed(BlockGraph *g)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        BlockNode *n = open_chain(g, 3), *target = open_target(g);
        int64_t start = loop_now();
        JobConfig c;
        Watcher w;
        Job *j;

        for (BlockNode *b = n; b; b = b->backing ? b->backing->node : NULL) {
            memset(((Overlay *)b)->state, b == n && kind == 3 ? OVERLAY_BELOW : OVERLAY_DATA, ((Overlay *)b)->units);
            memset(((Overlay *)b)->mem, 9, ((Overlay *)b)->units * ((Overlay *)b)->unit);
        }
        c = config(&w);
        c.manual_dismiss = true;
        c.speed = 16 << 20;
        start_any(n, target, kind, &c, &j);
        while (j->status != JOB_READY && j->status < JOB_CONCLUDED) {
            co_sleep(1000000);
            if (j->speed && loop_now() - start > 40000000)
                CHECK(ok(job_set_speed(j, 0)));
        }
        CHECK(loop_now() - start >= 40000000);
        if (j->status == JOB_READY)
            CHECK(ok(job_complete(j)));
        CHECK_EQ(job_wait(j, NULL), 0);
        node_unref(n);
        node_unref(target);
    }
}

/* Two backups, all or none; by hand. */
static void test_transaction(BlockGraph *g)
{
    for (unsigned round = 0; round < 4; round++) {
        BlockNode *n[2], *target[2];
        Watcher w[2];
        Job *j[2];
        struct JobTxn *t = jobtxn_new();

        for (unsigned i = 0; i < 2; i++) {
            BackupConfig b = { .sync = SYNC_FULL };
            JobConfig c = config(&w[i]);

            n[i] = open_text(g, "driver=overlay,size=1M", OPEN_RW);
            memset(((Overlay *)n[i])->state, OVERLAY_DATA, 256);
            memset(((Overlay *)n[i])->mem, 1, 1 << 20);
            b.target = target[i] = open_text(g, "driver=overlay,size=1M", OPEN_RW);
            c.id = i ? "one" : "two";
            c.txn = t;
            c.manual_start = c.manual_finalize = c.manual_dismiss = true;
            CHECK(ok(job_backup(n[i], &b, &c, &j[i])));
        }
        jobtxn_unref(t);
        CHECK(fails(job_finalize(j[0]), "cannot accept"));
        if (round == 1)
            ((Overlay *)target[1])->fail_write = 1;
        if (round == 3)
            ((Overlay *)target[1])->fail_flush = 1;
        if (round == 2) {
            CHECK(ok(job_cancel(j[1], false)));
            CHECK(!job_next(g, NULL));          /* what never began is not kept for job_dismiss */
            for (unsigned i = 0; i < 2; i++) {
                node_unref(n[i]);
                node_unref(target[i]);
            }
            continue;
        }
        for (unsigned i = 0; i < 2; i++)
            job_start(j[i]);
        while (j[0]->status < JOB_PENDING)
            co_sleep(1000000);
        if (round == 0 || round == 3) {
            CHECK_EQ(j[1]->status, JOB_PENDING);
            CHECK(ok(job_finalize(j[1])));
        }
        while (j[0]->status < JOB_CONCLUDED || j[1]->status < JOB_CONCLUDED)
            co_sleep(1000000);
        CHECK_EQ(j[0]->ret, round ? -ECANCELED : 0);
        CHECK_EQ(j[1]->ret, round == 1 || round == 3 ? -EIO : round ? -ECANCELED : 0);
        for (unsigned i = 0; i < 2; i++) {
            CHECK(ok(job_dismiss(j[i])));
            node_unref(n[i]);
            node_unref(target[i]);
        }
        CHECK(!job_next(g, NULL));
    }
}

static void test_refused(BlockGraph *g)
{
    BlockNode *n = open_chain(g, 3), *target = open_text(g, "driver=overlay,size=1M", OPEN_RW);
    JobConfig c = { .id = "j" };
    MirrorConfig m = { .sync = SYNC_FULL, .target = target };
    BackupConfig b = { .sync = SYNC_FULL, .target = target };
    Job *j;

    CHECK(fails(job_mirror(n, &m, &c, &j), "bytes"));
    CHECK(fails(job_backup(n, &b, &c, &j), "different sizes"));
    m.target = below(n, 1);
    b.target = n;
    CHECK(fails(job_mirror(n, &m, &c, &j), "part of the source"));
    CHECK(fails(job_backup(n, &b, &c, &j), "cannot be the same"));
    m.target = target;
    m.sync = SYNC_INCREMENTAL;
    CHECK(fails(job_mirror(n, &m, &c, &j), "full, top or none"));
    CHECK(fails(job_stream(below(n, 1), NULL, NULL, &c, &j), "read-only"));
    CHECK(fails(job_stream(n, target, NULL, &c, &j), "not a backing image"));
    CHECK(fails(job_commit(n, below(n, 2), below(n, 1), NULL, &c, &j), "not in the backing chain"));
    CHECK(fails(job_commit(n, n, below(n, 1), "x", &c, &j), "active layer"));
    c.id = "1x";
    CHECK(fails(job_stream(n, NULL, NULL, &c, &j), "Invalid job ID"));
    CHECK(!job_next(g, NULL));
    c.id = "x";
    c.manual_start = true;
    CHECK(ok(job_stream(n, NULL, NULL, &c, &j)));
    CHECK(fails(job_commit(n, below(n, 1), below(n, 2), NULL, &c, &j), "already in use"));
    j = job_find(g, "x");
    CHECK(fails(job_complete(j), "cannot accept"));
    CHECK(fails(job_resume(j), "not paused"));
    CHECK(ok(job_cancel(j, false)));
    CHECK(!job_next(g, NULL));
    CHECK_EQ(count_nodes(g), 4);
    node_unref(n);
    node_unref(target);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    srand(argc > 1 ? (unsigned)atoi(argv[1]) : 1);
    RUN_IN_GRAPH(test_cancel);
    RUN_IN_GRAPH(test_errors);
    RUN_IN_GRAPH(test_speed);
    RUN_IN_GRAPH(test_transaction);
    RUN_IN_GRAPH(test_refused);
    return test_end();
}
