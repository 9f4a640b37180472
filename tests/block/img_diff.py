#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lyre-img and qemu-img do the same random things to chains of qcow2 images,
each in a folder of its own: overlays, writes (by qemu-io), commit, rebase,
resize, snapshots, convert with and without compression and backing files, dd,
amend, bitmaps. After each step what they print, their status, what a guest
sees, and `info` are the same, and each finds nothing wrong with the other's
images.

    img_diff.py [SEED...]       these sequences (default: a few)
    N=100 img_diff.py 1000      a hundred, from that seed on"""
import os
import random
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import FOLDER, IMG, QEMU_IMG, QEMU_IO, Failed, run  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
OPTIONS = ["", "cluster_size=512", "cluster_size=4k", "cluster_size=2M", "compat=0.10", "refcount_bits=1", "refcount_bits=64",
           "extended_l2=on", "extended_l2=on,cluster_size=16k", "compression_type=zstd", "lazy_refcounts=on"]
STEPS = 10


def mask(text):
    """What differs from run to run, or from one allocator to another."""
    text = re.sub(r"disk size: .*|\"actual-size\": \d+|Image end offset: \d+|\"image-end-offset\": \d+", "SIZE", text)
    text = re.sub(r"[\d.]+% fragmented|,\n *\"fragmented-clusters\": \d+", "", text)
    return re.sub(r"(date-n?sec\": )\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)


class Parted(Exception):
    """The two images are not alike any more, for a known reason."""


class Pair:
    """The two folders; a step is done in both."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="lyre-img-diff-", dir=FOLDER)
        self.sides = {IMG: os.path.join(self.dir, "lyre"), QEMU_IMG: os.path.join(self.dir, "qemu")}
        for d in self.sides.values():
            os.mkdir(d)
        self.done = []

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)

    def fail(self, what):
        raise Failed("\n".join([*self.done, what]))

    def img(self, *args, force=False):
        """The same words to both. Returns the status; force: ours is told that others may depend on it."""
        args = [str(a) for a in args]
        self.done.append("img " + " ".join(args))
        ours = run(IMG, args[0], *(["--force"] if force else []), *args[1:], cwd=self.sides[IMG])
        theirs = run(QEMU_IMG, *args, cwd=self.sides[QEMU_IMG])
        if args[:2] == ["snapshot", "-c"] and not ours.status and theirs.status and "(Invalid argument)" in str(theirs):
            raise Parted()          # one owner is all that refcounts of a bit can count, and commit left QEMU's image with tables
        if ours.status != theirs.status:
            self.fail(f"status:\n{ours}\n{theirs}")
        if mask(ours.out) != mask(theirs.out):
            self.fail(f"output:\n{ours}\n{theirs}")
        return ours.status

    def each(self, *args):
        """Both on the same image, of each folder: here nothing differs."""
        args = [str(a) for a in args]
        self.done.append("each " + " ".join(args))
        for d in self.sides.values():
            ours, theirs = (run(p, *args, cwd=d) for p in self.sides)
            if (ours.status, ours.out) != (theirs.status, theirs.out):
                self.fail(f"in {d}:\n{ours}\n{theirs}")

    def io(self, name, *commands):
        self.done.append(f"io {name} " + "; ".join(commands))
        for d in self.sides.values():
            r = run(QEMU_IO, "-d", "unmap", "-f", "qcow2", *[w for c in commands for w in ("-c", c)], name, cwd=d)
            if r.status:
                self.fail(str(r))

    def look(self, name):
        """What the guest sees, by both, of both; both check both. QEMU's own may have leaks, if it says so itself."""
        data = set()
        for d in self.sides.values():
            leaks = []
            for program in self.sides:
                r = run(program, "convert", "-U", "-f", "qcow2", "-O", "raw", name, os.path.join(self.dir, "raw"), cwd=d)
                if r.status:
                    self.fail(str(r))
                with open(os.path.join(self.dir, "raw"), "rb") as f:
                    data.add(f.read())
                r = run(program, "check", "-f", "qcow2", name, cwd=d)
                leaks.append(r.status)
                if r.status and (r.status != 3 or d == self.sides[IMG]):
                    self.fail(f"in {d}:\n{r}")
            if leaks[0] != leaks[1]:
                self.fail(f"in {d}: check of {name} ends with {leaks}")
        if len(data) != 1:
            self.fail(f"{name} reads differently")
        self.img("info", "--backing-chain", name)
        self.img("info", "--backing-chain", "--output=json", name)


