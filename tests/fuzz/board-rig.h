/* SPDX-License-Identifier: MIT */
/*
 * riscv64 `virt` with every device that there is, for the target `board`: made once for each kind of interrupt
 * controller, reset for each input, and made anew when an input has taken something away.
 *
 * Disks are memory: three parts of them refuse reads, refuse writes, and have no space. What is behind a
 * flash is zeroes, whatever is written.
 */
#ifndef TESTS_FUZZ_BOARD_RIG_H
#define TESTS_FUZZ_BOARD_RIG_H

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "block/driver.h"
#include "hw/9p/fsdev.h"
#include "hw/board/riscv_virt.h"
#include "hw/nic/nic.h"
#include "hw/virtio/balloon.h"
#include "hw/virtio/virtio.h"
#include "net/offload.h"
#include "system/disks.h"
#include "tests/fuzz/one-thread.h"

#define RIG_HARTS 2
#include "tests/dev/rig.h"

enum { BOARDS = 3, MOST_FUNCTIONS = 64, MOST_VIRTIO = 32, MOST_SETUP = 1024, VQS = 8, RAM_SIZE = 16 << 20 };

/* ---- disks: all are the same memory */

enum { DISK_SIZE = 256 << 10, BAD_READ = 128 << 10, BAD_WRITE = 136 << 10, FULL = 144 << 10, GOOD_AGAIN = 152 << 10 };
typedef struct MemNode { BlockNode n; char *path; } MemNode;
static uint8_t disk_bytes[DISK_SIZE];
static bool disk_dirty;

static bool disk_hits(uint64_t off, uint64_t len, uint64_t from, uint64_t to) { return off < to && off + len > from; }
static Err *mem_open(BlockNode *n)
{
    n->size = !strcmp(((MemNode *)n)->path, "p") ? VIRT_FLASH_SIZE : DISK_SIZE;
    n->zero_flags = REQ_UNMAP;
    return NULL;
}
static void mem_close(BlockNode *n) { }
static int mem_refuses(uint64_t off, uint64_t len)
{
    if (disk_hits(off, len, BAD_WRITE, FULL))
        return -EIO;
    if (disk_hits(off, len, FULL, GOOD_AGAIN))
        return -ENOSPC;
    return 0;
}
static int mem_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    fuzz_must(off + q->len <= n->size, "a read beyond the end");
    if (n->size > DISK_SIZE)
        return iov_fill(q, 0, 0, q->len), 0;
    if (disk_hits(off, q->len, BAD_READ, BAD_WRITE))
        return -EIO;
    iov_write(q, 0, disk_bytes + off, q->len);
    return 0;
}
static int mem_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    fuzz_must(off + q->len <= n->size && !n->read_only, "a write that must not be");
    if (n->size > DISK_SIZE)
        return mem_refuses(off, q->len);
    disk_dirty = true;
    iov_read(q, 0, disk_bytes + off, q->len);
    return mem_refuses(off, q->len);
}
static int mem_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    fuzz_must(off + len <= n->size && !n->read_only, "zeroes that must not be");
    if (n->size > DISK_SIZE)
        return mem_refuses(off, len);
    disk_dirty = true;
    memset(disk_bytes + off, 0, len);
    return mem_refuses(off, len);
}
static int mem_flush(BlockNode *n) { return 0; }

BLOCK(mem) = {
    .name = "file", .doc = "memory", .kind = DRIVER_PROTOCOL, .size = sizeof(MemNode),
    .fields = (const Field[]){ PROP(MemNode, path, .as = "filename"), {0} },
    .open = mem_open, .close = mem_close, .read = mem_read, .write = mem_write, .zero = mem_zero, .flush = mem_flush,
};
extern const BlockDriver block_raw;
const BlockDriver *const block_set[] = { &block_mem, &block_raw, NULL };

/* ---- what is on the board */

