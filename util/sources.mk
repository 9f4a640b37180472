# SPDX-License-Identifier: MIT
src += util/arena.c util/err.c util/log.c util/opts.c util/path.c util/reflect.c util/str.c util/trace.c
# loops, coroutines, files of the host
src += util/aio.c util/co.c util/co_stack.c util/co_wait.c util/iov.c util/loop.c util/ring.c util/work.c
# sockets
src += util/fdset.c util/file.c
src += util/socket.c util/sockaddr.c util/wire.c
src += util/yank.c
