#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""NBD exports of a running machine: libnbd's tools and our own are the clients. And the backup that is pulled through one."""
import json
import os
import shutil
import subprocess
import sys

from blockrig import IMG, IO, Disk, holds, make, node, same
from client import fails, main


class Server(Disk):
    """The machine, its NBD server listening at a socket."""

    def __init__(self, *args, thread=None, **start):
        super().__init__(*args, thread=thread)
        self.sock = self.path("nbd.sock")
        self.c.call("nbd-server-start", dict({"addr": {"type": "unix", "data": {"path": self.sock}}}, **start))

    def uri(self, name):
        return f"nbd+unix:///{name}?socket={self.sock}"

    def export(self, ident, name="top", **more):
        self.c.call("block-export-add", dict({"type": "nbd", "id": ident, "node-name": name, "name": ident}, **more))

    def deleted(self, ident):
        return self.c.wait_event("BLOCK_EXPORT_DELETED", match=lambda d: d["id"] == ident)

    def map(self, name, context):
        out = subprocess.run(["nbdinfo", "--json", f"--map={context}", self.uri(name)], check=True, capture_output=True, text=True, timeout=30)
        return [(e["offset"], e["length"]) for e in json.loads(out.stdout) if e["type"]]


def client(uri, *commands, ok=True, **how):
    """lyre-io at an export."""
    args = [IO, "-f", "raw"] + ([] if any(c.startswith("write") for c in commands) else ["-r"]) + [a for c in commands for a in ("-c", c)] + [uri]
    done = subprocess.run(args, capture_output=True, text=True, check=False, timeout=30, **how)
    good = done.returncode == 0 and "failed" not in done.stdout
    assert good == ok, done
    return done.stdout


def wait_line(p, what):
    for line in p.stdout:
        if what in line:
            return
    raise AssertionError(f"it did not say '{what}'")


def test_server():
    with Disk() as d:
        fails(d.c.call, "nbd-server-stop", text="NBD server not running")
        fails(d.c.call, "block-export-add", {"type": "nbd", "id": "a", "node-name": "top"}, text="NBD server not running")
        where = {"addr": {"type": "unix", "data": {"path": d.path("n.sock")}}}
        d.c.call("nbd-server-start", where)
        fails(d.c.call, "nbd-server-start", where, text="NBD server already running")
        d.c.call("nbd-server-stop")
        assert not os.path.exists(d.path("n.sock"))
        fails(d.c.call, "nbd-server-start", {"addr": {"type": "unix", "data": {"path": d.path("no/n.sock")}}})
        fails(d.c.call, "nbd-server-start", {"addr": {"type": "unix"}}, text="data' is missing")
        fails(d.c.call, "nbd-server-start", dict(where, **{"tls-creds": "nope"}))
        d.c.call("nbd-server-start", {"addr": {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}, "max-connections": 1})
        d.c.call("nbd-server-stop")


def test_export_reads_and_writes():
    with Server() as d:
        d.export("r")
        d.export("w", writable=True, description="the disk")
        assert sorted(d.c.call("query-block-exports"), key=lambda x: x["id"]) == [
            {"id": "r", "type": "nbd", "node-name": "top", "shutting-down": False},
            {"id": "w", "type": "nbd", "node-name": "top", "shutting-down": False}]
        assert client(d.uri("r"), "read -P 1 0 512k", "read -P 2 512k 1M").count("read") == 2
        client(d.uri("r"), "write 0 512", ok=False)
        client(d.uri("w"), "write -P 5 1M 64k", "flush")
        client(d.uri("r"), "read -P 5 1M 64k")
        listed = json.loads(subprocess.run(["nbdinfo", "--json", "--list", d.uri("")], check=True, capture_output=True, text=True).stdout)
        assert [(e["export-name"], e["is_read_only"]) for e in listed["exports"]] == [("r", True), ("w", False)], listed
        assert listed["exports"][1]["description"] == "the disk"
        d.c.call("block-export-del", {"id": "r"})
        d.deleted("r")
        client(d.uri("r"), "read 0 512", ok=False)
        d.c.call("nbd-server-stop")
        d.deleted("w")
        assert d.c.call("query-block-exports") == []
        d.m.close()
        assert holds(d.top, 5, "1M", "64k")


