/* SPDX-License-Identifier: MIT */
/*
 * Every device that has a saved form: a driver without sense puts it into some state, and it is saved; it is
 * loaded into the machine as it has become since, and into one just made: what is saved then is the same, byte for
 * byte, and the device goes on. All classes that have STATE rows or a `save` have to be seen here.
 *
 * Registers are written at random (but those that end the machine), so what is reached is what a guest can reach.
 */
#define RIG_HARTS 2
#include <zlib.h>

#include "accel/run.h"
#include "system/state.h"
#include "system/stream.h"
#include "tests/dev/full-rig.h"
#include "tests/dev/saved-devices.h"

enum { POKES = 400, ROUNDS = 20 };

static GHashTable *seen;        /* of DeviceClass */

/* ---- a driver without sense */

typedef struct Range { uint64_t at, size; } Range;

/* The board's, but for the finisher, flash (whose file follows it) and what reaches the host, or follows its clock. */
static const Range board_ranges[] = {
    { 0x02000000, 0x10000 }, { 0x0c000000, 0x4000 }, { 0x0c200000, 0x4000 }, { 0x0d000000, 0x4000 }, { 0x10000000, 8 },
    { 0x101010, 0x18 }, { 0x24000000, 0x2000 }, { VP_MSI, 0x2000 }, { 0x10001000, 0x1000 },
};
static const Range *flash_range;        /* NULL: the flash, which has no file here, is left alone */
static const Range behind_bridge = { VP_ECAM + (1 << 20), 0x20000 };

static uint64_t random_value(GRand *rnd)
{
    switch (g_rand_int_range(rnd, 0, 6)) {
    case 0: return 0;
    case 1: return g_rand_int_range(rnd, 0, 16);
    case 2: return UINT64_MAX;
    case 3: return VD_RAM + 64 * (uint64_t)g_rand_int_range(rnd, 0, 1 << 18);
    case 4: return UINT64_C(1) << g_rand_int_range(rnd, 0, 64);
    default: return (uint64_t)g_rand_int(rnd) << 32 | g_rand_int(rnd);
    }
}

static void poke(GRand *rnd, const Range *range)
{
    static const unsigned sizes[] = { 1, 2, 4, 4, 4, 8 };
    unsigned size = sizes[g_rand_int_range(rnd, 0, 6)];
    uint64_t most = g_rand_boolean(rnd) ? range->size : MIN(range->size, 64u);
    uint64_t off = g_rand_int_range(rnd, 0, (int)MAX(most / size, 1)) * size;

    uint64_t val = random_value(rnd);
    /* Nobody may be there: BARs have been moved. */
    space_io(r->vm->mem, range->at + off, &val, size, g_rand_int_range(rnd, 0, 4) != 0);
}

static void mess(GRand *rnd)
{
    const uint64_t cfg = VP_ECAM + (DEVFN << 12);

    vm_start(r->vm);
    for (unsigned i = 0; i < POKES; i++) {
        unsigned what = g_rand_int_range(rnd, 0, 10);

        if (flash_range && i % 2) {
            poke(rnd, flash_range);
        } else if (more_devices && i % 8 == 0) {
            poke(rnd, &behind_bridge);
        } else if (what < 6) {
            const Range bar = { vp.bar[what], 0x1040 };

            if (vp.bar[what])
                poke(rnd, &bar);
        } else if (what == 6) {
            poke(rnd, &(Range){ cfg + 0x40, 0xc0 });            /* capabilities */
        } else if (what == 7) {
            poke(rnd, &(Range){ OTHER, 0xa0 });
        } else {
            poke(rnd, &board_ranges[g_rand_int_range(rnd, 0, G_N_ELEMENTS(board_ranges))]);
        }
        if (i % 100 == 0) {
            wr(r, cfg + 4, 7, 2);
            settle();
        }
    }
    settle();
    vm_stop(r->vm, RUN_PAUSED);
    r->vm->request = 0;                 /* the edu or a watchdog may have asked for a reset */
}

