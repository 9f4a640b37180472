/* SPDX-License-Identifier: MIT */
/*
 * virtio-scsi with scsi-hd and scsi-cd, driven by its rings: who answers at which
 * address, what units say of themselves, reads and writes against a model, ranges, mode pages, the
 * tray, task management, events of plugging, errors of the host, and commands that make no sense.
 */
#define RIG_HARTS 1
#include "hw/scsi/scsi.h"
#include "tests/dev/disk-rig.h"
#include "tests/dev/vdriver.h"

enum {
    SIZE = 1 << 20, BLOCKS = SIZE / 512, BUF = 1 << 17,
    CONTROL = 0, EVENTS = 1, COMMANDS = 2,
    RE_OVERRUN = 1, RE_BAD_TARGET = 3, RE_RESET = 4, RE_FAILURE = 9, RE_INCORRECT_LUN = 12, RE_NONE = 0xff,
};

typedef struct Box {
    Rig r;
    Vd d;
    DiskRig disk;
    uint64_t head, data, answer;
    uint8_t status;                     /* of the last command; its sense, and how much was not moved */
    uint8_t sense[96];
    uint32_t residual;
} Box;

static void add_drive(Box *b, const char *id, const char *more)
{
    g_autofree char *arg = g_strdup_printf("if=none,id=%s,format=raw,file=%s,file.locking=off%s", id, b->disk.img, more);

    rig_must(disks_add_drive(b->r.vm->disks, arg, false));
}

static void box_make(Box *b, const char *adapter)
{
    *b = (Box){0};
    disk_rig_init(&b->disk, &b->r, SIZE);
    rig_board(&b->r);
    b->r.vm->state = RUN_RUNNING;
    g_autofree char *arg = g_strdup_printf("virtio-scsi-device,id=a%s", adapter);
    vd_attach(&b->d, &b->r, arg);
    add_drive(b, "d0", "");
}

static void start(Box *b)
{
    vd_start(&b->d, UINT64_MAX, 3, 64);
    b->head = vd_alloc(&b->d, 64);
    b->data = vd_alloc(&b->d, BUF);
    b->answer = vd_alloc(&b->d, 128);
}

static void plug(Box *b, const char *device) { rig_must(device_add(b->r.vm, device)); }

static void unplug_all(Box *b)
{
    for (Device *d = machine_of(b->r.vm)->devices, *next; d; d = next) {
        next = d->next;
        if (!strncmp(d->cls->name, "scsi-", 5))
            device_free(d);
    }
}

static void box_free(Box *b)
{
    unplug_all(b);
    vd_detach(&b->d);
    disk_rig_free(&b->disk, &b->r);
}

static void *data(Box *b) { return vd_host(&b->d, b->data, BUF); }

typedef struct Cdb { uint8_t b[32]; } Cdb;
#define CDB(...) ((Cdb){ { __VA_ARGS__ } })

static void ask(Box *b, unsigned target, unsigned lun, Cdb cdb, uint32_t out, uint32_t in)
{
    uint8_t *h = vd_host(&b->d, b->head, 64);
    VdBuf bufs[4];
    unsigned n = 0;

    memset(h, 0, 64);
    h[0] = 1;
    h[1] = target;
    put_be(h + 2, lun | (lun > 255 ? 0x4000 : 0), 2);
    memcpy(h + 19, cdb.b, 32);
    memset(vd_host(&b->d, b->answer, 128), RE_NONE, 128);
    bufs[n++] = (VdBuf){ b->head, 51, false };
    if (out)
        bufs[n++] = (VdBuf){ b->data, out, false };
    bufs[n++] = (VdBuf){ b->answer, 108, true };
    if (in)
        bufs[n++] = (VdBuf){ b->data, in, true };
    vd_add(&b->d, COMMANDS, bufs, n, b);
    vd_kick(&b->d, COMMANDS);
}

/* The response; status, sense and residual are in the box. */
static uint8_t answer(Box *b, int ms)
{
    const uint8_t *a = vd_host(&b->d, b->answer, 128);

    if (!vd_used(&b->d, COMMANDS, ms, NULL))
        return RE_NONE;
    memcpy(&b->residual, a + 4, 4);
    b->status = a[10];
    memcpy(b->sense, a + 12, 96);
    return a[11];
}

