# SPDX-License-Identifier: MIT
# the network
check-scripts += tests/block/nbd.py tests/block/nbd_tls.py tests/block/curl.py
check-scripts += tests/block/test_io.py
# image formats of others
check-scripts += tests/block/formats.py
# damage
check-scripts += tests/block/mutate.py
check-slow-scripts += tests/block/mutate-slow.sh
# the graph and its filters
check-scripts += tests/block/graph.py
# qcow2
check-scripts += tests/block/qcow2_diff.py tests/block/qcow2_kill.py
check-scripts += tests/block/qcow2_more.py
# lyre-img
check-scripts += tests/block/test_img.py
# crashes and faults
tests += block/crash
check-slow-scripts += tests/block/crash-slow.sh
check-slow-scripts += tests/block/img_diff.py
# both tools in turn
check-scripts += tests/block/rand_img.py
check-slow-scripts += tests/block/rand_img-slow.sh