class Sequence:
    def __init__(self, seed):
        self.rng, self.pair = random.Random(seed), Pair()
        self.chain, self.made, self.size, self.snapshots, self.bitmaps = [], 0, 4 * MIB, 0, 0

    def options(self):
        o = self.rng.choice(OPTIONS)
        return ["-o", o] if o else []

    def name(self):
        self.made += 1
        return f"i{self.made}"

    @property
    def top(self):
        return self.chain[-1]

    def place(self):
        unit = self.rng.choice([512, 4 * KIB, 64 * KIB])
        off = self.rng.randrange(self.size // unit) * unit
        return off, min(self.rng.choice([unit, 3 * unit, 20 * unit, MIB]), self.size - off)

    def write(self, name=None):
        words = []
        for _ in range(self.rng.randint(1, 6)):
            off, n = self.place()
            words.append(self.rng.choice([f"write -P {self.rng.randint(1, 255)} {off} {n}", f"write -z {off} {n}",
                                          f"write -P {self.rng.randint(1, 255)} {off} {n}", f"write -z -u {off} {n}"]))
        self.pair.io(name or self.top, *words)

    def overlay(self):
        name = self.name()
        size = [str(self.size + self.rng.choice([0, MIB, -MIB, 64 * KIB]))] if self.rng.randrange(3) == 0 else []
        below = ["-b", self.top, "-F", "qcow2"] if self.chain else []
        if not below:
            size = [str(self.size)]
        self.pair.img("create", "-f", "qcow2", *self.options(), *below, name, *size)
        self.size = int(size[0]) if size else self.size
        self.chain.append(name)
        self.snapshots = self.bitmaps = 0

    def commit(self):
        if len(self.chain) < 2:
            return
        if len(self.chain) > 2 and self.rng.randrange(3) == 0:
            base = self.rng.choice(self.chain[:-1])
            if self.pair.img("commit", "-b", base, self.top, force=True) == 0:
                self.chain = self.chain[:self.chain.index(base) + 1]    # those between are of no use now
                self.snapshots = self.bitmaps = 1                       # it may have some
            return
        self.pair.img("commit", *self.rng.choice([[], ["-d"], ["-q"]]), self.top, force=True)

    def rebase(self):
        kind = self.rng.randrange(3)
        if kind == 0:
            self.pair.img("rebase", "-b", "", self.top)
            self.chain = [self.top]
        elif kind == 1 and len(self.chain) > 2:
            to = self.rng.choice(self.chain[:-2])
            self.pair.img("rebase", "-b", to, "-F", "qcow2", self.top)
            self.chain = self.chain[:self.chain.index(to) + 1] + [self.top]
        else:
            other = self.name()
            self.pair.img("create", "-f", "qcow2", *self.options(), other, str(self.rng.choice([MIB, 4 * MIB, 6 * MIB])))
            self.pair.io(other, f"write -P 200 0 {self.rng.choice([64 * KIB, MIB])}")
            self.pair.img("rebase", "-b", other, "-F", "qcow2", self.top)
            self.chain = [other, self.top]

    def resize(self):
        new = self.size + self.rng.choice([MIB, 512, 64 * KIB, -MIB, -512 * KIB])
        if new < MIB or (new < self.size and self.snapshots):
            return
        more = ["--shrink"] if new < self.size else []
        if self.pair.img("resize", *more, self.top, new) == 0:
            self.size = new

    def snapshot(self):
        if self.bitmaps:
            return
        if not self.snapshots or self.rng.randrange(2):
            self.snapshots += 1
            self.pair.img("snapshot", "-c", f"s{self.snapshots}", self.top)
        else:
            self.pair.img("snapshot", self.rng.choice(["-a", "-d"]), f"s{self.rng.randint(1, self.snapshots)}", self.top)
        self.pair.img("snapshot", "-l", self.top)

    def convert(self):
        name, words = self.name(), self.options()
        if self.rng.randrange(2):
            words += ["-c"]
        if len(self.chain) > 1 and self.rng.randrange(2):
            words += ["-B", self.chain[-2], "-F", "qcow2"]
            chain = self.chain[:-1] + [name]
        else:
            chain = [name]
        self.pair.img("convert", "-f", "qcow2", "-O", "qcow2", *words, self.top, name)
        self.chain, self.snapshots, self.bitmaps = chain, 0, 0

    def dd(self):
        name = self.name()
        skip = self.rng.randrange(4)
        self.pair.img("dd", "-f", "qcow2", "-O", "qcow2", "bs=256k", f"skip={skip}", f"if={self.top}", f"of={name}")
        self.pair.look(name)

    def amend(self):
        self.pair.img("amend", "-o", self.rng.choice(["compat=1.1", "lazy_refcounts=on", "lazy_refcounts=off"]), self.top)

    def bitmap(self):
        if self.snapshots:
            return
        self.bitmaps += 1
        self.pair.img("bitmap", "--add", *self.rng.choice([[], ["-g", "128k"], ["--disable"]]), self.top, f"b{self.bitmaps}")

    def others(self):
        """Commands that change nothing."""
        if len(self.chain) > 1:
            self.pair.each("compare", self.top, self.chain[0])
        self.pair.each("measure", "-O", "qcow2", *self.options(), self.top)
        self.pair.each("check", "--output=json", self.top)
        self.pair.each("map", "--output=json", self.top)
        self.pair.each("map", self.top)

    def run(self):
        try:
            self.overlay()
            self.write()
            for _ in range(STEPS):
                self.rng.choice([self.write, self.write, self.overlay, self.overlay, self.commit, self.rebase, self.resize,
                                 self.snapshot, self.convert, self.dd, self.amend, self.bitmap, self.others])()
                self.pair.look(self.top)
        except Parted:
            pass
        finally:
            self.pair.close()


def main():
    if not QEMU_IMG or not QEMU_IO:
        print("qemu-img and qemu-io are not installed: there is nothing to compare with")
        return 77
    if any(not a.isdigit() for a in sys.argv[1:]):
        sys.exit(__doc__)
    seeds = [int(a) for a in sys.argv[1:]] or [1]
    count = int(os.environ.get("N", "0" if len(seeds) > 1 else "1" if sys.argv[1:] else "3"))
    if count:
        seeds = range(seeds[0], seeds[0] + count)
    passed = failed = 0
    for seed in seeds:
        try:
            Sequence(seed).run()
            passed += 1
        except Failed as e:
            print(f"FAILED seed {seed}:\n{e}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
