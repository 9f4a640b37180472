#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random sequences of operations on qcow2 images, by lyre-img and lyre-io and by
qemu-img and qemu-io in turn: images that one has made are written, grown,
shrunk, committed, rebased, converted, snapshotted and amended by the other. At
the end both have to read the same bytes, which are those of a model, and to say
the same of them: info, map, check, measure and compare, to the byte.

Over cluster sizes, refcount widths, versions, subclusters, compression, lazy
refcounts, preallocation, chains of up to five images and internal snapshots.

    rand_img.py [--count N] [--seed S] [--keep] [--seconds N] [--jobs N]

A sequence that fails is made as short as it can be, and printed as a shell
script. Sequence S of a run is `rand_img.py --seed S --count 1`. What fails when
QEMU's tools do every step, and not when ours do, is theirs (7.2 writes over the
rest of a compressed cluster at times): it is printed, and not counted.
"""
import argparse
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

BUILD = os.path.abspath(os.environ.get("LYRE_BUILD", "build"))
TOOLS = {
    "lyre": (os.path.join(BUILD, "lyre-img"), os.path.join(BUILD, "lyre-io")),
    "qemu": (shutil.which("qemu-img"), shutil.which("qemu-io")),
}
KIB, MIB = 1 << 10, 1 << 20
CREATE = (
    ("cluster_size=512", 512), ("cluster_size=1k,refcount_bits=64", 1024), ("cluster_size=4k", 4 * KIB),
    ("cluster_size=4k,compat=0.10", 4 * KIB), ("cluster_size=4k,lazy_refcounts=on", 4 * KIB),
    ("cluster_size=8k,compression_type=zstd", 8 * KIB), ("cluster_size=16k,extended_l2=on", 16 * KIB),
    ("cluster_size=64k", 64 * KIB), ("cluster_size=64k,refcount_bits=1", 64 * KIB),
    ("cluster_size=64k,extended_l2=on,compression_type=zstd", 64 * KIB), ("compat=0.10", 64 * KIB),
    ("cluster_size=4k,refcount_bits=2", 4 * KIB), ("cluster_size=512,refcount_bits=4", 512),
    ("cluster_size=2k,refcount_bits=8", 2 * KIB), ("cluster_size=64k,refcount_bits=32", 64 * KIB),
    ("cluster_size=2M", 2 * MIB), ("cluster_size=256k", 256 * KIB), ("cluster_size=32k,refcount_bits=16", 32 * KIB),
    ("cluster_size=128k,compat=0.10", 128 * KIB), ("cluster_size=512k,compression_type=zstd", 512 * KIB),
    ("cluster_size=1M,extended_l2=on", MIB),
    ("cluster_size=4k,preallocation=metadata", 4 * KIB), ("cluster_size=64k,preallocation=falloc", 64 * KIB),
)


class Differs(Exception):
    """The two do not agree, or not with the model."""


def show(args):
    return " ".join(shlex.quote(a if a not in sum(TOOLS.values(), ()) else os.path.basename(a)) for a in args)


class Run:
    """One replay of a list of steps, in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.script = []
        self.chain = []             # names, the top last
        self.base_names = {}        # name -> its backing's name
        self.sizes = {}
        self.units = {}
        self.options = {}
        self.data = bytearray()     # what a guest sees on the top
        self.open = bytearray()     # 1: a discard left it open what is read
        self.snaps = {}             # of the top: name -> (data, open)
        self.touched = set()        # clusters of the top that were written to
        self.leaks = False          # QEMU has refused a snapshot, and left its tables behind
        self.number = 0

    # -- programs

    def call(self, args, good=(0,), quiet=True):
        self.script.append(show(args))
        p = subprocess.run(args, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, close_fds=False)
        if good is not None and p.returncode not in good:
            raise Differs(f"{show(args)}\nexit status {p.returncode}\n{p.stdout.decode(errors='replace')}"
                          f"{p.stderr.decode(errors='replace')}")
        return p

    def img(self, tool, *args, good=(0,)):
        return self.call([TOOLS[tool][0], *map(str, args)], good)

    def io(self, tool, commands, name=None):
        words = [TOOLS[tool][1], "-f", "qcow2", "-d", "unmap"]
        for c in commands:
            words += ["-c", c]
        p = self.call(words + [name or self.top()])
        if b"failed" in p.stdout or b"failed" in p.stderr:
            raise Differs(f"{show(words)}\n{p.stdout.decode()}{p.stderr.decode()}")

    def top(self):
        return self.chain[-1]

    def size(self):
        return len(self.data)

    def below(self, name):
        """The name of its backing image, or None."""
        return self.base_names.get(name)

    def old_version(self):
        return "compat=0.10" in self.options[self.top()]

    # -- the model

    def put(self, off, data):
        unit = self.units[self.top()]
        self.touched.update(range(off // unit, (off + len(data) + unit - 1) // unit))
        self.data[off:off + len(data)] = data
        self.open[off:off + len(data)] = bytes(len(data))

    def resize_model(self, size):
        self.data = self.data[:size].ljust(size, b"\0")
        self.open = self.open[:size].ljust(size, b"\0")

    # -- steps: each is (name, tool, numbers...); numbers are fitted to what there is

    def step(self, s):
        getattr(self, "do_" + s[0])(*s[1:])

    def do_create(self, tool, options, unit, size):
        """A new top over the old one."""
        name = f"i{self.number}.qcow2"
        self.number += 1
        args = ["create", "-q", "-f", "qcow2", "-o", options]
        if self.chain:
            args = [a for a in args]
            if "preallocation" in options:
                args[-1] = options.split(",preallocation")[0]
            args += ["-b", self.top(), "-F", "qcow2"]
            self.base_names[name] = self.top()
        self.img(tool, *args, name, size)
        self.chain.append(name)
        self.sizes[name] = size
        self.units[name] = unit
        self.options[name] = options
        self.snaps = {}
        self.touched = set()
        self.leaks = False
        self.resize_model(size)

    def fit(self, off, length):
        off = off % self.size()
        return off, min(length, self.size() - off)

    def do_io(self, tool, commands):
        """Several requests by one process."""
        words = []
        unit = self.units[self.top()]
        for verb, off, length, pattern in commands:
            off, length = self.fit(off, length)
            if verb == "write":
                words.append(f"write -q -P {pattern} {off} {length}")
                self.put(off, bytes([pattern]) * length)
            elif verb in ("zero", "zero-unmap"):
                words.append(f"write -q -z{'u' if verb == 'zero-unmap' else ''} {off} {length}")
                self.put(off, bytes(length))
            elif verb == "compressed":
                off = off // unit * unit
                length = min(unit, self.size() - off)
                # QEMU's cannot compress into a cluster that is there already.
                free = off // unit not in self.touched and "preallocation" not in self.options[self.top()]
                packed = "-c " if tool == "lyre" or free else ""
                words.append(f"write -q {packed}-P {pattern} {off} {length}")
                self.put(off, bytes([pattern]) * length)
            elif verb == "discard":
                self.touched.update(range(off // unit, (off + length + unit - 1) // unit))
                words.append(f"discard -q {off} {length}")
                self.open[off:off + length] = b"\1" * length
            elif verb == "read":
                pattern = self.data[off]
                n = 1
                while n < length and self.data[off + n] == pattern and not self.open[off + n]:
                    n += 1
                if not self.open[off]:
                    words.append(f"read -q -P {pattern} {off} {n}")
            elif verb == "writev":
                a, b = length // 3, length - length // 3
                words.append(f"writev -q -P {pattern} {off} {a} {b}")
                self.put(off, bytes([pattern]) * length)
            elif verb == "aio":
                words += [f"aio_write -q -P {pattern} {off} {length}", "aio_flush"]
                self.put(off, bytes([pattern]) * length)
            else:
                words.append("flush")
        self.io(tool, words)

    def do_resize(self, tool, size):
        if self.snaps and self.old_version():
            return          # such snapshots do not remember their size
        base = self.below(self.top())
        if base and self.old_version() and size > self.size() and self.sizes[base] > self.size():
            return          # it cannot hide what would show from below
        if size > self.size() and self.size() % self.units[self.top()]:
            tool = "lyre"       # QEMU shows again what was within the last cluster before the image was shrunk
        args = ["resize", "-q", "-f", "qcow2"] + (["--shrink"] if size < self.size() else []) + [self.top(), size]
        if size < self.size() and self.snaps:
            return          # refused by both
        self.img(tool, *args)
        self.sizes[self.top()] = size
        self.resize_model(size)

    def snapshot(self, tool, what, name):
        """False: a cluster would have more owners than a narrow refcount can count."""
        narrow = any(f"refcount_bits={n}" in self.options[self.top()].split(",") for n in (1, 2, 4, 8))
        if not self.img(tool, "snapshot", "-q", what, name, self.top(), good=(0, 1) if narrow else (0,)).returncode:
            return True
        self.leaks |= tool == "qemu"
        return False

    def do_snapshot(self, tool, name):
        if name in self.snaps:
            return
        if not self.snapshot(tool, "-c", name):
            return
        self.snaps[name] = (bytes(self.data), bytes(self.open))

    def do_apply(self, tool, name):
        if name not in self.snaps:
            return
        if not self.snapshot(tool, "-a", name):
            return
        data, is_open = self.snaps[name]
        self.data, self.open = bytearray(data), bytearray(is_open)
        self.sizes[self.top()] = len(data)

    def do_delete(self, tool, name):
        if self.snaps.pop(name, None) is not None:
            self.img(tool, "snapshot", "-q", "-d", name, self.top())

    def do_commit(self, tool):
        base = self.below(self.top())
        if not base or self.snaps or any(self.open):
            return
        # What the top emptied shows is its backing file's: the same bytes, but for the end of a longer one.
        if self.sizes[base] > self.size():
            return
        if self.sizes[base] < self.size() and self.below(base) and "compat=0.10" in self.options[base]:
            return          # it would have to grow, and cannot hide what would show from below
        force = ["--force"] if tool == "lyre" else []       # a file that was rebased away still names the base
        self.img(tool, "commit", "-q", *force, "-f", "qcow2", self.top())
        self.sizes[base] = self.size()

    def do_rebase(self, tool, depth):
        names = [self.top()]
        while self.below(names[-1]):
            names.append(self.below(names[-1]))
        new = names[1 + depth % len(names)] if 1 + depth % len(names) < len(names) else ""
        if not self.below(self.top()) or self.snaps or any(self.open):
            return
        args = ["rebase", "-q", "-f", "qcow2", "-b", new] + (["-F", "qcow2"] if new else [])
        self.img(tool, *args, self.top())
        if new:
            self.base_names[self.top()] = new
        else:
            self.base_names.pop(self.top(), None)

    def do_convert(self, tool, options, unit, compress):
        """The top becomes a copy of itself, with the whole chain in it."""
        name = f"i{self.number}.qcow2"
        self.number += 1
        args = ["convert", "-q", "-f", "qcow2", "-O", "qcow2", "-o", options] + (["-c"] if compress else [])
        if compress and "preallocation" in options:
            return
        self.img(tool, *args, self.top(), name)
        self.chain.append(name)
        self.base_names.pop(name, None)
        self.sizes[name] = self.size()
        self.units[name] = unit
        self.options[name] = options
        self.snaps = {}
        self.touched = set(range((self.size() + unit - 1) // unit))
        self.leaks = False

    def do_amend(self, tool, options):
        if self.snaps and "compat=0.10" in options:
            return
        now = self.options[self.top()]
        if "compat=0.10" in options and any(w in now for w in ("refcount_bits", "extended_l2", "zstd", "lazy")):
            return
        if "compat=0.10" in now and options != "compat=1.1":
            return
        self.img(tool, "amend", "-q", "-f", "qcow2", "-o", options, self.top())
        self.options[self.top()] = now.replace("compat=0.10", "") + "," + options

    def do_check(self, tool, repair):
        """Nothing is wrong at any time."""
        self.img(tool, "check", "-q", "-f", "qcow2", *(["-r", "all"] if repair else []), self.top(),
                 good=(0, 3) if self.leaks else (0,))

    # -- the end

    def say(self, words):
        """Both print the same for these words."""
        a, b = self.img("lyre", *words, good=None), self.img("qemu", *words, good=None)
        if a.returncode != b.returncode or a.stdout != b.stdout:
            import difflib
            diff = "\n".join(difflib.unified_diff(b.stdout.decode().split("\n"), a.stdout.decode().split("\n"),
                                                  "qemu-img", "lyre-img", lineterm="", n=2))
            raise Differs(f"{show(words)}\nexit status {a.returncode}, qemu-img's {b.returncode}\n{diff}\n"
                          f"{a.stderr.decode()}{b.stderr.decode()}")
        return a

    def read_raw(self, tool, name, snapshot=None):
        raw = f"{tool}.raw"
        self.img(tool, "convert", "-q", "-f", "qcow2", "-O", "raw", *(["-l", snapshot] if snapshot else []), name, raw)
        with open(os.path.join(self.folder, raw), "rb") as f:
            return f.read()

    def compare_bytes(self, name, data, is_open, snapshot=None):
        ours, theirs = self.read_raw("lyre", name, snapshot), self.read_raw("qemu", name, snapshot)
        what = f"{name}{' at ' + snapshot if snapshot else ''}"
        if snapshot:            # QEMU's has the size of now
            theirs = theirs[:len(data)].ljust(len(data), b"\0")
        if ours != theirs:
            raise Differs(f"{what}: lyre-img and qemu-img read different bytes, first at {first_difference(ours, theirs)}")
        if len(ours) != len(data):
            raise Differs(f"{what}: {len(ours)} bytes, want {len(data)}")
        if ours == data:
            return
        for i, (a, b) in enumerate(zip(ours, data)):
            if a != b and not is_open[i]:
                raise Differs(f"{what}: byte {i} is {a:#x}, want {b:#x}")

    def finish(self, rng):
        top = self.top()
        self.compare_bytes(top, self.data, self.open)
        if self.snaps:
            name = rng.choice(sorted(self.snaps))
            self.compare_bytes(top, *self.snaps[name], snapshot=name)
        p = self.say(["check", "--output=json", "-f", "qcow2", top])
        if p.returncode not in ((0, 3) if self.leaks else (0,)):
            raise Differs(f"check {top}: {p.returncode}\n{p.stdout.decode()}")
        self.say(["info", "--output=json", "--backing-chain", top])
        self.say(["map", "--output=json", "-f", "qcow2", top])
        choice = rng.randrange(4)
        if choice == 0:
            self.say(["measure", "--output=json", "-O", "qcow2", "-f", "qcow2", top])
        elif choice == 1:
            self.say(["info", top])
        elif choice == 2:
            self.say(["map", "-f", "qcow2", top])
        else:
            self.say(["check", "-f", "qcow2", top])
        self.say(["compare", "-f", "qcow2", "-F", "raw", top, "qemu.raw"] if not self.snaps else ["snapshot", "-l", top])


def first_difference(a, b):
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return min(len(a), len(b))


# -- making sequences

def some_size(rng, unit):
    most = 24 * MIB if unit >= 256 * KIB else 3 * MIB if unit >= 16 * KIB else 512 * KIB
    return rng.randrange(1, most // 512) * 512


def some_io(rng, unit):
    verbs = ("write", "write", "write", "zero", "zero-unmap", "compressed", "discard", "read", "read", "writev", "aio", "flush")
    commands = []
    for _ in range(rng.randrange(2, 9)):
        off = rng.randrange(24 * MIB)
        length = rng.choice((rng.randrange(1, 5000), rng.randrange(1, 4 * unit), unit))
        if rng.randrange(2):
            off, length = off // unit * unit, (length + unit - 1) // unit * unit
        commands.append((rng.choice(verbs), off, min(length, 3 * MIB), rng.randrange(1, 256)))
    return commands


def tool_of(rng):
    return rng.choice(("lyre", "qemu"))


def make_steps(rng):
    options, unit = rng.choice(CREATE)
    size = some_size(rng, unit)
    steps = [("create", tool_of(rng), options, unit, size), ("io", tool_of(rng), some_io(rng, unit))]
    depth = rng.choice((1, 1, 2, 2, 3, 5))
    for _ in range(depth - 1):
        options, unit = rng.choice(CREATE)
        if rng.randrange(2):
            size = some_size(rng, unit)
        steps.append(("create", tool_of(rng), options, unit, size))
        steps.append(("io", tool_of(rng), some_io(rng, unit)))
    for _ in range(rng.randrange(1, 7)):
        tool = tool_of(rng)
        what = rng.randrange(14)
        name = rng.choice(("a", "b", "c"))
        if what < 5:
            steps.append(("io", tool, some_io(rng, unit)))
        elif what == 5:
            steps.append(("resize", tool, some_size(rng, unit)))
        elif what in (6, 7):
            steps.append(("snapshot", tool, name))
        elif what == 8:
            steps.append(("apply", tool, name))
        elif what == 9:
            steps.append(("delete", tool, name))
        elif what == 10:
            steps.append(("commit", tool))
        elif what == 11:
            steps.append(("rebase", tool, rng.randrange(6)))
        elif what == 12:
            options, unit = rng.choice(CREATE)
            steps.append(("convert", tool, options, unit, rng.randrange(3) == 0))
        elif rng.randrange(2):
            steps.append(("amend", tool, rng.choice(("compat=1.1", "compat=0.10", "lazy_refcounts=on", "lazy_refcounts=off"))))
        else:
            steps.append(("check", tool, rng.randrange(2) == 0))
    return steps


# -- running, shrinking

def replay(steps, seed, keep=False):
    """None, or what is wrong and the script so far."""
    where = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = tempfile.mkdtemp(prefix="lyre-rand-", dir=where)
    r = Run(folder)
    try:
        for s in steps:
            r.step(s)
        r.finish(random.Random(seed))
        return None
    except Differs as e:
        return str(e), r.script
    except subprocess.TimeoutExpired as e:
        return f"timeout: {e}", r.script
    finally:
        if keep:
            print(f"kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def shorter(steps):
    """All that lack a step, or a command of one; the long cuts first."""
    n = len(steps)
    size = n // 2
    while size:
        for at in range(1, n - size + 1):
            yield steps[:at] + steps[at + size:]
        size //= 2
    for i, s in enumerate(steps):
        if s[0] == "io" and len(s[2]) > 1:
            for k in range(len(s[2])):
                yield steps[:i] + [(s[0], s[1], s[2][:k] + s[2][k + 1:])] + steps[i + 1:]
    for i, s in enumerate(steps):
        if s[1] == "lyre":      # is it ours at all?
            yield steps[:i] + [(s[0], "qemu", *s[2:])] + steps[i + 1:]


def shrink(steps, seed, seconds=60):
    end = time.monotonic() + seconds
    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for candidate in shorter(steps):
            if time.monotonic() > end:
                break
            if candidate and candidate[0][0] == "create" and replay(candidate, seed):
                steps, changed = candidate, True
                break
    return steps


def by(tool, steps):
    return [(s[0], tool, *s[2:]) for s in steps]


def one(seed, keep=False):
    """None, or whose fault it is (ours: True) and what is wrong."""
    steps = make_steps(random.Random(seed))
    wrong = replay(steps, seed, keep)
    if not wrong:
        return None
    theirs = not replay(by("lyre", steps), seed) and bool(replay(by("qemu", steps), seed))
    steps = shrink(by("qemu", steps) if theirs else steps, seed)
    theirs = theirs and not replay(by("lyre", steps), seed)
    again = replay(steps, seed)
    what, script = again or wrong
    return not theirs, f"sequence {seed} fails{' by QEMU alone' if theirs else ''}:\n  " + what.replace("\n", "\n  ") + "\n\n#!/bin/sh\n" + "\n".join(script) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--count", type=int, default=0, help="sequences (default: as many as fit into --seconds)")
    p.add_argument("--seed", type=int, default=None, help="of the first sequence")
    p.add_argument("--seconds", type=float, default=8)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--keep", action="store_true", help="do not remove the images")
    a = p.parse_args()
    if not all(TOOLS["qemu"]):
        print("qemu-img and qemu-io are not installed (qemu-utils): nothing to compare with")
        return 77
    seed = a.seed if a.seed is not None else int(os.environ.get("SEED", "1"))
    end = time.monotonic() + a.seconds
    passed = failed = theirs = 0
    seeds = iter(range(seed, seed + a.count) if a.count else range(seed, 1 << 62))
    if a.jobs > 1:
        import multiprocessing
        with multiprocessing.Pool(a.jobs) as pool:
            for bad in pool.imap_unordered(one, seeds, 4):
                passed += bad is None
                failed += bad is not None and bad[0]
                theirs += bad is not None and not bad[0]
                if bad:
                    print(bad[1], flush=True)
                if (passed + failed + theirs) % 500 == 0:
                    print(f"{passed + failed + theirs} sequences, {failed} of them failed", flush=True)
    else:
        for s in seeds:
            if not a.count and time.monotonic() > end:
                break
            bad = one(s, a.keep)
            passed += bad is None
            failed += bad is not None and bad[0]
            theirs += bad is not None and not bad[0]
            if bad:
                print(bad[1], flush=True)
            if failed >= 5:
                break
    print(f"seeds {seed} to {seed + passed + failed + theirs - 1}; {theirs} in which QEMU alone fails")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