static uint8_t command(Box *b, unsigned target, unsigned lun, Cdb cdb, uint32_t out, uint32_t in)
{
    ask(b, target, lun, cdb, out, in);
    return answer(b, 60000);
}

/* Of unit 0:0. True: it went well. */
static bool good(Box *b, Cdb cdb, uint32_t out, uint32_t in)
{
    return command(b, 0, 0, cdb, out, in) == 0 && b->status == SCSI_GOOD;
}

static bool fails(Box *b, Cdb cdb, uint32_t out, uint32_t in, unsigned key, unsigned asc)
{
    bool yes = command(b, 0, 0, cdb, out, in) == 0 && b->status == SCSI_CHECK && b->sense[2] == key && b->sense[12] == asc;

    if (!yes)
        printf("%#x: status %u, sense %x/%02x/%02x\n", cdb.b[0], b->status, b->sense[2], b->sense[12], b->sense[13]);
    return yes;
}

static void clear_attention(Box *b)
{
    command(b, 0, 0, CDB(TEST_UNIT_READY), 0, 0);
}

/* ---- places */

static void test_places(void)
{
    Box b;

    box_make(&b, "");
    add_drive(&b, "d1", ",readonly=on");
    add_drive(&b, "d2", ",readonly=on");
    add_drive(&b, "d3", ",readonly=on");
    add_drive(&b, "d4", ",readonly=on");
    plug(&b, "scsi-hd,drive=d1,bus=a.0,scsi-id=0,lun=0,share-rw=on");
    plug(&b, "scsi-hd,drive=d2,scsi-id=0,lun=300,share-rw=on");
    plug(&b, "scsi-cd,drive=d3");
    plug(&b, "scsi-hd,drive=d4,scsi-id=0,share-rw=on");
    CHECK(rig_says(device_add(b.r.vm, "scsi-hd,drive=d0,scsi-id=0,lun=300"), "is taken by"));
    CHECK(rig_says(device_add(b.r.vm, "scsi-hd,drive=d0,channel=1"), "channel 0"));
    CHECK(rig_says(device_add(b.r.vm, "scsi-hd,drive=d0,scsi-id=256"), "0 to 255"));
    CHECK(rig_says(device_add(b.r.vm, "scsi-block,drive=d0"), "scsi-hd"));
    CHECK(rig_says(device_add(b.r.vm, "scsi-generic,drive=d0"), "scsi-hd"));
    CHECK(rig_says(device_add(b.r.vm, "scsi-hd"), "drive=ID"));
    CHECK(rig_says(device_add(b.r.vm, "scsi-hd,drive=d0,vendor=TOO-LONG-IT-IS"), "longer"));
    start(&b);
    /* The first command hears of the reset; INQUIRY and REPORT LUNS do not mind. */
    CHECK(good(&b, CDB(INQUIRY, 0, 0, 0, 36), 0, 36));
    CHECK(good(&b, CDB(REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 1, 0), 0, 256));
    const uint8_t *p = data(&b);
    CHECK_EQ(be32(p), 24);
    CHECK(be16(p + 8) == 0 && be16(p + 16) == 1 && be16(p + 24) == (0x4000 | 300));
    CHECK_EQ(b.residual, 256 - 32);
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 6, 0x29));
    CHECK(good(&b, CDB(TEST_UNIT_READY), 0, 0));
    CHECK(command(&b, 1, 0, CDB(INQUIRY, 0, 0, 0, 36), 0, 36) == 0 && p[0] == 5);
    CHECK(command(&b, 0, 7, CDB(INQUIRY, 0, 0, 0, 36), 0, 36) == 0 && p[0] == 0x7f);
    CHECK(command(&b, 0, 7, CDB(TEST_UNIT_READY), 0, 0) == 0 && b.status == SCSI_CHECK && b.sense[12] == 0x25);
    CHECK_EQ(command(&b, 9, 0, CDB(TEST_UNIT_READY), 0, 0), RE_BAD_TARGET);
    CHECK_EQ(command(&b, 0, 0, CDB(TEST_UNIT_READY), 16, 16), RE_FAILURE);
    box_free(&b);
}

/* ---- what it says of itself */

