# SPDX-License-Identifier: MIT
# Files of the block layer join by `src +=` here, one line for each subject.
src += block_set.c
src += block/bitmap.c
src += block/qcow2/parts.c
src += block/crypto/aesni.c block/crypto/crypt.c block/crypto/kdf.c

# The drivers: made anew when a source changes, or the list of sources does.
block-sources = $(wildcard $(patsubst %,$(S)/%,$(filter block/%,$(src))))
$(B)/gen/block_set.c: $(wildcard $(S)/block/*.c $(S)/block/*/*.c) $(S)/tools/sets.py $(B)/objs.list
	$(call say,SETS,$(@F))
	@mkdir -p $(@D)
	$(Q)$(PYTHON) $(S)/tools/sets.py $@ BLOCK $(block-sources)
