/* SPDX-License-Identifier: MIT */
/* Disks at the console: lines that pass on to QMP's commands what they say in other words (monitor/schema/lines.sch). */
#include <string.h>

#include "monitor/hmp/hmp-priv.h"
#include "monitor/hmp/members.h"
#include "monitor/monitor-priv.h"
#include "system/disks.h"
#include "util/opts.h"

/* A member that may be missing: NULL is left out. */
static void set(json_t *o, const char *name, const char *value)
{
    if (value)
        json_object_set_new(o, name, text_json(value));
}

/* ---- drives */

static Err *check_drive(const char *options)
{
    Opts *o;

    TRY(opts_parse(options, NULL, "file", &o));
    bool plain = !strcmp(opts_str(o, "if", ""), "none"), named = opts_has(o, "id");
    opts_free(o);
    if (!plain)
        return err_hint(err(ERR_UNSUPPORTED, "a drive that is added has to say if=none"), "Its device comes with device_add.");
    return named ? NULL : err_hint(err(ERR_INVALID, "a drive that is added needs an id"), "drive_add 0 if=none,id=ID,file=..");
}

Err *hmp_drive_add(Monitor *m, const HmpDriveAddArgs *args, GString *out)
{
    TRY(check_drive(args->options));
    TRY(disks_add_drive(m->vm->disks, args->options, false));
    g_string_append(out, "OK\n");
    return NULL;
}

Err *hmp_drive_del(Monitor *m, const HmpDriveDelArgs *args, GString *out)
{
    return disks_del_drive(m->vm->disks, args->id);
}

/* ---- copies */

static json_t *copy_args(const char *device, const char *target, const char *format, bool full, bool reuse)
{
    json_t *o = json_pack("{s:o, s:o, s:s, s:s}", "device", text_json(device), "target", text_json(target), "sync", full ? "full" : "top",
                          "mode", reuse ? "existing" : "absolute-paths");

    set(o, "format", format);
    return o;
}

Err *hmp_drive_mirror(Monitor *m, const HmpDriveMirrorArgs *args, GString *out)
{
    return qmp_pass(m, "drive-mirror", copy_args(args->device, args->target, args->format, args->full, args->reuse));
}

Err *hmp_drive_backup(Monitor *m, const HmpDriveBackupArgs *args, GString *out)
{
    json_t *o = copy_args(args->device, args->target, args->format, args->full, args->reuse);

    json_object_set_new(o, "compress", json_boolean(args->compress));
    return qmp_pass(m, "drive-backup", o);
}

Err *hmp_block_stream(Monitor *m, const HmpBlockStreamArgs *args, GString *out)
{
    json_t *o = json_pack("{s:o}", "device", text_json(args->device));

    if (args->has_speed)
        json_object_set_new(o, "speed", json_integer((json_int_t)args->speed));
    set(o, "base", args->base);
    return qmp_pass(m, "block-stream", o);
}

Err *hmp_commit(Monitor *m, const HmpCommitArgs *args, GString *out)
{
    return err_hint(err(ERR_UNSUPPORTED, "changes are not committed at once while the machine runs"),
                    "QMP's block-commit does it as a job; lyre-img commit when nobody uses the image.");
}

/* ---- snapshots of disks */

Err *hmp_snapshot_blkdev(Monitor *m, const HmpSnapshotBlkdevArgs *args, GString *out)
{
    json_t *o = json_pack("{s:o, s:o, s:s}", "device", text_json(args->device), "snapshot-file", text_json(args->file),
                          "mode", args->reuse ? "existing" : "absolute-paths");

    set(o, "format", args->format);
    return qmp_pass(m, "blockdev-snapshot-sync", o);
}

Err *hmp_snapshot_blkdev_internal(Monitor *m, const HmpSnapshotBlkdevInternalArgs *args, GString *out)
{
    return qmp_pass(m, "blockdev-snapshot-internal-sync", json_pack("{s:o, s:o}", "device", text_json(args->device),
                                                                    "name", text_json(args->name)));
}

Err *hmp_snapshot_delete_blkdev_internal(Monitor *m, const HmpSnapshotDeleteBlkdevInternalArgs *args, GString *out)
{
    json_t *o = json_pack("{s:o, s:o}", "device", text_json(args->device), "name", text_json(args->name));

    set(o, "id", args->id);
    return qmp_pass(m, "blockdev-snapshot-delete-internal-sync", o);
}

/* ---- NBD */

static Err *address(const char *uri, json_t **out)
{
    const char *colon = strrchr(uri, ':');

    if (g_str_has_prefix(uri, "unix:") && uri[5]) {
        *out = json_pack("{s:s, s:{s:o}}", "type", "unix", "data", "path", text_json(uri + 5));
        return NULL;
    }
    if (!colon || colon == uri || !colon[1])
        return err_hint(err(ERR_INVALID, "'%s' is no address", uri), "HOST:PORT, or unix:PATH");
    g_autofree char *host = g_strndup(uri, (size_t)(colon - uri));
    *out = json_pack("{s:s, s:{s:o, s:o}}", "type", "inet", "data", "host", text_json(host), "port", text_json(colon + 1));
    return NULL;
}

/* Exports each disk that has a medium; what cannot be written to is for reading. */
static Err *export_all(Monitor *m, bool writable)
{
    json_t *list = NULL, *b;
    Err *e = qmp_call(m, "query-block", NULL, &list);
    size_t i;

    json_array_foreach(list, i, b) {
        json_t *medium = json_object_get(b, "inserted");
        const char *name = *str(b, "device") ? str(b, "device") : str(medium, "node-name");

        if (!e && medium)
            e = qmp_pass(m, "nbd-server-add", json_pack("{s:o, s:b}", "device", text_json(name), "writable", writable && !is(medium, "ro")));
    }
    json_decref(list);
    return e;
}

Err *hmp_nbd_server_start(Monitor *m, const HmpNbdServerStartArgs *args, GString *out)
{
    json_t *addr = NULL;

    if (args->writable && !args->all)
        return err(ERR_INVALID, "-w only valid together with -a");
    TRY(address(args->uri, &addr));
    TRY(qmp_pass(m, "nbd-server-start", json_pack("{s:o}", "addr", addr)));
    Err *e = args->all ? export_all(m, args->writable) : NULL;
    if (e)
        err_free(qmp_pass(m, "nbd-server-stop", json_object()));
    return e;
}
