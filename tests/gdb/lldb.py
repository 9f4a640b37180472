#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sessions of real lldb with the stub. lldb knows RISC-V's registers by the target description alone (before release 16)."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from rig import Guest, Machine, run, skip

LLDB = next((name for name in ("lldb", *(f"lldb-{n}" for n in range(30, 13, -1))) if shutil.which(name)), None)
if not LLDB:
    skip("lldb is not installed")
folder = tempfile.TemporaryDirectory(prefix="lyre-gdb-")
guest = Guest(folder.name)


def session(m, commands, *shows, elf=True):
    m.connect().close()                     # it listens
    path = os.path.join(m.folder, "script")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"process connect unix-connect://{m.path}\n" + "".join(line.strip() + "\n" for line in commands.strip().split("\n")))
    p = subprocess.run([LLDB, "-b", "--no-lldbinit", "-s", path, *([guest.elf] if elf else [])], capture_output=True, text=True,
                       timeout=180, stdin=subprocess.DEVNULL)
    text, at = p.stdout + p.stderr, 0
    for want in shows:
        found = re.compile(want, re.S).search(text, at)
        assert found, f"no '{want}' after:\n{text[:at]}\n-- in:\n{text[at:]}"
        at = found.end()
    return text


def looking():
    """Stops, frames, registers, memory, steps, a watchpoint, expressions, memory's areas."""
    with Machine(guest, cpus=2) as m:
        text = session(m, """
            breakpoint set -n leaf
            process continue
            thread list
            bt
            register read pc sp mhartid priv
            memory write &bytes 0x41 0x42
            memory read -c 4 &bytes
            thread step-inst
            thread step-over
            thread step-out
            watchpoint set variable watched
            process continue
            register write s1 0x55
            register read s1
            expression counter + 1
            memory region 0x80001000
            memory region 0x40
            breakpoint delete -f
            watchpoint delete -f
            process detach
            """, "stop reason = signal SIGTRAP", "frame #0: 0x0+1000", r"Breakpoint 1: where = guest.elf`leaf", "breakpoint 1.1", r"leaf\(n=0\)",
                r"thread #1: tid = 0x0*1,.*leaf.*thread #2: tid = 0x0*2", r"frame #0.*leaf.*frame #1.*middle.*frame #2.*round_of_all", r"pc = 0x0+8000",
                r"mhartid = 0x0+\b", "priv = 0x0+3", "41 42", "instruction step", "step over", "step out.*middle", "Watchpoint created",
                "watchpoint 1", "s1 = 0x0+55", r"\$\d+ = 1001|\$\d+ = 2001", r"80000000-0x0+8\w+\) rwx|8000\w+-0x\w+\) rwx", r"-0x0*1000\) ---", "detached")
        assert "Assertion" not in text, text


def no_program():
    """The machine itself says what it is."""
    with Machine(guest) as m:
        session(m, """
            register read pc
            disassemble -s 0x1000 -c 2
            process kill
            """, "pc = 0x0+1000", r"auipc\s+t0, 0", elf=False)


sys.exit(run([(f.__name__, f) for f in (looking, no_program)]))