static void test_inquiry(void)
{
    Box b;

    box_make(&b, "");
    plug(&b, "scsi-hd,drive=d0,serial=S12,vendor=ACME,product=DISK,ver=7,wwn=0x5000c50015ea71ac,rotation_rate=1,"
             "physical_block_size=4096,min_io_size=4096,opt_io_size=8192");
    start(&b);
    clear_attention(&b);
    const uint8_t *p = data(&b);
    CHECK(good(&b, CDB(INQUIRY, 0, 0, 0, 255), 0, 255));
    CHECK(p[0] == 0 && p[2] == 5 && p[4] == 31 && !memcmp(p + 8, "ACME    DISK            7   ", 28));
    CHECK_EQ(b.residual, 255 - 36);
    CHECK(good(&b, CDB(INQUIRY, 1, 0, 0, 255), 0, 255) && !memcmp(p + 3, "\6\0\x80\x83\xb0\xb1\xb2", 7));
    CHECK(good(&b, CDB(INQUIRY, 1, 0x80, 0, 255), 0, 255) && !memcmp(p + 3, "\3S12", 4));
    CHECK(good(&b, CDB(INQUIRY, 1, 0x83, 0, 255), 0, 255) && p[3] == 7 + 12 && p[4] == 2 && p[11] == 1 && p[12] == 3 &&
          be64(p + 15) == 0x5000c50015ea71ac);
    CHECK(good(&b, CDB(INQUIRY, 1, 0xb0, 0, 255), 0, 255) && p[3] == 60 && be16(p + 6) == 8 && be32(p + 12) == 16 &&
          be32(p + 20) == 1 << 21 && be32(p + 24) == 255);
    CHECK(good(&b, CDB(INQUIRY, 1, 0xb1, 0, 255), 0, 255) && be16(p + 4) == 1);
    CHECK(good(&b, CDB(INQUIRY, 1, 0xb2, 0, 255), 0, 255) && p[5] == 0xe0 && p[6] == 2);
    CHECK(fails(&b, CDB(INQUIRY, 1, 0x99, 0, 255), 0, 255, 5, 0x24));
    CHECK(fails(&b, CDB(INQUIRY, 0, 0x80, 0, 255), 0, 255, 5, 0x24));
    CHECK(good(&b, CDB(INQUIRY, 0, 0, 0, 5), 0, 255) && b.residual == 250);
    CHECK(good(&b, CDB(READ_CAPACITY_10), 0, 8) && be32(p) == BLOCKS - 1 && be32(p + 4) == 512);
    CHECK(good(&b, CDB(SERVICE_IN_16, 0x10, [13] = 32), 0, 32) && be64(p) == BLOCKS - 1 && p[13] == 3 && p[14] & 0x80);
    CHECK(fails(&b, CDB(SERVICE_IN_16, 0x12, [13] = 32), 0, 32, 5, 0x24));
    CHECK(fails(&b, CDB(0xff), 0, 0, 5, 0x20));
    CHECK(fails(&b, CDB(READ_TOC), 0, 8, 5, 0x20));
    box_free(&b);
}

static void test_modes(void)
{
    Box b;

    box_make(&b, "");
    plug(&b, "scsi-hd,drive=d0");
    start(&b);
    clear_attention(&b);
    uint8_t *p = data(&b);
    CHECK(good(&b, CDB(MODE_SENSE_6, 8, 0x08, 0, 255), 0, 255) && p[0] == 4 + 20 - 1 && p[4] == 8 && p[5] == 18 && p[6] == 4);
    CHECK(good(&b, CDB(MODE_SENSE_6, 0, 0x3f, 0, 255), 0, 255) && p[3] == 8);
    CHECK(good(&b, CDB(MODE_SENSE_10, 8, 0x48, [8] = 255), 0, 255) && p[8] == 8 && p[10] == 4 && !p[11]);
    CHECK(fails(&b, CDB(MODE_SENSE_6, 8, 0xc8, 0, 255), 0, 255, 5, 0x39));
    CHECK(fails(&b, CDB(MODE_SENSE_6, 8, 0x2a, 0, 255), 0, 255, 5, 0x24));
    memset(p, 0, 24);
    p[4] = 8, p[5] = 18;
    CHECK(good(&b, CDB(MODE_SELECT_6, 0x10, 0, 0, 24), 24, 0));
    CHECK(good(&b, CDB(MODE_SENSE_6, 8, 0x08, 0, 255), 0, 255) && p[6] == 0);
    memset(p, 0, 24);
    p[4] = 8, p[5] = 18, p[6] = 0xff;
    CHECK(fails(&b, CDB(MODE_SELECT_6, 0x10, 0, 0, 24), 24, 0, 5, 0x26));
    CHECK(fails(&b, CDB(MODE_SELECT_6, 0x10, 0, 0, 24), 12, 0, 5, 0x1a));
    p[3] = 200;
    CHECK(fails(&b, CDB(MODE_SELECT_6, 0x10, 0, 0, 24), 24, 0, 5, 0x26));
    CHECK(fails(&b, CDB(MODE_SELECT_6, 0x11, 0, 0, 24), 24, 0, 5, 0x24));
    CHECK(good(&b, CDB(MODE_SELECT_10, 0x10), 0, 0));
    box_free(&b);
}

