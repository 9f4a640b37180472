# SPDX-License-Identifier: MIT
src += tcg/env.c
