/* SPDX-License-Identifier: MIT */
/*
 * A machine saved into its disk's image (qcow2): memory is mapped from there when it is loaded, and is the same page
 * by page; what happens to the image afterwards does not reach it: the snapshot is deleted and its clusters are used
 * again, the disk is handed over, or closed, and another writes the file.
 */
#define RIG_HARTS 1
#include <fcntl.h>
#include <sys/stat.h>
#include <zlib.h>

#include "block/block.h"
#include "system/disks-priv.h"
#include "system/state.h"
#include "tests/dev/rig.h"

enum { RAM_BYTES = 16 << 20, PAGES = RAM_BYTES / PAGE_SIZE };

static Rig rig, *r = &rig;
static char *image;

static void make_image(void *options)
{
    const CreateRequest q = { .filename = image, .format = "qcow2", .options = options, .size = 1 << 20 };

    rig_must(image_create(disks_graph(r->vm->disks), &q, NULL));
}

/* ---- an image that an older build has written: with a snapshot "s" of memory that holds `fill_few(7)` */

static void fill_few(unsigned seed);

static void unpack_kept(void)
{
    const char *src = getenv("LYRE_SRC");
    g_autofree char *packed = g_build_filename(src ? src : ".", "tests/dev/saved/snapshot-1.qcow2.gz", NULL);
    gzFile in = gzopen(packed, "rb");
    FILE *out = fopen(image, "wb");
    uint8_t buf[65536];
    int n = -1;

    while (in && out && (n = gzread(in, buf, sizeof(buf))) > 0)
        CHECK_EQ(fwrite(buf, 1, n, out), (size_t)n);
    CHECK(in && out && !n);
    gzclose(in);
    fclose(out);
}

/* "kept": not a new one. */
static void begin(const char *options)
{
    g_autofree char *drive = NULL;

    image = rig_file("", 0);
    drive = g_strdup_printf("if=none,id=d0,format=qcow2,file.locking=off,file=%s", image);
    rig_init(r);
    r->config.ram_size = RAM_BYTES;
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)"virtio-blk-pci,drive=d0");
    r->cpus[0].standing = true;
    vm_unlock(r->vm);
    rig_must(disks_new(r->vm, &r->vm->disks));
    if (!options || strcmp(options, "kept"))
        iothread_run(disks_thread(r->vm->disks), make_image, (void *)options);
    else
        unpack_kept();
    rig_must(disks_add_drive(r->vm->disks, drive, false));
    vm_lock(r->vm);
    rig_board(r);
    vm_stop(r->vm, RUN_PAUSED);
}

static void close_disks(void)
{
    board_free(r->vm);
    vm_unlock(r->vm);
    disks_free(r->vm->disks);
    vm_lock(r->vm);
    r->vm->disks = NULL;
}

static void end(void)
{
    GPtrArray *devices = r->config.devices;

    if (r->vm->disks)
        close_disks();
    rig_free(r);
    g_ptr_array_free(devices, true);
    rig_unlink(image);
}

/* ---- memory that is known: zeros, equal pages, others */

/* The block itself: the board, and what maps it, may be gone. */
static uint8_t *page(unsigned n)
{
    RamBlock *b = r->vm->rams;

    while (b->size != RAM_BYTES)
        b = b->next;
    return b->host + (uint64_t)n * PAGE_SIZE;
}

static void known(unsigned n, unsigned seed, uint64_t *out)
{
    unsigned kind = n * 2654435761u >> 29;

    for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
        out[i] = kind < 3 ? 0 : kind < 4 ? seed : (n + 1) * UINT64_C(0x9e3779b97f4a7c15) * (i + seed);
}

static void fill(unsigned seed)
{
    uint64_t is[PAGE_SIZE / 8];

    for (unsigned n = 0; n < PAGES; n++) {
        known(n, seed, is);
        memcpy(page(n), is, PAGE_SIZE);
    }
}

