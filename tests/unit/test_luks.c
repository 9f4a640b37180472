/* SPDX-License-Identifier: MIT */
/*
 * The driver luks over memory: what is written comes back and is not there in
 * plain; keys that come and go; a header in a node of its own; headers that
 * lie. Peers (qemu-img, cryptsetup) are the matter of tests/block.
 */
#include "tests/unit/block-ram.h"

#include "block/crypto/luks.h"

extern const BlockDriver block_luks;
const BlockDriver *const block_set[] = { &block_ram, &block_luks, NULL };

enum { DISK = 3 << 20 };

static LuksOptions options(void)
{
    return (LuksOptions){ .key_secret = (char *)"s", .iter_time = 5, .keyslot = -1 };
}

static void secrets(BlockGraph *g)
{
    CHECK(ok(objects_add(graph_objects(g), "secret,id=s,data=first")));
    CHECK(ok(objects_add(graph_objects(g), "secret,id=t,data=second")));
    CHECK(ok(objects_add(graph_objects(g), "secret,id=w,data=wrong")));
}

/* A node "disk" of memory with a container in it. */
static BlockNode *make(BlockGraph *g, const LuksOptions *o, uint64_t size)
{
    BlockNode *ram = open_text(g, "driver=ram,node-name=disk,size=0", OPEN_RW | OPEN_RESIZE);
    CreateOptions c = { .size = size };

    CHECK(ok(block_luks.create(g, &c, o, ram)));
    return ram;
}

/* Everything but what the words say is as in `open_text`. */
static bool open_fails(BlockGraph *g, const char *text, const char *words)
{
    json_t *o = keyval(text);
    BlockNode *n = NULL;
    Err *e = node_open(g, o, OPEN_RW, &n);

    json_decref(o);
    return fails(e, words);
}

static void pattern(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)((i + seed) * 2654435761u >> 13);
}

static void check_data(Disk *d, uint64_t off, size_t len, unsigned seed)
{
    g_autofree uint8_t *want = g_malloc(len), *got = g_malloc(len);

    pattern(want, len, seed);
    CHECK_EQ(disk_read(d, off, &IOV_BUF(got, len), 0), 0);
    CHECK(!memcmp(want, got, len));
}

static void write_data(Disk *d, uint64_t off, size_t len, unsigned seed)
{
    g_autofree uint8_t *data = g_malloc(len);

    pattern(data, len, seed);
    CHECK_EQ(disk_write(d, off, &IOV_BUF(data, len), 0), 0);
}

static void rewrite(BlockGraph *g, const LuksOptions *o)
{
    BlockNode *ram = make(g, o, DISK), *n = open_text(g, "driver=luks,key-secret=s,file=disk", OPEN_RW);
    Disk *d = NULL;
    uint8_t plain[64];

    CHECK_EQ(node_size(n), DISK);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    write_data(d, 0, 2 << 20, 1);               /* more than one piece, in worker threads */
    write_data(d, 512 * 5, 512 * 3, 2);
    write_data(d, 1000, 3000, 3);               /* in the middle of sectors */
    write_data(d, DISK - 512, 512, 4);
    CHECK_EQ(disk_flush(d), 0);
    disk_free(d);
    node_unref(n);
    pattern(plain, sizeof plain, 4);
    CHECK(!memmem(ram_of(ram)->mem, ram->size, plain, sizeof plain));
    n = open_text(g, "driver=luks,key-secret=s,file=disk", 0);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "test", &d)));
    check_data(d, 0, 1000, 1);
    check_data(d, 1000, 3000, 3);
    check_data(d, DISK - 512, 512, 4);
    disk_free(d);
    node_unref(n);
    CHECK(!ram_of(ram)->bad);
    node_unref(ram);
}

