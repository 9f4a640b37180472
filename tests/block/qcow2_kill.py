#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qcow2 when the program that writes it is killed: lyre-io gets random writes,
zeroes, discards and flushes and is killed in their midst; then qemu-img finds
leaks at worst, what was flushed is there, and no place shows another's bytes,
with lazy refcounts, too.

    qcow2_kill.py [CASE...]      ROUNDS=N for more, SEED=N for others"""
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import IMG, IO, QEMU_IMG, Bench, expect, run, run_cases  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
UNIT, UNITS = 16 * KIB, 200
KINDS = ["lazy_refcounts=on", "", "lazy_refcounts=on,cluster_size=4k", "cluster_size=4k", "extended_l2=on", "compat=0.10"]
ROUNDS = int(os.environ.get("ROUNDS", "6"))
SEED = int(os.environ.get("SEED", "1"))


class Io:
    """lyre-io and pipes to it."""

    def __init__(self, b, name):
        self.p = subprocess.Popen([IO, "-d", "unmap", "-f", "qcow2", name], cwd=b.dir, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        os.set_blocking(self.p.stdout.fileno(), False)
        self.sent = self.done = 0

    def say(self, command):
        self.p.stdin.write(command.encode() + b"\n")
        self.sent += 1

    def look(self):
        """How many commands have been answered."""
        self.done += (self.p.stdout.read() or b"").count(b"lyre-io> ")
        return self.done - 1

    def wait(self):
        end = time.time() + 30
        while self.look() < self.sent:
            expect(time.time() < end and self.p.poll() is None, "lyre-io does not answer")
            time.sleep(0.001)

    def kill(self):
        self.p.kill()
        self.p.wait()
        self.look()


def make(b, options):
    r = run(IMG, "create", "-q", "-f", "qcow2", *(["-o", options] if options else []), "a", UNIT * UNITS, cwd=b.dir)
    expect(r.status == 0, str(r))


def judged(b, what):
    """The image's bytes after the crash, when QEMU has found nothing worse than leaks."""
    image = b.read("a")
    b.write("copy", (0, image))
    dirty = image[7] > 2 and image[79] & 1      # then refcounts are to be made anew
    r = run(QEMU_IMG, "check", "-r", "all" if dirty else "leaks", "copy", cwd=b.dir)
    expect(r.status == 0, f"{what}: {r}")
    r = run(IMG, "convert", "-f", "qcow2", "-O", "raw", "a", "raw", cwd=b.dir)
    expect(r.status == 0, f"{what}: {r}")
    data = b.read("raw")
    r = run(QEMU_IMG, "convert", "-f", "qcow2", "-O", "raw", "copy", "raw2", cwd=b.dir)
    expect(r.status == 0 and b.read("raw2") == data, f"{what}: qemu-img reads it differently after its repair {r}")
    # ours opens it for writing: what is dirty is mended, and all is well then
    r = run(IO, "-f", "qcow2", "-c", "write 0 512", "a", cwd=b.dir)
    expect(r.status == 0, f"{what}: {r}")
    r = run(QEMU_IMG, "check", "a", cwd=b.dir)
    expect(r.status in (0, 3), f"{what}: {r}")
    return data


def reuse():
    """A cluster that was given back is nobody else's while the disk still names it."""
    for options in ("lazy_refcounts=on", ""):
        for gone in ("write -z -u 0 64k", "write -z 0 64k", "discard 0 64k"):
            with Bench("kill") as b:
                make(b, options)
                io = Io(b, "a")
                for c in ("write -P 170 0 64k", "flush", gone, "write -P 187 2M 64k"):
                    io.say(c)
                io.wait()
                io.kill()
                data = judged(b, f"{options} {gone}")
                expect(set(data[:65536]) <= {0, 170}, f"{options} {gone}: place 0 holds {set(data[:65536])}")


def random_kills():
    for k in range(ROUNDS):
        options = KINDS[k % len(KINDS)]
        r = random.Random(SEED * 1000 + k)
        with Bench("kill") as b:
            make(b, options)
            io = Io(b, "a")
            may = [{0} for _ in range(UNITS)]       # what each unit may hold: since the last flush that has ended
            now = [0] * UNITS
            log = []
            for i in range(r.randrange(50, 400)):
                u = r.randrange(UNITS)
                what = r.randrange(10)
                if what < 6:
                    now[u] = r.randrange(1, 256)
                    io.say(f"write -q -P {now[u]} {u * UNIT} {UNIT}")
                elif what < 8:
                    now[u] = 0
                    io.say(f"write -q -z {r.choice(('', '-u '))}{u * UNIT} {UNIT}")
                elif what == 8:
                    may[u].add(0)
                    io.say(f"discard -q {u * UNIT} {UNIT}")
                    if r.randrange(2):              # the model does not know what it is now
                        now[u] = 0
                        io.say(f"write -q -z {u * UNIT} {UNIT}")
                    else:
                        now[u] = r.randrange(1, 256)
                        io.say(f"write -q -P {now[u]} {u * UNIT} {UNIT}")
                else:
                    io.say("flush")
                    log.append((io.sent, list(now)))
                may[u].add(now[u])
                log.append((io.sent, u, now[u]))
            time.sleep(r.random() * 0.05)
            io.kill()
            done = io.look()
            flushed = max((i for i, e in enumerate(log) if isinstance(e[1], list) and e[0] <= done), default=-1)
            if flushed >= 0:
                for u in range(UNITS):
                    may[u] = {log[flushed][1][u]}
                for e in log[flushed:]:
                    if not isinstance(e[1], list):
                        may[e[1]] |= {e[2], 0}
            data = judged(b, f"round {k}, {options}")
            for u in range(UNITS):
                got = set(data[u * UNIT:(u + 1) * UNIT])
                expect(got <= may[u] | {0} if len(may[u]) > 1 else got == may[u],
                       f"round {k}, {options}: unit {u} holds {got}, may hold {may[u]}")


if __name__ == "__main__":
    if not QEMU_IMG:
        print("qemu-img is not installed")
        sys.exit(77)
    sys.exit(run_cases([reuse, random_kills], sys.argv[1:]))
