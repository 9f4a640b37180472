/* SPDX-License-Identifier: MIT */
/*
 * What becomes of the host's trouble: a virtio-blk, a virtio-scsi disk and an NVMe controller on images that
 * fail, are full, are cut short or lost altogether while they are in use. The guest gets what werror and
 * rerror say, every request is answered or waits for the machine to go on, and nothing else happens.
 */
#define RIG_HARTS 1
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

#include "hw/pci/pci.h"
#include "hw/scsi/scsi.h"
#include "system/state.h"
#include "monitor/block_events.h"
#include "tests/dev/disk-rig.h"
#include "tests/dev/events.h"
#include "tests/dev/vdriver.h"

enum { SIZE = 1 << 20, LEN = 4096, PAGE = 4096, BAR = 0x40000000, DEPTH = 16 };
enum { READ, WRITE, SYNC };
typedef enum Answer { GOOD, FAILED, SILENT } Answer;

typedef struct Box Box;

/* A kind of disk device, with one request at a time. */
typedef struct Kind {
    const char *name, *where;                   /* where: iothread= of the device, while the drive is in "disks" */
    void (*attach)(Box *b, const char *more);   /* the device on drive d0, with werror= and such; and its driver */
    void (*ask)(Box *b, unsigned what, uint64_t block);     /* LEN bytes of b->data at that many times LEN */
    Answer (*answer)(Box *b, int ms);
    void (*detach)(Box *b);
} Kind;

struct Box {
    const Kind *kind;
    Rig r;
    Vd d;
    DiskRig disk;
    uint64_t data, head, tail;
    uint64_t sq[2], cq[2];                      /* nvme: admin, I/O */
    unsigned at[2], got[2];
    bool phase[2];
    uint16_t cid;
};

static uint8_t *mem(Box *b, uint64_t at) { return space_ram(b->r.vm->mem, at, LEN, true, NULL, NULL); }

/* ---- virtio-blk */

static void virtio_attach(Box *b, const char *device, unsigned queues)
{
    vd_attach(&b->d, &b->r, device);
    vd_start(&b->d, UINT64_MAX, queues, 64);
    b->head = vd_alloc(&b->d, 64);
    b->tail = vd_alloc(&b->d, 128);
    b->data = vd_alloc(&b->d, LEN);
}

static void blk_attach(Box *b, const char *more)
{
    g_autofree char *device = g_strdup_printf("virtio-blk-device,drive=d0%s%s", b->kind->where, more);

    virtio_attach(b, device, 1);
}

static void blk_ask(Box *b, unsigned what, uint64_t block)
{
    static const uint32_t types[] = { 0, 1, 4 };
    uint64_t sector = what == SYNC ? 0 : block * (LEN / 512);
    VdBuf bufs[] = { { b->head, 16, false }, { b->data, LEN, what == READ }, { b->tail, 1, true } };

    memset(mem(b, b->head), 0, 16);
    memcpy(mem(b, b->head), &types[what], 4);
    memcpy(mem(b, b->head) + 8, &sector, 8);
    if (what == SYNC)
        bufs[1] = bufs[2];
    vd_add(&b->d, 0, bufs, what == SYNC ? 2 : 3, b);
    vd_kick(&b->d, 0);
}

static Answer blk_answer(Box *b, int ms)
{
    return !vd_used(&b->d, 0, ms, NULL) ? SILENT : *mem(b, b->tail) ? FAILED : GOOD;
}

static void virtio_detach(Box *b)
{
    vd_detach(&b->d);
}

/* ---- virtio-scsi */

static void scsi_ask(Box *b, unsigned what, uint64_t block)
{
    static const uint8_t codes[] = { 0x28, 0x2a, 0x35 };
    uint8_t *h = mem(b, b->head);
    VdBuf bufs[3] = { { b->head, 51, false } };

    memset(h, 0, 64);
    h[0] = 1;
    h[19] = codes[what];
    if (what != SYNC) {
        put_be(h + 21, block * (LEN / 512), 4);
        put_be(h + 26, LEN / 512, 2);
    }
    memset(mem(b, b->tail), 0xff, 128);
    bufs[1] = what == WRITE ? (VdBuf){ b->data, LEN, false } : (VdBuf){ b->tail, 108, true };
    bufs[2] = what == WRITE ? (VdBuf){ b->tail, 108, true } : (VdBuf){ b->data, LEN, true };
    vd_add(&b->d, 2, bufs, what == SYNC ? 2 : 3, b);
    vd_kick(&b->d, 2);
}

