# SPDX-License-Identifier: MIT
src += system/clock.c system/iothread.c system/iothread_visit.c system/mem.c system/msi.c system/ram.c system/rng.c system/vm.c
src += system/disks.c system/drive.c
src += system/state.c system/state_store.c system/stream.c system/snapshot.c system/snapshot_disks.c system/migrate.c
src += system/objects.c
src += system/migrate_uri.c
src += system/disks_move.c
src += system/vmcoreinfo.c
src += system/snapshot_job.c
src += system/state_loan.c
src += system/exports.c
src += system/disks_medium.c
