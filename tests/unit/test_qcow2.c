/* SPDX-License-Identifier: MIT */
/*
 * qcow2 against a model: requests of any kind side by side, over cluster sizes,
 * refcount widths, versions, subclusters, compression, data files and backing
 * files; after each round the image is closed, its refcounts are counted by a
 * checker that knows nothing of the driver, and it is opened again. And against
 * crashes: the recorded stream of writes and flushes is cut anywhere, unflushed
 * writes are dropped at random, and there must be nothing worse than leaks, with
 * every flushed byte in its place and no other guest block's in any.
 */
#include "tests/unit/qcow2-rig.h"

extern const BlockDriver block_raw, block_qcow2;
const BlockDriver *const block_set[] = { &block_qcow2, &block_raw, &block_rec, NULL };

enum { BLOCK = 512, LANES = 4 };

/* A guest block is zero, or a stamp: its own number and when it was written, 64 times. */
typedef struct Write { uint32_t seq; guint at; } Write;     /* at: log position when it began */
typedef struct Cell {
    uint32_t seq;               /* 0: zeroes (or the backing file's, BASE) */
    bool any;                   /* discarded: this, zeroes, or anything it once was */
} Cell;
enum { BASE = 1 };

typedef struct Model {
    BlockGraph *g;
    Rec *file;
    BlockNode *n;
    Disk *d;
    uint64_t size;
    unsigned seed;
    bool backing, compressible, discards;
    uint64_t cluster;
    uint64_t chaos;             /* blocks at the end of the disk that belong to nobody */
    Cell *now;                  /* of each block */
    uint32_t next_seq;
    /* For crashes: what happened to each block, and when lanes have flushed. */
    bool record;
    GArray **history;           /* Write, of each block */
    GArray *flushes;            /* Flush */
} Model;
typedef struct Flush { guint done_at; unsigned lane; uint32_t *seqs; } Flush;

static uint64_t stamp(uint64_t block, uint32_t seq)
{
    return seq ? block << 32 | seq : 0;
}

/* Every other word is noise, so that packing makes pieces of all sizes. */
static void fill(uint8_t *p, uint64_t block, uint32_t seq)
{
    uint64_t v = stamp(block, seq), noise = v;
    for (unsigned i = 0; i < BLOCK / 8; i++) {
        noise = noise * UINT64_C(6364136223846793005) + (v ? 1442695040888963407u : 0);
        memcpy(p + i * 8, i % 2 ? &noise : &v, 8);
    }
}

/* The block's stamp; UINT64_MAX: torn, or from nowhere. */
static uint64_t stamp_of(const uint8_t *p)
{
    uint8_t want[BLOCK];
    uint64_t v;
    memcpy(&v, p, 8);
    fill(want, v >> 32, v);
    return memcmp(p, want, BLOCK) ? UINT64_MAX : v;
}

typedef struct Lane { Model *m; unsigned id, seed, rounds; uint64_t first, blocks; } Lane;

static unsigned draw(Lane *l, unsigned n)
{
    return n ? rand_r(&l->seed) % n : 0;
}

static void pick(Lane *l, uint64_t *block, uint64_t *n)
{
    uint64_t most = draw(l, 4) ? 16 : 2 * l->m->cluster / BLOCK + 8;
    *n = 1 + draw(l, most);
    *n = MIN(*n, l->blocks);
    *block = l->first + draw(l, l->blocks - *n + 1);
}

static void check_cells(Model *m, uint64_t block, uint64_t n, const uint8_t *buf)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t got = stamp_of(buf + i * BLOCK), want = stamp(block + i, m->now[block + i].seq);
        if (got == want || (m->now[block + i].any && (got == 0 || (got >> 32 == block + i && (uint32_t)got < m->next_seq))))
            continue;
        printf("block %" PRIu64 " is %#" PRIx64 ", want %#" PRIx64 "\n", block + i, got, want);
        test_case_bad++;
        return;
    }
}

