/* SPDX-License-Identifier: MIT */
/* Further pages of `info`: what lies in memory, what there is of devices, what was typed. */
#include <inttypes.h>
#include <string.h>

#include "hw/core/board.h"
#include "hw/core/image.h"
#include "monitor/hmp/hmp-priv.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "net/net.h"
#include "system/iothread.h"
#include "system/vcpu.h"
#include "util/str.h"

/* ---- memory */

typedef struct Roms { Vm *vm; GString *out; } Roms;

static void add_rom(void *opaque, const char *name, uint64_t addr, uint64_t len)
{
    const Roms *r = opaque;
    const FlatRange *f = flat_find(space_flat(r->vm->mem), addr);
    const char *kind = !f ? "none" : f->region->kind == REGION_ROM || f->region->ram->readonly ? "rom" : "ram";

    g_string_append_printf(r->out, "addr=%016" PRIx64 " size=0x%06" PRIx64 " mem=%s name=\"%s\"\n", addr, len, kind, name);
}

Err *hmp_info_roms(Monitor *m, const HmpInfoRomsArgs *args, GString *out)
{
    Roms r = { m->vm, out };

    images_each(&machine_of(m->vm)->images, add_rom, &r);
    return NULL;
}

Err *hmp_info_ramblock(Monitor *m, const HmpInfoRamblockArgs *args, GString *out)
{
    uint64_t at = 0;

    g_string_append_printf(out, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used", "Total");
    for (const RamBlock *b = m->vm->rams; b; b = b->next) {
        g_autofree char *page = size_to_text(PAGE_SIZE);

        g_string_append_printf(out, "%24s %8s  0x%016" PRIx64 " 0x%016" PRIx64 " 0x%016" PRIx64 "\n", b->name, page, at, b->size, b->size);
        at += b->size;
    }
    return NULL;
}

Err *hmp_info_numa(Monitor *m, const HmpInfoNumaArgs *args, GString *out)
{
    g_string_append(out, "0 nodes\n");
    return NULL;
}

/* ---- CPUs */

Err *hmp_info_cpus(Monitor *m, const HmpInfoCpusArgs *args, GString *out)
{
    for (int i = 0; i < m->vm->nvcpus; i++)
        g_string_append_printf(out, "%c CPU #%d: thread_id=%d\n", i == m->cpu ? '*' : ' ', i, (int)m->vm->vcpus[i]->thread_id);
    return NULL;
}

/* ---- devices */

static void ask_each(Monitor *m, GString *out)
{
    for (Device *d = machine_of(m->vm)->devices; d; d = d->next) {
        if (d->cls->describe)
            d->cls->describe(d, out);
    }
}

Err *hmp_info_pic(Monitor *m, const HmpInfoPicArgs *args, GString *out)
{
    ask_each(m, out);
    return NULL;
}

static void count_irqs(Vcpu *v, void *opaque)
{
    v->isa->irq_counts(v, opaque);
}

static void put_counts(GString *out, GString *lines, const char *what, int index)
{
    g_string_append_printf(out, "IRQ statistics for %s", what);
    if (index >= 0)
        g_string_append_printf(out, " %d", index);
    g_string_append(out, ":\n");
    g_string_append(out, lines->len ? lines->str : "  none yet\n");
    g_string_set_size(lines, 0);
}

/* What controllers delivered, by source, and what CPUs took, by cause. */
Err *hmp_info_irq(Monitor *m, const HmpInfoIrqArgs *args, GString *out)
{
    g_autoptr(GString) lines = g_string_new(NULL);

    for (Device *d = machine_of(m->vm)->devices; d; d = d->next) {
        if (!d->cls->irq_counts)
            continue;
        d->cls->irq_counts(d, lines);
        put_counts(out, lines, d->cls->name, -1);
    }
    for (int i = 0; i < m->vm->nvcpus && m->vm->isa->irq_counts; i++) {
        vcpu_run_on(m->vm->vcpus[i], count_irqs, lines, true);
        put_counts(out, lines, "CPU", i);
    }
    return NULL;
}

Err *hmp_info_qdm(Monitor *m, const HmpInfoQdmArgs *args, GString *out)
{
    for (const DeviceClass *const *c = device_set; *c; c++) {
        g_string_append_printf(out, "name \"%s\"", (*c)->name);
        if ((*c)->bus)
            g_string_append_printf(out, ", bus %s", (*c)->bus);
        if ((*c)->alias)
            g_string_append_printf(out, ", alias \"%s\"", (*c)->alias);
        if ((*c)->doc)
            g_string_append_printf(out, ", desc \"%s\"", (*c)->doc);
        if ((*c)->bus && !strcmp((*c)->bus, BUS_SYSTEM))
            g_string_append(out, ", no-user");
        g_string_append_c(out, '\n');
    }
    return NULL;
}

Err *hmp_info_hotpluggable_cpus(Monitor *m, const HmpInfoHotpluggableCpusArgs *args, GString *out)
{
    const QueryHotpluggableCpusArgs none = { 0 };
    json_t *list = NULL;

    return qmp_query_hotpluggable_cpus(m, &none, &list);
}

/* ---- networks */

typedef struct Task { Vm *vm; char *text; } Task;

static void ask_net(void *opaque)
{
    Task *t = opaque;

    t->text = net_sockets(t->vm->net);
}

Err *hmp_info_usernet(Monitor *m, const HmpInfoUsernetArgs *args, GString *out)
{
    Task t = { .vm = m->vm };

    if (!m->vm->net)
        return NULL;
    iothread_run(m->vm->net_thread, ask_net, &t);
    g_string_append(out, t.text);
    g_free(t.text);
    return NULL;
}

/* ---- the console, and what there is not */

Err *hmp_info_history(Monitor *m, const HmpInfoHistoryArgs *args, GString *out)
{
    const char *line;

    for (unsigned i = 0; (line = console_past(m, i)); i++)
        g_string_append_printf(out, "%u: '%s'\n", i, line);
    return NULL;
}

Err *hmp_info_replay(Monitor *m, const HmpInfoReplayArgs *args, GString *out)
{
    g_string_append(out, "Record/replay is not active\n");
    return NULL;
}

Err *hmp_info_opcount(Monitor *m, const HmpInfoOpcountArgs *args, GString *out)
{
    return err_hint(err(ERR_UNSUPPORTED, "operations are not counted"), "'info jit' shows the translator's counters.");
}

Err *hmp_info_profile(Monitor *m, const HmpInfoProfileArgs *args, GString *out)
{
    return err_hint(err(ERR_UNSUPPORTED, "Internal profiler not compiled"), "-perfmap, and perf, show where time goes.");
}

Err *hmp_info_sync_profile(Monitor *m, const HmpInfoSyncProfileArgs *args, GString *out)
{
    g_string_append(out, "sync-profile is off\n");
    return NULL;
}

Err *hmp_info_vm_generation_id(Monitor *m, const HmpInfoVmGenerationIdArgs *args, GString *out)
{
    return err(ERR_UNSUPPORTED, "this feature or command is not currently supported");
}

Err *hmp_info_migrate_capabilities(Monitor *m, const HmpInfoMigrateCapabilitiesArgs *args, GString *out)
{
    json_t *list = NULL, *c, *none = json_object();
    Err *e = qmp_call(m, "query-migrate-capabilities", none, &list);
    size_t i;

    json_array_foreach(list, i, c)
        g_string_append_printf(out, "%s: %s\n", json_string_value(json_object_get(c, "capability")),
                               json_is_true(json_object_get(c, "state")) ? "on" : "off");
    json_decref(list);
    json_decref(none);
    return e;
}

/* ---- the same over QMP */

static Err *page(Monitor *m, const char *line, json_t **ret)
{
    const char *rest;
    const QmpCommand *c = hmp_find(line, &rest);
    g_autofree void *args = g_malloc0(c->size);
    g_autoptr(GString) out = g_string_new(NULL);
    json_t *none = json_object();

    Err *e = qmp_args(c, none, args);
    if (!e)
        e = c->run(m, args, out);
    json_decref(none);
    if (!e)
        *ret = json_pack("{s:o}", "human-readable-text", text_json(out->str));
    return e;
}

Err *qmp_x_query_irq(Monitor *m, const XQueryIrqArgs *args, json_t **ret) { return page(m, "info irq", ret); }
Err *qmp_x_query_jit(Monitor *m, const XQueryJitArgs *args, json_t **ret) { return page(m, "info jit", ret); }
Err *qmp_x_query_numa(Monitor *m, const XQueryNumaArgs *args, json_t **ret) { return page(m, "info numa", ret); }
Err *qmp_x_query_ramblock(Monitor *m, const XQueryRamblockArgs *args, json_t **ret) { return page(m, "info ramblock", ret); }
Err *qmp_x_query_roms(Monitor *m, const XQueryRomsArgs *args, json_t **ret) { return page(m, "info roms", ret); }
Err *qmp_x_query_usb(Monitor *m, const XQueryUsbArgs *args, json_t **ret) { return page(m, "info usb", ret); }
