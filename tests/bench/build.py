# SPDX-License-Identifier: MIT
"""Compiles the benchmark program for its three places and packs the guest's files."""
import gzip
import os
import shutil
import subprocess

KERNELS = ["integer", "memory", "calls", "interp", "fp", "atomics", "code"]
# Contraction and vectors stay off: equal checksums, and scalar against scalar.
CFLAGS = ("-std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -ffreestanding -fno-math-errno "
          "-ffp-contract=off -fno-tree-vectorize -fno-tree-loop-distribute-patterns").split()
CROSS = "riscv64-linux-gnu-"
ORDERS, ORDERS_MAX = b"BENCH-ORDERS-HERE", 1024


class BuildError(Exception):
    pass


def build_all(src, out, cc="gcc", cross=CROSS):
    """Makes out/native, out/linux and out/bare.elf from the tree src."""
    for tool, package in ((cc, "gcc"), (cross + "gcc", "gcc-riscv64-linux-gnu")):
        if not shutil.which(tool):
            raise BuildError(f"{tool} is not there: install {package}")
    os.makedirs(out, exist_ok=True)
    here = os.path.join(src, "tests", "bench")
    common = [os.path.join(here, k + ".c") for k in KERNELS + ["main"]]
    hosted = common + [os.path.join(here, f) for f in ("os.c", "hosted.c")]
    shared = os.path.join(src, "tests", "guests", "bare")
    bare = common + [os.path.join(here, "bare", "bare.c")] + \
        [os.path.join(shared, f) for f in ("start.S", "bare.c")]
    script = os.path.join(shared, "link.ld")
    jobs = (
        ("native", [cc], ["-static"], hosted, []),
        ("linux", [cross + "gcc"], ["-static"], hosted, []),
        ("bare.elf", [cross + "gcc"],
         ["-mcmodel=medany", "-nostdlib", "-static", "-T", script, "-Wl,--build-id=none"],
         bare, ["-lgcc"]),
    )
    deps = [os.path.join(here, f) for f in ("bench.h", "main.h", "build.py")] + \
        [script, os.path.join(shared, "bare.h")]
    for name, compiler, flags, files, libs in jobs:
        target = os.path.join(out, name)
        if newer(target, files + deps):
            continue
        cmd = compiler + CFLAGS + ["-I" + src] + flags + ["-o", target + ".new"] + files + libs
        p = subprocess.run(cmd, capture_output=True, text=True)
        if p.returncode:
            raise BuildError(f"{' '.join(cmd)}\n{p.stderr}")
        os.replace(target + ".new", target)


def newer(target, sources):
    """Is target there and at least as new as all its sources?"""
    try:
        t = os.stat(target).st_mtime
    except OSError:
        return False
    return all(os.stat(s).st_mtime <= t for s in sources)


def write_bare(elf, out, orders):
    """Copies the bare-metal program with its orders written into it."""
    with open(elf, "rb") as f:
        data = bytearray(f.read())
    text = orders.encode() + b"\0"
    at = data.find(ORDERS)
    if at < 0 or len(text) > ORDERS_MAX:
        raise BuildError(f"{elf}: no room for orders, or too many of them")
    data[at:at + len(text)] = text
    with open(out, "wb") as f:
        f.write(data)


def cpio_entry(name, mode, data, ino):
    head = "070701" + "".join("%08X" % v for v in (
        ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    entry = head.encode() + name.encode() + b"\0"
    return entry + bytes(-len(entry) % 4) + data + bytes(-len(data) % 4)


def write_initrd(base, program, out):
    """The guest's initramfs with a second archive behind it that holds /bench."""
    with open(program, "rb") as f:
        body = f.read()
    extra = cpio_entry("bench", 0o100755, body, 900001) + cpio_entry("TRAILER!!!", 0, b"", 0)
    with open(base, "rb") as f:
        first = f.read()
    with open(out, "wb") as f:
        f.write(first + bytes(-len(first) % 4) + gzip.compress(extra, 6, mtime=0))
