/* SPDX-License-Identifier: MIT */
/* What happens when something happens; interrupts that people send. */
#include "monitor/monitor-priv.h"
#include "system/vmconfig.h"

/* QMP's order, ours. */
static const PanicAction panics[] = {
    [QMP_PANIC_ACTION_PAUSE] = PANIC_PAUSE, [QMP_PANIC_ACTION_SHUTDOWN] = PANIC_SHUTDOWN,
    [QMP_PANIC_ACTION_EXIT_FAILURE] = PANIC_EXIT_FAILURE, [QMP_PANIC_ACTION_NONE] = PANIC_NONE,
};
static const WatchdogAction watchdogs[] = {
    [QMP_WATCHDOG_ACTION_RESET] = WATCHDOG_RESET, [QMP_WATCHDOG_ACTION_SHUTDOWN] = WATCHDOG_SHUTDOWN,
    [QMP_WATCHDOG_ACTION_POWEROFF] = WATCHDOG_POWEROFF, [QMP_WATCHDOG_ACTION_PAUSE] = WATCHDOG_PAUSE,
    [QMP_WATCHDOG_ACTION_DEBUG] = WATCHDOG_DEBUG, [QMP_WATCHDOG_ACTION_NONE] = WATCHDOG_NONE,
    [QMP_WATCHDOG_ACTION_INJECT_NMI] = WATCHDOG_INJECT_NMI,
};

Err *qmp_set_action(Monitor *m, const SetActionArgs *args, json_t **ret)
{
    VmActions *a = &m->vm->actions;

    if (args->has_reboot)
        a->no_reboot = 1 + (args->reboot == QMP_REBOOT_ACTION_SHUTDOWN);
    if (args->has_shutdown)
        a->no_shutdown = 1 + (args->shutdown == QMP_SHUTDOWN_ACTION_PAUSE);
    if (args->has_panic)
        a->panic = 1 + (int)panics[args->panic];
    if (args->has_watchdog)
        a->watchdog = 1 + (int)watchdogs[args->watchdog];
    return NULL;
}

Err *qmp_watchdog_set_action(Monitor *m, const WatchdogSetActionArgs *args, json_t **ret)
{
    m->vm->actions.watchdog = 1 + (int)watchdogs[args->action];
    return NULL;
}

Err *qmp_inject_nmi(Monitor *m, const InjectNmiArgs *args, json_t **ret)
{
    if (!m->vm->nmi)
        return err_hint(err(ERR_UNSUPPORTED, "this feature or command is not currently supported"), "This machine has no NMI.");
    m->vm->nmi(m->vm);
    return NULL;
}

Err *qmp_system_wakeup(Monitor *m, const SystemWakeupArgs *args, json_t **ret)
{
    return err(ERR_UNSUPPORTED, "wake-up from suspend is not supported by this guest");
}
