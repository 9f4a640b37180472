#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""transaction: several changes of disks at one moment, all or none; what the images hold afterwards."""
from client import fails, main
from blockrig import Disk, holds, make, same, sound, stored


def do(c, *actions, **properties):
    args = {"actions": [{"type": t, "data": data} for t, data in actions]}
    if properties:
        args["properties"] = {k.replace("_", "-"): v for k, v in properties.items()}
    return c.call("transaction", args)


def bitmap(kind, name, node="top", **more):
    return f"block-dirty-bitmap-{kind}", dict({"node": node, "name": name}, **more)


def merge(target, *sources, node="top"):
    return "block-dirty-bitmap-merge", {"node": node, "target": target, "bitmaps": list(sources)}


def backup(target, job, **more):
    return "blockdev-backup", dict({"device": "top", "target": target, "job-id": job}, **more)


ABORT = ("abort", {})


def test_empty_and_wrong():
    with Disk() as d:
        assert do(d.c) == {}
        fails(do, d.c, ABORT, text="Transaction aborted using Abort action")
        fails(do, d.c, ("nope", {}), text="does not accept value 'nope'")
        fails(d.c.call, "transaction", {"actions": [{"type": "abort"}]}, text="data' is missing")
        fails(do, d.c, ("block-dirty-bitmap-add", {"node": "top"}), text="name' is missing")
        fails(do, d.c, ("block-dirty-bitmap-add", {"node": "top", "name": "a", "more": 1}), text="more' is unexpected")
        fails(do, d.c, bitmap("add", "a", node="nope"), text="Cannot find device='nope' nor node-name='nope'")
        fails(do, d.c, bitmap("add", "a"), completion_mode="grouped", text="Action 'block-dirty-bitmap-add' does not support")
        fails(do, d.c, completion_mode="nope", text="does not accept value 'nope'")
        assert d.bitmaps() == {}


def test_bitmaps_commit():
    with Disk() as d:
        do(d.c, bitmap("add", "a", granularity=65536), bitmap("add", "b", disabled=True, granularity=65536))
        d.write("top", 7, "1M", "64k")
        do(d.c, bitmap("disable", "a"), bitmap("enable", "b"), bitmap("add", "c", disabled=True, granularity=65536), merge("c", "a"))
        d.write("top", 7, "2M", "128k")
        m = d.bitmaps()
        assert [m[n]["count"] for n in "abc"] == [65536, 131072, 65536], m
        assert [m[n]["recording"] for n in "abc"] == [False, True, False], m
        do(d.c, merge("c", "b"), bitmap("clear", "b"), bitmap("remove", "a"))
        m = d.bitmaps()
        assert sorted(m) == ["b", "c"] and m["b"]["count"] == 0 and m["c"]["count"] == 65536 * 3, m


def test_bitmaps_abort():
    with Disk() as d:
        do(d.c, bitmap("add", "a", persistent=True, granularity=65536), bitmap("add", "b", granularity=65536, disabled=True))
        d.write("top", 7, 0, "1M")
        before = d.bitmaps()
        for last in (ABORT, bitmap("remove", "nope"), merge("b", "nope"), bitmap("add", "a")):
            fails(do, d.c, bitmap("add", "c"), merge("b", "a"), bitmap("clear", "a"), bitmap("disable", "a"), bitmap("enable", "b"), last)
            fails(do, d.c, bitmap("remove", "b"), bitmap("remove", "a"), last)
            assert d.bitmaps() == before, d.bitmaps()
        d.m.close()
        assert stored(d.top)["a"]["flags"] == ["auto"]
        assert sound(d.top)


def test_persistent_removed():
    with Disk() as d:
        do(d.c, bitmap("add", "a", persistent=True), bitmap("add", "b", persistent=True, disabled=True))
        do(d.c, bitmap("remove", "a"))
        d.m.close()
        assert list(stored(d.top)) == ["b"]
        assert sound(d.top)


