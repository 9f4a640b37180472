# SPDX-License-Identifier: MIT
# NBD
check-scripts += tests/block/nbd.py tests/block/nbd_tls.py
check-scripts += tests/block/test_io.py
