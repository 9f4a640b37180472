# SPDX-License-Identifier: MIT
# The one program, and the names it is started by: lyre-system-<guest>.
programs += lyre
lyre-main := cmd/main.c
guests += riscv64
src += cmd/config.c cmd/emu.c cmd/machine_opts.c cmd/options.c
demo-scripts += tools/demo
fuzz-scripts += tools/fuzz
check-scripts += tests/cmd/test_cmdline.py tests/cmd/wrong_lines.py
