/* SPDX-License-Identifier: MIT */
/*
 * Board: the machine that -M names. A board is a struct that begins with a
 * Machine; vm->board points to it.
 *
 * Order at start: vm_new, accel_start (the vCPUs exist and stand), board_make,
 * then vm_main, whose first act is a reset that loads the memory images.
 * A reset does, in this order: vCPUs (by accel/), the board's own `reset`, devices in the
 * order of their making (so interrupt controllers are made first, and a reset
 * device drives its lines anew), memory images.
 */
#ifndef HW_CORE_BOARD_H
#define HW_CORE_BOARD_H

#include "hw/core/device.h"
#include "hw/core/image.h"
#include "system/vmconfig.h"

typedef struct Machine Machine;

typedef struct Board {
    const char *name, *doc;
    const char *isa;            /* whose board it is: "riscv64"; NULL: everybody's */
    bool no_cpus;               /* it has none, whatever -smp says */
    const char *alias;          /* another name, or NULL */
    unsigned elf_machine;       /* EM_*: what its ELF files are for */
    int max_cpus;
    const char *ram_name;       /* of the main RAM block, as snapshots and management see it */
    uint64_t ram_default;       /* bytes, when -m is not given */
    size_t size;
    const Field *fields;        /* options of -M beside machine_fields */
    Err *(*make)(Machine *);    /* config is checked against the row; options are set */
    void (*reset)(Machine *);   /* where vCPUs start, for example; or NULL */
    void (*free)(Machine *);    /* what make left besides devices; or NULL */
} Board;

struct Machine {
    Vm *vm;
    const Board *board;
    Device *devices, **devices_end;
    Bus *buses;                 /* in the order of making */
    Images images;
    bool made;                  /* what comes now is hotplugged */
    bool grace;                 /* a safepoint is awaited, to free dying devices */
    void (*on_deleted)(void *opaque, const char *id); void *on_deleted_opaque;     /* device_on_deleted's */
    void (*press_power)(void *button); void *power_button;      /* NULL: it has no button that guests hear of */
    struct FwCfg *fw_cfg;       /* hw/firm/fw_cfg.h; NULL: it has none */
    GArray *boot_order;         /* hw/core/boot_order.c */
    bool booted;                /* firmware was given its boot order once */
    /* options that every board has */
    bool usb, dump_guest_core, mem_merge;
    char *memory_backend;
};
extern const Field machine_fields[];

#define BOARD(name) const Board board_##name
extern const Board *const board_set[];      /* NULL-terminated; written by tools/sets */

/* Makes the board that vm->config names, and the devices of -device. */
MUST_USE Err *board_make(Vm *vm);
/* With the vCPUs gone or standing for good. Fine without a board. */
void board_free(Vm *vm);
/* -M help for that guest; g_free it. */
char *board_help(const char *isa);
/* The row that a -M name means: near matches when there is none. */
MUST_USE Err *board_find(const char *isa, const char *name, const Board **out);

/* The power button: guests that listen power off. False: there is none. Machine lock. */
bool machine_press_power(Vm *vm);

static inline Machine *machine_of(Vm *vm) { return vm->board; }

#endif
