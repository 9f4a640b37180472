/* SPDX-License-Identifier: MIT */
/*
 * Spaces and RAM: flattening against a model, splitting and widening of device
 * accesses, page flags, readers while the map changes.
 */
#include <pthread.h>
#include <stdlib.h>

#include "system/mem.h"
#include "system/vm.h"
#include "system/vmconfig.h"
#include "tests/unit/test.h"

static const VmConfig config;

static bool says(Err *e, const char *text)
{
    bool yes = e && strstr(err_text(e), text);

    if (e && !yes)
        printf("it says: %s\n", err_text(e));
    err_free(e);
    return yes;
}

static uint64_t seed;
static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* ---- mapping */

static void test_layers(void)
{
    Vm *vm = vm_new(&config);
    Region low = { .name = "low", .kind = REGION_IO, .size = 0x1000 };
    Region high = { .name = "high", .kind = REGION_IO, .size = 0x100 };
    Region other = { .name = "other", .kind = REGION_IO, .size = 0x1000 };

    CHECK(!flat_find(space_flat(vm->mem), 0));
    CHECK(!space_map(vm->mem, 0x1000, &low, 0));
    CHECK(!space_map(vm->mem, 0x1400, &high, 1));
    const Flat *f = space_flat(vm->mem);
    CHECK_EQ(f->n, 3);
    CHECK(flat_find(f, 0x13ff)->region == &low);
    CHECK(flat_find(f, 0x1400)->region == &high);
    CHECK_EQ(flat_find(f, 0x14ff)->off, 0);
    CHECK_EQ(flat_find(f, 0x1500)->off, 0x500);
    CHECK(!flat_find(f, 0xfff));
    CHECK(!flat_find(f, 0x2000));
    char *text = space_print(vm->mem, NULL, NULL);
    CHECK(strstr(text, "0000000000001500-0000000000001fff (i/o): low @0000000000000500"));
    g_free(text);

    CHECK(says(space_map(vm->mem, 0x1fff, &other, 0), "'low' is there already"));
    CHECK(says(space_map(vm->mem, UINT64_MAX - 0x10, &other, 0), "does not fit"));
    other.size = 0;
    CHECK(says(space_map(vm->mem, 0, &other, 0), "does not fit"));
    other.size = 0x10;
    CHECK(!space_map(vm->mem, UINT64_MAX - 0xf, &other, 0));         /* up to the very last byte */
    CHECK(flat_find(space_flat(vm->mem), UINT64_MAX)->region == &other);
    space_unmap(vm->mem, &high);
    CHECK_EQ(space_flat(vm->mem)->n, 2);
    CHECK(flat_find(space_flat(vm->mem), 0x1400)->region == &low);
    vm_free(vm);
}

/* Random maps: each address shows the region that a search through all of them finds. */
static void test_random_maps(void)
{
    enum { N = 12, SPAN = 512, ROUNDS = 2000 };
    Region regions[N];
    uint64_t base[N];
    int layer[N];
    bool mapped[N] = { 0 };
    Vm *vm = vm_new(&config);

    for (int i = 0; i < N; i++)
        regions[i] = (Region){ .name = "r", .kind = REGION_IO };
    for (int round = 0; round < ROUNDS; round++) {
        int i = rnd() % N;

        if (mapped[i]) {
            space_unmap(vm->mem, &regions[i]);
            mapped[i] = false;
        } else {
            regions[i].size = 1 + rnd() % 100;
            base[i] = rnd() % (SPAN - 100);
            layer[i] = rnd() % 4;
            bool clash = false;
            for (int j = 0; j < N; j++)
                clash |= mapped[j] && layer[j] == layer[i] && base[j] < base[i] + regions[i].size &&
                         base[i] < base[j] + regions[j].size;
            Err *e = space_map(vm->mem, base[i], &regions[i], layer[i]);
            if ((e != NULL) != clash)
                test_case_bad++;
            mapped[i] = !e;
            err_free(e);
        }
        const Flat *f = space_flat(vm->mem);
        for (uint64_t at = 0; at < SPAN; at++) {
            int best = -1;

            for (int j = 0; j < N; j++)
                if (mapped[j] && base[j] <= at && at - base[j] < regions[j].size &&
                    (best < 0 || layer[j] > layer[best]))
                    best = j;
            const FlatRange *r = flat_find(f, at);
            if (best < 0 ? r != NULL
                         : !r || r->region != &regions[best] || r->off + (at - r->base) != at - base[best])
                test_case_bad++;
        }
        for (int j = 1; j < f->n; j++)
            if (f->r[j].base <= f->r[j - 1].last)
                test_case_bad++;
    }
    vm_free(vm);
}

