#!/bin/sh
# SPDX-License-Identifier: MIT
# rand_img.py for long: 10,000 sequences, or RAND_COUNT, from another one each day.
exec "$LYRE_SRC/tests/block/rand_img.py" --count "${RAND_COUNT:-10000}" --seed "${SEED:-$(date +%j0000)}" --jobs "$(nproc)"
