#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lyre-io against qemu-io: the same commands on copies of the same images have
to give the same output to the byte (times and rates masked), the same exit
status, and the same bytes in the image. Every command and option is in a line.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

BUILD = os.path.abspath(os.environ.get("LYRE_BUILD", "build"))
OURS, THEIRS = os.path.join(BUILD, "lyre-io"), shutil.which("qemu-io")
IMG = shutil.which("qemu-img")

MASKS = (
    (re.compile(r"\d+:\d\d:\d\d\.\d\d,[\d.]+,[\d.]+"), "TIME,RATE,RATE"),
    (re.compile(r"(ops; )(?:\d\d\.\d\d sec|\d+:\d\d:\d\d\.\d\d) \([\d.]+ (?:bytes|KiB|MiB|GiB|TiB|PiB|EiB)/sec and [\d.]+ ops/sec\)"),
     r"\1TIME"),
    (re.compile(r"qemu-io|lyre-io"), "IO"),
    (re.compile(r"WARNING: Image format was not specified.*\n.*\n.*restrictions\.\n"), ""),
    (re.compile(r"IO: (?:note: )?warning: "), "IO: warning: "),
)
# Each: the command line before -c, then the commands. {} is the image, which each program has a copy of.
RAW = "-f raw {}"
CASES = [
    (RAW, "read 0 512", "read 512 1k", "read 1 1", "read 0x200 0x10", "read 010 8", "read +1 1", "read 1.5k 1",
     "read 0 0", "read 1M 0", "read 2M 1", "read 1M 1", "read 1048575 1", "read 1048575 2"),
    (RAW, "read", "read 0", "read a 1", "read 0 b", "read 0 1 2", "read -X 0 1", "read -1 1", "read 0 3G", "read 20E 1",
     "read 9E 1", "read 0 .5k", "read 0 1.5", "read \"0\" 1", "read 1e1 1", "read 1kk 1", "read -P 0 1"),
    (RAW, "read -P 0 0 64k", "read -P 1 0 64k", "read -P 300 0 1", "read -P x 0 1", "read -P 0x0 0 1", "read -P -1 0 1",
     "read -P 0 -s 5 -l 10 0 64", "read -P 1 -s 5 -l 10 0 64", "read -P 1 -s 5 0 64", "read -P 1 -l 5 0 64",
     "read -P 1 -s 60 -l 10 0 64", "read -s 1 0 64", "read -l 1 0 64", "read -P 1 -s x 0 64", "read -P 1 -l x 0 64"),
    (RAW, "write -P 0x41 0 100", "read -v 0 100", "read -v 90 33", "read -vq 0 10", "read -C 0 512", "read -Cv 0 20",
     "read -q 0 1", "read -p 0 512", "read 0 16 -v", "read -vP 3 0 20"),
    (RAW, "write 0 512", "write -P 0xff 1 7", "write -q 0 1", "write -C 3 3", "write -f 0 4k", "write -p 0 1",
     "write -z 4k 4k", "write -zu 8k 4k", "write -z 100 100", "write -zf 1 1", "write 0 0", "write -z 0 0",
     "write 1M 1", "write 1048575 2", "write -u 0 1", "write -n 0 1", "write -zP 3 0 1", "write -bz 0 1", "write -bf 0 1",
     "write -cf 0 1", "write -z 0 3G", "write -s nofile 0 1", "write -s /dev/null 0 1", "write -P 010 0 1", "write 0 1 2",
     "write -X 0 1", "write -zs x 0 1", "read -v 0 32"),
    (RAW, "write -s pattern 0 1000", "read -v 0 48", "read -v 990 20"),
    (RAW, "writev 0 512 1k 2k", "writev -P 7 100 1 2 3", "writev -q 0 1", "writev -f 0 1 1", "writev -C 0 1 1", "writev 0",
     "writev 0 a", "writev a 1", "writev 0 3G", "writev 0 1G 1G", "writev -X 0 1", "writev 1M 1", "writev 0 0 5 0",
     "readv 0 512 1k", "readv -P 7 100 6", "readv -P 8 100 1 5", "readv -v 100 3 3", "readv -q 0 1", "readv -C 0 3 3",
     "readv 0 1G 1G", "readv 1M 1"),
    (RAW, "aio_write -P 9 0 64k", "aio_flush", "aio_read -P 9 0 64k", "aio_flush", "aio_read -P 8 0 64k", "aio_flush",
     "aio_read -v 0 16 16", "aio_flush", "aio_read -qv 0 16", "aio_flush", "aio_write -q 0 1", "aio_flush",
     "aio_write -C 0 1", "aio_flush", "aio_write -z 64k 64k", "aio_flush", "aio_write -zu 64k 64k", "aio_flush",
     "aio_write -f 0 1 2 3", "aio_flush", "aio_read 2M 1", "aio_flush", "aio_write 2M 1", "aio_flush",
     "aio_write -z 2M 1", "aio_flush", "aio_write -i 0 1", "aio_read -i 0 1", "aio_write -u 0 1", "aio_write -z 0 1 1",
     "aio_write -i", "aio_read 0 a", "aio_read a 1", "aio_read -X 0 1", "aio_write -zP 3 0 1", "aio_flush", "aio_flush x"),
    (RAW, "aio_read 0 512", "length"),
    (RAW, "aio_read 0 512", "sleep 50", "length"),
    (RAW, "discard 0 64k", "discard 10 20", "discard -q 0 1", "discard -C 0 1", "discard 0", "discard a 1", "discard 1 a",
     "discard 0 3G", "discard -X 0 1", "discard 0 1 2", "discard 5M 1", "discard 0 0"),
    (RAW, "alloc 0", "alloc 0 1M", "alloc a", "alloc 0 b", "alloc 5M", "alloc 1M 1M", "alloc 100 10", "alloc -1", "alloc",
     "alloc 0 1 2", "map", "map x", "length", "length x", "info", "info x", "flush", "flush x"),
    (RAW, "truncate 2M", "length", "truncate 512k", "length", "truncate -m off 1M", "truncate -m falloc 2M", "truncate",
     "truncate a", "truncate -m foo 1M", "truncate -1", "truncate -X 1", "truncate 1.5M", "length", "truncate 1M 2M"),
    ("-r -f raw {}", "read 0 1", "write 0 1", "writev 0 1", "discard 0 1", "truncate 1M", "aio_write 0 1", "write",
     "write -X", "flush", "length"),
    (RAW, "reopen -r", "write 0 1", "reopen -w", "write 0 1", "reopen -rw", "reopen -r -r", "reopen x", "reopen -c foo",
     "reopen -X", "reopen -c writeback", "reopen", "read 0 1"),
    ("", "open -s -o driver=raw {}", "write -P 5 0 512", "read -P 5 0 512", "close", "open -o driver=raw {}", "read -P 5 0 512"),
    ("", "open -rC -o driver=raw {}", "read 0 512", "close", "open -nU -r -o driver=raw {}", "read 0 4k", "close",
     "open -t none -d unmap -o driver=raw {}", "discard 0 64k"),
    ("-s " + RAW, "write -P 9 0 4k", "read -P 9 0 4k"),
    ("--object secret,id=s,data=x " + RAW, "read 0 1"),
    ("", "read 0 1", "length", "close", "open -X", "open", "open a b", "open nofile"),
    ("", "open -o driver=raw,file.filename={}", "read 0 1", "open {}", "close", "close", "open -r -o driver=raw {}",
     "write 0 1", "close"),
    ("--image-opts", "open driver=raw,file.filename={}", "length"),
    ("--image-opts driver=raw,file.filename={}", "length"),
    ("--image-opts -f raw {}", "length"),
    ("-f foo {}", "length"), ("-t foo {}", "length"), ("-d foo {}", "length"), ("-i foo {}", "length"),
    ("nofile", "length"), ("-f raw -d unmap {}", "discard 0 64k", "map"), ("-f raw -d ignore {}", "discard 0 64k", "map"),
    ("-f raw -t none {}", "read 0 512", "write 0 4k", "write 1 1", "read 0 1"),
    ("-f raw -n {}", "read 0 512", "write 512 512", "read -P 0xcd 512 512"),
    ("-f raw -m -n {}", "read 0 512", "write 512 512", "readv 0 512 512"),
    ("-f raw -m {}", "read 0 512", "write 5 7"), ("-f raw -i threads {}", "read 0 512"),
    ("-f raw -t writethrough {}", "write 0 512"), ("-f raw -t directsync {}", "write 0 512"),
    ("-f raw -t unsafe {}", "write 0 512", "flush"), ("-f raw -C -r {}", "length"), ("-f raw -U -r {}", "length"),
    ("-f raw -U {}", "length"),
    (RAW, "foo", "help foo", "help a b", "help", "help read", "help write", "help readv", "help writev", "help aio_read",
     "help aio_write", "help discard", "help open", "help reopen", "help sigraise", "help map", "help quit", "?", "help ?"),
    (RAW, "r 0 1", "w 0 1", "a 0", "l", "f", "i", "d 0 512", "t 1M", "c", "q", "length"),
    (RAW, "  read   0    1  ", "", " ", "quit", "length"),
    (RAW, "sleep 1", "sleep", "sleep a", "sleep -1", "sleep 1k", "sigraise", "sigraise a", "sigraise 99", "sigraise 0",
     "sigraise -1"),
    (RAW, "length", "sigraise 15"),
    (RAW, "break a b", "resume a", "remove_break a", "break", "resume", "wait_break"),
]
QCOW2 = "-f qcow2 {}"
QCOW2_CASES = [
    (QCOW2, "read 0 64k", "write -P 1 0 64k", "write -P 2 100k 100", "read -P 1 0 64k", "map", "alloc 0 1M", "info",
     "write -z 0 64k", "write -zu 64k 64k", "map", "read -P 0 0 128k", "discard 0 64k", "map", "length"),
    (QCOW2, "write -c 0 64k", "write -c 64k 32k", "write -c 512 64k", "write -c -P 3 128k 128k", "map", "read -P 3 128k 128k",
     "write -zn 0 64k", "write -zn 100 10", "write -zc 0 64k"),
    (QCOW2, "write -b 0 512", "write -bP 5 100 1000", "read -b 0 64", "read -bP 5 100 1000", "read -bv 90 20", "write -bc 0 1"),
    (QCOW2, "truncate 2M", "length", "write 1M 1M", "map", "truncate 3000000", "truncate -m full 3M", "truncate -m metadata 4M",
     "truncate -m falloc 5M", "length", "info"),
    ("-s -f qcow2 {}", "write -P 4 0 1k", "read -P 4 0 1k", "map"),
    ("-C -f qcow2 {}", "read 0 64k"),
    ("-f qcow2 -d unmap {}", "write 0 256k", "discard 0 128k", "map", "write -zu 128k 64k", "map"),
    (QCOW2, "aio_write -P 1 0 128k", "aio_flush", "aio_write -P 2 64k 128k", "aio_flush", "aio_read -P 1 0 64k", "aio_flush",
     "aio_read -P 2 64k 128k", "aio_flush"),
    (QCOW2, "write -b 0 512", "write -bP 5 512 1k", "read -bP 5 1k 512", "read -bv 496 20"),
    ("blkdebug::{}", "write 0 64k", "break read_aio A", "aio_read 0 512", "wait_break A", "aio_write 64k 512", "resume A", "aio_flush",
     "resume X", "remove_break X"),
    ("blkdebug::{}", "break cluster_alloc A", "aio_write 512k 512", "wait_break A", "resume A", "aio_flush"),
]