/* MMIO slots are filled from the highest; PCI slots from the first that is free. */
static const char *const device_args[] = {
    "virtio-blk-device,drive=d0,packed=on,num-queues=2,config-wce=on",
    "virtio-scsi-device,id=ms,packed=on,in_order=on", "scsi-hd,bus=ms.0,drive=d1", "scsi-cd,bus=ms.0,drive=c0",
    "virtio-net-device,netdev=n0,packed=on", "virtio-serial-device,id=mser", "virtconsole,bus=mser.0,chardev=con",
    "virtserialport,bus=mser.0,name=a,chardev=ring",
    "virtio-rng-device,packed=on", "virtio-balloon-device,deflate-on-oom=on,free-page-reporting=on",
    "virtio-9p-device,fsdev=f0,mount_tag=t0",
    "nvme,id=nv,serial=s,drive=d2,max_ioqpairs=4", "nvme-ns,bus=nv,drive=d3",
    "edu", "i6300esb", "pvpanic-pci",
    "virtio-blk-pci,drive=d4,packed=on,in_order=on,werror=stop,rerror=stop,page-per-vq=on",
    "virtio-blk-pci-transitional,drive=d5", "virtio-blk-pci-non-transitional,drive=d6,packed=on,write-cache=off",
    "virtio-scsi-pci,id=ps,packed=on,num_queues=3", "scsi-hd,bus=ps.0,drive=d7,lun=3,werror=stop,rerror=ignore",
    "scsi-cd,bus=ps.0",
    "virtio-net-pci,netdev=n1,packed=on,mq=on,modern-pio-notify=on", "virtio-net-pci-transitional,netdev=n2",
    "virtio-serial-pci,id=pser,max_ports=4", "virtserialport,bus=pser.0,chardev=sock",
    "virtio-rng-pci-transitional", "virtio-9p-pci-transitional,fsdev=f1,mount_tag=t1",
    "pcie-root-port,id=rp0,chassis=1", "virtio-rng-pci,bus=rp0,id=under", "pcie-root-port,id=rp1,chassis=2",
    "pcie-pci-bridge,id=br0", "edu,bus=br0,addr=3", "virtio-balloon-pci,bus=br0,addr=4,id=second",
    "ioh3420,id=rp2,chassis=3", "x3130-upstream,bus=rp2,id=up", "xio3130-downstream,bus=up,id=down,chassis=4",
    "virtio-blk-pci,bus=down,drive=d8,id=deep", "i82801b11-bridge,id=br1", "pci-bridge,bus=br1,id=br2,addr=1,chassis_nr=9",
    "edu,bus=br2,addr=2",
    "loader,addr=0x80200000,data=0x12345678,data-len=4",
};

static const char *const plug_args[] = {
    "virtio-rng-pci,bus=rp1,id=hot", "virtio-blk-pci,bus=rp1,id=hot,drive=x0", "virtio-net-pci,bus=rp1,id=hot", "edu,bus=rp1,id=hot",
    "nvme,bus=rp1,id=hot,serial=h,drive=x0", "virtio-serial-pci,bus=rp1,id=hot", "virtio-scsi-pci,bus=rp1,id=hot",
    "scsi-hd,bus=ps.0,id=hot2,drive=x1", "scsi-cd,bus=ms.0,id=hot2", "virtserialport,bus=pser.0,id=hot3",
    "virtconsole,bus=mser.0,id=hot3", "nvme-ns,bus=nv,id=hot4,drive=x2", "virtio-blk-pci,bus=down,id=hot5,drive=x3",
    "pcie-pci-bridge,bus=rp1,id=hot",
};
static const char *const hot_ids[] = { "hot", "hot2", "hot3", "hot4", "hot5", "under", "deep" };

typedef struct Vdev {
    VirtioDevice *v;                    /* NULL: it has gone */
    PciDevice *pci;                     /* NULL: an MMIO slot */
    uint16_t id;                        /* what it is */
    uint64_t base;                      /* of that */
    bool legacy, packed, session;       /* as the driver runs it now; 9p: version and attach were said */
    uint64_t features;
    struct { uint16_t size, next, slot; bool on, wrap; } q[VQS];
} Vdev;

typedef struct FuzzBoard {
    Rig rig;
    Vm *vm;
    bool made;
    int con, sock, uart;                /* the host's ends */
    NetPort port;                       /* the host's end of the cable */
    bool port_full;
    unsigned devices;                   /* as made */
    bool changed;                       /* one has gone since the lists were made */
    unsigned kept;                      /* of setup */
    Vdev virtio[MOST_VIRTIO]; unsigned n_virtio;
    PciDevice *functions[MOST_FUNCTIONS]; unsigned n_functions;
    PciDevice *nvme, *edu, *watchdog, *panic;
    struct { uint64_t at; uint32_t val; } setup[MOST_SETUP]; unsigned n_setup;      /* enumeration, as firmware does it */
} FuzzBoard;

