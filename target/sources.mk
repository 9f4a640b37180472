# SPDX-License-Identifier: MIT
src += target/translate.c target/isa.c
tests += unit/test_translate
