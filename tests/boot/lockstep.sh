#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Whole machines with every unit run twice and compared (engine=lockstep): a
# difference ends the emulator with status 1, and boot-test fails. Some minutes.
exec "$LYRE_SRC/tests/boot/boot-test" hello run --engine tcg,engine=lockstep --patience 40
