/* SPDX-License-Identifier: MIT */
/*
 * Migration: not there yet.
 */
#include <string.h>

#include "system/state-priv.h"

const char *const migrate_status_names[] = { "none", "setup", "active", "completed", "failed", "cancelling", "cancelled", NULL };

struct Migration { MigrateParams params; };

static Migration *migration_of(Vm *vm)
{
    State *s = state_of(vm);

    if (!s->migration) {
        s->migration = g_new0(Migration, 1);
        s->migration->params = (MigrateParams){ 128 << 20, 300 };
    }
    return s->migration;
}

void migration_free(Vm *vm)
{
    g_free(state_of(vm)->migration);
}

static Err *not_yet(void)
{
    return err_hint(err(ERR_UNSUPPORTED, "migration is not available"), "A snapshot moves a machine: savevm, and -loadvm in another process.");
}

Err *migrate_start(Vm *vm, const char *uri) { return not_yet(); }
Err *migrate_incoming(Vm *vm, const char *uri, bool start) { return not_yet(); }
void migrate_cancel(Vm *vm) { }
void migrate_info(Vm *vm, MigrateInfo *out) { *out = (MigrateInfo){ 0 }; }
MigrateParams *migrate_params(Vm *vm) { return &migration_of(vm)->params; }
void migrate_on_event(Vm *vm, void (*fn)(void *, MigrateStatus, uint64_t), void *opaque) { }
bool migrate_awaited(Vm *vm) { return false; }