/* A check condition comes with a sense key that is not NO SENSE. */
static Answer scsi_answer(Box *b, int ms)
{
    const uint8_t *a = mem(b, b->tail);

    if (!vd_used(&b->d, 2, ms, NULL))
        return SILENT;
    CHECK(a[11] == 0 && (a[10] == SCSI_GOOD || (a[10] == SCSI_CHECK && a[14] & 15)));
    return a[11] || a[10] ? FAILED : GOOD;
}

static void scsi_attach(Box *b, const char *more)
{
    g_autofree char *device = g_strdup_printf("scsi-hd,id=u,drive=d0%s", more);

    g_autofree char *adapter = g_strdup_printf("virtio-scsi-device%s", b->kind->where);

    virtio_attach(b, adapter, 3);
    rig_must(device_add(b->r.vm, device));
    scsi_ask(b, SYNC, 0);                       /* "reset or power on" is said once */
    scsi_answer(b, 60000);
}

static void scsi_detach(Box *b)
{
    device_free(device_find(b->r.vm, "u"));
    vd_detach(&b->d);
}

/* ---- NVMe */

static void nvme_submit(Box *b, unsigned q, const uint32_t *dw)
{
    uint32_t c[16];

    memcpy(c, dw, sizeof(c));
    c[0] |= (uint32_t)++b->cid << 16;
    memcpy(mem(b, b->sq[q]) + 64 * b->at[q], c, 64);
    b->at[q] = (b->at[q] + 1) % DEPTH;
    wr32(&b->r, BAR + 0x1000 + 8 * q, b->at[q]);
}

static Answer nvme_reap(Box *b, unsigned q, int ms)
{
    uint64_t *e = (uint64_t *)(mem(b, b->cq[q]) + 16 * b->got[q]);       /* the half with the phase is written last */

    for (int64_t end = g_get_monotonic_time() + ms * 1000; (__atomic_load_n(&e[1], __ATOMIC_ACQUIRE) >> 48 & 1) != b->phase[q]; usleep(20)) {
        if (g_get_monotonic_time() >= end)
            return SILENT;
    }
    unsigned status = e[1] >> 49;
    if (++b->got[q] == DEPTH) {
        b->got[q] = 0;
        b->phase[q] = !b->phase[q];
    }
    wr32(&b->r, BAR + 0x1004 + 8 * q, b->got[q]);
    return status ? FAILED : GOOD;
}

static void nvme_attach(Box *b, const char *more)
{
    uint64_t at = VD_RAM;

    for (unsigned q = 0; q < 2; q++, at += 2 * PAGE) {
        b->sq[q] = at;
        b->cq[q] = at + PAGE;
        b->at[q] = b->got[q] = 0;
        b->phase[q] = true;
        memset(mem(b, b->cq[q]), 0, PAGE);
    }
    b->data = at;
    PciDevice *pci = (PciDevice *)device_find(b->r.vm, "n");
    pci_config_write(pci, 0x10, BAR, 4);
    pci_config_write(pci, 0x14, 0, 4);
    pci_config_write(pci, 4, 6, 2);
    wr32(&b->r, BAR + 0x24, (DEPTH - 1) << 16 | (DEPTH - 1));
    wr(&b->r, BAR + 0x28, b->sq[0], 8);
    wr(&b->r, BAR + 0x30, b->cq[0], 8);
    wr32(&b->r, BAR + 0x14, 4 << 20 | 6 << 16 | 1);
    for (int i = 0; i < 100000 && !(rd32(&b->r, BAR + 0x1c) & 1); i++)
        usleep(50);
    nvme_submit(b, 0, (uint32_t[16]){ [0] = 5, [6] = b->cq[1], [10] = (DEPTH - 1) << 16 | 1, [11] = 3 });
    CHECK_EQ(nvme_reap(b, 0, 60000), GOOD);
    nvme_submit(b, 0, (uint32_t[16]){ [0] = 1, [6] = b->sq[1], [10] = (DEPTH - 1) << 16 | 1, [11] = 1 << 16 | 1 });
    CHECK_EQ(nvme_reap(b, 0, 60000), GOOD);
}

static void nvme_ask(Box *b, unsigned what, uint64_t block)
{
    static const uint32_t codes[] = { 2, 1, 0 };

    nvme_submit(b, 1, (uint32_t[16]){ [0] = codes[what], [1] = 1, [6] = b->data, [10] = block * (LEN / 512), [12] = LEN / 512 - 1 });
}