/* ---- saved forms compared */

static void skip(const uint8_t **p, void *to, size_t len)
{
    memcpy(to, *p, len);
    *p += len;
}

/* Names the first field that differs. */
static void tell_difference(const GByteArray *a, const GByteArray *b)
{
    const uint8_t *p = a->data, *end = a->data + MIN(a->len, b->len);

    while (p < end) {
        char section[256], field[256];
        uint16_t n;
        uint32_t version, len, count;
        uint8_t m, bytes;

        memset(section, 0, sizeof(section));
        skip(&p, &n, 2);
        skip(&p, section, MIN(n, 255));
        skip(&p, &version, 4);
        skip(&p, &len, 4);
        for (const uint8_t *stop = p + len; p < stop;) {
            const uint8_t *from = p;

            memset(field, 0, sizeof(field));
            skip(&p, &m, 1);
            skip(&p, field, m);
            skip(&p, &bytes, 1);
            skip(&p, &count, 4);
            p += (size_t)bytes * count;
            if (p > end || memcmp(from, b->data + (from - a->data), p - from)) {
                printf("  '%s' of '%s' differs:", field, section);
                for (const uint8_t *q = p - MIN((size_t)bytes * count, 32); q < p && p <= end; q++)
                    printf(" %02x/%02x", *q, b->data[q - a->data]);
                printf("\n");
                return;
            }
        }
    }
}

static bool same(const char *device, const char *when, const GByteArray *a, const GByteArray *b)
{
    if (a->len == b->len && !memcmp(a->data, b->data, a->len))
        return true;
    printf("%s: %s: other bytes (%u, %u)\n", device, when, a->len, b->len);
    tell_difference(a, b);
    return false;
}

static void load(const GByteArray *a)
{
    rig_must(state_check(r->vm, a->data, a->len));
    r->vm->loading = true;
    vm_reset(r->vm);
    r->vm->loading = false;
    rig_must(state_apply(r->vm, a->data, a->len));
}

/* ---- devices */

static void see_classes(void)
{
    for (Device *dev = machine_of(r->vm)->devices; dev; dev = dev->next) {
        for (Device *x = dev; x; x = x->inner)
            g_hash_table_add(seen, (void *)x->cls);
    }
}

static void place(const char *device)
{
    g_autofree char *arg = g_strdup_printf("%s,addr=%d.%d", device, DEVFN >> 3, DEVFN & 7);
    bool bridge = more_devices && strstr(*more_devices, "bus=up");

    begin(g_intern_string(arg));
    vp = (Vp){ .cfg = VP_ECAM + (DEVFN << 12), .mem = VP_MMIO };
    vd = (Vd){ .r = r, .t = &vd_pci, .more = &vp };
    vp_place(d);
    wr(r, vp.cfg + 4, 7, 2);
    if (bridge)
        wr(r, vp.cfg + 0x18, 0x00050100, 4);            /* what is behind it is poked as well */
    see_classes();
}

static void try_device(const char *device, unsigned seed)
{
    g_autoptr(GRand) rnd = g_rand_new_with_seed(seed);

    place(device);
    mess(rnd);
    GByteArray *a = state_gather(r->vm), *again = state_gather(r->vm);
    CHECK(same(device, "saved twice", a, again));
    mess(rnd);
    load(a);
    GByteArray *b = state_gather(r->vm);
    CHECK(same(device, "loaded where it was saved", a, b));
    mess(rnd);                          /* it goes on, as senselessly as before */
    end();
    place(device);
    vm_stop(r->vm, RUN_PAUSED);
    load(a);
    GByteArray *c = state_gather(r->vm);
    CHECK(same(device, "loaded into another", a, c));
    mess(rnd);
    load(a);
    end();
    g_byte_array_unref(a);
    g_byte_array_unref(again);
    g_byte_array_unref(b);
    g_byte_array_unref(c);
}