def test_wrong():
    with Server() as d:
        d.export("a")
        add = {"type": "nbd", "id": "b", "node-name": "top", "name": "b"}
        fails(d.c.call, "block-export-add", dict(add, id="a"), text="Block export id 'a' is already in use")
        fails(d.c.call, "block-export-add", dict(add, id="1"), text="Invalid block export id")
        fails(d.c.call, "block-export-add", dict(add, name="a"), text="already has export named 'a'")
        fails(d.c.call, "block-export-add", dict(add, name="x" * 5000))
        fails(d.c.call, "block-export-add", {**add, "node-name": "nope"}, text="Cannot find device='' nor node-name='nope'")
        fails(d.c.call, "block-export-add", {**add, "bitmaps": ["nope"]}, text="'nope'")
        fails(d.c.call, "block-export-add", dict(add, type="fuse", mountpoint="/x"))
        fails(d.c.call, "block-export-add", dict(add, more=1))
        node(d.c, "ro", d.whole, **{"read-only": True})
        fails(d.c.call, "block-export-add", {**add, "node-name": "ro", "writable": True}, text="Cannot export read-only node as writable")
        d.c.call("block-dirty-bitmap-add", node="top", name="on")
        fails(d.c.call, "block-export-add", {**add, "bitmaps": ["on"]}, text="Enabled bitmap 'on' incompatible with readonly export")
        fails(d.c.call, "block-export-del", {"id": "nope"}, text="Export 'nope' is not found")
        fails(d.c.call, "block-export-del", {"id": "a", "mode": "nope"})
        assert [x["id"] for x in d.c.call("query-block-exports")] == ["a"]


def test_in_use():
    with Server() as d:
        d.export("a")
        args = [IO, "-r", "-f", "raw", d.uri("a")]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
            p.stdin.write("read -P 1 0 512\n")
            p.stdin.flush()
            wait_line(p, "read 512/512")
            fails(d.c.call, "block-export-del", {"id": "a"}, text="export 'a' still in use")
            fails(d.c.call, "nbd-server-remove", {"name": "a", "mode": "safe"}, text="still in use")
            fails(d.c.call, "blockdev-del", {"node-name": "top"}, text="in use")
            d.c.call("block-export-del", {"id": "a", "mode": "hard"})
            d.deleted("a")
            p.stdin.write("read 0 512\n")
            p.stdin.close()
            p.stdout.read()
            p.wait(30)
        assert d.c.call("query-block-exports") == []


def test_old_commands():
    with Server() as d:
        d.c.call("nbd-server-add", {"device": "top"})
        d.c.call("nbd-server-add", {"device": "top", "name": "w", "writable": True})
        node(d.c, "ro", d.whole, **{"read-only": True})
        d.c.call("nbd-server-add", {"device": "ro", "writable": True})      # as QEMU: read-only then
        fails(d.c.call, "nbd-server-add", {"device": "top"}, text="already")
        fails(d.c.call, "nbd-server-add", {"device": "nope"}, text="nope")
        client(d.uri("w"), "write -P 4 0 64k")
        client(d.uri("top"), "read -P 4 0 64k")
        client(d.uri("ro"), "write 0 512", ok=False)
        d.c.call("nbd-server-remove", {"name": "w"})
        d.deleted("w")
        fails(d.c.call, "nbd-server-remove", {"name": "w"}, text="Export 'w' is not found")


def test_bitmaps():
    with Server() as d:
        d.c.call("block-dirty-bitmap-add", node="top", name="b0", granularity=65536)
        client_write = "write -P 7 1M 128k"
        d.export("w", writable=True, bitmaps=["b0"])
        client(d.uri("w"), client_write)
        assert d.map("w", "qemu:dirty-bitmap:b0") == [(1 << 20, 131072)]
        fails(d.c.call, "block-dirty-bitmap-remove", node="top", name="b0", text="in use")
        assert d.bitmaps()["b0"]["busy"]
        d.c.call("block-export-del", {"id": "w"})
        d.deleted("w")
        d.c.call("block-dirty-bitmap-disable", node="top", name="b0")
        node(d.c, "other", d.whole)
        d.c.call("block-dirty-bitmap-add", node="other", name="b1", disabled=True)
        d.export("r", bitmaps=["b0", {"node": "other", "name": "b1"}], **{"allocation-depth": True})
        assert d.map("r", "qemu:dirty-bitmap:b0") == [(1 << 20, 131072)]
        assert d.map("r", "qemu:dirty-bitmap:b1") == []
        assert d.map("r", "qemu:allocation-depth")[0] == (0, 512 << 10)