static int changes;
static void changed(void *opaque, const Flat *was, const Flat *now)
{
    changes++;
    CHECK(was != now && now == space_flat(opaque));
}

static void test_edit(void)
{
    Vm *vm = vm_new(&config);
    Region a = { .name = "a", .kind = REGION_IO, .size = 1 }, b = a;

    changes = 0;
    space_watch(vm->mem, changed, vm->mem);
    space_edit(vm->mem);
    space_edit(vm->mem);
    CHECK(!space_map(vm->mem, 0, &a, 0));
    CHECK(!space_map(vm->mem, 1, &b, 0));
    space_commit(vm->mem);
    CHECK_EQ(changes, 0);
    CHECK_EQ(space_flat(vm->mem)->n, 0);
    space_commit(vm->mem);
    CHECK_EQ(changes, 1);
    CHECK_EQ(space_flat(vm->mem)->n, 2);
    space_edit(vm->mem);
    space_commit(vm->mem);
    CHECK_EQ(changes, 1);                       /* nothing has changed */
    vm_free(vm);
}

/* ---- devices */

typedef struct Dev { uint8_t bytes[16]; int calls; unsigned sizes; } Dev;

static uint64_t dev_read(void *opaque, uint64_t off, unsigned size)
{
    Dev *d = opaque;
    uint64_t val = 0;

    d->calls++;
    d->sizes |= size;
    if (off % size)
        test_case_bad++;
    memcpy(&val, d->bytes + off, size);
    return val | (size < 8 ? UINT64_MAX << size * 8 : 0);      /* the core cuts off what is too much */
}

static void dev_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Dev *d = opaque;

    d->calls++;
    d->sizes |= size;
    if (off % size || (size < 8 && val >> size * 8))
        test_case_bad++;
    memcpy(d->bytes + off, &val, size);
}

/* For each min and max, each offset and size: the bytes arrive whatever the pieces are. */
static void test_pieces(void)
{
    Vm *vm = vm_new(&config);

    vm_lock(vm);
    for (unsigned min = 1; min <= 8; min *= 2) {
        for (unsigned max = min; max <= 8; max *= 2) {
            Dev d;
            IoOps ops = { dev_read, dev_write, min, max };
            Region r = { .name = "d", .kind = REGION_IO, .size = 16, .ops = &ops, .dev = &d };

            CHECK(!space_map(vm->mem, 0x100, &r, 0));
            for (unsigned off = 0; off < 16; off++) {
                for (unsigned size = 1; size <= 8 && off + size <= 16; size++) {
                    uint64_t val = 0, want = 0;

                    d = (Dev){ .bytes = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } };
                    CHECK_EQ(space_io(vm->mem, 0x100 + off, &val, size, false), MEM_OK);
                    memcpy(&want, d.bytes + off, size);
                    CHECK_EQ(val, want);
                    CHECK(!(d.sizes & ~(2 * max - min)));
                    memset(d.bytes, 0, sizeof(d.bytes));
                    val = UINT64_MAX;           /* the bits above size are none of the device's business */
                    CHECK_EQ(space_io(vm->mem, 0x100 + off, &val, size, true), MEM_OK);
                    for (unsigned i = 0; i < 16; i++)
                        if (d.bytes[i] != (i >= off && i < off + size ? 0xff : 0))
                            test_case_bad++;
                }
            }
            space_unmap(vm->mem, &r);
        }
    }
    vm_unlock(vm);
    vm_free(vm);
}

static uint64_t locked_read(void *opaque, uint64_t off, unsigned size)
{
    return vm_locked(opaque);
}

