# SPDX-License-Identifier: MIT
src += hw/board/riscv_virt.c hw/board/riscv_virt_irq.c hw/board/riscv_virt_tree.c
src += hw/board/riscv_virt_acpi.c
src += hw/board/none.c