static Answer nvme_answer(Box *b, int ms)
{
    return nvme_reap(b, 1, ms);
}

static void nvme_detach(Box *b)
{
}

static const Kind kinds[] = {
    { "virtio-blk", "", blk_attach, blk_ask, blk_answer, virtio_detach },
    { "virtio-blk in another thread", ",iothread=t0", blk_attach, blk_ask, blk_answer, virtio_detach },
    { "virtio-scsi", "", scsi_attach, scsi_ask, scsi_answer, scsi_detach },
    { "virtio-scsi in another thread", ",iothread=t0", scsi_attach, scsi_ask, scsi_answer, scsi_detach },
    { "nvme", "", nvme_attach, nvme_ask, nvme_answer, nvme_detach },
};

/* ---- a machine with one of them */

typedef struct NewImage { BlockGraph *graph; const char *path; bool qcow2; } NewImage;

static void new_image(void *opaque)
{
    const NewImage *n = opaque;
    char *said = NULL;

    rig_must(image_create(n->graph, &(CreateRequest){ .filename = n->path, .format = n->qcow2 ? "qcow2" : "raw", .size = SIZE }, &said));
    g_free(said);
}

/* d0 is to be made by `blockdev`, or by `drive`; %s in them is the image, which is made if it is not the rig's. The machine runs. */
static void box_make(Box *b, const Kind *kind, const char *blockdev, const char *drive, const char *image, const char *more)
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new();
    g_autofree char *nvme = g_strdup_printf("nvme,id=n,drive=d0,serial=S1%s", more);
    g_autoptr(GString) arg = g_string_new(blockdev ? blockdev : drive);
    IoThread *t;

    *b = (Box){ .kind = kind };
    disk_rig_init(&b->disk, &b->r, SIZE);
    rig_must(iothread_new(b->r.vm, "t0", &t));
    g_string_replace(arg, "%s", image ? image : b->disk.img, 0);
    if (image)
        iothread_run(disks_thread(b->r.vm->disks), new_image, &(NewImage){ disks_graph(b->r.vm->disks), image, strstr(drive, "qcow2") });
    rig_must(blockdev ? disks_add_blockdev(b->r.vm->disks, arg->str) : disks_add_drive(b->r.vm->disks, arg->str, false));
    if (kind->ask == nvme_ask)
        g_ptr_array_add(devices, nvme);
    b->r.config.devices = devices;
    rig_board(&b->r);
    b->r.config.devices = NULL;
    b->r.vm->state = RUN_RUNNING;
    kind->attach(b, more);
    memset(mem(b, b->data), 0x5a, LEN);
}

static void box_free(Box *b)
{
    b->kind->detach(b);
    disk_rig_free(&b->disk, &b->r);
}

static Answer request(Box *b, unsigned what, uint64_t block)
{
    b->kind->ask(b, what, block);
    return b->kind->answer(b, 60000);
}

/* The machine, which stands, is saved and loaded again: what it keeps is still there. */
static bool save_and_load(Box *b)
{
    g_autofree char *path = g_strconcat(b->disk.dir, "/saved", NULL);
    GByteArray *was = state_gather(b->r.vm);

    rig_must(state_save_file(b->r.vm, path));
    memset(mem(b, b->data), 0, LEN);
    if (b->d.v)
        virtio_set_status(b->d.v, 0);           /* the test's transport has no reset that does it */
    rig_must(state_load_file(b->r.vm, path));
    unlink(path);
    GByteArray *is = state_gather(b->r.vm);
    bool same = was->len == is->len && !memcmp(was->data, is->data, was->len);
    g_byte_array_unref(was);
    g_byte_array_unref(is);
    return same;
}

/* Does the machine stop at it, and the request end well when it goes on? `mend` is done before that. */
static bool stops(Box *b, unsigned what, uint64_t block, void (*mend)(void))
{
    b->kind->ask(b, what, block);
    bool silent = b->kind->answer(b, 60) == SILENT;
    for (int i = 0; i < 2000 && b->r.vm->state != RUN_IO_ERROR; i++)
        rig_turn(&b->r, 1);
    bool stood = b->r.vm->state == RUN_IO_ERROR;
    if (stood && !save_and_load(b)) {
        printf("%s: another state was loaded than was saved\n", b->kind->name);
        stood = false;
    }
    if (mend)
        mend();
    vm_start(b->r.vm);
    Answer a = b->kind->answer(b, 60000);

    if (!silent || !stood || a != GOOD)
        printf("%s: %s, %s, then %d\n", b->kind->name, silent ? "no answer" : "an answer", stood ? "stops" : "does not stop", a);
    return silent && stood && a == GOOD;
}