static FuzzBoard boards[BOARDS], *b;

/* ---- accesses, as a vCPU does them */

static void poke(uint64_t at, uint64_t val, unsigned size) { space_io(b->vm->mem, at, &val, size, true); }
static uint64_t peek(uint64_t at, unsigned size)
{
    uint64_t val = 0;

    space_io(b->vm->mem, at, &val, size, false);
    return val;
}

/* ---- the host's side */

static void host_lock(void *vm) { vm_lock(vm); }
static void host_unlock(void *vm) { vm_unlock(vm); }

static bool port_frame(NetPort *p, const IoVec *frame)
{
    static uint8_t out[NET_FRAME_MAX];

    fuzz_must(frame->len <= sizeof(out), "a frame of %zu bytes", frame->len);
    if (b->port_full)
        return false;
    iov_read(frame, 0, out, frame->len);
    return true;
}
static unsigned port_offloads(NetPort *p) { return NET_CSUM | NET_TSO4; }
static const NetOps port_ops = { .frame = port_frame, .offloads = port_offloads };

static void make_net(void *opaque)
{
    static const char *const args[] = { "hubport,id=n0,hubid=0", "hubport,id=n1,hubid=0", "hubport,id=n2,hubid=0", "hubport,id=out,hubid=0" };
    NetPort *peer = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(args); i++)
        fuzz_error(net_add(b->vm->net, args[i]));
    b->port = (NetPort){ .ops = &port_ops, .name = (char *)"host", .hdr_len = NET_HDR_LEN };
    rig_must(net_find(b->vm->net, "out", 0, &peer));
    rig_must(net_link_ports(&b->port, peer));
    net_expect(&b->port, NET_HDR_LEN);
}

static int make_socket(const char *id)
{
    int fds[2];

    fuzz_must(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds), "no socket");
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    g_autofree char *arg = g_strdup_printf("socket,id=%s,fd=%d", id, fds[1]);
    rig_must(chardev_add(b->vm->chardevs, arg, NULL));
    return fds[0];
}

static void make_host(void)
{
    Vm *vm = b->vm;
    ChardevHost host = { .context = vm->main_context, .lock = host_lock, .unlock = host_unlock, .opaque = vm };

    vm->chardevs = chardevs_new(&host);
    b->con = make_socket("con");
    b->sock = make_socket("sock");
    b->uart = make_socket("uart");
    rig_must(chardev_add(vm->chardevs, "ringbuf,id=ring,size=64", NULL));
    vm->serials = g_new0(Chardev *, 1);
    rig_must(chardev_add_serial(vm->chardevs, "chardev:uart", 0, &vm->serials[0]));
    vm->nserials = 1;
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *dir = g_strdup_printf("share%u", i);
        g_autofree char *arg = g_strdup_printf("local,id=f%u,path=%s,security_model=%s", i, dir, i ? "mapped-file" : "mapped-xattr");
        g_mkdir_with_parents(dir, 0700);
        rig_must(fsdev_add(vm, arg));
    }
    rig_must(disks_new(vm, &vm->disks));
    rig_must(disks_add_blockdev(vm->disks, "driver=file,filename=p,node-name=p0"));
    for (unsigned i = 0; i < 14; i++) {
        g_autofree char *arg = g_strdup_printf("driver=file,filename=%u,node-name=%c%u%s", i, i < 9 ? 'd' : i < 13 ? 'x' : 'c',
                                               i < 9 ? i : i < 13 ? i - 9 : 0, i == 13 ? ",read-only=on" : ",discard=unmap");
        rig_must(disks_add_blockdev(vm->disks, arg));
    }
    rig_must(iothread_new(vm, "net", &vm->net_thread));
    vm->net = net_new(iothread_loop(vm->net_thread));
    iothread_run(vm->net_thread, make_net, NULL);
}

/* ---- enumeration, as firmware does it; each write is kept */

static uint64_t next_mem, next_io, next_high;

static uint64_t function_at(const PciDevice *d, unsigned bus) { return VIRT_ECAM | bus << 20 | d->devfn << 12; }

static void config_put(uint64_t at, uint32_t val)
{
    fuzz_must(b->n_setup < MOST_SETUP, "more functions than were thought of");
    b->setup[b->n_setup].at = at;
    b->setup[b->n_setup++].val = val;
    poke(at, val, 4);
}

