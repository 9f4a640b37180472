# SPDX-License-Identifier: MIT
check-slow-scripts += tests/qmp/random-commands
