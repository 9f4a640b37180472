/* SPDX-License-Identifier: MIT */
/* Dumps of memory: what is asked is checked, where it goes is opened. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "dump/dump.h"
#include "monitor/monitor-priv.h"
#include "system/state.h"

static const char *const status_names[] = {
    [DUMP_NONE] = "none", [DUMP_ACTIVE] = "active", [DUMP_COMPLETED] = "completed", [DUMP_FAILED] = "failed",
};

static json_t *result(const DumpInfo *i)
{
    return json_pack("{s:s, s:I, s:I}", "status", status_names[i->status], "completed", (json_int_t)i->completed, "total",
                     (json_int_t)i->total);
}

static void over(Vm *vm, const DumpInfo *i)
{
    json_t *data = json_pack("{s:o}", "result", result(i));

    if (i->error)
        json_object_set_new(data, "error", text_json(i->error));
    vm_event(vm, "DUMP_COMPLETED", data);
}

static Err *pick_format(const DumpGuestMemoryArgs *args, DumpRequest *r)
{
    QmpDumpGuestMemoryFormat f = args->has_format ? args->format : QMP_DUMP_GUEST_MEMORY_FORMAT_ELF;

    switch (f) {
    case QMP_DUMP_GUEST_MEMORY_FORMAT_ELF:
        r->format = DUMP_ELF;
        return NULL;
    case QMP_DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB:
        r->format = DUMP_KDUMP_ZLIB;
        return NULL;
    case QMP_DUMP_GUEST_MEMORY_FORMAT_KDUMP_RAW_ZLIB:
        r->format = DUMP_KDUMP_RAW_ZLIB;
        return NULL;
    case QMP_DUMP_GUEST_MEMORY_FORMAT_WIN_DMP:
        return err(ERR_UNSUPPORTED, "Windows dump is only available for x86-64");
    default:
        return err_hint(err(ERR_UNSUPPORTED, "%s is not available now", qmp_DumpGuestMemoryFormat_names[f]),
                        "kdump-zlib, kdump-raw-zlib and elf are.");
    }
}

static Err *check(const DumpGuestMemoryArgs *args, DumpRequest *r)
{
    bool elf = !args->has_format || args->format == QMP_DUMP_GUEST_MEMORY_FORMAT_ELF;

    if (!elf && (args->paging || args->has_begin || args->has_length))
        return err_hint(err(ERR_INVALID, "kdump-compressed format doesn't support paging or filter"), "elf does.");
    if (args->has_begin && !args->has_length)
        return err(ERR_INVALID, "Parameter 'length' is missing");
    if (!args->has_begin && args->has_length)
        return err(ERR_INVALID, "Parameter 'begin' is missing");
    if (args->has_length && (args->length <= 0 || args->begin < 0 || args->begin > INT64_MAX - args->length))
        return err(ERR_INVALID, "Invalid parameter 'length'");
    *r = (DumpRequest){ .paging = args->paging, .filter = args->has_begin, .begin = args->begin, .length = args->length, .detach = args->detach };
    return pick_format(args, r);
}

static Err *open_file(Monitor *m, const char *protocol, int *fd)
{
    if (g_str_has_prefix(protocol, "fd:"))
        return monitor_take_fd(m, protocol + 3, fd);
    if (!g_str_has_prefix(protocol, "file:"))
        return err_hint(err(ERR_INVALID, "Invalid parameter 'protocol'"), "It is file:PATH or fd:NAME.");
    *fd = open(protocol + 5, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, S_IRUSR);
    return *fd < 0 ? err_errno(errno, "Could not open '%s'", protocol + 5) : NULL;
}

Err *qmp_dump_guest_memory(Monitor *m, const DumpGuestMemoryArgs *args, json_t **ret)
{
    DumpRequest r;
    int fd = -1;

    if (migrate_awaited(m->vm))
        return err(ERR_BUSY, "Dump not allowed during incoming migration.");
    if (dump_goes_on(m->vm))
        return err(ERR_BUSY, "There is a dump in process, please wait.");
    TRY(check(args, &r));
    TRY(open_file(m, args->protocol, &fd));
    return dump_start(m->vm, fd, &r, over);
}

Err *qmp_query_dump(Monitor *m, const QueryDumpArgs *args, json_t **ret)
{
    DumpInfo i;

    dump_info(m->vm, &i);
    *ret = result(&i);
    return NULL;
}

Err *qmp_query_dump_guest_memory_capability(Monitor *m, const QueryDumpGuestMemoryCapabilityArgs *args, json_t **ret)
{
    *ret = json_pack("{s:[s, s, s]}", "formats", "elf", "kdump-zlib", "kdump-raw-zlib");
    return NULL;
}

Err *hmp_dump_guest_memory(Monitor *m, const HmpDumpGuestMemoryArgs *args, GString *out)
{
    g_autofree char *protocol = g_strconcat("file:", args->filename, NULL);
    DumpGuestMemoryArgs a = {
        .paging = args->paging, .protocol = protocol, .detach = args->detach, .has_begin = args->has_begin, .begin = args->begin,
        .has_length = args->has_length, .length = args->length, .has_format = true,
    };

    if (args->zlib + args->lzo + args->snappy + args->windows > 1)
        return err(ERR_INVALID, "only one of '-z|-l|-s|-w' can be set");
    a.format = args->zlib || (args->raw && !args->lzo && !args->snappy)
                   ? args->raw ? QMP_DUMP_GUEST_MEMORY_FORMAT_KDUMP_RAW_ZLIB : QMP_DUMP_GUEST_MEMORY_FORMAT_KDUMP_ZLIB
               : args->lzo     ? QMP_DUMP_GUEST_MEMORY_FORMAT_KDUMP_LZO
               : args->snappy  ? QMP_DUMP_GUEST_MEMORY_FORMAT_KDUMP_SNAPPY
               : args->windows ? QMP_DUMP_GUEST_MEMORY_FORMAT_WIN_DMP
                               : QMP_DUMP_GUEST_MEMORY_FORMAT_ELF;
    json_t *none = NULL;
    Err *e = qmp_dump_guest_memory(m, &a, &none);
    json_decref(none);
    return e;
}