static void test_lock(void)
{
    static const IoOps ops = { .read = locked_read };
    Vm *vm = vm_new(&config);
    Region a = { .name = "a", .kind = REGION_IO, .size = 8, .ops = &ops, .dev = vm }, b = a;
    uint64_t val;

    b.nolock = true;
    CHECK(!space_map(vm->mem, 0, &a, 0));
    CHECK(!space_map(vm->mem, 8, &b, 0));
    CHECK_EQ(space_io(vm->mem, 0, &val, 1, false), MEM_OK);
    CHECK_EQ(val, 1);
    CHECK(!vm_locked(vm));
    CHECK_EQ(space_io(vm->mem, 8, &val, 1, false), MEM_OK);
    CHECK_EQ(val, 0);
    vm_lock(vm);
    CHECK_EQ(space_io(vm->mem, 0, &val, 1, false), MEM_OK);
    CHECK(vm_locked(vm));
    vm_unlock(vm);
    CHECK_EQ(space_io(vm->mem, 16, &val, 1, false), MEM_NOTHING);
    CHECK_EQ(space_io(vm->mem, 14, &val, 4, false), MEM_NOTHING);     /* half of it */
    CHECK_EQ(space_io(vm->mem, UINT64_MAX, &val, 8, false), MEM_NOTHING);
    vm_free(vm);
}

/* ---- RAM */

static uint64_t touched_off, touched_len;
static void touched(RamBlock *b, uint64_t off, uint64_t len)
{
    (void)b;
    touched_off = off;
    touched_len = len;
}

static void test_ram(void)
{
    enum { SIZE = 16 * PAGE_SIZE };
    Vm *vm = vm_new(&config);
    RamBlock *b, *rom;
    uint8_t buf[3 * PAGE_SIZE];

    CHECK(!ram_new(vm, "ram", SIZE, &b));
    CHECK(!ram_new(vm, "rom", PAGE_SIZE, &rom));
    Region ram = { .name = "ram", .kind = REGION_RAM, .size = SIZE, .ram = b };
    Region ro = { .name = "rom", .kind = REGION_ROM, .size = PAGE_SIZE, .ram = rom };
    Region io = { .name = "io", .kind = REGION_IO, .size = PAGE_SIZE };
    CHECK(!space_map(vm->mem, 0x10000, &ram, 0));
    CHECK(!space_map(vm->mem, 0x20000, &ro, 0));
    CHECK(!space_map(vm->mem, 0x21000, &io, 0));

    memset(buf, 0x5a, sizeof(buf));
    ram_code_touched = touched;
    b->pages[2] = PAGE_CODE | PAGE_DISPLAY | PAGE_MIGRATE | PAGE_WRITTEN;
    touched_len = 0;
    CHECK_EQ(space_write(vm->mem, 0x11fff, buf, 2), MEM_OK);
    CHECK_EQ(touched_off, 0x1fff);
    CHECK_EQ(touched_len, 2);
    CHECK_EQ(b->pages[2], PAGE_CODE | PAGE_WRITTEN);
    touched_len = 0;
    CHECK_EQ(space_write(vm->mem, 0x13000, buf, 8), MEM_OK);
    CHECK_EQ(touched_len, 0);
    ram_code_touched = NULL;

    /* Across RAM and ROM: what is before the hole is done, the ROM stays as it was. */
    CHECK_EQ(space_write(vm->mem, 0x1fff0, buf, 0x20), MEM_OK);
    CHECK_EQ(b->host[SIZE - 1], 0x5a);
    CHECK_EQ(rom->host[0], 0);
    CHECK_EQ(space_write(vm->mem, 0x20ff0, buf, 0x20), MEM_DENIED);
    CHECK_EQ(space_read(vm->mem, 0x20ff0, buf, 0x20), MEM_DENIED);
    CHECK_EQ(space_read(vm->mem, 0x5000, buf, 1), MEM_NOTHING);
    CHECK_EQ(space_read(vm->mem, UINT64_MAX - 3, buf, 100), MEM_NOTHING);
    CHECK(!rom_write(vm->mem, 0x20000, "abc", 3));
    CHECK_EQ(rom->host[2], 'c');
    CHECK(says(rom_write(vm->mem, 0x20ffe, "abc", 3), "device is at 0x21000"));
    CHECK(says(rom_write(vm->mem, 0xffff, "abc", 3), "no memory at 0xffff"));
    CHECK(says(rom_write(vm->mem, UINT64_MAX, "abc", 3), "beyond"));

    uint64_t val = 0, off;
    RamBlock *which;
    CHECK_EQ(space_io(vm->mem, 0x20000, &val, 3, false), MEM_OK);
    CHECK_EQ(val, 'a' | 'b' << 8 | 'c' << 16);
    val = 0x11;
    CHECK_EQ(space_io(vm->mem, 0x20000, &val, 1, true), MEM_OK);    /* dropped */
    CHECK_EQ(rom->host[0], 'a');
    CHECK(space_ram(vm->mem, 0x11234, 8, true, &which, &off) == b->host + 0x1234);
    CHECK(which == b && off == 0x1234);
    CHECK(!space_ram(vm->mem, 0x20000, 8, true, NULL, NULL));
    CHECK(space_ram(vm->mem, 0x20000, 8, false, NULL, NULL) == rom->host);
    CHECK(!space_ram(vm->mem, 0x1fffc, 8, false, NULL, NULL));
    CHECK(!space_ram(vm->mem, 0x11000, 0, false, NULL, NULL));
    CHECK(!space_ram(vm->mem, 0x11000, UINT64_MAX, false, NULL, NULL));

    /* Odd sizes and places move exactly their bytes. */
    for (unsigned len = 1; len <= 17; len++) {
        for (unsigned at = 0; at < 9; at++) {
            uint8_t in[17], out[17];

            for (unsigned i = 0; i < len; i++)
                in[i] = rnd();
            memset(b->host + 0x4000, 0xee, 64);
            CHECK_EQ(space_write(vm->mem, 0x14008 + at, in, len), MEM_OK);
            CHECK_EQ(b->host[0x4008 + at - 1], 0xee);
            CHECK_EQ(b->host[0x4008 + at + len], 0xee);
            CHECK_EQ(space_read(vm->mem, 0x14008 + at, out, len), MEM_OK);
            CHECK(!memcmp(in, out, len));
        }
    }
    vm_free(vm);
}

