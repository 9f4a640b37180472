#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lyre-img from outside: each command and each option, beside qemu-img where
that is installed (both on the same files: the same stdout, the same status),
images made by one read by the other. Each case is a function that raises Failed.

    test_img.py [CASE...]"""
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import (COMMANDS, IMG, QEMU_IMG, QEMU_IO, SRC, Bench, Failed, Tried, expect,  # noqa: E402
                     run, run_cases)

KEY = ["--object", "secret,id=key,data=geheim"]
PIECES = ["write -P 1 0 1M", "write -P 2 3M 100k", "write -z 5M 256k", "write -P 3 7M 64k"]


def room(name):
    return Bench(name)


def without_sizes(text):
    """`info` of images that two programs made: what they occupy differs."""
    text = re.sub(r"disk size: .*", "disk size", text)
    text = re.sub(r'"actual-size": \d+', '"actual-size"', text)
    return re.sub(r"(date-n?sec\": )\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", text)


def same_contents(b, one, two, fmt1, fmt2):
    b.img("compare", "-q", "-f", fmt1, "-F", fmt2, one, two)
    if QEMU_IMG:
        b.qemu("compare", "-q", "-f", fmt1, "-F", fmt2, one, two)


# ---- the command line as such ----------------------------------------------------------

def help_and_page():
    """Each command's --help and the manual page have the same options."""
    with open(os.path.join(SRC, "docs", "man", "lyre-img.1"), encoding="utf-8") as f:
        page = re.sub(r"\\f[A-Z]", "", f.read().replace("\\-", "-"))
    heads = set()
    for head in re.findall(r"^\.TP\n(.*)$", page, re.M):
        heads |= set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", head))
    listed = set()
    for command in [None, *COMMANDS]:
        r = run(IMG, *([command] if command else []), "--help")
        expect(r.status == 0 and not r.errs and "Usage: lyre-img" in r.out, str(r))
        for line in r.out.split("\n"):
            m = re.match(r"  ((?:-\w, )*(?:--[\w-]+)?)", line)
            listed |= set(re.findall(r"--?[\w-]+", m[1])) if m else set()
    expect(len(listed) > 60, f"only {sorted(listed)}")
    expect(listed == heads, f"not in the page: {sorted(listed - heads)}; only there: {sorted(heads - listed)}")
    for c in COMMANDS:
        expect(re.search(rf'^\.BR {c} "', page, re.M), f"{c} is not in the page")
        expect(run(IMG, c, "-h").out == run(IMG, "help", c).out, f"help {c}")


def front():
    r = run(IMG, "--version")
    expect(r.status == 0 and "version" in r.out, str(r))
    r = run(IMG, "-T", "help")
    expect(r.status == 0 and "Trace points" in r.out, str(r))
    r = run(IMG, "create", "--object", "help")
    expect(r.status == 0 and "secret" in r.out, str(r))
    with room("full") as b:
        b.img("create", "-f", "qcow2", "a", "1M")
        with open("/dev/full", "w", encoding="utf-8") as full:
            p = subprocess.run([IMG, "info", "a"], cwd=b.dir, stdout=full, stderr=subprocess.PIPE, check=False)
        expect(p.returncode == 1 and b"No space" in p.stderr, f"/dev/full: {p}")


def objects():
    """--object of each command; its help; what is wrong about one."""
    with room("objects") as b:
        b.img("create", "-q", "-f", "qcow2", "a", "1M")
        for c in COMMANDS:
            out = b.img(c, "--object", "secret,help")
            expect("data=<str>" in out, out)
        b.same("info", *KEY, "a")
        b.fails("info", "--object", "secret,id=a,data=x", "--object", "secret,id=a,data=y", "a", words=["a"])


# ---- making -------------------------------------------------------------------------------

def create_says():
    """The line "Formatting", and what info says afterwards, for many options."""
    for args in (["a", "64M"], ["-f", "qcow2", "a", "64M"], ["-f", "qcow2", "a", "1234567"],
                 ["-f", "qcow2", "-o", "cluster_size=4k,compat=0.10", "a", "10M"],
                 ["-f", "qcow2", "-o", "cluster_size=2M", "-o", "refcount_bits=1", "a", "3G"],
                 ["-f", "qcow2", "-o", "lazy_refcounts=on,extended_l2=on,compression_type=zstd", "a", "5M"],
                 ["-f", "qcow2", "-o", "preallocation=metadata", "a", "5M"],
                 ["-f", "raw", "-o", "preallocation=full", "a", "1M"],
                 ["-f", "qcow2", "a", "0"], ["-f", "qcow2", "a", "1T"]):
        with room("create") as b:
            out = b.img("create", *args)
            expect("Formatting 'a', fmt=" in out, out)
            info = b.img("info", "a")
            if "raw" not in args and "-f" in args:
                b.check("a")
            if QEMU_IMG:
                os.unlink(b.path("a"))
                theirs = b.qemu("create", *args)
                expect(theirs == out, f"{out}{theirs}")
                expect(without_sizes(b.img("info", "a")) == without_sizes(info), f"{info}\n{b.img('info', 'a')}")
    with room("create") as b:
        expect(b.img("create", "-q", "--format=raw", "a", "1M") == "", "-q")
        for fmt in ("qcow2", "raw"):
            out = b.img("create", "-f", fmt, "--options", "help")
            expect(f"Supported {fmt} options:" in out and "size=<size>" in out, out)


