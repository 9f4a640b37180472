/* SPDX-License-Identifier: MIT */
/*
 * What tests of qcow2 need: "rec", a protocol in memory that remembers every
 * write and flush, so that the file can be built as a crash would leave it; and
 * a small checker of its own that counts who owns which cluster.
 *
 * A test program that includes this defines block_set itself.
 */
#ifndef TESTS_UNIT_QCOW2_RIG_H
#define TESTS_UNIT_QCOW2_RIG_H

#include <endian.h>
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/qcow2.h"
#include "tests/unit/test.h"

/* ---- the recording file */

typedef struct RecOp {
    enum { REC_WRITE, REC_ZERO, REC_SIZE, REC_FLUSH } op;
    uint64_t off, len;          /* SIZE: len; FLUSH: off is how many operations it makes stable */
    uint8_t *data;
} RecOp;

typedef struct Rec {
    BlockNode node;
    bool yields, record;
    GByteArray *mem;
    GArray *log;                /* RecOp */
    unsigned seed, reads, writes, flushes;
    int fail_in;                /* this many writes from now one fails; 0: none */
    uint64_t gate;              /* the next write there waits until it is 0 again */
    bool at_gate;
} Rec;

static const Field rec_fields[] = { PROP(Rec, yields), PROP(Rec, record), {0} };

static Err *rec_open(BlockNode *n)
{
    Rec *r = (Rec *)n;
    r->mem = g_byte_array_new();
    r->log = g_array_new(FALSE, FALSE, sizeof(RecOp));
    r->seed = 1;
    n->size = 0;
    n->zero_flags = REQ_UNMAP;
    return NULL;
}

static void rec_forget(Rec *r)
{
    for (guint i = 0; i < r->log->len; i++)
        g_free(g_array_index(r->log, RecOp, i).data);
    g_array_set_size(r->log, 0);
}

static void rec_close(BlockNode *n)
{
    Rec *r = (Rec *)n;
    rec_forget(r);
    g_array_free(r->log, TRUE);
    g_byte_array_free(r->mem, TRUE);
}

static void rec_pause(Rec *r)
{
    int turns = r->yields ? rand_r(&r->seed) % 4 : 0;
    if (r->yields && rand_r(&r->seed) % 24 == 0)
        turns = 60;             /* long enough for the others to free, flush and take again */
    while (turns-- > 0)
        co_pause();
}

static void rec_resize_to(GByteArray *mem, uint64_t len)
{
    guint was = mem->len;
    g_byte_array_set_size(mem, len);
    if (len > was)
        memset(mem->data + was, 0, len - was);
}

/* What an operation does to the bytes. */
static void rec_apply(GByteArray *mem, const RecOp *o)
{
    if (o->op == REC_FLUSH)
        return;
    if (o->op == REC_SIZE) {
        rec_resize_to(mem, o->len);
        return;
    }
    if (o->off + o->len > mem->len)
        rec_resize_to(mem, o->off + o->len);
    if (o->op == REC_WRITE)
        memcpy(mem->data + o->off, o->data, o->len);
    else
        memset(mem->data + o->off, 0, o->len);
}

static void rec_note(Rec *r, RecOp o)
{
    rec_apply(r->mem, &o);
    r->node.size = r->mem->len;
    if (r->record)
        g_array_append_val(r->log, o);
    else
        g_free(o.data);
}

static int rec_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Rec *r = (Rec *)n;
    rec_pause(r);
    r->reads++;
    if (off + q->len > r->mem->len)
        return -EIO;
    iov_write(q, 0, r->mem->data + off, q->len);
    return 0;
}

static int rec_failing(Rec *r)
{
    return r->fail_in && --r->fail_in == 0 ? -ENOSPC : 0;
}

static int rec_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Rec *r = (Rec *)n;
    RecOp o = { REC_WRITE, off, q->len, g_malloc(q->len) };
    rec_pause(r);
    r->writes++;
    int ret = rec_failing(r);
    if (ret || off + q->len > 256u << 20) {
        g_free(o.data);
        return ret ? ret : -EFBIG;
    }
    iov_read(q, 0, o.data, q->len);
    if (r->gate && off <= r->gate && r->gate - off < q->len && !r->at_gate) {
        r->at_gate = true;
        while (r->gate)
            co_pause();
        r->at_gate = false;
    }
    rec_note(r, o);
    return 0;
}

static int rec_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Rec *r = (Rec *)n;
    rec_pause(r);
    rec_note(r, (RecOp){ REC_ZERO, off, len, NULL });
    return 0;
}

