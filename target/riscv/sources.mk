# SPDX-License-Identifier: MIT
# the privileged side
src += target/riscv/cpu.c target/riscv/csr.c target/riscv/trap.c target/riscv/aia.c target/riscv/imsic.c
src += target/riscv/mmu.c
src += target/riscv/regs.c
src += target/riscv/pmp.c target/riscv/counters.c target/riscv/helpers_sys.c target/riscv/isa.c
src += target/riscv/saved.c
# the instruction side
src += target/riscv/riscv.c target/riscv/encode.c target/riscv/disas.c
src += target/riscv/translate.c target/riscv/translate_i.c target/riscv/translate_a.c
src += target/riscv/translate_f.c target/riscv/translate_zb.c target/riscv/translate_zk.c
src += target/riscv/translate_sys.c target/riscv/helpers_insn.c target/riscv/helpers_zk.c
src += riscv/insn_gen.c
gen += $(B)/gen/riscv/insn_gen.h $(B)/gen/riscv/insn_gen.c

$(B)/gen/riscv/insn_gen.h $(B)/gen/riscv/insn_gen.c &: $(S)/target/riscv/insn.tab $(S)/tools/gendec
	@mkdir -p $(B)/gen/riscv
	@$(PYTHON) $(S)/tools/gendec $(S)/target/riscv/insn.tab \
	    --header $(B)/gen/riscv/insn_gen.h --source $(B)/gen/riscv/insn_gen.c
check-scripts += target/riscv/tests/disas.py target/riscv/tests/assemble.py
src += target/riscv/core.c
