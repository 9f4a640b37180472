#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Block jobs, overlays, bitmaps, sizes, and snapshots of the machine, as libvirt asks for them; no guest."""
from client import fails, main
from blockrig import Disk, make, node, same


def test_mirror_pivot():
    with Disk() as d:
        make(d.path("copy.qcow2"))
        node(d.c, "copy", d.path("copy.qcow2"))
        d.c.call("blockdev-mirror", {"device": "top", "target": "copy", "job-id": "j0", "sync": "full", "auto-dismiss": False})
        d.c.wait_event("BLOCK_JOB_READY", match=lambda e: e["device"] == "j0")
        jobs = d.c.call("query-block-jobs")
        assert jobs[0]["device"] == "j0" and jobs[0]["ready"] and jobs[0]["type"] == "mirror", jobs
        d.c.call("block-job-set-speed", device="j0", speed=1 << 20)
        fails(d.c.call, "block-job-set-speed", device="j0", speed=-1)
        d.c.call("job-complete", id="j0")
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        assert d.c.call("query-jobs")[0]["status"] == "concluded"
        d.c.call("job-dismiss", id="j0")
        assert d.c.call("query-jobs") == []
        inserted = [b for b in d.c.call("query-block") if b["qdev"].endswith("vda")][0]["inserted"]
        assert inserted["node-name"] == "copy", inserted
        d.m.close()
        assert same(d.path("copy.qcow2"), d.whole)


def test_mirror_cancel():
    with Disk() as d:
        make(d.path("copy.qcow2"))
        node(d.c, "copy", d.path("copy.qcow2"))
        d.c.call("blockdev-mirror", {"device": "top", "target": "copy", "job-id": "j0", "sync": "full"})
        d.c.wait_event("BLOCK_JOB_READY")
        d.c.call("block-job-cancel", device="j0")
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        d.c.call("blockdev-del", {"node-name": "copy"})
        assert same(d.path("copy.qcow2"), d.whole, "-U")
        fails(d.c.call, "block-job-cancel", device="j0", cls="DeviceNotActive", text="not found")
        fails(d.c.call, "job-cancel", id="j0", text="Job not found")
        fails(d.c.call, "blockdev-mirror", {"device": "nope", "target": "top", "sync": "full", "job-id": "j"}, text="nope")
        fails(d.c.call, "blockdev-mirror", {"device": "top", "target": "nope", "sync": "full", "job-id": "j"}, text="nope")
        fails(d.c.call, "blockdev-mirror", {"device": "top", "target": "base", "sync": "bitmap", "job-id": "j"}, text="not supported")


# Which verbs a job takes in a state, the others being refused; as QEMU's, looked at.
VERBS = ("pause", "resume", "complete", "finalize", "dismiss", "cancel")
TAKES = {"running": ("pause", "cancel"), "paused": ("resume", "cancel"), "ready": ("pause", "complete", "cancel"),
         "standby": ("resume", "complete", "cancel"), "pending": ("finalize", "cancel"), "concluded": ("dismiss",)}


def reach(d, state):
    """A job "j" in that state."""
    mirror = state in ("ready", "standby")
    slow = {"speed": 4096} if state in ("running", "paused") else {}
    d.c.call("blockdev-mirror" if mirror else "blockdev-backup", {"device": "top", "target": "t", "job-id": "j", "sync": "full",
                                                                  "auto-finalize": False, "auto-dismiss": False, **slow})
    before = {"paused": "running", "standby": "ready", "concluded": "pending"}.get(state, state)
    d.status("j", before)
    if state in ("paused", "standby"):
        d.c.call("job-pause", {"id": "j"})
    elif state == "concluded":
        d.c.call("job-finalize", {"id": "j"})
    if state != before:
        d.status("j", state)


def leave(d):
    """However far it is."""
    status = d.c.call("query-jobs")[0]["status"]
    if status not in ("concluded", "null"):
        d.c.call("block-job-cancel", {"device": "j", "force": True})
        d.status("j", "concluded")
    d.c.call("job-dismiss", {"id": "j"})
    d.status("j", "null")


def test_verbs():
    with Disk() as d:
        d.new("t")
        for state, takes in TAKES.items():
            reach(d, state)
            for verb in [v for v in VERBS if v not in takes]:
                why = "already paused" if verb == "pause" and state in ("paused", "standby") else \
                      "Can't resume a job that was not paused" if verb == "resume" else f"in state '{state}' cannot accept command verb '{verb}'"
                for command, key in ((f"job-{verb}", "id"), (f"block-job-{verb}", "id" if verb in ("finalize", "dismiss") else "device")):
                    fails(d.c.call, command, {key: "j"}, text=why)
            if state in ("paused", "standby"):
                fails(d.c.call, "block-job-cancel", {"device": "j"}, text="The block job for device 'j' is currently paused")
            leave(d)


def test_no_other_size_meanwhile():
    """A mirror's target would be shorter than the disk whose place it takes."""
    with Disk() as d:
        d.new("t")
        reach(d, "ready")
        fails(d.c.call, "block_resize", {"node-name": "top", "size": 8 << 20}, text="in use by block job: mirror")
        leave(d)
        d.c.call("block_resize", {"node-name": "top", "size": 8 << 20})


def test_complete_in_standby():
    with Disk() as d:
        d.new("t")
        reach(d, "standby")
        d.c.call("job-complete", {"id": "j"})
        assert d.c.call("query-jobs")[0]["status"] == "standby"
        d.c.call("job-resume", {"id": "j"})
        d.status("j", "pending")
        d.c.call("job-finalize", {"id": "j"})
        d.status("j", "concluded")
        assert d.inserted()["node-name"] == "t"
        d.c.call("job-dismiss", {"id": "j"})


