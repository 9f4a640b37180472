/* SPDX-License-Identifier: MIT */
/* A unit with a drive: scsi-hd and scsi-cd. What disk.c, pages.c and cd.c share. */
#ifndef HW_SCSI_DISK_H
#define HW_SCSI_DISK_H

#include "hw/disk/disk.h"
#include "hw/scsi/scsi.h"

typedef struct ScsiDisk {
    ScsiUnit unit;
    DiskConf conf;
    char *vendor, *product, *ver, *serial, *device_id;
    uint64_t wwn, max_unmap, max_io;        /* bytes; NAA identifier, 0: none */
    uint16_t rotation_rate;
    bool removable, dpofua;
    /* The bus's thread: */
    bool cd, locked, open;                  /* medium removal is prevented; the tray is out */
    bool reserved;
    uint8_t event;                          /* of the medium, to be told by GET EVENT STATUS */
} ScsiDisk;

static inline bool scsi_disk_ready(const ScsiDisk *s) { return disk_port_ready(&s->conf.port) && !s->open; }
static inline uint64_t scsi_disk_blocks(const ScsiDisk *s) { return disk_port_size(&s->conf.port) / s->conf.logical; }

/* pages.c */
ScsiEnd scsi_inquiry(ScsiDisk *s, ScsiRequest *r);
ScsiEnd scsi_mode_sense(ScsiDisk *s, ScsiRequest *r);
ScsiEnd scsi_mode_select(ScsiDisk *s, ScsiRequest *r);
/* cd.c: a command of MMC, or SENSE_BAD_OPCODE. */
ScsiEnd scsi_cd_run(ScsiDisk *s, ScsiRequest *r);
/* disk.c: `blocks` from lba on. */
ScsiEnd scsi_disk_read(ScsiDisk *s, ScsiRequest *r, uint64_t lba, uint64_t blocks);

#endif