def mask(text):
    for pattern, to in MASKS:
        text = pattern.sub(to, text)
    return text


def run(program, folder, head, commands, stdin=None):
    words = head.replace("{}", "image").split()
    for c in commands:
        words += ["-c", c.replace("{}", "image")]
    p = subprocess.run([program] + words, cwd=folder, input=stdin, capture_output=True, timeout=30,
                       stdin=None if stdin is not None else subprocess.DEVNULL)
    return p.returncode, mask(p.stdout.decode(errors="replace")), mask(p.stderr.decode(errors="replace"))


def same_errors(ours, theirs):
    """Ours may have a hint behind a message, a sentence of its own."""
    hint = re.compile(r"[A-Z'].*[.?]$")
    a = [line for line in ours.split("\n") if not hint.match(line)]
    return a == theirs.split("\n")


def make(folder, kind):
    path = os.path.join(folder, "image")
    if kind == "raw":
        with open(path, "wb") as f:
            f.write(bytes(1 << 20))
    else:
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", path, "1M"], check=True)
    with open(os.path.join(folder, "pattern"), "wb") as f:
        f.write(b"Hello, world! ~\x7f\xe9\n")


def compare(kind, head, commands, stdin=None):
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        make(a, kind)
        make(b, kind)
        ours, theirs = run(OURS, a, head, commands, stdin), run(THEIRS, b, head, commands, stdin)
        problems = []
        if ours[0] != theirs[0]:
            problems.append(f"exit status {ours[0]}, qemu-io's {theirs[0]}")
        if ours[1] != theirs[1]:
            problems.append("stdout differs:\n" + diff(ours[1], theirs[1]))
        if not same_errors(ours[2], theirs[2]):
            problems.append("stderr differs:\n" + diff(ours[2], theirs[2]))
        same = subprocess.run([IMG, "compare", "-f", kind, "-F", kind, os.path.join(a, "image"), os.path.join(b, "image")],
                              capture_output=True)
        if same.returncode:
            problems.append("the images differ: " + (same.stdout + same.stderr).decode().strip())
        return problems


