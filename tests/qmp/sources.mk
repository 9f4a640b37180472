# SPDX-License-Identifier: MIT
check-slow-scripts += tests/qmp/random-commands
check-scripts += tests/qmp/rest.py
check-slow-scripts += tests/qmp/coverage
check-scripts += tests/qmp/oob.py
check-scripts += tests/qmp/threads.py
check-scripts += tests/qmp/more.py tests/qmp/against-qemu.py
