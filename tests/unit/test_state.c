/* SPDX-License-Identifier: MIT */
/*
 * The saved form of a machine: sections and fields, versions, what is cut or
 * damaged; and whole machines with vCPUs that run, saved to a file and brought back
 * in another machine, which goes on where the first one stood.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "accel/accel.h"
#include "hw/core/board.h"
#include "system/state.h"
#include "system/stream.h"
#include "system/vcpu.h"
#include "target/isa.h"
#include "target/riscv/state.h"
#include "tcg/env.h"
#include "tests/unit/test.h"

static void must(Err *e)
{
    if (!e)
        return;
    err_report(e);
    exit(1);
}

/* Does e say `text`? Frees it. */
static bool says(Err *e, const char *text)
{
    bool yes = e && strstr(err_text(e), text);

    if (!yes)
        printf("it says: %s\n", e ? err_text(e) : "nothing");
    err_free(e);
    return yes;
}

/* ---- the stream */

typedef struct Thing { uint8_t a; uint16_t b[3]; int64_t c; bool d; _Atomic uint32_t e; uint64_t late; } Thing;

static const Field first_fields[] = {
    STATE(Thing, a), STATES(Thing, b), STATE(Thing, c), STATE(Thing, d), STATE(Thing, e), {0}
};
static const Field later_fields[] = {
    STATE(Thing, a), STATES(Thing, b), STATE(Thing, c), STATE(Thing, d), STATE(Thing, e), STATE(Thing, late, .since = 2), {0}
};

static const Thing sample = { .a = 7, .b = { 1, 2, 65535 }, .c = -5, .d = true, .e = 0xdeadbeef, .late = 99 };

static GByteArray *thing_bytes(const Field *fields)
{
    StateOut *o = state_out_new();

    state_begin(o, "thing", state_fields_version(fields));
    state_put_fields(o, "x.", fields, &sample);
    state_put_text(o, "text", "hello");
    state_put_u64(o, "number", 12);
    state_begin(o, "other", 3);
    return state_out_end(o);
}

static Err *read_thing(const void *data, size_t len, const Field *fields, Thing *t)
{
    StateIn *in = NULL;
    char *text = NULL;
    uint64_t number = 0;

    TRY(state_in_new(data, len, &in));
    Err *e = state_open(in, "thing", state_fields_version(fields));
    if (!e)
        e = state_get_fields(in, "x.", fields, t);
    if (!e)
        e = state_get_text(in, "text", &text);
    if (!e)
        e = state_get_u64(in, "number", 12, &number);
    if (!e)
        e = state_close(in);
    if (!e)
        e = state_open(in, "other", 3);
    if (!e)
        e = state_all_read(in);
    g_free(text);
    state_in_free(in);
    return e;
}

static void test_round(void)
{
    GByteArray *b = thing_bytes(later_fields);
    Thing t = { 0 };

    must(read_thing(b->data, b->len, later_fields, &t));
    CHECK(t.a == 7 && t.b[2] == 65535 && t.c == -5 && t.d && t.e == 0xdeadbeef && t.late == 99);
    g_byte_array_free(b, true);
}

/* An old form loads: what is new keeps what it has. A new form in an old program does not. */
static void test_versions(void)
{
    GByteArray *old = thing_bytes(first_fields), *new = thing_bytes(later_fields);
    Thing t = { .late = 41 };

    must(read_thing(old->data, old->len, later_fields, &t));
    CHECK(t.a == 7 && t.late == 41);
    CHECK(says(read_thing(new->data, new->len, first_fields, &t), "version 2"));
    g_byte_array_free(old, true);
    g_byte_array_free(new, true);
}

static void test_unknown(void)
{
    StateOut *o = state_out_new();
    Thing t;

    state_begin(o, "thing", 1);
    state_put_fields(o, "x.", first_fields, &sample);
    state_put_text(o, "text", "");
    state_put_u64(o, "number", 1);
    state_put_u64(o, "strange", 1);
    GByteArray *b = state_out_end(o);
    CHECK(says(read_thing(b->data, b->len, first_fields, &t), "'thing' was saved with a field 'strange'"));
    g_byte_array_free(b, true);

    o = state_out_new();
    state_begin(o, "thing", 1);
    state_put_u64(o, "x.a", 1);
    b = state_out_end(o);
    CHECK(says(read_thing(b->data, b->len, first_fields, &t), "field 'x.a'"));
    g_byte_array_free(b, true);

    o = state_out_new();
    state_begin(o, "else", 1);
    b = state_out_end(o);
    CHECK(says(read_thing(b->data, b->len, first_fields, &t), "nothing of 'thing'"));
    g_byte_array_free(b, true);
}

