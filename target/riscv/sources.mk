# SPDX-License-Identifier: MIT
# the privileged side
src += target/riscv/cpu.c target/riscv/csr.c target/riscv/trap.c target/riscv/mmu.c
src += target/riscv/pmp.c target/riscv/counters.c target/riscv/helpers_sys.c target/riscv/isa.c
