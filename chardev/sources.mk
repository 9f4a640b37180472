# SPDX-License-Identifier: MIT
src += chardev/chardev.c chardev/serial.c chardev/stream.c chardev/mux.c chardev/term.c
src += chardev/stdio.c chardev/file.c chardev/pty.c chardev/socket.c chardev/telnet.c
