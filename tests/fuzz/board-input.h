/* SPDX-License-Identifier: MIT */
/* What the target `board` reads its input with: numbers, lengths, addresses, bytes into guest memory. */
#ifndef TESTS_FUZZ_BOARD_INPUT_H
#define TESTS_FUZZ_BOARD_INPUT_H

#include "tests/fuzz/board-rig.h"

/* Guest memory: rings of virtio devices, what everybody else points to, queues of NVMe. */
#define RINGS UINT64_C(0x80300000)
#define HEAP  UINT64_C(0x80800000)
#define NVME_RINGS UINT64_C(0x80c00000)
enum { RING_ROOM = 0x2000, HEAP_SIZE = 0x200000 };

static struct { const uint8_t *p; size_t left; } in;
static uint64_t heap;                           /* given away up to here */
static uint64_t marked;                         /* where a list of pointers begins that was written last */

static uint32_t take(unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes && in.left; i++, in.left--)
        v |= (uint32_t)*in.p++ << 8 * i;
    return v;
}

static uint64_t give(uint64_t size)
{
    uint64_t at = heap;

    heap += (MIN(size, 0x10000) + 63) & ~UINT64_C(63);
    if (heap > HEAP + HEAP_SIZE - 0x20000)
        heap = HEAP;
    return at;
}

static void ram_put(uint64_t at, const void *bytes, size_t n) { space_write(b->vm->mem, at, bytes, n); }
static void ram_put_le(uint64_t at, uint64_t v, unsigned n) { ram_put(at, &v, n); }

/* Bytes of the input to memory; at most 255, and what is missing stays as it was. */
static void ram_take(uint64_t at, unsigned n)
{
    n = MIN(n, in.left);
    ram_put(at, in.p, n);
    in.p += n;
    in.left -= n;
}

/* Lengths: usual ones, and those that are not. */
static uint32_t take_len(void)
{
    static const uint32_t usual[] = { 0, 1, 4, 8, 12, 16, 24, 64, 128, 512, 520, 1024, 4096, 8192, 65536, 1 << 20,
                                      0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0 };
    uint8_t how = take(1);

    return how < 2 * G_N_ELEMENTS(usual) ? usual[how / 2] : how < 200 ? how : take(how & 1 ? 2 : 4);
}

static uint64_t bar_at(const PciDevice *d, unsigned n) { return d->bars[n].at == UINT64_MAX ? 0 : d->bars[n].at; }

/* NULL: it has gone. */
static Vdev *some_virtio(unsigned n)
{
    Vdev *v = &b->virtio[n % b->n_virtio];

    return v->v ? v : NULL;
}

/* Where registers are that a device might be told to write to. */
static uint64_t register_place(unsigned how)
{
    const Vdev *v = some_virtio(how >> 2);
    PciDevice *f = b->functions[how % b->n_functions];

    switch (how & 3) {
    case 0: return !v ? 0 : v->pci ? bar_at(v->pci, 4) : v->base;
    case 1: return bar_at(f, how >> 6);
    case 2: return bar_at(b->nvme, 0);
    default: {
        static const uint64_t places[] = { VIRT_FW_CFG + 16, VIRT_PLIC, VIRT_ECAM, VIRT_FLASH, VIRT_TEST, VIRT_UART, VIRT_IMSIC_S,
                                           VIRT_CLINT, VIRT_ROM, VIRT_RTC, VIRT_PCI_PIO, VIRT_APLIC_S };
        return places[(how >> 2) % G_N_ELEMENTS(places)];
    }
    }
}

/* An address for `len` bytes: mostly memory that is free, else what nobody should point to. */
static uint64_t take_place(uint64_t len)
{
    uint8_t how = take(1);

    if (how < 0xb0)
        return give(len) + (how & 8 ? how & 7 : 0);
    if (how < 0xc0)
        return marked;
    if (how < 0xd0)
        return RINGS + (uint64_t)take(1) * RING_ROOM + (how & 15) * 16;
    switch (how & 15) {
    case 0: return 0;
    case 1: return UINT64_MAX - take(1);
    case 2: return VIRT_RAM + RAM_SIZE - take(2);
    case 3: return VIRT_RAM + RAM_SIZE;
    case 4: return HEAP + take(3) % HEAP_SIZE;
    case 5: return take(4);
    case 6: return (uint64_t)take(4) << 32 | take(4);
    case 7: return NVME_RINGS + take(2);
    case 8: return heap - (take(1) << 4);
    default: return register_place(take(1));
    }
}

#endif