def create_overlay():
    with room("overlay") as b:
        os.mkdir(b.path("sub"))
        b.img("create", "-q", "-f", "qcow2", "base", "3M")
        for letters in (["-b", "base", "-F", "qcow2"], ["-b", "base", "-B", "qcow2"],
                        ["--backing", "base", "--backing-format", "qcow2"]):
            b.img("create", "-f", "qcow2", *letters, "o")
            b.same("info", "o")
        b.img("create", "-f", "qcow2", "-b", "../base", "-F", "qcow2", "sub/o", "5M")
        b.same("info", "--backing-chain", "sub/o")
        b.same("info", "--backing-chain", "--output=json", "sub/o")
        b.img("create", "-f", "qcow2", "-u", "-b", "nowhere", "-F", "raw", "u", "1M")
        b.same("info", "u")
        b.fails("create", "-f", "qcow2", "-b", "nowhere", "-F", "raw", "v", words=["nowhere", "No such file"])
        b.fails("create", "-f", "qcow2", "-b", "base", "v", words=["format", "qcow2"])


# ---- looking -------------------------------------------------------------------------------

def sample(b, name="a", options="", size="10M"):
    b.img("create", "-q", "-f", "qcow2", *(["-o", options] if options else []), name, size)
    b.io(name, *PIECES)


def info():
    with room("info") as b:
        sample(b)
        b.img("snapshot", "-c", "first", "a")
        b.img("snapshot", "-c", "a second one with a rather long name", "a")
        b.img("bitmap", "--add", "a", "bits")
        b.img("bitmap", "--add", "-g", "1M", "--disable", "a", "off")
        b.write("r", (0, b"x"), size=1234567)
        for name in ("a", "r"):
            for args in ([], ["--output", "human"], ["--output=json"], ["-U"], ["--backing-chain", "--output=json"]):
                b.same("info", *args, name)
        b.same("info", "-f", "raw", "a")
        b.same("info", "--image-opts", "driver=qcow2,file.filename=a")
        b.same("info", 'json:{"driver":"qcow2","file":{"driver":"file","filename":"a"}}')
        out = json.loads(b.img("info", "--limits", "--output=json", "a"))
        expect(out["limits"]["request-alignment"] >= 1, str(out))
        b.same("snapshot", "-l", "a")
        b.fails("info", "nope", words=["nope", "No such file"])
        b.img("create", "-q", "-f", "qcow2", *KEY, "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
              "e", "5M")
        b.same("info", "e")
        b.same("info", "--output=json", "e")


def info_loop():
    """A backing file that is its own overlay is told, not followed for ever."""
    with room("loop") as b:
        b.img("create", "-q", "-f", "qcow2", "a", "1M")
        b.img("create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2", "b")
        b.img("rebase", "-u", "-b", "b", "-F", "qcow2", "a")
        b.fails("info", "--backing-chain", "b", words=["loop", "rebase -u"])
        b.fails("map", "b")


def show_map():
    with room("map") as b:
        sample(b)
        b.img("create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2", "o", "12M")
        b.io("o", "write -P 9 2M 64k")
        b.write("r", (0, b"x" * 5000), (1 << 20, b"y"), size=(3 << 20) + 5)
        b.write("empty")
        for name in ("a", "o", "r", "empty"):
            for args in ([], ["--output=json"], ["--output=json", "--start-offset=1M", "--max-length=4000000"],
                         ["--output=json", "--start-offset=20M"], ["-U"]):
                b.same("map", *args, name)
        b.img("map", "-s", "1M", "-l", "4096", "a")
        b.same("map", "-f", "raw", "--output=json", "a")
        b.same("map", "--image-opts", "driver=qcow2,file.filename=o")
        b.img("convert", "-c", "-O", "qcow2", "a", "c")
        b.same("map", "--output=json", "c")
        b.fails("map", "c", words=["compressed", "--output=json"])


def measure():
    with room("measure") as b:
        sample(b)
        for args in (["--size", "1G"], ["-O", "qcow2", "--size", "10G"], ["-O", "qcow2", "a"],
                     ["-O", "qcow2", "--output=json", "a"], ["-O", "raw", "a"], ["-f", "raw", "-O", "qcow2", "a"],
                     ["-O", "qcow2", "-o", "cluster_size=4k", "a"], ["-U", "-O", "qcow2", "a"],
                     ["-O", "qcow2", "--image-opts", "driver=qcow2,file.filename=a"]):
            b.same("measure", *args)
        b.img("measure", "-s", "1M")
        b.img("snapshot", "-c", "s", "a")
        b.io("a", "write -P 4 8M 1M")
        b.same("measure", "-O", "qcow2", "-l", "s", "a")
        b.fails("measure", words=["neither an image nor a size"])
        b.fails("measure", "-s", "1M", "a", words=["exclude"])
        expect("options:" in b.img("measure", "-O", "qcow2", "-o", "help"), "-o help")


