# SPDX-License-Identifier: MIT
src += net_set.c
src += net/net.c net/netdev.c net/offload.c net/hub.c net/dump.c
src += net/user/user.c net/user/poll.c net/user/frames.c net/user/forward.c
tests += unit/test_net

# The backends' rows: made anew when a source changes, or the list of sources does.
net-sources = $(wildcard $(patsubst %,$(S)/%,$(filter net/%,$(src))))
$(B)/gen/net_set.c: $(wildcard $(S)/net/*.c $(S)/net/*/*.c) $(S)/tools/sets.py $(B)/objs.list
	$(call say,SETS,$(@F))
	@mkdir -p $(@D)
	$(Q)$(PYTHON) $(S)/tools/sets.py $@ NETDEV $(net-sources)