static void place_bars(PciDevice *d, uint64_t at)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        const PciBar *bar = &d->bars[i];
        if (bar->kind == PCI_BAR_NONE)
            continue;
        uint64_t *next = bar->kind == PCI_BAR_IO ? &next_io : &next_mem, size = MAX(bar->region->size, 16);
        *next = (*next + size - 1) & ~(size - 1);
        config_put(at + 0x10 + 4 * i, *next);
        if (bar->kind == PCI_BAR_MEM64 || bar->kind == PCI_BAR_MEM64_PREFETCH)
            config_put(at + 0x14 + 4 * i, 0);
        *next += size;
    }
}

static void place_bus(PciBus *bus, unsigned number, unsigned *last)
{
    for (unsigned i = 0; i < 256; i++) {
        PciDevice *d = bus->functions[i];
        if (!d)
            continue;
        uint64_t at = function_at(d, number);
        fuzz_must(b->n_functions < MOST_FUNCTIONS, "more functions than were thought of");
        b->functions[b->n_functions++] = d;
        place_bars(d, at);
        if (d->secondary) {
            unsigned child = ++*last;
            config_put(at + 0x18, number | child << 8 | 0xff << 16);
            next_mem = (next_mem + 0xfffff) & ~UINT64_C(0xfffff);
            next_io = (next_io + 0xfff) & ~UINT64_C(0xfff);
            uint32_t mem = next_mem, io = next_io;
            place_bus(d->secondary, child, last);
            /* Room for what is plugged there later, too. */
            next_mem = ((next_mem + 0xfffff) & ~UINT64_C(0xfffff)) + 0x100000;
            next_io = ((next_io + 0xfff) & ~UINT64_C(0xfff)) + 0x1000;
            config_put(at + 0x18, number | child << 8 | *last << 16);
            config_put(at + 0x1c, io >> 8 | (next_io - 0x1000));
            config_put(at + 0x20, mem >> 16 | (next_mem - 0x100000));
        }
        config_put(at + 4, 7);
    }
}

/* ---- who is there */

static unsigned bus_number(const PciDevice *d) { return d->bus->bridge ? d->bus->bridge->config[0x19] : 0; }
static uint64_t function_config(const PciDevice *d) { return function_at(d, bus_number(d)); }

static void list_bus(PciBus *bus)
{
    for (unsigned i = 0; i < 256; i++) {
        PciDevice *d = bus->functions[i];
        if (!d)
            continue;
        fuzz_must(b->n_functions < MOST_FUNCTIONS, "more functions than were thought of");
        b->functions[b->n_functions++] = d;
        if (d->secondary)
            list_bus(d->secondary);
    }
}

static bool is_there(const Device *d)
{
    for (const Device *o = machine_of(b->vm)->devices; o; o = o->next)
        if (o == d)
            return true;
    return false;
}

static void note_virtio(Device *d, unsigned *slot)
{
    for (unsigned i = 0; i < b->n_virtio; i++)
        if (b->virtio[i].v == (VirtioDevice *)d)
            return;
    if (b->n_virtio == MOST_VIRTIO)
        return;
    Vdev *v = &b->virtio[b->n_virtio++];
    *v = (Vdev){ .v = (VirtioDevice *)d, .pci = (PciDevice *)d->outer };
    v->id = v->v->ops->id;
    if (!d->outer)
        v->base = VIRT_VIRTIO + --*slot * VIRT_VIRTIO_STRIDE;
}

/* Somebody came or went. */
static void list_again(void)
{
    b->changed = false;
    b->n_functions = 0;
    list_bus(((RiscvVirt *)b->vm->board)->pci);
    for (unsigned i = 0; i < b->n_virtio; i++)
        if (b->virtio[i].v && !is_there(&b->virtio[i].v->dev))
            b->virtio[i].v = NULL;
    for (Device *d = machine_of(b->vm)->devices; d; d = d->next)
        if (d->cls->base == virtio_fields)
            note_virtio(d, NULL);
}