def compare():
    with room("compare") as b:
        sample(b)
        b.img("convert", "-O", "raw", "a", "r")
        b.write("d", *[(7 << 20, b"\0")], size=10 << 20)
        b.same("compare", "a", "r", status=0)
        b.same("compare", "-f", "qcow2", "-F", "raw", "a", "r", status=0)
        b.img("compare", "--a-format", "qcow2", "--b-format", "raw", "a", "r")
        b.same("compare", "a", "d", status=1)
        b.same("compare", "-s", "a", "r", status=1)
        b.same("compare", "-q", "a", "d", status=1)
        b.same("compare", "-U", "-T", "none", "a", "a")
        shutil.copy(b.path("r"), b.path("x"))
        with open(b.path("x"), "r+b") as f:
            f.seek((3 << 20) + 777)
            f.write(b"\xff")
        b.same("compare", "r", "x", status=1)
        os.truncate(b.path("x"), 12 << 20)
        b.same("compare", "x", "a", status=1)
        os.truncate(b.path("r"), 12 << 20)
        b.same("compare", "r", "a", status=0)
        b.same("compare", "-s", "r", "a", status=1)
        b.same("compare", "--image-opts", "driver=qcow2,file.filename=a", "driver=raw,file.filename=r", status=0)
        b.fails("compare", "a", "nope", status=2, words=["nope"])
        out = b.img("compare", "-p", "a", "r")
        expect(out.startswith("    (0.00/100%)\r") and "(100.00/100%)\r\n" in out, repr(out))


# ---- copying --------------------------------------------------------------------------------

def convert():
    """All ways between raw and qcow2, with the options that change how."""
    with room("convert") as b:
        sample(b)
        n = 0
        for args in ([], ["-S", "0"], ["-S", "64k"], ["-m", "1"], ["-m", "16", "-W"], ["-C"], ["-t", "none", "-T", "none"],
                     ["-U"], ["--salvage"], ["-p"], ["-q"], ["-r", "1G"], ["-t", "writethrough"], ["-f", "qcow2"]):
            for fmt in ("raw", "qcow2"):
                n += 1
                b.img("convert", *args, "-O", fmt, "a", f"t{n}")
                same_contents(b, "a", f"t{n}", "qcow2", fmt)
                if fmt == "qcow2":
                    b.check(f"t{n}")
                os.unlink(b.path(f"t{n}"))
        b.img("convert", "-O", "raw", "a", "r")
        if QEMU_IMG:
            b.qemu("convert", "-O", "raw", "a", "r2")
            expect(b.read("r") == b.read("r2"), "raw copies differ")
        used = os.stat(b.path("r")).st_blocks * 512
        expect(used < 3 << 20, f"the copy occupies {used} bytes: holes were filled")
        b.img("convert", "-S", "0", "-O", "raw", "a", "full")
        expect(os.stat(b.path("full")).st_blocks * 512 >= 10 << 20, "-S 0 left holes")
        for kind in ("zlib", "zstd"):
            b.img("convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind}", "r", "c")
            same_contents(b, "a", "c", "qcow2", "qcow2")
            b.check("c")
            expect(os.path.getsize(b.path("c")) < 1 << 20, "it is not smaller")
        b.img("convert", "-O", "qcow2", "-o", "cluster_size=4k,refcount_bits=1", "c", "k")
        b.check("k")
        same_contents(b, "a", "k", "qcow2", "qcow2")
        b.img("convert", "--image-opts", "-O", "qcow2", "driver=raw,file.filename=r,offset=1M,size=4M", "part")
        expect('"virtual-size": 4194304' in b.img("info", "--output=json", "part"), "offset and size")
        expect("options:" in b.img("convert", "-O", "qcow2", "-o", "help"), "-o help")