def diff(ours, theirs):
    import difflib
    return "\n".join(difflib.unified_diff(theirs.split("\n"), ours.split("\n"), "qemu-io", "lyre-io", lineterm="", n=1))


SHELL = b"read 0 512\nfoo\n\nwrite -P 3 0 5k\nread -P 3 0 5k\nlength\n"
SHELLS = [(RAW, SHELL), (RAW, SHELL + b"map"), (RAW, b"length\nquit\nlength\n"), (RAW, b""), ("", b"length\n"),
          (RAW, b"aio_read 0 512\nq\nlength\n")]


# Ours alone says so: the command line, and what its output (both streams) has to match.
OWN = [
    (["-V"], r"lyre-io,.* version \d+\.\d+"), (["-h"], r"Usage: lyre-io .*--native-aio"), (["-T", "help"], r"\w"),
    (["-k", "-f", "raw", "{}", "-c", "read 0 1"], r"native is done by io_uring\n(?s:.*)read 1/1 bytes"),
    (["--object", "secret,id=s", "-f", "raw", "{}"], r"'s': Must provide 'file' or 'data'"),
]


def says(args, want):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "i")
        with open(path, "wb") as f:
            f.truncate(1 << 20)
        r = subprocess.run([OURS, *(a.replace("{}", path) for a in args)], stdin=subprocess.DEVNULL, timeout=20,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return [] if re.search(want, r.stdout, re.S) else [f"status {r.returncode}:", r.stdout]


def main():
    if not THEIRS or not IMG:
        print("qemu-io is not installed (qemu-utils): nothing to compare with")
        return 77
    passed = failed = 0
    qcow2 = subprocess.run([OURS, "-c", "open -o driver=qcow2,file.filename=/nonexistent"], capture_output=True)
    todo = [("raw", h, c, None) for h, *c in CASES] + [("raw", h, (), s) for h, s in SHELLS]
    if b"Unknown driver" not in qcow2.stderr:
        todo += [("qcow2", h, c, None) for h, *c in QCOW2_CASES]
    todo += [("own", args, want, None) for args, want in OWN]
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    for kind, head, commands, stdin in todo:
        name = f"{kind}: {head} {commands if kind == 'own' else ' ; '.join(commands)}"[:100]
        if only not in name:
            continue
        problems = says(head, commands) if kind == "own" else compare(kind, head, commands, stdin)
        passed += not problems
        failed += bool(problems)
        if problems:
            print(f"FAILED {name}")
            for p in problems:
                print("  " + p.replace("\n", "\n  "))
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
