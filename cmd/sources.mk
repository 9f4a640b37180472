# SPDX-License-Identifier: MIT
# The one program, and the names it is started by: lyre-system-<guest>.
programs += lyre
lyre-main := cmd/main.c
guests += riscv64
src += cmd/boot_opts.c cmd/monitor_opts.c
src += cmd/gdb.c
src += cmd/gdb_symbols.c
src += cmd/run/run.c cmd/run/plan.c cmd/run/media.c cmd/run/fat.c cmd/run/iso.c
src += cmd/config.c cmd/disk_opts.c cmd/emu.c cmd/machine_opts.c cmd/net_opts.c cmd/options.c
demo-scripts += tools/demo
fuzz-scripts += tools/fuzz
check-scripts += tests/cmd/test_run.py tests/cmd/test_cmdline.py tests/cmd/wrong_lines.py

# The image tool.
lib-programs += lyre-img
lyre-img-main := cmd/img/main.c
src += cmd/img/parse.c cmd/img/table.c cmd/img/help.c cmd/img/open.c cmd/img/print.c cmd/img/progress.c cmd/img/guard.c
src += cmd/img/bench.c cmd/img/bitmap.c cmd/img/check.c cmd/img/commit.c cmd/img/compare.c
src += cmd/img/convert.c cmd/img/create.c cmd/img/dd.c cmd/img/info.c cmd/img/map.c cmd/img/measure.c
# The NBD server.
lib-programs += lyre-nbd
lyre-nbd-main := cmd/nbd/main.c
src += cmd/nbd/args.c cmd/nbd/serve.c cmd/nbd/list.c cmd/nbd/device.c cmd/nbd/daemon.c
src += cmd/img/rebase.c cmd/img/resize.c cmd/img/resume.c cmd/img/snapshot.c
check-scripts += tests/cmd/wrong_img.py
# The sandbox.
src += cmd/sandbox.c
tests += unit/test_sandbox
