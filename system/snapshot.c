/* SPDX-License-Identifier: MIT */
/*
 * Snapshots by name: machine, memory and every writable disk at one moment.
 *
 * What each disk does for it is snapshot_disks.c; here is the order of things.
 * All that can refuse is asked before anything is written, and, when one is
 * loaded, before anything is changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "system/snapshot-priv.h"
#include "system/vcpu.h"
#include "util/trace.h"

/* The name, or the file's base name without its ending: what disks call it. */
static Err *tag_of(const char *name, char **tag, char **path)
{
    const char *slash = name ? strrchr(name, '/') : NULL;

    *path = slash ? g_strdup(name) : NULL;
    *tag = g_strdup(slash ? slash + 1 : name ? name : "");
    char *dot = slash ? strrchr(*tag, '.') : NULL;
    if (dot > *tag)
        *dot = 0;
    if (**tag && **tag != '.' && strlen(*tag) <= SNAPSHOT_NAME_MAX)
        return NULL;
    Err *e = err(ERR_INVALID, "'%s' cannot be the name of a snapshot", name ? name : "");
    g_free(*tag);
    g_free(*path);
    return err_hint(e, "It has 1 to %d characters and does not begin with a dot.", SNAPSHOT_NAME_MAX);
}

static Err *snap_open(Snap *s, Vm *vm, const char *name, const SnapshotPlace *place)
{
    *s = (Snap){ .vm = vm, .place = place };
    if (place && strchr(name, '/'))
        return err(ERR_INVALID, "'%s' cannot be the name of a snapshot", name);
    TRY(tag_of(name, &s->tag, &s->path));
    Err *e = snap_find_disks(s);
    if (e)
        snap_close(s);
    return e;
}

void snap_close(Snap *s)
{
    snap_forget_disks(s);
    g_free(s->tag);
    g_free(s->path);
}

/* The machine stands; *ran: it has to go on. */
static void stand(Vm *vm, bool *ran)
{
    *ran = vm->state == RUN_RUNNING;
    if (*ran)
        vm_stop(vm, RUN_PAUSED);
}

/* ---- save */

static Err *save_state(Snap *s, uint64_t *bytes)
{
    StateStore store;

    if (s->holder) {
        TRY(snap_clear_image(s));       /* holes are zeros */
        store = snap_image_store(s);
        return state_store_save(s->vm, &store, bytes);
    }
    *bytes = 0;
    return state_save_file(s->vm, s->path);
}

static Err *save(Snap *s)
{
    uint64_t bytes = 0;

    TRY(state_can_save(s->vm));
    TRY(snap_delete_disks(s));          /* the one of that name is replaced */
    TRY(snap_make_folders(s));
    TRY(save_state(s, &bytes));
    Err *e = snap_save_disks(s, bytes);
    if (s->holder)
        err_free(snap_clear_image(s));  /* it is the snapshot's; writes would only copy it */
    if (e) {
        err_free(snap_delete_disks(s));
        if (!s->holder)
            unlink(s->path);
    }
    return e;
}

static Err *save_named(Vm *vm, const char *name, const SnapshotPlace *place)
{
    Snap s;
    bool ran;

    TRY(err_in(state_can_save(vm), "snapshot '%s'", name));
    TRY(err_in(snap_open(&s, vm, name, place), "snapshot '%s'", name));
    stand(vm, &ran);
    Err *e = place && snap_count_disks(&s) ? err(ERR_INVALID, "Snapshot '%s' already exists in one or more devices", name) : save(&s);
    snap_close(&s);
    if (ran)
        vm_start(vm);
    return place ? e : err_in(e, "snapshot '%s'", name);
}

Err *snapshot_save(Vm *vm, const char *name)
{
    return save_named(vm, name, NULL);
}

Err *snapshot_save_at(Vm *vm, const char *tag, const SnapshotPlace *at)
{
    return save_named(vm, tag, at);
}

/* ---- load */

