# SPDX-License-Identifier: MIT
src += system/clock.c system/iothread.c system/mem.c system/msi.c system/ram.c system/rng.c system/vm.c
src += system/disks.c system/drive.c
