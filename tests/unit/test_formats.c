/* SPDX-License-Identifier: MIT */
/*
 * Image formats of others over memory: random requests side by side against a
 * model, with reopening in between; then images that lie, of which nothing but
 * errors may come. LYRE_SEED repeats a run.
 */
#include "tests/unit/block-ram.h"

#include "block/format.h"

extern const BlockDriver block_raw, block_vdi, block_vpc, block_vhdx, block_vmdk;
const BlockDriver *const block_set[] = {
    &block_ram, &block_raw, &block_vdi, &block_vpc, &block_vhdx, &block_vmdk, NULL
};

#define MIB (1024 * 1024u)

typedef struct Case {
    const BlockDriver *drv;
    const char *options;        /* as -o has them */
    uint64_t size;
    bool no_check;
} Case;

static const Case cases[] = {
    { &block_vdi, "", 9 * MIB + 1536 },
    { &block_vdi, "static=on", 3 * MIB },
    { &block_vpc, "force_size=on", 9 * MIB + 512, true },
    { &block_vpc, "subformat=fixed,force_size=on", 3 * MIB, true },
    { &block_vpc, "", 5 * MIB, true },
    { &block_vhdx, "block_size=1M", 9 * MIB + 512 },
    { &block_vhdx, "block_size=2M,block_state_zero=off", 9 * MIB },
    { &block_vhdx, "block_size=1M,subformat=fixed", 3 * MIB },
    { &block_vmdk, "", 9 * MIB + 512 },
    { &block_vmdk, "zeroed_grain=on", 9 * MIB },
    { &block_vmdk, "subformat=streamOptimized", 3 * MIB },
};

/* ---- making and opening */

static BlockNode *new_ram(BlockGraph *g, const char *name, bool yields)
{
    g_autofree char *text = g_strdup_printf("driver=ram,node-name=%s,size=48M%s", name, yields ? ",yields=on" : "");

    return open_text(g, text, OPEN_RW | OPEN_RESIZE);
}

static Err *make_image(BlockGraph *g, const Case *c, BlockNode *file, const CreateOptions *more)
{
    g_autofree void *opts = g_malloc0(c->drv->create_size);
    CreateOptions o = more ? *more : (CreateOptions){ .filename = "x.img" };

    o.size = c->size;
    props_init(opts, c->drv->create_fields);
    Err *e = *c->options ? props_parse(opts, c->drv->create_fields, c->options) : NULL;
    if (!e)
        e = c->drv->create(g, &o, opts, file);
    props_clear(opts, c->drv->create_fields);
    return e;
}

static Err *open_image(BlockGraph *g, const char *format, const char *ram, unsigned flags, Disk **out)
{
    g_autofree char *text = g_strdup_printf("driver=%s,file=%s", format, ram);
    json_t *o = keyval(text);
    Err *e = disk_open(g, o, flags, "test", out);

    json_decref(o);
    return e;
}

/* ---- the model */

typedef struct Lane {
    Disk *d;
    uint8_t *model;
    uint64_t from, len;
    unsigned seed;
} Lane;

static unsigned draw(Lane *l, unsigned n)
{
    return rand_r(&l->seed) % n;
}

static int lane_run(void *arg)
{
    Lane *l = arg;

    for (unsigned i = 0; i < 25; i++) {
        uint64_t len = 1 + draw(l, draw(l, 3) ? 9000 : 3 * MIB), off;

        len = MIN(len, l->len);
        off = l->from + draw(l, l->len - len + 1);
        g_autofree uint8_t *buf = g_malloc(len);
        switch (draw(l, 4)) {
        case 0:
            CHECK_EQ(disk_zero(l->d, off, len, draw(l, 2) ? REQ_UNMAP : 0), 0);
            memset(l->model + off, 0, len);
            break;
        case 1:
            CHECK_EQ(disk_read(l->d, off, &IOV_BUF(buf, len), 0), 0);
            CHECK(!memcmp(buf, l->model + off, len));
            break;
        case 2:
            if (!draw(l, 4))
                CHECK_EQ(disk_flush(l->d), 0);
            /* fallthrough */
        default:
            for (uint64_t k = 0; k < len; k++)
                buf[k] = l->seed >> 16 ^ k * 7;
            CHECK_EQ(disk_write(l->d, off, &IOV_BUF(buf, len), 0), 0);
            memcpy(l->model + off, buf, len);
        }
    }
    return 0;
}

