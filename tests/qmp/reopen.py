#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""blockdev-reopen, as libvirt sends it, and all or none of several nodes."""
from blockrig import Disk, make, stored
from client import fails, main


class Chain(Disk):
    """As libvirt opens disks: storage and format are nodes of their own, the lower ones read-only."""

    def __init__(self):
        super().__init__()
        make(self.path("b.qcow2"))
        make(self.path("t.qcow2"), None, "-b", self.path("b.qcow2"), "-F", "qcow2")
        for name, backing in (("b", None), ("t", "b")):
            self.c.call("blockdev-add", {"driver": "file", "filename": self.path(name + ".qcow2"), "node-name": name + "-storage",
                                         "auto-read-only": True, "discard": "unmap"})
            self.c.call("blockdev-add", self.format(name, backing, name == "b"))

    @staticmethod
    def format(name, backing, read_only, **more):
        return {"node-name": name, "read-only": read_only, "driver": "qcow2", "file": name + "-storage", "backing": backing, **more}

    def reopen(self, *options):
        return self.c.call("blockdev-reopen", {"options": list(options)})

    def node(self, name):
        return [n for n in self.c.call("query-named-block-nodes", flat=True) if n["node-name"] == name][0]


def test_read_only():
    with Chain() as d:
        assert d.node("b")["ro"] and not d.node("t")["ro"]
        d.reopen(d.format("b", None, False))
        assert not d.node("b")["ro"]
        d.c.call("block-dirty-bitmap-add", node="b", name="x", persistent=True)
        d.reopen(d.format("b", None, True))
        assert d.node("b")["ro"]
        fails(d.c.call, "block-dirty-bitmap-remove", node="b", name="x")
        assert list(stored(d.path("b.qcow2"))) == ["x"]
        d.reopen(d.format("b", None, False))
        d.c.call("block-dirty-bitmap-remove", node="b", name="x")
        d.reopen(d.format("b", None, True))
        assert not stored(d.path("b.qcow2"))


def test_defaults():
    with Chain() as d:
        d.reopen(d.format("t", "b", False, **{"detect-zeroes": "on", "cache": {"no-flush": True}}))
        t = d.node("t")
        assert t["detect_zeroes"] == "on" and t["cache"]["no-flush"]
        d.reopen(d.format("t", "b", False))
        t = d.node("t")
        assert t["detect_zeroes"] == "off" and not t["cache"]["no-flush"]
        without = d.format("t", "b", False)
        del without["read-only"]
        d.reopen(without)
        assert not d.node("t")["ro"]


def test_backing():
    with Chain() as d:
        d.reopen(d.format("t", None, False))
        assert d.node("t")["backing_file_depth"] == 0
        d.reopen(d.format("t", "b", False))
        assert d.node("t")["backing_file_depth"] == 1
        missing = d.format("t", "b", False)
        del missing["backing"]
        fails(d.reopen, missing, text="backing is missing for 't'")
        fails(d.reopen, d.format("t", "nope", False), text="nope")
        fails(d.reopen, d.format("t", "t", False))


def test_all_or_none():
    with Chain() as d:
        bad = d.format("t", "b", False, **{"detect-zeroes": "unmap"})       # needs discard=unmap
        fails(d.reopen, d.format("b", None, False), bad)
        assert d.node("b")["ro"]
        d.reopen(d.format("b", None, False))
        fails(d.reopen, d.format("b", None, True), bad)
        assert not d.node("b")["ro"]
        d.c.call("block-dirty-bitmap-add", node="b", name="x", persistent=True)
        d.reopen(d.format("b", None, True), d.format("t", "b", False, **{"detect-zeroes": "on"}))
        assert d.node("b")["ro"] and d.node("t")["detect_zeroes"] == "on"


def test_wrong():
    with Chain() as d:
        assert d.reopen() == {}
        fails(d.reopen, {"driver": "qcow2", "file": "b-storage"}, text="node-name not specified")
        fails(d.reopen, d.format("nope", None, True), text="Failed to find node with node-name='nope'")
        fails(d.reopen, dict(d.format("b", None, True), driver="raw"))
        fails(d.reopen, dict(d.format("b", None, True), nope=1))
        fails(d.reopen, dict(d.format("b", None, True), file="t-storage"))
        fails(d.c.call, "blockdev-reopen", {"options": [5]})
        assert d.node("b")["ro"]


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