static void note(Lane *l, uint64_t block, uint64_t n, uint32_t seq, guint at)
{
    Model *m = l->m;
    for (uint64_t i = 0; m->record && i < n; i++) {
        Write w = { seq, at };
        g_array_append_val(m->history[block + i], w);
    }
}

static void do_read(Lane *l)
{
    uint64_t block, n;
    pick(l, &block, &n);
    g_autofree uint8_t *buf = g_malloc(n * BLOCK);
    CHECK_EQ(disk_read(l->m->d, block * BLOCK, &IOV_BUF(buf, n * BLOCK), 0), 0);
    check_cells(l->m, block, n, buf);
}

static void do_write(Lane *l, bool compressed)
{
    Model *m = l->m;
    uint64_t block, n, per = MAX(m->cluster / BLOCK, 1);
    pick(l, &block, &n);
    if (compressed) {
        block = (block + per - 1) / per * per;
        n = per;
        if (block + n > l->first + l->blocks)
            return;
    }
    guint at = m->file->log->len;
    uint32_t seq = m->next_seq++;
    g_autofree uint8_t *buf = g_malloc(n * BLOCK);
    for (uint64_t i = 0; i < n; i++)
        fill(buf + i * BLOCK, block + i, seq);
    note(l, block, n, seq, at);
    CHECK_EQ(disk_write(m->d, block * BLOCK, &IOV_BUF(buf, n * BLOCK), compressed ? REQ_COMPRESSED : 0), 0);
    for (uint64_t i = 0; i < n; i++)
        m->now[block + i] = (Cell){ seq };
}

static void do_zero(Lane *l)
{
    uint64_t block, n;
    pick(l, &block, &n);
    note(l, block, n, 0, l->m->file->log->len);
    CHECK_EQ(disk_zero(l->m->d, block * BLOCK, n * BLOCK, draw(l, 2) ? REQ_UNMAP : 0), 0);
    for (uint64_t i = 0; i < n; i++)
        l->m->now[block + i] = (Cell){ 0 };
}

static void do_discard(Lane *l)
{
    uint64_t block, n;
    pick(l, &block, &n);
    for (uint64_t i = 0; i < n; i++)
        l->m->now[block + i].any = true;
    note(l, block, n, 0, l->m->file->log->len);
    CHECK_EQ(disk_discard(l->m->d, block * BLOCK, n * BLOCK), 0);
}

static void do_flush(Lane *l)
{
    Model *m = l->m;
    Flush f = { .lane = l->id };
    if (m->record) {
        f.seqs = g_new(uint32_t, l->blocks);
        for (uint64_t i = 0; i < l->blocks; i++)
            f.seqs[i] = m->now[l->first + i].any ? UINT32_MAX : m->now[l->first + i].seq;
    }
    CHECK_EQ(disk_flush(m->d), 0);
    if (m->record) {
        f.done_at = m->file->log->len;
        g_array_append_val(m->flushes, f);
    }
}

/* In the last part of the disk everybody writes everywhere; what is read there must only ever have been there. */
static void do_chaos(Lane *l)
{
    Model *m = l->m;
    Lane all = { .m = m, .seed = l->seed * 31 + 7, .first = m->size / BLOCK - m->chaos, .blocks = m->chaos };
    uint64_t block, n;
    l->seed = rand_r(&l->seed);
    pick(&all, &block, &n);
    g_autofree uint8_t *buf = g_malloc(n * BLOCK);
    switch (draw(l, 4)) {
    case 0:
        CHECK_EQ(disk_zero(m->d, block * BLOCK, n * BLOCK, draw(l, 2) ? REQ_UNMAP : 0), 0);
        break;
    case 1:
        CHECK_EQ(disk_discard(m->d, block * BLOCK, n * BLOCK), 0);
        break;
    case 2:
        for (uint64_t i = 0; i < n; i++)
            fill(buf + i * BLOCK, block + i, m->next_seq);
        m->next_seq++;
        CHECK_EQ(disk_write(m->d, block * BLOCK, &IOV_BUF(buf, n * BLOCK), 0), 0);
        break;
    default:
        CHECK_EQ(disk_read(m->d, block * BLOCK, &IOV_BUF(buf, n * BLOCK), 0), 0);
        check_cells(m, block, n, buf);
    }
}

