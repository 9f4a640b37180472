# SPDX-License-Identifier: MIT
src += target/translate.c target/isa.c
src += target/maps.c
tests += unit/test_translate
