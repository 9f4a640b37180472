# SPDX-License-Identifier: MIT
bench-scripts += tests/bench/bench tests/bench/block_bench
bench-scripts += tests/bench/guest_bench
bench-scripts += tests/bench/gdb_bench
bench-scripts += tests/bench/snapshot_bench
check-scripts += tests/bench/test_bench.py
