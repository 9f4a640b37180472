# SPDX-License-Identifier: MIT
check-scripts += tests/qmp/random-commands
check-scripts += tests/qmp/rest.py
check-slow-scripts += tests/qmp/coverage
