# SPDX-License-Identifier: MIT
src += hw/intc/aclint_swi.c hw/intc/plic.c hw/intc/riscv_aplic.c hw/intc/riscv_imsic.c
