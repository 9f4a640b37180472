/* SPDX-License-Identifier: MIT */
/*
 * Choosing a board, making it, resetting it.
 */
#include "hw/core/board.h"

#include <string.h>

Err *board_find(const char *isa, const char *name, const Board **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const Board *const *b = board_set; *b; b++) {
        if (strcmp((*b)->isa, isa))
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
        if (!strcmp((*b)->isa, isa))
            g_string_append_printf(out, "%-20s %s\n", (*b)->name, (*b)->doc);
    }
    return g_string_free(out, false);
}

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
    for (Device *d = m->devices; d; d = d->next)
        device_reset(d);
    images_load(&m->images, m->vm->mem);
}

static Err *make(Machine *m)
{
    const VmConfig *config = m->vm->config;

    TRY(check_config(m->board, config));
    if (config->machine_opts)
        TRY(props_parse(m, m->board->fields, config->machine_opts));
    TRY(clock_set_rtc(m->vm, config->rtc_base, config->rtc_clock));
    TRY(m->board->make(m));
    for (guint i = 0; config->devices && i < config->devices->len; i++)
        TRY(device_add(m->vm, config->devices->pdata[i]));
    return NULL;
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
    vm_on_reset(vm, machine_reset, m);
    return NULL;
}

void board_free(Vm *vm)
{
    Machine *m = vm->board;

    if (!m)
        return;
    while (m->devices)
        device_free(m->devices);
    if (m->board->free)
        m->board->free(m);
    images_clear(&m->images);
    props_clear(m, m->board->fields);
    vm->board = NULL;
    g_free(m);
}