/* ---- werror and rerror, by errno */

/* BLOCK_IO_ERROR: one line for what happened, with all that clients decide by. */
static bool tells(Box *b, Events *e, bool write, const char *action, int error)
{
    g_autofree char *want = g_strdup_printf("BLOCK_IO_ERROR {\"action\":\"%s\",\"device\":\"\",\"node-name\":\"d0\",\"nospace\":%s,"
        "\"operation\":\"%s\",\"qom-path\":\"", action, error == ENOSPC ? "true" : "false", write ? "write" : "read");
    g_autofree char *reason = g_strdup_printf("\",\"reason\":\"%s\"}\n", g_strerror(error));

    disks_tell_now(b->r.vm->disks);
    g_autofree char *said = events_take(e);
    const char *at = strstr(said, "BLOCK_IO_ERROR");
    bool ok = at && g_str_has_prefix(at, want) && strstr(at, reason) && !strstr(at + 1, "BLOCK_IO_ERROR");

    if (!ok)
        printf("%s: not %s but %s", b->kind->name, want, said);
    return ok;
}

static void try_policy(const Kind *kind, bool write, const char *policy, int error, Answer want)
{
    const char *how = write ? "write" : "read";
    g_autofree char *node = g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"d0\",\"file\":{\"driver\":\"blkdebug\",\"inject-error\":["
        "{\"event\":\"none\",\"iotype\":\"%s\",\"errno\":%d,\"sector\":80%s}],\"image\":{\"driver\":\"file\",\"filename\":\"%%s\"}}}",
        how, error, want == SILENT ? ",\"once\":true" : "");
    g_autofree char *more = g_strdup_printf(",%s=%s", write ? "werror" : "rerror", policy);
    Box b;

    Events e;

    box_make(&b, kind, node, NULL, NULL, more);
    events_listen(&e, b.r.vm);
    block_events_init(b.r.vm);
    bool ok = want == SILENT ? stops(&b, write ? WRITE : READ, 10, NULL) : request(&b, write ? WRITE : READ, 10) == want;
    if (!ok)
        printf("%s: %s=%s and errno %d\n", kind->name, write ? "werror" : "rerror", policy, error);
    CHECK(ok && b.r.vm->state == RUN_RUNNING);
    CHECK(tells(&b, &e, write, want == SILENT ? "stop" : want == GOOD ? "ignore" : "report", error));
    block_events_clear(b.r.vm);
    events_end(&e, b.r.vm);
    CHECK_EQ(request(&b, write ? READ : WRITE, 10), GOOD);
    CHECK_EQ(request(&b, SYNC, 0), GOOD);
    box_free(&b);
}

static void test_policies(void)
{
    for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
        try_policy(&kinds[k], true, "report", EIO, FAILED);
        try_policy(&kinds[k], true, "report", ENOSPC, FAILED);
        try_policy(&kinds[k], true, "ignore", EIO, GOOD);
        try_policy(&kinds[k], true, "stop", EIO, SILENT);
        try_policy(&kinds[k], true, "enospc", ENOSPC, SILENT);
        try_policy(&kinds[k], true, "enospc", EIO, FAILED);
        try_policy(&kinds[k], true, "auto", ENOSPC, SILENT);
        try_policy(&kinds[k], false, "report", EIO, FAILED);
        try_policy(&kinds[k], false, "ignore", EIO, GOOD);
        try_policy(&kinds[k], false, "stop", EIO, SILENT);
        try_policy(&kinds[k], false, "auto", EIO, FAILED);
    }
}

/* ---- a file system that is full */

static char *small_fs;

static void enlarge(void)
{
    mount("none", small_fs, "tmpfs", MS_REMOUNT, "size=4m");
}

/* A file system of 640 KiB of our own; false: the host does not let us. */
static bool make_small(void)
{
    small_fs = g_dir_make_tmp("small-XXXXXX", NULL);
    if (geteuid() || unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", small_fs, "tmpfs", 0, "size=640k")) {
        printf("no file system can be mounted here: a full one is not tried\n");
        rmdir(small_fs);
        return false;
    }
    return true;
}