/* The state's blob, checked, before anything is changed. NULL in *blob: it could not be looked at yet. */
static Err *look(Snap *s, int *fd, GBytes **blob)
{
    *blob = NULL;
    if (s->holder)
        return snap_look(s, blob);
    *fd = open(s->path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return err_path(errno, s->path, "cannot open '%s'", s->path);
    const StateStore store = state_file_store(fd);
    return state_store_check(s->vm, &store, blob);
}

static Err *load_state(Snap *s, int *fd, GBytes **blob)
{
    const StateStore store = s->holder ? snap_image_store(s) : state_file_store(fd);

    if (!*blob)
        TRY(state_store_check(s->vm, &store, blob));
    return state_store_load(s->vm, &store, *blob);
}

/* Every disk has its part; QEMU's words for the one that many scripts ask for. */
static Err *check_disks(Snap *s)
{
    Err *e = snap_check_disks(s);

    if (!e || err_class(e) != ERR_NOT_FOUND)
        return e;
    Err *known = err(ERR_NOT_FOUND, "Snapshot '%s' does not exist in one or more devices", s->tag);
    g_autofree char *which = g_strdup(err_text(e));
    err_free(e);
    return err_hint(known, "%s.", which);
}

typedef struct GoesOn { int64_t began; } GoesOn;

static void goes_on(Vcpu *v, void *opaque)
{
    GoesOn *g = opaque;

    int64_t now = g_get_monotonic_time();

    TRACE(snapshot, "vCPU %d goes on %d us after loading began, at %" PRId64 " us of the host's clock", v->index, (int)(now - g->began), now);
    g_free(g);
}

void snapshot_trace_start(Vm *vm)
{
    State *s = state_of(vm);

    if (!s->load_began || vm->state != RUN_RUNNING)
        return;
    for (int i = 0; i < vm->nvcpus; i++) {
        GoesOn *g = g_new(GoesOn, 1);

        g->began = s->load_began;
        vcpu_run_on(vm->vcpus[i], goes_on, g, false);
    }
    s->load_began = 0;
}

static Err *load(Snap *s)
{
    GBytes *blob = NULL;
    int fd = -1;
    bool ran;
    Err *e = check_disks(s);

    stand(s->vm, &ran);
    if (!e)
        e = look(s, &fd, &blob);
    if (e) {
        if (ran)
            vm_start(s->vm);
    } else {
        e = snap_load_disks(s);
        if (!e)
            e = load_state(s, &fd, &blob);
        if (s->holder)
            err_free(snap_clear_image(s));
        e = err_hint(e, "The machine stands, and what it holds is not whole: reset it, or load another snapshot.");
        if (!e && ran)
            vm_start(s->vm);
        if (!e)
            snapshot_trace_start(s->vm);
    }
    if (blob)
        g_bytes_unref(blob);
    if (fd >= 0)
        close(fd);
    return e;
}

static Err *load_named(Vm *vm, const char *name, const SnapshotPlace *place)
{
    Snap s;

    state_of(vm)->load_began = g_get_monotonic_time();
    TRY(err_in(snap_open(&s, vm, name, place), "snapshot '%s'", name));
    Err *e = load(&s);
    snap_close(&s);
    return e && err_class(e) == ERR_NOT_FOUND ? e : err_in(e, "snapshot '%s'", name);
}

Err *snapshot_load(Vm *vm, const char *name)
{
    return load_named(vm, name, NULL);
}

Err *snapshot_load_at(Vm *vm, const char *tag, const SnapshotPlace *at)
{
    return load_named(vm, tag, at);
}

/* ---- delete, list */

/* The machine's state, where it is no image's: true: it was there. */
static bool delete_state_file(const Snap *s)
{
    if (s->holder || !s->path || unlink(s->path) < 0)
        return false;
    g_autofree char *folder = g_path_get_dirname(s->path);

    if (g_str_has_suffix(folder, ".snapshots"))
        rmdir(folder);                  /* if it was the last of it */
    return true;
}

static Err *delete_named(Vm *vm, const char *name, const SnapshotPlace *place)
{
    Snap s;
    bool ran;

    TRY(err_in(snap_open(&s, vm, name, place), "snapshot '%s'", name));
    stand(vm, &ran);
    unsigned found = snap_count_disks(&s);
    Err *e = snap_delete_disks(&s);
    if (!e)
        found += delete_state_file(&s);
    if (!e && !found && !place)
        e = err(ERR_NOT_FOUND, "there is no snapshot of that name");
    snap_close(&s);
    if (ran)
        vm_start(vm);
    return err_in(e, "snapshot '%s'", name);
}

Err *snapshot_delete(Vm *vm, const char *name)
{
    return delete_named(vm, name, NULL);
}

Err *snapshot_delete_at(Vm *vm, const char *tag, const SnapshotPlace *at)
{
    return delete_named(vm, tag, at);
}

static void info_clear(void *opaque)
{
    SnapshotInfo *i = opaque;

    g_free(i->id);
    g_free(i->name);
}

GArray *snapshot_infos_new(void)
{
    GArray *a = g_array_new(false, true, sizeof(SnapshotInfo));

    g_array_set_clear_func(a, info_clear);
    return a;
}

Err *snapshot_list(Vm *vm, GArray **out)
{
    Snap s = { .vm = vm };

    *out = snapshot_infos_new();
    Err *e = snap_find_disks(&s);
    /* Without a place for snapshots there are none. */
    err_free(e);
    if (!e)
        snap_list(&s, *out);
    snap_close(&s);
    return NULL;
}
