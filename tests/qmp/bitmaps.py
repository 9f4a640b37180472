#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Dirty bitmaps, and backups by them: what is kept in the image, what is copied, what is refused."""
from blockrig import Disk, holds, make, node, same, sound, stored
from client import fails, main


def add(d, name, to="top", **more):
    d.c.call("block-dirty-bitmap-add", dict({"node": to, "name": name}, **more))


def backup(d, target, **more):
    d.c.call("blockdev-backup", dict({"device": "top", "target": target, "job-id": "j"}, **more))
    d.completed("j")


def test_add_and_remove():
    with Disk() as d:
        add(d, "a")
        add(d, "b", granularity=4096, persistent=True, disabled=True)
        m = d.bitmaps()
        assert m["a"] == {"name": "a", "count": 0, "granularity": 65536, "recording": True, "busy": False, "persistent": False}, m
        assert m["b"] == {"name": "b", "count": 0, "granularity": 4096, "recording": False, "busy": False, "persistent": True}, m
        for args, text in (({"node": "top", "name": "a"}, "Bitmap already exists: a"), ({"node": "top", "name": ""}, "Bitmap name cannot be empty"),
                           ({"node": "nope", "name": "x"}, "Cannot find device='nope' nor node-name='nope'"),
                           ({"node": "top", "name": "x", "granularity": 1000}, "power of 2"),
                           ({"node": "top", "name": "x", "granularity": 256}, None), ({"node": "top", "name": "y" * 1024}, None)):
            fails(d.c.call, "block-dirty-bitmap-add", args, text=text)
        d.c.call("blockdev-add", {"driver": "null-co", "node-name": "null", "size": 1 << 20})
        fails(d.c.call, "block-dirty-bitmap-add", {"node": "null", "name": "p", "persistent": True}, text="can")
        for verb in ("remove", "clear", "enable", "disable"):
            fails(d.c.call, f"block-dirty-bitmap-{verb}", {"node": "top", "name": "x"}, text="Dirty bitmap 'x' not found")
        for name in ("a", "b"):
            d.c.call("block-dirty-bitmap-remove", {"node": "top", "name": name})
        assert d.bitmaps() == {}


def test_recording():
    with Disk() as d:
        add(d, "a", granularity=4096)
        d.write("top", 3, 4095, 2)
        assert d.bitmaps()["a"]["count"] == 8192
        d.c.call("block-dirty-bitmap-disable", node="top", name="a")
        d.write("top", 3, "1M", 1)
        assert d.bitmaps()["a"]["count"] == 8192
        d.c.call("block-dirty-bitmap-enable", node="top", name="a")
        d.c.call("block-dirty-bitmap-clear", node="top", name="a")
        d.write("top", 3, "2M", 1)
        assert d.bitmaps()["a"]["count"] == 4096


def test_stored():
    with Disk() as d:
        make(d.path("x.qcow2"))
        node(d.c, "x", d.path("x.qcow2"))
        add(d, "on", "x", persistent=True, granularity=65536)
        d.write("x", 1, "1M", "128k")
        add(d, "off", "x", persistent=True, disabled=True)
        add(d, "gone", "x")
        d.c.call("blockdev-del", {"node-name": "x"})
        s = stored(d.path("x.qcow2"))
        assert sorted(s) == ["off", "on"] and s["on"]["flags"] == ["auto"] and s["off"]["flags"] == [], s
        node(d.c, "x", d.path("x.qcow2"))
        m = d.bitmaps("x")
        assert m["on"]["count"] == 131072 and m["on"]["recording"] and not m["off"]["recording"], m
        d.c.call("block-dirty-bitmap-remove", {"node": "x", "name": "on"})
        d.c.call("blockdev-del", {"node-name": "x"})
        assert list(stored(d.path("x.qcow2"))) == ["off"] and sound(d.path("x.qcow2"))


def test_merge():
    with Disk() as d:
        make(d.path("x.qcow2"))
        node(d.c, "x", d.path("x.qcow2"))
        make(d.path("small.qcow2"), "1M")
        node(d.c, "small", d.path("small.qcow2"))
        add(d, "a", granularity=65536)
        add(d, "b", "x", granularity=4096)
        add(d, "s", "small")
        d.write("top", 1, 0, "64k")
        d.write("x", 1, "1M", "4k")
        d.write("x", 1, "3M", "4k")
        add(d, "sum", disabled=True, granularity=65536)

        def merge(*sources, target="sum"):
            return d.c.call("block-dirty-bitmap-merge", {"node": "top", "target": target, "bitmaps": list(sources)})
        merge("a", {"node": "x", "name": "b"})
        assert d.bitmaps()["sum"]["count"] == 3 * 65536, d.bitmaps()
        merge()
        merge("sum")
        fails(merge, "a", "nope", text="Dirty bitmap 'nope' not found")
        fails(merge, {"node": "nope", "name": "b"}, text="nope")
        fails(merge, {"node": "small", "name": "s"}, text="different sizes")
        fails(merge, "a", target="nope", text="Dirty bitmap 'nope' not found")
        fails(merge, 5)
        assert d.bitmaps()["sum"]["count"] == 3 * 65536


