# SPDX-License-Identifier: MIT
"""Runs one program within a time limit and measures it from outside."""
import os
import subprocess
import threading
import time


class Run:
    """What came of it: status (None: stopped by the limit), text, CPU and wall seconds."""

    def __init__(self, argv, timeout, log=None):
        self.argv, self.timeout = argv, timeout
        self.log = log or os.devnull
        self.text, self.status = "", None
        self.cpu = self.wall = 0.0
        self.rss_mib = 0.0
        self._run()

    def _run(self):
        start = time.monotonic()
        path = self.log if self.log != os.devnull else None
        with (open(path, "w+b") if path else TempLog()) as out:
            try:
                p = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=subprocess.STDOUT)
            except OSError as e:
                self.status, self.text = 127, str(e)
                return
            late = threading.Event()

            def stop():
                late.set()
                p.kill()

            timer = threading.Timer(self.timeout, stop)
            timer.start()
            try:
                _, status, usage = os.wait4(p.pid, 0)
            finally:
                timer.cancel()
            p.returncode = os.waitstatus_to_exitcode(status)
            self.wall = time.monotonic() - start
            self.cpu = usage.ru_utime + usage.ru_stime
            self.rss_mib = usage.ru_maxrss / 1024
            self.status = None if late.is_set() else p.returncode
            out.seek(0)
            self.text = out.read().decode("utf-8", "replace")

    def why_bad(self):
        """Why this run does not count, or None."""
        if self.status is None:
            return f"stopped after {self.timeout:g} s"
        if self.status < 0:
            return f"died of signal {-self.status}"
        if self.status > 0:
            return f"exit status {self.status}: {last_line(self.text)}"
        return None


def last_line(text):
    lines = [s.strip() for s in text.splitlines() if s.strip()]
    return lines[-1][:120] if lines else "no output"


def TempLog():
    import tempfile
    return tempfile.TemporaryFile()
