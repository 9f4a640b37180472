# SPDX-License-Identifier: MIT
check-scripts += tests/demo/test_demo
