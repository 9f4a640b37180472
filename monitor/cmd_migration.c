/* SPDX-License-Identifier: MIT */
/* Commands about migration: what they do is system/state.h. */
#include <string.h>

#include "monitor/monitor-priv.h"
#include "system/state.h"
#include "system/vmconfig.h"

static void event(void *opaque, MigrateStatus status, uint64_t pass)
{
    Vm *vm = opaque;

    if (!migrate_params(vm)->events)
        return;
    if (pass)
        vm_event(vm, "MIGRATION_PASS", json_pack("{s:I}", "pass", (json_int_t)pass));
    else
        vm_event(vm, "MIGRATION", json_pack("{s:s}", "status", migrate_status_names[status]));
}

/* fd:NAME is a descriptor of getfd, a number one that we were started with. */
static Err *way(Monitor *m, const char *uri, char **out)
{
    int fd;

    migrate_on_event(m->vm, event, m->vm);
    if (!g_str_has_prefix(uri, "fd:") || g_ascii_isdigit(uri[3])) {
        *out = g_strdup(uri);
        return NULL;
    }
    TRY(monitor_take_fd(m, uri + 3, &fd));
    *out = g_strdup_printf("fd:%d", fd);
    return NULL;
}

Err *qmp_migrate(Monitor *m, const MigrateArgs *args, json_t **ret)
{
    g_autofree char *uri = NULL;

    if (args->blk || args->inc || args->resume)
        return err_hint(err(ERR_UNSUPPORTED, "disks are not sent along, and a migration that failed begins anew"),
                        "Leave blk, inc and resume away; blockdev-mirror copies disks.");
    TRY(way(m, args->uri, &uri));
    return migrate_start(m->vm, uri);
}

Err *qmp_migrate_cancel(Monitor *m, const MigrateCancelArgs *args, json_t **ret)
{
    migrate_cancel(m->vm);
    return NULL;
}

Err *qmp_migrate_incoming(Monitor *m, const MigrateIncomingArgs *args, json_t **ret)
{
    g_autofree char *uri = NULL;

    if (!migrate_awaited(m->vm))
        return err_hint(err(ERR_INVALID, "'-incoming' was not specified on the command line"), "-incoming defer");
    TRY(way(m, args->uri, &uri));
    return migrate_incoming(m->vm, uri, migrate_starts_on_arrival(m->vm));
}

static void put_blocked(Vm *vm, json_t *info)
{
    Err *e = migrate_awaited(vm) ? NULL : state_can_save(vm);

    if (e)
        json_object_set_new(info, "blocked-reasons", json_pack("[o]", text_json(err_text(e))));
    err_free(e);
}

Err *qmp_query_migrate(Monitor *m, const QueryMigrateArgs *args, json_t **ret)
{
    MigrateInfo i;

    migrate_info(m->vm, &i);
    *ret = json_object();
    put_blocked(m->vm, *ret);
    if (i.status == MIGRATE_NONE)
        return NULL;
    json_object_set_new(*ret, "status", json_string(migrate_status_names[i.status]));
    json_object_set_new(*ret, "total-time", json_integer(i.total_ms));
    json_object_set_new(*ret, "setup-time", json_integer(i.setup_ms));
    if (i.status == MIGRATE_COMPLETED)
        json_object_set_new(*ret, "downtime", json_integer(i.downtime_ms));
    else
        json_object_set_new(*ret, "expected-downtime", json_integer(i.expected_downtime_ms));
    if (i.error)
        json_object_set_new(*ret, "error-desc", json_string(i.error));
    json_object_set_new(*ret, "ram", json_pack("{s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I, s:f, s:I, s:i, s:i, s:I, s:I, s:I, s:i, s:i, s:i}",
        "transferred", (json_int_t)i.ram_sent, "remaining", (json_int_t)i.ram_left, "total", (json_int_t)i.ram_total,
        "duplicate", (json_int_t)i.zero_pages, "skipped", 0, "normal", (json_int_t)i.pages,
        "normal-bytes", (json_int_t)(i.pages << PAGE_BITS), "dirty-pages-rate", (json_int_t)i.dirty_rate, "mbps", i.mbps,
        "dirty-sync-count", (json_int_t)i.passes, "page-size", (int)PAGE_SIZE,
        "multifd-bytes", 0, "pages-per-second", (json_int_t)(i.mbps * 1e6 / 8 / PAGE_SIZE), "precopy-bytes",
        (json_int_t)(i.ram_sent - i.downtime_bytes), "downtime-bytes", (json_int_t)i.downtime_bytes, "postcopy-bytes", 0,
        "postcopy-requests", 0, "dirty-sync-missed-zero-copy", 0));
    return NULL;
}

/* What can be switched on: clients take what is listed here for granted. The schema's enum has all names there ever were. */
static const struct { const char *name; size_t where; } capabilities[] = {
    { "events", offsetof(MigrateParams, events) }, { "return-path", offsetof(MigrateParams, return_path) },
    { "late-block-activate", offsetof(MigrateParams, late_activate) },
};

static bool *capability(MigrateParams *p, const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(capabilities); i++)
        if (!strcmp(name, capabilities[i].name))
            return (bool *)((char *)p + capabilities[i].where);
    return NULL;
}

Err *qmp_query_migrate_capabilities(Monitor *m, const QueryMigrateCapabilitiesArgs *args, json_t **ret)
{
    *ret = json_array();
    for (size_t i = 0; i < G_N_ELEMENTS(capabilities); i++)
        json_array_append_new(*ret, json_pack("{s:s, s:b}", "capability", capabilities[i].name, "state",
                                              *capability(migrate_params(m->vm), capabilities[i].name)));
    return NULL;
}

Err *qmp_migrate_set_capabilities(Monitor *m, const MigrateSetCapabilitiesArgs *args, json_t **ret)
{
    MigrateParams wanted = *migrate_params(m->vm);
    const json_t *c;
    size_t i;

    json_array_foreach(args->capabilities, i, c) {
        const char *name = json_string_value(json_object_get(c, "capability"));
        bool on = json_is_true(json_object_get(c, "state")), *it = capability(&wanted, name);

        if (it)
            *it = on;
        else if (on)
            return err_hint(err(ERR_UNSUPPORTED, "Migration capability '%s' is not available", name),
                            "events, return-path and late-block-activate are what there is.");
    }
    *migrate_params(m->vm) = wanted;
    return NULL;
}

Err *qmp_query_migrate_parameters(Monitor *m, const QueryMigrateParametersArgs *args, json_t **ret)
{
    const MigrateParams *p = migrate_params(m->vm);

    *ret = json_pack("{s:I, s:I}", "max-bandwidth", (json_int_t)p->max_bandwidth, "downtime-limit", (json_int_t)p->downtime_ms);
    return NULL;
}

Err *qmp_migrate_set_parameters(Monitor *m, const MigrateSetParametersArgs *args, json_t **ret)
{
    MigrateParams *p = migrate_params(m->vm);

    if (json_array_size(args->block_bitmap_mapping))
        return err_hint(err(ERR_UNSUPPORTED, "Parameter 'block-bitmap-mapping' is not available: bitmaps are not sent"),
                        "Persistent ones are in the image, and are there again.");
    if (args->has_downtime_limit && args->downtime_limit > 2000000)
        return err(ERR_INVALID, "Parameter 'downtime-limit' expects at most 2000000 milliseconds");
    if (args->has_max_bandwidth)
        p->max_bandwidth = args->max_bandwidth;
    if (args->has_downtime_limit)
        p->downtime_ms = args->downtime_limit;
    return NULL;
}
