# SPDX-License-Identifier: MIT
src += util/err.c util/log.c util/opts.c util/path.c util/reflect.c util/str.c util/trace.c
