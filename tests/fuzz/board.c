/* SPDX-License-Identifier: MIT */
/*
 * A guest that does what it likes with the whole riscv64 `virt` board: registers at any address with any size,
 * configuration space, rings and queues and tables in memory, bells; and a host that sends frames and bytes, plugs,
 * resets, lets time pass. Nothing may fall, stay busy for ever, or be written but memory.
 *
 *   byte 0: the board's interrupt controllers; then, each step: what, how many bytes of operands, these
 *
 * A step has the bytes that are its own alone, and zeroes when they do not suffice, so that steps can be put
 * together as one likes.
 *
 * Files: one-thread.h (time, threads), board-rig.h (the machine), board-input.h (numbers), board-virtio.h.
 */
#include "tests/fuzz/board-virtio.h"

#include <ftw.h>

#include "util/log.h"

enum { STEPS = 256 };

static bool plugged;                    /* or was asked to go */
static bool folders;                    /* 9P may have made files */

/* ---- registers */

typedef struct Window { uint64_t at; uint32_t size; } Window;

static void any_register(void)
{
    static const Window fixed[] = {
        { VIRT_TEST, 16 }, { VIRT_RTC, 0x24 }, { VIRT_CLINT, 0xc000 }, { VIRT_SSWI, 0x10 }, { VIRT_PLIC, 0x203000 }, { VIRT_PLIC + 0x200000, 0x3010 },
        { VIRT_APLIC_M, 0x4000 }, { VIRT_APLIC_S, 0x4000 }, { VIRT_IMSIC_M, 0x2000 }, { VIRT_IMSIC_S, 0x2000 }, { VIRT_UART, 8 },
        { VIRT_FW_CFG, 24 }, { VIRT_FLASH, 0x40000 }, { VIRT_FLASH + VIRT_FLASH_SIZE, 0x20 }, { VIRT_ROM, 0x1000 }, { VIRT_ECAM, 0x8000 },
        { VIRT_PCI_PIO, 0x10000 },
    };
    uint8_t which = take(1), how = take(1);
    unsigned size = how >> 1 & 7 ? how >> 1 & 7 : 8, bar = how >> 4 & 7;
    Window w;

    if (which < 0x40)
        w = fixed[which % G_N_ELEMENTS(fixed)];
    else if (which < 0x80)
        w = (Window){ VIRT_VIRTIO + (which & 7) * VIRT_VIRTIO_STRIDE, 0x200 };
    else {
        const PciDevice *f = b->functions[which % b->n_functions];
        const PciBar *r = &f->bars[bar % PCI_BARS];
        w = (Window){ r->at, r->kind == PCI_BAR_NONE ? 0 : MIN(r->region->size, 0x10000) };
        if (!w.size || w.at == UINT64_MAX)
            return;
        if (r->kind == PCI_BAR_IO)
            w.at = VIRT_PCI_PIO + (w.at & 0xffff);
    }
    if (how & 0x80)
        size = 1 << (how >> 1 & 3);
    uint64_t at = w.at + take(2) % w.size;
    if (how & 0x80)
        at &= -(uint64_t)size;
    if (how & 1)
        poke(at, take(1) & 1 ? take_place(64) : take(MIN(size, 4)), size);
    else
        peek(at, size);
}

static void config_register(void)
{
    const PciDevice *f = b->functions[take(1) % b->n_functions];
    uint8_t how = take(1);
    unsigned reg = take(1) << (how & 8 ? 4 : 0);
    uint64_t at = (how & 0x40 ? VIRT_ECAM + (take(3) & 0xfffffff) : function_config(f)) + (reg & 0xfff);

    if (how & 1)
        poke(at, how & 0x80 ? register_place(take(1)) : take(4), 1 << (how >> 1 & 3));
    else
        peek(at, 1 << (how >> 1 & 3));
}