static void try_full(const Kind *kind, bool qcow2, bool stop)
{
    g_autofree char *path = g_strdup_printf("%s/disk", small_fs);
    g_autofree char *drive = g_strdup_printf("if=none,id=d0,format=%s,file=%%s", qcow2 ? "qcow2" : "raw");
    unsigned block = 0, failed;
    Answer a = GOOD;
    Box b;

    mount("none", small_fs, "tmpfs", MS_REMOUNT, "size=640k");
    box_make(&b, kind, NULL, drive, path, stop ? ",werror=enospc" : ",werror=report");
    if (stop) {
        while (block < 250 && b.r.vm->state == RUN_RUNNING) {
            kind->ask(&b, WRITE, block++);
            a = kind->answer(&b, 500);
            rig_turn(&b.r, 1);
        }
        CHECK(a == SILENT && b.r.vm->state == RUN_IO_ERROR && block > 8);
        enlarge();
        vm_start(b.r.vm);
        CHECK_EQ(kind->answer(&b, 60000), GOOD);
    } else {
        while (block < 250 && (a = request(&b, WRITE, block)) == GOOD)
            block++;
        CHECK(a == FAILED && block > 8);
        failed = block;
        CHECK_EQ(request(&b, READ, 0), GOOD);
        CHECK_EQ(request(&b, WRITE, 0), GOOD);          /* it has its place */
        enlarge();
        CHECK_EQ(request(&b, WRITE, failed), GOOD);
    }
    CHECK_EQ(request(&b, SYNC, 0), GOOD);
    for (unsigned i = 0; i < block; i++) {
        memset(mem(&b, b.data), 0, LEN);
        CHECK_EQ(request(&b, READ, i), GOOD);
        CHECK(mem(&b, b.data)[0] == 0x5a && mem(&b, b.data)[LEN - 1] == 0x5a);
    }
    box_free(&b);
    unlink(path);
}

static void test_full(void)
{
    if (!make_small())
        return;
    for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
        for (unsigned i = 0; i < 4; i++)
            try_full(&kinds[k], i & 1, i & 2);
    }
    umount(small_fs);
    rmdir(small_fs);
    g_free(small_fs);
}

/* ---- the file is cut short, or lost */

/* Any requests: each is answered, one way or another. */
static void any_work(Box *b, unsigned *good, unsigned *failed)
{
    for (unsigned i = 0; i < 120; i++) {
        Answer a = request(b, i % 10 == 9 ? SYNC : i % 3 ? READ : WRITE, i * 37 % (SIZE / LEN));

        CHECK(a != SILENT);
        *good += a == GOOD;
        *failed += a == FAILED;
    }
}

/* The descriptors by which this process has the file open become ones of `to`. */
static void replace_fds(const char *path, int to)
{
    for (int fd = 3; fd < 200; fd++) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);
        g_autofree char *is = g_file_read_link(link, NULL);

        if (is && !strcmp(is, path))
            dup2(to, fd);
    }
}

static void try_lost(const Kind *kind, bool qcow2, unsigned how)
{
    g_autofree char *dir = g_dir_make_tmp("lost-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "disk", NULL);
    g_autofree char *drive = g_strdup_printf("if=none,id=d0,format=%s,file=%%s", qcow2 ? "qcow2" : "raw");
    unsigned good = 0, failed = 0;
    Box b;

    box_make(&b, kind, NULL, drive, path, ",werror=report,rerror=report");
    any_work(&b, &good, &failed);
    CHECK_EQ(failed, 0);
    good = 0;
    int folder = open(dir, O_RDONLY | O_DIRECTORY);
    if (how == 0)
        CHECK(truncate(path, 0) == 0);
    else if (how == 1)
        CHECK(truncate(path, qcow2 ? 200000 : SIZE / 2 + 1000) == 0);
    else if (how == 2)
        unlink(path);
    else
        replace_fds(path, folder);      /* the device is gone: nothing can be read or written by it */
    any_work(&b, &good, &failed);
    if (how == 2)
        CHECK_EQ(failed, 0);
    if (how == 3)
        CHECK(failed >= (qcow2 ? 20 : 100));
    CHECK(b.r.vm->state == RUN_RUNNING);
    box_free(&b);
    close(folder);
    unlink(path);
    rmdir(dir);
}

static void test_lost(void)
{
    for (unsigned k = 0; k < G_N_ELEMENTS(kinds); k++) {
        for (unsigned how = 0; how < 4; how++) {
            try_lost(&kinds[k], false, how);
            try_lost(&kinds[k], true, how);
        }
    }
}

int main(void)
{
    RUN(test_policies);
    RUN(test_full);
    RUN(test_lost);
    return test_end();
}
