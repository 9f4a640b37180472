#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disk images with damage in them, of each format, under every command of
lyre-img that reads or mends one: each must end by itself within ten seconds and
4 GiB of address space, with a status and no signal.

    mutate.py [--count N] [--seed N] [--jobs N] [FORMAT...]

--count: damaged images of each format. One that fails is kept in
LYRE_BUILD/mutate, and the line that failed is printed with its seed."""
import argparse
import concurrent.futures
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import BUILD, IMG, QEMU_IMG, QEMU_IO  # noqa: E402

SECONDS = 10
MEMORY = 4 << 30
FILE_MAX = 8 << 30
SIZE = "3M"
# Sound images to begin with: format, options, commands of qemu-io, further commands of qemu-img.
BASES = {
    "qcow2": [("", ["write -P 1 0 300k", "write -z 1M 200k", "write -P 2 2M 64k"], []),
              ("cluster_size=512", ["write -P 1 0 3k", "write -P 2 100k 5k"], [("snapshot", "-c", "one")]),
              ("compat=0.10,cluster_size=4k", ["write -c -P 1 0 64k", "write -P 2 1M 5k"], []),
              ("extended_l2=on,compression_type=zstd", ["write -c -P 1 0 64k", "write -P 2 1M 5k"], []),
              ("lazy_refcounts=on,refcount_bits=1,cluster_size=1k", ["write -P 1 0 300k"], []),
              ("cluster_size=4k", ["write -P 1 0 300k"], [("snapshot", "-c", "one"), ("snapshot", "-c", "two"),
                                                          ("bitmap", "--add", "b0")])],
    "vmdk": [("", ["write -P 1 0 300k", "write -P 2 2M 64k"], []),
             ("zeroed_grain=on", ["write -P 1 0 300k", "write -z 0 64k"], []),
             ("subformat=streamOptimized", ["write -P 1 0 64k", "write -P 2 2M 64k"], []),
             ("subformat=monolithicFlat", ["write -P 1 0 64k"], [])],
    "vdi": [("", ["write -P 1 0 300k", "write -P 2 2M 64k"], []), ("static=on", ["write -P 1 0 300k"], [])],
    "vpc": [("", ["write -P 1 0 300k", "write -P 2 2M 64k"], []), ("subformat=fixed", ["write -P 1 0 300k"], [])],
    "vhdx": [("block_size=1M", ["write -P 1 0 300k", "write -P 2 2M 64k"], []),
             ("subformat=fixed", ["write -P 1 0 300k"], [])],
    "luks": [("key-secret=k,iter-time=1", [], [])],
    "raw": [("", ["write -P 1 0 300k"], [])],
    "qcow": [("", ["write -P 1 0 300k", "write -P 2 2M 64k"], [])],
    "qed": [("cluster_size=16k", ["write -P 1 0 300k", "write -P 2 2M 64k"], [])],
    "parallels": [("cluster_size=64k", ["write -P 1 0 300k", "write -P 2 2M 64k"], [])],
}
READ_ONLY = ("qcow", "qed", "parallels")        # made by others
KEY = ["--object", "secret,id=k,data=123456"]


class Base:
    """A sound image as its bytes: pages that are not zero, and its length."""

    def __init__(self, path, fmt):
        self.fmt, self.size = fmt, os.path.getsize(path)
        self.pages = {}
        with open(path, "rb") as f:
            for i in range((self.size + 4095) // 4096):
                p = f.read(4096)
                if p.strip(b"\0"):
                    self.pages[i] = p
        # Where something is that is not just the guest's pattern.
        self.places = [i * 4096 + k for i, p in self.pages.items() if len(set(p)) > 3 or p.count(0) > 2000
                       for k in range(len(p)) if p[k] or k % 64 < 8]


def crc32c(data, table=[]):
    if not table:
        for i in range(256):
            for _ in range(8):
                i = i >> 1 ^ (0x82f63b78 if i & 1 else 0)
            table.append(i)
    crc = 0xffffffff
    for b in data:
        crc = table[(crc ^ b) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def mend_sums(fmt, image):
    """Checksums of the damaged headers, so that the damage is seen."""
    if fmt == "vhdx":
        for off, size, magic in ((0x10000, 4096, b"head"), (0x20000, 4096, b"head"), (0x30000, 65536, b"regi")):
            if image[off:off + 4] == magic and len(image) >= off + size:
                image[off + 4:off + 8] = bytes(4)
                image[off + 4:off + 8] = struct.pack("<I", crc32c(image[off:off + size]))
    if fmt == "vpc":
        for off, size, at in ((0, 512, 64), (len(image) - 512, 512, 64), (512, 1024, 36)):
            if off >= 0 and len(image) >= off + size:
                image[off + at:off + at + 4] = bytes(4)
                image[off + at:off + at + 4] = struct.pack(">I", ~sum(image[off:off + size]) & 0xffffffff)


def damage(base, r):
    """The image's bytes with something wrong in them."""
    image = bytearray(base.size)
    for i, p in base.pages.items():
        image[i * 4096:i * 4096 + len(p)] = p
    values = [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 40, 1 << 62, (1 << 63) - 1,
              1 << 63, (1 << 64) - 1, base.size, base.size - 1, base.size // 2, 512, 4096, 65536]
    for _ in range(r.choice((1, 1, 1, 2, 3, 8))):
        at = r.choice(base.places) if base.places and r.randrange(8) else r.randrange(max(base.size, 1))
        at = min(at, len(image) - 8)
        kind = r.randrange(6)
        if kind == 0:
            image[at] ^= 1 << r.randrange(8)
        elif kind == 1:
            image[at] = r.randrange(256)
        elif kind in (2, 3):
            n = r.choice((2, 4, 8))
            at -= at % n
            v = (r.choice(values) + r.choice((0, 0, 0, 1, -1))) & ((1 << 8 * n) - 1)
            image[at:at + n] = v.to_bytes(n, r.choice(("little", "big")))
        elif kind == 4:
            n, other = r.choice((4, 8, 64, 512)), r.choice(base.places or [0])
            image[at:at + n] = image[other:other + n]
        else:
            n = r.choice((8, 64, 512))
            image[at:at + n] = r.randbytes(n)
    if r.randrange(10) == 0:
        del image[r.randrange(len(image) + 1):]
    if r.randrange(4):
        mend_sums(base.fmt, image)
    return bytes(image)


def put(path, image):
    """A file with holes where the image is zero."""
    with open(path, "wb") as f:
        zero = bytes(65536)
        for at in range(0, len(image), 65536):
            part = image[at:at + 65536]
            if part != zero[:len(part)]:
                f.seek(at)
                f.write(part)
        f.truncate(len(image))


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_MAX, FILE_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def commands(fmt, name):
    """What is done with it; those that write get the copy."""
    tree = f"driver={fmt},file.filename={name}" + (",key-secret=k" if fmt == "luks" else "")
    one = KEY + ["--image-opts", tree]
    copy = KEY + ["--image-opts", tree.replace(name, "copy")]
    return [["info", *one], ["check", *one], ["check", "-r", "all", *copy], ["map", "--output=json", *one],
            ["convert", *one, "-O", "raw", "out"], ["compare", *one, f"driver=raw,file.filename={name}"],
            ["snapshot", "-l", *one], ["resize", *copy, "+1M"], ["info", name]]


def wrong(status, took, errs):
    if took > SECONDS:
        return f"took {took:.0f} s"
    if status < 0:
        return f"signal {-status}"
    if status not in (0, 1, 2, 3, 4, 63):
        return f"status {status}"
    if status == 1 and not errs:
        return None             # compare
    return "sanitizer" if "Sanitizer" in errs or "runtime error" in errs else None


def try_one(base, number, seed, keep):
    """One damaged image under all commands; a line for each failure."""
    lines = []
    r = random.Random(f"{seed}-{base.fmt}-{number}")
    image = damage(base, r)
    with tempfile.TemporaryDirectory(prefix="lyre-mutate-") as d:
        if base.beside:
            put(os.path.join(d, os.path.basename(base.beside)), b"\1" * (3 << 20))
        put(os.path.join(d, "image"), image)
        for args in commands(base.fmt, "image"):
            if "file.filename=copy" in " ".join(args):
                put(os.path.join(d, "copy"), image)
            began = time.time()
            try:
                p = subprocess.run([IMG, *args], cwd=d, stdin=subprocess.DEVNULL, capture_output=True,
                                   timeout=SECONDS + 5, preexec_fn=limits, restore_signals=False)
                why = wrong(p.returncode, time.time() - began, p.stderr.decode(errors="replace"))
            except subprocess.TimeoutExpired:
                why = "did not end"
            if why:
                os.makedirs(keep, exist_ok=True)
                path = os.path.join(keep, f"{base.fmt}-{seed}-{number}")
                put(path, image)
                lines.append(f"FAILED {why}: lyre-img {' '.join(args)} (seed {seed}, image kept as {path})")
            out = os.path.join(d, "out")
            if os.path.exists(out):
                os.unlink(out)
    return lines


def make_bases(folder, formats):
    bases = []
    for fmt in formats:
        for i, (options, writes, more) in enumerate(BASES[fmt]):
            path = os.path.join(folder, f"{fmt}{i}")
            key = KEY if fmt == "luks" else []
            run = [[QEMU_IMG if fmt in READ_ONLY else IMG, "create", "-q", "-f", fmt, *key, *(["-o", options] if options else []), path, SIZE]]
            if writes:
                run.append([QEMU_IO, "-f", fmt, *(w for c in writes for w in ("-c", c)), path])
            run += [[QEMU_IMG, m[0], *m[1:-1], *([m[-1], path] if m[0] == "snapshot" else [path, m[-1]])] for m in more]
            for line in run:
                p = subprocess.run(line, capture_output=True, text=True, check=False)
                if p.returncode:
                    raise SystemExit(f"{' '.join(line)}: {p.stdout}{p.stderr}")
            b = Base(path, fmt)
            b.beside = path + "-flat" if "Flat" in options else None
            bases.append(b)
    return bases


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("formats", nargs="*", metavar="FORMAT")
    p.add_argument("--count", type=int, default=4)
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    args = p.parse_args()
    if not QEMU_IMG or not QEMU_IO:
        print("no qemu-img and qemu-io to make images with (apt install qemu-utils)")
        return 77
    folder = tempfile.mkdtemp(prefix="lyre-mutate-")
    failed = done = 0
    try:
        bases = make_bases(folder, args.formats or list(BASES))
        work = [(b, f"{i}-{n}") for f in args.formats or list(BASES)
                for mine in [[b for b in bases if b.fmt == f]]
                for n in range(args.count) for i, b in [(n % len(mine), mine[n % len(mine)])]]
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for lines in pool.map(lambda w: try_one(w[0], w[1], args.seed, os.path.join(BUILD, "mutate")), work):
                for line in lines:
                    print(line, flush=True)
                failed += bool(lines)
                done += not lines
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"seed {args.seed}: each image under {len(commands('raw', 'x'))} commands")
    print(f"{done} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