static void test_ciphers(BlockGraph *g)
{
    LuksOptions o = options();

    secrets(g);
    rewrite(g, &o);
    o.cipher_alg = (char *)"aes-192";           /* its key material is no whole number of sectors */
    rewrite(g, &o);
    o = options();
    o.cipher_alg = (char *)"twofish-128";
    o.cipher_mode = (char *)"cbc";
    o.ivgen_alg = (char *)"plain";
    o.hash_alg = (char *)"sha1";
    rewrite(g, &o);
    o.cipher_alg = (char *)"aes-256";
    o.ivgen_alg = (char *)"essiv";
    o.hash_alg = (char *)"ripemd160";
    rewrite(g, &o);
    o.cipher_alg = (char *)"cast5-128";
    o.cipher_mode = (char *)"ctr";
    o.ivgen_alg = NULL;
    rewrite(g, &o);
}

static Err *amend(BlockNode *n, LuksOptions o, bool force)
{
    return block_luks.amend(n, &o, NULL, force, NULL, NULL);
}

static void test_keys(BlockGraph *g)
{
    LuksOptions o = options(), add = { .state = (char *)"active", .new_secret = (char *)"t", .iter_time = 5, .keyslot = 5 },
                del = { .state = (char *)"inactive", .old_secret = (char *)"s", .keyslot = -1 };
    BlockNode *ram, *n;
    json_t *info, *slots;
    NodeInfo i = { 0 };

    secrets(g);
    ram = make(g, &o, DISK);
    CHECK(open_fails(g, "driver=luks,key-secret=w,file=disk", "Invalid password, cannot unlock any keyslot"));
    CHECK(open_fails(g, "driver=luks,file=disk", "Parameter 'key-secret' is required for cipher"));
    CHECK(open_fails(g, "driver=luks,key-secret=t,file=disk", "Invalid password"));
    n = open_text(g, "driver=luks,key-secret=s,file=disk", OPEN_RW);
    CHECK(fails(amend(n, del, false), "All the active keyslots match"));
    CHECK(ok(amend(n, add, false)));
    CHECK(fails(amend(n, add, false), "Refusing to overwrite active keyslot 5"));
    add.keyslot = 8;
    CHECK(fails(amend(n, add, false), "must be between 0 and 7"));
    add.new_secret = NULL;
    add.keyslot = -1;
    CHECK(fails(amend(n, add, false), "'new-secret' is required"));
    CHECK(ok(amend(n, del, false)));            /* the new key opens what the old one did */
    CHECK(fails(amend(n, del, false), "No keyslots match given (old) password"));
    node_unref(n);
    CHECK(open_fails(g, "driver=luks,key-secret=s,file=disk", "Invalid password"));
    n = open_text(g, "driver=luks,key-secret=t,file=disk", OPEN_RW);
    CHECK(ok(node_info(n, &i)));
    info = i.specific;
    slots = json_object_get(info, "slots");
    CHECK(json_is_false(json_object_get(json_array_get(slots, 0), "active")));
    CHECK(json_is_true(json_object_get(json_array_get(slots, 5), "active")));
    CHECK_EQ(json_integer_value(json_object_get(info, "payload-offset")), 2068480);
    json_decref(info);
    del = (LuksOptions){ .state = (char *)"inactive", .keyslot = 5 };
    CHECK(fails(amend(n, del, false), "only active keyslot 5"));
    CHECK(ok(amend(n, del, true)));
    node_unref(n);
    CHECK(open_fails(g, "driver=luks,key-secret=t,file=disk", "Invalid password"));
    node_unref(ram);
}

/* The header without a key, and the header in another node. */
static void test_header(BlockGraph *g)
{
    LuksOptions o = options();
    BlockNode *ram, *head, *n;
    Disk *d = NULL;
    uint8_t buf[512];

    secrets(g);
    ram = make(g, &o, DISK);
    n = open_text(g, "driver=luks,file=disk", OPEN_NO_IO);
    CHECK(n->encrypted && n->size == DISK);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_read(d, 0, &IOV_BUF(buf, 512), 0), -EACCES);
    disk_free(d);
    node_unref(n);
    head = open_text(g, "driver=ram,node-name=head,size=2M", OPEN_RW);
    memcpy(ram_of(head)->mem, ram_of(ram)->mem, 2 << 20);
    memset(ram_of(head)->mem + 104, 0, 4);      /* payload: elsewhere */
    n = open_text(g, "driver=luks,key-secret=s,file=disk,header=head", OPEN_RW);
    CHECK_EQ(n->size, node_size(ram));
    node_unref(n);
    CHECK(open_fails(g, "driver=luks,key-secret=s,file=head", "detached LUKS header"));
    node_unref(head);
    node_unref(ram);
}