/* ---- data */

static Cdb cdb_rw(unsigned op, uint64_t lba, uint32_t blocks)
{
    Cdb c = CDB(op);

    switch (op >> 5) {
    case 0:
        put_be(c.b + 1, lba, 3);
        c.b[4] = blocks;
        break;
    case 4:
        put_be(c.b + 2, lba, 8);
        put_be(c.b + 10, blocks, 4);
        break;
    case 5:
        put_be(c.b + 2, lba, 4);
        put_be(c.b + 6, blocks, 4);
        break;
    default:
        put_be(c.b + 2, lba, 4);
        put_be(c.b + 7, blocks, 2);
    }
    return c;
}

static void test_data(void)
{
    static const uint8_t writes[] = { WRITE_6, WRITE_10, WRITE_12, WRITE_16, WRITE_VERIFY_10, WRITE_VERIFY_16 };
    static const uint8_t reads[] = { READ_6, READ_10, READ_12, READ_16 };
    g_autofree uint8_t *model = g_malloc0(SIZE);
    g_autoptr(GRand) rnd = g_rand_new_with_seed(3);
    Box b;

    box_make(&b, "");
    plug(&b, "scsi-hd,drive=d0");
    start(&b);
    clear_attention(&b);
    for (unsigned i = 0; i < 600; i++) {
        unsigned blocks = g_rand_int_range(rnd, 1, BUF / 512), lba = g_rand_int_range(rnd, 0, BLOCKS - blocks);
        bool write = g_rand_boolean(rnd);
        uint8_t op = write ? writes[g_rand_int_range(rnd, 0, sizeof(writes))] : reads[g_rand_int_range(rnd, 0, sizeof(reads))];

        memset(data(&b), g_rand_int(rnd), blocks * 512);
        if (write)
            memcpy(model + lba * 512, data(&b), blocks * 512);
        CHECK(good(&b, cdb_rw(op, lba, blocks), write ? blocks * 512 : 0, write ? 0 : blocks * 512));
        CHECK(!b.residual && !memcmp(data(&b), model + lba * 512, blocks * 512));
    }
    CHECK(good(&b, cdb_rw(READ_6, 0, 0), 0, 256 * 512) && !memcmp(data(&b), model, 256 * 512));
    CHECK(good(&b, cdb_rw(READ_10, 0, 0), 0, 0));
    CHECK(fails(&b, cdb_rw(READ_10, BLOCKS, 1), 0, 512, 5, 0x21));
    CHECK(fails(&b, cdb_rw(READ_16, UINT64_MAX, 2), 0, 1024, 5, 0x21));
    CHECK(fails(&b, cdb_rw(WRITE_12, 0, UINT32_MAX), 512, 0, 5, 0x21));
    CHECK_EQ(command(&b, 0, 0, cdb_rw(READ_10, 0, 4), 0, 1024), RE_OVERRUN);
    CHECK_EQ(command(&b, 0, 0, cdb_rw(WRITE_10, 0, 4), 1024, 0), RE_OVERRUN);
    CHECK(good(&b, CDB(SYNC_CACHE_10), 0, 0) && good(&b, cdb_rw(VERIFY_10, 0, 8), 0, 0));
    CHECK(fails(&b, cdb_rw(VERIFY_16, BLOCKS, 8), 0, 0, 5, 0x21));
    g_autofree char *text = NULL;
    gsize len;
    CHECK(g_file_get_contents(b.disk.img, &text, &len, NULL) && !memcmp(text, model, SIZE));
    box_free(&b);
}

