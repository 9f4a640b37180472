#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disks as devices: where their nodes live, statistics, limits, trays, errors of the host; no guest."""
import os
import subprocess
import tempfile

from client import BUILD, Machine, fails, main

IMG = os.path.join(BUILD, "lyre-img")


def make(path, size="4M", fmt="qcow2"):
    subprocess.run([IMG, "create", "-q", "-f", fmt, path, size], check=True)


def by_name(c, **kw):
    return {n["node-name"]: n for n in c.call("query-named-block-nodes", **kw)}


# ---- threads

def test_other_threads():
    """A disk in a thread of its own: names are found, and what it is to meet comes there."""
    with tempfile.TemporaryDirectory() as d:
        top, copy, over = (os.path.join(d, n) for n in ("top.qcow2", "copy.qcow2", "over.qcow2"))
        for f in (top, copy, over):
            make(f)
        with Machine("-object", "iothread,id=io1", "-object", "iothread,id=io2",
                     "-blockdev", f"driver=file,node-name=top-file,filename={top}",
                     "-blockdev", "driver=qcow2,node-name=top,file=top-file",
                     "-blockdev", "driver=null-co,node-name=other,size=4M",
                     "-device", "virtio-blk-device,drive=top,id=vda,iothread=io1",
                     "-device", "virtio-blk-device,drive=other,id=vdb,iothread=io2") as m:
            c = m.qmp
            c.call("block_resize", {"node-name": "top", "size": 5 << 20})
            c.call("block_resize", {"device": "vda", "size": 6 << 20})
            assert by_name(c)["top"]["image"]["virtual-size"] == 6 << 20
            fails(c.call, "block_resize", {"device": "top", "size": 1 << 20}, cls="DeviceNotFound")
            fails(c.call, "block_resize", {"node-name": "vda", "size": 1 << 20}, text="node-name='vda'")
            fails(c.call, "block_resize", {"size": 1 << 20})
            # A copy: the target is added in another thread than it is used in.
            make(copy, "6M")
            c.call("blockdev-add", {"driver": "file", "node-name": "copy-file", "filename": copy})
            c.call("blockdev-add", {"driver": "qcow2", "node-name": "copy", "file": "copy-file"})
            fails(c.call, "blockdev-mirror", {"device": "top", "target": "other", "sync": "full"}, text="in use in I/O thread 'io2'")
            c.call("blockdev-mirror", {"device": "vda", "target": "copy", "job-id": "j", "sync": "full"})
            c.wait_event("BLOCK_JOB_READY")
            c.call("block-job-cancel", device="j")
            c.wait_event("BLOCK_JOB_COMPLETED")
            c.call("blockdev-del", {"node-name": "copy"})
            c.call("blockdev-del", {"node-name": "copy-file"})
            # An overlay, as libvirt puts it there.
            c.call("blockdev-add", {"driver": "file", "node-name": "over-file", "filename": over})
            c.call("blockdev-add", {"driver": "qcow2", "node-name": "over", "file": "over-file", "backing": None})
            c.call("blockdev-snapshot", node="top", overlay="over")
            disk = [b for b in c.call("query-block") if b["qdev"].endswith("vda")][0]["inserted"]
            assert disk["node-name"] == "over" and disk["image"]["backing-image"]["filename"] == top, disk
            fails(c.call, "blockdev-del", {"node-name": "over"}, text="in use")
            # A node above one that is in use there.
            c.call("blockdev-add", {"driver": "null-co", "node-name": "free", "size": 65536})


# ---- descriptors

def test_fdsets():
    """/dev/fdset/N: the descriptor whose access mode fits, read-only where that is allowed."""
    with tempfile.TemporaryDirectory() as d:
        img = os.path.join(d, "a.raw")
        make(img, "1M", "raw")
        with open(img, "rb") as ro, open(img, "r+b") as rw:
            os.set_inheritable(ro.fileno(), True)
            with Machine("-add-fd", f"set=7,fd={ro.fileno()},opaque=x",
                         "-drive", "if=none,id=d0,format=raw,read-only=on,file=/dev/fdset/7", fds=[ro.fileno()]) as m:
                c = m.qmp

                def add(name, number, **kw):
                    c.call("blockdev-add", {"driver": "file", "node-name": name, "filename": f"/dev/fdset/{number}", **kw})
                assert by_name(c)
                fails(add, "n", 7, text="Could not open '/dev/fdset/7'")
                add("n", 7, **{"auto-read-only": True})
                assert by_name(c)["n"]["ro"] is True
                c.call("blockdev-del", {"node-name": "n"})
                fails(add, "n", 9, text="No such file")
                c.call("add-fd", {"fdset-id": 9}, fds=[rw.fileno()])
                fails(add, "n", 9, **{"read-only": True})
                add("n", 9)
                n = by_name(c)["n"]
                assert n["ro"] is False and n["image"]["filename"] == "/dev/fdset/9" and n["image"]["virtual-size"] == 1 << 20
                c.call("blockdev-del", {"node-name": "n"})
                # Nothing is locked any more, though the set has the file still.
                subprocess.run([os.path.join(BUILD, "lyre-io"), "-f", "raw", "-c", "write -q 0 64k", img], check=True)
                c.call("remove-fd", {"fdset-id": 9})
                fails(add, "n", 9)


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
