# SPDX-License-Identifier: MIT
src += gdb/dma.c gdb/lldb.c
src += gdb/packet.c gdb/server.c gdb/stop.c gdb/resume.c gdb/regs.c gdb/memory.c gdb/points.c gdb/query.c gdb/monitor.c
