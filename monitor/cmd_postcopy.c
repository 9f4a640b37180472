/* SPDX-License-Identifier: MIT */
/* Migration by need is not available; its commands say what they say when none goes on. */
#include "monitor/monitor-priv.h"
#include "system/state.h"

Err *qmp_migrate_pause(Monitor *m, const MigratePauseArgs *args, json_t **ret)
{
    return err(ERR_INVALID, "migrate-pause is currently only supported during postcopy-active state");
}

Err *qmp_migrate_recover(Monitor *m, const MigrateRecoverArgs *args, json_t **ret)
{
    return err(ERR_INVALID, "Migrate recover can only be run when postcopy is paused.");
}

Err *qmp_migrate_start_postcopy(Monitor *m, const MigrateStartPostcopyArgs *args, json_t **ret)
{
    return err(ERR_INVALID, "Enable postcopy with migrate_set_capability before the start of migration");
}

Err *qmp_migrate_continue(Monitor *m, const MigrateContinueArgs *args, json_t **ret)
{
    MigrateInfo info;

    migrate_info(m->vm, &info);
    return err(ERR_INVALID, "Migration not in expected state: %s", migrate_status_names[info.status]);
}
