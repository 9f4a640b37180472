/* SPDX-License-Identifier: MIT */
/* Snapshots of the whole machine: jobs, and commands of the console. */
#include <inttypes.h>

#include "block/job.h"
#include "monitor/monitor-priv.h"
#include "system/state.h"

/* ---- jobs */

static void changed(void *opaque, Job *j, JobStatus was)
{
    vm_event(opaque, "JOB_STATUS_CHANGE", json_pack("{s:s, s:s}", "id", j->id, "status", job_status_names[j->status]));
}

static Err *start(Monitor *m, SnapshotVerb verb, const char *job, const char *tag, const char *vmstate, const json_t *devices)
{
    const JobConfig c = { .id = job, .manual_dismiss = true, .event = changed, .opaque = m->vm };
    g_autofree const char **names = g_new0(const char *, json_array_size(devices) + 1);
    const json_t *name;
    size_t i;

    json_array_foreach((json_t *)devices, i, name)
        names[i] = json_string_value(name);
    const SnapshotPlace at = { vmstate, names };
    return snapshot_job(m->vm, verb, tag, &at, &c);
}

Err *qmp_snapshot_save(Monitor *m, const SnapshotSaveArgs *a, json_t **ret)
{
    return start(m, SNAPSHOT_SAVE, a->job_id, a->tag, a->vmstate, a->devices);
}

Err *qmp_snapshot_load(Monitor *m, const SnapshotLoadArgs *a, json_t **ret)
{
    return start(m, SNAPSHOT_LOAD, a->job_id, a->tag, a->vmstate, a->devices);
}

Err *qmp_snapshot_delete(Monitor *m, const SnapshotDeleteArgs *a, json_t **ret)
{
    return start(m, SNAPSHOT_DELETE, a->job_id, a->tag, NULL, a->devices);
}

/* ---- the console */

Err *hmp_savevm(Monitor *m, const HmpSavevmArgs *args, GString *out)
{
    if (args->name && *args->name)
        return snapshot_save(m->vm, args->name);
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *name = g_date_time_format(now, "vm-%Y%m%d%H%M%S");
    return snapshot_save(m->vm, name);
}

Err *hmp_loadvm(Monitor *m, const HmpLoadvmArgs *args, GString *out)
{
    return snapshot_load(m->vm, args->name);
}

Err *hmp_delvm(Monitor *m, const HmpDelvmArgs *args, GString *out)
{
    return snapshot_delete(m->vm, args->name);
}

/* "0.977 KiB": three digits. */
static char *size_text(uint64_t bytes)
{
    static const char *const units[] = { "", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei" };
    double v = bytes;
    unsigned u = 0;

    for (; v >= 1000 && u + 1 < G_N_ELEMENTS(units); u++)
        v /= 1024;
    return g_strdup_printf("%.3g %sB", v, units[u]);
}

Err *hmp_info_snapshots(Monitor *m, const HmpInfoSnapshotsArgs *args, GString *out)
{
    g_autoptr(GArray) list = NULL;

    TRY(snapshot_list(m->vm, &list));
    if (!list->len) {
        g_string_append(out, "There is no snapshot available.\n");
        return NULL;
    }
    g_string_append(out, "List of snapshots present on all disks:\n");
    g_string_append_printf(out, "%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
    for (guint i = 0; i < list->len; i++) {
        const SnapshotInfo *s = &g_array_index(list, SnapshotInfo, i);
        g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(s->date);
        g_autofree char *when = date ? g_date_time_format(date, "%Y-%m-%d %H:%M:%S") : g_strdup("");
        g_autofree char *size = size_text(s->state_bytes);
        g_autofree char *clock = g_strdup_printf("%02d:%02d:%02d.%03d", (int)(s->clock_ns / 3600000000000),
            (int)(s->clock_ns / 60000000000 % 60), (int)(s->clock_ns / 1000000000 % 60), (int)(s->clock_ns / 1000000 % 1000));

        /* An id would be that of one disk. */
        g_string_append_printf(out, "%-9s %-16s %8s%20s%13s%11s\n", "--", s->name, size, when, clock, "");
    }
    return NULL;
}
