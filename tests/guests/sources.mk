# SPDX-License-Identifier: MIT
check-scripts += tests/guests/hello/test_hello
check-scripts += tests/guests/test_make_guests
