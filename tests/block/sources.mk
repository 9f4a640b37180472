# SPDX-License-Identifier: MIT
# NBD
check-scripts += tests/block/nbd.py tests/block/nbd_tls.py
check-scripts += tests/block/test_io.py
check-scripts += tests/block/nbd.py
# image formats of others
check-scripts += tests/block/formats.py
