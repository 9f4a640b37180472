# SPDX-License-Identifier: MIT
bench-scripts += tests/bench/bench
check-scripts += tests/bench/test_bench.py