static void compare(Disk *d, const uint8_t *model, uint64_t size)
{
    g_autofree uint8_t *buf = g_malloc(size);

    CHECK_EQ(disk_read(d, 0, &IOV_BUF(buf, size), 0), 0);
    CHECK(!memcmp(buf, model, size));
}

/* Extents cover the disk; what is said to be zero is; what is said to lie somewhere does. */
static void check_extents(Disk *d, const uint8_t *model, uint64_t size)
{
    unsigned rounds = 0;
    Extent x;

    for (uint64_t off = 0; off < size; off += x.len) {
        CHECK_EQ(node_extent(disk_node(d), off, size - off, &x), 0);
        if (!x.len || x.len > size - off || ++rounds > 100000) {
            CHECK(!"an extent of sound length");
            return;
        }
        if (x.flags & EXTENT_ZERO)
            CHECK(buf_is_zero(model + off, x.len));
        if (x.flags & EXTENT_OFFSET)
            CHECK(!memcmp(((Ram *)x.host_node)->mem + x.host, model + off, x.len));
    }
}

static void check_sound(const Case *c, Disk *d)
{
    CheckResult r = { 0 };
    int ret = node_check(disk_node(d), &r, 0);

    if (c->no_check) {
        CHECK_EQ(ret, -ENOTSUP);
        return;
    }
    CHECK_EQ(ret, 0);
    CHECK_EQ(r.corruptions + r.leaks + r.errors, 0);
}

static unsigned seed;

static void storm(const Case *c, Disk *d, uint8_t *model, unsigned nr)
{
    enum { LANES = 3 };
    Lane lanes[LANES];
    CoCrowd crowd = { .max = LANES };
    uint64_t size = disk_size(d), part = size / LANES;

    for (unsigned i = 0; i < LANES; i++) {
        lanes[i] = (Lane){ d, model, i * part, i == LANES - 1 ? size - i * part : part, seed + nr * 100 + i };
        crowd_start(&crowd, lane_run, &lanes[i]);
    }
    CHECK_EQ(crowd_wait(&crowd), 0);
}

static void test_case(BlockGraph *g, const Case *c)
{
    BlockNode *ram = new_ram(g, "r", true);
    g_autofree uint8_t *model = NULL;
    uint64_t size = 0;

    CHECK(ok(make_image(g, c, ram, NULL)));
    for (unsigned round = 0; round < 4; round++) {
        Disk *d;

        if (!ok(open_image(g, c->drv->name, "r", OPEN_RW, &d))) {
            CHECK(!"it opens");
            break;
        }
        if (!model) {
            size = disk_size(d);
            CHECK(size >= c->size && size < c->size + MIB);
            model = g_malloc0(size);
        }
        compare(d, model, size);
        storm(c, d, model, round);
        compare(d, model, size);
        CHECK_EQ(disk_flush(d), 0);
        check_extents(d, model, size);
        check_sound(c, d);
        disk_free(d);
        CHECK(!((Ram *)ram)->bad);
    }
    node_unref(ram);
}

static void test_models(BlockGraph *g)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        int before = test_case_bad;

        test_case(g, &cases[i]);
        if (test_case_bad != before)
            printf("%s %s, LYRE_SEED=%u\n", cases[i].drv->name, cases[i].options, seed);
    }
}

/* ---- vmdk on a parent */

/* The descriptor of an image over memory: its parent is the other one. */
static void set_parent(Ram *child, Ram *parent)
{
    char *text = (char *)child->mem + 512, *cid = strstr((char *)parent->mem + 512, "\nCID=");
    g_autofree char *old = g_strdup(text);
    char *rest = strstr(old, "\n\n# Extent");

    CHECK(cid && rest);
    *rest = 0;
    memcpy(strstr(old, "parentCID=") + 10, cid + 5, 8);
    sprintf(text, "%s\nparentFileNameHint=\"parent.vmdk\"%s", old, rest + 1);
}