/* Every cut, every changed byte: an error or another value, never more. */
static void test_damage(void)
{
    GByteArray *b = thing_bytes(later_fields);

    for (guint len = 0; len < b->len; len++) {
        g_autofree uint8_t *copy = g_memdup2(b->data, len);
        Thing t;
        Err *e = read_thing(copy, len, later_fields, &t);

        CHECK(e != NULL);
        err_free(e);
    }
    for (guint i = 0; i < b->len * 8; i++) {
        g_autofree uint8_t *copy = g_memdup2(b->data, b->len);
        Thing t;

        copy[i / 8] ^= 1 << i % 8;
        err_free(read_thing(copy, b->len, later_fields, &t));
    }
    g_byte_array_free(b, true);
}

/* ---- machines */

#define RAM UINT64_C(0x80000000)
#define COUNTS (RAM + 0x100000)

/* Each hart counts in a word of its own, and in a register; hart 0 writes code over and over. */
static const uint32_t guest[] = {
    0xf14022f3,             /* csrr t0, mhartid */
    0x00329293,             /* slli t0, t0, 3 */
    0x00100337,             /* lui t1, 0x100 */
    0x006282b3,             /* add t0, t0, t1 */
    0x0010031b,             /* addiw t1, zero, 1 */
    0x01f31313,             /* slli t1, t1, 31 */
    0x006282b3,             /* add t0, t0, t1 */
    0x00000393,             /* li t2, 0 */
    0x00138393,             /* 1: addi t2, t2, 1 */
    0x0072b023,             /* sd t2, 0(t0) */
    0xff9ff06f,             /* j 1b */
};

typedef struct Box { VmConfig config; Vm *vm; } Box;
static char *image, *loader;

static void box_start(Box *b, Engine engine, uint64_t ram)
{
    b->config = (VmConfig){
        .program = "test", .isa = "riscv64", .machine = (char *)"virt", .cpu = (char *)"rv64", .smp = 2, .maxcpus = 2,
        .ram_size = ram, .bios = (char *)"none", .engine = engine, .devices = g_ptr_array_new(),
    };
    g_ptr_array_add(b->config.devices, loader);
    b->vm = vm_new(&b->config);
    b->vm->isa = isa_find("riscv64");
    must(accel_start(b->vm));
    vm_lock(b->vm);
    must(board_make(b->vm));
    vm_reset(b->vm);
    vm_unlock(b->vm);
}

/* A call under the machine's lock; a thread holds one at a time. */
#define LOCKED(b, call) ({ vm_lock((b).vm); Err *e_ = (call); vm_unlock((b).vm); e_; })

static void box_end(Box *b)
{
    vm_lock(b->vm);
    vm_stop(b->vm, RUN_SHUTDOWN);
    vm_unlock(b->vm);
    accel_stop(b->vm);
    vm_lock(b->vm);
    board_free(b->vm);
    vm_unlock(b->vm);
    vm_free(b->vm);
    g_ptr_array_free(b->config.devices, true);
}

static uint64_t count(const Box *b, int hart)
{
    uint64_t v = 0;

    CHECK_EQ(space_read(b->vm->mem, COUNTS + 8 * hart, &v, 8), MEM_OK);
    return v;
}

/* Runs until both harts have counted on; false: they don't. */
static bool run(Box *b)
{
    uint64_t was[2] = { count(b, 0), count(b, 1) };
    bool on = false;

    vm_lock(b->vm);
    vm_start(b->vm);
    vm_unlock(b->vm);
    for (int i = 0; i < 5000 && !on; i++) {
        usleep(1000);
        on = count(b, 0) > was[0] + 1000 && count(b, 1) > was[1] + 1000;
    }
    vm_lock(b->vm);
    vm_stop(b->vm, RUN_PAUSED);
    vm_unlock(b->vm);
    return on;
}

/* A register of a hart by its IrGuest's name. */
static uint64_t reg(const Box *b, int hart, const char *name)
{
    const IrGuest *g = b->vm->isa->ir;

    for (int i = 0; i < g->nslots; i++) {
        if (!strcmp(g->slots[i].name, name))
            return *(uint64_t *)((char *)b->vm->vcpus[hart]->env + g->slots[i].off);
    }
    CHECK(false);
    return 0;
}

