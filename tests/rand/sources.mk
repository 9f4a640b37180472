# SPDX-License-Identifier: MIT
tests += unit/test_riscv_insn rand/riscv_rand
check-slow-scripts += tests/rand/riscv-slow.sh
