# SPDX-License-Identifier: MIT
"""The whole machine, kept: snapshots, save and restore, dumps. The guest's shell has a variable by which it knows itself."""
import os
import struct

from domain import NAME, case
from rig import Failed

EM_RISCV = 243                          # ELF header, e_machine


def name_it(d, word):
    d.ask(f"me={word}")


def expect_it(d, word):
    """The guest that is at the console now is that one, and its disk and clock work."""
    said = d.ask("echo $me")
    if said != word:
        raise Failed(f"the guest is '{said}', not '{word}'")
    d.write(110, word)
    d.expect_read(110, word)
    d.ask("sleep 0.2")


@case("snapshot")
def snapshot(d):
    """Internal: the machine with its memory and disk, back to it in a new process, and deleted."""
    name_it(d, "kept")
    d.write(111, "old")
    d.virsh("snapshot-create-as", NAME, "s1")
    d.expect("snapshot-list", d.virsh("snapshot-list", NAME), "s1 .*running")
    d.expect("lyre-img", d.tool("snapshot", "-U", "-l", d.disk), " s1 ")
    name_it(d, "lost")
    d.write(111, "new")
    d.virsh("snapshot-revert", NAME, "s1")
    d.want_state("running")
    d.reconnect()
    expect_it(d, "kept")
    d.expect_read(111, "old")
    d.virsh("snapshot-delete", NAME, "s1")
    if " s1 " in d.tool("snapshot", "-U", "-l", d.disk):
        raise Failed("it is still in the image")


@case("snapshot-off")
def snapshot_off(d):
    """The same of a machine that is off, whose disk alone there is."""
    d.write(112, "old")
    d.ask("sync")
    d.virsh("destroy", NAME)
    d.virsh("snapshot-create-as", NAME, "off1")
    d.start()
    d.write(112, "new")
    d.virsh("destroy", NAME)
    d.virsh("snapshot-revert", NAME, "off1")
    d.start()
    d.expect_read(112, "old")
    d.virsh("destroy", NAME)
    d.virsh("snapshot-delete", NAME, "off1")


@case("save")
def save(d):
    """Into a file, whatever its format, and on from there."""
    for n, flags in enumerate(((), ("--bypass-cache",), ("--paused",))):
        name_it(d, f"saved{n}")
        file = d.path("saved")
        d.virsh("save", NAME, file, *flags)
        d.want_state("shut off")
        d.virsh("restore", file)
        if flags == ("--paused",):
            d.want_state("paused")
            d.virsh("resume", NAME)
        d.want_state("running")
        d.reconnect()
        expect_it(d, f"saved{n}")
        os.unlink(file)


@case("managedsave")
def managedsave(d):
    """Saved by libvirt, and start goes on from there."""
    name_it(d, "managed")
    d.virsh("managedsave", NAME)
    d.want_state("shut off")
    d.expect("dominfo", d.virsh("dominfo", NAME), "Managed save: +yes")
    d.virsh("start", NAME)
    d.want_state("running")
    d.reconnect()
    expect_it(d, "managed")
    d.expect("guest-ping", d.virsh("qemu-agent-command", NAME, '{"execute":"guest-ping"}'), '"return"')


@case("snapshot-memory")
def snapshot_memory(d):
    """External, of memory and disk, while the guest runs."""
    name_it(d, "external")
    memory, top = d.path("memory"), d.path("over4.qcow2")
    d.virsh("snapshot-create-as", NAME, "e1", "--live", "--atomic", "--no-metadata", "--memspec", f"file={memory},snapshot=external",
            "--diskspec", f"vda,snapshot=external,file={top}")
    d.disk = top
    expect_it(d, "external")
    if os.path.getsize(memory) < 1 << 20:
        raise Failed("memory was not saved")


@case("dump")
def dump(d):
    """The guest's memory as a core file of its kind, and compressed, without harm to it."""
    name_it(d, "dumped")
    core = d.path("core")
    d.virsh("dump", NAME, core, "--memory-only", "--live")
    with open(core, "rb") as f:
        head = f.read(64)
    if head[:4] != b"\x7fELF" or struct.unpack_from("<H", head, 18)[0] != EM_RISCV:
        raise Failed(f"no RISC-V core file: {head.hex()}")
    if os.path.getsize(core) < 256 << 20:
        raise Failed("it does not hold all memory")
    d.virsh("dump", NAME, core, "--memory-only", "--format", "kdump-zlib")
    with open(core, "rb") as f:
        if f.read(13) != b"makedumpfile\0":           # the flattened form
            raise Failed("no kdump file")
    d.want_state("running")
    expect_it(d, "dumped")
    os.unlink(core)