static void test_ram_errors(void)
{
    Vm *vm = vm_new(&config);
    RamBlock *b;

    CHECK(says(ram_new(vm, "x", 0, &b), "cannot be 0 bytes"));
    CHECK(says(ram_new(vm, "x", 4097, &b), "multiple of 4096"));
    CHECK(says(ram_new(vm, "x", UINT64_C(1) << 60, &b), "cannot be"));
    CHECK(says(ram_new(vm, "big", UINT64_C(1) << 46, &b), "guest memory 'big'"));
    CHECK(!ram_new(vm, "x", 4096, &b));
    CHECK_EQ((uintptr_t)b->host % (2 << 20), 0);
    vm_free(vm);
}

/* ---- readers without a lock, while the map changes and old arrays go */

static _Atomic bool done;
static Region spins[2];

static void *reader(void *opaque)
{
    Vm *vm = opaque;
    uint64_t found = 0;

    while (!done) {
        /* A thread that is no vCPU holds the lock while it looks. */
        vm_lock(vm);
        const FlatRange *r = flat_find(space_flat(vm->mem), 0x1800);
        if (r && r->region != &spins[0] && r->region != &spins[1])
            test_case_bad++;
        found += r != NULL;
        vm_unlock(vm);
    }
    return (void *)(uintptr_t)found;
}

static void test_readers(void)
{
    Vm *vm = vm_new(&config);
    pthread_t t[2];

    done = false;
    for (int i = 0; i < 2; i++) {
        spins[i] = (Region){ .name = "s", .kind = REGION_IO, .size = 0x1000 };
        pthread_create(&t[i], NULL, reader, vm);
    }
    for (int i = 0; i < 2000; i++) {
        vm_lock(vm);
        space_edit(vm->mem);
        space_unmap(vm->mem, &spins[i & 1]);
        err_free(space_map(vm->mem, 0x1000, &spins[~i & 1], 0));
        space_commit(vm->mem);
        vm_unlock(vm);
        vm_turn(vm, false);
    }
    done = true;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    vm_free(vm);
}

int main(int argc, char **argv)
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0x9e3779b97f4a7c15;
    printf("seed %#" PRIx64 "\n", seed);
    RUN(test_layers);
    RUN(test_random_maps);
    RUN(test_edit);
    RUN(test_pieces);
    RUN(test_lock);
    RUN(test_ram);
    RUN(test_ram_errors);
    RUN(test_readers);
    return test_end();
}