def test_pull_backup(**where):
    """As libvirt does it: a scratch image over the disk, a backup with sync=none into it, an export of the scratch."""
    with Server(**where) as d:
        d.c.call("block-dirty-bitmap-add", node="top", name="k", persistent=True)
        d.write("top", 9, "2M", "64k")
        make(d.path("scratch.qcow2"))
        node(d.c, "scratch", d.path("scratch.qcow2"), backing="top")
        d.c.call("transaction", {"actions": [
            {"type": "block-dirty-bitmap-add", "data": {"node": "top", "name": "tmp", "disabled": True}},
            {"type": "block-dirty-bitmap-merge", "data": {"node": "top", "target": "tmp", "bitmaps": ["k"]}},
            {"type": "block-dirty-bitmap-add", "data": {"node": "top", "name": "next", "persistent": True}},
            {"type": "block-dirty-bitmap-disable", "data": {"node": "top", "name": "k"}},
            {"type": "blockdev-backup", "data": {"device": "top", "target": "scratch", "sync": "none", "job-id": "pull",
                                                 "auto-finalize": True, "auto-dismiss": False}}]})
        subprocess.run([IO, "-f", "qcow2", "-c", "write -q -P 9 2M 64k", d.whole], check=True)
        d.export("vda", "scratch", bitmaps=["tmp"])
        assert d.map("vda", "qemu:dirty-bitmap:tmp") == [(2 << 20, 65536)]
        for at in ("0", "600k", "2M", "3M"):
            d.write("vda", 0x77, at, "128k")
        out = d.path("pulled.raw")
        subprocess.run(["nbdcopy", d.uri("vda"), out], check=True, timeout=60)
        assert same(out, d.whole, "-f", "raw", "-F", "qcow2")
        jobs = d.c.call("query-block-jobs")
        assert jobs[0]["device"] == "pull" and jobs[0]["type"] == "backup", jobs
        d.c.call("block-job-cancel", {"device": "pull", "force": True})
        d.c.wait_event("BLOCK_JOB_CANCELLED")
        d.status("pull", "concluded")
        d.c.call("job-dismiss", {"id": "pull"})
        d.c.call("nbd-server-stop")
        d.deleted("vda")
        d.c.call("block-dirty-bitmap-remove", node="top", name="tmp")
        d.c.call("blockdev-del", {"node-name": "scratch"})
        assert d.bitmaps()["next"]["count"] == 9 * 65536, d.bitmaps()
        d.m.close()
        assert holds(d.top, 0x77, "3M", "128k")


def test_pull_under_writes(**where):
    """What is read from the scratch image stays the moment of the backup, however the disk is written to meanwhile."""
    with Server(**where) as d:
        make(d.path("scratch.qcow2"))
        node(d.c, "scratch", d.path("scratch.qcow2"), backing="top")
        d.c.call("blockdev-backup", {"device": "top", "target": "scratch", "sync": "none", "job-id": "pull"})
        d.export("old", "scratch")
        outs = [d.path(f"out{i}.raw") for i in range(2)]
        readers = [subprocess.Popen(["nbdcopy", "--request-size=65536", d.uri("old"), out]) for out in outs]
        for i in range(64):
            d.write("vda", i, f"{i * 64}k", "64k")
        for p in readers:
            assert p.wait(60) == 0
        for out in outs:
            assert same(out, d.whole, "-f", "raw", "-F", "qcow2"), out
        d.c.call("job-cancel", {"id": "pull"})
        d.c.wait_event("BLOCK_JOB_CANCELLED")


