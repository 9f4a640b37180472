/* SPDX-License-Identifier: MIT */
/* What follows when a watchdog expires or a guest panics, as -action says. */
#include "hw/misc/misc.h"
#include "system/vmconfig.h"

void watchdog_expired(Vm *vm, const char *who)
{
    switch (vm->config->watchdog_action) {
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
        vm_request(vm, VM_STOP, 0);
        break;
    case WATCHDOG_DEBUG:
        err_note("%s: the watchdog has expired", who);
        break;
    case WATCHDOG_NONE:
        break;
    }
}

void guest_panicked(Vm *vm, bool crash_loaded)
{
    err_note("the guest has panicked%s", crash_loaded ? ", and handles it itself" : "");
    if (crash_loaded)
        return;
    switch (vm->config->panic_action) {
    case PANIC_SHUTDOWN:
        vm_request(vm, VM_POWEROFF, 0);
        break;
    case PANIC_PAUSE:
        vm_request(vm, VM_STOP, 0);
        break;
    case PANIC_EXIT_FAILURE:
        vm_request(vm, VM_QUIT, 1);
        break;
    case PANIC_NONE:
        break;
    }
}