def convert_more():
    """Existing targets, several sources, snapshots, overlays, encryption, bitmaps."""
    with room("convert2") as b:
        sample(b)
        b.img("convert", "-O", "raw", "a", "r")
        b.img("create", "-q", "-f", "qcow2", "n", "10M")
        b.img("convert", "-n", "-O", "qcow2", "a", "n")
        same_contents(b, "a", "n", "qcow2", "qcow2")
        b.write("z", size=10 << 20)
        b.img("convert", "-n", "--target-is-zero", "a", "z")
        same_contents(b, "a", "z", "qcow2", "raw")
        b.img("convert", "-n", "--target-image-opts", "a", "driver=qcow2,file.filename=n")
        b.img("convert", "-O", "qcow2", "r", "r", "two")
        if QEMU_IMG:
            b.qemu("convert", "-O", "raw", "r", "r", "two.raw")
            same_contents(b, "two", "two.raw", "qcow2", "raw")
        b.img("snapshot", "-c", "s", "a")
        b.io("a", "write -P 99 0 2M")
        for text in ("s", "1", "snapshot.name=s", "snapshot.id=1"):
            b.img("convert", "-l", text, "-O", "raw", "a", "old")
            same_contents(b, "old", "r", "raw", "raw")
        b.fails("convert", "-l", "nope", "-O", "raw", "a", "old", words=["nope"])
        b.img("create", "-q", "-f", "qcow2", "-b", "r", "-F", "raw", "o")
        b.io("o", "write -P 42 5M 1M")
        for words in (["-B", "r", "-F", "raw"], ["-b", "r", "-F", "raw"], ["--backing", "r", "--backing-format=raw"],
                      ["-o", "backing_file=r,backing_fmt=raw"]):
            b.img("convert", "-O", "qcow2", *words, "o", "o2")
            same_contents(b, "o", "o2", "qcow2", "qcow2")
            b.check("o2")
            expect(os.path.getsize(b.path("o2")) < 2 << 20, "the backing file was copied, too")
        b.img("convert", *KEY, "-O", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
              "r", "e")
        b.img("convert", *KEY, "--image-opts", "-O", "raw",
              "driver=qcow2,file.filename=e,encrypt.key-secret=key", "e.raw")
        same_contents(b, "e.raw", "r", "raw", "raw")
        b.img("create", "-q", "-f", "qcow2", "m", "2M")
        b.img("bitmap", "--add", "m", "bits")
        b.io("m", "write -P 1 1M 64k")
        b.img("convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", "m", "m2")
        expect("bits" in b.img("info", "m2"), "the bitmap was not copied")


def salvage():
    """What cannot be read is told, and becomes zeroes."""
    with room("salvage") as b:
        b.write("r", (0, bytes(range(256)) * 4096))
        source = "driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename=r," \
                 "file.inject-error.0.event=read_aio,file.inject-error.0.sector=128,file.inject-error.0.errno=5"
        errs = b.fails("convert", "--image-opts", "-O", "raw", source, "t", words=["--salvage", "Input/output error"])
        expect("offset" in errs, errs)
        r = run(IMG, "convert", "--salvage", "--image-opts", "-O", "raw", source, "t", cwd=b.dir)
        expect(r.status == 0 and "512 bytes at offset 65536" in r.errs, str(r))
        whole = b.read("r")
        expect(b.read("t") == whole[:65536] + bytes(512) + whole[66048:], "it is not the same but for the sector")
        r = run(IMG, "convert", "-q", "--salvage", "--image-opts", "-O", "raw", source, "t", cwd=b.dir)
        expect(r.status == 0 and not r.errs, str(r))


def progress_form():
    with room("progress") as b:
        sample(b)
        out = b.img("convert", "-p", "-O", "raw", "a", "r")
        expect(re.fullmatch(r"( {4}\(\d+\.\d\d/100%\)\r)+\n", out), repr(out))
        expect(out.startswith("    (0.00/100%)\r") and out.endswith("(100.00/100%)\r\n"), repr(out))
        expect(b.img("convert", "-p", "-q", "-O", "raw", "a", "r") == "", "-q -p")


def dd():
    with room("dd") as b:
        sample(b)
        b.img("convert", "-O", "raw", "a", "r")
        whole = b.read("r")
        for n, (args, off, size) in enumerate((
                ([], 0, 10 << 20), (["bs=1M", "count=2"], 0, 2 << 20), (["bs=1M", "skip=3"], 3 << 20, 7 << 20),
                (["bs=4k", "skip=1", "count=3"], 4096, 12288), (["bs=1M", "skip=100"], 0, 0))):
            b.img("dd", "-O", "raw", *args, "if=a", f"of=d{n}")
            expect(b.read(f"d{n}") == whole[off:off + size], f"dd {args}")
        b.img("dd", "-f", "raw", "-O", "qcow2", "if=r", "of=q", "bs=64k", "-U")
        same_contents(b, "r", "q", "raw", "qcow2")
        b.img("dd", "--image-opts", "if=driver=qcow2,file.filename=q", "of=p", "-p", "-q")
        b.fails("dd", "if=a", words=["output"])
        b.fails("dd", "if=a", "of=b", "bs=0", words=["bs"])
        b.fails("dd", "if=a", "of=b", "bz=1k", words=["bz", "bs="])


# ---- changing -----------------------------------------------------------------------------------

def resize():
    with room("resize") as b:
        sample(b)
        expect(b.img("resize", "a", "+1M") == "Image resized.\n", "words")
        expect('"virtual-size": 11534336' in b.img("info", "--output=json", "a"), "+1M")
        b.fails("resize", "a", "-2M", words=["smaller", "--shrink"])
        b.img("resize", "--shrink", "a", "-2M")
        expect('"virtual-size": 9437184' in b.img("info", "--output=json", "a"), "-2M")
        b.img("resize", "-q", "--preallocation", "full", "a", "10M")
        b.check("a")
        b.write("r", size=1 << 20)
        b.img("resize", "-f", "raw", "--preallocation=falloc", "r", "2M")
        expect(os.path.getsize(b.path("r")) == 2 << 20, "raw")
        b.img("resize", "--image-opts", "driver=raw,file.filename=r", "3M")
        b.fails("resize", "a", "--shrink", "-20M", words=["nothing left"])
        b.fails("resize", "a", "1G", "--preallocation=fulll", words=["full"])
        b.fails("resize", "a", "abc", words=["abc"])


