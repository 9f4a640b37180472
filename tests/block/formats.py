#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Image formats of others, beside qemu-img: what it makes is read here and is
the same; what is made here it reads, and finds nothing wrong with; each writes
into the other's images.

    formats.py [CASE...]"""
import base64
import json
import os
import random
import shutil
import struct
import sys
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from imgtool import IMG, IO, QEMU_IMG, QEMU_IO, Bench, expect, run, run_cases  # noqa: E402

MIB = 1 << 20
SIZE = 9 * MIB
# format, options, whether it has a check, whether qemu-img's map is as exact as ours
KINDS = [
    ("vdi", "", True, True), ("vdi", "static=on", True, True),
    ("vpc", "force_size=on", False, True), ("vpc", "", False, True), ("vpc", "subformat=fixed,force_size=on", False, True),
    ("vhdx", "", True, False), ("vhdx", "block_size=1M,block_state_zero=off,log_size=2M", True, False),
    ("vhdx", "subformat=fixed,block_size=2M", True, False),
    ("vmdk", "", True, True), ("vmdk", "zeroed_grain=on,adapter_type=lsilogic,hwversion=10,toolsversion=5", True, True),
    ("vmdk", "compat6=on", True, True),
    ("vmdk", "subformat=monolithicFlat,adapter_type=buslogic", True, True),
    ("vmdk", "subformat=twoGbMaxExtentSparse", True, True), ("vmdk", "subformat=twoGbMaxExtentFlat", True, True),
    ("vmdk", "subformat=streamOptimized", True, True),
]


def pattern(seed):
    """Some data, much nothing."""
    r = random.Random(seed)
    b = bytearray(SIZE)
    for _ in range(12):
        off, n = r.randrange(SIZE), r.randrange(1, 300000)
        n = min(n, SIZE - off)
        b[off:off + n] = r.randbytes(n) if r.randrange(2) else bytes([r.randrange(256)]) * n
    return bytes(b)


def opts(options):
    return ["-o", options] if options else []


def comparable(info):
    """What does not depend on who made it."""
    o = json.loads(info)
    o.pop("actual-size", None)
    o.pop("children", None)
    o.get("format-specific", {}).get("data", {}).pop("cid", None)
    return o


def same_info(b, name, fmt):
    ours, theirs = (json.loads(f("info", "-f", fmt, "--output=json", name)) for f in (b.img, b.qemu))
    ours.pop("children", None)
    expect(ours == theirs, f"{fmt}: info differs:\n{ours}\n{theirs}")
    b.same("info", "-f", fmt, name)


def same_map(b, name, fmt):
    b.same("map", "-f", fmt, "--output=json", name)


def clean(b, name, fmt, has_check):
    if has_check:
        b.same("check", "-f", fmt, name, status=0)
    else:
        expect(run(IMG, "check", "-f", fmt, name, cwd=b.dir).status == 63, f"{fmt}: check is not 63")


def theirs_here():
    """What qemu-img made."""
    with Bench("formats") as b:
        b.write("raw", (0, pattern(1)))
        for i, (fmt, options, has_check, exact) in enumerate(KINDS):
            name = f"q{i}.img"
            b.qemu("convert", "-f", "raw", "-O", fmt, *opts(options), "raw", name)
            same_info(b, name, fmt)
            clean(b, name, fmt, has_check)
            if exact:
                same_map(b, name, fmt)
            b.qemu("convert", "-f", fmt, "-O", "raw", name, "back1")
            b.img("convert", "-f", fmt, "-O", "raw", name, "back2")
            expect(b.read("back1") == b.read("back2"), f"{fmt} {options}: other bytes")
            expect(b.read("back2")[:SIZE] == b.read("raw"), f"{fmt} {options}: bytes that nobody wrote")


def ours_there():
    """What we make."""
    with Bench("formats") as b:
        b.write("raw", (0, pattern(2)))
        for i, (fmt, options, has_check, exact) in enumerate(KINDS):
            name, model = f"l{i}.img", f"q{i}.img"
            b.img("convert", "-f", "raw", "-O", fmt, *opts(options), "raw", name)
            clean(b, name, fmt, has_check)
            same_info(b, name, fmt)
            if exact:
                same_map(b, name, fmt)
            b.qemu("convert", "-f", fmt, "-O", "raw", name, "back")
            expect(b.read("back")[:SIZE] == b.read("raw"), f"{fmt} {options}: qemu-img reads other bytes")
            os.makedirs(b.path("there"), exist_ok=True)
            b.qemu("convert", "-f", "raw", "-O", fmt, *opts(options), "raw", "there/" + name)
            one = comparable(b.img("info", "-f", fmt, "--output=json", name))
            two = comparable(run(IMG, "info", "-f", fmt, "--output=json", name, cwd=b.path("there")).out)
            expect(one == two, f"{fmt} {options}: info of ours and theirs\n{one}\n{two}\n{model}")


def packed_qcow(data):
    """A qcow of two clusters of 4 KiB, the second one compressed."""
    z = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = z.compress(data) + z.flush()
    head = struct.pack(">4sIQIIQBBHIQQ", b"QFI\xfb", 1, 0, 0, 0, 8192, 12, 9, 0, 0, 48, 4096)
    table = struct.pack(">2Q", 0, 1 << 63 | len(packed) << 51 | 8192)
    return head.ljust(4096, b"\0") + table.ljust(4096, b"\0") + packed.ljust(4096, b"\0")


def read_only_formats():
    """What can only be read: qcow, qed, parallels, compressed and on backing files."""
    with Bench("formats") as b:
        b.write("raw", (0, pattern(8)))
        b.write("base", (0, pattern(9)))
        for fmt, options in (("qcow", ""), ("qed", ""), ("qed", "cluster_size=16k,table_size=2"), ("parallels", ""),
                             ("parallels", "cluster_size=64k")):
            b.qemu("convert", "-f", "raw", "-O", fmt, *opts(options), "raw", "o.img")
            same_info(b, "o.img", fmt)
            same_map(b, "o.img", fmt)
            b.img("compare", "o.img", "raw")
            b.img("convert", "-O", "raw", "o.img", "back")
            expect(b.read("back") == b.read("raw"), f"{fmt} {options}: other bytes")
            b.fails("resize", "o.img", "+1M")
        for fmt in ("qcow", "qed"):
            b.qemu("create", "-q", "-f", fmt, "-b", "base", "-F", "raw", "o.img")
            b.io("o.img", "write -P 7 100k 5000", "write -P 9 3M 64k", fmt=fmt)
            same_info(b, "o.img", fmt)
            same_map(b, "o.img", fmt)
            b.qemu("convert", "-O", "raw", "o.img", "model")
            b.img("convert", "-O", "raw", "o.img", "back")
            expect(b.read("back") == b.read("model"), f"{fmt} on a base: other bytes")
        b.write("packed.img", (0, packed_qcow(b"abcd" * 1024)))
        for f in (b.img, b.qemu):
            f("convert", "-f", "qcow", "-O", "raw", "packed.img", "back")
            expect(b.read("back") == bytes(4096) + b"abcd" * 1024, "packed: other bytes")
        same_map(b, "packed.img", "qcow")
        b.fails("create", "-f", "qed", "x.img", "1M", words=["does not support image creation"])


def creating():
    """The same sizes, messages and numbers; wrong options."""
    sizes = ["1", "511", "1000001", "34M", "127G", "128G", "1T"]
    with Bench("formats") as b:
        for fmt in ("vdi", "vpc", "vhdx", "vmdk"):
            for size in sizes:
                ours, theirs = b.img("create", "-f", fmt, "a.img", size), b.qemu("create", "-f", fmt, "b.img", size)
                expect(ours.replace("a.img", "b.img") == theirs, f"{ours}{theirs}")
                one, two = (comparable(b.img("info", "--output=json", n).replace("a.img", "b.img"))
                            for n in ("a.img", "b.img"))
                expect(one == two, f"{fmt} {size}:\n{one}\n{two}")
                same_info(b, "a.img", fmt)
        for kind in KINDS:
            ours, theirs = (f("create", "-f", kind[0], *opts(kind[1]), "a.img", "5G") for f in (b.img, b.qemu))
            expect(ours == theirs, f"{ours}{theirs}")
        wrong = [("vmdk", "subformat=bla"), ("vmdk", "adapter_type=foo"), ("vmdk", "compat6=on,hwversion=3"),
                 ("vmdk", "subformat=monolithicFlat,zeroed_grain=on"), ("vhdx", "log_size=0"), ("vhdx", "log_size=5G"),
                 ("vhdx", "block_size=3M"), ("vpc", "subformat=x"), ("vdi", "static=7")]
        for fmt, o in wrong:
            b.fails("create", "-f", fmt, "-o", o, "wrong.img", "10M")
            expect(run(QEMU_IMG, "create", "-f", fmt, "-o", o, "w2.img", "10M", cwd=b.dir).status == 1, f"{fmt} {o}")
            expect(not os.path.exists(b.path("wrong.img")), f"{fmt} {o}: a file was left")
        for fmt, size in (("vpc", "2041G"), ("vhdx", "65T")):
            b.fails("create", "-f", fmt, "wrong.img", size, words=["too large"])


def parents():
    """vmdk on vmdk: names, CIDs, what is written above."""
    with Bench("formats") as b:
        b.write("raw", (0, pattern(3)))
        os.mkdir(b.path("d"))
        b.img("convert", "-O", "vmdk", "raw", "d/base.vmdk")
        for f, name in ((b.img, "d/ours.vmdk"), (b.qemu, "d/theirs.vmdk")):
            f("create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", name)
            b.io(name, "write -P 7 100k 5000", "write -P 9 3M 64k", fmt="vmdk")
            same_info(b, name, "vmdk")
            same_map(b, name, "vmdk")
            b.same("check", name, status=0)
            b.same("info", "--backing-chain", name)
        b.img("compare", "d/ours.vmdk", "d/theirs.vmdk")
        b.qemu("compare", "d/ours.vmdk", "d/theirs.vmdk")
        b.fails("create", "-f", "vmdk", "-b", "../raw", "-F", "raw", "d/x.vmdk", words=["must be a vmdk"])
        b.fails("create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "-b", "base.vmdk", "-F", "vmdk", "d/x.vmdk",
                words=["can't have backing file"])
        # A parent that changes is another disk.
        b.io("d/base.vmdk", "write -P 1 0 512", fmt="vmdk")
        b.fails("convert", "-O", "raw", "d/ours.vmdk", "out", words=["CID differs"])


def descriptors():
    """Extents that an image may not name, and those that the user names."""
    with Bench("formats") as b:
        b.write("raw", (0, pattern(4)))
        b.write("secret", (0, b"s" * 65536))
        b.img("convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", "raw", "x.vmdk")
        text = b.read("x.vmdk").decode()
        for name in (b.path("secret"), "../" + os.path.basename(b.dir) + "/secret", "a/../secret"):
            b.write("evil.vmdk", (0, text.replace("x-flat.vmdk", name).replace("RW 18432", "RW 128").encode()))
            b.fails("info", "evil.vmdk", words=["outside its own folder", "extents.0.filename="])
        tree = f"driver=vmdk,file.filename=evil.vmdk,extents.0.driver=file,extents.0.filename={b.path('secret')}"
        b.img("convert", "--image-opts", tree, "-O", "raw", "out")
        expect(b.read("out") == b"s" * 65536, "not the user's extent")
        for line, words in (("RW 18432 FLAT", "Invalid extent line"), ("RW x FLAT \"a\" 0", "Invalid extent line"),
                            ("RW 99999 FLAT \"x-flat.vmdk\" 0", "the descriptor says"),
                            ("RW 5 FUNNY \"x-flat.vmdk\"", "Unsupported extent type"),
                            ("RW 5 SPARSE \"x-flat.vmdk\"", "no sparse extent"),
                            ("RW 5 FLAT \"missing\" 0", "missing")):
            b.write("bad.vmdk", (0, "\n".join(line if l.startswith("RW ") else l for l in text.split("\n")).encode()))
            r = run(IMG, "info", "bad.vmdk", cwd=b.dir)
            if line == "RW 18432 FLAT":
                expect(r.status == 1, str(r))
            else:
                expect(r.status == 1 and words in r.errs, f"{words}\n{r}")
        # A hole of the disk, a read-only part.
        b.write("some.vmdk", (0, text.replace("RW 18432 FLAT \"x-flat.vmdk\" 0",
                                              "RDONLY 8 FLAT \"x-flat.vmdk\" 16\nRW 8 ZERO").encode()))
        b.img("convert", "-O", "raw", "some.vmdk", "out")
        expect(b.read("out") == b.read("raw")[8192:8192 + 4096] + bytes(4096), "RDONLY and ZERO")


def sparse_header(capacity, flags, version, gd, grain=8, desc=(1, 2), gtes=8):
    h = struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", version, flags, capacity, grain, *desc, gtes, 0, gd, 8, 0, b"\n \r\n",
                    1 if flags >> 16 else 0)
    return h + bytes(512 - len(h))


def sectors(*parts):
    return b"".join(p + bytes(-len(p) % 512) for p in parts)


def streamed():
    """A stream-optimized file as others write it: markers, tables and footer at the end."""
    data = [bytes([i + 1]) * 4096 for i in range(3)]
    text = b'# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="streamOptimized"\n' \
           b'RW 64 SPARSE "s.vmdk"\n'
    head = (64, 0x30001, 3)
    body = sectors(sparse_header(*head, gd=2 ** 64 - 1), text + bytes(1024 - len(text)))
    at = []
    for i, d in enumerate(data):
        at.append(len(body) // 512)
        z = zlib.compress(d)
        body += sectors(struct.pack("<QI", i * 16, len(z)) + z)
    entries = [0] * 8
    entries[0::2][:3] = at
    for i, a in enumerate(at):
        entries[i * 2] = a
    body += sectors(struct.pack("<QII", 1, 0, 1)) + sectors(struct.pack("<8I", *entries))
    table = len(body) // 512 - 1
    body += sectors(struct.pack("<QII", 1, 0, 2)) + sectors(struct.pack("<I", table))
    footer = sparse_header(*head, gd=len(body) // 512 - 1)
    body += sectors(struct.pack("<QII", 1, 0, 3)) + footer + bytes(512)
    want = b"".join(d + bytes(4096) for d in data) + bytes(8192)
    with Bench("formats") as b:
        b.write("s.vmdk", (0, body))
        b.img("convert", "-O", "raw", "s.vmdk", "out")
        expect(b.read("out") == want, "other bytes")
        b.img("check", "s.vmdk")
        for cut in (len(body) - 512, len(body) - 1024, 3000, 700):
            b.write("cut.vmdk", (0, body[:cut]))
            b.fails("info", "cut.vmdk", words=["footer"])
        r = run(IMG, "bench", "-w", "-c", "1", "-f", "vmdk", "s.vmdk", cwd=b.dir)
        expect(r.status == 1 and "cannot be written" in r.errs, str(r))


def esx():
    """vmfsSparse (COWD) and SESPARSE extents."""
    one, two = b"1" * 4096, b"2" * 4096
    cowd = sectors(struct.pack("<4s7I", b"COWD", 1, 3, 64, 8, 4, 1, 64)) + bytes(3 * 512) + sectors(struct.pack("<I", 5))
    cowd += struct.pack("<8I", 37, 0, 45, 0, 0, 0, 0, 0) + bytes(4096 * 4 - 32) + one + two
    w = [0] * 64
    for k, v in {0: 0xcafebabe, 1: 0x200000001, 2: 64, 3: 8, 4: 64, 10: 1, 11: 1, 16: 2, 17: 1, 18: 3, 19: 64, 24: 67}.items():
        w[k] = v
    se = struct.pack("<64Q", *w) + struct.pack("<64Q", 0xcafecafe, *[0] * 63) + sectors(struct.pack("<Q", 1 << 60))
    se += struct.pack("<4Q", 3 << 60, 2 << 60, 3 << 60 | 1 << 48, 0) + bytes(64 * 512 - 32) + one + two
    want = one + bytes(4096) + two + bytes(20480)
    text = '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="%s"\nRW 64 %s "%s"\n'
    with Bench("formats") as b:
        for kind, word, body in (("vmfsSparse", "VMFSSPARSE", cowd), ("seSparse", "SESPARSE", se)):
            b.write("e-delta.vmdk", (0, body))
            b.write("e.vmdk", (0, (text % (kind, word, "e-delta.vmdk")).encode()))
            b.img("convert", "-f", "vmdk", "-O", "raw", "e.vmdk", "out")
            expect(b.read("out") == want, f"{kind}: other bytes")
            b.qemu("convert", "-f", "vmdk", "-O", "raw", "e.vmdk", "out")
            expect(b.read("out") == want, f"{kind}: the model reads something else")


def log_of(fields):
    """A VHDX log entry that sets one 4 KiB page."""
    guid, seq, off, page, size = fields
    e = bytearray(8192)
    struct.pack_into("<4sIIIQII16sQQ", e, 0, b"loge", 0, 8192, 0, seq, 1, 0, guid, size, size)
    struct.pack_into("<4s4s8sQQ", e, 64, b"desc", page[-4:], page[:8], off, seq)
    struct.pack_into("<4sI4084sI", e, 4096, b"data", seq >> 32, page[8:-4], seq & 0xffffffff)
    struct.pack_into("<I", e, 4, crc32c(bytes(e)))
    return bytes(e)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def logged():
    """A VHDX that a crash left with a log: refused to readers, replayed for writers, by both alike."""
    with Bench("formats") as b:
        b.write("raw", (0, pattern(5)))
        b.qemu("convert", "-O", "vhdx", "-o", "block_size=1M", "raw", "a.vhdx")
        good = bytearray(b.read("a.vhdx"))
        guid = bytes(range(16))
        page = bytes(good[2 * MIB:2 * MIB + 4096])
        bad = bytearray(good)
        bad[2 * MIB:2 * MIB + 4096] = bytes(4096)           # the table that the log knows
        bad[MIB:MIB + 8192] = log_of((guid, 5, 2 * MIB, page, len(good)))
        new = max((0x10000, 0x20000), key=lambda o: struct.unpack_from("<Q", bad, o + 8))
        bad[new + 48:new + 64] = guid
        bad[new + 4:new + 8] = bytes(4)
        struct.pack_into("<I", bad, new + 4, crc32c(bytes(bad[new:new + 4096])))
        b.write("log.vhdx", (0, bytes(bad)))
        shutil.copy(b.path("log.vhdx"), b.path("model.vhdx"))
        for args in (("info",), ("map",), ("convert", "-O", "raw")):
            b.fails(*args, "log.vhdx", *(["out"] if args[0] == "convert" else []),
                    words=["contains a log that needs to be replayed", "check -r all"])
        ours, theirs = b.img("check", "-r", "all", "log.vhdx"), b.qemu("check", "-r", "all", "model.vhdx")
        expect(ours == theirs and "1 corruptions" in ours, ours + theirs)
        clean(b, "log.vhdx", "vhdx", True)
        b.img("compare", "log.vhdx", "raw")
        b.qemu("compare", "log.vhdx", "raw")
        # A file that was cut is not touched.
        b.write("cut.vhdx", (0, bytes(bad[:7 * MIB])))
        r = run(IMG, "check", "-r", "all", "cut.vhdx", cwd=b.dir)
        expect(r.status != 0 and "was cut" in r.errs, str(r))
        expect(b.read("cut.vhdx") == bytes(bad[:7 * MIB]), "written to")


def both_write():
    """Each goes on in an image of the other: random writes, both read the same."""
    with Bench("formats") as b:
        r = random.Random(6)
        tools = [t for t in (QEMU_IO, IO) if t and os.path.exists(t)]
        for i, (fmt, options, has_check, _) in enumerate(KINDS):
            model = bytearray(pattern(i))
            b.write("raw", (0, bytes(model)))
            maker = b.img if i % 2 else b.qemu
            maker("convert", "-O", fmt, *opts(options), "raw", "w.img")
            if "streamOptimized" in options:
                tools_now = [IO] if IO in tools else []     # the model writes no grain twice
            else:
                tools_now = tools
            for tool in tools_now * 2:
                words = []
                for _ in range(6):
                    off, n, p = r.randrange(SIZE), r.randrange(1, 200000), r.randrange(1, 256)
                    off, n = off & ~511, min((n + 511) & ~511, SIZE - (off & ~511))
                    words += ["-c", f"write -P {p} {off} {n}"]
                    model[off:off + n] = bytes([p]) * n
                if fmt != "vpc" or "fixed" not in options:
                    words += ["-c", f"write -z {3 * MIB} 300k"]
                    model[3 * MIB:3 * MIB + 300 * 1024] = bytes(300 * 1024)
                res = run(tool, "-f", fmt, *words, "w.img", cwd=b.dir)
                expect(res.status == 0 and "failed" not in res.out + res.errs, str(res))
            b.write("raw", (0, bytes(model)))
            clean(b, "w.img", fmt, has_check)
            for f in (b.img, b.qemu):
                f("convert", "-f", fmt, "-O", "raw", "w.img", "back")
                expect(b.read("back")[:SIZE] == bytes(model), f"{fmt} {options}: other bytes")


def dmg_of(chunks, sectors, kind_of=lambda k: k):
    """A DMG: chunks are (type, first sector, bytes of the disk)."""
    body, rows = b"", b""
    for kind, first, data in chunks:
        packed = zlib.compress(data) if kind == 0x80000005 else data if kind == 1 else b""
        rows += struct.pack(">IIQQQQ", kind_of(kind), 0, first, len(data) // 512, len(body), len(packed))
        body += packed
    rows += struct.pack(">IIQQQQ", 0xffffffff, 0, 0, 0, 0, 0)
    mish = struct.pack(">4sIQQQ", b"mish", 1, 0, sectors, 0).ljust(200, b"\0") + struct.pack(">I", len(rows) // 40) + rows
    xml = b"<plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>\n" + \
          base64.encodebytes(mish) + b"</data></dict></array></dict></dict></plist>"
    koly = struct.pack(">4sIII", b"koly", 4, 512, 1).ljust(216, b"\0") + struct.pack(">QQ", len(body), len(xml))
    koly = koly.ljust(492, b"\0") + struct.pack(">Q", sectors)
    return body + xml + koly.ljust(512, b"\0")


def apple():
    """dmg: zeroes, plain and zlib chunks, those that nobody here unpacks."""
    one, two = random.Random(11).randbytes(64 * 512), b"abc!" * 128 * 100
    chunks = [(0x80000005, 0, two), (1, 200, one), (0, 264, bytes(512 * 36)), (0x80000005, 300, one),
              (2, 364, bytes(5120)), (2, 100, bytes(51200)), (0, 374, bytes(512 * 26))]
    chunks.sort(key=lambda c: c[1])                     # the model searches them by halves
    disk = bytearray(400 * 512)
    for _, first, data in chunks:
        disk[first * 512:first * 512 + len(data)] = data
    with Bench("formats") as b:
        b.write("a.dmg", (0, dmg_of(chunks, 400)))
        for f in (b.img, b.qemu):
            f("convert", "-f", "dmg", "-O", "raw", "a.dmg", "back")
            # The model's disk ends with the last chunk that has data.
            got = b.read("back")
            expect(bytes(disk).startswith(got) and (f == b.qemu or len(got) == len(disk)), f"{f}: other bytes")
        b.img("info", "a.dmg")
        b.write("b.dmg", (0, dmg_of(chunks, 400, lambda k: 0x80000006 if k == 0x80000005 else k)))
        b.fails("info", "b.dmg", words=["bzip2"])
        b.write("c.dmg", (0, dmg_of(chunks + [(1, 210, one)], 400)))
        b.fails("info", "c.dmg", words=["overlap"])
        b.write("d.dmg", (0, dmg_of(chunks, 300)))
        b.fails("info", "d.dmg", words=["beyond the end of its disk"])
        b.write("e.dmg", (0, bytes(2000)))
        expect("raw" in b.img("info", "-f", "raw", "e.dmg"), "raw")


def fat_tree(disk):
    """A FAT file system: path -> bytes, None for folders."""
    at = 0 if disk[0] == 0xeb else struct.unpack_from("<I", disk, 446 + 8)[0] * 512
    boot = disk[at:at + 512]
    per, reserved, fats, slots = boot[13], *struct.unpack_from("<HBH", boot, 14)
    fat_len = struct.unpack_from("<H", boot, 22)[0] * 512
    fat = disk[at + reserved * 512:][:fat_len]
    expect(disk[at + reserved * 512 + fat_len:][:fat_len] == fat, "the tables differ")
    root = at + reserved * 512 + fats * fat_len
    data = root + slots * 32
    wide = boot[54:62] == b"FAT16   "

    def chain(c):
        out = b""
        while 2 <= c < (0xfff0 if wide else 0xff0):
            out += disk[data + (c - 2) * per * 512:][:per * 512]
            c = struct.unpack_from("<H", fat, c * 2)[0] if wide else \
                struct.unpack_from("<H", fat, c * 3 // 2)[0] >> 4 * (c & 1) & 0xfff
        return out

    def folder(entries, path):
        name = ""
        for k in range(0, len(entries), 32):
            e = entries[k:k + 32]
            if not e[0]:
                break
            if e[11] == 15:
                part = (e[1:11] + e[14:26] + e[28:32]).decode("utf-16-le", "surrogatepass")
                name = part.split("\0")[0].rstrip("\uffff") + name
                continue
            short = e[:8].decode("latin1").rstrip() + ("." + e[8:11].decode("latin1").rstrip()).rstrip(".")
            first, size = struct.unpack_from("<HI", e, 26)
            if not e[11] & 8 and short not in (".", ".."):
                tree[path + (name or short)] = None if e[11] & 16 else chain(first)[:size]
                if e[11] & 16:
                    folder(chain(first), path + (name or short) + "/")
            name = ""

    tree = {}
    folder(disk[root:data], "")
    return tree


def folders():
    """fat:DIR: what a FAT reader finds is what is in the folder."""
    with Bench("formats") as b:
        r = random.Random(10)
        want = {}
        for path in ("A.TXT", "b.txt", "B.TXTx", "dir/", "dir/a name that is long.text", "dir/a name that is longer.text",
                     "dir/sub.d/", "dir/sub.d/x", "Ünïcode – näme", "empty", ".hidden", "dir/many/",
                     *(f"dir/many/file number {i}" for i in range(120))):
            full = b.path("top/" + path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if path.endswith("/"):
                os.makedirs(full, exist_ok=True)
                want[path[:-1]] = None
                continue
            want[path] = b"" if path == "empty" else r.randbytes(r.randrange(1, 30000 if path == "b.txt" else 900))
            with open(full, "wb") as f:
                f.write(want[path])
        os.symlink("/etc/passwd", b.path("top/link"))
        for kind in ("fat:", "fat:floppy:", "fat:12:", "fat:floppy:16:"):
            b.img("convert", "-O", "raw", kind + b.path("top"), "disk")
            with open(b.path("disk"), "rb") as f:       # half a GB, nothing behind the first few
                got = fat_tree(f.read(4 * MIB))
            expect(got == want, f"{kind}: {sorted(got.items() ^ want.items())[:4] if got.keys() == want.keys() else sorted(got.keys() ^ want.keys())}")
        b.fails("info", "fat:32:" + b.path("top"), words=["FAT16"])
        b.fails("info", "fat:/nonexistent", words=["cannot open the folder"])
        b.write("top/big", (0, b""), size=3 << 20)
        b.fails("info", "fat:floppy:" + b.path("top"), words=["does not fit in FAT12"])


def main():
    if not QEMU_IMG or not QEMU_IO:
        print("no qemu-img and qemu-io to compare with (apt install qemu-utils)")
        return 77
    return run_cases([theirs_here, ours_there, read_only_formats, creating, parents, descriptors, streamed, esx, logged, both_write,
                      apple, folders],
                     sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
