#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The graph and its filters as users meet them: lyre-img and lyre-io with trees
of nodes, objects, names in headers; and a recorded stream of writes that is cut
at each flush, where qemu-img's check must find no worse than leaks.

    graph.py [CASE...]"""
import json
import os
import random
import struct
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import IMG, IO, QEMU_IMG, Bench, Failed, expect, run, run_cases  # noqa: E402

MIB = 1 << 20


def io(b, *args, status=0):
    """lyre-io: words that begin with a command's name are commands, the rest is as it is."""
    commands = ("read", "write", "flush", "truncate", "discard")
    words = [w for a in args for w in (("-c", a) if a.split()[0] in commands else (a,))]
    r = run(IO, *words, cwd=b.dir)
    if status is not None and r.status != status:
        raise Failed(f"status {r.status}, not {status}:\n{r}")
    return r.out + r.errs


def tree(**options):
    """json:{..} of a tree; names with _ for -."""
    def dashes(o):
        return {k.replace("_", "-"): dashes(v) for k, v in o.items()} if isinstance(o, dict) else o
    return "json:" + json.dumps(dashes(options))


def file(name):
    return {"driver": "file", "filename": name}


# ---- filters

def compress():
    with Bench("compress") as b:
        b.img("create", "-q", "-f", "qcow2", "a.qcow2", "4M")
        out = io(b, tree(driver="compress", discard="unmap", file={"driver": "qcow2", "file": file("a.qcow2")}),
                 "write -P 7 0 1M", "write -P 8 100k 1000", "write -P 9 3000k 100k", "read -P 8 100k 1000", "read -P 7 0 100k")
        expect("failed" not in out, out)
        b.check("a.qcow2")
        stats = json.loads(b.img("check", "--output=json", "a.qcow2"))
        expect(stats["compressed-clusters"] == 16 + 3, stats)
        out = io(b, "a.qcow2", "read -P 9 3000k 100k", "read -P 0 2M 500k")
        expect("failed" not in out, out)
        b.fails("info", tree(driver="compress", file={"driver": "raw", "file": file("a.qcow2")}), words=["not supported"])


def copy_on_read():
    with Bench("cor") as b:
        for name in ("low", "mid"):
            b.img("create", "-q", "-f", "raw", name + ".raw", "4M")
        io(b, "-f", "raw", "low.raw", "write -P 1 0 4M")
        b.img("create", "-q", "-f", "qcow2", "-b", "low.raw", "-F", "raw", "mid.qcow2")
        io(b, "mid.qcow2", "write -P 2 1M 1M")
        b.img("create", "-q", "-f", "qcow2", "-b", "mid.qcow2", "-F", "qcow2", "top.qcow2")
        layer = {"driver": "qcow2", "file": file("top.qcow2"), "backing": {"driver": "qcow2", "node-name": "mid",
                 "file": file("mid.qcow2")}}
        out = io(b, tree(driver="copy-on-read", bottom="mid", file=layer), "read -P 1 0 1M", "read -P 2 1M 1M", "read -P 1 2M 1M")
        expect("failed" not in out, out)
        maps = json.loads(b.same("map", "--output=json", "top.qcow2"))
        expect([m["depth"] for m in maps if m["start"] == MIB] == [0] and maps[0]["depth"] == 2, maps)
        io(b, tree(driver="copy-on-read", file=layer), "read 0 4M")
        maps = json.loads(b.same("map", "--output=json", "top.qcow2"))
        expect(all(m["depth"] == 0 for m in maps), maps)
        b.check("top.qcow2")
        b.img("compare", "top.qcow2", "mid.qcow2")


def preallocate():
    with Bench("prealloc") as b:
        b.img("create", "-q", "-f", "qcow2", "a.qcow2", "64M")
        name = tree(driver="qcow2", file={"driver": "preallocate", "prealloc-size": 8 * MIB, "file": file("a.qcow2")})
        out = io(b, name, "write -P 5 0 3M", "write -P 6 20M 1M", "flush", "read -P 6 20M 1M")
        expect("failed" not in out, out)
        b.check("a.qcow2")
        size = os.path.getsize(b.path("a.qcow2"))
        expect(4 * MIB < size < 5 * MIB, size)


