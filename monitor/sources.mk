# SPDX-License-Identifier: MIT
src += monitor/monitor.c monitor/events.c monitor/check.c monitor/introspect.c monitor/common.c monitor/view.c monitor/view_props.c monitor/view_types.c
src += monitor/cmd_control.c monitor/cmd_fds.c monitor/cmd_machine.c monitor/cmd_devices.c monitor/cmd_net.c monitor/cmd_chardev.c
src += monitor/cmd_probe.c monitor/hmp/info.c
src += monitor/cmd_jobs.c monitor/cmd_snapshots.c
src += monitor/cmd_block.c monitor/block_info.c
src += monitor/qmp/session.c monitor/qmp/split.c
src += monitor/hmp/hmp.c monitor/hmp/console.c monitor/hmp/print.c
src += monitor/schema_gen.c
gen += $(B)/gen/monitor/schema_gen.h $(B)/gen/monitor/schema_gen.c
monitor-schema := $(wildcard $(S)/monitor/schema/*.sch)
$(B)/gen/monitor/schema_gen.h $(B)/gen/monitor/schema_gen.c &: $(monitor-schema) $(S)/tools/gensch
	@mkdir -p $(B)/gen/monitor
	@$(PYTHON) $(S)/tools/gensch --header $(B)/gen/monitor/schema_gen.h --source $(B)/gen/monitor/schema_gen.c $(monitor-schema)

.PHONY: qmp-doc
qmp-doc:
	$(PYTHON) $(S)/tools/gensch --doc $(S)/docs/qmp.md $(monitor-schema)
src += monitor/cmd_migration.c
src += monitor/block_visit.c
src += monitor/cmd_dump.c
src += monitor/cmd_bitmaps.c monitor/cmd_overlays.c monitor/cmd_backup.c monitor/cmd_copies.c monitor/cmd_create.c
src += monitor/cmd_transaction.c monitor/job_start.c monitor/target.c monitor/hmp/qemu_io.c
src += monitor/cmd_blockstats.c monitor/hmp/print_block.c
src += monitor/cmd_actions.c monitor/cmd_cpus.c monitor/cmd_display.c monitor/cmd_memory.c monitor/cmd_pci.c monitor/cmd_postcopy.c
src += monitor/cmd_stats.c monitor/memory.c
src += monitor/cmd_exports.c
src += monitor/cmd_limits.c
src += monitor/cmd_reopen.c
src += monitor/hmp/edit.c
src += monitor/hmp/expr.c monitor/hmp/look.c monitor/hmp/tasks.c monitor/hmp/pages.c monitor/hmp/complete.c
src += monitor/cmd_media.c
src += monitor/hmp/lines.c
src += monitor/qmp/oob.c
src += monitor/cmd_yank.c
src += monitor/cmd_virtio.c