def test_create_and_snapshot():
    with Disk() as d:
        over = d.path("over.qcow2")
        d.c.call("blockdev-create", {"job-id": "c0", "options": {"driver": "file", "filename": over, "size": 0}})
        d.status("c0", "concluded")
        d.c.call("job-dismiss", id="c0")
        d.c.call("blockdev-add", {"driver": "file", "node-name": "f", "filename": over})
        d.c.call("blockdev-create", {"job-id": "c1", "options": {
            "driver": "qcow2", "file": "f", "size": 4 << 20, "cluster-size": 65536, "backing-file": d.top, "backing-fmt": "qcow2"}})
        d.status("c1", "concluded")
        jobs = d.c.call("query-jobs")
        assert "error" not in jobs[0], jobs
        d.c.call("job-dismiss", id="c1")
        d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "over", "file": "f", "backing": None})
        d.c.call("blockdev-snapshot", node="top", overlay="over")
        disk = [b for b in d.c.call("query-block") if b["qdev"].endswith("vda")][0]
        assert disk["inserted"]["node-name"] == "over" and disk["inserted"]["backing_file_depth"] == 2, disk
        fails(d.c.call, "blockdev-snapshot", node="base", overlay="over")
        d.c.call("block-commit", {"device": "over", "job-id": "k", "top-node": "over", "base-node": "top", "auto-dismiss": False})
        d.c.wait_event("BLOCK_JOB_READY")
        d.c.call("job-complete", id="k")
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        d.c.call("job-dismiss", id="k")
        disk = [b for b in d.c.call("query-block") if b["qdev"].endswith("vda")][0]
        assert disk["inserted"]["node-name"] == "top", disk
        d.c.call("blockdev-del", {"node-name": "over"})
        d.c.call("blockdev-del", {"node-name": "f"})


def test_stream():
    with Disk() as d:
        d.c.call("block-stream", {"device": "top", "job-id": "s"})
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        disk = [b for b in d.c.call("query-block") if b["qdev"].endswith("vda")][0]
        assert disk["inserted"]["backing_file_depth"] == 0, disk
        d.m.close()
        assert same(d.top, d.whole)


def test_stream_down_to_itself():
    """A filter over the disk is no image below it."""
    with Disk() as d:
        d.c.call("blockdev-add", {"driver": "copy-on-read", "node-name": "over", "file": "base"})
        for base in ("top", "over"):
            fails(d.c.call, "block-stream", {"device": "base", "job-id": "s", "base-node": base})
        d.c.call("blockdev-del", {"node-name": "over"})


def test_backup_incremental():
    with Disk() as d:
        d.c.call("block-dirty-bitmap-add", node="top", name="b0", persistent=True)
        fails(d.c.call, "block-dirty-bitmap-add", node="top", name="b0")
        make(d.path("full.qcow2"))
        node(d.c, "full", d.path("full.qcow2"))
        d.c.call("blockdev-backup", {"device": "top", "target": "full", "sync": "full", "job-id": "b"})
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        d.c.call("blockdev-del", {"node-name": "full"})
        assert same(d.path("full.qcow2"), d.whole)
        make(d.path("inc.qcow2"))
        node(d.c, "inc", d.path("inc.qcow2"))
        fails(d.c.call, "blockdev-backup", {"device": "top", "target": "inc", "sync": "incremental", "job-id": "b"}, text="bitmap")
        d.c.call("blockdev-backup", {"device": "top", "target": "inc", "sync": "incremental", "bitmap": "b0", "job-id": "b"})
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        maps = [b for b in d.c.call("query-block") if b["qdev"].endswith("vda")][0]["inserted"]["dirty-bitmaps"]
        assert maps[0]["name"] == "b0" and maps[0]["count"] == 0 and maps[0]["persistent"] and maps[0]["recording"]
        d.c.call("block-dirty-bitmap-add", node="top", name="b1", disabled=True)
        d.c.call("block-dirty-bitmap-merge", node="top", target="b1", bitmaps=["b0", {"node": "top", "name": "b0"}])
        fails(d.c.call, "block-dirty-bitmap-merge", node="top", target="b1", bitmaps=["nope"], text="'nope' not found")
        for name in ("enable", "disable", "clear", "remove"):
            d.c.call(f"block-dirty-bitmap-{name}", node="top", name="b1")
        fails(d.c.call, "block-dirty-bitmap-clear", node="top", name="b1", text="not found")


def test_resize():
    with Disk() as d:
        d.c.call("block_resize", {"node-name": "top", "size": 8 << 20})
        inserted = [b for b in d.c.call("query-block") if b["qdev"].endswith("vda")][0]["inserted"]
        assert inserted["image"]["virtual-size"] == 8 << 20
        fails(d.c.call, "block_resize", {"device": "nope", "size": 1 << 20}, text="Cannot find device")
        fails(d.c.call, "block_resize", {"size": 1 << 20})


def test_savevm():
    with Disk() as d:
        assert "no snapshot" in d.c.hmp("info snapshots")
        assert d.c.hmp("savevm s1") == ""
        assert "s1" in d.c.hmp("info snapshots")
        assert d.c.hmp("loadvm s1") == ""
        assert "Error" in d.c.hmp("loadvm nope")
        assert d.c.hmp("delvm s1") == ""
        assert "no snapshot" in d.c.hmp("info snapshots")


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