static void test_devices(void)
{
    static const char *const devices[] = {
        "virtio-blk-pci,drive=d0", "virtio-blk-pci-transitional,drive=d0", "virtio-scsi-pci", "nvme,drive=d0,serial=S",
        "virtio-net-pci,netdev=n0,guest_announce=off", "virtio-rng-pci", "virtio-balloon-pci", "virtio-serial-pci",
        "virtio-9p-pci,fsdev=f0,mount_tag=t", "edu", "i6300esb", "pvpanic-pci", "pcie-root-port", "ioh3420", "x3130-upstream",
        "pcie-pci-bridge", "i82801b11-bridge",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++) {
        for (unsigned n = 0; n < ROUNDS; n++)
            try_device(devices[i], 100 * i + n);
    }
}

/* Devices that are parts of another, which is poked. */
static void test_inner(void)
{
    static const struct { const char *outer, *inner[3]; } devices[] = {
        { "virtio-serial-pci,id=up", { "virtconsole,bus=up.0,name=c" } },
        { "virtio-scsi-pci,id=up", { "scsi-cd,bus=up.0,scsi-id=3" } },
        { "nvme,serial=S,id=up", { "nvme-ns,bus=up,drive=d0,nsid=2" } },
        { "pcie-pci-bridge,id=up", { "pci-bridge,bus=up,chassis_nr=1,addr=1" } },
        { "x3130-upstream,id=up", { "xio3130-downstream,bus=up,chassis=1,slot=1,addr=2" } },
        { "pvpanic-pci,id=up", { "vmcoreinfo" } },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(devices); i++) {
        more_devices = devices[i].inner;
        for (unsigned n = 0; n < ROUNDS; n++)
            try_device(devices[i].outer, 10000 + 100 * i + n);
        more_devices = NULL;
    }
}

static void test_flash(void)
{
    flash_range = &(Range){ 0x20000000, 0x4000 };
    for (unsigned n = 0; n < ROUNDS; n++)
        try_device("virtio-rng-pci", 20000 + n);
    flash_range = NULL;
}

static void test_boards(void)
{
    static const char *const opts[] = { "aia=aplic", "aia=aplic-imsic", "aclint=on" };

    for (unsigned i = 0; i < G_N_ELEMENTS(opts); i++) {
        board_opts = opts[i];
        try_device("virtio-rng-pci", i);
    }
    board_opts = NULL;
}

/* ---- forms of old */

static void begin_kept(void)
{
    more_devices = saved_devices + 1;
    begin(saved_devices[0]);
    more_devices = NULL;
    vcpus_saved(r->vm);
    vp = (Vp){ .cfg = VP_ECAM + (DEVFN << 12), .mem = VP_MMIO };
    vd = (Vd){ .r = r, .t = &vd_pci, .more = &vp };
    vp_place(d);
}

/* Writes what is kept: after a change of the form, under a new name, and the old one stays. */
static int keep(const char *path)
{
    g_autoptr(GRand) rnd = g_rand_new_with_seed(1);
    gzFile f = gzopen(path, "wb9");

    begin_kept();
    mess(rnd);
    GByteArray *a = state_gather(r->vm);
    bool good = f && gzwrite(f, a->data, a->len) == (int)a->len;
    good &= f && gzclose(f) == Z_OK;
    end();
    g_byte_array_unref(a);
    return good ? 0 : 1;
}

static GByteArray *read_kept(const char *path)
{
    GByteArray *a = g_byte_array_new();
    gzFile f = gzopen(path, "rb");
    uint8_t buf[4096];

    for (int n; f && (n = gzread(f, buf, sizeof(buf))) > 0;)
        g_byte_array_append(a, buf, n);
    if (f)
        gzclose(f);
    return a;
}

