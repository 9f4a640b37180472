# SPDX-License-Identifier: MIT
"""One emulator process with its console in our hands: wait for text, type, measure.

The console is a pseudo-terminal (what a user has) or a pair of pipes (what a
script has). The console's text is kept whole; each wait looks behind what the
wait before it found. An emulator never outlives the test, however that ends.
"""
import ctypes
import os
import pty
import re
import select
import selectors
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1                    # prctl(2)
LIBC = ctypes.CDLL(None)


def dies_with_us():
    """For preexec_fn: the child is killed when we end, even by SIGKILL."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_by_signals():
    """SIGTERM and SIGHUP end the test as ctrl-C does: `finally` clauses run, files are put away."""
    def end(number, _):
        sys.exit(128 + number)
    for s in signal.SIGTERM, signal.SIGHUP:
        signal.signal(s, end)


class GuestError(Exception):
    """What did not happen, in one line."""


class Guest:
    # what no healthy guest says; looked for in everything it prints
    TROUBLE = re.compile(r"Kernel panic|Oops|Internal error|BUG:|soft lockup|"
                         r"rcu_\w+ (self-)?detected stall|detected stalls|Unable to handle kernel|"
                         r"segfault|SIGSEGV|unhandled signal|sbi_trap_error")

    def __init__(self, argv, console="pty"):
        self.argv = argv
        self.text, self.seen = "", 0
        self.status = None              # exit status; minus the signal if one killed it
        self.cpu = self.wall = self.rss_mib = 0.0
        self.marks = []                 # (seconds, what was waited for)
        self.start = time.monotonic()
        if console == "pty":
            self.out, slave = pty.openpty()
            self.into = self.out
            ours = [slave]
            streams = {"stdin": slave, "stdout": slave, "stderr": slave}
        else:
            child_in, self.into = os.pipe()
            self.out, child_out = os.pipe()
            ours = [child_in, child_out]
            streams = {"stdin": child_in, "stdout": child_out, "stderr": child_out}
        try:
            self.proc = subprocess.Popen(argv, start_new_session=True, preexec_fn=dies_with_us, **streams)
        except OSError as e:
            raise GuestError(f"cannot start {argv[0]}: {e.strerror}") from e
        finally:
            for fd in ours:
                os.close(fd)
        self.open = True

    def now(self):
        return time.monotonic() - self.start

    def _reap(self, block=False):
        """Has it ended? Takes its status and use of resources once."""
        if self.status is not None:
            return True
        pid, status, usage = os.wait4(self.proc.pid, 0 if block else os.WNOHANG)
        if pid == 0:
            return False
        self.status = self.proc.returncode = os.waitstatus_to_exitcode(status)
        self.cpu = usage.ru_utime + usage.ru_stime
        self.rss_mib = usage.ru_maxrss / 1024
        self.wall = self.now()
        return True

    def _read(self, seconds):
        """Takes what the console says within `seconds`."""
        if not self.open:
            time.sleep(min(seconds, 0.02))
            return
        ready, _, _ = select.select([self.out], [], [], seconds)
        if not ready:
            return
        try:
            data = os.read(self.out, 65536)
        except OSError:                 # the pty's other side is closed
            data = b""
        if data:
            self.text += data.decode("utf-8", "replace")
        else:
            self.open = False

    def _drain(self):
        """After the end: what is still in the pipe."""
        end = time.monotonic() + 1
        while self.open and time.monotonic() < end:
            before = len(self.text)
            self._read(0.05)
            if len(self.text) == before:
                break

    def wait(self, pattern, seconds):
        """Waits until the console's text matches `pattern`; returns the match."""
        end = time.monotonic() + seconds
        regex = re.compile(pattern, re.M)
        ended = False
        while True:
            m = regex.search(self.text, self.seen)
            if m:
                self.seen = m.end()
                self.marks.append((self.now(), pattern))
                return m
            if ended:
                raise GuestError(f"ended with status {self.status} before it said '{pattern}'")
            if time.monotonic() > end:
                raise GuestError(f"did not say '{pattern}' within {seconds:g} s")
            if self._reap():
                self._drain()
                ended = True
            else:
                self._read(0.05)

    def type(self, text):
        """Types as a terminal would: Enter is a carriage return."""
        data = text.replace("\n", "\r").encode()
        end = time.monotonic() + 10
        while data:
            _, ready, _ = select.select([], [self.into], [], 0.1)
            try:
                if ready:
                    data = data[os.write(self.into, data[:64]):]
            except OSError as e:
                raise GuestError(f"ended while typing to it: {e.strerror}") from e
            if time.monotonic() > end:
                raise GuestError("does not take what is typed")

    def wait_exit(self, status, seconds):
        """Waits until the process ends by itself, with this exit status."""
        end = time.monotonic() + seconds
        while not self._reap():
            self._read(0.05)
            if time.monotonic() > end:
                raise GuestError(f"still runs after {seconds:g} s, should have ended")
        self.marks.append((self.now(), f"exit {self.status}"))
        self._drain()
        if self.status != status:
            raise GuestError(f"ended with status {self.status}, not {status}")

    def cpu_now(self):
        """CPU seconds that it has used so far."""
        if self.status is not None:
            return self.cpu
        with open(f"/proc/{self.proc.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def while_reading(self, process, seconds):
        """Waits for another process (its stdout a pipe) and takes what the console says meanwhile,
        so that the guest never waits for us. `output` of the process is what it said."""
        chunks = []
        with selectors.DefaultSelector() as sel:
            end = time.monotonic() + seconds
            sel.register(process.stdout, selectors.EVENT_READ)
            while time.monotonic() < end:
                self._read(0)
                if sel.select(0.05):
                    chunk = process.stdout.buffer.read1(65536)
                    if not chunk:
                        break
                    chunks.append(chunk)
            else:
                process.kill()
                process.wait()
                raise subprocess.TimeoutExpired(process.args, seconds, b"".join(chunks))
        process.stdout.close()
        process.wait()
        process.output = b"".join(chunks).decode("utf-8", "replace")
        return process

    def check_health(self):
        m = self.TROUBLE.search(self.text)
        if m:
            line = self.text[self.text.rfind("\n", 0, m.start()) + 1:].split("\n")[0]
            raise GuestError(f"the guest complains: {line.strip()[:120]}")

    def close(self):
        """Ends the process if it still runs, and reaps it."""
        if self.status is None:
            if not self._reap():
                self.proc.kill()
                self._reap(block=True)
            self._drain()
        for fd in {self.out, self.into}:
            os.close(fd)
