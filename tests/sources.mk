# SPDX-License-Identifier: MIT
tests += unit/test_fpu unit/test_fpu_ref unit/test_fpu_host unit/test_fpu_riscv
check-slow-scripts += tests/unit/fpu-slow.sh
tests += unit/test_accel_run unit/test_accel_mmu unit/test_accel_jit unit/test_accel_patch
