# SPDX-License-Identifier: MIT
# NBD
check-scripts += tests/block/nbd.py tests/block/nbd_tls.py
