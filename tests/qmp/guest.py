# SPDX-License-Identifier: MIT
"""A guest of a few instructions: it turns on page tables (Sv39), goes to S mode and stays there."""
import os
import struct
import tempfile

RAM = 0x80000000
CODE, ROOT, MID, LOW, DATA = RAM, RAM + 0x10000, RAM + 0x11000, RAM + 0x12000, RAM + 0x20000
HOME = 0x40000000               # where its code is in virtual addresses
V, R, W, X, U, G, A, D = (1 << i for i in range(8))
# what `info mem` shows of it
MAPPED = """vaddr            paddr            size             attr
---------------- ---------------- ---------------- -------
0000000040000000 0000000080000000 0000000040000000 rwx--ad
0000000080005000 0000000080020000 0000000000002000 rw---ad
0000000080600000 0000000080200000 0000000000200000 r--u-a-
ffffffffc0000000 0000000080000000 0000000040000000 rwx-gad
"""
TEXT = b"Hello, \"world\"\n\0"


def pte(pa, flags):
    return pa >> 2 | flags | V


def csrw(csr, reg):
    return csr << 20 | reg << 15 | 1 << 12 | 0x73


def load(reg, offset):          # ld reg, offset(t1)
    return offset << 20 | 6 << 15 | 3 << 12 | reg << 7 | 3


def image():
    """What lies at RAM."""
    memory = bytearray(0x22000)

    def words(at, *values, kind="I"):
        struct.pack_into(f"<{len(values)}{kind}", memory, at - RAM, *values)
    # t1 is where we are; mepc, satp, mstatus, pmpaddr0, pmpcfg0 come from a table; mret; then: j .
    words(CODE, 0x00000317, load(5, 0x100), csrw(0x180, 5), load(5, 0x108), csrw(0x341, 5), load(5, 0x110), csrw(0x300, 5),
          load(5, 0x118), csrw(0x3b0, 5), load(5, 0x120), csrw(0x3a0, 5), 0x12000073, 0x30200073, 0x0000006f)
    words(CODE + 0x100, 8 << 60 | ROOT >> 12, HOME + 13 * 4, 1 << 11, (1 << 54) - 1, 0x1f, kind="Q")
    entries = {ROOT + 8: pte(RAM, R | W | X | A | D), ROOT + 16: pte(MID, 0), ROOT + 511 * 8: pte(RAM, R | W | X | G | A | D),
               MID: pte(LOW, 0), MID + 24: pte(RAM + 0x200000, R | U | A), LOW + 40: pte(DATA, R | W | A | D),
               LOW + 48: pte(DATA + 0x1000, R | W | A | D)}
    for at, value in entries.items():
        words(at, value, kind="Q")
    memory[DATA - RAM:DATA - RAM + len(TEXT)] = TEXT
    return bytes(memory)


def write():
    """The arguments that load it."""
    with tempfile.NamedTemporaryFile(prefix="lyre-guest-", delete=False) as f:
        f.write(image())
    return f.name, ["-m", "64M", "-device", f"loader,file={f.name},addr={RAM:#x},force-raw=on"]


def settle(qmp):
    """Runs it until it stays where it shall, and stops it."""
    qmp.call("cont")
    for _ in range(6000):
        if qmp.hmp("p/x $pc") == f"{HOME + 13 * 4:#x}\n":
            break
    qmp.call("stop")
    assert qmp.hmp("p/x $pc") == f"{HOME + 13 * 4:#x}\n", qmp.hmp("info registers")


def forget(path):
    os.unlink(path)
