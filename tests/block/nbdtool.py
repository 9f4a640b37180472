# SPDX-License-Identifier: MIT
"""What the scripts that test NBD share: servers that are started, found ready,
and stopped; a folder of their own; cases that are counted."""
import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.environ.get("LYRE_BUILD", "build")
SRC = os.environ.get("LYRE_SRC", ".")
LYRE = os.path.join(BUILD, "lyre-nbd")
DIR = tempfile.mkdtemp(prefix="lyre-nbd-")
RUNNING = []
NAMES = [0]


def at(name):
    return os.path.join(DIR, name)


def fresh(suffix=""):
    NAMES[0] += 1
    return at(f"n{NAMES[0]}{suffix}")


def run(*args, timeout=30, **kw):
    """Status, standard output, errors."""
    p = subprocess.run(args, capture_output=True, timeout=timeout, **kw)
    return p.returncode, p.stdout.decode(errors="replace"), p.stderr.decode(errors="replace")


def ok(*args, **kw):
    status, out, errs = run(*args, **kw)
    assert status == 0, f"{' '.join(args)}: {status}\n{out}{errs}"
    return out


def fails(words, *args, **kw):
    status, out, errs = run(*args, **kw)
    assert status != 0, f"{' '.join(args)} went well: {out}"
    assert words in errs + out, f"{' '.join(args)}: no '{words}' in: {errs}{out}"
    return errs


def wait_for(cond, what, seconds=60):
    end = time.monotonic() + seconds
    while not cond():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.01)


def listens(path):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(path)
        return True
    except OSError:
        return False
    finally:
        s.close()


class Server:
    """A server process at a unix socket; a context manager."""

    def __init__(self, *args, sock=None, ready=None, **kw):
        self.sock = sock or fresh(".sock")
        self.log = fresh(".log")
        with open(self.log, "wb") as f:
            self.p = subprocess.Popen([a.replace("SOCK", self.sock) for a in args], stdin=subprocess.DEVNULL, stdout=f,
                                      stderr=subprocess.STDOUT, **kw)
        RUNNING.append(self.p)
        # The file appears with bind(); a probe by connect() would be the one client of some servers.
        wait_for(ready or (lambda: self.p.poll() is not None or self.bound()), "the server", 15)
        assert self.p.poll() is None, f"{args}: ended: {self.said()}"

    def bound(self):
        with open("/proc/net/unix", encoding="ascii", errors="replace") as f:
            return any(line.split()[3] == "00010000" for line in f if line.rstrip().endswith(" " + self.sock))

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self, sig=signal.SIGTERM):
        if self.p.poll() is None:
            self.p.send_signal(sig)
        status = self.p.wait(60)
        if self.p in RUNNING:
            RUNNING.remove(self.p)
        return status

    def uri(self, export="", scheme="nbd+unix"):
        return f"{scheme}:///{export}?socket={self.sock}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def lyre(*args, **kw):
    return Server(LYRE, "-k", "SOCK", *args, **kw)


def qemu(*args, **kw):
    return Server("qemu-nbd", "-k", "SOCK", *args, **kw)


def nbdkit(*args, **kw):
    return Server("nbdkit", "-f", "-U", "SOCK", *args, **kw)


def image(size, name=None, holes=True, seed=1):
    """A raw file with data and holes."""
    path = name or fresh(".raw")
    state = seed
    with open(path, "wb") as f:
        f.truncate(size)
        for off in range(0, size, 65536):
            state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
            if holes and state >> 62 == 0:
                continue
            f.seek(off)
            f.write((state.to_bytes(8, "little") * 8192)[:min(65536, size - off)])
    return path


def same(a, b):
    with open(a, "rb") as f, open(b, "rb") as g:
        return f.read() == g.read()


@atexit.register
def clean():
    for p in RUNNING:
        if p.poll() is None:
            p.kill()
    shutil.rmtree(DIR, ignore_errors=True)


def need(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        print(f"skipped: {', '.join(missing)} are not installed (libnbd-bin, nbdkit, qemu-utils, gnutls-bin)")
        sys.exit(77)


class Skip(Exception):
    """The host or the build lacks something for this case."""


def main(cases):
    names = sys.argv[1:]
    passed = failed = 0
    for case in cases:
        if names and case.__name__ not in names:
            continue
        try:
            case()
            passed += 1
        except Skip as e:
            print(f"{case.__name__}: not run: {e}")
        except (AssertionError, subprocess.TimeoutExpired, OSError) as e:
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {case.__name__}: {e}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)
