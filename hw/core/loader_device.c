/* SPDX-License-Identifier: MIT */
/*
 * -device loader: puts a file or a value into memory at each reset, and may set
 * where a CPU starts.
 *
 *   loader,file=FILE[,addr=ADDR][,cpu-num=N][,force-raw=on]
 *   loader,addr=ADDR,data=VALUE,data-len=1..8[,data-be=on][,cpu-num=N]
 *   loader,addr=ADDR,cpu-num=N
 */
#include <inttypes.h>

#include "hw/core/board.h"
#include "hw/core/loader.h"
#include "system/vcpu.h"
#include "tcg/env.h"

#define NO_CPU UINT32_MAX
#define NO_ADDR UINT64_MAX

typedef struct Loader {
    Device dev;
    char *file;
    uint64_t addr, data, start;
    uint32_t cpu_num;
    uint8_t data_len;
    bool force_raw, data_be;
    bool sets_pc;               /* at reset, cpu_num starts at `start` */
} Loader;

static Err *load_file(Loader *l, Machine *m)
{
    uint64_t max = m->vm->config->ram_size;
    Blob b;

    TRY(file_read(l->file, max, &b));
    Err *e;
    if (!l->force_raw && blob_is_elf(&b)) {
        ElfInfo elf = { 0 };

        e = elf_load(&m->images, l->file, &b, m->board->elf_machine, max, &elf);
        l->start = elf.entry;
        blob_free(&b);
    } else {
        l->start = l->addr;
        if (l->addr == NO_ADDR) {
            e = err_hint(err(ERR_INVALID, "it needs addr=, since it is no ELF file"), "For example addr=0x80200000.");
            blob_free(&b);
        } else {
            e = image_add(&m->images, l->file, l->addr, b.data, b.len, b.len);
        }
    }
    return err_in(e, "file '%s'", l->file);
}

static Err *load_value(Loader *l, Machine *m)
{
    uint8_t *bytes = g_malloc0(8);

    for (unsigned i = 0; i < l->data_len; i++)
        bytes[l->data_be ? l->data_len - 1 - i : i] = l->data >> i * 8;
    l->start = l->addr;
    return image_add(&m->images, "a loader's data", l->addr, bytes, l->data_len, l->data_len);
}

static Err *loader_realize(Device *d)
{
    Loader *l = (Loader *)d;
    Machine *m = machine_of(d->vm);

    if (l->cpu_num != NO_CPU && l->cpu_num >= (uint32_t)d->vm->nvcpus)
        return err(ERR_INVALID, "cpu-num=%u: the machine has CPUs 0 to %d", l->cpu_num, d->vm->nvcpus - 1);
    if (l->data_len > 8)
        return err(ERR_INVALID, "data-len=%u: it is at most 8", l->data_len);
    if (l->file && l->data_len)
        return err(ERR_INVALID, "file= and data= exclude each other");
    if (!l->file && l->addr == NO_ADDR)
        return err_hint(err(ERR_INVALID, "it needs file= or addr="), "-device loader,help lists what it can be told.");
    l->sets_pc = l->cpu_num != NO_CPU;
    if (l->file)
        return load_file(l, m);
    if (l->data_len)
        return load_value(l, m);
    if (!l->sets_pc)
        return err(ERR_INVALID, "it needs file=, data-len= or cpu-num=: there is nothing to do");
    l->start = l->addr;
    return NULL;
}

/* The board has said before where its vCPUs start. */
static void loader_reset(Device *d)
{
    const Loader *l = (const Loader *)d;

    if (l->sets_pc)
        d->vm->vcpus[l->cpu_num]->env->pc = l->start;
}

static const Field loader_fields[] = {
    PROP(Loader, file, .doc = "what to load: ELF, or raw bytes for addr"),
    PROP(Loader, addr, .def = "0xffffffffffffffff", .doc = "physical address of the bytes, or where the CPU starts"),
    PROP(Loader, data, .def = "0", .doc = "value to store at addr"),
    PROP(Loader, data_len, .def = "0", .doc = "bytes of data, 1 to 8"),
    PROP(Loader, data_be, .def = "off", .doc = "store data big-endian"),
    PROP(Loader, cpu_num, .def = "0xffffffff", .doc = "CPU that starts at what was loaded"),
    PROP(Loader, force_raw, .def = "off", .doc = "load an ELF file as plain bytes"),
    {0}
};

DEVICE(loader) = {
    .name = "loader", .doc = "bytes in memory at each reset", .size = sizeof(Loader), .fields = loader_fields,
    .realize = loader_realize, .reset = loader_reset,
};
