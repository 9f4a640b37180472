# SPDX-License-Identifier: MIT
src += dump/dump.c dump/out.c dump/notes.c dump/elf.c dump/kdump.c
