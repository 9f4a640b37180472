# SPDX-License-Identifier: MIT
src += tcg/ir/ops.c tcg/ir/eval.c tcg/ir/build.c tcg/ir/print.c tcg/ir/parse.c tcg/ir/check.c
src += tcg/ir/interp.c tcg/ir/interp_fp.c