static void machine(Engine engine)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("state-XXXXXX", &path, NULL);
    uint64_t clock, counts[2], t2[2];
    struct stat st;
    Box a, b;

    close(fd);
    box_start(&a, engine, 64 << 20);
    CHECK(run(&a));
    clock = clock_now(a.vm, CLOCK_GUEST);
    must(LOCKED(a, state_save_file(a.vm, path)));
    for (int i = 0; i < 2; i++) {
        counts[i] = count(&a, i);
        t2[i] = reg(&a, i, "t2");
    }
    /* 64 MiB of which a page or two are not zeros. */
    CHECK(stat(path, &st) == 0 && st.st_blocks * 512 < 4 << 20);

    box_start(&b, engine, 64 << 20);
    CHECK(run(&b));
    must(LOCKED(b, state_load_file(b.vm, path)));
    CHECK_EQ(clock_now(b.vm, CLOCK_GUEST), (int64_t)clock);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(count(&b, i), counts[i]);
        CHECK_EQ(reg(&b, i, "t2"), t2[i]);
        CHECK_EQ(b.vm->vcpus[i]->env->pc, a.vm->vcpus[i]->env->pc);
    }
    /* A page that is given back is zeros, not the file's bytes again. */
    RamBlock *ram;
    uint64_t off;
    bool there = space_ram(b.vm->mem, COUNTS, 8, true, &ram, &off);
    uint64_t first = off & ~(uint64_t)(PAGE_SIZE - 1);
    if (there) {
        g_autofree uint8_t *was = g_memdup2(ram->host + first, PAGE_SIZE);

        vm_lock(b.vm);
        CHECK(ram_discard(ram, first, PAGE_SIZE));
        vm_unlock(b.vm);
        CHECK_EQ(count(&b, 0), 0);
        memcpy(ram->host + first, was, PAGE_SIZE);
    }
    CHECK(there);
    /* The file is mapped: what the guest writes is its own, and it may be saved over. */
    CHECK(run(&b));
    must(LOCKED(b, state_save_file(b.vm, path)));
    CHECK(run(&b));
    must(LOCKED(a, state_load_file(a.vm, path)));
    CHECK(run(&a));
    box_end(&a);
    box_end(&b);
    unlink(path);
}

static void test_machine_jit(void) { machine(ENGINE_JIT); }
static void test_machine_interp(void) { machine(ENGINE_INTERP); }

/* What does not fit is said before anything changes. */
static void test_refused(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("state-XXXXXX", &path, NULL);
    struct stat st;
    Box a, b;

    close(fd);
    box_start(&a, ENGINE_JIT, 16 << 20);
    CHECK(run(&a));
    must(LOCKED(a, state_save_file(a.vm, path)));
    box_start(&b, ENGINE_JIT, 32 << 20);
    CHECK(run(&b));
    CHECK(says(LOCKED(b, state_load_file(b.vm, path)), "memory"));
    CHECK(run(&b));
    box_end(&b);

    /* With bytes of the header and of the state changed, and cut. */
    uint64_t before = count(&a, 0);
    fd = open(path, O_RDWR);
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    for (off_t i = 0; i < 3 * 4096; i += 113) {
        uint8_t byte, other;

        if (i >= 4180 && i < 8192)
            continue;           /* between the header's end and the state: nobody's */
        CHECK(pread(fd, &byte, 1, i) == 1);
        other = byte ^ 0x40;
        CHECK(pwrite(fd, &other, 1, i) == 1);
        Err *e = LOCKED(a, state_load_file(a.vm, path));
        if (!e)
            printf("byte %d was changed, and nobody noticed\n", (int)i), test_case_bad++;
        err_free(e);
        CHECK(pwrite(fd, &byte, 1, i) == 1);
    }
    for (int i = 1; i <= 5; i++) {
        CHECK(ftruncate(fd, st.st_size - i * (st.st_size / 5)) == 0);
        Err *e = LOCKED(a, state_load_file(a.vm, path));
        CHECK(e != NULL);
        err_free(e);
    }
    close(fd);
    CHECK_EQ(count(&a, 0), before);
    CHECK(run(&a));
    box_end(&a);
    unlink(path);
}