static int lane_run(void *arg)
{
    Lane *l = arg;
    Model *m = l->m;
    for (unsigned i = 0; i < l->rounds && test_case_bad < 5; i++) {
        switch (draw(l, 12)) {
        case 0: case 1: case 2: case 3:
            do_write(l, false);
            break;
        case 4: case 5:
            do_write(l, m->compressible);
            break;
        case 6:
            do_zero(l);
            break;
        case 7:
            if (m->discards)
                do_discard(l);
            break;
        case 8:
            if (!draw(l, 3))
                do_flush(l);
            break;
        case 9:
            if (m->chaos)
                do_chaos(l);
            break;
        default:
            do_read(l);
        }
    }
    return 0;
}

static void run_lanes(Model *m, unsigned rounds)
{
    CoCrowd crowd = { .max = LANES };
    Lane lanes[LANES];
    uint64_t each = (m->size / BLOCK - m->chaos) / LANES;
    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = (Lane){ m, i, m->seed * 100 + i, rounds, i * each, each };
        crowd_start(&crowd, lane_run, &lanes[i]);
    }
    CHECK_EQ(crowd_wait(&crowd), 0);
    m->seed++;
}

static void read_all(Model *m)
{
    g_autofree uint8_t *buf = g_malloc(m->size);
    CHECK_EQ(disk_read(m->d, 0, &IOV_BUF(buf, m->size), 0), 0);
    check_cells(m, 0, m->size / BLOCK, buf);
}

/* ---- configurations */

typedef struct Config {
    const char *create, *open;
    uint64_t cluster, size;
    bool backing, packs, data_file;
    bool full;                  /* every block is written before the storm: tables grow */
} Config;

static Rec *make_backing(BlockGraph *g, uint64_t size)
{
    Rec *b = rec_new(g, "base", true);
    rec_resize_to(b->mem, size);
    for (uint64_t i = 0; i < size / BLOCK; i++) {
        if (i % 7 < 4)
            fill(b->mem->data + i * BLOCK, i, BASE);
    }
    b->node.size = size;
    return b;
}

static void model_open(Model *m, const Config *c, unsigned flags)
{
    g_autofree char *o = g_strdup_printf("%s%s%s%s", c->open ? c->open : "discard=unmap", ",node-name=top",
                                         c->backing ? ",backing=base" : "", c->data_file ? ",data-file=data" : "");
    m->n = qcow2_on(m->g, m->file, o, flags);
    CHECK(m->n != NULL);
    if (m->n)
        CHECK(ok(disk_new(m->n, flags & OPEN_RW ? PERM_CONSISTENT_READ | PERM_WRITE : PERM_CONSISTENT_READ, PERM_ALL, "test", &m->d)));
}

static void model_close(Model *m)
{
    disk_free(m->d);
    node_unref(m->n);
    m->d = NULL;
    m->n = NULL;
}

static void start(Model *m, BlockGraph *g, const Config *c, Rec **base, Rec **data)
{
    *m = (Model){ .g = g, .size = c->size, .seed = 7, .compressible = c->packs, .discards = true, .cluster = c->cluster, .next_seq = 2 };
    m->file = rec_new(g, "file", true);
    m->now = g_new0(Cell, c->size / BLOCK);
    *base = c->backing ? make_backing(g, c->size * 3 / 4 / BLOCK * BLOCK) : NULL;
    *data = c->data_file ? rec_new(g, "data", true) : NULL;
    for (uint64_t i = 0; c->backing && i < (*base)->mem->len / BLOCK; i++)
        m->now[i].seq = i % 7 < 4 ? BASE : 0;
    m->chaos = c->size / BLOCK / 5;
    for (uint64_t i = c->size / BLOCK - m->chaos; i < c->size / BLOCK; i++)
        m->now[i].any = true;
    CHECK(qcow2_make(g, m->file, c->create, c->size, c->backing ? "base" : NULL));
    if (c->data_file)           /* the incompatible bit; no file of the host is made */
        m->file->mem->data[79] |= QCOW2_INCOMPAT_DATA_FILE;
}

