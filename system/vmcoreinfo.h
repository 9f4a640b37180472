/* SPDX-License-Identifier: MIT */
/* What a Linux kernel has left in memory for crash tools. */
#ifndef SYSTEM_VMCOREINFO_H
#define SYSTEM_VMCOREINFO_H

#include "system/vm.h"

/*
 * VMCOREINFO (Documentation/admin-guide/kdump/vmcoreinfo.rst): lines of text that begin with OSRELEASE=, found by
 * searching all RAM; g_free it. NULL: there is none, or the kernel has not got that far.
 */
char *vmcoreinfo_find(Vm *vm);

#endif
