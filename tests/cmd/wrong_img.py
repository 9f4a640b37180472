#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Wrong command lines of lyre-img, as people write them: each ends with status 1
(2 for compare) at once, without a signal and with nothing on stdout, and says
once what is wrong, why, and what to do about it.

A row is the command line and the words that have to be in the message. In a
line, {D} is a folder of files made here. One more case is one more row.

    wrong_img.py [WORD...]      only rows whose line holds one of the words
    wrong_img.py -v             with all messages, to read them"""
import os
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile

BUILD = os.environ.get("LYRE_BUILD", "build")
IMG = os.path.abspath(os.path.join(BUILD, "lyre-img"))
QUICK = 10          # seconds, on a loaded machine

LINES = [
    # ---- in front of the command, and the command
    ("", "no command", "--help"),
    ("inof a", "'inof'", "Did you mean 'info'"),
    ("conver a b", "'conver'", "Did you mean 'convert'"),
    ("mount a", "'mount'", "--help"),
    ("-f qcow2 info a", "'-f'", "command", "first"),
    ("--trace", "--trace", "needs an argument"),
    ("-T no_such info {D}/a", "no_such", "no trace point"),
    # ---- options
    ("info --backing-chian {D}/a", "'--backing-chian'", "Did you mean '--backing-chain'"),
    ("info -O raw {D}/a", "'-O'", "option of: convert, dd, measure"),
    ("info -f", "'-f'", "needs an argument", "-f FMT"),
    ("info --format", "'--format'", "needs an argument"),
    ("info --force-share=yes {D}/a", "'--force-share'", "no argument", "yes"),
    ("convert --s 1 a b", "several options", "--snapshot"),
    ("info --output xml {D}/a", "'xml'", "human, json"),
    ("info --output jsn {D}/a", "'jsn'", "Did you mean 'json'"),
    ("check -r al {D}/a", "'al'", "Did you mean 'all'"),
    ("convert -t writback a b", "'writback'", "Did you mean 'writeback'"),
    ("bench -c many {D}/a", "-c many", "not a number"),
    ("bench -c -1 {D}/a", "-c -1", "not negative"),
    ("bench -d 0 {D}/a", "-d 0", "from 1"),
    ("convert -m 99 a b", "-m 99", "1 to 16"),
    ("convert -S 100 a b", "-S", "multiple of 512"),
    ("resize --preallocation=some {D}/a 2M", "'some'", "off, metadata, falloc, full"),
    # ---- operands
    ("info", "info needs", "info [OPTION]... FILE"),
    ("info {D}/a {D}/b", "no place for", "{D}/b"),
    ("info ''", "name of the image is empty"),
    ("resize {D}/a", "needs more", "SIZE"),
    ("resize {D}/a 10Q", "'10Q'", "not a size"),
    ("resize {D}/a -- -5G", "nothing left"),
    ("resize {D}/a 9E", "large"),
    ("resize {D}/a 512", "smaller", "--shrink"),
    ("create", "create needs", "FILE [SIZE]"),
    ("create -f qcow2 {D}/n", "size", "{D}/n"),
    ("create -f qcow2 {D}/n 1M 2M", "no place for '2M'"),
    ("create -f qcow2 {D}/n 1Q", "1Q", "not a size"),
    ("create -f qcow2 {D}/n -- -1", "-1", "not a size"),
    ("create -f qcow2 {D}/nowhere/n 1M", "{D}/nowhere", "No such file", "no folder"),
    ("create -f qcow {D}/n 1M", "'qcow'", "does not support image creation"),
    ("create -f qcow2 -o cluster_sise=4k {D}/n 1M", "cluster_sise", "cluster_size"),
    ("create -f qcow2 -o cluster_size=3k {D}/n 1M", "luster size", "power of two"),
    ("create -f qcow2 -o compat=2 {D}/n 1M", "compat", "2"),
    ("create -f qcow2 -o refcount_bits=3 {D}/n 1M", "efcount", "power of two"),
    ("create -f qcow2 -o compat=0.10,lazy_refcounts=on {D}/n 1M", "azy refcounts", "1.1"),
    ("create -f qcow2 -o preallocation=lots {D}/n 1M", "lots", "metadata"),
    ("create -f raw -b {D}/a -F qcow2 {D}/n 1M", "acking", "raw"),
    ("create -f qcow2 -b {D}/a {D}/n", "ormat", "qcow2"),
    ("create -f qcow2 -b {D}/gone -F raw {D}/n", "{D}/gone", "No such file"),
    ("create -f qcow2 -b {D}/r -F qcow2 {D}/n", "{D}/r", "not in qcow2 format"),
    ("create -f qcow2 -b {D}/n -F qcow2 {D}/n", "{D}/n"),
    # ---- files
    ("info {D}/gone", "{D}/gone", "No such file"),
    ("info {D}/samll", "{D}/samll", "No such file", "'small'"),
    ("info {D}", "{D}", "regular file"),
    ("info -f qcow2 {D}/r", "{D}/r", "not in qcow2 format"),
    ("info -f qcow22 {D}/a", "'qcow22'", "qcow2"),
    ("info {D}/cut", "{D}/cut"),
    ("info {D}/future", "{D}/future", "feature"),
    ("info --image-opts {D}/a", "{D}/a"),
    ("info --image-opts driver=qcow2,file.filenam={D}/a", "filenam"),
    ("info --image-opts driver=qcow22,file.filename={D}/a", "qcow22", "'qcow2'"),
    ("info --image-opts -f qcow2 driver=qcow2", "exclude", "driver=qcow2"),
    ("info json:{{", "JSON", "expected"),
    ("info --object secret {D}/a", "secret", "id"),
    ("info --object secrt,id=a {D}/a", "secrt", "secret"),
    # ---- commands
    ("convert {D}/a", "a source and a target"),
    ("convert -O vmdkk {D}/a {D}/n", "'vmdkk'"),
    ("convert -c -O raw {D}/a {D}/n", "compressed", "-O qcow2"),
    ("convert -C -c -O qcow2 {D}/a {D}/n", "-C and -c", "Leave -C"),
    ("convert -C -S 4k {D}/a {D}/n", "-C and -S", "Leave -C"),
    ("convert -n -o size=1M {D}/a {D}/n", "-o", "-n"),
    ("convert -n {D}/a {D}/gone", "{D}/gone", "No such file"),
    ("convert -n {D}/a {D}/small", "{D}/small", "resize"),
    ("convert --target-is-zero {D}/a {D}/n", "--target-is-zero", "-n"),
    ("convert --target-image-opts {D}/a driver=raw", "--target-image-opts", "-n"),
    ("convert --skip-broken-bitmaps {D}/a {D}/n", "--bitmaps"),
    ("convert -l gone {D}/a {D}/n", "gone", "snapshot"),
    ("convert -l gone {D}/a {D}/a {D}/n", "-l", "2"),
    ("convert {D}/a {D}/a", "{D}/a", "--force"),
    ("measure", "neither", "--size"),
    ("measure --size 1M {D}/a", "exclude"),
    ("measure -O nope --size 1M", "'nope'"),
    ("snapshot -a gone {D}/small", "gone"),
    ("snapshot -d gone {D}/small", "gone"),
    ("snapshot -c x -d y {D}/a", "exclude"),
    ("snapshot -c x -f raw {D}/r", "raw", "snapshots"),
    ("commit {D}/a", "no backing file"),
    ("commit -b {D}/gone {D}/o", "{D}/gone", "backing-chain"),
    ("rebase {D}/o", "-b", "''"),
    ("rebase -b {D}/gone -F raw {D}/o", "{D}/gone", "No such file"),
    ("rebase -b {D}/a -F qcow22 {D}/o", "'qcow22'", "'qcow2'"),
    ("rebase -u -b {D}/a {D}/o", "ormat", "-F"),
    ("rebase -f raw -b {D}/a -F raw {D}/r", "raw", "backing"),
    ("amend {D}/a", "-o", "help"),
    ("amend -o nope=1 {D}/a", "nope"),
    ("amend -f raw -o size=1M {D}/r", "raw"),
    ("bitmap {D}/a x", "'x'", "--add"),
    ("bitmap --add {D}/a", "needs more"),
    ("bitmap --clear {D}/a x", "no bitmap 'x'", "info"),
    ("bitmap --add -g 5k {D}/a x", "power of two"),
    ("bitmap --clear -g 64k {D}/a x", "-g", "--add"),
    ("bitmap --clear -b {D}/o {D}/a x", "-b", "--merge"),
    ("dd if={D}/a", "output"),
    ("dd of={D}/n", "input"),
    ("dd if={D}/a of={D}/n bs=none", "bs", "not a size"),
    ("dd if={D}/a of={D}/n cuont=1", "cuont", "Did you mean 'count='"),
    ("compare {D}/a", "needs more", "FILE1 FILE2"),
    ("compare {D}/a {D}/gone", "{D}/gone", "No such file"),
    ("compare --image-opts -F raw driver=raw,file.filename={D}/r {D}/r", "exclude"),
    ("map {D}/gone", "{D}/gone", "No such file"),
    ("check {D}/cut", "{D}/cut"),
    ("bench --no-drain {D}/a", "--no-drain", "--flush-interval"),
    ("bench --flush-interval 10 {D}/a", "--flush-interval", "-w"),
    ("bench -w -d 20 --flush-interval 10 {D}/a", "--flush-interval", "as large as -d"),
]


def make_files(folder):
    def img(*args):
        subprocess.run([IMG, *args], cwd=folder, check=True)

    img("create", "-q", "-f", "qcow2", "a", "1M")
    img("create", "-q", "-f", "qcow2", "small", "64k")
    img("create", "-q", "-f", "qcow2", "-b", "a", "-F", "qcow2", "o")
    with open(os.path.join(folder, "r"), "wb") as f:
        f.truncate(1 << 20)
    with open(os.path.join(folder, "a"), "rb") as f:
        head = bytearray(f.read(1 << 18))
    with open(os.path.join(folder, "cut"), "wb") as f:
        f.write(head[:50])
    struct.pack_into(">Q", head, 72, 1 << 40)
    with open(os.path.join(folder, "future"), "wb") as f:
        f.write(head)


def complaint(args, words, verbose):
    """What is wrong about what lyre-img did, or None."""
    try:
        p = subprocess.run([IMG, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=QUICK, check=False)
    except subprocess.TimeoutExpired:
        return f"it was not refused within {QUICK} s"
    errs = p.stderr.decode()
    if verbose:
        print(errs, end="")
    if p.returncode != (2 if args[:1] == ["compare"] else 1):
        return f"status {p.returncode} (a negative one is a signal): {errs}"
    if p.stdout:
        return f"on stdout: {p.stdout.decode()}"
    if not errs.startswith("lyre-img: "):
        return f"does not begin with the program's name: {errs}"
    missing = [w for w in words if w not in errs]
    if missing:
        return f"no {missing} in: {errs}"
    first = errs.split("\n")[0]
    for reason in ("No such file or directory", "Could not open"):
        if first.count(reason) > 1:
            return f"'{reason}' is there twice: {errs}"
    return None


def main():
    verbose = "-v" in sys.argv[1:]
    only = [a for a in sys.argv[1:] if a != "-v"]
    folder = tempfile.mkdtemp(prefix="lyre-wrong-img-")
    passed = failed = 0
    try:
        make_files(folder)
        for line, *words in LINES:
            if only and not any(o in line for o in only):
                continue
            line = line.replace("{D}", folder).replace("{{", "{")
            if verbose:
                print(f"$ lyre-img {line}")
            what = complaint(shlex.split(line), [w.replace("{D}", folder) for w in words], verbose)
            passed += not what
            failed += bool(what)
            if what:
                print(f"FAILED {line}: {what}")
    finally:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
