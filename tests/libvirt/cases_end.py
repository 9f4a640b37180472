# SPDX-License-Identifier: MIT
"""How a domain ends."""
import time

from domain import NAME, case
from rig import Failed


@case("shutdown")
def shutdown(d):
    """By the agent the guest powers off, and the domain ends."""
    d.virsh("shutdown", NAME, "--mode", "agent")
    d.want_state("shut off")


@case("destroy")
def destroy(d):
    """It ends at once, and its process with it."""
    start = time.monotonic()
    d.virsh("destroy", NAME)
    d.note = f"{(time.monotonic() - start) * 1000:.0f} ms"
    d.want_state("shut off")


@case("undefine", "any")
def undefine(d):
    """Nothing is left."""
    d.disconnect()
    d.ensure_defined()
    if d.state() != "shut off":
        d.virsh("destroy", NAME)
    d.virsh("undefine", NAME)
    if NAME in d.virsh("list", "--all", "--name").split():
        raise Failed("it is still there")
