#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""blockcopy, blockcommit, blockpull as libvirt sends them (storage and format nodes of their own, jobs kept until dismissed), and jobs' states."""
from blockrig import Disk, holds, info, make, node, put, same, sound
from client import fails, main

KEEP = {"auto-finalize": True, "auto-dismiss": False}


class Chain(Disk):
    """A virtio disk with b <- m <- t, each of storage and format, in libvirt's way; t is the disk's."""

    def __init__(self, *args):
        self.names = ("b", "m", "t")
        super().__init__("-device", "pcie-root-port,id=rp", *args)
        for i, name in enumerate(self.names):
            below = self.names[i - 1] if i else None
            make(self.file(name), None if below else "4M", *(["-b", self.file(below), "-F", "qcow2"] if below else []))
            put(self.file(name), i + 1, f"{i}M", "1M")
            self.add(name, below, i < 2)
        self.c.call("device_add", {"driver": "virtio-blk-pci", "bus": "rp", "drive": "t", "id": "vdb", "share-rw": True})

    def file(self, name):
        return self.path(name + ".qcow2")

    def add(self, name, below, read_only=False):
        self.c.call("blockdev-add", {"driver": "file", "filename": self.file(name), "node-name": name + "-storage",
                                     "auto-read-only": True, "discard": "unmap"})
        self.c.call("blockdev-add", {"node-name": name, "read-only": read_only, "driver": "qcow2", "file": name + "-storage",
                                     "backing": below})

    def drop(self, *names):
        for name in names:
            self.c.call("blockdev-del", {"node-name": name})
            self.c.call("blockdev-del", {"node-name": name + "-storage"})

    def end(self, job, error=None):
        """libvirt's way out of a job."""
        self.status(job, "concluded")
        jobs = [j for j in self.c.call("query-jobs") if j["id"] == job]
        assert jobs[0]["status"] == "concluded" and (error is None) == ("error" not in jobs[0]), jobs
        self.c.call("job-dismiss", {"id": job})
        self.status(job, "null")

    def holds_all(self, name, *more):
        return all(holds(self.file(name), i + 1, f"{i}M", "1M", *more) for i in range(3))


def start_copy(d, **more):
    make(d.file("copy"))
    d.add("copy", None)
    d.c.call("blockdev-mirror", dict({"job-id": "copy-vdb", "device": "t", "target": "copy", "sync": "full", **KEEP}, **more))
    d.c.wait_event("BLOCK_JOB_READY", match=lambda e: e["device"] == "copy-vdb")


def test_blockcopy_pivot():
    with Chain() as d:
        start_copy(d)
        jobs = d.c.call("query-block-jobs")
        assert jobs[0]["device"] == "copy-vdb" and jobs[0]["ready"] and jobs[0]["status"] == "ready", jobs
        assert jobs[0]["len"] == jobs[0]["offset"] and jobs[0]["type"] == "mirror", jobs
        assert d.inserted("vdb")["node-name"] == "t"        # the job's filter is not shown
        d.write("vdb", 0x33, "3M", "64k")
        d.c.call("job-complete", {"id": "copy-vdb"})
        d.end("copy-vdb")
        assert d.inserted("vdb")["node-name"] == "copy"
        d.drop("t", "m", "b")
        d.write("vdb", 0x34, "3200k", "64k")
        d.m.close()
        assert d.holds_all("copy") and holds(d.file("copy"), 0x33, "3M", "64k") and holds(d.file("copy"), 0x34, "3200k", "64k")
        assert holds(d.file("t"), 0, "3200k", "64k") and sound(d.file("copy"))


def test_blockcopy_finish():
    with Chain() as d:
        start_copy(d, **{"copy-mode": "write-blocking", "filter-node-name": "watch"})
        assert d.inserted("vdb")["node-name"] == "watch"
        d.c.call("block-job-cancel", {"device": "copy-vdb"})
        d.end("copy-vdb")
        assert d.inserted("vdb")["node-name"] == "t"
        d.drop("copy")
        assert d.holds_all("copy")


def test_blockcopy_abort():
    with Chain() as d:
        start_copy(d)
        d.c.call("block-job-cancel", {"device": "copy-vdb", "force": True})
        d.c.wait_event("BLOCK_JOB_CANCELLED", match=lambda e: e["device"] == "copy-vdb")
        d.end("copy-vdb", error="cancelled")
        d.drop("copy")


