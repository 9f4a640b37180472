# SPDX-License-Identifier: MIT
lib-programs += lyre-io
lyre-io-main := cmd/io/main.c
src += cmd/io/text.c cmd/io/shell.c cmd/io/rw.c cmd/io/aio.c cmd/io/open.c cmd/io/misc.c cmd/io/cmds.c