def test_snapshots():
    with Disk() as d:
        one = d.new("one", backing=None)
        fails(do, d.c, ("blockdev-snapshot", {"node": "top", "overlay": "one"}), ABORT)
        assert d.inserted()["node-name"] == "top"
        fails(do, d.c, ("blockdev-snapshot", {"node": "top", "overlay": "one"}), ("blockdev-snapshot", {"node": "base", "overlay": "one"}))
        d.write("top", 8, 0, "64k")
        do(d.c, ("blockdev-snapshot", {"node": "top", "overlay": "one"}), bitmap("add", "s", node="one", persistent=True))
        assert d.inserted()["node-name"] == "one"
        d.write("one", 9, "64k", "64k")
        nodes = {n["node-name"]: n for n in d.c.call("query-named-block-nodes")}
        assert nodes["top"]["ro"] and not nodes["one"]["ro"], nodes
        d.m.close()
        assert holds(d.top, 8, 0, "64k") and holds(d.top, 1, "64k", "64k") and holds(one, 9, "64k", "64k")
        assert list(stored(one)) == ["s"]


def test_snapshot_sync():
    with Disk() as d:
        one, two = d.path("one.qcow2"), d.path("two.qcow2")
        ask = {"node-name": "top", "snapshot-file": one, "snapshot-node-name": "one", "format": "qcow2"}
        fails(do, d.c, ("blockdev-snapshot-sync", ask), ABORT)
        assert d.inserted()["node-name"] == "top"
        do(d.c, ("blockdev-snapshot-sync", ask), bitmap("add", "s", node="one"))
        d.c.call("blockdev-snapshot-sync", {"node-name": "one", "snapshot-file": two, "snapshot-node-name": "two"})
        assert d.inserted()["node-name"] == "two" and d.inserted()["backing_file_depth"] == 3
        fails(d.c.call, "blockdev-snapshot-sync", {"node-name": "two", "snapshot-file": two})
        fails(d.c.call, "blockdev-snapshot-sync", {"node-name": "two", "snapshot-file": two, "snapshot-node-name": "one"}, text="in use")
        fails(d.c.call, "blockdev-snapshot-sync", {"snapshot-file": two})
        fails(d.c.call, "blockdev-snapshot-sync", {"node-name": "two", "snapshot-file": two, "snapshot-node-name": "x", "format": "nope"})
        d.write("two", 5, 0, "64k")
        d.m.close()
        assert holds(two, 5, 0, "64k") and holds(two, 1, "64k", "64k") and holds(two, 2, "1M", "64k")


def test_internal():
    with Disk() as d:
        take = ("blockdev-snapshot-internal-sync", {"device": "top", "name": "s1"})
        fails(do, d.c, take, ABORT)
        fails(d.c.call, "blockdev-snapshot-delete-internal-sync", {"device": "top", "name": "s1"}, text="does not exist")
        do(d.c, take)
        fails(do, d.c, take, text="already exists")
        fails(d.c.call, "blockdev-snapshot-internal-sync", {"device": "top", "name": ""}, text="empty")
        fails(d.c.call, "blockdev-snapshot-delete-internal-sync", {"device": "top"}, text="Name or id")
        s = d.c.call("blockdev-snapshot-delete-internal-sync", {"device": "top", "name": "s1"})
        assert s["name"] == "s1" and s["vm-state-size"] == 0, s
        d.c.call("blockdev-snapshot-internal-sync", {"device": "top", "name": "s2"})
        d.m.close()
        assert sound(d.top)


def test_backups_of_one_moment():
    with Disk() as d:
        a, b = d.new("a"), d.new("b", backing=None)
        do(d.c, bitmap("add", "k", persistent=True))
        d.write("top", 6, "3M", "64k")
        do(d.c, bitmap("add", "next", persistent=True), bitmap("add", "tmp", disabled=True), merge("tmp", "k"),
           backup("b", "j", sync="incremental", bitmap="tmp", **{"auto-dismiss": False}))
        d.write("vda", 7, "3M", "128k")
        d.status("j", "concluded")
        d.c.call("job-dismiss", {"id": "j"})
        do(d.c, bitmap("remove", "tmp"))
        m = d.bitmaps()
        assert m["next"]["count"] == 131072 and sorted(m) == ["k", "next"], m
        do(d.c, backup("a", "f", sync="full"))
        d.completed("f")
        d.m.close()
        assert same(a, d.top) and sorted(stored(d.top)) == ["k", "next"]
        assert holds(b, 6, "3M", "64k") and holds(b, 0, 0, "3M")