/* What was plugged below a port gets its BARs at the end of the port's window. */
static void place_hot(PciDevice *d)
{
    const PciDevice *port = d->bus->bridge;
    if (!port)
        return;
    uint64_t at = function_config(d);
    next_mem = (uint64_t)(port->config[0x23] << 8 | (port->config[0x22] & 0xf0)) << 16;
    next_io = (uint64_t)(port->config[0x1d] & 0xf0) << 8;
    b->kept = b->n_setup;
    if (port->exp_cap)
        poke(function_config(port) + port->exp_cap + 0x18, 0, 2);
    place_bars(d, at);
    config_put(at + 4, 7);
    b->n_setup = b->kept;
}

static void went(void *opaque, const char *id) { ((FuzzBoard *)opaque)->changed = true; }

static void find_devices(void)
{
    Machine *m = machine_of(b->vm);
    unsigned last = 0, slot = VIRT_VIRTIO_SLOTS;

    b->n_setup = b->n_functions = b->n_virtio = b->devices = 0;
    next_mem = VIRT_PCI_MMIO;
    next_io = 0x1000;
    place_bus(((RiscvVirt *)b->vm->board)->pci, 0, &last);
    device_on_deleted(b->vm, went, b);
    for (Device *d = m->devices; d; d = d->next) {
        b->devices++;
        if (d->cls->base == virtio_fields)
            note_virtio(d, &slot);
        if (!strcmp(d->cls->name, "nvme"))
            b->nvme = (PciDevice *)d;
        if (!strcmp(d->cls->name, "i6300esb"))
            b->watchdog = (PciDevice *)d;
        if (!strcmp(d->cls->name, "pvpanic-pci"))
            b->panic = (PciDevice *)d;
        if (!strcmp(d->cls->name, "edu") && !b->edu)
            b->edu = (PciDevice *)d;
    }
}

static void board_new(unsigned kind)
{
    static const char *const opts[] = { "aclint=on", "aia=aplic,pflash1=p0", "aia=aplic-imsic,pflash0=p0" };

    rig_init(&b->rig);
    b->vm = b->rig.vm;
    vm_unlock(b->vm);
    for (int i = 0; i < RIG_HARTS; i++)
        b->rig.cpus[i].standing = true;
    make_host();
    vm_lock(b->vm);
    VmConfig *c = &b->rig.config;
    c->ram_size = RAM_SIZE;
    c->machine_opts = (char *)opts[kind];
    c->no_shutdown = true;
    c->devices = g_ptr_array_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(device_args); i++) {
        if (!strstr(device_args[i], "id=second"))
            g_ptr_array_add(c->devices, (void *)device_args[i]);
    }
    if (kind == 1) {
        c->globals = g_ptr_array_new();
        g_ptr_array_add(c->globals, (void *)"virtio-mmio.force-legacy=on");
    }
    rig_board(&b->rig);
    find_devices();
    b->made = true;
}

static void net_end(void *opaque)
{
    net_unlink(&b->port);
    net_free(b->vm->net);
}

static void board_end(void)
{
    Vm *vm = b->vm;
    GPtrArray *devices = b->rig.config.devices, *globals = b->rig.config.globals;

    board_free(vm);
    vm_unlock(vm);
    iothread_run(vm->net_thread, net_end, NULL);
    disks_free(vm->disks);
    fsdevs_free(vm);
    chardevs_free(vm->chardevs);
    g_free(vm->serials);
    vm_lock(vm);
    vm->net = NULL;
    vm->disks = NULL;
    rig_free(&b->rig);
    g_ptr_array_free(devices, true);
    if (globals)
        g_ptr_array_free(globals, true);
    close(b->con);
    close(b->sock);
    close(b->uart);
    *b = (FuzzBoard){ 0 };
}

/* ---- turns */

static void drain_host(int fd)
{
    char buf[4096];

    while (read(fd, buf, sizeof(buf)) > 0)
        ;
}

/* Everything that is due, until nothing is. What goes on for ever without time passing is a finding. */
static void turn(void)
{
    enum { MOST = 20000 };
    Vm *vm = b->vm;
    bool ran = false;
    int n = 0;

    do {
        fuzz_must(n++ < MOST, "devices are busy for ever: I/O threads %d, calls %d, requests %#x, main loop %d", ran, !!vm->calls,
                  vm->request, g_main_context_pending(vm->main_context));
        ran = iothreads_turn(vm);
        vm_unlock(vm);
        vm_turn(vm, false);
        vm_lock(vm);
        rig_work(&b->rig);
        if (b->changed)
            list_again();
    } while (ran || vm->calls || vm->request || g_main_context_pending(vm->main_context));
}

#endif