def snapshots():
    with room("snapshot") as b:
        sample(b)
        b.img("convert", "-O", "raw", "a", "before")
        b.img("snapshot", "-c", "one", "a")
        b.io("a", "write -P 77 0 4M")
        b.img("snapshot", "--create", "two", "-q", "a")
        out = b.same("snapshot", "-l", "a")
        expect(len(out.split("\n")) == 5, out)
        expect(b.img("snapshot", "a") == out, "what it does without an action")
        b.check("a")
        b.img("snapshot", "-a", "one", "a")
        same_contents(b, "a", "before", "qcow2", "raw")
        b.img("snapshot", "-d", "one", "a")
        b.img("snapshot", "--delete", "2", "a")
        expect(b.img("snapshot", "--list", "-f", "qcow2", "-U", "a") == "", "they are still there")
        b.img("snapshot", "--image-opts", "driver=qcow2,file.filename=a")
        b.check("a")
        b.fails("snapshot", "-d", "nope", "a", words=["nope"])
        b.fails("snapshot", "-l", "-c", "x", "a", words=["exclude"])
        b.write("r", size=1 << 20)
        b.fails("snapshot", "-f", "raw", "-c", "x", "r", words=["raw"])


def commit():
    with room("commit") as b:
        os.mkdir(b.path("old"))     # in the same folder copies of overlays would keep their base from being changed
        sample(b, "base")
        for name, below in (("mid", "base"), ("top", "mid")):
            b.img("create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", name, "12M")
        b.io("mid", "write -P 50 1M 1M", "write -z 3M 64k")
        b.io("top", "write -P 51 1536k 1M", "write -P 52 11M 64k")
        b.img("convert", "-O", "raw", "mid", "mid.raw")
        b.img("convert", "-O", "raw", "top", "top.raw")
        for name in ("base", "mid", "top"):
            shutil.copy(b.path(name), b.path("old/" + name))
        expect(b.img("commit", "top") == "Image committed.\n", "words")
        same_contents(b, "mid", "top.raw", "qcow2", "raw")
        same_contents(b, "top", "top.raw", "qcow2", "raw")
        out = b.img("map", "--output=json", "top")
        expect('"depth": 0, "present": true' not in out, f"it is not empty: {out}")
        for name in ("base", "mid", "top"):
            b.check(name)
            shutil.copy(b.path("old/" + name), b.path(name))
        b.img("commit", "-b", "base", "-t", "unsafe", "-r", "1G", "top")
        same_contents(b, "base", "top.raw", "qcow2", "raw")
        b.check("base")
        b.img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "o")
        b.io("o", "write -P 1 0 64k")
        os.unlink(b.path("mid"))
        os.unlink(b.path("top"))
        expect(b.img("commit", "-d", "-q", "-f", "qcow2", "o") == "", "-q")
        out = b.img("commit", "-p", "--image-opts", "driver=qcow2,file.filename=o")
        expect(out.endswith("Image committed.\n"), out)
        b.fails("commit", "base", words=["no backing file"])


def rebase():
    with room("rebase") as b:
        sample(b, "one")
        sample(b, "two")
        b.io("two", "write -P 60 0 3M", "write -P 61 9M 1M")
        b.img("create", "-q", "-f", "qcow2", "-b", "one", "-F", "qcow2", "o", "12M")
        b.io("o", "write -P 70 2M 64k")
        b.img("convert", "-O", "raw", "o", "o.raw")
        b.img("rebase", "-b", "two", "-F", "qcow2", "o")
        same_contents(b, "o", "o.raw", "qcow2", "raw")
        b.check("o")
        expect("backing file: two\n" in b.img("info", "o"), "the name")
        b.img("rebase", "-p", "--backing=one", "-B", "qcow2", "-t", "unsafe", "-T", "none", "-U", "o")
        same_contents(b, "o", "o.raw", "qcow2", "raw")
        b.img("rebase", "-q", "-c", "-f", "qcow2", "-b", "", "o")
        same_contents(b, "o", "o.raw", "qcow2", "raw")
        expect("backing file" not in b.img("info", "o"), "it has one still")
        b.check("o")
        b.img("rebase", "-u", "-b", "somewhere", "--backing-format", "raw", "o")
        expect("backing file: somewhere\n" in b.img("info", "o"), "-u")
        b.img("rebase", "-u", "--image-opts", "driver=qcow2,file.filename=o")
        b.fails("rebase", "-u", "-b", "x", "o", words=["-F"])
        b.fails("rebase", "o", words=["-b"])
        b.img("create", "-q", "-f", "qcow2", "-b", "o", "-F", "qcow2", "p")
        b.fails("rebase", "-b", "p", "-F", "qcow2", "o", words=["loop"])
        b.img("create", "-q", "-f", "qcow2", "-b", "p", "-F", "qcow2", "q")
        b.io("p", "write -P 9 4M 64k")
        b.img("convert", "-O", "raw", "q", "q.raw")
        b.img("rebase", "-b", "o", "-F", "qcow2", "q")
        same_contents(b, "q", "q.raw", "qcow2", "raw")


