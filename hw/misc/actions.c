/* SPDX-License-Identifier: MIT */
/* What follows when a watchdog expires or a guest panics, as -action and set-action say. */
#include "hw/misc/misc.h"
#include "system/vmconfig.h"

/* As QMP spells them. */
static const char *const watchdog_names[] = {
    [WATCHDOG_RESET] = "reset", [WATCHDOG_SHUTDOWN] = "shutdown", [WATCHDOG_POWEROFF] = "poweroff", [WATCHDOG_PAUSE] = "pause",
    [WATCHDOG_DEBUG] = "debug", [WATCHDOG_NONE] = "none", [WATCHDOG_INJECT_NMI] = "inject-nmi",
};

void watchdog_expired(Vm *vm, const char *who)
{
    WatchdogAction a = vm->actions.watchdog ? (WatchdogAction)(vm->actions.watchdog - 1) : vm->config->watchdog_action;

    vm_event(vm, "WATCHDOG", json_pack("{s:s}", "action", watchdog_names[a]));
    switch (a) {
    case WATCHDOG_RESET:
        vm_request(vm, VM_RESET, 0);
        break;
    case WATCHDOG_SHUTDOWN:     /* as the power button; where there is none, at once */
        if (vm->power_button)
            vm->power_button(vm);
        else
            vm_request(vm, VM_POWEROFF, 0);
        break;
    case WATCHDOG_POWEROFF:
        vm_request(vm, VM_QUIT, 0);
        break;
    case WATCHDOG_PAUSE:
        vm_request_stop(vm, RUN_WATCHDOG);
        break;
    case WATCHDOG_DEBUG:
        err_note("%s: the watchdog has expired", who);
        break;
    case WATCHDOG_INJECT_NMI:
        if (vm->nmi)
            vm->nmi(vm);
        else
            err_note("%s: the watchdog has expired, and this machine has no NMI to tell the guest by", who);
        break;
    case WATCHDOG_NONE:
        break;
    }
}

void guest_panicked(Vm *vm, bool crash_loaded)
{
    static const char *const follows[] = {
        [PANIC_SHUTDOWN] = "poweroff", [PANIC_PAUSE] = "pause", [PANIC_EXIT_FAILURE] = "poweroff", [PANIC_NONE] = "run",
    };
    PanicAction a = vm->actions.panic ? (PanicAction)(vm->actions.panic - 1) : vm->config->panic_action;

    /* A machine that shall be there after its end is kept as it is: whoever asked for that wants to look at it. */
    if (a == PANIC_SHUTDOWN && vm_stays(vm))
        a = PANIC_PAUSE;
    err_note("the guest has panicked%s", crash_loaded ? ", and handles it itself" : "");
    if (crash_loaded) {
        vm_event(vm, "GUEST_CRASHLOADED", json_pack("{s:s}", "action", "run"));
        return;
    }
    vm_event(vm, "GUEST_PANICKED", json_pack("{s:s}", "action", follows[a]));
    switch (a) {
    case PANIC_SHUTDOWN:
        vm_request_by(vm, VM_POWEROFF, 0, "guest-panic");
        break;
    case PANIC_PAUSE:
        vm_request_stop(vm, RUN_GUEST_PANICKED);
        break;
    case PANIC_EXIT_FAILURE:
        vm_request_by(vm, VM_QUIT, 1, "guest-panic");
        break;
    case PANIC_NONE:
        break;
    }
}
