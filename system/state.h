/* SPDX-License-Identifier: MIT */
/*
 * A whole machine, saved and brought back: snapshots, and migration.
 *
 * A snapshot is the state of vCPUs, clocks and devices (system/stream.h: named,
 * versioned fields), memory, and what was on every writable disk at that moment.
 * Its name says where it is kept:
 *
 *   NAME         the disks: as an internal snapshot where the format has such (qcow2; the first of them
 *                also holds the machine's state), else as a copy beside the image: FILE.snapshots/NAME
 *   PATH, with a slash in it: machine state and memory are a file of our own, which is mapped when it is
 *                loaded, so that memory comes in as it is used; disks are snapshotted by the file's base name
 *
 * Everything here is for the main thread and under the machine lock, which functions let go of while
 * they wait for vCPUs to stand.
 */
#ifndef SYSTEM_STATE_H
#define SYSTEM_STATE_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "system/vm.h"

/* ---- snapshots: savevm, loadvm, delvm, info snapshots */

/* A machine that runs stands meanwhile, and goes on. An existing one of that name is replaced. */
MUST_USE Err *snapshot_save(Vm *vm, const char *name);
/*
 * The machine runs afterwards if it ran before. Nothing was changed when the snapshot is missing, damaged or of another
 * machine; if something fails after that, the machine stands, and has to be reset or loaded anew.
 */
MUST_USE Err *snapshot_load(Vm *vm, const char *name);
MUST_USE Err *snapshot_delete(Vm *vm, const char *name);

/*
 * The same by names of nodes: `vmstate` holds the machine's state, and the disks in `devices` (NULL-terminated) take part,
 * no others. None of these replaces a snapshot, and a missing one is deleted already.
 */
typedef struct SnapshotPlace { const char *vmstate; const char *const *devices; } SnapshotPlace;
MUST_USE Err *snapshot_save_at(Vm *vm, const char *tag, const SnapshotPlace *at);
MUST_USE Err *snapshot_load_at(Vm *vm, const char *tag, const SnapshotPlace *at);
MUST_USE Err *snapshot_delete_at(Vm *vm, const char *tag, const SnapshotPlace *at);     /* at->vmstate NULL */
/* A job in the thread "disks" that does it. */
typedef enum SnapshotVerb { SNAPSHOT_SAVE, SNAPSHOT_LOAD, SNAPSHOT_DELETE } SnapshotVerb;
struct JobConfig;
MUST_USE Err *snapshot_job(Vm *vm, SnapshotVerb verb, const char *tag, const SnapshotPlace *at, const struct JobConfig *c);
/* With the jobs ended: those that the main thread did not come to. */
void snapshot_jobs_free(Vm *vm);

/* After vm_start: the trace point `snapshot` says when the guest goes on, counted from where loading began. */
void snapshot_trace_start(Vm *vm);

typedef struct SnapshotInfo {
    char *id, *name;            /* id "" where there are none */
    uint64_t state_bytes;       /* machine state and memory, as stored */
    int64_t date;               /* seconds since 1970 */
    int64_t clock_ns;           /* the guest's clock then */
} SnapshotInfo;
/* Those that can be loaded: every disk has its part. g_array_unref it. */
MUST_USE Err *snapshot_list(Vm *vm, GArray **out /* of SnapshotInfo */);

/* ---- migration: to another process, while the machine runs */

typedef enum MigrateStatus {
    MIGRATE_NONE, MIGRATE_SETUP, MIGRATE_ACTIVE, MIGRATE_COMPLETED, MIGRATE_FAILED, MIGRATE_CANCELLING, MIGRATE_CANCELLED,
} MigrateStatus;
extern const char *const migrate_status_names[];        /* "none", "setup", .. as QMP spells them */

typedef struct MigrateInfo {
    MigrateStatus status;
    bool incoming;
    const char *error;          /* FAILED: why; valid until the next migration */
    int64_t total_ms, setup_ms, downtime_ms, expected_downtime_ms;
    uint64_t ram_total, ram_sent /* bytes on the wire for memory */, ram_left, downtime_bytes /* of ram_sent: in the pause */;
    uint64_t pages, zero_pages, passes, dirty_rate /* pages a second */;
    double mbps;
} MigrateInfo;

/* The monitor may change them while a migration is under way. */
typedef struct MigrateParams {
    _Atomic uint64_t max_bandwidth;     /* bytes a second; 0: no limit. 128 MiB at first */
    _Atomic uint64_t downtime_ms;       /* the longest pause that is aimed at. 300 at first */
    bool events;                /* the monitor tells of changes; its own affair */
    bool return_path;           /* over a socket: it is sent when the other side says that it has it */
    bool late_activate;         /* a machine that arrives and does not run yet leaves its disks to whoever has them, until it runs */
} MigrateParams;

/*
 * uri: fd:N (a number), unix:PATH, tcp:HOST:PORT, exec:COMMAND, file:PATH[,offset=N]. Returns when it is under way; it ends
 * with one of the last states, and the machine stands when it was sent (RUN_POSTMIGRATE), or goes on.
 */
MUST_USE Err *migrate_start(Vm *vm, const char *uri);
/* Waits for a machine to come; "defer": says nothing yet. It then runs, if `start` and it ran when it was sent. */
MUST_USE Err *migrate_incoming(Vm *vm, const char *uri, bool start);
void migrate_cancel(Vm *vm);    /* fine when there is none */
void migrate_info(Vm *vm, MigrateInfo *out);
MigrateParams *migrate_params(Vm *vm);          /* to be read and set; takes effect at once */
/* Told of each change of the state, and of each pass over memory (MIGRATION and MIGRATION_PASS); one listener. */
void migrate_on_event(Vm *vm, void (*fn)(void *opaque, MigrateStatus status, uint64_t pass), void *opaque);
/* -incoming was given, and nobody has come yet. */
bool migrate_awaited(Vm *vm);
void migrate_start_on_arrival(Vm *vm, bool start);      /* instead of what migrate_incoming was told */
bool migrate_starts_on_arrival(Vm *vm);

/* ---- for system/vm.c and tests */

/* Memory need not become the machine's own any more: it ends. */
void state_loan_end(Vm *vm);
/* Ends a migration that goes on: before the main loop's last turn is forgotten. Without the lock. */
void migration_end(Vm *vm);

/* A reason why the machine cannot be saved as it is now. */
MUST_USE Err *state_can_save(Vm *vm);
void state_free(Vm *vm);        /* ends what goes on, forgets parts */
/* The machine, standing, without memory and disks; the inverse. */
GByteArray *state_gather(Vm *vm);
MUST_USE Err *state_check(Vm *vm, const void *data, size_t len);        /* changes nothing */
MUST_USE Err *state_apply(Vm *vm, const void *data, size_t len);        /* after vm_reset, memory being there */
/* A file of our own, memory and all; disks are not touched. The machine stands. */
MUST_USE Err *state_save_file(Vm *vm, const char *path);
MUST_USE Err *state_load_file(Vm *vm, const char *path);

#endif
