#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Dumps of memory: core files and kdump files are read back and compared with what the guest's memory holds."""
import os
import random
import shutil
import struct
import subprocess
import zlib

from client import Machine, QmpError, fails, main

RAM, SIZE = 0x80000000, 16 << 20
PATTERN = random.Random(5).randbytes(70000)
AT = RAM + 0x10000


def machine(*args):
    """16 MiB of memory, PATTERN at AT, two CPUs."""
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"lyre-dump-{os.getpid()}")
    with open(path, "wb") as f:
        f.write(PATTERN)
    m = Machine("-m", "16M", "-smp", "2", "-device", f"loader,file={path},addr={AT:#x},force-raw=on", *args)
    os.unlink(path)
    return m


class Core:
    """An ELF core: its segments and notes."""

    def __init__(self, data):
        self.data = data
        e = struct.unpack_from("<16sHHIQQQIHHHHHH", data)
        assert e[0][:7] == b"\x7fELF\2\1\1" and e[1] == 4 and e[2] == 243, e
        phoff, shoff, n = e[5], e[6], e[10]
        if n == 0xffff:
            n = struct.unpack_from("<I", data, shoff + 44)[0]
        self.heads = [struct.unpack_from("<IIQQQQQQ", data, phoff + 56 * i) for i in range(n)]
        self.loads = [h for h in self.heads if h[0] == 1]
        note, = [h for h in self.heads if h[0] == 4]
        self.notes = notes(data[note[2]:note[2] + note[5]])

    def read(self, pa, n, virtual=False):
        for _, _, off, va, p, size, _, _ in self.loads:
            base = va if virtual else p
            if base <= pa and pa + n <= base + size:
                return self.data[off + pa - base:off + pa - base + n]
        raise AssertionError(f"{pa:#x} is not in the core")


def notes(data):
    out, at = [], 0
    while at < len(data):
        name, size, kind = struct.unpack_from("<III", data, at)
        text = at + 12 + (name + 3 & ~3)
        out.append((data[at + 12:at + 12 + name - 1].decode(), kind, data[text:text + size]))
        at = text + (size + 3 & ~3)
    return out


def unflatten(data):
    """makedumpfile's flattened form as the file that it stands for."""
    assert struct.unpack_from(">16sqq", data) == (b"makedumpfile\0\0\0\0", 1, 1)
    out, at = bytearray(), 4096
    while True:
        pos, n = struct.unpack_from(">qq", data, at)
        at += 16
        if pos < 0:
            assert n == -1 and at == len(data), (n, at, len(data))
            return bytes(out)
        if len(out) < pos + n:
            out.extend(bytes(pos + n - len(out)))
        out[pos:pos + n] = data[at:at + n]
        at += n


