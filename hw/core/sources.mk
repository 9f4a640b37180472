# SPDX-License-Identifier: MIT
src += hw/core/board.c hw/core/device.c hw/core/bus.c hw/core/device_add.c hw/core/image.c hw/core/kinds.c hw/core/loader.c hw/core/loader_device.c
src += hw/core/boot_order.c
src += hw/core/state.c
src += sets.c
# The sets are made anew when a device's source changes, or the list of sources does.
$(B)/gen/sets.c: $(wildcard $(S)/hw/*/*.c) $(S)/tools/sets.py $(B)/objs.list
	$(call say,SETS,$(@F))
	@mkdir -p $(@D)
	$(Q)$(PYTHON) $(S)/tools/sets.py $@ DEVICE,BOARD $(wildcard $(patsubst %,$(S)/%,$(filter hw/%,$(src))))
