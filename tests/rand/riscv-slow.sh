#!/bin/sh
# SPDX-License-Identifier: MIT
# The long runs of riscv_rand: 10 million instructions against generated code, 1 million against QEMU.
exec "$LYRE_BUILD/tests/rand/riscv_rand" --jit 10000000 --qemu 1000000