static void test_backing(BlockGraph *g)
{
    static const Case child = { &block_vmdk, "", 3 * MIB + 512 }, zeroed = { &block_vmdk, "zeroed_grain=on", 3 * MIB + 512 },
                      base = { &block_vmdk, "", 2 * MIB };
    const char *text = "driver=vmdk,file=r,backing.driver=vmdk,backing.file=p";
    BlockNode *ram = new_ram(g, "r", true), *parent = new_ram(g, "p", true);
    uint8_t byte = 1;
    Disk *d;

    for (unsigned i = 0; i < 2; i++) {
        const Case *c = i ? &zeroed : &child;
        g_autofree uint8_t *model = g_malloc0(c->size);

        memset(((Ram *)ram)->mem, 0, ((Ram *)ram)->room);
        CHECK(ok(make_image(g, &base, parent, NULL)));
        CHECK(ok(open_image(g, "vmdk", "p", OPEN_RW, &d)));
        storm(&base, d, model, i);
        disk_free(d);
        CHECK(ok(make_image(g, c, ram, NULL)));
        set_parent((Ram *)ram, (Ram *)parent);
        for (unsigned round = 0; round < 3; round++) {
            json_t *o = keyval(text);

            CHECK(ok(disk_open(g, o, OPEN_RW, "test", &d)));
            json_decref(o);
            compare(d, model, c->size);
            storm(c, d, model, round + 10);
            compare(d, model, c->size);
            check_extents(d, model, c->size);
            check_sound(c, d);
            disk_free(d);
        }
    }
    /* A parent that has changed is another disk. */
    CHECK(ok(open_image(g, "vmdk", "p", OPEN_RW, &d)));
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(&byte, 1), 0), 0);
    disk_free(d);
    CHECK(ok(make_image(g, &child, ram, NULL)));
    set_parent((Ram *)ram, (Ram *)parent);
    CHECK(ok(open_image(g, "vmdk", "p", OPEN_RW, &d)));
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(&byte, 1), 0), 0);
    disk_free(d);
    json_t *o = keyval(text);
    CHECK(ok(disk_open(g, o, 0, "test", &d)));
    json_decref(o);
    CHECK_EQ(disk_read(d, 0, &IOV_BUF(&byte, 1), 0), -EINVAL);
    disk_free(d);
    node_unref(ram);
    node_unref(parent);
}

/* ---- images that lie */

/* Whatever can be asked of an image. */
static void exercise(BlockGraph *g, const Case *c, unsigned flags)
{
    static uint8_t buf[256 * 1024];
    CheckResult r = { 0 };
    unsigned rounds = 0;
    Disk *d;
    Extent x;
    NodeInfo info = { 0 };
    Err *e = open_image(g, c->drv->name, "r", flags, &d);

    if (e) {
        CHECK(*err_text(e));
        err_free(e);
        return;
    }
    for (uint64_t off = 0, size = disk_size(d); off < size && rounds++ < 300; off += x.len) {
        uint64_t len = MIN(size - off, sizeof(buf));

        if (node_extent(disk_node(d), off, size - off, &x) < 0)
            break;
        CHECK(x.len && x.len <= size - off);
        disk_read(d, off, &IOV_BUF(buf, len), 0);
        if (flags & OPEN_RW && rounds % 7 == 0) {
            disk_write(d, off, &IOV_BUF(buf, len), 0);
            disk_zero(d, off, len, REQ_UNMAP);
        }
    }
    err_free(node_info(disk_node(d), &info));
    json_decref(info.specific);
    node_check(disk_node(d), &r, 0);
    disk_free(d);
}

static void test_lies(BlockGraph *g)
{
    static const uint8_t values[] = { 0, 1, 2, 0x7f, 0x80, 0xff };
    BlockNode *ram = new_ram(g, "r", false);
    Ram *m = (Ram *)ram;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        if (!ok(make_image(g, &cases[i], ram, NULL)))
            continue;
        uint64_t size = ram->size;
        g_autofree uint8_t *good = g_memdup2(m->mem, size);
        g_autofree uint32_t *places = g_new(uint32_t, size);
        unsigned n = 0;

        for (uint64_t k = 0; k < size; k++)     /* what is zero is mostly not looked at */
            if (good[k] || k % 4096 < 200)
                places[n++] = k;
        for (unsigned round = 0; round < 150; round++) {
            for (unsigned k = 1 + rand_r(&seed) % 4; k; k--)
                m->mem[places[rand_r(&seed) % n]] = values[rand_r(&seed) % sizeof(values)];
            if (rand_r(&seed) % 8 == 0)
                ram->size = rand_r(&seed) % (size + 1);
            exercise(g, &cases[i], round % 2 ? OPEN_RW : 0);
            memset(m->mem, 0, ram->size);
            memcpy(m->mem, good, size);
            ram->size = size;
        }
    }
    CHECK(!m->bad);
    node_unref(ram);
}

int main(void)
{
    seed = getenv("LYRE_SEED") ? strtoul(getenv("LYRE_SEED"), NULL, 10) : (unsigned long)time(NULL);
    printf("LYRE_SEED=%u\n", seed);
    RUN_IN_GRAPH(test_models);
    RUN_IN_GRAPH(test_backing);
    RUN_IN_GRAPH(test_lies);
    return test_end();
}
