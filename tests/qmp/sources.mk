# SPDX-License-Identifier: MIT
check-scripts += tests/qmp/basics.py tests/qmp/args.py tests/qmp/jobs.py tests/qmp/probe.py
check-scripts += tests/qmp/transaction.py tests/qmp/exports.py tests/qmp/reopen.py tests/qmp/copies.py
check-scripts += tests/qmp/disks.py
check-scripts += tests/qmp/dump.py
check-scripts += tests/qmp/snapshots.py
check-scripts += tests/qmp/parts.py
check-scripts += tests/qmp/migration.py
check-scripts += tests/qmp/console.py
check-slow-scripts += tests/qmp/random-commands
check-scripts += tests/qmp/rest.py
check-slow-scripts += tests/qmp/coverage
check-scripts += tests/qmp/oob.py
check-scripts += tests/qmp/threads.py
check-scripts += tests/qmp/more.py tests/qmp/against-qemu.py
