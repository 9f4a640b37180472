#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disks in different I/O threads in one command: reopened, changed and backed up together, all or none."""
import os
import tempfile

from blockrig import Disk, make, node, same
from client import fails, main

MANUAL = {"auto-dismiss": False}


class Two(Disk):
    """"top" is in io1, "far" in io2, each with a device; "near" is in the disks' own thread."""

    def __init__(self):
        self.far = tempfile.NamedTemporaryFile(suffix=".qcow2")
        make(self.far.name)
        super().__init__("-object", "iothread,id=io2", "-blockdev", f"driver=file,node-name=far-data,filename={self.far.name}",
                         "-blockdev", "driver=qcow2,node-name=far,file=far-data",
                         "-device", "virtio-blk-device,drive=far,id=vdb,iothread=io2,share-rw=on", thread="io1")
        self.new("near")

    def reopen(self, *options):
        return self.c.call("blockdev-reopen", {"options": list(options)})

    def top_options(self, **more):
        return {"driver": "qcow2", "node-name": "top", "file": {"driver": "file", "filename": self.top}, "backing": "base", **more}

    @staticmethod
    def far_options(**more):
        return {"driver": "qcow2", "node-name": "far", "file": "far-data", **more}

    def zeroes(self):
        nodes = {n["node-name"]: n["detect_zeroes"] for n in self.c.call("query-named-block-nodes", flat=True)}
        return nodes["top"], nodes["far"]

    def together(self, *actions, grouped=False):
        args = {"actions": [{"type": t, "data": data} for t, data in actions]}
        if grouped:
            args["properties"] = {"completion-mode": "grouped"}
        return self.c.call("transaction", args)


def backup(device, target, job, **more):
    return "blockdev-backup", {"device": device, "target": target, "job-id": job, "sync": "full", **more}


def test_reopen():
    with Two() as d:
        d.reopen(d.top_options(**{"detect-zeroes": "on"}), d.far_options(**{"detect-zeroes": "on"}))
        assert d.zeroes() == ("on", "on")
        bad = {"detect-zeroes": "unmap"}                # needs discard=unmap
        fails(d.reopen, d.top_options(), d.far_options(**bad), text="detect-zeroes to unmap")
        assert d.zeroes() == ("on", "on")
        fails(d.reopen, d.far_options(), d.top_options(**bad), text="detect-zeroes to unmap")
        fails(d.reopen, d.far_options(), {**d.top_options(), "node-name": "nope"}, text="Failed to find node with node-name='nope'")
        fails(d.reopen, d.far_options(), d.top_options(backing="nope"), text="nope")
        assert d.zeroes() == ("on", "on")
        d.write("vda", 7, 0, "64k")
        d.write("vdb", 7, 0, "64k")                     # nothing is left drained
        d.reopen(d.far_options(), d.top_options())
        assert d.zeroes() == ("off", "off")


def test_bitmaps():
    with Two() as d:
        for name in ("top", "far"):
            d.c.call("block-dirty-bitmap-add", node=name, name="k", granularity=65536)
        d.write("far", 6, "1M", "64k")
        merge = {"node": "top", "target": "k", "bitmaps": [{"node": "far", "name": "k"}]}
        d.c.call("block-dirty-bitmap-merge", merge)
        assert d.bitmaps()["k"]["count"] == 65536
        fails(d.c.call, "block-dirty-bitmap-merge", {**merge, "bitmaps": [{"node": "far", "name": "nope"}]}, text="'nope' not found")
        fails(d.c.call, "block-dirty-bitmap-merge", {**merge, "bitmaps": [{"node": "nope", "name": "k"}]}, text="node-name='nope'")
        fails(d.together, ("block-dirty-bitmap-clear", {"node": "far", "name": "k"}), ("block-dirty-bitmap-clear", {"node": "top", "name": "k"}),
              ("abort", {}))
        assert d.bitmaps()["k"]["count"] == d.bitmaps("far")["k"]["count"] == 65536
        d.together(("block-dirty-bitmap-clear", {"node": "top", "name": "k"}), ("block-dirty-bitmap-merge", merge),
                   ("block-dirty-bitmap-clear", {"node": "far", "name": "k"}))
        assert d.bitmaps()["k"]["count"] == 65536 and d.bitmaps("far")["k"]["count"] == 0


def test_job_ids():
    """An ID is one in all threads."""
    with Two() as d:
        d.new("a")
        d.new("b")
        d.c.call("blockdev-backup", dict(backup("top", "a", "j", speed=4096)[1]))
        fails(d.c.call, "blockdev-backup", backup("far", "b", "j")[1], text="Job ID 'j' already in use")
        fails(d.c.call, "blockdev-create", {"job-id": "j", "options": {"driver": "file", "filename": d.path("x"), "size": 512}},
              text="Job ID 'j' already in use")
        d.c.call("job-cancel", {"id": "j"})
        d.status("j", "null")


