# SPDX-License-Identifier: MIT
src += block/qcow2/driver.c block/qcow2/header.c block/qcow2/header_write.c block/qcow2/corrupt.c
src += block/qcow2/cache.c block/qcow2/write.c block/qcow2/refcount.c block/qcow2/alloc.c block/qcow2/table.c
src += block/qcow2/read.c block/qcow2/cluster.c block/qcow2/zero.c block/qcow2/packed.c
src += block/qcow2/info.c block/qcow2/resize.c block/qcow2/create.c
src += block/qcow2/switch.c block/qcow2/snapshot.c block/qcow2/snapshot_table.c
src += block/qcow2/check.c block/qcow2/check_counts.c block/qcow2/check_walk.c block/qcow2/check_refblocks.c
src += block/qcow2/check_flags.c block/qcow2/check_rebuild.c
src += block/qcow2/bitmaps.c block/qcow2/bitmap_dir.c block/qcow2/crypto.c
src += block/qcow2/amend.c block/qcow2/amend_refcounts.c block/qcow2/amend_zeroes.c
