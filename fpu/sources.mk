# SPDX-License-Identifier: MIT
src += fpu/arith.c fpu/compare.c fpu/convert.c