static void finish(Model *m, Rec *base, Rec *data)
{
    node_unref(&m->file->node);
    node_unref(base ? &base->node : NULL);
    node_unref(data ? &data->node : NULL);
    g_free(m->now);
}

/* Writes all blocks but the last part's, in long pieces. */
static void fill_disk(Model *m)
{
    uint64_t blocks = m->size / BLOCK - m->chaos, piece = 200;
    g_autofree uint8_t *buf = g_malloc(piece * BLOCK);
    Lane l = { .m = m };
    for (uint64_t b = 0; b < blocks; b += piece) {
        uint64_t n = MIN(piece, blocks - b);
        uint32_t seq = m->next_seq++;
        for (uint64_t i = 0; i < n; i++) {
            fill(buf + i * BLOCK, b + i, seq);
            m->now[b + i] = (Cell){ seq };
        }
        note(&l, b, n, seq, m->file->log->len);
        CHECK_EQ(disk_write(m->d, b * BLOCK, &IOV_BUF(buf, n * BLOCK), 0), 0);
    }
}

static void storm(BlockGraph *g, const Config *c, unsigned rounds)
{
    Model m;
    Rec *base, *data;
    int bad = test_case_bad;
    start(&m, g, c, &base, &data);
    for (int round = 0; round < 3 && bad == test_case_bad; round++) {
        model_open(&m, c, OPEN_RW);
        if (!m.d)
            break;
        if (c->full && !round)
            fill_disk(&m);
        run_lanes(&m, rounds);
        read_all(&m);
        model_close(&m);
        Checked k = check_image(m.file->mem, true);
        CHECK_EQ(k.corruptions, 0);
        CHECK_EQ(k.leaks, 0);
        model_open(&m, c, 0);
        read_all(&m);
        model_close(&m);
    }
    if (bad != test_case_bad)
        printf("  in %s, %s\n", c->create, c->open ? c->open : "");
    finish(&m, base, data);
}

static const Config plain[] = {
    { "cluster_size=512", NULL, 512, 200 << 10, .packs = true },
    { "cluster_size=512,refcount_bits=64", NULL, 512, 200 << 10 },
    { "cluster_size=512,refcount_bits=1", NULL, 512, 200 << 10, .packs = true },
    { "cluster_size=1k,refcount_bits=2,compat=1.1", NULL, 1024, 300 << 10, .packs = true },
    { "cluster_size=4k,refcount_bits=4", NULL, 4096, 1 << 20, .packs = true },
    { "cluster_size=4k,refcount_bits=8,compression_type=zstd", NULL, 4096, 1 << 20, .packs = true },
    { "cluster_size=4k,compat=0.10", NULL, 4096, 1 << 20, .packs = true },
    { "cluster_size=16k,refcount_bits=32,extended_l2=on", NULL, 16384, 2 << 20, .packs = true },
    { "cluster_size=64k", NULL, 65536, 4 << 20, .packs = true },
    { "cluster_size=64k,extended_l2=on,compression_type=zstd", NULL, 65536, 4 << 20, .packs = true },
    { "cluster_size=64k,preallocation=metadata", NULL, 65536, 4 << 20 },
    { "cluster_size=64k,extended_l2=on,preallocation=metadata", NULL, 65536, 4 << 20 },
    { "cluster_size=2M", NULL, 2 << 20, 10 << 20 },
    { "cluster_size=4k,lazy_refcounts=on", NULL, 4096, 1 << 20, .packs = true },
    { "cluster_size=512,refcount_bits=64", NULL, 512, 5 << 20, .packs = true, .full = true },
    { "cluster_size=512,refcount_bits=64", "discard=unmap,l2-cache-size=1024,l2-cache-entry-size=512,refcount-cache-size=1024", 512, 5 << 20, .full = true },
    /* caches so small that they are written and read all the time */
    { "cluster_size=512", "discard=unmap,l2-cache-size=1024,l2-cache-entry-size=512,refcount-cache-size=1024", 512, 200 << 10, .packs = true },
    { "cluster_size=1k,refcount_bits=64", "discard=unmap,l2-cache-size=1024,refcount-cache-size=2048,overlap-check=all", 1024, 300 << 10, .packs = true },
};

