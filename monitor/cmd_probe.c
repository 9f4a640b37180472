/* SPDX-License-Identifier: MIT */
/* What the program can do, for those who manage it; memory of the guest. */
#include <string.h>

#include "hw/core/board.h"
#include "hw/virtio/balloon.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "system/vmconfig.h"
#include "util/str.h"

Err *qmp_query_cpu_definitions(Monitor *m, const QueryCpuDefinitionsArgs *args, json_t **ret)
{
    const Isa *isa = m->vm->isa;

    *ret = json_array();
    for (const char *const *c = isa->cpu_names; *c; c++) {
        g_autofree char *type = view_cpu_type(isa, *c);

        json_array_append_new(*ret, json_pack("{s:s, s:b, s:[], s:s, s:b}", "name", *c, "static", 0, "unavailable-features",
                                              "typename", type, "deprecated", 0));
    }
    return NULL;
}

Err *qmp_query_hotpluggable_cpus(Monitor *m, const QueryHotpluggableCpusArgs *args, json_t **ret)
{
    return err(ERR_UNSUPPORTED, "The feature 'query-hotpluggable-cpus' is not enabled");
}

Err *qmp_query_tpm_models(Monitor *m, const QueryTpmModelsArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

Err *qmp_query_tpm_types(Monitor *m, const QueryTpmTypesArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

Err *qmp_query_command_line_options(Monitor *m, const QueryCommandLineOptionsArgs *args, json_t **ret)
{
    json_t *all = m->set->host.options ? m->set->host.options(m->set->host.opaque) : json_array(), *o;
    size_t i;

    if (!args->option) {
        *ret = all;
        return NULL;
    }
    json_t *one = json_array();
    json_array_foreach(all, i, o) {
        if (!strcmp(json_string_value(json_object_get(o, "option")), args->option))
            json_array_append(one, o);
    }
    json_decref(all);
    if (json_array_size(one)) {
        *ret = one;
        return NULL;
    }
    json_decref(one);
    return err(ERR_NOT_FOUND, "invalid option name");
}

Err *qmp_query_current_machine(Monitor *m, const QueryCurrentMachineArgs *args, json_t **ret)
{
    *ret = json_pack("{s:b}", "wakeup-suspend-support", 0);
    return NULL;
}

Err *qmp_query_memory_size_summary(Monitor *m, const QueryMemorySizeSummaryArgs *args, json_t **ret)
{
    *ret = json_pack("{s:I, s:i}", "base-memory", (json_int_t)m->vm->config->ram_size, "plugged-memory", 0);
    return NULL;
}

/* ---- the balloon: a machine without one says so by the error's class */

static Err *not_active(Err *e)
{
    if (!e)
        return NULL;
    err_free(e);
    return err(ERR_NOT_ACTIVE, "No balloon device has been activated");
}

Err *qmp_query_balloon(Monitor *m, const QueryBalloonArgs *args, json_t **ret)
{
    uint64_t bytes = 0;

    TRY(not_active(balloon_get(m->vm, &bytes)));
    *ret = json_pack("{s:I}", "actual", (json_int_t)bytes);
    return NULL;
}

Err *qmp_balloon(Monitor *m, const BalloonArgs *args, json_t **ret)
{
    uint64_t bytes = 0;

    TRY(not_active(balloon_get(m->vm, &bytes)));
    if (args->value <= 0)
        return err(ERR_INVALID, "Parameter 'target' expects a size");
    return balloon_set(m->vm, (uint64_t)args->value);
}

Err *hmp_balloon(Monitor *m, const HmpBalloonArgs *args, GString *out)
{
    BalloonArgs a = { 0 };
    uint64_t bytes = 0;
    json_t *none = NULL;

    TRY(parse_size(args->value, 1 << 20, &bytes));
    a.value = (int64_t)MIN(bytes, (uint64_t)INT64_MAX);
    return qmp_balloon(m, &a, &none);
}

/* ---- what there is none of */

Err *qmp_query_pr_managers(Monitor *m, const QueryPrManagersArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

Err *qmp_query_tpm(Monitor *m, const QueryTpmArgs *args, json_t **ret)
{
    *ret = json_array();
    return NULL;
}

Err *qmp_query_vm_generation_id(Monitor *m, const QueryVmGenerationIdArgs *args, json_t **ret)
{
    return err(ERR_UNSUPPORTED, "this feature or command is not currently supported");
}

Err *qmp_query_acpi_ospm_status(Monitor *m, const QueryAcpiOspmStatusArgs *args, json_t **ret)
{
    return err(ERR_UNSUPPORTED, "command is not supported, missing ACPI device");
}

Err *qmp_query_replay(Monitor *m, const QueryReplayArgs *args, json_t **ret)
{
    *ret = json_pack("{s:s, s:i}", "mode", "none", "icount", 0);
    return NULL;
}

Err *qmp_query_chardev_backends(Monitor *m, const QueryChardevBackendsArgs *args, json_t **ret)
{
    const char *name;

    *ret = json_array();
    for (unsigned i = 0; (name = chardev_kind_name(i)); i++)
        json_array_append_new(*ret, json_pack("{s:s}", "name", name));
    return NULL;
}