def test_blockcommit_active():
    with Chain() as d:
        d.c.call("block-commit", {"device": "t", "job-id": "commit-vdb", "top-node": "t", "base-node": "b", **KEEP})
        d.c.wait_event("BLOCK_JOB_READY")
        d.c.call("transaction", {"actions": [{"type": "block-dirty-bitmap-add", "data": {"node": "b", "name": "tmp"}}]})
        d.c.call("job-complete", {"id": "commit-vdb"})
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        d.end("commit-vdb")
        d.c.call("transaction", {"actions": [{"type": "block-dirty-bitmap-remove", "data": {"node": "b", "name": "tmp"}}]})
        d.drop("t", "m")
        assert d.inserted("vdb")["node-name"] == "b" and not d.inserted("vdb")["ro"]
        d.write("vdb", 0x44, "3M", "64k")
        d.m.close()
        assert d.holds_all("b") and holds(d.file("b"), 0x44, "3M", "64k") and sound(d.file("b"))


def test_blockcommit_below():
    with Chain() as d:
        d.c.call("block-commit", {"device": "t", "job-id": "commit-vdb", "top-node": "m", "base-node": "b", "backing-file": d.file("b"),
                                  **KEEP})
        d.end("commit-vdb")
        assert d.inserted("vdb")["backing_file_depth"] == 1
        d.drop("m")
        nodes = {n["node-name"]: n for n in d.c.call("query-named-block-nodes", flat=True)}
        assert nodes["b"]["ro"] and not nodes["t"]["ro"]
        d.m.close()
        assert info(d.file("t"))["backing-filename"] == d.file("b")
        assert d.holds_all("t") and holds(d.file("b"), 2, "1M", "1M") and sound(d.file("b")) and sound(d.file("t"))


def test_blockpull():
    with Chain() as d:
        d.c.call("block-stream", {"device": "t", "job-id": "pull-vdb", "base-node": "b", "backing-file": d.file("b"), **KEEP})
        d.end("pull-vdb")
        d.drop("m")
        assert d.inserted("vdb")["backing_file_depth"] == 1
        d.c.call("block-stream", {"device": "t", "job-id": "pull-vdb", **KEEP})
        d.end("pull-vdb")
        d.drop("b")
        assert d.inserted("vdb")["backing_file_depth"] == 0
        d.m.close()
        assert "backing-filename" not in info(d.file("t")) and d.holds_all("t") and sound(d.file("t"))


def test_by_file_name():
    with Chain() as d:
        d.c.call("block-stream", {"device": "t", "job-id": "j", "base": d.file("b")})
        d.completed("j")
        assert d.inserted("vdb")["backing_file_depth"] == 1
        d.c.call("block-commit", {"device": "t", "job-id": "j", "top": d.file("t"), "base": d.file("b")})
        d.c.wait_event("BLOCK_JOB_READY")
        d.c.call("block-job-complete", {"device": "j"})
        d.completed("j")
        assert d.inserted("vdb")["node-name"] == "b"
        fails(d.c.call, "block-stream", {"device": "b", "job-id": "j", "base": "/nope"}, text="/nope")


def test_busy():
    """A node has one job, and no other change while it has it."""
    with Chain() as d:
        start_copy(d)
        make(d.file("x"))
        d.add("x", None)
        busy = "Node 't' is busy: block device is in use by block job: mirror"
        for command, args in (("block-stream", {"device": "t", "job-id": "j"}), ("block-commit", {"device": "t", "job-id": "j"}),
                              ("blockdev-backup", {"device": "t", "job-id": "j", "target": "x", "sync": "full"}),
                              ("blockdev-mirror", {"device": "t", "job-id": "j", "target": "x", "sync": "full"}),
                              ("blockdev-snapshot", {"node": "t", "overlay": "x"}),
                              ("blockdev-snapshot-internal-sync", {"device": "t", "name": "s"})):
            fails(d.c.call, command, args, text=busy)
        fails(d.c.call, "blockdev-del", {"node-name": "copy"}, text="in use")
        fails(d.c.call, "blockdev-mirror", {"device": "x", "job-id": "copy-vdb", "target": "copy", "sync": "full"})
        d.c.call("job-cancel", {"id": "copy-vdb"})
        d.end("copy-vdb", error="cancelled")
        d.drop("x", "copy")


