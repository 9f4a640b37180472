#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Snapshots of the machine by QMP: jobs and the console's commands, what they answer, their events and errors; no guest."""
import os
import re

from client import Machine, fails, main
from jobs import Disk, make, node


def end(d, job, error=None):
    """Waits until the job has ended, and forgets it; its states were the usual ones."""
    d.status(job, "concluded")
    info = [j for j in d.c.call("query-jobs") if j["id"] == job][0]
    if error is None:
        assert "error" not in info, info
    else:
        assert error in info.get("error", ""), info
    d.c.call("job-dismiss", id=job)
    d.status(job, "null")


def test_jobs():
    with Disk() as d:
        c = d.c
        c.call("snapshot-save", {"job-id": "s0", "tag": "one", "vmstate": "top", "devices": ["top"]})
        for status in ("created", "running", "waiting", "pending"):
            if status != "created":
                d.status("s0", status)
        info = c.call("query-jobs")
        assert info[0]["type"] == "snapshot-save", info
        assert c.call("query-block-jobs") == []
        end(d, "s0")
        assert not [e for e in c.events if e["event"].startswith("BLOCK_JOB")], c.events
        listed = [b for b in c.call("query-block") if b.get("inserted")][0]["inserted"]["image"]["snapshots"]
        assert [s["name"] for s in listed] == ["one"] and listed[0]["vm-state-size"] > 0, listed
        assert re.search(r"^List of snapshots present on all disks:\nID +TAG +VM SIZE .*\n-- +one +[\d.e+]+ [KMG]iB ", c.hmp("info snapshots"))

        c.call("snapshot-save", {"job-id": "s1", "tag": "one", "vmstate": "top", "devices": ["top"]})
        end(d, "s1", "Snapshot 'one' already exists in one or more devices")
        c.call("snapshot-load", {"job-id": "s2", "tag": "one", "vmstate": "top", "devices": ["top"]})
        end(d, "s2")
        c.call("snapshot-load", {"job-id": "s2", "tag": "two", "vmstate": "top", "devices": ["top"]})
        end(d, "s2", "Snapshot 'two' does not exist in one or more devices")
        c.call("snapshot-delete", {"job-id": "s3", "tag": "one", "devices": ["top"]})
        end(d, "s3")
        c.call("snapshot-delete", {"job-id": "s3", "tag": "one", "devices": ["top"]})
        end(d, "s3")
        assert c.hmp("info snapshots") == "There is no snapshot available.\n"
        assert c.call("query-jobs") == []


def test_job_errors():
    with Disk() as d:
        c = d.c
        save = {"job-id": "s", "tag": "t", "vmstate": "top", "devices": ["top"]}
        c.call("snapshot-save", {**save, "devices": ["top", "nope"]})
        end(d, "s", "No block device node 'nope'")
        c.call("snapshot-save", {**save, "vmstate": "nope"})
        end(d, "s", "vmstate block device 'nope' does not exist")
        c.call("snapshot-save", {**save, "devices": ["base"]})
        end(d, "s", "")
        for tag in ("", "a/b", ".x", "x" * 300):
            c.call("snapshot-save", {**save, "tag": tag})
            end(d, "s", "cannot be the name of a snapshot")
        fails(c.call, "snapshot-save", {**save, "job-id": "1"}, text="Invalid job ID")
        fails(c.call, "snapshot-save", {**save, "devices": "top"}, text="devices")
        fails(c.call, "snapshot-save", {**save, "devices": [1]}, text="devices")
        fails(c.call, "snapshot-load", {"job-id": "s", "tag": "t"}, text="missing")
        c.call("snapshot-save", save)
        fails(c.call, "snapshot-save", save, text="already in use")
        end(d, "s")
        assert c.call("query-jobs") == []


def test_two_disks_and_a_node_of_nobody():
    """The state is in the disk that was named; a node that no device has takes part as well; raw has a copy beside it."""
    with Disk() as d:
        make(d.path("other.qcow2"))
        node(d.c, "other", d.path("other.qcow2"))
        with open(d.path("raw"), "wb") as f:
            f.truncate(1 << 20)
        node(d.c, "raw", d.path("raw"), "raw")
        d.c.call("snapshot-save", {"job-id": "s", "tag": "t", "vmstate": "other", "devices": ["top", "other"]})
        end(d, "s")
        d.c.call("snapshot-load", {"job-id": "s", "tag": "t", "vmstate": "other", "devices": ["other", "top"]})
        end(d, "s")
        d.c.call("snapshot-load", {"job-id": "s", "tag": "t", "vmstate": "top", "devices": ["other", "top"]})
        end(d, "s", "only of the disk")
        d.c.call("snapshot-save", {"job-id": "s", "tag": "u", "vmstate": "top", "devices": ["top", "raw"]})
        end(d, "s", "Device 'raw' is writable but does not support snapshots")


def test_while_it_runs():
    """Who watches sees it stand and go on."""
    with Disk() as d:
        d.c.call("cont")
        d.c.wait_event("RESUME")
        d.c.call("snapshot-save", {"job-id": "s", "tag": "t", "vmstate": "top", "devices": ["top"]})
        d.c.wait_event("STOP")
        d.c.wait_event("RESUME")
        end(d, "s")
        d.c.call("snapshot-load", {"job-id": "s", "tag": "t", "vmstate": "top", "devices": ["top"]})
        d.c.wait_event("STOP")
        d.c.wait_event("RESUME")
        end(d, "s")
        assert d.c.call("query-status")["status"] == "running"
        d.c.call("stop")
        d.c.call("snapshot-load", {"job-id": "s", "tag": "t", "vmstate": "top", "devices": ["top"]})
        end(d, "s")
        assert d.c.call("query-status")["status"] == "paused"


def test_quit_with_a_job():
    for _ in range(3):
        with Disk() as d:
            d.c.call("cont")
            d.c.call("snapshot-save", {"job-id": "s", "tag": "t", "vmstate": "top", "devices": ["top"]})
            d.c.call("quit")
            assert d.m.process.wait(60) == 0


def test_console():
    with Disk() as d:
        c = d.c
        assert c.hmp("info snapshots") == "There is no snapshot available.\n"
        assert c.hmp("savevm") == ""
        assert c.hmp("savevm one") == "" == c.hmp("savevm one")         # it is replaced
        said = c.hmp("info snapshots")
        assert re.search(r"^-- +vm-\d{14} ", said, re.M) and len(re.findall(r"^-- +one ", said, re.M)) == 1, said
        assert "Snapshot 'nope' does not exist in one or more devices" in c.hmp("loadvm nope")
        assert "no snapshot" in c.hmp("delvm nope")
        assert c.hmp("loadvm one") == ""
        assert c.hmp('savevm "two words"') == "" == c.hmp('loadvm "two words"') == c.hmp("delvm two words")
        assert c.hmp("delvm one") == ""
        assert " one " not in c.hmp("info snapshots")
        path = d.path("state.lyre")
        assert c.hmp(f"savevm {path}") == "" and os.path.getsize(path) > 4096
        assert c.hmp(f"loadvm {path}") == ""
        assert c.hmp(f"delvm {path}") == "" and not os.path.exists(path)


def test_no_disk():
    m = Machine()
    assert "./NAME.lyre" in m.qmp.hmp("savevm x")
    assert m.qmp.hmp("info snapshots") == "There is no snapshot available.\n"
    assert m.qmp.hmp("savevm ./x.lyre") == "" == m.qmp.hmp("loadvm ./x.lyre")
    assert m.close()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
