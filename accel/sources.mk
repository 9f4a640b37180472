# SPDX-License-Identifier: MIT
src += accel/accel.c accel/run.c accel/errand.c
src += accel/debug_dma.c
src += accel/debug.c accel/tcg/watch.c accel/jit/breaks.c
src += accel/state.c
src += accel/tcg/l2.c accel/tcg/mmu.c accel/tcg/atomic.c accel/tcg/flush.c accel/tcg/tcg.c
src += accel/jit/cache.c accel/jit/unit.c accel/jit/link.c accel/jit/stack.c accel/jit/smc.c
src += accel/jit/translate.c accel/jit/dispatch.c accel/jit/jit.c
