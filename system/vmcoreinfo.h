/* SPDX-License-Identifier: MIT */
/* What a Linux kernel has left in memory for crash tools. */
#ifndef SYSTEM_VMCOREINFO_H
#define SYSTEM_VMCOREINFO_H

#include "system/vm.h"

/* Where the guest says that its note is (hw/firm/vmcoreinfo.c). Guest-written! size 0: it has not said. Machine lock. */
typedef struct CrashNote { uint64_t addr; uint32_t size; } CrashNote;

/*
 * VMCOREINFO (Documentation/admin-guide/kdump/vmcoreinfo.rst): lines of text that begin with OSRELEASE=, found
 * where the guest has said (vm->crash_note), or else by searching all RAM; g_free it. NULL: there is none, or the kernel has
 * not got that far.
 */
char *vmcoreinfo_find(Vm *vm);

#endif
