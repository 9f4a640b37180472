#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The emulator's command line from outside: help, notes, exit status, signals,
logs, pidfile. Wrong lines are in wrong_lines.py. Each case is a function; it raises AssertionError to fail."""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("LYRE_BUILD", "build")
SRC = os.environ.get("LYRE_SRC", ".")
EMU = os.path.join(BUILD, "lyre-system-riscv64")
DIR = tempfile.mkdtemp(prefix="lyre-cmdline-")
# wfi; j back to it: a guest that does nothing, for ever
IDLE = os.path.join(DIR, "idle.bin")
with open(IDLE, "wb") as f:
    f.write(bytes.fromhex("73005010 6ff0dfff"))
RUN_IDLE = ["-M", "virt", "-m", "64", "-bios", IDLE, "-display", "none"]


def emu(*args, program=EMU, stdin=b"", timeout=60):
    p = subprocess.run([program, *args], input=stdin, capture_output=True, timeout=timeout)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def expect(what, got):
    assert what in got, f"no '{what}' in: {got}"


def wait_for(cond, what, seconds=60):
    end = time.monotonic() + seconds
    while not cond():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.01)


def help_texts():
    for args, words in (
            (["-help"], ["Usage: lyre-system-riscv64", "-kernel FILE"]),
            (["--version"], ["Lyre emulator version "]),
            (["-M", "help"], ["virt"]),
            (["-M", "virt,help"], ["virt"]),
            (["-cpu", "help"], ["rv64"]),
            (["-accel", "help"], ["tcg"]),
            (["-device", "help"], []),
            (["-d", "help"], ["guest_errors", "in_asm"]),
            (["-trace", "help"], ["Trace points"]),
            (["-chardev", "help"], ["stdio", "socket"]),
            (["-chardev", "socket,help"], ["server=on|off"]),
            (["-serial", "help"], ["mon:stdio"])):
        status, out, errs = emu(*args)
        assert status == 0 and errs == "", f"{args}: {status} {errs}"
        for w in words:
            expect(w, out)


def manual():
    """The manual page has each option of -help, and no others."""
    status, out, _ = emu("-help")
    assert status == 0
    listed = set()
    for line in out.split("\n"):
        if line.startswith("  -"):
            listed |= set(re.findall(r"(?:^  |, )-([\w-]+)", line))
    with open(os.path.join(SRC, "docs", "man", "lyre-system-riscv64.1")) as f:
        page = f.read().replace("\\-", "-")
    heads = set()
    for head in re.findall(r"^\.TP\n(.*)$", page, re.M):
        heads |= {name for name in re.findall(r"(?<![\w-])-([A-Za-z][\w-]*)", re.sub(r"\\f[A-Z]", "", head))}
    assert len(listed) > 30, listed
    assert listed <= heads, f"not in the manual page: {sorted(listed - heads)}"
    assert heads <= listed, f"only in the manual page: {sorted(heads - listed)}"


def names():
    other = os.path.join(DIR, "qemu-system-riscv64")
    os.symlink(os.path.abspath(EMU), other)
    status, out, _ = emu("--help", program=other)
    assert status == 0
    expect("Usage: qemu-system-riscv64", out)
    status, _, errs = emu(program=os.path.join(BUILD, "lyre"))
    assert status == 1
    expect("lyre-system-riscv64 --help", errs)
    other = os.path.join(DIR, "lyre-system-vax")
    os.symlink(os.path.abspath(EMU), other)
    status, _, errs = emu(program=other)
    assert status == 1
    expect("'vax'", errs)


def notes():
    """What a user may not expect is said, and the machine runs all the same."""
    for args, words in (
            (["-accel", "kvm:tcg"], ["no accelerator 'kvm'", "'tcg' is used"]),
            (["-serial", "null", "-serial", "file:" + os.path.join(DIR, "second")], ["no serial port number 1"]),
            (["-bios", "default"], ["no -kernel"])):
        pid = os.path.join(DIR, "pid-notes")
        p = subprocess.Popen([EMU, *RUN_IDLE, "-pidfile", pid, *args], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: os.path.exists(pid) or p.poll() is not None, "pidfile")
            time.sleep(0.2)
            assert p.poll() is None, f"{args}: it ended"
            p.terminate()
            _, errs = p.communicate(timeout=60)
            for w in ["note: ", *words]:
                expect(w, errs.decode())
        finally:
            p.kill()


def signals():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        pid = os.path.join(DIR, f"pid{sig}")
        p = subprocess.Popen([EMU, *RUN_IDLE, "-pidfile", pid], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: os.path.exists(pid), "pidfile")
            with open(pid) as f:
                assert int(f.read()) == p.pid
            p.send_signal(sig)
            _, errs = p.communicate(timeout=60)
            assert p.returncode == 0, f"signal {sig}: status {p.returncode} {errs}"
            expect(f"signal {int(sig)}", errs.decode())
            assert not os.path.exists(pid), "pidfile is still there"
        finally:
            p.kill()


def escape_quits():
    p = subprocess.Popen([EMU, "-M", "virt", "-m", "64", "-bios", IDLE, "-nographic"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, errs = p.communicate(b"\x01h\x01x", timeout=60)
        assert p.returncode == 0, f"{p.returncode} {errs}"
        expect("end the emulator", out.decode())
        expect("terminated", out.decode())
    finally:
        p.kill()


def full_pipe():
    """stdout that nobody reads, or that is closed, ends nothing and hangs nothing for ever."""
    p = subprocess.Popen([EMU, "-M", "virt", "-m", "64", "-bios", IDLE, "-nographic"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        p.stdout.close()
        p.stdin.write(b"\x01h" * 10)
        p.stdin.flush()
        time.sleep(0.3)
        assert p.poll() is None, "it ended"
        p.stdin.write(b"\x01x")
        p.stdin.flush()
        assert p.wait(timeout=60) == 0
    finally:
        p.kill()


def log_file():
    log = os.path.join(DIR, "log.%d")
    p = subprocess.Popen([EMU, *RUN_IDLE, "-d", "in_asm", "-D", log], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    path = log.replace("%d", str(p.pid))
    try:
        wait_for(lambda: os.path.exists(path) and "wfi" in open(path).read(), "the log's wfi")
    finally:
        p.terminate()
        p.communicate(timeout=60)


def log_items():
    """Each of these items has something to say of a guest that does next to nothing."""
    for item, first in (("mmu", "mmu: vCPU 0: "), ("cpu_reset", "reset"), ("exec", "exec: vCPU 0 pc 0x1000 "),
                        ("cpu", "hart 0  pc "), ("in_asm", "---- unit 0x1000 "), ("op", "---- unit 0x1000 "),
                        ("out_asm", "---- unit 0x1000 "), ("stats", "vCPU 0")):
        log = os.path.join(DIR, "log-" + item)
        p = subprocess.Popen([EMU, *RUN_IDLE, "-d", item, "-D", log], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            if item != "stats":
                wait_for(lambda: os.path.exists(log) and os.path.getsize(log) > 20, f"the log of {item}")
            else:
                time.sleep(0.5)
            p.terminate()
            p.communicate(timeout=60)
            with open(log) as f:
                lines = f.read().split("\n")
            assert any(line.startswith(first) for line in lines), f"{item}: no line begins with '{first}': {lines[:5]}"
        finally:
            p.kill()


def code_mappings():
    """No mapping is writable and executable; -perfmap names code where perf looks for it."""
    p = subprocess.Popen([EMU, *RUN_IDLE, "-perfmap"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    names = f"/tmp/perf-{p.pid}.map"
    try:
        wait_for(lambda: os.path.exists(names) and " u_80000000\n" in open(names).read(), "the unit's name")
        with open(names) as f:
            unit = next(int(line.split()[0], 16) for line in f if line.endswith(" u_80000000\n"))
        with open(f"/proc/{p.pid}/maps") as f:
            maps = [line.split() for line in f]
        assert not [m for m in maps if "w" in m[1] and "x" in m[1]]
        ours = [m for m in maps if int(m[0].split("-")[0], 16) <= unit < int(m[0].split("-")[1], 16)]
        assert len(ours) == 1 and "x" in ours[0][1], ours
        # perf takes /tmp/perf-PID.map for mappings that it calls anonymous
        assert ours[0][5].startswith("/dev/zero"), ours
    finally:
        p.terminate()
        p.communicate(timeout=60)
        if os.path.exists(names):
            os.unlink(names)


CASES = [help_texts, manual, names, notes, signals, escape_quits, full_pipe, log_file, log_items, code_mappings]


def main():
    passed = failed = 0
    for case in CASES:
        if sys.argv[1:] and case.__name__ not in sys.argv[1:]:
            continue
        try:
            case()
            passed += 1
        except (AssertionError, subprocess.TimeoutExpired, OSError) as e:
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {case.__name__}: {e}")
            failed += 1
    subprocess.run(["rm", "-rf", DIR], check=False)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