static void test_plain(BlockGraph *g)
{
    for (size_t i = 0; i < G_N_ELEMENTS(plain); i++)
        storm(g, &plain[i], 150);
}

static const Config backed[] = {
    { "cluster_size=512", NULL, 512, 200 << 10, .backing = true, .packs = true },
    { "cluster_size=4k", NULL, 4096, 1 << 20, .backing = true, .packs = true },
    { "cluster_size=4k,compat=0.10", NULL, 4096, 1 << 20, .backing = true, .packs = true },
    { "cluster_size=64k,extended_l2=on", NULL, 65536, 4 << 20, .backing = true, .packs = true },
    { "cluster_size=16k,extended_l2=on,preallocation=metadata", NULL, 16384, 2 << 20, .backing = true, .packs = true },
    { "cluster_size=64k,lazy_refcounts=on", NULL, 65536, 4 << 20, .backing = true, .packs = true },
    { "cluster_size=4k", NULL, 4096, 1 << 20, .data_file = true },
    { "cluster_size=16k,extended_l2=on", NULL, 16384, 2 << 20, .backing = true, .data_file = true },
};

static void test_backed(BlockGraph *g)
{
    for (size_t i = 0; i < G_N_ELEMENTS(backed); i++)
        storm(g, &backed[i], 150);
}

/* ---- crashes */

static void check_crash(Model *m, const GByteArray *base, guint cut, const Config *c)
{
    unsigned keep = (unsigned[]){ 0, 64, 128, 200, 255 }[rand_r(&m->seed) % 5];
    Rec *was = m->file, *now = rec_new(m->g, "crashed", false);
    GByteArray *mem = rec_crash(was, base, cut, keep, &m->seed);
    g_byte_array_free(now->mem, TRUE);
    now->mem = mem;
    now->node.size = mem->len;
    Checked k = check_image(mem, false);
    if (k.corruptions) {
        printf("cut at %u, keeping %u of 256: ", cut, keep);
        check_image(mem, true);
    }
    CHECK_EQ(k.corruptions, 0);
    m->file = now;
    model_open(m, c, 0);
    m->file = was;
    g_autofree uint8_t *buf = g_malloc(m->size);
    CHECK_EQ(disk_read(m->d, 0, &IOV_BUF(buf, m->size), 0), 0);
    uint64_t each = (m->size / BLOCK - m->chaos) / LANES;
    for (uint64_t b = 0; b < m->size / BLOCK && test_case_bad < 5; b++) {
        unsigned lane = b / each;
        const Flush *last = NULL;
        for (guint i = 0; i < m->flushes->len; i++) {
            const Flush *f = &g_array_index(m->flushes, Flush, i);
            if (f->lane == lane && f->done_at <= cut)
                last = f;
        }
        uint64_t got = stamp_of(buf + b * BLOCK);
        if (lane >= LANES) {
            CHECK(got == 0 || (got >> 32 == b && (uint32_t)got < m->next_seq));
            continue;
        }
        uint32_t seq = got, from = last ? last->seqs[b - lane * each] : c->backing && b < m->size * 3 / 4 / BLOCK && b % 7 < 4 ? BASE : 0;
        bool good = got == stamp(b, from) || from == UINT32_MAX;
        bool after = from <= BASE;
        for (guint i = 0; !good && i < m->history[b]->len; i++) {
            Write w = g_array_index(m->history[b], Write, i);
            after = after || w.seq == from;
            good = w.at <= cut && got == stamp(b, w.seq) && (after || !w.seq);
        }
        if (from == UINT32_MAX)
            good = got == 0 || (got >> 32 == b && seq < m->next_seq);
        if (!good) {
            printf("cut at %u of %u, keeping %u of 256: block %" PRIu64 " is %#" PRIx64 ", flushed as %#" PRIx64 "\n",
                   cut, was->log->len, keep, b, got, stamp(b, from));
            test_case_bad++;
        }
    }
    model_close(m);
    node_unref(&now->node);
}

