#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qcow2 beside QEMU's tools: random writes, zeroes, discards, compressed writes
and resizes, some by lyre-io and some by qemu-io, into images that either has
made; the bytes, info, map, check and measure are the same afterwards, whoever
looks.

    qcow2_diff.py [CASE...]      SEED=N: other sequences; ALL=N: all kinds of image, N times"""
import json
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import IMG, IO, QEMU_IMG, QEMU_IO, Bench, Failed, expect, run, run_cases  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
SIZE = 6 * MIB
CREATE = [
    "", "cluster_size=512", "cluster_size=4k,refcount_bits=1", "cluster_size=1k,refcount_bits=64", "cluster_size=2M",
    "compat=0.10", "compat=0.10,cluster_size=4k", "refcount_bits=8,lazy_refcounts=on", "extended_l2=on",
    "extended_l2=on,cluster_size=16k,refcount_bits=4", "compression_type=zstd", "compression_type=zstd,cluster_size=8k",
    "preallocation=metadata", "preallocation=metadata,cluster_size=4k", "preallocation=falloc,cluster_size=32k",
    "extended_l2=on,preallocation=metadata", "data_file=d.raw", "data_file=d.raw,data_file_raw=on",
    "data_file=d.raw,extended_l2=on", "cluster_size=512,refcount_bits=2", "refcount_bits=32", "lazy_refcounts=on,cluster_size=4k",
]
SEED = int(os.environ.get("SEED", "1"))
ALL = int(os.environ.get("ALL", "0"))


def some(kinds, n):
    """Every run looks at a few kinds; SEED chooses which."""
    return kinds if ALL else random.Random(SEED).sample(kinds, n)


def io(program, b, name, commands):
    words = [w for c in commands for w in ("-c", c)]
    r = run(program, "-d", "unmap", "-f", "qcow2", *words, name, cwd=b.dir)
    expect(r.status == 0 and "failed" not in r.out + r.errs and "image" not in r.errs, str(r))


class Model:
    """What the disk holds: bytes, and where a discard left it open what is read."""

    def __init__(self, size, below=b""):
        self.bytes = bytearray(below[:size].ljust(size, b"\0"))
        self.open = bytearray(size)

    def resize(self, size):
        self.bytes = self.bytes[:size].ljust(size, b"\0")
        self.open = self.open[:size].ljust(size, b"\0")

    def put(self, off, data):
        self.bytes[off:off + len(data)] = data
        self.open[off:off + len(data)] = bytes(len(data))

    def same(self, data):
        if data == self.bytes:
            return True
        if len(data) != len(self.bytes):
            return False
        return all(a == c or o for a, c, o in zip(data, self.bytes, self.open))


def commands(r, model, packs, cluster):
    """A few commands of qemu-io, done to the model as well."""
    out, size = [], len(model.bytes)
    for _ in range(r.randrange(1, 12)):
        n = r.choice((512, 4096, 65536, 300 * KIB)) + r.randrange(3) * 512
        off = r.randrange(0, max(size - n, 1)) // 512 * 512
        n = min(n, size - off)
        what = r.randrange(8)
        if what < 4:
            p = r.randrange(1, 256)
            out.append(f"write -P {p} {off} {n}")
            model.put(off, bytes([p]) * n)
        elif what == 4:
            out.append(f"write -z {r.choice(('', '-u '))}{off} {n}")
            model.put(off, bytes(n))
        elif what == 5:
            out.append(f"discard {off} {n}")
            model.open[off:off + n] = b"\1" * n
        elif what == 6 and packs:
            off = off // cluster * cluster
            if off + cluster <= size:
                p = r.randrange(1, 256)
                # QEMU 7.2 packs only what was never written
                out.append(f"discard {off} {cluster}")
                model.open[off:off + cluster] = b"\1" * cluster
        else:
            out.append("flush")
    return out


def image_bytes(program, b, name):
    r = run(program, "convert", "-f", "qcow2", "-O", "raw", name, "out.raw", cwd=b.dir)
    expect(r.status == 0, str(r))
    return b.read("out.raw")


def without_sizes(text):
    o = json.loads(text)
    o.pop("actual-size", None)
    o.pop("children", None)
    return o


def look(b, name, model):
    """All that both say of it, and that it is right."""
    data = image_bytes(IMG, b, name)
    expect(model.same(data), f"{name}: lyre-img reads it differently")
    expect(data == image_bytes(QEMU_IMG, b, name), f"{name}: qemu-img reads it differently")
    r = run(QEMU_IMG, "check", name, cwd=b.dir)
    expect(r.status == 0, f"{name}: {r}")
    ours = run(IMG, "check", name, cwd=b.dir)
    if ours.status != 63:
        expect(ours.status == 0 and ours.out == r.out, f"{ours}\n{r}")
    ours, theirs = (without_sizes(run(p, "info", "--output=json", name, cwd=b.dir).out) for p in (IMG, QEMU_IMG))
    expect(ours == theirs, f"info: {ours}\n{theirs}")
    b.same("map", "--output=json", name)


def cluster_of(options):
    for o in options.split(","):
        if o.startswith("cluster_size="):
            v = o.split("=")[1]
            return int(v.rstrip("kM")) * {"k": KIB, "M": MIB}.get(v[-1], 1)
    return 64 * KIB


def sequence(r, options, backing):
    with Bench("qcow2") as b:
        model = Model(SIZE)
        args = ["-o", options] if options else []
        if backing:
            below = bytes(r.randrange(256) for _ in range(64)) * (4 * MIB // 64)
            b.write("base.raw", (0, below), size=4 * MIB)
            model = Model(SIZE, below)
            args += ["-b", "base.raw", "-F", "raw"]
        run_ok(b, r.choice((IMG, QEMU_IMG)), "create", "-f", "qcow2", *args, "a", SIZE)
        for _ in range(3):
            packs = "data_file" not in options
            io(r.choice((IO, QEMU_IO)), b, "a", commands(r, model, packs, cluster_of(options)))
        try:
            look(b, "a", model)
        except Failed as e:
            raise Failed(f"-o '{options}', backing {backing}: {e}") from e


def run_ok(b, program, *args):
    r = run(program, *args, cwd=b.dir)
    expect(r.status == 0, str(r))
    return r.out


def sequences():
    for k in range(max(ALL, 1)):
        for i, options in enumerate(some(CREATE, 7)):
            r = random.Random(SEED * 100003 + k * 1009 + i)
            backing = "preallocation" not in options and "raw=on" not in options and r.randrange(2)
            sequence(r, options, bool(backing))


def packed():
    """Compressed images by either, read and written on by the other."""
    r = random.Random(SEED)
    for options in some(["", "compression_type=zstd", "cluster_size=4k", "refcount_bits=1", "extended_l2=on", "compat=0.10"], 2):
        with Bench("qcow2") as b:
            model = Model(SIZE)
            for _ in range(40):
                off = r.randrange(SIZE - 70000)
                model.put(off, bytes([r.randrange(1, 256)]) * r.randrange(1, 70000))
            noise = r.randbytes(200000)
            model.put(MIB, noise)
            b.write("a.raw", (0, bytes(model.bytes)))
            for maker in (IMG, QEMU_IMG):
                run_ok(b, maker, "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options or "compat=1.1", "a.raw", "a")
                look(b, "a", model)
                again = Model(SIZE, bytes(model.bytes))
                for program in (IO, QEMU_IO):
                    io(program, b, "a", commands(r, again, False, cluster_of(options)))
                look(b, "a", again)


def resizes():
    r = random.Random(SEED)
    for options in some(["", "cluster_size=512", "extended_l2=on", "data_file=d.raw", "compat=0.10,cluster_size=1k"], 1):
        with Bench("qcow2") as b:
            model = Model(SIZE)
            run_ok(b, QEMU_IMG, "create", "-f", "qcow2", *(["-o", options] if options else []), "a", SIZE)
            for step in range(6):
                io(r.choice((IO, QEMU_IO)), b, "a", [c for c in commands(r, model, False, 65536) if "discard" not in c])
                model.open = bytearray(len(model.bytes))
                size = r.randrange(1, 40) * 500 * KIB // 512 * 512
                if size == len(model.bytes):
                    continue
                shrink = ["--shrink"] if size < len(model.bytes) else []
                how = [] if shrink or step % 2 else ["--preallocation=" + r.choice(("metadata", "falloc", "full", "off"))]
                run_ok(b, r.choice((IMG, IMG, QEMU_IMG)), "resize", "-q", "-f", "qcow2", *shrink, *how, "a", size)
                model.resize(size)
                look(b, "a", model)


def creations():
    """The same options: the same info, map, virtual size, messages, and a clean check."""
    for options in some(CREATE + ["cluster_size=2M,refcount_bits=64,preallocation=metadata", "preallocation=full,cluster_size=4k"], 6):
        with Bench("qcow2") as b:
            args = ["-o", options] if options else []
            for size in (random.choice((0, 1, 511)), SIZE):
                ours = run_ok(b, IMG, "create", "-f", "qcow2", *args, "a", size)
                look(b, "a", Model((size + 511) // 512 * 512))
                theirs = run_ok(b, QEMU_IMG, "create", "-f", "qcow2", *args, "a", size)
                expect(ours == theirs, f"{ours}{theirs}")
                look(b, "a", Model((size + 511) // 512 * 512))


def refusals():
    """What cannot be made is refused in the same words."""
    with Bench("qcow2") as b:
        for options in ("compat=0.10,refcount_bits=8", "compat=0.10,lazy_refcounts=on", "compat=0.10,extended_l2=on",
                        "compat=0.10,compression_type=zstd", "cluster_size=8k,extended_l2=on", "cluster_size=4M",
                        "cluster_size=1000", "refcount_bits=3", "refcount_bits=128", "data_file_raw=on", "compat=2",
                        "compat=0.10,data_file=x.raw", "cluster_size=512,size=1T"):
            ours, theirs = (run(p, "create", "-f", "qcow2", "-o", options, "a", *([] if "size=1T" in options else ["1M"]), cwd=b.dir)
                            for p in (IMG, QEMU_IMG))
            words = theirs.errs.strip().split(": ", 2)[-1]
            expect(ours.status == theirs.status == 1 and words in ours.errs, f"{ours}\n{theirs}")
            expect(not os.path.exists(b.path("a")) or theirs.status == 1, options)


def measures():
    with Bench("qcow2") as b:
        b.write("a.raw", (0, b"x" * 100000), (3 * MIB, b"y" * MIB), size=8 * MIB)
        run_ok(b, QEMU_IMG, "convert", "-O", "qcow2", "a.raw", "a")
        for options in some(CREATE + ["compat=0.10,cluster_size=64k", "preallocation=full"], 8):
            for args in (["--size", "1"], ["--size", "10G"], ["-f", "raw", "a.raw"], ["-f", "qcow2", "a"]):
                b.same("measure", "-O", "qcow2", *(["-o", options] if options else []), *args)


if __name__ == "__main__":
    if not QEMU_IMG or not QEMU_IO:
        print("qemu-img and qemu-io are not installed")
        sys.exit(77)
    sys.exit(run_cases([sequences, packed, resizes, creations, refusals, measures], sys.argv[1:]))