/* MSI-X on, with messages to anywhere; or MSI; or a port's slot. */
static void interrupts(void)
{
    PciDevice *f = b->functions[take(1) % b->n_functions];
    uint64_t at = function_config(f);
    uint8_t how = take(1);

    if (how & 1 && f->msix_cap) {
        uint64_t table = bar_at(f, f->config[f->msix_cap + 4] & 7);
        for (unsigned i = 0; table && i < 4; i++) {
            poke(table + 16 * i, how & 2 ? register_place(take(1)) : VIRT_IMSIC_S + (how >> 6) * 0x1000, 8);
            poke(table + 16 * i + 8, 1 + i + (how >> 4), 4);
            poke(table + 16 * i + 12, how >> 2 & 1, 4);
        }
        poke(at + f->msix_cap + 2, how & 8 ? 0xc000 : 0x8000, 2);
    } else if (f->msi_cap && how & 2) {
        poke(at + f->msi_cap + 4, how & 4 ? register_place(take(1)) : VIRT_IMSIC_S, 4);
        poke(at + f->msi_cap + 2, how >> 1 & 0x71, 2);
    } else if (f->exp_cap) {
        poke(at + f->exp_cap + (how & 4 ? 0x1a : 0x18), take(2), 2);
        poke(at + f->exp_cap + 8, (how & 8 ? 0x8000 : 0) | take(1), 2);
    }
}

/* ---- NVMe */

static struct { uint16_t tail, size; } sq[5];

static void nvme_on(void)
{
    uint64_t at = bar_at(b->nvme, 0);
    uint8_t how = take(1);

    poke(at + 0x14, 0, 4);
    turn();
    memset(sq, 0, sizeof(sq));
    sq[0].size = 2 + (how & 31);
    poke(at + 0x24, (sq[0].size - 1) << 16 | (how & 0x40 ? 1 : sq[0].size - 1), 4);
    poke(at + 0x28, how & 0x80 ? take_place(4096) : NVME_RINGS, 8);
    poke(at + 0x30, NVME_RINGS + 0x1000, 8);
    poke(at + 0x14, how & 0x20 ? take(4) | 1 : 4 << 20 | 6 << 16 | 1, 4);
    turn();
}

static void nvme_submit(unsigned q, const uint8_t cmd[64], uint8_t how)
{
    if (!sq[q].size)
        return;
    ram_put(NVME_RINGS + 0x2000 * q + 64 * sq[q].tail, cmd, 64);
    sq[q].tail = (sq[q].tail + 1) % sq[q].size;
    poke(bar_at(b->nvme, 0) + 0x1000 + 8 * q, how & 0x80 ? take(2) : sq[q].tail, 4);
    poke(bar_at(b->nvme, 0) + 0x1004 + 8 * q, how & 0x40 ? take(2) : sq[q].tail, 4);
}

/* A pair of queues, by the book or nearly. */
static void nvme_queues(void)
{
    uint8_t how = take(1), cmd[64] = { 5 };
    unsigned q = 1 + (how & 3), size = 2 + (how >> 2 & 7) * 4;

    put_le(cmd + 24, how & 0x20 ? take_place(4096) : NVME_RINGS + 0x2000 * q + 0x1000, 8);
    put_le(cmd + 40, (size - 1) << 16 | q, 4);
    put_le(cmd + 44, 3 | (how & 0x40 ? take(2) << 16 : 0), 4);
    nvme_submit(0, cmd, 0);
    turn();
    memset(cmd, 0, sizeof(cmd));
    cmd[0] = 1;
    put_le(cmd + 24, how & 0x80 ? take_place(4096) : NVME_RINGS + 0x2000 * q, 8);
    put_le(cmd + 40, (size - 1) << 16 | q, 4);
    put_le(cmd + 44, 1 | q << 16, 4);
    nvme_submit(0, cmd, 0);
    turn();
    sq[q].size = size;
    sq[q].tail = 0;
}

static void nvme_command(void)
{
    static const uint8_t admin[] = { 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 0x14, 0x18, 0x80, 0x84 };
    static const uint8_t io[] = { 0, 1, 2, 4, 5, 8, 9, 12, 0xd };
    uint8_t how = take(1), op = take(1), cmd[64] = { 0 };
    unsigned q = how & 3;

    cmd[0] = op & 0x80 ? op & 0x7f : q ? io[op % G_N_ELEMENTS(io)] : admin[op % G_N_ELEMENTS(admin)];
    cmd[1] = how & 4 ? take(1) : 0;
    put_le(cmd + 2, take(1), 2);
    put_le(cmd + 4, how & 8 ? take(4) : op >> 5 & 3, 4);
    put_le(cmd + 24, take_place(8192), 8);
    put_le(cmd + 32, how & 0x10 ? take_place(4096) : 0, 8);
    for (unsigned i = 0; i < 6; i++)
        put_le(cmd + 40 + 4 * i, how & 0x20 || i < 3 ? take(i % 2 ? 4 : 2) : 0, 4);
    if (q && !(how & 0x20))
        put_le(cmd + 44, 0, 4);
    nvme_submit(q, cmd, how);
}