static void test_ranges(void)
{
    Box b;

    box_make(&b, "");
    add_drive(&b, "dx", ",discard=unmap");
    plug(&b, "scsi-hd,drive=dx,max_unmap_size=65536");
    start(&b);
    clear_attention(&b);
    uint8_t *p = data(&b);
    memset(p, 0x44, 65536);
    CHECK(good(&b, cdb_rw(WRITE_10, 0, 128), 65536, 0));
    memset(p, 0, 512);
    CHECK(good(&b, cdb_rw(WRITE_SAME_10, 8, 8), 512, 0));
    memset(p, 0x55, 512);
    CHECK(good(&b, cdb_rw(WRITE_SAME_16, 16, 100), 512, 0));
    Cdb same = cdb_rw(WRITE_SAME_16, 24, 8);
    same.b[1] = 9;                      /* NDOB, UNMAP */
    CHECK(good(&b, same, 0, 0));
    CHECK(fails(&b, cdb_rw(WRITE_SAME_10, 0, 0), 512, 0, 5, 0x24));
    CHECK(fails(&b, cdb_rw(WRITE_SAME_16, 0, 129), 512, 0, 5, 0x24));
    CHECK(fails(&b, cdb_rw(WRITE_SAME_16, BLOCKS - 1, 2), 512, 0, 5, 0x21));
    CHECK_EQ(command(&b, 0, 0, cdb_rw(WRITE_SAME_10, 0, 1), 100, 0), RE_OVERRUN);
    CHECK(good(&b, cdb_rw(READ_10, 0, 128), 0, 65536));
    CHECK(p[8 * 512 - 1] == 0x44 && !p[8 * 512] && !p[16 * 512 - 1] && p[16 * 512] == 0x55 && p[24 * 512 - 1] == 0x55 &&
          !p[24 * 512] && !p[32 * 512 - 1] && p[32 * 512] == 0x55 && p[116 * 512 - 1] == 0x55 && p[116 * 512] == 0x44);
    Cdb un = CDB(UNMAP, [8] = 8 + 32);
    memset(p, 0, 40);
    put_be(p + 2, 32, 2);
    put_be(p + 16, 4, 4);
    put_be(p + 24, 100, 8);
    put_be(p + 32, 16, 4);
    CHECK(good(&b, un, 40, 0));
    put_be(p + 24, BLOCKS, 8);
    CHECK(fails(&b, un, 40, 0, 5, 0x21));
    put_be(p + 24, 0, 8);
    put_be(p + 32, 200, 4);
    CHECK(fails(&b, un, 40, 0, 5, 0x26));
    un.b[8] = 4;
    CHECK(fails(&b, un, 40, 0, 5, 0x1a));
    un.b[8] = 0;
    CHECK(good(&b, un, 0, 0));
    box_free(&b);
}

/* ---- CD */

static void test_cd(void)
{
    Box b;

    box_make(&b, "");
    rig_must(disks_add_drive(b.r.vm->disks, "if=none,id=cd1,media=cdrom", false));
    add_drive(&b, "cd0", ",media=cdrom");
    CHECK(rig_says(device_add(b.r.vm, "scsi-hd,drive=cd0"), "scsi-cd"));
    plug(&b, "scsi-cd,drive=cd0");
    plug(&b, "scsi-cd,drive=cd1");
    start(&b);
    clear_attention(&b);
    const uint8_t *p = data(&b);
    CHECK(good(&b, CDB(INQUIRY, 0, 0, 0, 36), 0, 36) && p[0] == 5 && p[1] == 0x80);
    CHECK(good(&b, CDB(READ_CAPACITY_10), 0, 8) && be32(p) == SIZE / 2048 - 1 && be32(p + 4) == 2048);
    CHECK(good(&b, cdb_rw(READ_10, 3, 2), 0, 4096));
    CHECK(fails(&b, cdb_rw(WRITE_10, 3, 2), 4096, 0, 5, 0x20));
    CHECK(good(&b, CDB(READ_TOC, 0, 0, [8] = 64), 0, 64) && be16(p) == 18 && p[14] == 0xaa && be32(p + 16) == SIZE / 2048);
    CHECK(good(&b, CDB(READ_TOC, 2, 1, [8] = 64), 0, 64) && be16(p) == 10);
    CHECK(fails(&b, CDB(READ_TOC, 0, 4, [8] = 64), 0, 64, 5, 0x24));
    CHECK(good(&b, CDB(GET_CONFIGURATION, [8] = 64), 0, 64) && be16(p + 6) == 8);
    CHECK(good(&b, CDB(READ_DISC_INFO, [8] = 64), 0, 64));
    CHECK(good(&b, CDB(READ_CD, [8] = 1, [9] = 0x10), 0, 2048));
    CHECK(good(&b, CDB(MODE_SENSE_10, 0, 0x2a, [8] = 64), 0, 64) && p[8] == 0x2a);
    CHECK(good(&b, CDB(GET_EVENT, 1, [4] = 0x10, [8] = 8), 0, 8) && p[4] == 0 && p[5] == 2);
    CHECK(good(&b, CDB(PREVENT_ALLOW, [4] = 1), 0, 0));
    CHECK(fails(&b, CDB(START_STOP, [4] = 2), 0, 0, 5, 0x53));
    CHECK(good(&b, CDB(PREVENT_ALLOW), 0, 0) && good(&b, CDB(START_STOP, [4] = 2), 0, 0));
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 2, 0x3a) && fails(&b, cdb_rw(READ_10, 0, 1), 0, 2048, 2, 0x3a));
    CHECK(good(&b, CDB(GET_EVENT, 1, [4] = 0x10, [8] = 8), 0, 8) && p[4] == 3 && p[5] == 3);
    CHECK(good(&b, CDB(START_STOP, [4] = 3), 0, 0) && good(&b, cdb_rw(READ_10, 0, 1), 0, 2048));
    command(&b, 1, 0, CDB(TEST_UNIT_READY), 0, 0);
    CHECK(command(&b, 1, 0, CDB(TEST_UNIT_READY), 0, 0) == 0 && b.status == SCSI_CHECK && b.sense[12] == 0x3a);
    box_free(&b);
}

