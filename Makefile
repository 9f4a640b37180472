# SPDX-License-Identifier: MIT
#
# The whole build, for GNU make. Run ./configure first.
#
# Every folder lists what it has in its own sources.mk, in these variables:
#
#   src           += util/err.c            C files of the library every program is made of
#   gen           += $(B)/gen/riscv/dec.h  generated headers; the same sources.mk has the rule.
#                                          A generated C file is listed in src by its path
#                                          below $(B)/gen
#   programs      += lyre                  a program of all objects, its main() being $(lyre-main)
#   lib-programs  += lyre-img              a program that takes from the library what it calls
#   guests        += riscv64               a link lyre-system-riscv64 to it
#   tests         += unit/test_err         tests/unit/test_err.c, run by 'make check'
#   slow-tests    += unit/test_long        the same for 'make check-slow'
#   check-scripts += tests/boot/hello.sh   scripts for check; check-slow-scripts, fuzz-scripts,
#                                          bench-scripts, demo-scripts likewise
#
# A script gets LYRE_SRC and LYRE_BUILD (absolute paths) in its environment; a
# check script's last line is "N passed, N failed", and it exits with 77 to say
# that the host lacks what it needs (it prints why).
# $(S) is the source tree, $(B) the build folder; an out-of-tree build has a
# Makefile of three lines that sets both and includes this file.

S ?= .
B ?= build

.DEFAULT_GOAL := default
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# --- targets that need no configuration ----------------------------------------

no-config := help lint
goals := $(or $(MAKECMDGOALS),default)

help:
	@echo 'make              build the emulator: $(B)/lyre'
	@echo 'make demo         build it and boot Linux on it, in this terminal'
	@echo 'make check        all tests that take about a minute'
	@echo 'make check-slow   check, then whole-system boots and long random tests'
	@echo 'make check-unit   the test programs alone, without the scripts (for sanitizer builds)'
	@echo 'make bench        the speed measurements'
	@echo 'make fuzz         random tests until they are stopped (FUZZ_SECONDS=N, default 60)'
	@echo 'make lint         rules of the source tree: include arrows, licence lines, words'
	@echo 'make install      into the --prefix of configure (DESTDIR is honoured)'
	@echo 'make clean        remove what make made'
	@echo 'demo and check install what is missing and run configure if need be.'
	@echo 'Other ways to build (sanitizers, compiler, folder): ./configure --help'

lint:
	@python3 $(S)/tools/lint.py $(S)

# These start from nothing: what is missing is installed, and configure run.
# Tests of guests in RISC-V code need its compiler, tests against a peer need that; they are skipped without.
from-nothing := demo check
check-packages := gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user qemu-utils libnbd-bin nbdkit gnutls-bin dosfstools mtools fdisk xorriso

ifeq ($(wildcard $(B)/config.mk),)
ifneq ($(filter-out $(no-config) $(from-nothing),$(goals)),)
$(error not configured yet: run $(S)/configure first)
endif
ifneq ($(filter $(from-nothing),$(goals)),)
prepared := $(shell $(S)/tools/prepare configure $(if $(filter check,$(goals)),$(check-packages:%=-p %)) >&2 && echo yes)
ifneq ($(prepared),yes)
$(error this tree is not configured, and could not be: the reason is above)
endif
endif
else ifneq ($(filter check,$(goals)),)
# Configured, by 'make demo' perhaps: the tests' own packages may still be missing.
prepared := $(shell $(S)/tools/prepare packages $(check-packages) >&2 || echo 'going on; some tests will be skipped' >&2)
endif

-include $(B)/config.mk

ifneq ($(filter-out $(no-config),$(goals)),)

# --- what there is to build ------------------------------------------------------

src :=
gen :=
programs :=
lib-programs :=
tests :=
slow-tests :=
check-scripts :=
check-slow-scripts :=
fuzz-scripts :=
bench-scripts :=
demo-scripts :=
guests :=
include $(wildcard $(S)/*/sources.mk $(S)/*/*/sources.mk)

objs      := $(src:%.c=$(B)/obj/%.o)
lib       := $(B)/liblyre.a
mains     := $(foreach p,$(programs) $(lib-programs),$($(p)-main))
main-objs := $(mains:%.c=$(B)/obj/%.o)
bins      := $(programs:%=$(B)/%) $(lib-programs:%=$(B)/%)
links     := $(guests:%=$(B)/lyre-system-%)
test-bins := $(sort $(tests:%=$(B)/tests/%))
slow-bins := $(sort $(slow-tests:%=$(B)/tests/%))

WARN   := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wwrite-strings \
          -Wno-unused-parameter -Wno-missing-field-initializers -Wno-override-init