/* "section: field" -> GBytes of its data. */
static GHashTable *fields_of(const GByteArray *a)
{
    GHashTable *all = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
    const uint8_t *p = a->data, *end = a->data + a->len;

    while (p < end) {
        uint16_t n;
        uint32_t version, len, count;
        uint8_t m, bytes;

        skip(&p, &n, 2);
        g_autofree char *section = g_strndup((const char *)p, n);
        p += n;
        skip(&p, &version, 4);
        skip(&p, &len, 4);
        for (const uint8_t *stop = p + len; p < stop;) {
            skip(&p, &m, 1);
            char *name = g_strdup_printf("%s: %.*s", section, m, (const char *)p);
            p += m;
            skip(&p, &bytes, 1);
            skip(&p, &count, 4);
            g_hash_table_insert(all, name, g_bytes_new(p, (size_t)bytes * count));
            p += (size_t)bytes * count;
        }
    }
    return all;
}

/* Each field of `a` is in `b` with the same value; what is new there is told. */
static bool holds_all(const GByteArray *a, const GByteArray *b)
{
    g_autoptr(GHashTable) was = fields_of(a), is = fields_of(b);
    GHashTableIter i;
    gpointer name, data;
    bool good = true;

    g_hash_table_iter_init(&i, was);
    while (g_hash_table_iter_next(&i, &name, &data)) {
        const GBytes *now = g_hash_table_lookup(is, name);

        if (now && g_bytes_equal(data, now))
            continue;
        printf("  %s is %s\n", (char *)name, now ? "another" : "gone");
        good = false;
    }
    g_hash_table_iter_init(&i, is);
    while (g_hash_table_iter_next(&i, &name, &data)) {
        if (!g_hash_table_contains(was, name))
            printf("  %s was added since\n", (char *)name);
    }
    return good;
}

/* What older builds saved is loaded, and all of it is there then; the devices go on. */
static void try_kept(const char *path)
{
    g_autoptr(GRand) rnd = g_rand_new_with_seed(2);
    GByteArray *a = read_kept(path);

    CHECK(a->len > 1000);
    begin_kept();
    vm_stop(r->vm, RUN_PAUSED);
    load(a);
    GByteArray *b = state_gather(r->vm);
    CHECK(holds_all(a, b));
    mess(rnd);
    load(a);
    end();
    g_byte_array_unref(a);
    g_byte_array_unref(b);
}

static void test_kept(void)
{
    const char *src = getenv("LYRE_SRC");
    g_autofree char *one = g_build_filename(src ? src : ".", "tests/dev/saved/board-1.gz", NULL);

    try_kept(one);
}

static bool has_state(const Field *f)
{
    for (; f && f->role; f++) {
        if (f->role == FIELD_STATE)
            return true;
    }
    return false;
}

/* Classes of which nothing is made above, since they are one that is, with another name or identity. */
static bool is_variant(const DeviceClass *c)
{
    for (const DeviceClass *const *o = device_set; *o; o++) {
        if (*o != c && g_hash_table_contains(seen, *o) && (*o)->realize == c->realize && (*o)->save == c->save && (*o)->fields == c->fields)
            return true;
    }
    return c->inner && g_hash_table_contains(seen, c->inner);
}

static void test_all_were_seen(void)
{
    for (const DeviceClass *const *c = device_set; *c; c++) {
        bool state = has_state((*c)->fields) || (*c)->save;

        if (!state || g_hash_table_contains(seen, *c) || is_variant(*c))
            continue;
        printf("'%s' has a saved form, and was not tried\n", (*c)->name);
        test_case_bad++;
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--keep"))
        return keep(argv[2]);
    seen = g_hash_table_new(NULL, NULL);
    RUN(test_devices);
    RUN(test_inner);
    RUN(test_flash);
    RUN(test_boards);
    RUN(test_all_were_seen);
    RUN(test_kept);
    g_hash_table_unref(seen);
    return test_end();
}
