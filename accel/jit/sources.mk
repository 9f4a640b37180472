# SPDX-License-Identifier: MIT
src += accel/jit/dump.c