CFLAGS := -std=gnu11 $(OPT) $(WARN) -fno-strict-aliasing -fno-common -pthread \
          -D_GNU_SOURCE -DLYRE_VERSION='"$(VERSION)"' -DLYRE_PREFIX='"$(PREFIX)"' \
          -I$(S) -I$(B)/gen $(LIB_CFLAGS) $(SANITIZE) $(USER_CFLAGS)
LDLIBS := -Wl,--as-needed $(LIB_LIBS) -lm -ldl

# V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-5s %s\n' $(1) $(2))

# --- rules -------------------------------------------------------------------------

default: $(bins) $(links)

$(B)/obj/%.o: $(S)/%.c $(B)/config.mk | $(gen)
	$(call say,CC,$*.c)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/obj/%.o: $(B)/gen/%.c $(B)/config.mk | $(gen)
	$(call say,CC,gen/$*.c)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# Changes only when a file joins or leaves, so that the library is then made anew.
$(B)/objs.list: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(objs) | cmp -s - $@ || printf '%s\n' $(objs) >$@

$(lib): $(objs) $(B)/objs.list
	$(call say,AR,$(@F))
	@rm -f $@
	$(Q)$(AR) rcs $@ $(objs)

# A program of the whole takes every object; others and tests take from the library what they call.
define program-rule
$(B)/$(1): $(B)/obj/$($(1)-main:.c=.o) $(objs) $(B)/objs.list
	$$(call say,LINK,$(1))
	$$(Q)$$(CC) $$(CFLAGS) $$(USER_LDFLAGS) -o $$@ $(B)/obj/$($(1)-main:.c=.o) $$(objs) $$(LDLIBS)
endef
$(foreach p,$(programs),$(eval $(call program-rule,$(p))))
define lib-program-rule
$(B)/$(1): $(B)/obj/$($(1)-main:.c=.o) $(lib)
	$$(call say,LINK,$(1))
	$$(Q)$$(CC) $$(CFLAGS) $$(USER_LDFLAGS) -o $$@ $(B)/obj/$($(1)-main:.c=.o) $(lib) $$(LDLIBS)
endef
$(foreach p,$(lib-programs),$(eval $(call lib-program-rule,$(p))))

$(links): $(B)/lyre
	$(Q)ln -sf lyre $@

$(B)/tests/%: $(B)/obj/tests/%.o $(lib)
	$(call say,LINK,tests/$*)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(USER_LDFLAGS) -o $@ $< $(lib) $(LDLIBS)

.SECONDARY:
.PHONY: default demo check check-unit check-slow bench fuzz lint install help clean FORCE

run := LYRE_SRC=$(abspath $(S)) LYRE_BUILD=$(abspath $(B)) $(PYTHON) $(S)/tools/runtests.py

check: default $(test-bins)
	@$(run) $(test-bins) $(check-scripts:%=$(S)/%)

# The test programs without the scripts: what a sanitizer build runs.
check-unit: $(test-bins)
	@$(run) $(test-bins)

check-slow: default $(test-bins) $(slow-bins)
	@$(run) --timeout 1800 $(test-bins) $(slow-bins) \
	    $(check-scripts:%=$(S)/%) $(check-slow-scripts:%=$(S)/%)

env := LYRE_SRC=$(abspath $(S)) LYRE_BUILD=$(abspath $(B))
run-scripts = @$(if $(1),,echo "nothing here yet"; exit 1;) \
              set -e; for s in $(1:%=$(S)/%); do $(env) $$s; done

# With all processors, unless somebody said how many.
demo:
	@$(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc)) default
	$(call run-scripts,$(demo-scripts))
bench: default
	$(call run-scripts,$(bench-scripts))
fuzz: default $(test-bins)
	$(call run-scripts,$(fuzz-scripts))

bindir := $(DESTDIR)$(PREFIX)/bin
mandir := $(DESTDIR)$(PREFIX)/share/man/man1
docdir := $(DESTDIR)$(PREFIX)/share/doc/lyre
install: default
	install -d $(bindir) $(mandir) $(docdir)
	install -m 755 $(bins) $(bindir)
	$(foreach g,$(guests),ln -sf lyre $(bindir)/lyre-system-$(g);)
	install -m 644 $(wildcard $(S)/docs/man/*.1) $(mandir)
	install -m 644 $(S)/README.md $(S)/LICENSE $(docdir)

clean:
	rm -rf $(B)/obj $(B)/gen $(B)/tests $(lib) $(B)/objs.list $(bins) $(links)

-include $(objs:.o=.d) $(main-objs:.o=.d) \
         $(tests:%=$(B)/obj/tests/%.d) $(slow-tests:%=$(B)/obj/tests/%.d)

endif
