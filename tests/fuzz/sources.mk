# SPDX-License-Identifier: MIT
#
# The targets are made only in a folder that tests/fuzz/fuzz configures: by
# clang, with its sanitizers, and coverage in every object.
fuzz-scripts += tests/fuzz/fuzz

fuzz-targets := kernel firmware dtb initrd loader cmdline opts ir riscv chardev nbd-server nbd-client virtio p9 net
fuzz-targets += board qmp
fuzz-targets += gdb
fuzz-targets += state
fuzz-targets += monitor
# These are files.c with a kind of file each.
fuzz-files := kernel firmware dtb initrd loader
fuzz-kind-kernel   := KERNEL
fuzz-kind-firmware := FIRMWARE
fuzz-kind-dtb      := DTB
fuzz-kind-initrd   := INITRD
fuzz-kind-loader   := LOADER

# These are image.c with a format each.
fuzz-images := image-raw image-qcow2 image-luks image-vdi image-vhdx image-vmdk image-vpc image-qcow image-qed image-parallels image-dmg
fuzz-targets += $(fuzz-images)

# What board.c has instead: time, worker threads, drivers of disks.
fuzz-board-wraps := clock_gettime timerfd_create timerfd_settime co_offload
fuzz-flags-board := $(fuzz-board-wraps:%=-Wl,--wrap=%)

fuzz-link = $(CC) $(CFLAGS) -fsanitize=fuzzer $(fuzz-flags-$*) $(if $(fuzz-kind-$*),-DFUZZ_KIND=$(fuzz-kind-$*)) \
            -o $@ $< $(B)/liblyre.a $(LDLIBS)

$(fuzz-files:%=$(B)/fuzz-%): $(B)/fuzz-%: $(S)/tests/fuzz/files.c $(S)/tests/fuzz/fuzz.h $(S)/tests/fuzz/rig.h $(B)/liblyre.a
	$(call say,FUZZ,$*)
	$(Q)$(fuzz-link)
$(fuzz-images:%=$(B)/fuzz-%): $(B)/fuzz-image-%: $(S)/tests/fuzz/image.c $(S)/tests/fuzz/fuzz.h $(B)/liblyre.a
	$(call say,FUZZ,image-$*)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer -DFUZZ_FORMAT='"$*"' -o $@ $< $(B)/liblyre.a $(LDLIBS)
$(filter-out $(fuzz-files:%=$(B)/fuzz-%) $(fuzz-images:%=$(B)/fuzz-%),$(fuzz-targets:%=$(B)/fuzz-%)): $(B)/fuzz-%: $(S)/tests/fuzz/%.c $(S)/tests/fuzz/fuzz.h $(B)/liblyre.a
	$(call say,FUZZ,$*)
	$(Q)$(fuzz-link)

$(B)/fuzz-board: $(wildcard $(S)/tests/fuzz/*.h) $(S)/tests/dev/rig.h

.PHONY: fuzz-targets
fuzz-targets: $(fuzz-targets:%=$(B)/fuzz-%)
