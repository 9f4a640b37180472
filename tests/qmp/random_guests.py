# SPDX-License-Identifier: MIT
"""What runs while random-commands steers: a loop that touches memory and sleeps, or a Linux that uses what comes."""
import gzip
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.environ.get("LYRE_GUESTS") or os.path.expanduser("~/.cache/lyre/guests")
# Each millisecond (mtimecmp, wfi) a page of the 4 MiB above 0x80100000 is written; interrupts stay off.
TINY = [
    0x08000293, 0x30429073,                         # li t0, 0x80; csrw mie, t0
    0x0200c437, 0xff84041b,                         # s0: mtime
    0x020044b7, 0xf14022f3, 0x00329293, 0x005484b3,     # s1: the hart's mtimecmp
    0x00100913, 0x01f91913, 0x001002b7, 0x00590933,     # s2: 0x80100000
    0x00090993, 0x00400a37, 0x012a0a33,             # s3: the page; s4: the end
    0x00043283, 0x00002337, 0x7103031b, 0x006282b3, 0x0054b023,     # 1: a millisecond from now
    0x10500073, 0x00138393, 0x0079b023,             # wfi; a count to the page
    0x00001337, 0x006989b3, 0xfd49cce3, 0x00090993, 0xfd1ff06f,     # the next page; from the start
]


def newc(name, data):
    """A cpio archive with one file."""
    def entry(name, mode, data):
        head = "070701" + "".join(f"{v:08X}" for v in (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        out = head.encode() + name.encode() + b"\0"
        out += b"\0" * (-len(out) % 4) + data
        return out + b"\0" * (-len(out) % 4)
    return entry(name, 0o100755, data) + entry("TRAILER!!!", 0, b"")


def guest_args(kind, folder):
    if kind == "tiny":
        path = os.path.join(folder, "tiny")
        with open(path, "wb") as f:
            f.write(struct.pack(f"<{len(TINY)}I", *TINY))
        return ["-m", "32", "-smp", "2", "-bios", path]
    kernel, old = (os.path.join(GUESTS, "riscv64", n) for n in ("kernel", "initrd.gz"))
    initrd = os.path.join(folder, "initrd")
    with open(os.path.join(HERE, "../boot/hotplug-guest"), "rb") as s, open(old, "rb") as i, open(initrd, "wb") as out:
        out.write(i.read())
        out.write(gzip.compress(newc("hotplug-guest", s.read())))
    return ["-m", "256", "-smp", "2", "-accel", "tcg,tb-size=8", "-bios", "default", "-kernel", kernel, "-initrd", initrd,
            "-append", 'console=ttyS0 quiet net.ifnames=0 run="sh /hotplug-guest"']
