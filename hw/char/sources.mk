# SPDX-License-Identifier: MIT
src += hw/char/serial.c
