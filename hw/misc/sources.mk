# SPDX-License-Identifier: MIT
src += hw/misc/cfi_flash.c hw/misc/edu.c hw/misc/sifive_test.c
src += hw/misc/flash_disk.c
src += hw/misc/i6300esb.c hw/misc/pvpanic.c hw/misc/actions.c
src += hw/misc/power_button.c