def throttle():
    with Bench("throttle") as b:
        b.write("a.raw", (0, b"x" * (16 * MIB)))
        name = tree(driver="raw", file={"driver": "throttle", "throttle-group": "t", "file": file("a.raw")})
        group = json.dumps({"qom-type": "throttle-group", "id": "t", "limits": {"bps-read": 32 * MIB}})
        start = time.monotonic()
        b.img("convert", "--object", group, "-O", "raw", name, "out.raw")
        took = time.monotonic() - start
        expect(took > 0.2, took)        # half a second, less one request and what a bucket may burst
        expect(b.read("out.raw") == b.read("a.raw"), "other bytes")
        b.fails("info", name, words=["Throttle group 't' does not exist"])
        b.fails("info", "--object", "throttle-group,id=t,x-bps-total=1,x-bps-read=1", "a.raw", words=["cannot be used"])


def faults():
    """Each event, each of a few errors: an error for the user, and an image that qemu-img finds no worse than leaking."""
    events = ("l2_load l2_update l1_update l2_alloc_write cluster_alloc cluster_alloc_bytes write_aio read_aio cow_read "
              "cow_write refblock_load refblock_update refblock_alloc reftable_grow read_compressed write_compressed "
              "flush_to_disk pwritev").split()
    seen = set()
    with Bench("faults") as b:
        b.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "clean.qcow2", "16M")
        io(b, "clean.qcow2", "write -c -P 3 8M 64k")
        for event in events:
            for error in (5, 28):
                b.write("a.qcow2", (0, b.read("clean.qcow2")))
                b.write("rules", (0, f'[inject-error]\nevent = "{event}"\nerrno = "{error}"\nonce = "on"\n'.encode()))
                out = io(b, "blkdebug:rules:a.qcow2", "write -P 1 0 2M", "write -P 2 100 1000", "write -c -P 4 9M 4k",
                         "write -P 5 14M 1M", "read 8M 64k", "flush", "read 0 1M", status=None)
                if "failed" in out:
                    seen.add(event)
                expect("Input/output error" in out or "No space left" in out or "failed" not in out, out)
                r = run(QEMU_IMG, "check", "a.qcow2", cwd=b.dir)
                expect(r.status in (0, 3), f"{event} {error}:\n{out}\n{r}")
    missed = set(events) - seen - {"refblock_load", "reftable_grow", "cow_read", "refblock_alloc", "l2_load"}
    expect(not missed, f"nothing failed: {missed}")


# ---- a record of writes, and what a crash leaves of it

class Record:
    """A file in the format of dm-log-writes."""

    def __init__(self, data):
        magic, version, count, self.sector = struct.unpack_from("<QQQI", data)
        expect((magic, version) == (0x6a736677736872, 1), "no record")
        self.entries, at = [], self.sector
        for _ in range(count):
            sector, sectors, flags, length = struct.unpack_from("<QQQQ", data, at)
            at += self.sector
            body = b"" if flags & 4 else data[at:at + sectors * self.sector]
            at += len(body)
            self.entries.append((sector * self.sector, sectors * self.sector, flags, body))

    def play(self, image, upto, drop=()):
        """The image after so many entries, without those in `drop`."""
        image = bytearray(image)
        for i, (off, length, flags, body) in enumerate(self.entries[:upto]):
            if i in drop or not length or flags & 4:
                continue
            if len(image) < off + length:
                image += bytes(off + length - len(image))
            image[off:off + length] = body
        return bytes(image)


def crashes():
    with Bench("crash") as b:
        r = random.Random(11)
        b.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "a.qcow2", "8M")
        before = b.read("a.qcow2")
        words = []
        for _ in range(60):
            off, n, p = r.randrange(0, 8 * MIB, 512), r.randrange(1, 12) * 4096, r.randrange(1, 256)
            n = min(n, 8 * MIB - off)
            words.append(r.choice([f"write -P {p} {off} {n}", f"write -P {p} {off} {n}", f"write -z {off} {n}",
                                   f"discard {off} {n}", "flush"]))
        log = {"driver": "blklogwrites", "file": file("a.qcow2"), "log": file("log")}
        b.write("log")
        io(b, tree(driver="qcow2", discard="unmap", file=log), *words)
        rec = Record(b.read("log"))
        expect(len(rec.entries) > 60, len(rec.entries))
        expect(rec.play(before, len(rec.entries)).rstrip(b"\0") == b.read("a.qcow2").rstrip(b"\0"), "the record is not the image")
        last_flush = 0
        for cut in range(0, len(rec.entries) + 1, 3):
            flushed = [i for i in range(cut) if rec.entries[i][2] & 1]
            last_flush = flushed[-1] if flushed else 0
            open_now = range(last_flush, cut)
            drop = {i for i in open_now if r.randrange(2)}
            b.write("crash.qcow2", (0, rec.play(before, cut, drop)))
            check = run(QEMU_IMG, "check", "crash.qcow2", cwd=b.dir)
            expect(check.status in (0, 3), f"cut at {cut} of {len(rec.entries)}, without {sorted(drop)}:\n{check}")


