/* SPDX-License-Identifier: MIT */
/* What of the configuration firmware may read by fw_cfg, on every board. */
#ifndef HW_FIRM_FW_ITEMS_H
#define HW_FIRM_FW_ITEMS_H

#include "hw/firm/fw_cfg.h"

/* UUID, boot order and menu, times, and the files of -fw_cfg. A board calls it when it has made its fw_cfg. */
MUST_USE Err *fw_items_add(FwCfg *f, Vm *vm);
/* -kernel, -initrd and -append for firmware that loads them itself; `most` bounds each file, in bytes. */
MUST_USE Err *fw_items_add_kernel(FwCfg *f, const VmConfig *c, uint64_t most);

#endif