static bool sees(Box *b, unsigned event, unsigned state)
{
    const uint8_t *p = data(b);

    return good(b, CDB(GET_EVENT, 1, [4] = 0x10, [8] = 8), 0, 8) && p[4] == event && p[5] == state;
}

static DiskPort *port_of(Box *b, const char *id)
{
    const Field *f;
    Device *whose;

    CHECK(device_prop(device_find(b->r.vm, id), "drive", &whose, &f));
    return field_at(whose, f, 0);
}

static void count_moves(void *opaque, const DiskNews *n)
{
    int *moves = opaque;

    CHECK(n->what == DISK_TRAY_MOVED);
    moves[n->open]++;
}

/* The host takes the medium out and puts in another one, which may be in another thread. */
static void test_media(void)
{
    int moves[2] = { 0 };
    DiskMedium *m;
    IoThread *t;
    Box b;

    box_make(&b, "");
    add_drive(&b, "cd0", ",media=cdrom");
    plug(&b, "scsi-cd,drive=cd0,id=cd");
    start(&b);
    clear_attention(&b);
    const uint8_t *p = data(&b);
    DiskPort *port = port_of(&b, "cd");
    disks_on_news(b.r.vm->disks, count_moves, moves);
    CHECK(good(&b, CDB(PREVENT_ALLOW, [4] = 1), 0, 0) && port->ops->tray(port->dev).locked);
    port->ops->ask(port->dev);
    CHECK(sees(&b, 1, 2));
    CHECK(good(&b, CDB(PREVENT_ALLOW), 0, 0) && good(&b, CDB(START_STOP, [4] = 2), 0, 0));      /* so the guest opens it */
    CHECK(port->ops->tray(port->dev).open);
    disks_tell_now(b.r.vm->disks);
    CHECK(moves[1] == 1 && sees(&b, 3, 3));
    disk_port_change(port, NULL);
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 2, 0x3a) && sees(&b, 0, 1));
    rig_must(iothread_new(b.r.vm, "t0", &t));
    rig_must(disks_place(b.r.vm->disks, "n0", t));
    rig_must(disks_add_blockdev(b.r.vm->disks, "driver=null-co,node-name=n0,size=4096,read-zeroes=on"));
    rig_must(disk_medium_of(port, "n0", &m));
    disk_port_change(port, m);
    CHECK(disk_port_thread(port) == t && disk_port_size(port) == 4096);
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 2, 0x3a));
    port->ops->move(port->dev, false);
    disks_tell_now(b.r.vm->disks);
    CHECK(moves[0] == 1 && sees(&b, 2, 2));
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 6, 0x28));      /* a new medium, told once */
    CHECK(good(&b, CDB(READ_CAPACITY_10), 0, 8) && be32(p) == 1);
    CHECK(good(&b, cdb_rw(READ_10, 0, 2), 0, 4096));
    /* By force: not asked. */
    CHECK(good(&b, CDB(PREVENT_ALLOW, [4] = 1), 0, 0));
    port->ops->unlock(port->dev);
    port->ops->move(port->dev, true);
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 6, 0x3a));      /* it is gone, told once */
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 2, 0x3a));
    port->ops->move(port->dev, true);
    disk_port_change(port, NULL);
    port->ops->move(port->dev, false);
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 2, 0x3a));
    disks_tell_now(b.r.vm->disks);
    CHECK(moves[0] == 2 && moves[1] == 2);
    rig_must(disks_del_node(b.r.vm->disks, "n0"));
    disks_on_news(b.r.vm->disks, NULL, NULL);
    box_free(&b);
}