static void check(unsigned from, unsigned seed)
{
    uint64_t is[PAGE_SIZE / 8];
    unsigned wrong = 0;

    for (unsigned n = from; n < PAGES; n++) {
        known(n, seed, is);
        wrong += memcmp(page(n), is, PAGE_SIZE) != 0;
    }
    CHECK_EQ(wrong, 0u);
}

static bool is_mapped(void)
{
    g_autofree char *maps = NULL;

    return g_file_get_contents("/proc/self/maps", &maps, NULL, NULL) && strstr(maps, image);
}

/* It was saved, then changed, and is loaded. */
static void load(const char *options)
{
    begin(options);
    fill(1);
    rig_must(snapshot_save(r->vm, "s"));
    fill(2);
    rig_must(snapshot_load(r->vm, "s"));
}

/* ---- tests */

static void test_the_same(void)
{
    load(NULL);
    CHECK(is_mapped());
    check(0, 1);
    fill(3);
    rig_must(snapshot_load(r->vm, "s"));
    rig_must(snapshot_load(r->vm, "s"));
    check(0, 1);
    end();
}

static void test_other_clusters(void)
{
    static const char *const options[] = { "cluster_size=4k", "cluster_size=512", "cluster_size=2M", "extended_l2=on,cluster_size=128k", "compat=0.10" };

    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        load(options[i]);
        check(0, 1);
        end();
    }
}

/* What is saved next takes the clusters that become free. */
static void test_deleted(void)
{
    load(NULL);
    rig_must(snapshot_delete(r->vm, "s"));
    for (unsigned n = 0; n < PAGES / 2; n++)
        memset(page(n), 0, PAGE_SIZE);
    rig_must(snapshot_save(r->vm, "t"));
    check(PAGES / 2, 1);
    fill(2);
    rig_must(snapshot_load(r->vm, "t"));
    check(PAGES / 2, 1);
    rig_must(snapshot_save(r->vm, "t"));        /* replaces the one that memory is mapped from */
    check(PAGES / 2, 1);
    end();
}

static void spoil_image(void)
{
    struct stat st;
    int fd = open(image, O_WRONLY);
    uint8_t other[PAGE_SIZE];

    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    memset(other, 0xee, sizeof(other));
    for (off_t at = 0; at < st.st_size; at += PAGE_SIZE)
        CHECK_EQ(pwrite(fd, other, PAGE_SIZE, at), PAGE_SIZE);
    close(fd);
}

static void test_handed_over(void)
{
    load(NULL);
    rig_must(disks_hand_over(r->vm->disks));
    spoil_image();
    check(0, 1);
    end();
}

static void test_closed(void)
{
    load(NULL);
    close_disks();
    spoil_image();
    check(0, 1);
    end();
}

/* Each 64th page. */
static void fill_few(unsigned seed)
{
    for (unsigned n = 0; n < PAGES; n++)
        memset(page(n), n % 64 ? 0 : (int)(n / 64 + seed), PAGE_SIZE);
}

static void test_kept(void)
{
    begin("kept");
    rig_must(snapshot_load(r->vm, "s"));
    for (unsigned n = 0; n < PAGES; n++) {
        uint8_t is = n % 64 ? 0 : n / 64 + 7;

        CHECK(page(n)[0] == is && !memcmp(page(n), page(n) + 1, PAGE_SIZE - 1));
    }
    end();
}

/* After a change of the form, under a new name; the old one stays. */
static int keep(const char *path)
{
    g_autofree char *bytes = NULL;
    gsize len;

    begin("cluster_size=4k");
    fill_few(7);
    rig_must(snapshot_save(r->vm, "s"));
    close_disks();
    gzFile out = gzopen(path, "wb9");
    bool good = out && g_file_get_contents(image, &bytes, &len, NULL) && gzwrite(out, bytes, len) == (int)len;
    good &= out && gzclose(out) == Z_OK;
    end();
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--keep"))
        return keep(argv[2]);
    RUN(test_the_same);
    RUN(test_other_clusters);
    RUN(test_deleted);
    RUN(test_handed_over);
    RUN(test_closed);
    RUN(test_kept);
    return test_end();
}
