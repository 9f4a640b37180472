/* SPDX-License-Identifier: MIT */
/*
 * The boot order, kept as devices come and go, written out when firmware is about
 * to read it. Order: what -boot once= names, at the first boot; devices by
 * bootindex; what -boot order= names. Letters choose among devices without a bootindex,
 * in the order they were made; once= among all. "HALT" as the last line means that nothing else
 * shall be tried (strict=on).
 */
#include "hw/core/boot_order.h"

#include <string.h>

typedef struct BootEntry {
    char *path;
    int index;                  /* -1: none */
    char letter;
} BootEntry;

static void clear_entry(gpointer p)
{
    g_free(((BootEntry *)p)->path);
}

static const BootEntry *entry(const GArray *list, guint i)
{
    return &g_array_index(list, BootEntry, i);
}

Err *boot_order_add(Vm *vm, const char *path, int index, char letter)
{
    Machine *m = machine_of(vm);

    if (!m->boot_order) {
        m->boot_order = g_array_new(false, false, sizeof(BootEntry));
        g_array_set_clear_func(m->boot_order, clear_entry);
    }
    for (guint i = 0; index >= 0 && i < m->boot_order->len; i++) {
        if (entry(m->boot_order, i)->index == index)
            return err_hint(err(ERR_INVALID, "bootindex=%d is taken: '%s' has it", index, entry(m->boot_order, i)->path),
                            "Each device needs a number of its own.");
    }
    BootEntry e = { g_strdup(path), index, letter };
    g_array_append_val(m->boot_order, e);
    return NULL;
}

void boot_order_remove(Vm *vm, const char *path)
{
    GArray *list = machine_of(vm)->boot_order;

    for (guint i = 0; list && i < list->len; i++) {
        if (!strcmp(entry(list, i)->path, path)) {
            g_array_remove_index(list, i);
            return;
        }
    }
}

void boot_order_free(Machine *m)
{
    if (m->boot_order)
        g_array_free(m->boot_order, true);
    m->boot_order = NULL;
}

/* ---- devices */

char *boot_order_path(const Device *d)
{
    char *text = d->cls->boot_part ? g_strdup_printf("/%s", d->cls->boot_part) : g_strdup("");

    for (;;) {
        const Device *up = d->outer ? d->outer : d->bus ? d->bus->owner : NULL;
        bool has_part = !d->outer && d->bus && d->bus->cls->path;
        g_autofree char *below = text;
        g_autofree char *own = has_part ? d->bus->cls->path(d->bus, d) : !up && d->cls->root_path ? d->cls->root_path(d) : NULL;

        if (!up)
            return own ? g_strconcat(own, below, NULL) : NULL;
        text = own ? g_strdup_printf("/%s%s", own, below) : g_strdup(below);
        d = up;
    }
}

/* All that can be booted from, now. */
static GArray *collect(Machine *m)
{
    GArray *all = g_array_new(false, false, sizeof(BootEntry));

    g_array_set_clear_func(all, clear_entry);
    for (guint i = 0; m->boot_order && i < m->boot_order->len; i++) {
        BootEntry e = *entry(m->boot_order, i);

        e.path = g_strdup(e.path);
        g_array_append_val(all, e);
    }
    for (const Device *d = m->devices; d; d = d->next) {
        BootEntry e = { d->cls->boot ? boot_order_path(d) : NULL, d->bootindex, d->cls->boot };

        if (e.path)
            g_array_append_val(all, e);
    }
    return all;
}

/* ---- writing it */

/* A path stands there once, where it comes first. */
static void put(GPtrArray *lines, const BootEntry *e)
{
    for (guint i = 0; i < lines->len; i++)
        if (lines->pdata[i] == e->path)
            return;
    g_ptr_array_add(lines, e->path);
}

static void put_letters(GPtrArray *lines, const GArray *list, const char *letters, bool all)
{
    for (const char *l = letters; l && *l; l++) {
        for (guint i = 0; i < list->len; i++) {
            const BootEntry *e = entry(list, i);

            if (e->letter == *l && (all || e->index < 0))
                put(lines, e);
        }
    }
}

static void put_indexed(GPtrArray *lines, const GArray *list)
{
    for (int last = -1;;) {
        const BootEntry *next = NULL;

        for (guint i = 0; i < list->len; i++) {
            const BootEntry *e = entry(list, i);

            if (e->index > last && (!next || e->index < next->index))
                next = e;
        }
        if (!next)
            return;
        last = next->index;
        put(lines, next);
    }
}

char *boot_order_text(Vm *vm, bool first)
{
    const VmConfig *c = vm->config;
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    g_autoptr(GArray) list = collect(machine_of(vm));

    put_letters(lines, list, first ? c->boot_once : NULL, true);
    put_indexed(lines, list);
    put_letters(lines, list, c->boot_order, false);
    if (c->boot_strict)
        g_ptr_array_add(lines, (char *)"HALT");
    if (!lines->len)
        return NULL;
    g_ptr_array_add(lines, NULL);
    return g_strjoinv("\n", (char **)lines->pdata);
}
