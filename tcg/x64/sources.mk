# SPDX-License-Identifier: MIT
src += tcg/x64/stubs.c tcg/x64/emit.c tcg/x64/lower_int.c tcg/x64/lower_mem.c tcg/x64/lower_ctl.c tcg/x64/pins.c tcg/x64/groups.c tcg/x64/low.c tcg/x64/copy.c tcg/x64/lower_fp.c
tests += unit/test_x64 unit/test_asm
tests += unit/test_x64_flow