/* ---- control, events */

static uint8_t manage(Box *b, uint32_t subtype, unsigned target, unsigned lun)
{
    uint8_t *h = vd_host(&b->d, b->head, 64);

    memset(h, 0, 64);
    memcpy(h + 4, &subtype, 4);
    h[8] = 1;
    h[9] = target;
    put_be(h + 10, lun, 2);
    vd_add(&b->d, CONTROL, (VdBuf[]){ { b->head, 24, false }, { b->answer, 1, true } }, 2, b);
    vd_kick(&b->d, CONTROL);
    return vd_used(&b->d, CONTROL, 5000, NULL) ? *(uint8_t *)vd_host(&b->d, b->answer, 1) : RE_NONE;
}

static void test_control(void)
{
    Box b;

    box_make(&b, "");
    plug(&b, "scsi-hd,drive=d0");
    start(&b);
    clear_attention(&b);
    CHECK_EQ(manage(&b, 5, 0, 0), 0);
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 6, 0x29));
    CHECK_EQ(manage(&b, 4, 0, 0), 0);
    CHECK(fails(&b, CDB(TEST_UNIT_READY), 0, 0, 6, 0x29));
    CHECK_EQ(manage(&b, 0, 0, 0), 0);
    CHECK_EQ(manage(&b, 6, 0, 0), 0);
    CHECK_EQ(manage(&b, 5, 0, 3), RE_INCORRECT_LUN);
    CHECK_EQ(manage(&b, 5, 4, 0), RE_BAD_TARGET);
    CHECK_EQ(manage(&b, 99, 0, 0), 11);
    uint32_t query = 1;
    memcpy(vd_host(&b.d, b.head, 64), &query, 4);
    vd_add(&b.d, CONTROL, (VdBuf[]){ { b.head, 16, false }, { b.answer, 5, true } }, 2, &b);
    vd_kick(&b.d, CONTROL);
    CHECK(vd_used(&b.d, CONTROL, 5000, NULL));
    vd_add(&b.d, CONTROL, (VdBuf[]){ { b.head, 3, false }, { b.answer, 5, true } }, 2, &b);
    vd_kick(&b.d, CONTROL);
    CHECK(!vd_used(&b.d, CONTROL, 30, NULL) && b.d.v->status & VIRTIO_NEEDS_RESET);
    start(&b);
    vd_add(&b.d, COMMANDS, (VdBuf[]){ { b.head, 50, false }, { b.answer, 108, true } }, 2, &b);
    vd_kick(&b.d, COMMANDS);
    CHECK(!vd_used(&b.d, COMMANDS, 30, NULL) && b.d.v->status & VIRTIO_NEEDS_RESET);
    box_free(&b);
}

