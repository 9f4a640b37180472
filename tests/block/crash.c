/* SPDX-License-Identifier: MIT */
/*
 * Crashes and faults of qcow2, all in memory. A guest writes, zeroes, discards,
 * compresses, flushes, makes and drops snapshots and resizes; the stream of
 * writes and flushes that reaches the file is recorded. Then the file is built as
 * a crash at each point of the stream would leave it: what was not flushed is
 * there, or not, or in part, or torn within a write. In each of them the check
 * must find nothing worse than leaks, every flushed byte is in its place, no
 * block shows another's, and each snapshot holds what it held. `qemu-img check`
 * looks at a sample of them.
 *
 * Faults: the n-th request to the file fails, for each n, as a full disk, an I/O
 * error or a short write; the same must hold.
 *
 *     crash [POINTS [SEED]]
 */
#include <unistd.h>

#include "block/filter/pass.h"
#include "tests/block/crash.h"

/* ---- the filter that fails */

typedef enum FaultKind { FAULT_EIO, FAULT_ENOSPC, FAULT_SHORT, FAULT_KINDS } FaultKind;

typedef struct Fault {
    BlockNode node;
    unsigned requests;          /* that came so far */
    unsigned at;                /* the one that fails; 0: none */
    FaultKind kind;
    unsigned stay;              /* so many after it fail as well */
} Fault;

static Err *fault_open(BlockNode *n)
{
    return NULL;
}

static int fault_meets(BlockNode *n, bool writes)
{
    Fault *f = (Fault *)n;

    f->requests++;
    if (!f->at || f->requests < f->at || f->requests > f->at + f->stay || (!writes && f->kind != FAULT_EIO))
        return 0;
    return f->kind == FAULT_ENOSPC ? -ENOSPC : -EIO;
}

static int fault_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = fault_meets(n, false);

    return ret ? ret : pass_read(n, off, q, flags);
}

static int fault_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = fault_meets(n, true);

    if (ret && ((Fault *)n)->kind == FAULT_SHORT && q->len > 512) {
        IoVec part = iov_slice(q, 0, q->len / 1024 * 512);

        pass_write(n, off, &part, flags);
    }
    return ret ? ret : pass_write(n, off, q, flags);
}

static int fault_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    int ret = fault_meets(n, true);

    return ret ? ret : pass_zero(n, off, len, flags);
}

static int fault_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    int ret = fault_meets(n, true);

    return ret ? ret : pass_discard(n, off, len);
}

static int fault_flush(BlockNode *n)
{
    return fault_meets(n, true);
}

static Err *fault_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    int ret = fault_meets(n, true);

    if (ret)
        return err_errno(-ret, "cannot resize");
    TRY(child_resize(n->file, len, exact, p));
    n->size = child_size(n->file);
    return NULL;
}

BLOCK(fault) = {
    .name = "fault", .doc = "fails on demand, for tests", .kind = DRIVER_FILTER, .size = sizeof(Fault), .grows = true,
    .open = fault_open, .read = fault_read, .write = fault_write, .zero = fault_zero, .discard = fault_discard,
    .flush = fault_flush, .resize = fault_resize, .size_now = pass_size_now,
};

extern const BlockDriver block_raw, block_qcow2;
const BlockDriver *const block_set[] = { &block_qcow2, &block_raw, &block_rec, &block_fault, NULL };

/* ---- what may be read */

static const Promise *last_promise(const Guest *g, guint cut)
{
    const Promise *best = NULL;

    for (guint i = 0; i < g->promises->len; i++) {
        const Promise *p = &g_array_index(g->promises, Promise, i);

        if (p->at <= cut && (!best || p->order >= best->order))
            best = p;
    }
    return best;
}

static bool block_fits(const Guest *g, const Promise *p, guint cut, uint64_t b, uint64_t got)
{
    Value v = p ? p->values[b] : (Value){ base_seq(g, b), false };

    if (value_fits(g, b, v, got))
        return true;
    for (guint i = 0; i < g->changes[b]->len; i++) {
        const Change *c = &g_array_index(g->changes[b], Change, i);

        if (c->at <= cut && (!p || c->done > p->order) && value_fits(g, b, c->v, got))
            return true;
    }
    return false;
}

