# SPDX-License-Identifier: MIT
src += chardev/chardev.c chardev/serial.c chardev/stream.c chardev/mux.c chardev/term.c
src += chardev/stdio.c chardev/file.c chardev/pty.c chardev/socket.c chardev/telnet.c
src += chardev/address.c chardev/dial.c chardev/udp.c chardev/ringbuf.c chardev/hostserial.c
