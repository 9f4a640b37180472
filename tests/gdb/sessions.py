#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sessions of real gdb with the stub, as people have them. A session is gdb's
commands and what its output has to show, in that order. Arguments: the engines (jit)."""
import os
import re
import socket
import subprocess
import sys
import tempfile

from rig import BUILD, GDB, Guest, Machine, run, skip

if not GDB:
    skip("gdb-multiarch is not installed")
folder = tempfile.TemporaryDirectory(prefix="lyre-gdb-")
guest = Guest(folder.name)


def session(m, commands, *shows, attach="target remote", elf=None):
    """
    Commands, one a line; regular expressions that the output has in that order.
    For Linux programs gdb steps by breakpoints, and knows nothing of sret: this is no such program.
    """
    m.connect().close()                     # it listens
    path = os.path.join(m.folder, "script")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"set confirm off\nset pagination off\nset width 0\nset osabi none\n{attach} {m.path}\n")
        f.write("".join(line.strip() + "\n" for line in commands.strip().split("\n")))
    p = subprocess.run([GDB, "-nx", "-q", "-batch", "-x", path, elf or guest.elf], capture_output=True, text=True, timeout=180,
                       stdin=subprocess.DEVNULL)
    text, at = p.stdout + p.stderr, 0
    for want in shows:
        found = re.compile(want).search(text, at)
        assert found, f"no '{want}' after:\n{text[:at]}\n-- in:\n{text[at:]}"
        at = found.end()
    return text


def before_boot(engine):
    """Breakpoints set when nothing has run; arguments, frames, finish, a call by hand."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            break ready
            break leaf
            continue
            backtrace
            continue
            info args
            backtrace
            finish
            print add(40, 2)
            print $_
            print real
            print bytes[0]
            info registers pc priv mstatus
            delete
            tbreak turn
            continue
            kill
            """, r"Breakpoint 1, ready \(\)", r"#0 +ready \(\)", r"#1 .* in main \(\)", r"Breakpoint 2, leaf \(n=",
                r"n = 0", "#0 +leaf", r"#1 .* middle", r"#2 .* round_of_all", r"#3 .* main", r"Value returned is \$1 = 1",
                r"\$\d+ = 42", r"= 1.5", "prv:3 .Machine", "SD:1", r"Temporary breakpoint 3, turn", "killed")
        assert m.ends() == 0


def watching(engine):
    with Machine(guest, engine=engine) as m:
        session(m, """
            watch watched
            continue
            continue
            delete
            rwatch watched
            continue
            delete
            awatch watched
            continue
            continue
            delete
            watch -l bytes[4092]
            continue
            backtrace 1
            delete
            tbreak round_of_all if n == 20
            continue
            print n
            """, r"Hardware watchpoint 1: watched", r"Old value = 0\s+New value = 1", "round_of_all", r"Old value = 1\s+New value = 2",
                r"Hardware read watchpoint 2: watched", r"Hardware read watchpoint 2: watched\s+Value = \d+",
                r"Hardware access", r"Old value = 2\s+New value = 3", r"access .read/write. watchpoint 3: watched\s+Value = 3",
                r"Hardware watchpoint 4: -location bytes.4092.\s+Old value = 2", "#0 .*misaligned", "Temporary breakpoint 5, round_of_all",
                r"\$1 = 20")


def exceptions(engine):
    """The frames behind an exception; steps over sret and wfi; the way back by finish."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            break ready
            continue
            set variable mode = 1
            break on_trap
            continue
            backtrace
            print/x cause
            print epc == (unsigned long)fault_here
            finish
            delete
            break wait_here
            set variable mode = 2
            continue
            x/i $pc
            stepi
            x/i $pc
            stepi
            x/i $pc
            delete
            break on_trap
            continue
            print cause >> 63
            delete
            set variable mode = 3
            tbreak sret_here
            continue
            x/i $pc
            print $priv
            stepi
            x/i $pc
            print $priv
            info registers satp
            """, r"Breakpoint 2, on_trap", r"#0 +on_trap", r"#1 .*<signal handler called>|#1 .* trap_entry", r"fault_here|faults", "main",
                r"\$1 = 0x5", r"\$2 = 1", r"<signal handler called>",
                r"Breakpoint 3, .*wait_here|Breakpoint 3, .*waits", r"=> .*wfi", r"=> .*<(waits|wait_here)\+4>:\s+nop", r"=> .*<(waits|wait_here)\+8>:\s+ret",
                r"Breakpoint 4, on_trap", r"\$3 = 1",
                r"Temporary breakpoint 5, .*sret_here", r"=> .*sret", r"\$4 = 3", r"=> .*<supervisor>", r"\$5 = 1", "satp +0x8")


def threads(engine):
    with Machine(guest, cpus=4, engine=engine) as m:
        session(m, """
            break ready
            continue
            info threads
            thread 3
            backtrace 1
            tbreak beat_here
            continue
            print $_thread != 1
            thread 2
            set scheduler-locking on
            print $mhartid
            set variable $before = beats[2]
            set variable $goal = beats[1] + 3
            while beats[1] < $goal
              stepi 10
            end
            print beats[1] >= $goal && beats[2] == $before
            set scheduler-locking off
            thread apply all print $mhartid
            """, r"Breakpoint 1, ready", r"\* 1 +Thread 1.1 \"CPU#0\" .*ready", r"Thread 1.2 \"CPU#1\"", r"Thread 1.4 \"CPU#3\"", "Switching to thread 3",
                "#0 ", r"hit Temporary breakpoint 2", r"= 1", "Switching to thread 2", r"\$\d+ = 1\b", r"\$\d+ = 1\b", r"Thread 4 .*\s+.*= 3", r"Thread 1 .*\s+.*= 0")


def changes(engine):
    """Registers and code changed; the guest does what they say now."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            break ready
            continue
            print add(1, 2)
            set variable *(unsigned int *)add = 0x82804529
            print add(1, 2)
            set variable $s1 = 0x1234
            info registers s1
            set variable watched = 77
            print load()
            set variable real = 2.25
            tbreak store
            continue
            set variable $a0 = 99
            finish
            print watched
            print $fcsr
            set variable $ft3 = 1.25
            print $ft3
            """, r"\$1 = 3", r"\$2 = 10", r"s1 +0x1234", r"\$\d+ = 77", "store", r"\$\d+ = 99", r"FRM:0|= \d+|\$\d+ =", r"double = 1.25")


def again(engine):
    """Detached, the guest runs; attached again; the debugger killed, attached again; killed."""
    with Machine(guest, engine=engine) as m:
        session(m, "break leaf\ncontinue\nprint counter\ndetach", "Breakpoint 1, leaf", r"\$1 = 1000", "detached")
        text = session(m, "print counter > 1000\nprint $pc > 0x80001000\nwatch watched\ncontinue\ndetach", r"\$1 = 1", r"\$2 = 1", "New value", "detached")
        assert "Breakpoint" not in text
        session(m, "info threads\nbreak turn\ncontinue\ncontinue\ndetach\nattach 1\nprint counter > 1000\nkill", "Breakpoint 1, turn", "Breakpoint 1, turn",
                "detached", r"\$1 = 1", "killed", attach="target extended-remote")
        assert m.ends() == 0


def physical(engine):
    """A variable seen at whatever address it is written; the address exists through page tables only."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            break ready
            continue
            set variable mode = 3
            tbreak supervisor
            continue
            maintenance packet Qqemu.PhyMemMode:1
            watch -l watched
            continue
            continue
            """, "Breakpoint 1, ready", "Temporary breakpoint 2, supervisor", 'received: "OK"', "Hardware watchpoint 3", "New value = 85", "New value = 102")


def device_stores(engine):
    """A device stores to a variable: gdb stops, shows what changed, and the user reads who it was."""
    with Machine(guest, "-device", "virtio-rng-device", engine=engine) as m:
        text = session(m, """
            break ready
            continue
            set variable mode = 5
            delete
            watch *(unsigned long *)random
            continue
            backtrace
            delete
            tbreak random_in
            continue
            print random[0] != random[1] || random[1] != random[2]
            monitor pwatch &random 64
            detach
            """, "Breakpoint 1, ready", "Hardware watchpoint 2", r"Old value = 0\s+New value = [1-9]",
                "#0", "Temporary breakpoint 3, random_in", r"= 1", "detached")
        assert f"a device stored 64 bytes at physical {guest['random']:#x}" in text and "pwatch ADDRESS" in text      # on gdb's stderr


def rewriting(engine):
    """A breakpoint in code that the guest writes each time before it runs it."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            break *(unsigned long)rewritten
            break ready
            continue
            set variable mode = 6
            delete 2
            continue
            x/2i $pc
            stepi
            print $a0
            continue
            stepi
            print $a0
            continue
            stepi
            print $a0
            print sum
            """, "Breakpoint 2, ready", "Breakpoint 1, ", r"li\s+a0,0\s+.*ret", r"\$1 = 0", "Breakpoint 1, ", r"\$2 = 1", "Breakpoint 1, ",
                r"\$3 = 2", r"\$4 = 1")


def loaded(engine):
    """The program comes from gdb (binary packets), over what is there; then it runs from its start, and again."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            set variable counter = 5
            set variable *(unsigned int *)add = 0
            load
            break ready
            continue
            print add(40, 2)
            info mem
            compare-sections .text
            set $pc = _start
            continue
            print counter
            kill
            """, "Loading section .text", "Transfer rate", "Breakpoint 1, ready", r"= 42", "rom|ro ", "matched", "Breakpoint 1, ready", r"= \d+", "killed")


def refused(engine):
    """What is not there is refused in words, and the session goes on."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            python exec("def t(line):\\n try: gdb.execute(line)\\n except gdb.error as e: print(e)")
            break ready
            continue
            python t("reverse-stepi")
            python t("thread 2")
            python t("monitor no-such-command")
            python t("monitor gdbserver none")
            python t("catch syscall")
            print $no_such_register
            python t("print *(int *)0x123456789a")
            python t("set variable *(int *)0x123456789a = 1")
            print add(2, 3)
            """, "Breakpoint 1, ready", "does not support", "Invalid|Unknown thread", "void",
                "Cannot access memory at address 0x123456789a", "Cannot access memory at address 0x123456789a", r"\$\d = 5", attach="target extended-remote")


def non_stop(engine):
    """gdb is told that there is no non-stop mode, and says so."""
    with Machine(guest, engine=engine) as m:
        session(m, "break ready", "Non-stop mode requested, but remote does not support non-stop", attach="set non-stop on\ntarget remote")
        session(m, "break ready\ncontinue", "Breakpoint 1, ready")


def launcher(engine):
    """`lyre gdb`: with a program, with files that have no symbols, and where nothing listens."""
    def lyre_gdb(*args):
        return subprocess.run([os.path.join(BUILD, "lyre"), "gdb", "--gdb", GDB, *args], capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
    with Machine(guest, engine=engine) as m:
        m.connect().close()
        p = lyre_gdb("--at", m.path, guest.elf, "--", "-nx", "-batch", "-ex", "break leaf", "-ex", "continue", "-ex", "info symbol $pc", "-ex", "kill")
        assert "Breakpoint 1, leaf" in p.stdout and "leaf in section .text" in p.stdout and "nothing listens" not in p.stderr, p
        assert m.ends() == 0
    bad = os.path.join(folder.name, "Image")
    with open(bad, "wb") as f:
        f.write(b"MZ" + bytes(100))
    p = lyre_gdb("--explain", bad)
    assert p.returncode == 1 and "has no symbols" in p.stderr and "vmlinux" in p.stderr, p
    p = lyre_gdb("--at", os.path.join(folder.name, "none"), guest.elf, "--", "-nx", "-batch")
    assert "nothing listens at" in p.stderr and "-gdb unix:" in p.stderr, p
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = str(s.getsockname()[1])
        taken = lyre_gdb("--at", port, "--", "-nx", "-batch", "-iex", "set tcp auto-retry off", "-iex", "set remotetimeout 1")
    p = lyre_gdb("--at", port, "--", "-nx", "-batch", "-iex", "set tcp auto-retry off")
    assert "nothing listens" not in taken.stderr and f"nothing listens at port {port} yet" in p.stderr and f"-gdb tcp::{port}" in p.stderr, (p, taken)


def many(engine):
    """Several breakpoints on one address, with conditions and counts; 200 elsewhere."""
    with Machine(guest, engine=engine) as m:
        session(m, """
            break turn
            break turn if counter == 2005
            hbreak turn
            info breakpoints
            continue
            delete 1
            delete 3
            set $n = 0
            while $n < 200
              eval "break *0x%lx", 0xffffffff80000000 + 64 * $n
              set $n = $n + 1
            end
            continue
            print counter
            delete
            tbreak leaf
            continue
            """, "Breakpoint 1", "Breakpoint 2", "Hardware assisted breakpoint 3", r"Breakpoint (1, )?.*turn", "Breakpoint 203|Breakpoint 2, turn", r"= 2005",
                "Temporary breakpoint .*leaf")


cases = [(f"{f.__name__} {e}", lambda f=f, e=e: f(e)) for f in (before_boot, watching, exceptions, threads, changes, again, physical,
                                                                device_stores, rewriting, loaded, refused, non_stop, launcher, many)
         for e in (sys.argv[1:] or ["jit"])]
sys.exit(run(cases))
