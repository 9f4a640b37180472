# SPDX-License-Identifier: MIT
check-scripts += tests/stress/short
check-slow-scripts += tests/stress/long
