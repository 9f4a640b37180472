# SPDX-License-Identifier: MIT
tests += unit/test_riscv_insn unit/test_riscv_code rand/riscv_rand rand/riscv_ref
check-scripts += tests/unit/gendec.py
check-slow-scripts += tests/rand/riscv-slow.sh
