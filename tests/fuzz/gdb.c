/* SPDX-License-Identifier: MIT */
/*
 * What a debugger sends to the stub of a small machine with two vCPUs, which runs
 * whatever bytes come to lie in its memory. A line of the input is a packet's data
 * and gets its frame here; one that begins with '=' is sent as it is behind it; one with '!' is what a device stores:
 * two bytes of where, in units of 16 bytes, and the bytes.
 */
#include "tests/fuzz/fuzz.h"

#include "accel/accel.h"
#include "gdb/gdb-priv.h"
#include "system/vmconfig.h"

enum { RAM = 1 << 20, RAM_AT = 0x80000000 };

/* A machine that lives for ever has what its vCPUs made in memory that the leak checker doesn't look into. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "detect_leaks=0"; }

static VmConfig config = {
    .program = (char *)"fuzz", .isa = (char *)"riscv64", .smp = 2, .maxcpus = 2, .ram_size = RAM, .engine = ENGINE_JIT,
    .start_paused = true,
};
static Vm *vm;
static Region ram_region;

static void host_lock(void *opaque) { vm_lock(opaque); }
static void host_unlock(void *opaque) { vm_unlock(opaque); }

static void must(Err *e)
{
    if (e) {
        err_report(e);
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    ChardevHost host = { .lock = host_lock, .unlock = host_unlock };
    RamBlock *ram;

    vm = vm_new(&config);
    host.context = vm->main_context;
    host.opaque = vm;
    vm->isa = isa_find("riscv64");
    vm->chardevs = chardevs_new(&host);
    must(ram_new(vm, "ram", RAM, &ram));
    ram_region = (Region){ .name = "ram", .kind = REGION_RAM, .size = RAM, .ram = ram };
    must(accel_start(vm));
    vm_lock(vm);
    space_edit(vm->mem);
    must(space_map(vm->mem, RAM_AT, &ram_region, 0));
    space_commit(vm->mem);
    must(gdb_start(vm, "null"));
    vm_unlock(vm);
    while (g_main_context_pending(vm->main_context))
        vm_turn(vm, false);
    return 0;
}

static void event(CharEvent what)
{
    vm_lock(vm);
    vm->gdb->port.events->event(vm->gdb, what);
    vm_unlock(vm);
    vm_turn(vm, false);
}

static void send_bytes(const uint8_t *data, size_t size)
{
    while (size) {
        vm_lock(vm);
        size_t n = MIN(size, (size_t)vm->gdb->port.events->room(vm->gdb));
        fuzz_must(n, "the stub takes nothing any more");
        vm->gdb->port.events->data(vm->gdb, data, n);
        vm_unlock(vm);
        vm_turn(vm, false);
        data += n;
        size -= n;
    }
}

static void device_stores(const uint8_t *what, size_t size)
{
    if (size > 2)
        fuzz_must(space_write(vm->mem, RAM_AT + (what[0] | what[1] << 8) * 16, what + 2, MIN(size - 2, 16)) == MEM_OK,
                  "memory that no device can store to");
    vm_turn(vm, false);
}

static void send_line(const uint8_t *line, size_t size)
{
    g_autoptr(GByteArray) a = g_byte_array_new();

    if (size && line[0] == '!') {
        device_stores(line + 1, size - 1);
        return;
    }
    if (size && line[0] == '=') {
        send_bytes(line + 1, size - 1);
        return;
    }
    packet_frame(a, line, size);
    send_bytes(a->data, a->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    event(CHR_OPENED);
    while (size) {
        const uint8_t *nl = memchr(data, '\n', size);
        size_t n = nl ? (size_t)(nl - data) : size;

        send_line(data, n);
        n = MIN(n + 1, size);
        data += n;
        size -= n;
    }
    event(CHR_CLOSED);
    vm_lock(vm);
    vm_stop(vm, RUN_PAUSED);
    fuzz_must(!vm->gdb->breaks->len && !vm->gdb->watches->len && !vm->gdb->attached, "a debugger that is gone left something");
    vm_unlock(vm);
    return 0;
}
