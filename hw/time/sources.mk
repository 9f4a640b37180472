# SPDX-License-Identifier: MIT
src += hw/time/aclint_mtimer.c hw/time/goldfish_rtc.c