/* Once the driver gives a cluster's bytes away, they may be anything. */
static int rec_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    Rec *r = (Rec *)n;
    RecOp o = { REC_WRITE, off, len, g_malloc(len) };
    memset(o.data, 0xdd, len);
    rec_note(r, o);
    return 0;
}

static int rec_flush(BlockNode *n)
{
    Rec *r = (Rec *)n;
    uint64_t covers = r->log->len;
    r->flushes++;
    rec_pause(r);
    if (r->record) {
        RecOp o = { REC_FLUSH, covers, 0, NULL };
        g_array_append_val(r->log, o);
    }
    return 0;
}

static Err *rec_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    if (len > 256u << 20)
        return err(ERR_INVALID, "too long for this test");
    rec_note((Rec *)n, (RecOp){ REC_SIZE, 0, len, NULL });
    return NULL;
}

BLOCK(rec) = {
    .name = "rec", .doc = "memory that remembers, for tests", .kind = DRIVER_PROTOCOL, .size = sizeof(Rec),
    .fields = rec_fields, .grows = true, .open = rec_open, .close = rec_close, .read = rec_read, .write = rec_write,
    .zero = rec_zero, .discard = rec_discard, .flush = rec_flush, .resize = rec_resize,
};

/*
 * The file after a crash at operation `cut`: what was flushed, and of the rest
 * each with a chance of `keep` in 256, in any order.
 */
static inline GByteArray *rec_crash(const Rec *r, const GByteArray *base, guint cut, unsigned keep, unsigned *seed)
{
    GByteArray *mem = g_byte_array_new();
    guint stable = 0;
    g_byte_array_append(mem, base->data, base->len);
    for (guint i = 0; i < cut; i++) {
        const RecOp *o = &g_array_index(r->log, RecOp, i);
        if (o->op == REC_FLUSH)
            stable = MAX(stable, o->off);
    }
    for (guint i = 0; i < cut; i++) {
        if (i < stable || (unsigned)rand_r(seed) % 256 < keep)
            rec_apply(mem, &g_array_index(r->log, RecOp, i));
    }
    return mem;
}

/* ---- the checker */

typedef struct Checked { uint64_t corruptions, leaks; } Checked;

static uint64_t be_at(const GByteArray *m, uint64_t off)
{
    uint64_t v = 0;
    if (off + 8 <= m->len)
        memcpy(&v, m->data + off, 8);
    else if (off < m->len)
        memcpy(&v, m->data + off, m->len - off);
    return be64toh(v);
}

static void own(const Qcow2 *s, GArray *owners, uint64_t off, uint64_t len)
{
    if (!len)
        return;
    for (uint64_t c = off >> s->cluster_bits; c <= (off + len - 1) >> s->cluster_bits; c++) {
        while (owners->len <= c) {
            uint32_t zero = 0;
            g_array_append_val(owners, zero);
        }
        g_array_index(owners, uint32_t, c)++;
    }
}

static void own_l2(const Qcow2 *s, const GByteArray *m, GArray *owners, uint64_t table)
{
    for (unsigned i = 0; i < 1u << s->l2_bits; i++) {
        uint64_t e = be_at(m, table + (uint64_t)i * s->l2_entry_bytes), host;
        uint32_t bytes;
        if (e & QCOW2_COMPRESSED) {
            qcow2_packed_range(s, e, &host, &bytes);
            own(s, owners, host, bytes);
        } else if (e & QCOW2_L2_OFFSET && !qcow2_has_data_file(s)) {
            own(s, owners, e & QCOW2_L2_OFFSET, s->cluster_size);
        }
    }
}