def test_wrong():
    with Chain() as d:
        calls = (("blockdev-mirror", {"device": "t", "target": "t", "sync": "full", "job-id": "j"}, None),
                 ("blockdev-mirror", {"device": "t", "target": "b", "sync": "full", "job-id": "j"}, None),
                 ("blockdev-mirror", {"device": "t", "target": "top", "sync": "full", "job-id": "j", "granularity": 3}, "granularity"),
                 ("blockdev-backup", {"device": "t", "target": "t", "sync": "full", "job-id": "j"}, "cannot be the same"),
                 ("blockdev-backup", {"device": "t", "target": "nope", "sync": "full", "job-id": "j"}, "nope"),
                 ("block-stream", {"device": "t", "job-id": "j", "base": "x", "base-node": "y"}, "cannot be specified at the same time"),
                 ("block-stream", {"device": "t", "job-id": "j", "base-node": "top"}, None),
                 ("block-stream", {"device": "t", "job-id": "j", "speed": -1}, "speed"),
                 ("block-stream", {"device": "t", "job-id": "0j"}, "Invalid job ID '0j'"),
                 ("block-commit", {"device": "t", "job-id": "j", "base": "x", "base-node": "y"}, "mutually exclusive"),
                 ("block-commit", {"device": "b", "job-id": "j"}, None),
                 ("block-commit", {"device": "t", "job-id": "j", "top-node": "b", "base-node": "m"}, None),
                 ("change-backing-file", {"device": "t", "image-node-name": "top", "backing-file": "x"}, "same chain"),
                 ("change-backing-file", {"device": "t", "image-node-name": "b", "backing-file": "x"}, "without a backing file"))
        for command, args, text in calls:
            fails(d.c.call, command, args, text=text)
        assert d.c.call("query-jobs") == [] and d.inserted("vdb")["node-name"] == "t"


def test_change_backing_file():
    with Chain() as d:
        d.c.call("change-backing-file", {"device": "t", "image-node-name": "m", "backing-file": "b.qcow2"})
        d.c.call("change-backing-file", {"device": "t", "image-node-name": "t", "backing-file": "m.qcow2"})
        d.m.close()
        assert info(d.file("m"))["backing-filename"] == "b.qcow2" and info(d.file("t"))["backing-filename"] == "m.qcow2"
        assert d.holds_all("t")


def test_states():
    with Chain() as d:
        make(d.file("copy"))
        d.add("copy", None)
        d.c.call("blockdev-backup", {"device": "t", "target": "copy", "sync": "full", "job-id": "j", "speed": 65536, "auto-finalize": False,
                                     "auto-dismiss": False})
        d.status("j", "created")
        d.status("j", "running")
        for verb in ("complete", "finalize", "dismiss"):
            fails(d.c.call, f"job-{verb}", {"id": "j"}, text=f"Job 'j' in state 'running' cannot accept command verb '{verb}'")
        fails(d.c.call, "job-resume", {"id": "j"}, text="Can't resume a job that was not paused")
        d.c.call("job-pause", {"id": "j"})
        d.status("j", "paused")
        fails(d.c.call, "block-job-pause", {"device": "j"}, text="Job is already paused")
        jobs = d.c.call("query-block-jobs")
        assert jobs[0]["paused"] and jobs[0]["status"] == "paused" and not jobs[0]["auto-finalize"], jobs
        d.c.call("block-job-resume", {"device": "j"})
        d.c.call("block-job-set-speed", {"device": "j", "speed": 0})
        assert d.c.wait_event("BLOCK_JOB_PENDING")["data"] == {"id": "j", "type": "backup"}
        fails(d.c.call, "block-job-complete", {"device": "j"}, text="cannot accept command verb 'complete'")
        d.c.call("block-job-finalize", {"id": "j"})
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        d.status("j", "concluded")
        fails(d.c.call, "job-finalize", {"id": "j"}, text="cannot accept command verb 'finalize'")
        fails(d.c.call, "job-cancel", {"id": "j"}, text="cannot accept command verb 'cancel'")
        d.c.call("block-job-dismiss", {"id": "j"})
        fails(d.c.call, "job-dismiss", {"id": "j"}, text="Job not found")
        fails(d.c.call, "block-job-pause", {"device": "j"}, cls="DeviceNotActive", text="Block job 'j' not found")


def test_drive_mirror():
    with Chain() as d:
        out = d.path("out.qcow2")
        d.c.call("drive-mirror", {"device": "t", "target": out, "sync": "full", "job-id": "j", "format": "qcow2", "node-name": "new"})
        d.c.wait_event("BLOCK_JOB_READY")
        d.c.call("block-job-complete", {"device": "j"})
        d.completed("j")
        assert d.inserted("vdb")["node-name"] == "new"
        fails(d.c.call, "drive-mirror", {"device": "vdb", "target": out, "sync": "full", "job-id": "j", "mode": "existing"})
        d.m.close()
        assert same(out, d.file("t"))


