/* SPDX-License-Identifier: MIT */
/* Snapshots of the whole machine, from the console. */
#include <inttypes.h>

#include "monitor/monitor-priv.h"
#include "system/state.h"

Err *hmp_savevm(Monitor *m, const HmpSavevmArgs *args, GString *out)
{
    return snapshot_save(m->vm, args->name);
}

Err *hmp_loadvm(Monitor *m, const HmpLoadvmArgs *args, GString *out)
{
    return snapshot_load(m->vm, args->name);
}

Err *hmp_delvm(Monitor *m, const HmpDelvmArgs *args, GString *out)
{
    return snapshot_delete(m->vm, args->name);
}

Err *hmp_info_snapshots(Monitor *m, const HmpInfoSnapshotsArgs *args, GString *out)
{
    g_autoptr(GArray) list = NULL;

    TRY(snapshot_list(m->vm, &list));
    if (!list->len)
        g_string_append(out, "There is no snapshot available.\n");
    else
        g_string_append_printf(out, "%-10s %-24s %12s  %-20s %s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK");
    for (guint i = 0; i < list->len; i++) {
        const SnapshotInfo *s = &g_array_index(list, SnapshotInfo, i);
        g_autoptr(GDateTime) date = g_date_time_new_from_unix_local(s->date);
        g_autofree char *when = date ? g_date_time_format(date, "%Y-%m-%d %H:%M:%S") : g_strdup("");

        g_string_append_printf(out, "%-10s %-24s %8.1f MiB  %-20s %02d:%02d:%02d.%03d\n", *s->id ? s->id : "--", s->name,
                               s->state_bytes / 1048576.0, when, (int)(s->clock_ns / 3600000000000), (int)(s->clock_ns / 60000000000 % 60),
                               (int)(s->clock_ns / 1000000000 % 60), (int)(s->clock_ns / 1000000 % 1000));
    }
    return NULL;
}
