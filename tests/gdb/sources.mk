# SPDX-License-Identifier: MIT
check-scripts += tests/gdb/points.py
check-slow-scripts += tests/gdb/linux.py
check-scripts += tests/gdb/packets.py tests/gdb/sessions.py
check-scripts += tests/gdb/lldb.py
