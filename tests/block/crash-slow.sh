#!/bin/sh
# SPDX-License-Identifier: MIT
# 100,000 crash points and 20,000 faults of qcow2: see tests/block/crash.c. CRASH_POINTS and SEED choose others.
exec "$LYRE_BUILD/tests/block/crash" "${CRASH_POINTS:-100000}" "${SEED:-$(date +%j)}"