def test_thread_of_the_disk():
    """A disk in an I/O thread is read and written by clients as one in any other."""
    with Server("-object", "iothread,id=io2", thread="io1") as d:
        d.export("r")
        d.export("w", writable=True)
        d.c.call("nbd-server-add", {"device": "top", "name": "old"})
        client(d.uri("r"), "read -P 1 0 512k", "read -P 2 512k 1M")
        client(d.uri("w"), "write -P 5 1M 64k", "write -z 2M 64k", "discard 3M 64k", "flush", "read -P 5 1M 64k")
        client(d.uri("old"), "read -P 5 1M 64k", "read -P 2 512k 512k")
        assert d.map("r", "base:allocation")
        d.c.call("block_resize", {"node-name": "top", "size": 8 << 20})
        client(d.uri("w"), "write -P 6 7M 64k")
        fails(d.c.call, "object-del", {"id": "io1"}, text="in use")
        for ident in "rw":
            d.c.call("block-export-del", {"id": ident})
            d.deleted(ident)
        d.m.close()
        assert holds(d.top, 6, "7M", "64k")


def test_thread_of_the_export():
    with Server("-object", "iothread,id=io2", "-object", "iothread,id=io3", thread="io1") as d:
        fails(d.c.call, "block-export-add", {"type": "nbd", "id": "a", "node-name": "top", "iothread": "nope"}, text='iothread "nope" not found')
        fails(d.c.call, "block-export-add", {"type": "nbd", "id": "a", "node-name": "top", "iothread": "io2", "fixed-iothread": True},
              text="in use in I/O thread 'io1'")
        d.export("a", iothread="io2")                   # where it is: a device has it
        d.export("b", iothread="io1", **{"fixed-iothread": True})
        d.new("free")
        d.export("f", "free", writable=True, iothread="io2", **{"fixed-iothread": True})
        d.export("g", "free", iothread="io3")
        fails(d.export, "h", "free", iothread="io3", **{"fixed-iothread": True}, text="in use in I/O thread 'io2'")
        client(d.uri("f"), "write -P 3 0 1M")
        client(d.uri("g"), "read -P 3 0 1M")
        client(d.uri("b"), "read -P 1 0 64k")
        d.c.call("object-del", {"id": "io3"})
        fails(d.c.call, "object-del", {"id": "io2"}, text="in use")
        for ident in "fg":
            d.c.call("block-export-del", {"id": ident})
            d.deleted(ident)
        d.c.call("blockdev-del", {"node-name": "free"})
        d.c.call("object-del", {"id": "io2"})           # nothing is there any more
        d.new("again")
        d.export("again", "again")


def test_pull_in_a_thread():
    for check in (test_pull_backup, test_pull_under_writes):
        check(thread="io1")


def test_tls():
    if not shutil.which("nbdinfo"):
        return
    key = "c3c7ff0a1d1f7f9a2a4f6a5f4b1a0f0e" * 2
    keys = os.path.join(os.getcwd(), "unused")
    with Disk() as d:
        keys = d.path("keys")
        os.mkdir(keys)
        with open(os.path.join(keys, "keys.psk"), "w", encoding="ascii") as f:
            f.write(f"qemu:{key}\n")
        d.c.call("object-add", {"qom-type": "tls-creds-psk", "id": "tls0", "dir": keys, "endpoint": "server"})
        sock = d.path("t.sock")
        d.c.call("nbd-server-start", {"addr": {"type": "unix", "data": {"path": sock}}, "tls-creds": "tls0"})
        d.c.call("block-export-add", {"type": "nbd", "id": "a", "node-name": "top", "name": "a"})
        client(f"nbd+unix:///a?socket={sock}", "read 0 512", ok=False)
        uri = f"nbds+unix://qemu@/a?socket={sock}&tls-psk-file={keys}/keys.psk"
        size = subprocess.run(["nbdinfo", "--size", uri], check=True, capture_output=True, text=True, timeout=30).stdout
        assert int(size) == 4 << 20
        fails(d.c.call, "object-del", {"id": "tls0"})
        d.c.call("nbd-server-stop")
        d.c.call("object-del", {"id": "tls0"})


def test_quit_with_clients():
    with Server() as d:
        d.export("a", writable=True)
        args = [IO, "-r", "-f", "raw", d.uri("a")]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as p:
            p.stdin.write("read -P 1 0 512\n")
            p.stdin.flush()
            wait_line(p, "read 512/512")
            assert d.m.close()
            p.stdin.close()
            p.wait(30)


if __name__ == "__main__":
    if not all(shutil.which(t) for t in ("nbdinfo", "nbdcopy")) or not os.path.exists(IMG):
        print("needs libnbd's tools")
        sys.exit(77)
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