def test_incremental():
    with Disk() as d:
        add(d, "k")
        full = d.new("full")
        backup(d, "full", sync="full")
        d.write("top", 5, "1M", "64k")
        d.c.call("block-dirty-bitmap-clear", node="top", name="k")
        d.write("top", 6, "3M", "64k")
        d.c.call("blockdev-del", {"node-name": "full"})
        inc = d.new("inc", None, "-b", full, "-F", "qcow2")
        backup(d, "inc", sync="incremental", bitmap="k")
        assert d.bitmaps()["k"]["count"] == 0
        d.c.call("blockdev-del", {"node-name": "inc"})
        assert holds(inc, 6, "3M", "64k") and holds(inc, 2, "1M", "64k") and holds(full, 0, "3M", "64k")


def test_bitmap_modes():
    with Disk() as d:
        add(d, "k", granularity=65536)
        for mode, left in (("never", 65536), ("on-success", 0), ("always", 0)):
            d.c.call("block-dirty-bitmap-clear", node="top", name="k")
            d.write("top", 6, "3M", "64k")
            out = d.new(mode)
            backup(d, mode, sync="bitmap", bitmap="k", **{"bitmap-mode": mode})
            assert d.bitmaps()["k"]["count"] == left, mode
            d.c.call("blockdev-del", {"node-name": mode})
            assert holds(out, 6, "3M", "64k") and holds(out, 0, 0, "3M")


def test_failed_backup_keeps_it():
    with Disk() as d:
        add(d, "k", granularity=65536)
        d.write("top", 6, "1M", "1M")
        make(d.path("bad.qcow2"))
        d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "bad", "file": {
            "driver": "blkdebug", "image": {"driver": "file", "filename": d.path("bad.qcow2")},
            "inject-error": [{"event": "write_aio", "errno": 5, "once": False}]}})
        for mode, sync in ((None, "incremental"), ("on-success", "bitmap"), ("never", "bitmap")):
            more = {"bitmap-mode": mode} if mode else {}
            d.c.call("blockdev-backup", {"device": "top", "target": "bad", "job-id": "j", "sync": sync, "bitmap": "k", **more})
            e = d.c.wait_event("BLOCK_JOB_COMPLETED")["data"]
            assert e["error"] == "Input/output error", e
            d.status("j", "null")
            assert d.bitmaps()["k"]["count"] == 1 << 20, (mode, d.bitmaps())


def test_sync_modes():
    with Disk() as d:
        out = d.new("a")
        backup(d, "a", sync="top")
        d.c.call("blockdev-del", {"node-name": "a"})
        assert holds(out, 2, "512k", "1M") and holds(out, 0, 0, "448k")
        none = d.new("n")
        d.c.call("blockdev-backup", {"device": "top", "target": "n", "job-id": "j", "sync": "none"})
        d.write("vda", 9, "1M", "64k")
        d.c.call("block-job-cancel", {"device": "j"})
        d.status("j", "null")
        d.c.call("blockdev-del", {"node-name": "n"})
        assert holds(none, 2, "1M", "64k") and holds(none, 0, 0, "1M")
        full = d.new("c")
        backup(d, "c", sync="full", compress=True)
        d.m.close()
        assert same(full, d.top)


def test_refused():
    with Disk() as d:
        d.new("x")
        add(d, "k")

        def wrong(text=None, **more):
            fails(d.c.call, "blockdev-backup", dict({"device": "top", "target": "x", "job-id": "j"}, **more), text=text)
        wrong(sync="incremental", text="must provide a valid bitmap name for")
        wrong(sync="bitmap", text="must provide a valid bitmap name for")
        wrong(sync="incremental", bitmap="nope", text="Bitmap 'nope' could not be found")
        wrong(sync="incremental", bitmap="k", **{"bitmap-mode": "never"}, text="Bitmap sync mode must be 'on-success'")
        wrong(sync="bitmap", bitmap="k", text="Bitmap sync mode must be given")
        wrong(sync="full", **{"bitmap-mode": "always"}, text="Cannot specify bitmap sync mode without a bitmap")
        wrong(sync="none", bitmap="k", **{"bitmap-mode": "always"}, text="does not produce meaningful bitmap outputs")
        d.c.call("blockdev-backup", {"device": "top", "target": "x", "job-id": "j", "sync": "incremental", "bitmap": "k", "speed": 1,
                                     "auto-finalize": False})
        assert d.bitmaps()["k"]["busy"]
        for verb in ("remove", "clear", "enable", "disable"):
            fails(d.c.call, f"block-dirty-bitmap-{verb}", {"node": "top", "name": "k"}, text="in use by another operation")
        add(d, "s")
        fails(d.c.call, "block-dirty-bitmap-merge", {"node": "top", "target": "s", "bitmaps": ["k"]}, text="in use by another operation")
        fails(d.c.call, "block-dirty-bitmap-merge", {"node": "top", "target": "k", "bitmaps": ["s"]}, text="in use by another operation")
        d.c.call("job-cancel", {"id": "j"})
        d.status("j", "null")
        assert not d.bitmaps()["k"]["busy"]


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
