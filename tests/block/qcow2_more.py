#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What stands on qcow2's core, beside QEMU's tools: snapshots, dirty bitmaps,
amend, damaged images under check, and LUKS, in images that either has made.

    qcow2_more.py [CASE...]      SEED=N: other sequences; ROUNDS=N: more of them"""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import IMG, IO, QEMU_IMG, QEMU_IO, Bench, expect, run, run_cases  # noqa: E402

SEED = int(os.environ.get("SEED", "1"))
ROUNDS = int(os.environ.get("ROUNDS", "1"))


def must(b, program, *args):
    r = run(program, *args, cwd=b.dir)
    expect(r.status == 0, str(r))
    return r.out


def both_check(b, name):
    for program in (IMG, QEMU_IMG):
        must(b, program, "check", "-q", name)


class Image:
    """The bytes of a qcow2 file, numbers big-endian."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.bytes = bytearray(f.read())
        self.path = path

    def get(self, at, size=8):
        return int.from_bytes(self.bytes[at:at + size], "big")

    def put(self, at, value, size=8):
        self.bytes[at:at + size] = value.to_bytes(size, "big")

    def save(self, path=None):
        with open(path or self.path, "wb") as f:
            f.write(self.bytes)

    def l1(self):
        return self.get(40)

    def l2(self, i):
        return (self.get(self.l1()) & 0x00fffffffffffe00) + 8 * i

    def refcount(self, cluster):
        return self.get(self.get(48)) + 2 * cluster

    def host(self, i):
        return (self.get(self.l2(i)) & 0x00fffffffffffe00) >> self.get(20, 4)


# ---- snapshots

