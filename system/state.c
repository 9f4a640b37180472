/* SPDX-License-Identifier: MIT */
/*
 * A machine's parts, saved and brought back; memory and disks are others' affair
 * (state_file.c, snapshot.c, migrate.c).
 *
 * What holds state says so by state_part_add: the accelerator for its vCPUs, the
 * board for its devices. This file knows the machine itself and its clock.
 */
#include <stdatomic.h>
#include <string.h>

#include "system/state-priv.h"
#include "system/vmconfig.h"

typedef struct Part { const StatePart *row; void *opaque; } Part;

enum { MACHINE_VERSION = 1, CLOCK_VERSION = 1 };

State *state_of(Vm *vm)
{
    if (!vm->saving) {
        vm->saving = g_new0(State, 1);
        vm->saving->parts = g_array_new(false, false, sizeof(Part));
    }
    return vm->saving;
}

void state_free(Vm *vm)
{
    State *s = vm->saving;

    if (!s)
        return;
    migration_free(vm);
    state_loan_end(vm);
    g_array_free(s->parts, true);
    g_free(s);
    vm->saving = NULL;
}

void state_part_add(Vm *vm, const StatePart *part, void *opaque)
{
    const Part p = { part, opaque };

    g_array_append_val(state_of(vm)->parts, p);
}

void state_part_remove(Vm *vm, void *opaque)
{
    GArray *parts = state_of(vm)->parts;

    for (guint i = parts->len; i-- > 0;) {
        if (g_array_index(parts, Part, i).opaque == opaque)
            g_array_remove_index(parts, i);
    }
}

static const Part *part(Vm *vm, guint i)
{
    return &g_array_index(state_of(vm)->parts, Part, i);
}

static guint parts(Vm *vm)
{
    return state_of(vm)->parts->len;
}

Err *state_can_save(Vm *vm)
{
    for (guint i = 0; i < parts(vm); i++) {
        if (part(vm, i)->row->can_save)
            TRY(part(vm, i)->row->can_save(part(vm, i)->opaque));
    }
    return NULL;
}

/* ---- the machine itself: what has to be the same where it is loaded */

static void save_machine(Vm *vm, StateOut *o)
{
    const VmConfig *c = vm->config;
    unsigned n = 0;

    state_begin(o, "machine", MACHINE_VERSION);
    state_put_text(o, "isa", c->isa);
    state_put_text(o, "board", c->machine);
    state_put_text(o, "cpu", c->cpu);
    state_put_u64(o, "cpus", vm->nvcpus);
    for (const RamBlock *b = vm->rams; b; b = b->next, n++) {
        g_autofree char *name = g_strdup_printf("ram%u", n), *size = g_strdup_printf("ram%u.size", n);

        state_put_text(o, name, b->name);
        state_put_u64(o, size, b->size);
    }
    state_put_u64(o, "rams", n);
}

static Err *same_text(StateIn *in, const char *field, const char *here, const char *option)
{
    g_autofree char *there = NULL;

    TRY(state_get_text(in, field, &there));
    if (strcmp(there, here ? here : ""))
        return err_hint(err(ERR_INVALID, "it was saved with %s '%s', and this machine has '%s'", option, there, here ? here : ""),
                        "The machine has to be made with the same options.");
    return NULL;
}

static Err *check_rams(Vm *vm, StateIn *in)
{
    uint64_t n = 0, saved, size;

    for (const RamBlock *b = vm->rams; b; b = b->next, n++) {
        g_autofree char *name = g_strdup_printf("ram%" G_GUINT64_FORMAT, n), *field = g_strconcat(name, ".size", NULL);

        if (!state_has(in, name))
            return err(ERR_INVALID, "it was saved without the memory '%s' that this machine has", b->name);
        TRY(same_text(in, name, b->name, "a memory"));
        TRY(state_get_u64(in, field, UINT64_MAX, &size));
        if (size != b->size)
            return err_hint(err(ERR_INVALID, "its memory '%s' has %" G_GUINT64_FORMAT " bytes, and that of this machine %" G_GUINT64_FORMAT,
                                b->name, size, b->size), "-m has to be the same.");
    }
    TRY(state_get_u64(in, "rams", UINT64_MAX, &saved));
    return saved == n ? NULL : err(ERR_INVALID, "it was saved with %" G_GUINT64_FORMAT " memories, and this machine has %" G_GUINT64_FORMAT, saved, n);
}