static bool size_fits(const Guest *g, guint cut, uint64_t size)
{
    bool good = false;

    for (guint i = 0; i < g->sizes->len; i++) {
        const Sizing *z = &g_array_index(g->sizes, Sizing, i);

        if (z->done <= cut)
            good = false;       /* what was before is over */
        if (z->begun <= cut)
            good |= z->size == size;
    }
    return good;
}

/* All of the node, or NULL. g_free it. */
static uint8_t *read_all(BlockNode *n)
{
    g_autofree uint8_t *buf = g_malloc(MAX(n->size, 1));
    Disk *d;
    int ret;

    if (!ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "reader", &d)))
        return NULL;
    ret = n->size ? disk_read(d, 0, &IOV_BUF(buf, n->size), 0) : 0;
    disk_free(d);
    CHECK_EQ(ret, 0);
    return ret ? NULL : g_steal_pointer(&buf);
}

static void check_blocks(const Guest *g, BlockNode *n, guint cut)
{
    const Promise *p = last_promise(g, cut);
    g_autofree uint8_t *buf = read_all(n);

    CHECK(size_fits(g, cut, n->size));
    for (uint64_t b = 0; buf && b < MIN(g->most, n->size / BLOCK_BYTES); b++) {
        uint64_t got = stamp_read(buf + b * BLOCK_BYTES);

        if (block_fits(g, p, cut, b, got))
            continue;
        printf("block %" PRIu64 " is %#" PRIx64 ", flushed as %#x\n", b, got, p ? p->values[b].seq : 0);
        test_case_bad++;
        return;
    }
}

static const Saved *find_saved(const Guest *g, const char *name)
{
    for (guint i = 0; i < g->saved->len; i++) {
        const Saved *s = &g_array_index(g->saved, Saved, i);

        if (!strcmp(s->name, name))
            return s;
    }
    return NULL;
}

/* The node shows that snapshot from now on. */
static void check_snapshot(const Guest *g, BlockNode *n, const Saved *s)
{
    g_autofree uint8_t *buf = NULL;

    CHECK(ok(node_snapshot_load(n, s->name)));
    buf = read_all(n);
    for (uint64_t b = 0; buf && b < n->size / BLOCK_BYTES; b++) {
        uint64_t got = stamp_read(buf + b * BLOCK_BYTES);

        if (value_fits(g, b, s->values[b], got))
            continue;
        printf("snapshot %s: block %" PRIu64 " is %#" PRIx64 ", was %#x\n", s->name, b, got, s->values[b].seq);
        test_case_bad++;
        return;
    }
}

static void check_snapshots(const Guest *g, BlockNode *n, guint cut)
{
    Snapshot *list = NULL;
    unsigned count = 0;

    CHECK(ok(node_snapshots(n, &list, &count)));
    for (guint i = 0; i < g->saved->len; i++) {
        const Saved *s = &g_array_index(g->saved, Saved, i);
        bool there = false;

        for (unsigned k = 0; k < count; k++)
            there |= !strcmp(list[k].name, s->name);
        if ((s->made <= cut && s->unmaking >= cut && !there) || ((s->begun > cut || s->unmade <= cut) && there)) {
            printf("snapshot %s is %s\n", s->name, there ? "there" : "gone");
            test_case_bad++;
        }
    }
    for (unsigned k = 0; k < count; k++) {
        const Saved *s = find_saved(g, list[k].name);

        CHECK(s != NULL);
        if (s)
            check_snapshot(g, n, s);
    }
    snapshots_free(list, count);
}

/* ---- an image after a crash */

static Rec *rec_of(BlockGraph *graph, const uint8_t *bytes, size_t len)
{
    Rec *r = rec_new(graph, "crashed", false);

    g_byte_array_append(r->mem, bytes, len);
    r->node.size = len;
    return r;
}