def test_abort_takes_jobs_along():
    with Disk() as d:
        d.new("a")
        do(d.c, bitmap("add", "k"))
        d.write("top", 6, 0, "64k")
        before = d.bitmaps()
        fails(do, d.c, backup("a", "j", sync="incremental", bitmap="k", **{"auto-dismiss": False}), ABORT)
        assert d.c.call("query-jobs") == [] and d.bitmaps() == before
        assert [e["data"]["status"] for e in d.c.events if e["event"] == "JOB_STATUS_CHANGE"][:1] == ["created"], d.c.events
        assert not any(e["event"].startswith("BLOCK_JOB") for e in d.c.events), d.c.events
        assert d.inserted()["node-name"] == "top"
        d.c.call("blockdev-del", {"node-name": "a"})


def test_grouped():
    """One of two backups fails: the other is cancelled, and both bitmaps are as they were."""
    with Disk() as d:
        d.new("a")
        d.new("n1")
        make(d.path("bad.qcow2"))
        d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "bad", "file": {
            "driver": "blkdebug", "image": {"driver": "file", "filename": d.path("bad.qcow2")},
            "inject-error": [{"event": "write_aio", "errno": 5, "once": False}]}})
        do(d.c, bitmap("add", "k"), bitmap("add", "k", node="n1"))
        d.write("top", 6, 0, "1M")
        d.write("n1", 6, 0, "1M")
        good = backup("a", "good", sync="incremental", bitmap="k", speed=4096, **{"auto-dismiss": False})
        bad = ("blockdev-backup", {"device": "n1", "target": "bad", "job-id": "bad", "sync": "incremental", "bitmap": "k",
                                   "auto-dismiss": False})
        do(d.c, good, bad, completion_mode="grouped")
        for job in ("good", "bad"):
            d.status(job, "concluded")
        e = d.c.wait_event("BLOCK_JOB_ERROR")["data"]
        assert e == {"device": "bad", "operation": "write", "action": "report"}, e
        d.c.wait_event("BLOCK_JOB_CANCELLED", match=lambda x: x["device"] == "good")
        assert "error" in d.c.wait_event("BLOCK_JOB_COMPLETED", match=lambda x: x["device"] == "bad")["data"]
        for job in ("good", "bad"):
            d.c.call("job-dismiss", {"id": job})
        assert d.bitmaps()["k"]["count"] == 1 << 20, d.bitmaps()
        assert d.bitmaps("n1")["k"]["count"] == 1 << 20, d.bitmaps("n1")


def test_grouped_finalize():
    with Disk("-blockdev", "driver=null-co,node-name=n1,size=4194304,read-zeroes=on") as d:
        a, _ = d.new("a"), d.new("b")
        manual = {"auto-dismiss": False, "auto-finalize": False, "sync": "full"}
        do(d.c, backup("a", "j1", **manual), ("blockdev-backup", dict(manual, device="n1", target="b", **{"job-id": "j2"})),
           completion_mode="grouped")
        for job in ("j1", "j2"):
            d.c.wait_event("BLOCK_JOB_PENDING", match=lambda x, job=job: x["id"] == job)
        fails(d.c.call, "job-dismiss", {"id": "j1"}, text="in state 'pending' cannot accept command verb 'dismiss'")
        d.c.call("job-finalize", {"id": "j1"})
        for job in ("j1", "j2"):
            d.status(job, "concluded")
            d.c.call("job-dismiss", {"id": job})
        d.m.close()
        assert same(a, d.whole)


def test_drive_backup():
    with Disk() as d:
        t = d.path("t.qcow2")
        do(d.c, ("drive-backup", {"device": "top", "target": t, "sync": "full", "job-id": "j", "format": "qcow2"}))
        d.completed("j")
        fails(do, d.c, ("drive-backup", {"device": "top", "target": d.path("no/t"), "sync": "full", "job-id": "j"}))
        fails(do, d.c, ("drive-backup", {"device": "top", "target": t, "sync": "full"}), text="Invalid job ID")
        o = d.path("o.qcow2")
        d.c.call("drive-backup", {"device": "top", "target": o, "sync": "top", "job-id": "j", "format": "qcow2"})
        d.completed("j")
        d.m.close()
        assert same(t, d.whole) and same(o, d.whole)


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
