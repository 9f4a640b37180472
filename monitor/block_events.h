/* SPDX-License-Identifier: MIT */
/* Events of disks, from when there are monitors until there are none. */
#ifndef MONITOR_BLOCK_EVENTS_H
#define MONITOR_BLOCK_EVENTS_H

#include "system/vm.h"

void block_events_init(Vm *vm);
void block_events_clear(Vm *vm);

#endif
