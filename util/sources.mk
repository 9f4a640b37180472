# SPDX-License-Identifier: MIT
src += util/err.c
