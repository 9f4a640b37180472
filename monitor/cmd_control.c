/* SPDX-License-Identifier: MIT */
/* Commands about the monitor itself. */
#include <string.h>
#include <unistd.h>

#include "monitor/monitor-priv.h"
#include "monitor/version.h"

/* The session looks at it before it comes here: a client that says it once more. */
Err *qmp_qmp_capabilities(Monitor *m, const QmpCapabilitiesArgs *args, json_t **ret)
{
    return NULL;
}

Err *qmp_query_version(Monitor *m, const QueryVersionArgs *args, json_t **ret)
{
    *ret = version_json();
    return NULL;
}

Err *qmp_query_commands(Monitor *m, const QueryCommandsArgs *args, json_t **ret)
{
    *ret = json_array();
    for (const QmpCommand *c = qmp_commands; c->name; c++)
        json_array_append_new(*ret, json_pack("{s:s}", "name", c->name));
    return NULL;
}

Err *qmp_query_qmp_schema(Monitor *m, const QueryQmpSchemaArgs *args, json_t **ret)
{
    *ret = qmp_introspect();
    return NULL;
}

Err *qmp_quit(Monitor *m, const QuitArgs *args, json_t **ret)
{
    vm_request_by(m->vm, VM_QUIT, 0, "host-qmp-quit");
    return NULL;
}

Err *qmp_human_monitor_command(Monitor *m, const HumanMonitorCommandArgs *args, json_t **ret)
{
    if (args->has_cpu_index && (args->cpu_index < 0 || args->cpu_index >= m->vm->nvcpus))
        return err(ERR_INVALID, "Parameter 'cpu-index' expects a CPU number");
    m->set->nobody->cpu = args->has_cpu_index ? (int)args->cpu_index : 0;
    g_autofree char *text = hmp_run(m->vm, args->command_line);
    /* A console's lines, as QEMU's: CR LF. */
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autofree char *crlf = g_strjoinv("\r\n", lines);
    *ret = text_json(crlf);
    return NULL;
}