static BlockNode *open_crashed(const Guest *g, Rec *r, unsigned flags)
{
    g_autofree char *text = guest_options(g);

    return qcow2_on(g->g, r, text, flags);
}

static bool is_dirty(const Rec *r)
{
    return r->mem->len >= 104 && r->mem->data[7] >= 3 && r->mem->data[79] & QCOW2_INCOMPAT_DIRTY;
}

static void print_line(void *opaque, const char *line)
{
    printf("  %s\n", line);
}

static void check_node(BlockNode *n, bool leaks_allowed)
{
    CheckResult r = { 0 };
    int ret = node_check(n, &r, 0);

    if (!ret && !r.corruptions && !r.errors && (leaks_allowed || !r.leaks))
        return;
    test_case_bad++;
    r = (CheckResult){ .found = print_line };
    ret = node_check(n, &r, 0);
    printf("check: %d, %d corruptions, %d leaks, %d errors\n", ret, (int)r.corruptions, (int)r.leaks, (int)r.errors);
}

/* Mended, it has no leaks either, and can be worked with. */
static void check_mended(const Guest *g, Rec *r, guint cut)
{
    BlockNode *n = open_crashed(g, r, OPEN_RW);
    CheckResult c = { 0 };
    uint8_t block[BLOCK_BYTES];
    Disk *d;

    if (!n)
        return;
    CHECK_EQ(node_check(n, &c, FIX_LEAKS | FIX_ERRORS), 0);
    check_node(n, false);
    check_blocks(g, n, cut);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "after", &d)));
    for (uint64_t b = 0; d && b < n->size / BLOCK_BYTES; b += 37) {
        stamp_fill(block, b, g->next_seq + 1);
        CHECK_EQ(disk_write(d, b * BLOCK_BYTES, &IOV_BUF(block, BLOCK_BYTES), 0), 0);
    }
    disk_free(d);
    check_node(n, true);        /* counts of clusters behind the end of the file, which no check looks at, are leaks now */
    node_unref(n);
}

static void check_crashed(const Guest *g, Rec *r, guint cut, bool mend)
{
    BlockNode *n;

    CHECK_EQ(check_image(r->mem, false).corruptions, 0);
    if (is_dirty(r)) {
        node_unref(open_crashed(g, r, OPEN_RW));
        CHECK(!is_dirty(r));
        CHECK_EQ(check_image(r->mem, false).corruptions, 0);
    }
    n = open_crashed(g, r, 0);
    CHECK(n != NULL);
    if (n) {
        check_node(n, true);
        check_blocks(g, n, cut);
        if (g->setup->snapshots)
            check_snapshots(g, n, cut);
    }
    node_unref(n);
    if (mend && !test_case_bad)
        check_mended(g, r, cut);
}

/* ---- QEMU's word */

typedef struct Peer {
    char *program, *folder, *path, *base;       /* program NULL: not there */
    unsigned asked;
} Peer;