static void lie(BlockGraph *g, Ram *r, unsigned at, uint32_t value, const char *words)
{
    uint8_t was[4], now[4] = { value >> 24, value >> 16 & 255, value >> 8 & 255, value & 255 };

    memcpy(was, r->mem + at, 4);
    memcpy(r->mem + at, now, 4);
    CHECK(open_fails(g, "driver=luks,key-secret=s,file=disk", words));
    memcpy(r->mem + at, was, 4);
}

static void test_lies(BlockGraph *g)
{
    LuksOptions o = options();
    BlockNode *ram;
    Ram *r;

    secrets(g);
    ram = make(g, &o, DISK);
    r = ram_of(ram);
    lie(g, r, 0, 0, "not in LUKS format");
    lie(g, r, 4, 0xbabe0002, "version 2");
    lie(g, r, 8, 0x41455300, "cipher 'AES'");
    lie(g, r, 40, 0x71747300, "cipher mode");
    lie(g, r, 72, 0x71747300, "hash");
    lie(g, r, 104, 0, "detached");
    lie(g, r, 104, 100, "between the header and the data");
    lie(g, r, 104, 1 << 30, "before the data");
    lie(g, r, 108, 63, "key of 63 bytes");
    lie(g, r, 108, 0, "key of 0 bytes");
    lie(g, r, 164, 0, "offset 164");
    lie(g, r, 164, 0xffffffff, "offset 164");
    lie(g, r, 208, 7, "offset 208");
    lie(g, r, 212, 0, "wants 0 iterations");
    lie(g, r, 212, 0xf0000000, "iterations");
    lie(g, r, 248, 0, "key slot 0");
    lie(g, r, 248, 0xffffffff, "key slot 0");
    lie(g, r, 252, 0xffffffff, "stripes");
    lie(g, r, 248 + 48, 16, "key slots 0 and 1 lie over each other");
    r->node.size = 500;
    CHECK(open_fails(g, "driver=luks,key-secret=s,file=disk", "not in LUKS format"));
    r->node.size = 4096 + 10000;
    CHECK(open_fails(g, "driver=luks,key-secret=s,file=disk", "key slot 0"));
    node_unref(ram);
}

static void test_sizes(BlockGraph *g)
{
    LuksOptions o = options();
    BlockNode *ram, *n;
    Measure m = { 0 };

    secrets(g);
    ram = make(g, &o, 1000);
    n = open_text(g, "driver=luks,key-secret=s,file=disk", OPEN_RW | OPEN_RESIZE);
    CHECK_EQ(n->size, 1024);
    CHECK(ok(block_luks.resize(n, 1 << 20, false, (Preallocation){ PREALLOC_OFF })));
    CHECK_EQ(n->size, 1 << 20);
    CHECK_EQ(node_size(ram), 2068480 + (1 << 20));
    node_unref(n);
    node_unref(ram);
    CHECK(ok(block_luks.measure(&o, NULL, 1 << 30, &m)));
    CHECK_EQ(m.required, 1075810304);
    CHECK_EQ(m.fully_allocated, m.required);
    CHECK(fails(block_luks.measure(&o, NULL, INT64_MAX, &m), "too large"));
    o.cipher_mode = (char *)"xtc";
    CHECK(fails(block_luks.measure(&o, NULL, 1, &m), "Parameter 'cipher-mode' does not accept value 'xtc'"));
}

int main(void)
{
    RUN_IN_GRAPH(test_ciphers);
    RUN_IN_GRAPH(test_keys);
    RUN_IN_GRAPH(test_header);
    RUN_IN_GRAPH(test_lies);
    RUN_IN_GRAPH(test_sizes);
    return test_end();
}
