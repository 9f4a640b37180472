#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The emulator's command line from outside: help, errors, exit status, signals,
logs, pidfile. Each case is a function; it raises AssertionError to fail."""
import os
import signal
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("LYRE_BUILD", "build")
SRC = os.environ.get("LYRE_SRC", ".")
EMU = os.path.join(BUILD, "lyre-system-riscv64")
DIR = tempfile.mkdtemp(prefix="lyre-cmdline-")
# wfi; j back to it: a guest that does nothing, for ever
IDLE = os.path.join(DIR, "idle.bin")
with open(IDLE, "wb") as f:
    f.write(bytes.fromhex("73005010 6ff0dfff"))
RUN_IDLE = ["-M", "virt", "-m", "64", "-bios", IDLE, "-display", "none"]


def emu(*args, program=EMU, stdin=b"", timeout=20):
    p = subprocess.run([program, *args], input=stdin, capture_output=True, timeout=timeout)
    return p.returncode, p.stdout.decode(), p.stderr.decode()


def expect(what, got):
    assert what in got, f"no '{what}' in: {got}"


def wrong(args, *words):
    """The command line is refused with status 1, in words that hold these, and nothing on stdout."""
    status, out, errs = emu(*args)
    assert status == 1, f"{args}: status {status}, {errs}"
    assert out == "", f"{args}: stdout: {out}"
    assert errs.startswith("lyre-system-riscv64: "), errs
    for w in words:
        expect(w, errs)


def wait_for(cond, what, seconds=10):
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


def errors():
    wrong(["-M", "vrit"], "'vrit'", "'virt'")
    wrong(["-M", "virt,aclnt=on", "-bios", "none"], "aclnt")
    wrong(["-cpu", "rv46"], "'rv46'", "'rv64'")
    wrong(["-cpu", "rv64,zbaa=on"], "zbaa", "zba")
    wrong(["-accel", "xen"], "xen", "tcg")
    wrong(["-smp", "99999"], "4096")
    wrong(["-smp", "4000"], "4000")
    wrong(["-kernel", "/nonexistent/Image"], "/nonexistent/Image", "No such file")
    wrong(["-bios", "/nonexistent/fw"], "/nonexistent/fw", "No such file")
    wrong(["-bios", IDLE, "-dtb", "/nonexistent/dtb"], "/nonexistent/dtb")
    wrong(["-kernel", "/"], "directory")
    wrong(["-device", "virtio-nett"], "virtio-nett")
    wrong(["-serial", "chardev:nope"], "'nope'")
    wrong(["-serial", "stdio", "-serial", "stdio"], "mux=on")
    wrong(["-chardev", "sockte,id=x"], "'socket'")
    wrong(["-d", "gest_errors"], "'guest_errors'")
    wrong(["-D", "/nonexistent/log"], "/nonexistent/log", "No such file")
    wrong(["-trace", "no_such_point"], "no_such_point")
    wrong(["-dfilter", "9..1"], "9..1")
    wrong(["-rtc", "base=tomorrow"], "tomorrow")
    wrong(["-drive", "file=x"], "-drive", "not available")
    wrong(["-pidfile", "/nonexistent/pid", "-bios", "none", "-display", "none"], "/nonexistent/pid")



def memory_too_large():
    """More than the host can map: an error, not a crash."""
    wrong(["-m", "8388608T", "-bios", "none", "-display", "none"], "lyre")


def signals():
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        pid = os.path.join(DIR, f"pid{sig}")
        p = subprocess.Popen([EMU, *RUN_IDLE, "-pidfile", pid], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            wait_for(lambda: os.path.exists(pid), "pidfile")
            with open(pid) as f:
                assert int(f.read()) == p.pid
            time.sleep(0.2)         # the machine runs a little after its pidfile is there
            p.send_signal(sig)
            _, errs = p.communicate(timeout=10)
            assert p.returncode == 0, f"signal {sig}: status {p.returncode} {errs}"
            expect(f"signal {int(sig)}", errs.decode())
            assert not os.path.exists(pid), "pidfile is still there"
        finally:
            p.kill()


def escape_quits():
    p = subprocess.Popen([EMU, "-M", "virt", "-m", "64", "-bios", IDLE, "-nographic"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, errs = p.communicate(b"\x01h\x01x", timeout=10)
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
        assert p.wait(timeout=10) == 0
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
        p.communicate(timeout=10)


CASES = [help_texts, names, errors, memory_too_large, signals, escape_quits, full_pipe, log_file]


def main():
    passed = failed = 0
    for case in CASES:
        if sys.argv[1:] and case.__name__ not in sys.argv[1:]:
            continue
        try:
            case()
            passed += 1
        except (AssertionError, subprocess.TimeoutExpired, OSError) as e:
            print(f"FAILED {case.__name__}: {e}")
            failed += 1
    subprocess.run(["rm", "-rf", DIR], check=False)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