static void test_events(void)
{
    Box b;

    box_make(&b, "");
    start(&b);
    uint64_t buf = vd_alloc(&b.d, 64);
    plug(&b, "scsi-hd,drive=d0,id=hd,scsi-id=2");       /* there is no buffer for it */
    vd_add(&b.d, EVENTS, (VdBuf[]){ { buf, 16, true } }, 1, &b);
    vd_kick(&b.d, EVENTS);
    CHECK(vd_used(&b.d, EVENTS, 5000, NULL));
    const uint8_t *e = vd_host(&b.d, buf, 16);
    CHECK(e[3] == 0x80);
    vd_add(&b.d, EVENTS, (VdBuf[]){ { buf, 16, true } }, 1, &b);
    vd_kick(&b.d, EVENTS);
    CHECK(!vd_used(&b.d, EVENTS, 20, NULL));
    device_free(device_find(b.r.vm, "hd"));
    CHECK(vd_used(&b.d, EVENTS, 5000, NULL) && e[0] == 1 && e[5] == 2 && e[12] == 2);
    vd_add(&b.d, EVENTS, (VdBuf[]){ { buf, 16, true } }, 1, &b);
    plug(&b, "scsi-hd,drive=d0,id=hd,scsi-id=2");
    CHECK(vd_used(&b.d, EVENTS, 5000, NULL) && e[0] == 1 && e[5] == 2 && e[12] == 1);
    CHECK_EQ(command(&b, 2, 0, CDB(INQUIRY, 0, 0, 0, 36), 0, 36), 0);
    box_free(&b);
}

/* ---- the host's errors */

static void test_errors(void)
{
    Box b;

    box_make(&b, "");
    g_autofree char *node = g_strdup_printf("{\"driver\":\"raw\",\"node-name\":\"bad\",\"file\":{\"driver\":\"blkdebug\",\"inject-error\":["
        "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":28,\"sector\":8,\"once\":true},"
        "{\"event\":\"none\",\"iotype\":\"write\",\"errno\":5,\"sector\":16},"
        "{\"event\":\"none\",\"iotype\":\"read\",\"errno\":5,\"sector\":16}],"
        "\"image\":{\"driver\":\"file\",\"filename\":\"%s\",\"locking\":\"off\"}}}", b.disk.img);
    rig_must(disks_add_blockdev(b.r.vm->disks, node));
    plug(&b, "scsi-hd,drive=bad");
    start(&b);
    clear_attention(&b);
    CHECK(fails(&b, cdb_rw(READ_10, 16, 1), 0, 512, 3, 0x11));
    CHECK(fails(&b, cdb_rw(WRITE_10, 16, 1), 512, 0, 3, 0x0c));
    ask(&b, 0, 0, cdb_rw(WRITE_10, 8, 1), 512, 0);      /* the disk is full: the machine stops */
    CHECK_EQ(answer(&b, 50), RE_NONE);
    rig_turn(&b.r, 1);
    CHECK_EQ(b.r.vm->state, RUN_IO_ERROR);
    vm_start(b.r.vm);
    CHECK_EQ(answer(&b, 60000), 0);
    CHECK_EQ(b.status, SCSI_GOOD);
    box_free(&b);
}

/* Any bytes as a command, with any memory: nothing but answers comes of it. */
static void test_any(void)
{
    g_autoptr(GRand) rnd = g_rand_new_with_seed(11);
    Box b;

    box_make(&b, "");
    add_drive(&b, "cd0", ",media=cdrom");
    plug(&b, "scsi-hd,drive=d0,share-rw=on,removable=on");
    plug(&b, "scsi-cd,drive=cd0,scsi-id=0,lun=1,share-rw=on");
    start(&b);
    for (unsigned i = 0; i < 6000; i++) {
        uint32_t out = g_rand_boolean(rnd) ? 0 : g_rand_int_range(rnd, 1, 2000);
        uint32_t in = out || g_rand_int_range(rnd, 0, 4) == 0 ? 0 : g_rand_int_range(rnd, 1, 60000);
        Cdb c;

        for (unsigned k = 0; k < sizeof(c.b); k++)
            c.b[k] = g_rand_int_range(rnd, 0, 3) ? (uint32_t)g_rand_int_range(rnd, 0, 9) : g_rand_int(rnd);
        c.b[0] = g_rand_int(rnd);
        for (unsigned k = 0; k < MIN(out, 64u); k++)
            ((uint8_t *)data(&b))[k] = g_rand_int_range(rnd, 0, 20);
        CHECK(command(&b, 0, g_rand_int_range(rnd, 0, 3), c, out, in) != RE_NONE);
        if (test_case_bad)
            break;
    }
    CHECK(!(b.d.v->status & VIRTIO_NEEDS_RESET));
    box_free(&b);
}

int main(void)
{
    RUN(test_places);
    RUN(test_inquiry);
    RUN(test_modes);
    RUN(test_data);
    RUN(test_ranges);
    RUN(test_cd);
    RUN(test_media);
    RUN(test_control);
    RUN(test_events);
    RUN(test_errors);
    RUN(test_any);
    return test_end();
}
