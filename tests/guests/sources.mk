# SPDX-License-Identifier: MIT
check-scripts += tests/guests/hello/test_hello