/* ---- memory */

/* A list of addresses (PRPs), or of SGL descriptors, one of which may be the list itself. */
static void pointers(void)
{
    uint8_t how = take(1);
    unsigned n = 1 + (how & 15);
    uint64_t at = give(16 * n + 4096);

    if (how & 0x40)
        at = (at + 4095) & ~UINT64_C(4095);
    for (unsigned i = 0; i < n; i++) {
        uint64_t p = take_place(4096);
        if (!(how & 0x80)) {
            ram_put_le(at + 8 * i, how & 0x20 ? p & ~UINT64_C(4095) : p, 8);
            continue;
        }
        ram_put_le(at + 16 * i, p, 8);
        ram_put_le(at + 16 * i + 8, take_len(), 4);
        ram_put_le(at + 16 * i + 15, take(1), 1);
    }
    if (how & 0x10)
        ram_put_le(at + 8 * (n - 1), at, 8);
    marked = at;
}

static void any_memory(void)
{
    uint64_t at = take_place(256);

    ram_take(at, take(1));
    marked = at;
}

/* ---- fw_cfg, edu, flash, serial line */

static void fw_dma(void)
{
    uint8_t how = take(1);
    uint64_t at = how & 0x80 ? take_place(16) : give(16), to;
    uint32_t len = take_len(), control = (how & 0x1f) | (how & 0x20 ? take(1) << 16 : 0);

    to = GUINT64_TO_BE(take_place(len));
    ram_put_le(at, GUINT32_TO_BE(control), 4);
    ram_put_le(at + 4, GUINT32_TO_BE(len), 4);
    ram_put_le(at + 8, to, 8);
    if (how & 0x40)
        poke(VIRT_FW_CFG + 8, take(2), 2);
    poke(VIRT_FW_CFG + 16, GUINT64_TO_BE(at), 8);
}

static void edu_dma(void)
{
    uint64_t at = bar_at(b->edu, 0);
    uint8_t how = take(1);
    uint64_t ram = take_place(4096), own = 0x40000 + (how & 0x80 ? take(2) : 0);

    poke(at + 0x80, how & 2 ? own : ram, 8);
    poke(at + 0x88, how & 2 ? ram : own, 8);
    poke(at + 0x90, take_len(), how & 0x40 ? 8 : 4);
    poke(at + 0x98, 1 | (how & 6), 4);
    if (how & 8)
        time_pass(20000);
    if (how & 0x10)
        poke(at + 0x60, take(1), 4);
    if (how & 0x20)
        poke(at + 0x08, take(1), 4);
}

/* Timers: the watchdog, the RTC's alarm, mtimecmp; and a panic. */
static void timers(void)
{
    uint8_t how = take(1);
    uint64_t dog = bar_at(b->watchdog, 0);

    switch (how & 3) {
    case 0:
        poke(function_config(b->watchdog) + 0x60, take(1), 2);
        for (unsigned i = 0; i < 3; i++) {
            poke(dog + 12, 0x80, 2);
            poke(dog + 12, 0x86, 2);
            poke(dog + 4 * i, take(2), 4);
        }
        poke(function_config(b->watchdog) + 0x68, how >> 2 & 7, 1);
        break;
    case 1:
        poke(VIRT_RTC + 0x10, 1, 4);
        poke(VIRT_RTC + 0xc, peek(VIRT_RTC + 4, 4), 4);
        poke(VIRT_RTC + 8, peek(VIRT_RTC, 4) + (take(2) << 8), 4);
        break;
    case 2:
        poke(VIRT_CLINT + 0x4000 + (how & 8), peek(VIRT_CLINT + 0xbff8, 8) + take(2), 8);
        break;
    case 3:
        poke(bar_at(b->panic, 0), take(1), 1);
        break;
    }
    if (how & 0x80)
        time_pass((int64_t)take(1) << 26);
}