def test_names_in_headers_skip_filters():
    """What an image's header says of its backing file is the file below filters, and that one's format; so it opens again."""
    with Chain() as d:
        for name in ("s", "c"):
            make(d.file(name))
        for name, file in (("far", None), ("over", "far")):
            d.c.call("blockdev-add", {"driver": "copy-on-read", "node-name": name, "file": file} if file else
                     {"driver": "null-co", "node-name": name, "size": 4 << 20, "read-zeroes": True})
        d.add("s", "over")
        d.add("c", "s")
        d.c.call("block-stream", {"job-id": "j", "device": "c", "base-node": "over"})
        d.completed("j")
        assert d.c.call("blockdev-del", {"node-name": "c"}) == {} == d.c.call("blockdev-del", {"node-name": "c-storage"})
        node(d.c, "again", d.file("c"))
        d.c.call("object-add", {"qom-type": "throttle-group", "id": "g"})
        d.c.call("blockdev-add", {"driver": "throttle", "node-name": "over-b", "file": "b", "throttle-group": "g", "read-only": True})
        d.c.call("blockdev-add", {"driver": "file", "node-name": "u-storage", "filename": make_over(d.file("u"), d.file("b"))})
        d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "u", "file": "u-storage", "backing": "over-b"})
        d.c.call("block-stream", {"job-id": "j", "device": "u", "base-node": "over-b"})
        d.completed("j")
        assert info(d.file("u"))["backing-filename"] == d.file("b") and info(d.file("u"))["backing-filename-format"] == "qcow2"


def make_over(path, backing):
    make(path, None, "-b", backing, "-F", "qcow2")
    return path


def test_ignored_errors():
    """A stream that left something out fails, and its backing file stays; a backup tries again, until all is there or it is cancelled."""
    def debug(d, name, event, once):
        return {"driver": "blkdebug", "image": {"driver": "file", "filename": d.file(name)},
                "inject-error": [{"event": event, "errno": 5, "once": once}]}

    with Chain() as d:
        make_over(d.file("u"), d.file("b"))
        d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "below", "file": debug(d, "b", "read_aio", True), "read-only": True})
        d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "u", "file": {"driver": "file", "filename": d.file("u")}, "backing": "below"})
        d.c.call("block-stream", {"job-id": "j", "device": "u", "on-error": "ignore", **KEEP})
        d.end("j", error=True)
        assert d.c.wait_event("BLOCK_JOB_ERROR")["data"]["action"] == "ignore"
        nodes = {n["node-name"]: n for n in d.c.call("query-named-block-nodes", flat=True)}
        assert nodes["u"]["backing_file_depth"] == 1
        for once in (True, False):
            make(d.file("bad"))
            d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "bad", "file": debug(d, "bad", "write_aio", once)})
            d.c.call("blockdev-backup", {"device": "t", "target": "bad", "sync": "full", "job-id": "j", "on-target-error": "ignore", **KEEP})
            for _ in range(1 if once else 3):
                d.c.wait_event("BLOCK_JOB_ERROR", match=lambda x: x["operation"] == "write" and x["action"] == "ignore")
            if not once:
                d.c.call("job-cancel", {"id": "j"})
            d.end("j", error=None if once else True)
            d.c.call("blockdev-del", {"node-name": "bad"})
            assert same(d.file("bad"), d.file("t"), "-U") == once


def test_errors():
    """A target that fails: the event, what the job says, and one that stands still until it is told to go on."""
    with Chain() as d:
        make(d.file("bad"))
        rule = {"event": "write_aio", "errno": 28, "once": True}
        d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "bad", "file": {
            "driver": "blkdebug", "image": {"driver": "file", "filename": d.file("bad")}, "inject-error": [rule, dict(rule, errno=5)]}})
        d.c.call("blockdev-backup", {"device": "t", "target": "bad", "sync": "full", "job-id": "j", "on-target-error": "enospc", **KEEP})
        e = d.c.wait_event("BLOCK_JOB_ERROR", match=lambda x: x["action"] == "stop")["data"]
        assert e == {"device": "j", "operation": "write", "action": "stop"}, e
        d.status("j", "paused")
        assert d.c.call("query-block-jobs")[0]["io-status"] == "nospace"
        d.c.call("block-job-resume", {"device": "j"})
        d.status("j", "concluded")
        assert d.c.call("query-jobs")[0]["status"] == "concluded"
        d.c.call("job-dismiss", {"id": "j"})


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