/* Owners of clusters by the tables, against refcounts. refcounts false: the dirty bit excuses them. */
static inline Checked check_image(const GByteArray *m, bool say)
{
    Checked out = { 0 };
    Qcow2 s = { 0 };
    memcpy(&s.header, m->data, MIN(sizeof(s.header), m->len));
    qcow2_header_swap(&s.header);
    if (s.header.magic != QCOW2_MAGIC || s.header.cluster_bits > 21 || s.header.cluster_bits < 9)
        return (Checked){ .corruptions = 1000000 };
    if (s.header.version == 2) {
        s.header.refcount_order = 4;
        s.header.incompatible = 0;
    }
    qcow2_derive(&s);
    GArray *owners = g_array_new(FALSE, TRUE, sizeof(uint32_t));
    own(&s, owners, 0, s.cluster_size);
    own(&s, owners, s.header.l1_offset, s.header.l1_size * 8ull);
    own(&s, owners, s.header.refcount_table_offset, (uint64_t)s.header.refcount_table_clusters << s.cluster_bits);
    for (uint32_t i = 0; i < s.header.l1_size; i++) {
        uint64_t table = be_at(m, s.header.l1_offset + i * 8ull) & QCOW2_L1_OFFSET;
        if (table) {
            own(&s, owners, table, s.cluster_size);
            own_l2(&s, m, owners, table);
        }
    }
    uint64_t blocks = (uint64_t)s.header.refcount_table_clusters << (s.cluster_bits - 3);
    for (uint64_t b = 0; b < blocks; b++) {
        uint64_t off = be_at(m, s.header.refcount_table_offset + b * 8);
        if (off)
            own(&s, owners, off, s.cluster_size);
    }
    g_autofree uint8_t *block = g_malloc(s.cluster_size);
    bool excused = s.header.incompatible & QCOW2_INCOMPAT_DIRTY;
    for (uint64_t b = 0; b < blocks && !excused; b++) {
        uint64_t off = be_at(m, s.header.refcount_table_offset + b * 8), per = UINT64_C(1) << s.rb_bits;
        if (!off && b * per >= owners->len)
            continue;
        memset(block, 0, s.cluster_size);
        if (off && off < m->len)
            memcpy(block, m->data + off, MIN(s.cluster_size, m->len - off));
        for (uint64_t i = 0; i < per; i++) {
            uint64_t c = b * per + i, count = qcow2_refcount_peek(&s, block, i);
            uint64_t want = c < owners->len ? g_array_index(owners, uint32_t, c) : 0;
            if (count < want) {
                out.corruptions++;
                if (say)
                    printf("cluster %#" PRIx64 ": refcount %" PRIu64 ", owners %" PRIu64 "\n", c << s.cluster_bits, count, want);
            } else if (count > want) {
                out.leaks++;
            }
        }
    }
    if (!excused && owners->len > blocks << s.rb_bits)
        out.corruptions++;
    g_array_free(owners, TRUE);
    return out;
}

/* ---- what each test needs */

static inline bool ok(Err *e)
{
    if (e)
        printf("%s\n", err_text(e));
    bool good = !e;
    err_free(e);
    return good;
}

static inline BlockNode *open_json(BlockGraph *g, json_t *o, unsigned flags)
{
    BlockNode *n = NULL;
    CHECK(ok(node_open(g, o, flags, &n)));
    json_decref(o);
    return n;
}

/* An empty recording file; the hold is the caller's. */
static inline Rec *rec_new(BlockGraph *g, const char *name, bool yields)
{
    return (Rec *)open_json(g, json_pack("{s:s,s:s,s:b,s:b}", "driver", "rec", "node-name", name, "yields", yields, "record", 0), OPEN_RW);
}

static inline BlockNode *qcow2_on(BlockGraph *g, Rec *file, const char *options, unsigned flags)
{
    json_t *o = NULL;
    CHECK(ok(options_from_keyval(options, &o)));
    json_object_set_new(o, "driver", json_string("qcow2"));
    json_object_set_new(o, "file", json_string(node_name(&file->node)));
    return open_json(g, o, flags);
}

/* Makes an image in the file by -o's list. */
static inline bool qcow2_make(BlockGraph *g, Rec *file, const char *list, uint64_t size, const char *backing)
{
    extern const BlockDriver block_qcow2;
    Qcow2Create c = { 0 };
    CreateOptions o = { .filename = "x", .size = size, .backing = backing, .backing_format = backing ? "raw" : NULL };
    props_init(&c, qcow2_create_fields);
    Err *e = props_parse(&c, qcow2_create_fields, list);
    if (!e)
        e = block_qcow2.create(g, &o, &c, &file->node);
    props_clear(&c, qcow2_create_fields);
    return ok(e);
}

typedef struct Rig { void (*fn)(BlockGraph *); BlockGraph *g; } Rig;
static inline void rig_run(void *arg)
{
    Rig *r = arg;
    r->fn(r->g);
}
static inline void in_graph(void (*fn)(BlockGraph *))
{
    Loop *loop = NULL;
    CHECK(ok(loop_new(2, &loop)));
    Rig r = { fn, graph_new(loop) };
    co_run(loop, rig_run, &r);
    CHECK(graph_next(r.g, NULL) == NULL);
    graph_free(r.g);
    loop_free(loop);
}
#define RUN_IN_GRAPH(fn)                                        \
    do {                                                        \
        test_case_bad = 0;                                      \
        in_graph(fn);                                           \
        if (test_case_bad) {                                    \
            printf("FAILED %s\n", #fn);                         \
            test_failed++;                                      \
        } else {                                                \
            test_passed++;                                      \
        }                                                       \
    } while (0)

#endif
