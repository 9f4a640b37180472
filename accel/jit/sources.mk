# SPDX-License-Identifier: MIT
src += accel/jit/shape.c accel/jit/dump.c accel/jit/lockstep.c accel/jit/lockstep-mem.c