class Kdump:
    def __init__(self, data):
        self.data = data
        assert data[:8] == b"KDUMP   " and struct.unpack_from("<i", data, 8)[0] == 6
        assert data[12 + 4 * 65:].startswith(b"riscv64\0")
        status, block, sub, bitmap, frames = struct.unpack_from("<IiiII", data, 424)
        assert (status, block) == (1, 4096), (status, block)
        self.ncpus = struct.unpack_from("<i", data, 460)[0]
        note, size = struct.unpack_from("<QQ", data, block + 48)
        self.notes = notes(data[note:note + size])
        at = block * (1 + sub)
        half = bitmap * block // 2
        bits = data[at:at + half]
        assert bits == data[at + half:at + 2 * half] and frames <= 8 * half
        self.frames = [f for f in range(frames) if bits[f // 8] >> f % 8 & 1]
        self.index = {f: at + 2 * half + 24 * i for i, f in enumerate(self.frames)}

    def page(self, frame):
        off, size, flags, _ = struct.unpack_from("<QIIQ", self.data, self.index[frame])
        text = self.data[off:off + size]
        return zlib.decompress(text) if flags & 1 else text

    def read(self, pa, n):
        first = pa // 4096
        text = b"".join(self.page(f) for f in range(first, (pa + n + 4095) // 4096))
        return text[pa - 4096 * first:][:n]


def load(m, name):
    path = os.path.join(m.dir, name)
    with open(path, "rb") as f:
        return f.read()


def dump(m, name, **kw):
    path = os.path.join(m.dir, name)
    m.qmp.call("dump-guest-memory", protocol=f"file:{path}", **dict({"paging": False}, **kw))
    m.qmp.wait_event("DUMP_COMPLETED")
    return load(m, name)


def check_notes(all_notes):
    status = [n for n in all_notes if n[:2] == ("CORE", 1)]
    assert len(status) == 2 and [n[1] for n in all_notes] == [1, 2, 1, 2], [(n[:2], len(n[2])) for n in all_notes]
    for i, (_, _, text) in enumerate(status):
        assert len(text) == 376 and struct.unpack_from("<I", text, 32)[0] == i + 1
        assert struct.unpack_from("<Q", text, 112)[0] == 0x1000         # pc: the boot ROM


def test_elf():
    with machine() as m:
        assert m.qmp.call("query-dump") == {"status": "none", "completed": 0, "total": 0}
        c = Core(dump(m, "core"))
        assert c.read(AT, len(PATTERN)) == PATTERN
        assert c.read(RAM, 4096) == bytes(4096) and c.loads[-1][3:6] == (RAM, RAM, SIZE), c.loads
        check_notes(c.notes)
        q = m.qmp.call("query-dump")
        assert q["status"] == "completed" and q["completed"] == q["total"] == sum(h[5] for h in c.loads), q
        assert m.qmp.hmp("info dump") == "Status: completed\n"
        # with paging, where no page tables are: the same
        assert Core(dump(m, "core2", paging=True)).loads == c.loads


def test_part():
    with machine() as m:
        c = Core(dump(m, "core", begin=AT + 5, length=3000))
        assert [h[3:6] for h in c.loads] == [(AT + 5, AT + 5, 3000)] and c.read(AT + 5, 3000) == PATTERN[5:3005]
        out = m.qmp.hmp(f"dump-guest-memory {m.dir}/part {AT:#x} 16")
        assert out == "" and Core(load(m, "part")).read(AT, 16) == PATTERN[:16], out
        assert m.qmp.hmp(f"dump-guest-memory -z {m.dir}/z") == ""
        assert Kdump(unflatten(load(m, "z"))).read(AT, 9000) == PATTERN[:9000]
        assert m.qmp.hmp(f"dump-guest-memory -R {m.dir}/r") == ""
        assert Kdump(load(m, "r")).read(AT, 9000) == PATTERN[:9000]
        assert "only one of" in m.qmp.hmp(f"dump-guest-memory -z -w {m.dir}/x")
        assert "not available" in m.qmp.hmp(f"dump-guest-memory -s {m.dir}/x")


def test_kdump():
    with machine() as m:
        for name, k in (("flat", Kdump(unflatten(dump(m, "flat", format="kdump-zlib")))),
                        ("raw", Kdump(dump(m, "raw", format="kdump-raw-zlib")))):
            assert k.ncpus == 2 and k.read(AT, len(PATTERN)) == PATTERN, name
            assert k.read(RAM + SIZE - 4096, 4096) == bytes(4096)
            assert k.frames[-1] == (RAM + SIZE) // 4096 - 1
            check_notes(k.notes)


def test_detach():
    """Into a pipe whose reader is slow: the machine stands until it has been read, and is not to be started."""
    with machine() as m:
        c = m.qmp
        c.call("cont")
        c.wait_event("RESUME")
        r, w = os.pipe()
        c.call("getfd", fdname="dump", fds=[w])
        os.close(w)
        c.call("dump-guest-memory", paging=False, protocol="fd:dump", detach=True)
        c.wait_event("STOP")
        assert c.call("query-dump")["status"] == "active" and not c.call("query-status")["running"]
        assert c.hmp("info dump").startswith("Status: active\nFinished: ")
        for name in ("cont", "stop"):
            fails(c.call, name, text="There is a dump in process, please wait.")
        fails(c.call, "dump-guest-memory", paging=False, protocol=f"file:{m.dir}/x", text="There is a dump in process")
        with os.fdopen(r, "rb") as f:
            core = Core(f.read())
        assert core.read(AT, len(PATTERN)) == PATTERN
        e = c.wait_event("DUMP_COMPLETED")
        assert e["data"]["result"]["status"] == "completed" and "error" not in e["data"], e
        c.wait_event("RESUME")
        c.call("stop")


def test_reader_gone():
    with machine() as m:
        r, w = os.pipe()
        m.qmp.call("getfd", fdname="dump", fds=[w])
        os.close(w)
        m.qmp.call("dump-guest-memory", paging=False, protocol="fd:dump", detach=True)
        os.close(r)
        e = m.qmp.wait_event("DUMP_COMPLETED")["data"]
        assert e["result"]["status"] == "failed" and "Broken pipe" in e["error"], e
        assert m.qmp.call("query-dump")["status"] == "failed"
        m.qmp.call("cont")


def test_end_within():
    """The machine ends in the middle of a dump that nobody reads."""
    m = machine()
    r, w = os.pipe()
    m.qmp.call("getfd", fdname="dump", fds=[w])
    os.close(w)
    m.qmp.call("dump-guest-memory", paging=False, protocol="fd:dump", detach=True)
    assert m.close()
    os.close(r)


def test_errors():
    with machine() as m:
        c = m.qmp

        def bad(text, **kw):
            args = dict({"paging": False, "protocol": f"file:{m.dir}/x"}, **kw)
            fails(c.call, "dump-guest-memory", args, text=text)
        bad("Parameter 'length' is missing", begin=RAM)
        bad("Parameter 'begin' is missing", length=16)
        bad("Invalid parameter 'length'", begin=RAM, length=0)
        bad("Invalid parameter 'length'", begin=-1, length=1)
        bad("no guest memory to dump", begin=1 << 40, length=4096)
        bad("File descriptor named 'nn' has not been found", protocol="fd:nn")
        bad("Invalid parameter 'protocol'", protocol="foo")
        bad("Could not open '/nowhere/x': No such file or directory", protocol="file:/nowhere/x")
        bad("doesn't support paging or filter", paging=True, format="kdump-zlib")
        bad("doesn't support paging or filter", begin=RAM, length=4096, format="kdump-zlib")
        bad("Windows dump is only available for x86-64", format="win-dmp")
        bad("kdump-lzo is not available now", format="kdump-lzo")
        r, w = os.pipe()
        c.call("getfd", fdname="p", fds=[w])
        bad("seekable", protocol="fd:p", format="kdump-raw-zlib")
        os.close(r)
        os.close(w)
        assert c.call("query-dump-guest-memory-capability") == {"formats": ["elf", "kdump-zlib", "kdump-raw-zlib"]}
        if os.path.exists("/dev/full"):
            try:
                c.call("dump-guest-memory", paging=False, protocol="file:/dev/full")
                raise AssertionError("a full disk takes all")
            except QmpError as e:
                assert "No space left" in e.desc, e
            assert c.wait_event("DUMP_COMPLETED")["data"]["result"]["status"] == "failed"


def test_tools():
    """What debuggers say of it."""
    with machine() as m:
        dump(m, "core")
        path = os.path.join(m.dir, "core")
        if shutil.which("readelf"):
            out = subprocess.run(["readelf", "-hlnW", path], capture_output=True, text=True, check=True)
            assert "RISC-V" in out.stdout and out.stdout.count("NT_PRSTATUS") == 2 and not out.stderr, out
        if shutil.which("gdb-multiarch"):
            out = subprocess.run(["gdb-multiarch", "-nx", "-batch", "-ex", f"core-file {path}", "-ex", "info threads", "-ex", "p/x $pc",
                                  "-ex", f"x/2xb {AT:#x}"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
            assert "$1 = 0x1000" in out.stdout and f"0x{PATTERN[0]:02x}\t0x{PATTERN[1]:02x}" in out.stdout, out
            assert out.stdout.count("LWP") >= 2, out


if __name__ == "__main__":
    main([test_elf, test_part, test_kdump, test_detach, test_reader_gone, test_end_within, test_errors, test_tools])
