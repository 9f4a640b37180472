#!/bin/sh
# SPDX-License-Identifier: MIT
# mutate.py for some minutes.
exec "$LYRE_SRC/tests/block/mutate.py" --count "${LYRE_MUTATE_COUNT:-120}"