def snapshot_life(b, rnd):
    """The same operations, by us on one image and by them on the other."""
    cluster = rnd.choice((512, 4096, 65536))
    options = f"cluster_size={cluster}," + rnd.choice(("compat=0.10", "compat=1.1", "refcount_bits=64", "lazy_refcounts=on",
                                                      "refcount_bits=8"))
    size = rnd.choice((1 << 20, 5 << 20, (3 << 20) + 512))
    for f in "ab":
        must(b, QEMU_IMG, "create", "-q", "-f", "qcow2", "-o", options, f, size)
    names = []
    for step in range(10):
        op = rnd.choice("wwcad")
        if op == "w":
            words = []
            for _ in range(rnd.randint(1, 5)):
                off, n = rnd.randrange(size // 512) * 512, rnd.choice((512, 4096, 3 * cluster))
                what = rnd.choice(("write -P %d" % rnd.randint(1, 250), "write -z", "discard"))
                words += ["-c", f"{what} {off} {min(n, size - off)}"]
            for f in "ab":
                must(b, QEMU_IO, "-d", "unmap", *words, f)
            continue
        if op == "c" and len(names) < 5:
            names.append(f"s{step}")
            args = ("-c", names[-1])
        elif op == "a" and names:
            args = ("-a", rnd.choice(names))
        elif op == "d" and names:
            args = ("-d", names.pop(rnd.randrange(len(names))))
        else:
            continue
        must(b, IMG, "snapshot", *args, "a")
        must(b, QEMU_IMG, "snapshot", *args, "b")
        both_check(b, "a")
        must(b, QEMU_IMG, "compare", "-q", "a", "b")
    b.same("snapshot", "-l", "a")
    for name in names:
        must(b, IMG, "convert", "-l", "snapshot.name=" + name, "-O", "raw", "a", "a.raw")
        must(b, QEMU_IMG, "convert", "-l", "snapshot.name=" + name, "-O", "raw", "b", "b.raw")
        expect(b.read("a.raw") == b.read("b.raw"), f"snapshot {name} of {options}")


def snapshots():
    for i in range(3 * ROUNDS):
        with Bench("more") as b:
            snapshot_life(b, random.Random(SEED * 1000 + i))


# ---- bitmaps

def bitmaps_of(path):
    """name -> (granularity, flags, bits)"""
    im = Image(path)
    cluster, size, at, found = 1 << im.get(20, 4), im.get(24), im.get(100, 4), {}
    while im.get(at, 4) not in (0, 0x23852875):
        at += 8 + (im.get(at + 4, 4) + 7) // 8 * 8
    if not im.get(at, 4):
        return found
    count, directory = im.get(at + 8, 4), im.get(at + 24)
    for _ in range(count):
        table, entries, flags = im.get(directory), im.get(directory + 8, 4), im.get(directory + 12, 4)
        granularity, length, extra = 1 << im.bytes[directory + 17], im.get(directory + 18, 2), im.get(directory + 20, 4)
        name = im.bytes[directory + 24 + extra:directory + 24 + extra + length].decode()
        directory += (24 + extra + length + 7) // 8 * 8
        data = b""
        for i in range(entries):
            e = im.get(table + 8 * i)
            off = e & 0x00fffffffffffe00
            data += bytes(im.bytes[off:off + cluster]).ljust(cluster, b"\0") if off else (b"\xff" if e & 1 else b"\0") * cluster
        n = (size + granularity - 1) // granularity
        found[name] = (granularity, flags, [data[i // 8] >> i % 8 & 1 for i in range(n)])
    return found


def bitmap_life(b, rnd):
    """Tools take turns on one image; what its bitmaps hold is what was written since."""
    size, model = rnd.choice((1 << 20, (3 << 20) + 512 * 7)), {}
    must(b, rnd.choice((IMG, QEMU_IMG)), "create", "-q", "-f", "qcow2", "-o", f"cluster_size={rnd.choice((512, 4096, 65536))}",
         "a", size)
    for step in range(14):
        op, img = rnd.choice(("write", "write", "--add", "--remove", "--disable", "--enable", "--clear", "--merge")), rnd.choice((IMG, QEMU_IMG))
        if op == "write":
            off, n = rnd.randrange(size // 512) * 512, rnd.choice((512, 4096, 70000 // 512 * 512))
            n = min(n, size - off)
            must(b, rnd.choice((IO, QEMU_IO)), "-c", f"{rnd.choice(('write -P 3', 'write -z', 'discard'))} {off} {n}", "a")
            for g, off_now, bits in model.values():
                if not off_now[0]:
                    bits[off // g:(off + n - 1) // g + 1] = [1] * ((off + n - 1) // g + 1 - off // g)
        elif op == "--add" and len(model) < 4:
            g, name, disabled = rnd.choice((512, 4096, 65536)), f"b{step}", rnd.random() < .3
            must(b, img, "bitmap", "--add", "-g", g, *(["--disable"] if disabled else []), "a", name)
            model[name] = (g, [disabled], [0] * ((size + g - 1) // g))
        elif op != "--add" and model:
            name = rnd.choice(sorted(model))
            other = rnd.choice(sorted(model))
            must(b, img, "bitmap", op, *([other] if op == "--merge" else []), "a", name)
            if op == "--remove":
                del model[name]
            elif op in ("--disable", "--enable"):
                model[name][1][0] = op == "--disable"
            elif op == "--clear":
                model[name][2][:] = [0] * len(model[name][2])
            else:
                g, from_g = model[name][0], model[other][0]
                for i in [i for i, bit in enumerate(model[other][2]) if bit]:
                    first, last = i * from_g // g, (min((i + 1) * from_g, size) - 1) // g
                    model[name][2][first:last + 1] = [1] * (last + 1 - first)
    both_check(b, "a")
    b.same("info", "a")
    got = bitmaps_of(b.path("a"))
    want = {name: (g, 0 if off[0] else 2, bits) for name, (g, off, bits) in model.items()}
    expect(got == want, f"bitmaps {sorted(got)} of {sorted(want)} differ")


def bitmaps():
    for i in range(3 * ROUNDS):
        with Bench("more") as b:
            bitmap_life(b, random.Random(SEED * 1000 + i))


# ---- amend

def amends():
    """The same changes of the same image leave the same info and the same bytes for the guest."""
    with Bench("more") as b:
        for f in "ab":
            must(b, QEMU_IMG, "create", "-q", "-f", "qcow2", f, "16M")
            b.io(f, "write -P 1 0 1M", "write -z 2M 1M", "write -c -P 3 8M 64k")
        b.img("snapshot", "-c", "s", "a")
        must(b, QEMU_IMG, "snapshot", "-c", "s", "b")
        for options in ("compat=0.10", "refcount_bits=8", "compat=1.1,refcount_bits=64", "lazy_refcounts=on", "compat=0.10",
                        "refcount_bits=1", "size=32M", "compat=3", "backing_file=x", "data_file_raw=on", "cluster_size=4k"):
            ours, theirs = run(IMG, "amend", "-o", options, "a", cwd=b.dir), run(QEMU_IMG, "amend", "-o", options, "b", cwd=b.dir)
            words = theirs.errs.split("\n")[0].split(": ", 1)[-1].split(": Cluster")[0]
            expect(ours.status == theirs.status and words in ours.errs, f"{ours}\n{theirs}")
            both_check(b, "a")
            must(b, QEMU_IMG, "compare", "-q", "a", "b")
            a, c = (b.qemu("info", f).split("Format specific")[1] for f in "ab")
            expect(a == c, f"{options}:\n{a}{c}")


# ---- damage

def leak(im): im.put(im.refcount(im.host(2)), 9, 2)
def copied_set(im): im.put(im.l2(2), im.get(im.l2(2)) | 1 << 63)
def copied_lost(im): im.put(im.l2(1), im.get(im.l2(1)) & ~(1 << 63))
def l1_copied(im): im.put(im.l1(), im.get(im.l1()) ^ 1 << 63)
def l1_reserved(im): im.put(im.l1(), im.get(im.l1()) | 1)
def l2_reserved(im): im.put(im.l2(1), im.get(im.l2(1)) | 2)
def l2_beyond(im): im.put(im.l2(1), 1 << 63 | 1 << 40)
def l2_twice(im): im.put(im.l2(1), im.get(im.l2(2)))
def packed_beyond(im): im.put(im.l2(64), 1 << 62 | 1 << 40)
def count_zero(im): im.put(im.refcount(im.host(2)), 0, 2)
def block_missing(im): im.put(im.get(48), 0)
def block_beyond(im): im.put(im.get(48), 1 << 40)
def snapshot_unaligned(im): im.put(im.get(64), im.get(im.get(64)) + 512)


# Those that are repaired alike, too; the others leave less broken here (what looks leaked is kept, blocks are not moved).
ALIKE = (leak, copied_set, copied_lost, l1_copied, l1_reserved, l2_reserved, l2_beyond, l2_twice, packed_beyond)


def findings(program, b, *args):
    r = run(program, "check", *args, cwd=b.dir)
    return r.status, sorted(line for line in (r.out + r.errs).split("\n") if line.strip() and not line.startswith("    offset"))


def checks():
    """What is wrong, in the same words and as often."""
    with Bench("more") as b:
        must(b, QEMU_IMG, "create", "-q", "-f", "qcow2", "good", "64M")
        b.io("good", "write -P 1 0 256k", "write -z 2M 64k", "write -c -P 5 4M 64k")
        must(b, QEMU_IMG, "snapshot", "-c", "s1", "good")
        b.io("good", "write -P 3 64k 64k")
        for lie in ALIKE + (count_zero, block_missing, block_beyond, snapshot_unaligned):
            im = Image(b.path("good"))
            lie(im)
            for f in "ab":
                im.save(b.path(f))
            ours, theirs = findings(IMG, b, "a"), findings(QEMU_IMG, b, "a")
            expect(ours == theirs, f"{lie.__name__}:\n{ours}\n{theirs}")
            ours, theirs = findings(IMG, b, "-r", "all", "a"), findings(QEMU_IMG, b, "-r", "all", "b")
            expect(ours[0] <= theirs[0] if lie not in ALIKE else ours == theirs, f"repair of {lie.__name__}:\n{ours}\n{theirs}")
            expect(findings(IMG, b, "a") == findings(QEMU_IMG, b, "a"), f"after the repair of {lie.__name__}")
            if ours[0] == 0 and lie not in (l2_twice, l2_beyond):
                must(b, QEMU_IMG, "compare", "-q", "a", "good")


# ---- LUKS

SECRETS = ("--object", "secret,id=s,data=abc", "--object", "secret,id=n,data=def")


def qemu_create(b, *args):
    """Their measuring of iterations fails now and then, on fast processors."""
    for _ in range(20):
        r = run(QEMU_IMG, *args, cwd=b.dir)
        if "accurate CPU usage" not in r.errs:
            break
    expect(r.status == 0, str(r))


def luks_image(b, by, fmt, options):
    """Made by one, written by the other, read by both, info the same; then another key."""
    prefix = "encrypt." if fmt == "qcow2" else ""
    words = ("encrypt.format=luks," if prefix else "") + ",".join(prefix + o for o in ("key-secret=s", "iter-time=20") + options)
    name = f"driver={fmt},file.filename=e,{prefix}key-secret="
    create = ("create", "-q", "-f", fmt, *SECRETS, "-o", words, "e", "2M")
    qemu_create(b, *create) if by == QEMU_IMG else must(b, IMG, *create)
    writer = IMG if by == QEMU_IMG else QEMU_IMG
    must(b, writer, "convert", "-n", *SECRETS, "--image-opts", "--target-image-opts", "driver=raw,file.filename=r", name + "s")
    for program in (IMG, QEMU_IMG):
        must(b, program, "compare", "-q", *SECRETS, "--image-opts", name + "s", "driver=raw,file.filename=r")
    b.same("info", "e")
    b.same("info", "--output=json", "e")
    must(b, IMG, "amend", *SECRETS, "-o", f"{prefix}state=active,{prefix}new-secret=n,{prefix}iter-time=20", "--image-opts", name + "s")
    must(b, IMG, "amend", *SECRETS, "-o", f"{prefix}state=inactive,{prefix}old-secret=s", "--image-opts", name + "n")
    must(b, QEMU_IMG, "compare", "-q", *SECRETS, "--image-opts", name + "n", "driver=raw,file.filename=r")
    b.same("info", "e")
    for program in (IMG, QEMU_IMG):
        b.fails("compare", *SECRETS, "--image-opts", name + "s", "driver=raw,file.filename=r", program=program, status=2,
                words=["Invalid password, cannot unlock any keyslot"])


def luks():
    kinds = [(), ("cipher-alg=aes-128", "cipher-mode=cbc", "ivgen-alg=essiv", "ivgen-hash-alg=md5"),
             ("cipher-alg=serpent-256", "hash-alg=sha512"), ("cipher-alg=cast5-128", "cipher-mode=cbc", "hash-alg=sha1"),
             ("cipher-alg=twofish-128", "cipher-mode=ctr", "ivgen-alg=plain", "hash-alg=ripemd160")]
    rnd = random.Random(SEED)
    with Bench("more") as b:
        b.write("r", (0, os.urandom(300000)), (1 << 20, b"x" * 1000), size=2 << 20)
        for fmt, by in (("luks", IMG), ("qcow2", QEMU_IMG), ("luks", QEMU_IMG), ("qcow2", IMG))[:2 + 2 * (ROUNDS > 1)]:
            luks_image(b, by, fmt, rnd.choice(kinds))


if __name__ == "__main__":
    if not QEMU_IMG or not QEMU_IO:
        print("qemu-img and qemu-io are not installed")
        sys.exit(77)
    sys.exit(run_cases([snapshots, bitmaps, amends, checks, luks], sys.argv[1:]))