static void flash(void)
{
    static const uint8_t commands[] = { 0x20, 0xd0, 0x40, 0x10, 0xe8, 0x70, 0x50, 0x90, 0x98, 0xff, 0x60, 0x01 };
    uint64_t at = VIRT_FLASH + take(2) * 4;

    for (uint8_t n = take(1) & 7; n; n--) {
        uint8_t how = take(1);
        if (how & 0x40)
            poke(at, take(how & 0x20 ? 4 : 1), how & 0x20 ? 4 : 1 << (how & 3));
        else
            poke(at, commands[how % G_N_ELEMENTS(commands)] * UINT32_C(0x10001), 4);
        at += how & 0x80 ? 4 : 0;
    }
    peek(at, 4);
}

/* ---- the host */

static void send_frame(void *opaque)
{
    static uint8_t frame[NET_HDR_LEN + 2048];
    unsigned n = 14 + take(1) + (take(1) & 7) * 200;
    struct iovec v = { frame, NET_HDR_LEN + n };
    IoVec q = iov_of(&v, 1);

    memset(frame, 0, sizeof(frame));
    memset(frame + NET_HDR_LEN, 0xff, 6);
    unsigned own = take(1) & 63;
    own = MIN(in.left, own);
    memcpy(frame + NET_HDR_LEN + (own & 1 ? 0 : 12), in.p, own);
    in.p += own;
    in.left -= own;
    b->port_full = false;
    if (!net_send(&b->port, &q))
        b->port_full = n & 1;
    net_room(&b->port);
}

static void ask_balloon(void)
{
    BalloonStats stats;
    uint64_t now;

    fuzz_error(balloon_get(b->vm, &now));
    fuzz_error(balloon_stats(b->vm, &stats));
}

static void host(void)
{
    uint8_t what = take(1), buf[255] = { 0 };
    unsigned n = MIN(in.left, what >> 3);
    int fds[] = { b->con, b->sock, b->uart };

    switch (what & 7) {
    case 0: case 1: case 2:
        memcpy(buf, in.p, n);
        if (write(fds[what & 7], buf, MAX(n, 1)) < 0)
            drain_host(fds[what & 7]);
        break;
    case 3: drain_host(b->con); drain_host(b->sock); drain_host(b->uart); break;
    case 4: iothread_run(b->vm->net_thread, send_frame, NULL); break;
    case 5: fuzz_error(balloon_set(b->vm, (uint64_t)take(2) << 12)); fuzz_error(balloon_poll(b->vm, take(1) & 3)); ask_balloon(); break;
    case 6: b->port_full = true; break;
    case 7: if (b->vm->power_button) b->vm->power_button(b->vm); break;
    }
}

static void plug(void)
{
    uint8_t how = take(1);

    plugged = true;
    if (how & 0x80)
        fuzz_error(device_del(b->vm, hot_ids[how % G_N_ELEMENTS(hot_ids)]));
    else
        fuzz_error(device_add(b->vm, plug_args[how % G_N_ELEMENTS(plug_args)]));
    list_again();
    for (unsigned i = 0; i < b->n_functions; i++)
        if (b->functions[i]->dev.hotplugged && !(how & 0x40))
            place_hot(b->functions[i]);
}

static void go_on(void)
{
    if (b->vm->state != RUN_RUNNING)
        vm_start(b->vm);
    for (int i = 0; i < RIG_HARTS; i++)
        b->rig.cpus[i].standing = true;
}

/* ---- one input */

static void enumerate(void)
{
    space_edit(b->vm->mem);
    for (unsigned i = 0; i < b->n_setup; i++)
        poke(b->setup[i].at, b->setup[i].val, 4);
    space_commit(b->vm->mem);
}

/* As one change of the memory map: each function that is reset would make a new one. */
static void reset(void)
{
    go_on();
    space_edit(b->vm->mem);
    vm_reset(b->vm);
    space_commit(b->vm->mem);
}

static void restart(void)
{
    enumerate();
    memset(sq, 0, sizeof(sq));
    for (unsigned i = 0; i < b->n_virtio; i++) {
        memset(b->virtio[i].q, 0, sizeof(b->virtio[i].q));
        b->virtio[i].session = b->virtio[i].legacy = false;
    }
}

