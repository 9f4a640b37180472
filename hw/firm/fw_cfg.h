/* SPDX-License-Identifier: MIT */
/* fw_cfg: named and numbered items that firmware reads about the machine. */
#ifndef HW_FIRM_FW_CFG_H
#define HW_FIRM_FW_CFG_H

#include "hw/core/device.h"

typedef struct FwCfg FwCfg;

/* Numbers of items that are not files. */
enum { FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_UUID = 0x02, FW_CFG_RAM_SIZE = 0x03,
       FW_CFG_NOGRAPHIC = 0x04, FW_CFG_NB_CPUS = 0x05, FW_CFG_KERNEL_SIZE = 0x08, FW_CFG_INITRD_SIZE = 0x0b,
       FW_CFG_BOOT_DEVICE = 0x0c, FW_CFG_BOOT_MENU = 0x0e, FW_CFG_MAX_CPUS = 0x0f, FW_CFG_KERNEL_DATA = 0x11,
       FW_CFG_INITRD_DATA = 0x12, FW_CFG_CMDLINE_SIZE = 0x14, FW_CFG_CMDLINE_DATA = 0x15, FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20 };

/* The memory-mapped kind at base. */
MUST_USE Err *fw_cfg_make(Vm *vm, uint64_t base, FwCfg **out);

/* Items: bytes are copied. Before the first reset; a number is given once. */
void fw_cfg_add(FwCfg *f, uint16_t key, const void *bytes, uint32_t len);
void fw_cfg_add_u16(FwCfg *f, uint16_t key, uint16_t val);      /* little-endian, as readers expect */

/* Files, listed in the directory by name (at most 55 characters, once). Before the first reset. */
MUST_USE Err *fw_cfg_add_file(FwCfg *f, const char *name, const void *bytes, uint32_t len);
/* One that every reset makes anew: g_malloc'ed bytes, or NULL where there shall be no such file. */
typedef uint8_t *(*FwCfgMake)(void *opaque, uint32_t *len);
MUST_USE Err *fw_cfg_add_made_file(FwCfg *f, const char *name, FwCfgMake make, void *opaque);
/* One that the guest may write; `written` (or NULL) is told, with all of it as it is now. Guest-written bytes! */
typedef void (*FwCfgWritten)(void *opaque, const uint8_t *bytes, uint32_t len);
MUST_USE Err *fw_cfg_add_writable_file(FwCfg *f, const char *name, const void *bytes, uint32_t len,
                                       FwCfgWritten written, void *opaque);

#endif
