/* SPDX-License-Identifier: MIT */
/* Nodes as JSON. In the disks' thread, as a coroutine. */
#ifndef MONITOR_BLOCK_INFO_H
#define MONITOR_BLOCK_INFO_H

#include "block/driver.h"

/* BlockDeviceInfo; `flat`: without the images below. */
json_t *block_device_info(BlockNode *n, bool flat, bool writethrough);
json_t *block_image_info(BlockNode *n, bool flat);      /* ImageInfo */
json_t *block_snapshot_info(const Snapshot *s);         /* SnapshotInfo */
json_t *block_bitmaps(BlockNode *n);                    /* a list; NULL: there are none */

/* A disk's limits, as BlockDeviceInfo has them. */
void block_limits_info(json_t *o, ThrottleGroup *g);

#endif
