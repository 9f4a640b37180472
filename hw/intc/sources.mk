# SPDX-License-Identifier: MIT
src += hw/intc/aclint_swi.c hw/intc/plic.c
