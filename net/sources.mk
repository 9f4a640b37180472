# SPDX-License-Identifier: MIT
src += net_set.c
src += net/net.c net/netdev.c net/offload.c net/hub.c net/dump.c
src += net/addr.c net/conn.c net/packets.c net/stream.c net/dgram.c net/socket.c net/tap.c
src += net/user/user.c net/user/poll.c net/user/frames.c net/user/forward.c
tests += unit/test_net unit/test_net_user unit/test_net_pairs unit/test_net_tap

# The backends' rows: made anew when a source changes, or the list of sources does.
net-sources = $(wildcard $(patsubst %,$(S)/%,$(filter net/%,$(src))))
$(B)/gen/net_set.c: $(wildcard $(S)/net/*.c $(S)/net/*/*.c) $(S)/tools/sets.py $(B)/objs.list
	$(call say,SETS,$(@F))
	@mkdir -p $(@D)
	$(Q)$(PYTHON) $(S)/tools/sets.py $@ NETDEV $(net-sources)
