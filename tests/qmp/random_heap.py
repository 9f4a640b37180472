# SPDX-License-Identifier: MIT
"""Does the heap of a machine grow? heap.c tells its bytes; what the translator keeps until its cache is full is not counted.

At the end of a round, with all taken away, it is the same to the byte but for some lists that grow once: so a
leak of some hundred bytes a round is seen after some minutes. Programs with sanitizers find leaks by themselves.
"""
import os
import re
import socket
import subprocess

from client import BUILD

HERE = os.path.dirname(os.path.abspath(__file__))
FIRST = 36                              # rounds before it is judged: each kind of thing has been there by then
LEAK = 100                              # bytes a round
ONCE = 8 << 10                          # what may be made late and kept: a list's next size, a thread's first job


class Heap:
    def __init__(self, folder):
        self.sizes, self.env = [], {}
        self.asks, self.theirs = socket.socketpair()
        self.asks.settimeout(60)
        lib = os.path.join(folder, "heap.so")
        config = {}
        with open(os.path.join(BUILD, "config.mk"), encoding="utf-8") as f:
            for line in f:
                k, _, v = line.partition(":=")
                config[k.strip()] = v.strip()
        if config.get("SANITIZE"):
            return
        try:
            done = subprocess.run([*config["CC"].split(), "-shared", "-fPIC", "-O1", "-pthread", "-D_GNU_SOURCE", "-o", lib, os.path.join(HERE, "heap.c")],
                                  check=False).returncode
        except OSError:
            done = 1
        if done:
            print("there is no compiler for heap.c: the heap is not weighed")
            return
        self.env = {"LD_PRELOAD": lib, "LYRE_HEAP_FD": str(self.theirs.fileno()), "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}

    def read(self):
        self.asks.sendall(b"?")
        said = b""
        while not said.endswith(b"\n"):
            more = self.asks.recv(100)
            if not more:
                raise EOFError("it has ended")
            said += more
        return int(said)

    def weigh(self, m):
        """The smallest of some readings: others may be at work. Returns what grew, as text, or None."""
        if not self.env:
            return None
        now = []
        for _ in range(5):
            held = re.search(r"heap for records +(\d+)", m.qmp.hmp("info jit"))
            now.append(self.read() - int(held[1] if held else 0))
        self.sizes.append(min(now))
        return self.grown()

    def grown(self):
        """From the least of the middle third to the least of the last."""
        n = len(self.sizes)
        if n < FIRST:
            return None
        middle, last = min(self.sizes[n // 3:2 * n // 3]), min(self.sizes[2 * n // 3:])
        if last - middle <= LEAK * (n // 3) + ONCE:
            return None
        return f"the heap has grown by {last - middle} bytes in {n // 3} rounds: {self.sizes}"