def amend():
    with room("amend") as b:
        sample(b, "a", "compat=0.10")
        b.img("convert", "-O", "raw", "a", "r")
        b.img("amend", "-o", "compat=1.1", "a")
        expect("compat: 1.1" in b.same("info", "a"), "compat")
        b.img("amend", "-q", "-f", "qcow2", "--options", "lazy_refcounts=on", "-t", "unsafe", "a")
        b.img("amend", "-p", "-o", "lazy_refcounts=off", "-o", "compat=0.10", "--force", "a")
        b.img("amend", "--image-opts", "-o", "size=11M", "driver=qcow2,file.filename=a")
        b.check("a")
        same_contents(b, "a", "r", "qcow2", "raw")
        expect("compat=" in b.img("amend", "-f", "qcow2", "-o", "help"), "-o help")
        expect("compat=" in b.img("amend", "-o", "help", "a"), "-o help FILE")
        b.fails("amend", "a", words=["-o"])
        b.fails("amend", "-o", "cluster_size=4k", "a", words=["cluster_size"])


def bitmap():
    with room("bitmap") as b:
        for name in ("a", "s"):
            b.img("create", "-q", "-f", "qcow2", name, "10M")
        b.img("bitmap", "--add", "-g", "128k", "a", "x")
        b.img("bitmap", "--add", "--disable", "a", "y")
        b.img("bitmap", "-f", "qcow2", "--add", "s", "z")
        b.io("a", "write -P 1 1M 64k")
        b.io("s", "write -P 1 3M 64k")
        b.same("info", "a")
        b.img("bitmap", "--merge", "x", "a", "y")
        b.img("bitmap", "--merge", "z", "-b", "s", "-F", "qcow2", "a", "y")
        b.img("bitmap", "--clear", "--enable", "a", "x")
        b.img("bitmap", "--image-opts", "--disable", "driver=qcow2,file.filename=a", "x")
        b.same("info", "--output=json", "a")
        b.check("a")
        b.img("bitmap", "--remove", "a", "x")
        expect("name: x" not in b.img("info", "a"), "--remove")
        b.fails("bitmap", "a", "x", words=["--add"])
        b.fails("bitmap", "--remove", "a", "nope", words=["nope"])
        b.fails("bitmap", "--add", "a", "y", words=["y", "exists"])
        b.fails("bitmap", "--add", "-g", "3000", "a", "w", words=["power of two"])


def bench():
    with room("bench") as b:
        b.img("create", "-q", "-f", "qcow2", "a", "10M")

        def no_time(text):
            return re.sub(r"in [\d.]+ s", "in", text)

        for args in (["-c", "100"], ["-c", "100", "-d", "3", "-s", "8k", "-S", "16k", "-o", "1M"],
                     ["-w", "-c", "50", "-d", "4", "--pattern", "7", "--flush-interval", "10"],
                     ["-w", "-c", "50", "-d", "4", "--flush-interval", "10", "--no-drain", "-t", "none"],
                     ["-c", "20", "-i", "threads"], ["-c", "20", "-n", "-t", "none"], ["-U", "-c", "10", "-f", "qcow2"],
                     ["-c", "10", "--image-opts"]):
            b.same("bench", *args, "driver=qcow2,file.filename=a" if "--image-opts" in args else "a", change=no_time)
        expect(b.img("bench", "-q", "-c", "10", "a") == "", "-q")
        b.fails("bench", "-d", "20", "-w", "--flush-interval", "10", "a", words=["--flush-interval"])
        b.check("a")


# ---- checking -------------------------------------------------------------------------------------

def leak(path):
    """A cluster at the end of the image that nobody uses."""
    with open(path, "r+b") as f:
        head = f.read(112)
        cluster = 1 << struct.unpack_from(">I", head, 20)[0]
        f.seek(struct.unpack_from(">Q", head, 48)[0])
        block = struct.unpack(">Q", f.read(8))[0]
        f.seek(0, 2)
        n = (f.tell() + cluster - 1) // cluster
        f.truncate((n + 1) * cluster)
        f.seek(block + 2 * n)
        f.write(b"\0\1")