static void crash_storm(BlockGraph *g, const Config *c, unsigned rounds, unsigned cuts)
{
    Model m;
    Rec *base, *data;
    int bad = test_case_bad;
    start(&m, g, c, &base, &data);
    GByteArray *begin = g_byte_array_new();
    m.record = m.file->record = true;
    m.flushes = g_array_new(FALSE, FALSE, sizeof(Flush));
    m.history = g_new(GArray *, m.size / BLOCK);
    for (uint64_t i = 0; i < m.size / BLOCK; i++)
        m.history[i] = g_array_new(FALSE, FALSE, sizeof(Write));
    g_byte_array_append(begin, m.file->mem->data, m.file->mem->len);
    model_open(&m, c, OPEN_RW);
    if (c->full)
        fill_disk(&m);
    run_lanes(&m, rounds);
    model_close(&m);
    guint n = m.file->log->len;
    for (unsigned i = 0; i < cuts && test_case_bad < 5; i++) {
        guint cut = rand_r(&m.seed) % (n + 1);
        /* Half of them just before a flush ends: that is where most is at stake. */
        while (i % 2 && cut < n && g_array_index(m.file->log, RecOp, cut).op != REC_FLUSH)
            cut++;
        check_crash(&m, begin, i ? cut : n, c);
    }
    if (bad != test_case_bad)
        printf("  in %s, %s\n", c->create, c->open ? c->open : "");
    for (uint64_t i = 0; i < m.size / BLOCK; i++)
        g_array_free(m.history[i], TRUE);
    g_free(m.history);
    for (guint i = 0; i < m.flushes->len; i++)
        g_free(g_array_index(m.flushes, Flush, i).seqs);
    g_array_free(m.flushes, TRUE);
    g_byte_array_free(begin, TRUE);
    finish(&m, base, data);
}

static const Config crashing[] = {
    { "cluster_size=512", NULL, 512, 100 << 10, .packs = true },
    { "cluster_size=512,refcount_bits=64", "discard=unmap,l2-cache-size=1024,l2-cache-entry-size=512,refcount-cache-size=1024", 512, 100 << 10, .packs = true },
    { "cluster_size=1k,compat=0.10", NULL, 1024, 200 << 10, .packs = true },
    { "cluster_size=4k", NULL, 4096, 400 << 10, .packs = true },
    { "cluster_size=4k", NULL, 4096, 400 << 10, .backing = true, .packs = true },
    { "cluster_size=4k,lazy_refcounts=on", NULL, 4096, 400 << 10, .packs = true },
    { "cluster_size=16k,extended_l2=on", NULL, 16384, 800 << 10, .backing = true, .packs = true },
    { "cluster_size=64k,lazy_refcounts=on", NULL, 65536, 1 << 20, .backing = true },
    { "cluster_size=512,refcount_bits=64", NULL, 512, 3 << 20, .full = true },
};

static void test_crash(BlockGraph *g)
{
    const char *more = getenv("LYRE_CRASHES");
    for (size_t i = 0; i < G_N_ELEMENTS(crashing); i++)
        crash_storm(g, &crashing[i], 100, more ? atoi(more) : 60);
}

int main(void)
{
    RUN_IN_GRAPH(test_plain);
    RUN_IN_GRAPH(test_backed);
    RUN_IN_GRAPH(test_crash);
    return test_end();
}