static Err *check_machine(Vm *vm, StateIn *in)
{
    const VmConfig *c = vm->config;
    uint64_t cpus;

    TRY(state_open(in, "machine", MACHINE_VERSION));
    TRY(same_text(in, "isa", c->isa, "the guest"));
    TRY(same_text(in, "board", c->machine, "-M"));
    TRY(same_text(in, "cpu", c->cpu, "-cpu"));
    TRY(state_get_u64(in, "cpus", INT32_MAX, &cpus));
    if (cpus != (uint64_t)vm->nvcpus)
        return err_hint(err(ERR_INVALID, "it was saved with %u vCPUs, and this machine has %d", (unsigned)cpus, vm->nvcpus),
                        "-smp has to be the same.");
    TRY(check_rams(vm, in));
    return state_close(in);
}

GByteArray *state_gather_machine(Vm *vm)
{
    StateOut *o = state_out_new();

    save_machine(vm, o);
    return state_out_end(o);
}

Err *state_check_machine(Vm *vm, const void *data, size_t len)
{
    StateIn *in;

    TRY(state_in_new(data, len, &in));
    Err *e = check_machine(vm, in);
    state_in_free(in);
    return e;
}

static Err *read_clock(StateIn *in, uint64_t *now)
{
    TRY(state_open(in, "clock", CLOCK_VERSION));
    TRY(state_get_u64(in, "guest", INT64_MAX / 4, now));
    return state_close(in);
}

/* ---- all of it */

GByteArray *state_gather(Vm *vm)
{
    StateOut *o = state_out_new();

    save_machine(vm, o);
    state_begin(o, "clock", CLOCK_VERSION);
    state_put_u64(o, "guest", clock_now(vm, CLOCK_GUEST));
    for (guint i = 0; i < parts(vm); i++)
        part(vm, i)->row->save(part(vm, i)->opaque, o);
    return state_out_end(o);
}

static Err *check(Vm *vm, StateIn *in)
{
    uint64_t clock;

    TRY(check_machine(vm, in));
    TRY(read_clock(in, &clock));
    for (guint i = 0; i < parts(vm); i++) {
        if (part(vm, i)->row->check)
            TRY(part(vm, i)->row->check(part(vm, i)->opaque, in));
    }
    return state_all_read(in);
}

Err *state_check(Vm *vm, const void *data, size_t len)
{
    StateIn *in;

    TRY(state_in_new(data, len, &in));
    Err *e = check(vm, in);
    state_in_free(in);
    return e;
}

static Err *apply(Vm *vm, StateIn *in)
{
    uint64_t clock;

    TRY(read_clock(in, &clock));
    clock_set_guest(vm, clock);
    for (guint i = 0; i < parts(vm); i++)
        TRY(part(vm, i)->row->load(part(vm, i)->opaque, in));
    for (guint i = parts(vm); i-- > 0;) {
        if (part(vm, i)->row->finish)
            TRY(part(vm, i)->row->finish(part(vm, i)->opaque));
    }
    return NULL;
}

Err *state_apply(Vm *vm, const void *data, size_t len)
{
    StateIn *in;

    TRY(state_in_new(data, len, &in));
    Err *e = apply(vm, in);
    state_in_free(in);
    return e;
}

void state_touch_memory(Vm *vm)
{
    atomic_store(&vm->remade, true);
    for (RamBlock *b = vm->rams; b; b = b->next)
        ram_touch(b, 0, b->size);
    atomic_store(&vm->remade, false);
}