def damage(path):
    """A used cluster whose refcount says it is free."""
    with open(path, "r+b") as f:
        head = f.read(112)
        f.seek(struct.unpack_from(">Q", head, 48)[0])
        block = struct.unpack(">Q", f.read(8))[0]
        cluster = 1 << struct.unpack_from(">I", head, 20)[0]
        f.seek(struct.unpack_from(">Q", head, 40)[0])
        l2 = struct.unpack(">Q", f.read(8))[0] & 0x00ffffffffffff00
        f.seek(l2)
        data = struct.unpack(">Q", f.read(8))[0] & 0x00ffffffffffff00
        f.seek(block + 2 * (data // cluster))
        f.write(b"\0\0")


def check():
    with room("check") as b:
        sample(b)
        b.same("check", "a", status=0)
        b.same("check", "--output=json", "a", status=0)
        b.img("convert", "-c", "-O", "qcow2", "a", "c")
        b.same("check", "c", status=0)
        b.same("check", "--output", "json", "-U", "-T", "none", "c", status=0)
        b.same("check", "--image-opts", "driver=qcow2,file.filename=a", status=0)
        b.write("r", size=1 << 20)
        b.same("check", "r", status=63)
        b.fails("check", "nope", words=["nope"])
        for break_it, status in ((leak, 3), (damage, 2)):
            for repair in ("leaks", "all"):
                shutil.copy(b.path("a"), b.path("x"))
                break_it(b.path("x"))
                out = b.same("check", "x", status=status)
                expect("leaked clusters were found" in out or "errors were found" in out, out)
                b.same("check", "-q", "x", status=status)
                b.same("check", "--output=json", "x", status=status)
                for copy in "yz":
                    shutil.copy(b.path("x"), b.path(copy))
                after = 0 if repair == "all" or break_it is leak else status
                out = b.img("check", "-r", repair, "x", status=after, told=True)
                if QEMU_IMG and after == 0:     # 7.2 gives up where it is told to mend leaks and finds more
                    theirs = b.qemu("check", "-r", repair, "z", status=after)     # it may lay refcounts out anew
                    expect(out.split("Image end")[0] == theirs.split("Image end")[0], f"not as qemu-img: {out}")
                if after == 0:
                    expect("were found and repaired" in out and "Double checking" in out, out)
                    b.check("x")
                    same_contents(b, "a", "x", "qcow2", "qcow2")
                r = run(IMG, "check", "--output=json", "--repair", repair, "y", cwd=b.dir)
                fixed = json.loads(r.out)
                expect(r.status == after and (after or fixed["leaks-fixed" if break_it is leak else "corruptions-fixed"]
                                              == 1), str(r))
        b.fails("check", "-r", "all", "-U", "a", words=["exclude"])


def in_use():
    """Another process writes: info, map and check read, and say so; what would write is refused."""
    if not QEMU_IO:
        return
    with room("live") as b:
        sample(b)
        p = subprocess.Popen([QEMU_IO, "a"], cwd=b.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            p.stdin.write(b"read 0 512\n")
            p.stdin.flush()
            p.stdout.readline()
            for command in ("info", "map", "check"):
                r = run(IMG, command, "a", cwd=b.dir)
                expect(r.status == 0 and "live" in r.errs and r.out, str(r))
                r = run(IMG, command, "-U", "a", cwd=b.dir)
                expect(r.status == 0 and r.errs == "", str(r))
            for args in (["resize", "a", "20M"], ["snapshot", "-c", "x", "a"], ["check", "-r", "all", "a"],
                         ["convert", "-O", "raw", "a", "b"], ["create", "-f", "qcow2", "a", "1M"],
                         ["compare", "a", "a"], ["amend", "-o", "compat=0.10", "a"]):
                b.fails(*args, status=2 if args[0] == "compare" else 1, words=["'a'", "lock"])
            expect(b.img("convert", "-U", "-O", "raw", "a", "b") == "", "-U")
        finally:
            p.stdin.close()
            p.wait(60)
            p.stdout.close()


# ---- protection, signals ----------------------------------------------------------------------------

def protected():
    """What others depend on is kept, unless --force is given."""
    with room("guard") as b:
        sample(b, "base")
        b.img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "o")
        b.img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "o2")
        before = b.read("base")
        b.write("raw", size=10 << 20)
        for args in (["create", "-f", "qcow2", "base", "1M"], ["create", "-f", "qcow2", "-b", "o", "-F", "qcow2", "base"],
                     ["convert", "-O", "qcow2", "o", "base"], ["convert", "-O", "raw", "raw", "base"],
                     ["convert", "-n", "-O", "qcow2", "raw", "base"], ["dd", "if=raw", "of=base"],
                     ["resize", "--shrink", "base", "1M"], ["commit", "o"], ["bench", "-w", "-c", "1", "base"],
                     ["convert", "-O", "raw", "base", "base"], ["convert", "-O", "raw", "raw", "raw"]):
            words = b.fails(*args, words=["--force"])
            expect("base" in words or "raw" in words, words)
            expect(b.read("base") == before, f"{args} changed it")
        b.img("snapshot", "-c", "s", "base")
        for force in ([], ["--force"]):             # scripts know what they do: a note says who is above it
            said = run(IMG, "snapshot", "-a", "s", *force, "base", cwd=b.dir)
            expect(said.status == 0 and ("backing file of" in said.errs) == (not force), said)
        b.img("snapshot", "-a", "s", "--force", "base")
        b.img("resize", "--shrink", "--force", "base", "9M")
        b.img("commit", "--force", "-d", "o")
        b.img("bench", "-w", "-q", "-c", "1", "--force", "base")
        b.img("convert", "--force", "-O", "qcow2", "raw", "base")
        b.img("dd", "--force", "-O", "qcow2", "if=raw", "of=base")
        b.img("create", "-q", "--force", "-f", "qcow2", "base", "1M")
        b.img("create", "-q", "-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "x", "1M")
        b.fails("create", "data", "1M", words=["data file of", "--force"])
        b.img("create", "-q", "-u", "-f", "qcow2", "-b", 'json:{"driver":"raw","file":{"driver":"file","filename":"raw"}}',
              "-F", "raw", "j", "1M")
        b.fails("create", "raw", "1M", words=["backing file of", "'j'"])
        b.img("create", "-q", "o", "2M")


def stopped():
    """SIGTERM in the middle of a copy: a proper image, and words."""
    with room("stop") as b:
        b.write("big", *[(n << 20, os.urandom(1 << 20)) for n in range(32)])
        p = subprocess.Popen([IMG, "convert", "-r", "8M", "-O", "qcow2", "big", "t"], cwd=b.dir,
                             stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        target = os.path.join(b.dir, "t")
        while p.poll() is None and not (os.path.exists(target) and os.path.getsize(target) > 2 << 20):
            time.sleep(0.01)
        p.send_signal(signal.SIGTERM)
        _, errs = p.communicate(timeout=60)
        expect(p.returncode == -signal.SIGTERM, f"status {p.returncode}: {errs}")
        expect(b"stopped" in errs and b"'t'" in errs and b"--resume" in errs, f"{errs}")
        b.check("t")
        b.fails("compare", "-f", "raw", "-F", "qcow2", "big", "t")
        b.img("convert", "--resume", "-f", "raw", "-O", "qcow2", "big", "t")
        same_contents(b, "big", "t", "raw", "qcow2")
        b.check("t")
        b.io("t", "write -P 3 5M 64k")
        b.img("convert", "--resume", "-f", "raw", "-O", "qcow2", "big", "t")
        same_contents(b, "big", "t", "raw", "qcow2")
        b.img("convert", "--resume", "-f", "raw", "-O", "raw", "big", "new")
        expect(b.read("new") == b.read("big"), "--resume without a target")
        b.img("resize", "t", "+1M")
        b.fails("convert", "--resume", "-f", "raw", "-O", "qcow2", "big", "t", words=["no unfinished copy"])


def terminal():
    """On a terminal the progress is alive without -p, on stderr, and goes away."""
    try:
        import pty
    except ImportError:
        return
    with room("tty") as b:
        b.write("big", *[(n << 20, os.urandom(1 << 20)) for n in range(8)])
        main, side = pty.openpty()
        p = subprocess.Popen([IMG, "convert", "-r", "6M", "-O", "qcow2", "big", "t"], cwd=b.dir, stdin=side,
                             stdout=side, stderr=side)
        os.close(side)
        text = b""
        while True:
            try:
                more = os.read(main, 4096)
            except OSError:
                break
            if not more:
                break
            text += more
        os.close(main)
        expect(p.wait(60) == 0, f"{text}")
        expect(b"iB/s" in text and b" left" in text and b"converted" in text and b"\x1b[K" in text, f"{text}")


def peers():
    """Images of one program in the hands of the other."""
    if not QEMU_IMG:
        return
    for options in ("", "compat=0.10", "cluster_size=512", "cluster_size=2M", "refcount_bits=64",
                    "extended_l2=on,cluster_size=128k"):
        with room("peers") as b:
            o = ["-o", options] if options else []
            b.qemu("create", "-q", "-f", "qcow2", *o, "q", "8M")
            b.io("q", "write -P 1 0 1M", "write -P 2 3M 100k", "write -z 5M 256k")
            b.img("check", "-q", "q")
            b.same("info", "q")
            b.same("map", "--output=json", "q")
            b.same("check", "q")
            b.img("convert", "-O", "qcow2", *o, "q", "l")
            b.qemu("check", "-q", "l")
            b.qemu("compare", "-q", "q", "l")
            b.same("info", "l")
            b.same("map", "--output=json", "l")


CASES = [help_and_page, front, objects, create_says, create_overlay, info, info_loop, show_map, measure, compare, convert,
         convert_more, salvage, progress_form, dd, resize, snapshots, commit, rebase, amend, bitmap, bench, check, in_use,
         protected, stopped, terminal, peers]


def every_option():
    """All options that --help lists were given in the cases above."""
    expect(not Bench.tried.missing(), f"never tried: {', '.join(Bench.tried.missing())}")


def main():
    if not QEMU_IMG:
        print("note: qemu-img is not installed: there is nothing to compare with")
    Bench.tried = Tried()
    return run_cases(CASES if sys.argv[1:] else [*CASES, every_option], sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
