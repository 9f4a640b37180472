# SPDX-License-Identifier: MIT
src += hw/misc/absent.c hw/misc/sifive_test.c