/* Sometimes the map changes at each step of it, as it does in earnest. */
static void system_reset(void)
{
    if (take(1) & 1)
        vm_reset(b->vm);
    reset();
    if (take(1) & 1)
        restart();
}

static void virtio_step(Vdev *v, uint8_t op)
{
    switch (op % 24) {
    case 4: case 5: case 6:
        virtio_setup(v);
        break;
    case 12:
        ring_wrong(v);
        break;
    case 13:
        if (op & 0x80)
            queue_reset(v, take(1) & 7, take(1) & 1);
        else
            vq_bell(v, take(1) & 15);
        break;
    default:
        folders |= v->id == T_9P;
        virtio_request(v);
        if (op & 0x80)
            turn();
        break;
    }
}

static void step(uint8_t op)
{
    Vdev *v;

    switch (op % 24) {
    case 0: case 1: any_register(); break;
    case 2: config_register(); break;
    case 3: interrupts(); break;
    case 4: case 5: case 6: case 7: case 8: case 9: case 10: case 11: case 12: case 13:
        v = some_virtio(take(1));
        if (v)
            virtio_step(v, op);
        break;
    case 14: nvme_on(); break;
    case 15: nvme_queues(); break;
    case 16: nvme_command(); break;
    case 17: pointers(); break;
    case 18: any_memory(); break;
    case 19: fw_dma(); break;
    case 20: op & 0x80 ? flash() : op & 0x40 ? timers() : edu_dma(); break;
    case 21: host(); break;
    case 22:
        turn();
        time_pass((int64_t)take(1) << (op >> 3));
        turn();
        go_on();
        break;
    case 23:
        if (op & 0x80)
            plug();
        else if (op & 0x40)
            system_reset();
        else
            any_register();
        break;
    }
}

static void next_step(void)
{
    uint8_t op = take(1), n = take(1);
    size_t left = in.left, own = MIN(n, left);
    const uint8_t *end = in.p + own;

    in.left = own;
    step(op);
    in.p = end;
    in.left = left - own;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    if (ftw->level > 0 && remove(path) && chmod(path, 0700) == 0)
        return 0;
    return 0;
}

static void tidy_folders(void)
{
    nftw("share0", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    nftw("share1", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    folders = false;
}

/* What was plugged goes; an original that went is missing then. */
static void unplug_all(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(hot_ids); i++) {
        Device *d = device_find(b->vm, hot_ids[i]);
        if (d && d->hotplugged && !d->unplugged)
            device_unplug(d);
    }
    for (unsigned i = 0; i < 3; i++)
        turn();
    list_again();
    while (b->n_virtio && !b->virtio[b->n_virtio - 1].v)
        b->n_virtio--;
    plugged = false;
}

static unsigned count_devices(void)
{
    unsigned n = 0;

    for (const Device *d = machine_of(b->vm)->devices; d; d = d->next)
        n++;
    return n;
}

static void use_board(unsigned kind)
{
    if (b == &boards[kind])
        return;
    if (b)
        vm_unlock(b->vm);
    b = &boards[kind];
    if (b->made)
        vm_lock(b->vm);
    else
        board_new(kind);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_hide();
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    if (getenv("LYRE_FUZZ_ERRORS")) {
        fuzz_error(log_set_file("/dev/null"));
        fuzz_error(log_set_items("guest_errors,unimp"));
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    in.p = data;
    in.left = size;
    heap = marked = HEAP;
    use_board(take(1) % BOARDS);
    for (RamBlock *r = b->vm->rams; r; r = r->next)
        if (r->size == RAM_SIZE)
            madvise(r->host, r->size, MADV_DONTNEED);
    if (disk_dirty)
        for (unsigned i = 0; i < DISK_SIZE; i++)
            disk_bytes[i] = i >> 9;
    disk_dirty = false;
    b->port_full = false;
    restart();
    for (unsigned n = 0; in.left && n < STEPS; n++)
        next_step();
    turn();
    time_pass(2000000000);
    turn();
    reset();
    turn();
    drain_host(b->con);
    drain_host(b->sock);
    drain_host(b->uart);
    turn();
    if (folders)
        tidy_folders();
    if (plugged)
        unplug_all();
    if (count_devices() != b->devices) {
        board_end();
        b = NULL;
    }
    return 0;
}
