/* SPDX-License-Identifier: MIT */
/*
 * Choosing a board, making it, resetting it.
 */
#include "hw/core/board.h"
#include "hw/core/boot_order.h"

#include <string.h>

#include "hw/disk/disk.h"
#include "hw/nic/nic.h"
#include "system/stream.h"
#include "util/opts.h"

Err *board_find(const char *isa, const char *name, const Board **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const Board *const *b = board_set; *b; b++) {
        if ((*b)->isa && strcmp((*b)->isa, isa))
            continue;
        g_ptr_array_add(names, (void *)(*b)->name);
        if (!strcmp((*b)->name, name) || ((*b)->alias && !strcmp((*b)->alias, name))) {
            *out = *b;
            return NULL;
        }
    }
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "there is no machine '%s'", name);
    return near ? err_hint(e, "Did you mean '%s'? There are: %s", near, all) : err_hint(e, "There are: %s", all);
}

char *board_help(const char *isa)
{
    GString *out = g_string_new("Supported machines are:\n");

    for (const Board *const *b = board_set; *b; b++) {
        if (!(*b)->isa || !strcmp((*b)->isa, isa))
            g_string_append_printf(out, "%-20s %s\n", (*b)->name, (*b)->doc);
    }
    return g_string_free(out, false);
}

/* ---- options of all boards */

const Field machine_fields[] = {
    PROP(Machine, usb, .def = "off", .doc = "a USB controller from the start"),
    PROP(Machine, dump_guest_core, .def = "on", .doc = "guest memory is part of our core dumps"),
    PROP(Machine, mem_merge, .def = "off", .doc = "let the kernel merge equal pages of guests (KSM)"),
    PROP(Machine, memory_backend, .doc = "name of the main memory"),
    {0}
};

static Err *set_option(void *opaque, const char *key, const char *value)
{
    Machine *m = opaque;
    const Field *f = NULL;

    TRY(prop_find_either(machine_fields, m->board->fields, key, &f));
    return prop_parse(m, f, value);
}

static Err *set_options(Machine *m, const char *list)
{
    Opts *o = NULL;

    TRY(opts_parse(list, NULL, NULL, &o));
    Err *e = opts_each(o, set_option, m);
    opts_free(o);
    return e;
}

static Err *check_options(const Machine *m)
{
    if (m->usb)
        return err_hint(err(ERR_UNSUPPORTED, "usb=on: this board has no USB controller of its own"), "Leave it away.");
    if (m->memory_backend && strcmp(m->memory_backend, m->board->ram_name))
        return err(ERR_NOT_FOUND, "memory-backend=%s: there is no memory of that name, only '%s'",
                   m->memory_backend, m->board->ram_name);
    return NULL;
}

static void advise_memory(const Machine *m)
{
    for (RamBlock *b = m->vm->rams; b; b = b->next)
        ram_advise(b, m->dump_guest_core, m->mem_merge);
}

/* ---- making */

static Err *check_config(const Board *b, const VmConfig *config)
{
    if (config->smp > b->max_cpus)
        return err(ERR_INVALID, "-smp %d: machine '%s' has at most %d CPUs", config->smp, b->name, b->max_cpus);
    return NULL;
}

/* The accelerator's own hook, registered earlier, has reset the vCPUs. */
static void machine_reset(void *opaque)
{
    Machine *m = opaque;

    if (m->board->reset)
        m->board->reset(m);
    for (Device *d = m->devices; d; d = d->next) {
        if (!d->outer && !d->unplugged)     /* the outer device resets its inner one */
            device_reset(d);
    }
    if (!m->vm->loading)
        images_load(&m->images, m->vm->mem);
}

static Err *make(Machine *m)
{
    const VmConfig *config = m->vm->config;

    TRY(check_config(m->board, config));
    if (config->machine_opts)
        TRY(set_options(m, config->machine_opts));
    TRY(check_options(m));
    TRY(clock_set_rtc(m->vm, config->rtc_base, config->rtc_clock));
    TRY(device_check_globals(m->vm));
    TRY(m->board->make(m));
    TRY(nics_make(m->vm));
    for (guint i = 0; config->devices && i < config->devices->len; i++)
        TRY(device_add(m->vm, config->devices->pdata[i]));
    return drives_make_devices(m->vm);
}

Err *board_make(Vm *vm)
{
    const VmConfig *config = vm->config;
    const Board *b = NULL;

    TRY(err_in(board_find(config->isa, config->machine ? config->machine : "virt", &b), "-M"));
    Machine *m = g_malloc0(b->size);
    m->vm = vm;
    m->board = b;
    m->devices_end = &m->devices;
    vm->board = m;
    props_init(m, machine_fields);
    props_init(m, b->fields);

    space_edit(vm->mem);
    Err *e = make(m);
    space_commit(vm->mem);
    if (!e)
        e = images_check(&m->images, vm->mem);
    if (e) {
        board_free(vm);
        return err_in(e, "machine '%s'", b->name);
    }
    m->made = true;
    advise_memory(m);
    vm_on_reset(vm, machine_reset, m);
    devices_saved(vm);
    return NULL;
}

bool machine_press_power(Vm *vm)
{
    Machine *m = vm->board;

    if (!m || !m->press_power)
        return false;
    m->press_power(m->power_button);
    return true;
}

void board_free(Vm *vm)
{
    Machine *m = vm->board;

    if (!m)
        return;
    state_part_remove(vm, m);
    /* The latest first: they drive lines of earlier ones. */
    while (m->devices) {
        Device *last = m->devices;

        while (last->next)
            last = last->next;
        device_free(last->outer ? last->outer : last);
    }
    if (m->board->free)
        m->board->free(m);
    images_clear(&m->images);
    boot_order_free(m);
    props_clear(m, m->board->fields);
    props_clear(m, machine_fields);
    vm->board = NULL;
    g_free(m);
}