static int run_peer(const Peer *p, const char *repair)
{
    const char *with[] = { p->program, "check", "-q", "-f", "qcow2", "-r", repair, p->path, NULL };
    const char *without[] = { p->program, "check", "-q", "-f", "qcow2", p->path, NULL };
    int status = -1;

    if (!g_spawn_sync(NULL, (char **)(repair ? with : without), NULL, G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                      NULL, NULL, NULL, NULL, &status, NULL))
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* 0: fine; 3: leaks. */
static void ask_peer(Peer *p, const Guest *g, const Rec *r)
{
    int status;

    if (!p->program || !g_file_set_contents(p->path, (const char *)r->mem->data, r->mem->len, NULL))
        return;
    if (g->base)
        g_file_set_contents(p->base, (const char *)g->base->mem->data, g->base->mem->len, NULL);
    p->asked++;
    if (is_dirty(r))
        CHECK_EQ(run_peer(p, "all"), 0);
    status = run_peer(p, NULL);
    if (status != 0 && status != 3) {
        printf("qemu-img check: %d\n", status);
        test_case_bad++;
    }
}

static void peer_begin(Peer *p)
{
    const char *where = g_file_test("/dev/shm", G_FILE_TEST_IS_DIR) ? "/dev/shm" : g_get_tmp_dir();

    *p = (Peer){ .program = g_find_program_in_path("qemu-img") };
    p->folder = g_strdup_printf("%s/lyre-crash-XXXXXX", where);
    if (!g_mkdtemp(p->folder))
        g_clear_pointer(&p->program, g_free);
    p->path = g_build_filename(p->folder, "image", NULL);
    p->base = g_build_filename(p->folder, "base", NULL);        /* as the images name it */
}

static void peer_end(Peer *p)
{
    unlink(p->path);
    unlink(p->base);
    rmdir(p->folder);
    g_free(p->program);
    g_free(p->folder);
    g_free(p->path);
    g_free(p->base);
}

/* ---- every point */

typedef enum Loss { LOSS_NONE, LOSS_ALL, LOSS_HALF, LOSS_TORN, LOSS_ONE, LOSS_ALL_BUT_ONE, LOSSES } Loss;
static const char *const loss_names[] = { "none", "all", "half", "torn", "one", "all but one" };

/* A write of which some sectors arrived. */
static void apply_torn(GByteArray *mem, const RecOp *o, unsigned *seed)
{
    for (uint64_t at = 0, n; at < o->len; at += n) {
        n = MIN(512 - (o->off + at) % 512, o->len - at);
        if (rand_r(seed) % 2)
            rec_apply(mem, &(RecOp){ o->op, o->off + at, n, o->data ? o->data + at : NULL });
    }
}

/* What was not flushed at the point: [from, cut) of the log. */
static void apply_rest(GByteArray *mem, const GArray *log, guint from, guint cut, Loss loss, unsigned *seed)
{
    guint one = cut > from ? from + rand_r(seed) % (cut - from) : 0;

    for (guint i = from; i < cut; i++) {
        const RecOp *o = &g_array_index(log, RecOp, i);
        bool keep = loss == LOSS_NONE || (loss == LOSS_ONE && i != one) || (loss == LOSS_ALL_BUT_ONE && i == one) ||
                    ((loss == LOSS_HALF || loss == LOSS_TORN) && rand_r(seed) % 2);

        if (loss == LOSS_TORN && o->len > 512 && (o->op == REC_WRITE || o->op == REC_ZERO))
            apply_torn(mem, o, seed);
        else if (keep)
            rec_apply(mem, o);
    }
}

typedef struct Run {
    uint64_t points, most;
    unsigned seed, sample, stride;
    Peer peer;
} Run;

static void one_point(Run *run, Guest *g, const GByteArray *stable, guint from, guint cut, Loss loss)
{
    unsigned seed = run->seed * 2654435761u + cut * 64 + loss;
    Rec *r = rec_of(g->g, stable->data, stable->len);
    int bad = test_case_bad;

    apply_rest(r->mem, g->file->log, from, cut, loss, &seed);
    r->node.size = r->mem->len;
    if (run->points % run->sample == 0)
        ask_peer(&run->peer, g, r);
    check_crashed(g, r, cut, run->points % 16 == 0);
    run->points++;
    if (bad != test_case_bad)
        printf("cut at %u of %u, flushed up to %u, lost: %s\n", cut, g->file->log->len, from, loss_names[loss]);
    node_unref(&r->node);
}

static void all_points(Run *run, Guest *g, GByteArray *stable)
{
    const GArray *log = g->file->log;
    guint applied = 0, safe = 0;

    for (guint cut = 0; cut <= log->len && test_case_bad < 3; cut++) {
        const RecOp *last = cut ? &g_array_index(log, RecOp, cut - 1) : NULL;

        if (last && last->op == REC_FLUSH)
            safe = MAX(safe, (guint)last->off);
        for (; applied < safe; applied++)
            rec_apply(stable, &g_array_index(log, RecOp, applied));
        if (cut % run->stride && cut != log->len)
            continue;
        for (Loss loss = 0; loss < LOSSES; loss++)
            if (loss < 2 || cut - safe > 1)
                one_point(run, g, stable, safe, cut, loss);
    }
}

static void run_setup(Run *run, BlockGraph *graph, const Setup *s, unsigned steps)
{
    GByteArray *stable = g_byte_array_new();
    int bad = test_case_bad;
    Guest g;

    guest_init(&g, graph, s, run->seed);
    g_byte_array_append(stable, g.file->mem->data, g.file->mem->len);
    g.file->record = true;
    guest_open(&g, &g.file->node);
    for (unsigned i = 0; i < steps && !test_case_bad; i++)
        guest_step(&g);
    guest_close(&g);
    g.file->record = false;
    if (bad == test_case_bad)
        all_points(run, &g, stable);
    if (bad != test_case_bad)
        printf("  in %s%s%s, seed %u\n", s->create, s->open ? " with " : "", s->open ? s->open : "", run->seed);
    g_byte_array_free(stable, TRUE);
    guest_clear(&g);
}

#define TIGHT "discard=unmap,l2-cache-size=1024,l2-cache-entry-size=512,refcount-cache-size=1024"

static const Setup setups[] = {
    { "cluster_size=512", NULL, 512, 60 << 10, .packs = true },
    { "cluster_size=512,refcount_bits=64", TIGHT, 512, 60 << 10, .packs = true, .resizes = true },
    { "cluster_size=512", NULL, 512, 40 << 10, .snapshots = true, .packs = true },
    { "cluster_size=1k,compat=0.10", NULL, 1024, 100 << 10, .packs = true, .snapshots = true },
    { "cluster_size=4k", NULL, 4096, 300 << 10, .backing = true, .packs = true },
    { "cluster_size=4k,refcount_bits=8", NULL, 4096, 200 << 10, .packs = true, .snapshots = true },
    { "cluster_size=512,refcount_bits=1", TIGHT, 512, 60 << 10, .packs = true },
    { "cluster_size=4k,lazy_refcounts=on", NULL, 4096, 300 << 10, .packs = true },
    { "cluster_size=512,lazy_refcounts=on", TIGHT, 512, 60 << 10, .backing = true, .packs = true },
    { "cluster_size=4k,lazy_refcounts=on", NULL, 4096, 200 << 10, .snapshots = true },
    { "cluster_size=16k,extended_l2=on", NULL, 16384, 600 << 10, .backing = true, .packs = true },
    { "cluster_size=16k,extended_l2=on,lazy_refcounts=on", NULL, 16384, 400 << 10, .resizes = true },
    { "cluster_size=4k,preallocation=metadata", NULL, 4096, 200 << 10 },
    { "cluster_size=1k,refcount_bits=32,compression_type=zstd", NULL, 1024, 100 << 10, .packs = true, .resizes = true },
};

static Run the_run;

static void test_crashes(BlockGraph *graph)
{
    Run *run = &the_run;

    peer_begin(&run->peer);
    do {
        for (size_t i = 0; i < G_N_ELEMENTS(setups) && test_case_bad < 3; i++)
            run_setup(run, graph, &setups[i], 9);
        run->seed++;
    } while (run->points < run->most && !test_case_bad);
    if (!run->peer.program)
        printf("qemu-img is not installed: nobody else has looked\n");
    peer_end(&run->peer);
}

/* ---- the cluster that is used again too early (QEMU 7.2 and 11.1 with lazy refcounts) */

/* Write A, flush, drop it, write B elsewhere, which takes A's cluster: A's place must not show B. */
static void reuse(Run *run, BlockGraph *graph, const Setup *s, bool discard)
{
    GByteArray *stable = g_byte_array_new();
    Guest g;

    guest_init(&g, graph, s, 1);
    g_byte_array_append(stable, g.file->mem->data, g.file->mem->len);
    g.file->record = true;
    guest_open(&g, &g.file->node);
    guest_write(&g, 0, 128, 0);
    guest_flush(&g);
    if (discard)
        guest_discard(&g, 0, 128);
    else
        guest_zero(&g, 0, 128, REQ_UNMAP);
    guest_write(&g, 256, 128, 0);
    guest_flush(&g);
    guest_close(&g);
    g.file->record = false;
    all_points(run, &g, stable);
    g_byte_array_free(stable, TRUE);
    guest_clear(&g);
}

static void test_reuse(BlockGraph *graph)
{
    static const Setup both[] = { { "", NULL, 65536, 1 << 20 }, { "lazy_refcounts=on", NULL, 65536, 1 << 20 } };
    Run run = { .seed = 1, .sample = UINT_MAX, .stride = 1 };

    for (unsigned i = 0; i < 4; i++)
        reuse(&run, graph, &both[i / 2], i % 2);
}

/* ---- faults */

/* Work with one fault in it; returns how many requests there were. */
static unsigned run_fault(BlockGraph *graph, const Setup *s, unsigned seed, unsigned at, FaultKind kind, unsigned stay)
{
    Guest g;
    Fault *f;
    Rec *r;
    unsigned requests;
    int bad = test_case_bad;
    GByteArray *was;

    guest_init(&g, graph, s, seed);
    f = (Fault *)open_json(graph, json_pack("{s:s,s:s,s:s}", "driver", "fault", "file", "file", "node-name", "fault"), OPEN_RW);
    guest_open(&g, &f->node);
    f->requests = 0;
    f->at = at;
    f->kind = kind;
    f->stay = stay;
    g.may_fail = at != 0;
    for (unsigned i = 0; i < 4; i++) {
        guest_step(&g);
        g.blocks = g.n->size / BLOCK_BYTES;     /* a resize that failed may have come half way */
    }
    guest_flush(&g);
    guest_close(&g);
    requests = f->requests;
    node_unref(&f->node);
    g.failed += at > requests;
    was = g.file->mem;
    r = rec_of(graph, was->data, was->len);
    for (guint i = 0; i < g.sizes->len; i++)    /* no crash: whichever came last */
        g_array_index(g.sizes, Sizing, i).done = i + 1 == g.sizes->len ? G_MAXUINT : 0;
    check_crashed(&g, r, G_MAXUINT - 1, at % 8 == 0);
    if (bad != test_case_bad)
        printf("request %u of %u failed, kind %d, %u more\n", at, requests, kind, stay);
    node_unref(&r->node);
    guest_clear(&g);
    return requests;
}

static void test_faults(BlockGraph *graph)
{
    unsigned budget = the_run.most >= 10000 ? 20000 : 500, each = budget / G_N_ELEMENTS(setups);

    for (size_t i = 0; i < G_N_ELEMENTS(setups) && test_case_bad < 3; i++) {
        unsigned requests = run_fault(graph, &setups[i], the_run.seed, 0, 0, 0), step = MAX(1, requests / each);

        for (unsigned at = 1 + the_run.seed % step; at <= requests && test_case_bad < 3; at += step)
            run_fault(graph, &setups[i], the_run.seed, at, at % FAULT_KINDS, at % 5 == 0 ? 3 : 0);
        if (test_case_bad)
            printf("  in %s\n", setups[i].create);
    }
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    the_run.most = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
    the_run.seed = argc > 2 ? (unsigned)atoi(argv[2]) : 1;
    the_run.stride = the_run.most ? 1 : 17;
    the_run.sample = the_run.most ? 997 : 211;
    RUN_IN_GRAPH(test_reuse);
    RUN_IN_GRAPH(test_crashes);
    printf("%" PRIu64 " crashes, %u of them seen by qemu-img\n", the_run.points, the_run.peer.asked);
    fflush(stderr);
    if (!freopen("/dev/null", "w", stderr))     /* the driver's notes about each fault */
        return 1;
    RUN_IN_GRAPH(test_faults);
    return test_end();
}