def test_grouped():
    with Two() as d:
        a, _ = d.new("a"), d.new("b")
        d.together(backup("top", "a", "j1", **MANUAL), backup("far", "b", "j2", **MANUAL), grouped=True)
        for job in ("j1", "j2"):
            assert "error" not in d.c.wait_event("BLOCK_JOB_COMPLETED", match=lambda x, job=job: x["device"] == job)["data"]
            d.status(job, "concluded")
            d.c.call("job-dismiss", {"id": job})
        d.m.close()
        assert same(a, d.whole)


def test_grouped_failure():
    """One fails: those of other threads are cancelled, and nothing has changed."""
    for bad_first in (True, False):
        with Two() as d:
            d.new("a")
            make(d.path("bad.qcow2"))
            d.c.call("blockdev-add", {"driver": "qcow2", "node-name": "bad", "file": {
                "driver": "blkdebug", "image": {"driver": "file", "filename": d.path("bad.qcow2")},
                "inject-error": [{"event": "write_aio", "errno": 5, "once": False}]}})
            d.c.call("block-dirty-bitmap-add", node="far", name="k")
            d.write("far", 6, 0, "1M")
            good = backup("top", "a", "good", speed=4096, **MANUAL)
            bad = backup("far", "bad", "bad", bitmap="k", **{**MANUAL, "sync": "incremental"})
            d.together(*((bad, good) if bad_first else (good, bad)), grouped=True)
            for job in ("good", "bad"):
                d.status(job, "concluded")
            assert "error" in d.c.wait_event("BLOCK_JOB_COMPLETED", match=lambda x: x["device"] == "bad")["data"]
            d.c.wait_event("BLOCK_JOB_CANCELLED", match=lambda x: x["device"] == "good")
            for job in ("good", "bad"):
                d.c.call("job-dismiss", {"id": job})
            assert d.bitmaps("far")["k"]["count"] == 1 << 20


def test_grouped_by_hand():
    """Waiting, pending, then finalized or cancelled by either of them."""
    manual = {"auto-dismiss": False, "auto-finalize": False}
    for end, job, event in (("job-finalize", "j1", "BLOCK_JOB_COMPLETED"), ("job-finalize", "j2", "BLOCK_JOB_COMPLETED"),
                            ("job-cancel", "j1", "BLOCK_JOB_CANCELLED"), ("job-cancel", "j2", "BLOCK_JOB_CANCELLED")):
        with Two() as d:
            d.new("a")
            d.new("b")
            d.together(backup("top", "a", "j1", **manual), backup("far", "b", "j2", **manual), grouped=True)
            for j in ("j1", "j2"):
                d.c.wait_event("BLOCK_JOB_PENDING", match=lambda x, j=j: x["id"] == j)
            d.c.call(end, {"id": job})
            for j in ("j1", "j2"):
                d.c.wait_event(event, match=lambda x, j=j: x["device"] == j)
                d.status(j, "concluded")
                fails(d.c.call, "job-finalize", {"id": j}, text="in state 'concluded' cannot accept command verb 'finalize'")
                d.c.call("job-dismiss", {"id": j})


def test_quit_with_jobs():
    with Two() as d:
        d.new("a")
        d.new("b")
        d.together(backup("top", "a", "j1", speed=4096), backup("far", "b", "j2", speed=4096), grouped=True)
    with Two() as d:
        d.new("a")
        make(d.path("b.qcow2"))
        node(d.c, "b", d.path("b.qcow2"))
        d.together(backup("far", "b", "j2", **{"auto-finalize": False}), backup("top", "a", "j1", speed=4096), grouped=True)


def test_nothing_is_lost():
    """A node that is to go to another thread, and cannot be opened there, stays where it is."""
    with Two() as d:
        target = {"device": "top", "target": "n", "job-id": "j", "sync": "full"}
        file = d.new("n")
        os.rename(file, file + ".away")
        fails(d.c.call, "blockdev-mirror", target, text="not there any more")
        make(file)
        fails(d.c.call, "blockdev-mirror", target, text="another file now")
        d.write("n", 5, 0, "64k")
        os.rename(file + ".away", file)
        d.c.call("blockdev-mirror", target)
        d.c.wait_event("BLOCK_JOB_READY")


def test_abandoned():
    with Two() as d:
        d.new("a")
        d.new("b")
        fails(d.together, backup("top", "a", "j1"), backup("far", "b", "j2"), ("abort", {}), grouped=True)
        assert d.c.call("query-jobs") == []
        d.c.call("blockdev-del", {"node-name": "b"})


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