# ---- names and trust

def names():
    with Bench("names") as b:
        os.mkdir(b.path("sub"))
        b.img("create", "-q", "-f", "raw", "sub/base.raw", "1M")
        io(b, "-f", "raw", "sub/base.raw", "write -P 9 0 1M")
        b.img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "sub/top.qcow2")
        b.same("info", "--backing-chain", "sub/top.qcow2")
        b.same("map", "--output=json", "sub/top.qcow2")
        b.same("info", tree(driver="qcow2", file=file("sub/top.qcow2")), change=lambda s: s.split("\n", 1)[1])
        out = b.img("info", tree(driver="raw", size=512, offset=512, file=file("sub/base.raw")))
        expect("virtual size: 512 B" in out and out.startswith("image: json:{"), out)
        again = out.split("\n")[0][len("image: "):]
        expect(b.img("info", again) == out, "its own name opens another thing")
        # a chain that comes back to itself
        b.img("create", "-q", "-f", "qcow2", "-u", "-b", "two", "-F", "qcow2", "one", "1M")
        b.img("create", "-q", "-f", "qcow2", "-u", "-b", "./one", "-F", "qcow2", "two", "1M")
        b.fails("map", "one", words=["bites its tail"])
        b.img("info", "one")
        b.fails("info", "nosuch:x", words=["Unknown protocol 'nosuch'"])
        b.fails("info", "--image-opts", "driver=qcow2,file.driver=file,file.filename=one,nosuch=1", words=["nosuch"])


def header_names():
    """What an image's header calls a data file is a file, whatever it looks like."""
    with Bench("header") as b:
        b.write("secret.raw", (0, b"secret" * 1000), size=MIB)
        evil = tree(driver="file", filename="secret.raw")
        b.img("create", "-q", "-f", "qcow2", "-o", "data_file=d.raw", "a.qcow2", "1M")
        image = bytearray(b.read("a.qcow2"))
        at = image.index(b"d.raw") - 8              # the extension: its kind, its length, its text
        expect(struct.unpack_from(">II", image, at) == (0x44415441, 5), "no data file extension")
        image[at:at + 16] = struct.pack(">II", 0x44415441, len(evil)) + evil.encode()[:8]
        end = at + 8 + len(evil)
        image[at + 8:end] = evil.encode()
        image[end:at + 600] = bytes(at + 600 - end)
        b.write("a.qcow2", (0, bytes(image)))
        b.fails("convert", "-O", "raw", "a.qcow2", "out.raw", words=["No such file"])
        expect("secret" not in b.img("info", "a.qcow2").replace("secret.raw", ""), "it was read")


def guessed_raw():
    with Bench("guess") as b:
        b.write("a.raw", (0, b"x" * 4096), size=MIB)
        b.img("create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", "evil", "1M")
        out = io(b, "a.raw", "write -s evil 0 512", status=1)
        expect("Operation not permitted" in out and "refused" in out, out)
        out = io(b, "a.raw", "write -P 1 0 512", "write -P 1 65536 512")
        expect("failed" not in out, out)
        expect(b.read("a.raw")[:4] == b"\1\1\1\1", "not written")
        out = io(b, "-f", "raw", "a.raw", "write -s evil 0 512")
        expect("failed" not in out and "note" not in out, out)


def locks():
    """Two programs, one image: refused, read with -U, and told to be live."""
    with Bench("locks") as b:
        b.img("create", "-q", "-f", "qcow2", "a.qcow2", "1M")
        with subprocess.Popen([IO, "a.qcow2"], cwd=b.dir, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
            p.stdin.write(b"read 0 512\n")
            p.stdin.flush()
            while b"512" not in p.stdout.readline():    # it has the image open then
                pass
            b.fails("convert", "-O", "raw", "a.qcow2", "x", words=["lock"])
            b.img("convert", "-U", "-O", "raw", "a.qcow2", "x")
            r = run(QEMU_IMG, "convert", "-O", "raw", "a.qcow2", "x", cwd=b.dir)
            expect(r.status == 1 and "lock" in r.errs, str(r))
            p.communicate(b"quit\n", timeout=60)
        b.img("convert", "-O", "raw", "a.qcow2", "x")


def main():
    if not QEMU_IMG or not os.path.exists(IMG):
        print("no qemu-img to check with (apt install qemu-utils)")
        return 77
    return run_cases([compress, copy_on_read, preallocate, throttle, faults, crashes, names, header_names, guessed_raw, locks],
                     sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
