/* SPDX-License-Identifier: MIT */
/* Commands of the console alone: the CPU that is looked at, logs and traces, limits of migration, and those that refuse by name. */
#include <stdlib.h>
#include <string.h>

#include "monitor/hmp/hmp-priv.h"
#include "monitor/monitor-priv.h"
#include "util/log.h"
#include "util/str.h"
#include "util/trace.h"

Err *hmp_cpu(Monitor *m, const HmpCpuArgs *args, GString *out)
{
    if (args->index < 0 || args->index >= m->vm->nvcpus)
        return err(ERR_INVALID, "invalid CPU index");
    m->cpu = (int)args->index;
    return NULL;
}

/* ---- logs and traces */

/* What is named is logged, and nothing else; a '-' in front only takes away. */
Err *hmp_log(Monitor *m, const HmpLogArgs *args, GString *out)
{
    unsigned was = log_mask;

    if (!strcmp(args->items, "help")) {
        g_autofree char *text = log_help();

        g_string_append(out, text);
        return NULL;
    }
    if (*args->items != '-')
        log_mask = 0;
    if (!strcmp(args->items, "none"))
        return NULL;
    Err *e = log_set_items(args->items);
    if (e)
        log_mask = was;
    return e;
}

Err *hmp_logfile(Monitor *m, const HmpLogfileArgs *args, GString *out)
{
    return log_set_file(args->filename);
}

typedef struct Traces { const char *pattern; GHashTable *seen; } Traces;

/* Several points share a name: it is on if one of them is. */
static void note_trace(void *opaque, const TracePoint *p)
{
    Traces *t = opaque;

    if (g_pattern_match_simple(t->pattern, p->name)) {
        bool on = p->on || GPOINTER_TO_INT(g_hash_table_lookup(t->seen, p->name));
        g_hash_table_insert(t->seen, (void *)p->name, GINT_TO_POINTER(on));
    }
}

static Err *traces(const char *pattern, void (*fn)(void *to, const char *name, bool on), void *to)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    Traces t = { .pattern = pattern, .seen = seen };

    trace_each(note_trace, &t);
    g_autoptr(GList) names = g_list_sort(g_hash_table_get_keys(seen), (GCompareFunc)strcmp);
    for (GList *n = names; n; n = n->next)
        fn(to, n->data, GPOINTER_TO_INT(g_hash_table_lookup(seen, n->data)));
    if (!names && !strpbrk(pattern, "*?"))
        return err(ERR_NOT_FOUND, "unknown event \"%s\"", pattern);
    return NULL;
}

static void add_line(void *to, const char *name, bool on)
{
    g_string_append_printf(to, "%s : state %d\n", name, on);
}

Err *hmp_info_trace_events(Monitor *m, const HmpInfoTraceEventsArgs *args, GString *out)
{
    return traces(args->name ? args->name : "*", add_line, out);
}

static void add_state(void *to, const char *name, bool on)
{
    json_array_append_new(to, json_pack("{s:s, s:s, s:b}", "name", name, "state", on ? "enabled" : "disabled", "vcpu", 0));
}

Err *qmp_trace_event_get_state(Monitor *m, const TraceEventGetStateArgs *args, json_t **ret)
{
    json_t *list = json_array();
    Err *e = traces(args->name, add_state, list);

    if (e)
        json_decref(list);
    else
        *ret = list;
    return e;
}

static void nothing(void *to, const char *name, bool on)
{
}

static Err *set_traces(const char *pattern, bool on)
{
    TRY(traces(pattern, nothing, NULL));
    err_free(trace_enable(pattern, on));        /* a pattern that matches none is fine */
    return NULL;
}

Err *qmp_trace_event_set_state(Monitor *m, const TraceEventSetStateArgs *args, json_t **ret)
{
    return set_traces(args->name, args->enable);
}

Err *hmp_trace_event(Monitor *m, const HmpTraceEventArgs *args, GString *out)
{
    return set_traces(args->name, args->option);
}

/* ---- migration */

Err *hmp_migrate_set_capability(Monitor *m, const HmpMigrateSetCapabilityArgs *args, GString *out)
{
    return qmp_pass(m, "migrate-set-capabilities", json_pack("{s:[{s:o, s:b}]}", "capabilities", "capability", text_json(args->capability),
                                                             "state", args->state));
}

/* Bandwidths are in MiB when they have no suffix. */
Err *hmp_migrate_set_parameter(Monitor *m, const HmpMigrateSetParameterArgs *args, GString *out)
{
    uint64_t n = 0;

    TRY(parse_size(args->value, strstr(args->parameter, "bandwidth") ? 1 << 20 : 1, &n));
    if (n > INT64_MAX)
        return err(ERR_INVALID, "%s is too large", args->value);
    return qmp_pass(m, "migrate-set-parameters", json_pack("{s:I}", args->parameter, (json_int_t)n));
}

/* ---- what is not to be had */

Err *hmp_boot_set(Monitor *m, const HmpBootSetArgs *args, GString *out)
{
    return err_hint(err(ERR_UNSUPPORTED, "no function defined to set boot device list for this architecture"),
                    "-boot order= and bootindex= of devices say it at the start.");
}

Err *hmp_exit_preconfig(Monitor *m, const HmpExitPreconfigArgs *args, GString *out)
{
    return qmp_pass(m, "x-exit-preconfig", json_object());
}

Err *hmp_singlestep(Monitor *m, const HmpSinglestepArgs *args, GString *out)
{
    return err_hint(err(ERR_UNSUPPORTED, "the translator's units do not change while it runs"), "-accel tcg,one-insn-per-tb=on, or a debugger.");
}

Err *hmp_sync_profile(Monitor *m, const HmpSyncProfileArgs *args, GString *out)
{
    if (args->option)
        return err_hint(err(ERR_UNSUPPORTED, "waiting is not measured"), "perf trace -s -p PID shows what threads wait for.");
    g_string_append(out, "sync-profile is off\n");
    return NULL;
}

Err *hmp_mce(Monitor *m, const HmpMceArgs *args, GString *out)
{
    return err(ERR_UNSUPPORTED, "this guest's CPUs have no machine checks");
}

Err *hmp_pcie_aer_inject_error(Monitor *m, const HmpPcieAerInjectErrorArgs *args, GString *out)
{
    return err(ERR_UNSUPPORTED, "no device here reports errors of PCI Express");
}

Err *hmp_replay_break(Monitor *m, const HmpReplayBreakArgs *args, GString *out)
{
    return err(ERR_UNSUPPORTED, "setting the breakpoint is allowed only in play mode");
}

Err *hmp_getfd(Monitor *m, const HmpGetfdArgs *args, GString *out)
{
    return err_hint(err(ERR_INVALID, "No file descriptor supplied via SCM_RIGHTS"), "A program sends one with QMP's getfd.");
}

Err *hmp_closefd(Monitor *m, const HmpClosefdArgs *args, GString *out)
{
    return qmp_pass(m, "closefd", json_pack("{s:o}", "fdname", text_json(args->name)));
}