/* Without disks a name is no place; a path is. */
static void test_names(void)
{
    g_autofree char *dir = g_dir_make_tmp("state-XXXXXX", NULL), *path = g_build_filename(dir, "one.lyre", NULL);
    GArray *list;
    Box a;

    box_start(&a, ENGINE_JIT, 16 << 20);
    CHECK(run(&a));
    CHECK(says(LOCKED(a, snapshot_save(a.vm, "one")), "no disk"));
    CHECK(says(LOCKED(a, snapshot_save(a.vm, "")), "cannot be the name"));
    CHECK(says(LOCKED(a, snapshot_save(a.vm, "../..")), "cannot be the name"));
    CHECK(says(LOCKED(a, snapshot_load(a.vm, path)), "cannot open"));
    must(LOCKED(a, snapshot_save(a.vm, path)));
    uint64_t was = count(&a, 0);
    CHECK(run(&a));
    must(LOCKED(a, snapshot_load(a.vm, path)));
    CHECK_EQ(count(&a, 0), was);
    must(LOCKED(a, snapshot_list(a.vm, &list)));
    CHECK_EQ(list->len, 0u);
    g_array_unref(list);
    must(LOCKED(a, snapshot_delete(a.vm, path)));
    CHECK(says(LOCKED(a, snapshot_delete(a.vm, path)), "no snapshot"));
    box_end(&a);
    rmdir(dir);
}

/* ---- what older builds have written: tests/unit/saved */

/* gzip's packing, and its opposite. */
static bool copy_gz(const char *from, const char *to, bool pack)
{
    gzFile in = gzopen(from, "rb"), out = gzopen(to, pack ? "wb9" : "wbT");
    uint8_t buf[65536];
    int n = -1;

    while (in && out && (n = gzread(in, buf, sizeof(buf))) > 0 && gzwrite(out, buf, n) == n)
        ;
    bool good = in && out && !n;
    good &= !in || gzclose(in) == Z_OK;
    good &= !out || gzclose(out) == Z_OK;
    return good;
}

/* A migration under way is over. */
static bool migrated(Box *b)
{
    int64_t end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    MigrateInfo i;

    do {
        vm_turn(b->vm, false);
        vm_lock(b->vm);
        migrate_info(b->vm, &i);
        vm_unlock(b->vm);
        usleep(1000);
    } while (i.status != MIGRATE_COMPLETED && i.status != MIGRATE_FAILED && g_get_monotonic_time() < end);
    return i.status == MIGRATE_COMPLETED;
}

/* Writes what is kept: after a change of a form under another name, and the old ones stay. */
static int keep(const char *file, const char *stream)
{
    g_autofree char *path = g_strconcat(file, ".temp", NULL), *uri = g_strconcat("file:", path, NULL);
    Box a;

    box_start(&a, ENGINE_JIT, 16 << 20);
    bool good = run(&a);
    must(LOCKED(a, state_save_file(a.vm, path)));
    good &= copy_gz(path, file, true);
    must(LOCKED(a, migrate_start(a.vm, uri)));
    good &= migrated(&a) && copy_gz(path, stream, true);
    unlink(path);
    box_end(&a);
    return good ? 0 : 1;
}

static void try_kept(const char *name, bool migration)
{
    const char *src = getenv("LYRE_SRC");
    g_autofree char *packed = g_build_filename(src ? src : ".", "tests/unit/saved", name, NULL), *path = NULL, *uri = NULL;
    int fd = g_file_open_tmp("state-XXXXXX", &path, NULL);
    Box a;

    close(fd);
    CHECK(copy_gz(packed, path, false));
    uri = g_strconcat("file:", path, NULL);
    box_start(&a, ENGINE_JIT, 16 << 20);
    if (migration) {
        must(LOCKED(a, migrate_incoming(a.vm, uri, false)));
        CHECK(migrated(&a));
    } else {
        must(LOCKED(a, state_load_file(a.vm, path)));
    }
    /* It had counted, in memory and in a register; which of the two is ahead depends on where it stood. */
    for (int i = 0; i < 2; i++) {
        CHECK(count(&a, i) > 1000);
        CHECK(reg(&a, i, "t2") - count(&a, i) <= 1);
    }
    CHECK(run(&a));
    box_end(&a);
    unlink(path);
}

static void test_kept_file(void) { try_kept("machine-1.gz", false); }
static void test_kept_stream(void) { try_kept("migration-1.gz", true); }

int main(int argc, char **argv)
{
    int fd = g_file_open_tmp("state-guest-XXXXXX", &image, NULL);

    if (fd < 0 || write(fd, guest, sizeof(guest)) != sizeof(guest))
        return 1;
    close(fd);
    loader = g_strdup_printf("loader,file=%s,addr=0x80000000", image);
    if (argc == 4 && !strcmp(argv[1], "--keep"))
        return keep(argv[2], argv[3]);
    RUN(test_round);
    RUN(test_versions);
    RUN(test_unknown);
    RUN(test_damage);
    RUN(test_machine_jit);
    RUN(test_machine_interp);
    RUN(test_refused);
    RUN(test_names);
    RUN(test_kept_file);
    RUN(test_kept_stream);
    unlink(image);
    g_free(image);
    g_free(loader);
    return test_end();
}
