# SPDX-License-Identifier: MIT
# NBD
check-scripts += tests/block/nbd.py
