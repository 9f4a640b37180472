/* SPDX-License-Identifier: MIT */
/*
 * Cards that come and go while two harts read and write where they are: in a
 * window that takes the machine lock, in MSI-X tables, which take none, and in
 * configuration space; and interrupts from threads while masks change. For the
 * sanitizers above all.
 */
#include "tests/dev/pci-rig.h"

#include "accel/accel.h"

/* Both harts, for ever: MSI-X table, memory BAR, configuration space of bus 1. */
static const uint32_t guest[] = {
    0x400102b7, /*  lui t0, 0x40010 */ 0x400003b7, /*  lui t2, 0x40000 */ 0x30100e37, /*  lui t3, 0x30100 */
    0x0002a303, /*1: lw t1, 0(t0)   */ 0x0062a623, /*  sw  t1, 12(t0)  */
    0x0003a303, /*  lw  t1, 0(t2)   */ 0x000e2303, /*  lw  t1, 0(t3)   */ 0xff1ff06f, /*  j 1b */
};

static char *code;
static VmConfig config;

static void start_harts(void)
{
    code = rig_file(guest, sizeof(guest));
    config = (VmConfig){
        .program = "test", .isa = "riscv64", .machine = (char *)"virt", .smp = 2, .maxcpus = 2,
        .ram_size = 16 << 20, .bios = (char *)"none", .engine = ENGINE_JIT, .devices = g_ptr_array_new_with_free_func(g_free),
    };
    g_ptr_array_add(config.devices, g_strdup_printf("loader,file=%s,addr=0x80000000", code));
    g_ptr_array_add(config.devices, g_strdup("pcie-root-port,id=p,addr=2"));
    r->vm = vm_new(&config);
    r->vm->isa = isa_find("riscv64");
    rig_must(accel_start(r->vm));
    vm_lock(r->vm);
    rig_must(board_make(r->vm));
    vm_reset(r->vm);
    vm_start(r->vm);
}

static void stop_harts(void)
{
    vm_stop(r->vm, RUN_PAUSED);
    vm_unlock(r->vm);
    accel_stop(r->vm);
    vm_lock(r->vm);
    board_free(r->vm);
    vm_unlock(r->vm);
    vm_free(r->vm);
    g_ptr_array_free(config.devices, true);
    rig_unlink(code);
}

/* The main loop turns until nobody has that id; false: it has it after five seconds. */
static bool until_gone(const char *id)
{
    int64_t limit = g_get_monotonic_time() + 5000000;

    while (device_find(r->vm, id) && g_get_monotonic_time() < limit) {
        vm_unlock(r->vm);
        vm_turn(r->vm, false);
        vm_lock(r->vm);
    }
    return !device_find(r->vm, id);
}

static void test_cards(void)
{
    const uint64_t p = cfg(0, 2, 0, 0), card = cfg(1, 0, 0, 0);

    start_harts();
    PciBus *bus = (PciBus *)bus_find(r->vm, "p");
    uint64_t slot = p + cap(p, 0x10);
    wr32(r, p + 0x18, 0x00010100);
    wr32(r, p + 0x20, MMIO >> 16 | MMIO);
    command(p, MEM | MASTER);
    for (int i = 0; i < 100; i++) {
        Toy *t = (Toy *)device_new(r->vm, &toy_class);

        rig_must(device_set_prop(&t->pci.dev, "id", "x"));
        rig_must(device_plug(&t->pci.dev, &bus->bus));
        wr(r, slot + 0x18, 0x1c0, 2);
        CHECK_EQ(rd32(r, card), 0x56781234);
        wr32(r, card + 0x14, MMIO);
        wr32(r, card + 0x20, MMIO + 0x10000);
        command(card, MEM | MASTER);
        wr(r, card + cap(card, 0x11) + 2, 0x8000, 2);
        vm_unlock(r->vm);
        usleep(i % 4 * 100);
        vm_lock(r->vm);
        rig_must(device_del(r->vm, "x"));
        wr(r, slot + 0x18, 0x7c0, 2);
        if (!until_gone("x")) {
            CHECK(!"the card stays");
            break;
        }
    }
    stop_harts();
}

/* ---- interrupts from threads */

static _Atomic bool over;
static _Atomic unsigned counted;
static void count_message(void *opaque, uint64_t off, uint32_t data) { counted++; }

static void *notify(void *opaque)
{
    Toy *t = opaque;

    for (unsigned i = 0; !over; i++) {
        msix_notify(&t->pci, i % 70);
        msi_notify(&t->pci, i % 4);
        pci_intx(&t->pci, i & 1);
    }
    return NULL;
}

static void test_notify(void)
{
    pthread_t threads[2];

    start(NULL);
    rig_must(msi_claim(r->vm, MSI_AT, 0x1000, count_message, &counted));
    Toy *t = toy_on(root, NULL);
    uint64_t f = cfg(0, 1, 0, 0), x = f + cap(f, 0x11), m = f + cap(f, 5);
    wr32(r, f + 0x20, MMIO);
    command(f, MEM | MASTER);
    for (unsigned v = 0; v < 70; v++)
        wr(r, MMIO + v * 16, MSI_AT, 8);
    wr32(r, m + 4, MSI_AT);
    over = false;
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, notify, t);
    wr(r, m + 2, 1, 2);
    for (int i = 0; !counted && i < 50000; i++)
        usleep(100);
    CHECK(counted > 0);
    for (unsigned i = 0; i < 3000; i++) {
        wr32(r, MMIO + i % 70 * 16 + 12, i / 70 & 1);
        wr(r, x + 2, i & 16 ? 0x8000 : 0xc000, 2);
        wr(r, m + 2, i & 32 ? 1 : 0, 2);
        wr32(r, m + 16, i);
        command(f, MEM | MASTER | (i & 8 ? INTX_OFF : 0));
    }
    /* Masked: from here on nothing comes. */
    wr(r, x + 2, 0xc000, 2);
    wr(r, m + 2, 0, 2);
    unsigned before = counted;
    usleep(1000);
    CHECK_EQ(counted, before);
    command(f, MEM | MASTER | INTX_OFF);
    CHECK(!still(VIRT_PCI_IRQ + 2));
    over = true;
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pci_intx(&t->pci, false);
    msi_unclaim(r->vm, &counted);
    end();
}

int main(void)
{
    RUN(test_cards);
    RUN(test_notify);
    return test_end();
}
