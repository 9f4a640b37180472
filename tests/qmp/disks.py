#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Disks as devices: where their nodes live, statistics, limits, trays, errors of the host; no guest."""
import json
import os
import subprocess
import tempfile

from client import BUILD, Machine, fails, main

IMG, IO = os.path.join(BUILD, "lyre-img"), os.path.join(BUILD, "lyre-io")


def make(path, size="4M", fmt="qcow2"):
    subprocess.run([IMG, "create", "-q", "-f", fmt, path, size], check=True)


def by_name(c, **kw):
    return {n["node-name"]: n for n in c.call("query-named-block-nodes", **kw)}


def test_short_form():
    with Machine("-blockdev", "null-co,node-name=a,size=1M", "-blockdev", '{"driver":"null-co","node-name":"b"}', "-blockdev", "node-name=c,driver=null-co") as m:
        assert set(by_name(m.qmp)) == {"a", "b", "c"}


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
            fails(c.call, "block_resize", {"device": "top", "size": 1 << 20}, text="Cannot find device='top' nor node-name=''")
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
            disk = [b for b in c.call("query-block") if b["qdev"] == "vda"][0]["inserted"]
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


# ---- queries

def test_queries():
    with tempfile.TemporaryDirectory() as d:
        a, b = os.path.join(d, "a.qcow2"), os.path.join(d, "b.qcow2")
        make(a)
        subprocess.run([IMG, "create", "-q", "-f", "qcow2", "-b", a, "-F", "qcow2", b], check=True)
        with Machine("-blockdev", f"driver=file,node-name=libvirt-1-storage,filename={b}",
                     "-blockdev", "driver=qcow2,node-name=libvirt-1-format,file=libvirt-1-storage",
                     "-device", "virtio-blk-pci,drive=libvirt-1-format,id=virtio-disk0",
                     "-device", "virtio-scsi-pci,id=scsi0", "-device", "scsi-cd,id=cd1",
                     "-drive", "if=none,id=cd0", "-device", "scsi-cd,drive=cd0", "-drive", "if=none,id=free,driver=null-co,size=1M") as m:
            c = m.qmp
            disks = {(x["device"], x.get("qdev")): x for x in c.call("query-block")}
            assert list(disks) == [("cd0", "/machine/peripheral-anon/device[0]"), ("free", None),
                                   ("", "/machine/peripheral/virtio-disk0/virtio-backend"), ("", "cd1")], list(disks)
            cd, disk, free = disks["", "cd1"], disks["", "/machine/peripheral/virtio-disk0/virtio-backend"], disks["free", None]
            assert cd["removable"] and cd["tray_open"] is False and "inserted" not in cd and cd["io-status"] == "ok"
            assert not disk["removable"] and "tray_open" not in disk and disk["inserted"]["image"]["backing-image"]["filename"] == a
            assert free["removable"] and "io-status" not in free
            flat = by_name(c, flat=True)["libvirt-1-format"]["image"]
            assert "backing-image" not in flat and flat["backing-filename"] == a and flat["dirty-flag"] is False, flat
            stats = {(x["device"], x.get("qdev")): x for x in c.call("query-blockstats")}
            assert list(stats) == list(disks)
            s = stats["", "/machine/peripheral/virtio-disk0/virtio-backend"]
            assert s["node-name"] == "libvirt-1-format" and s["parent"]["node-name"] == "libvirt-1-storage"
            assert s["parent"]["driver-specific"]["driver"] == "file" and s["backing"]["parent"]["stats"]["rd_bytes"] == 0
            assert s["stats"]["account_failed"] and "idle_time_ns" not in s["stats"] and not s["parent"]["stats"]["account_failed"]
            assert "node-name" not in stats["", "cd1"]
            nodes = {x["node-name"]: x for x in c.call("query-blockstats", {"query-nodes": True})}
            assert set(nodes) == set(by_name(c)) and "device" not in nodes["libvirt-1-format"]
            # Histograms.
            c.call("block-latency-histogram-set", {"id": "virtio-disk0", "boundaries": [10, 100], "boundaries-flush": [7]})

            def rows():
                return [x for x in c.call("query-blockstats") if x.get("node-name") == "libvirt-1-format"][0]["stats"]
            assert rows()["rd_latency_histogram"] == {"boundaries": [10, 100], "bins": [0, 0, 0]}
            assert rows()["flush_latency_histogram"]["boundaries"] == [7]
            for bad in ([], [0], [5, 5], [5, 4]):
                fails(c.call, "block-latency-histogram-set", {"id": "virtio-disk0", "boundaries": bad}, text="boundaries")
            fails(c.call, "block-latency-histogram-set", {"id": "nope"}, cls="DeviceNotFound")
            c.call("block-latency-histogram-set", {"id": "virtio-disk0"})
            assert "rd_latency_histogram" not in rows()
            # The console.
            text = c.hmp("info block")
            assert "cd0: [not inserted]\n    Attached to:      /machine/peripheral-anon/device[0]\n" in text
            assert f"libvirt-1-format: {b} (qcow2)\n    Attached to:      /machine/peripheral/virtio-disk0/virtio-backend\n" in text, text
            assert c.hmp("info block cd1") == "cd1: [not inserted]\n    Attached to:      cd1\n" \
                "    Removable device: not locked, tray closed\n"
            assert f"libvirt-1-storage: {b} (file)" in c.hmp("info block -n")
            assert "virtual size: 4 MiB (4194304 bytes)" in c.hmp("info block -v libvirt-1-format")
            assert c.hmp("info block nope") == "" and "cd1: rd_bytes=0 wr_bytes=0" in c.hmp("info blockstats")


# ---- limits

ZERO = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}


def inserted(c, name):
    return [b for b in c.call("query-block") if name in (b["device"], b.get("qdev"))][0].get("inserted")


def test_limits():
    inner = "/machine/peripheral/virtio-disk0/virtio-backend"
    with Machine("-object", "iothread,id=io1", "-blockdev", "driver=null-co,node-name=n0,size=1M",
                 "-device", "virtio-blk-pci,drive=n0,id=virtio-disk0,iothread=io1",
                 "-drive", "if=none,id=d1,driver=null-co,size=1M,throttling.iops-total=100,throttling.bps-total=1000000,"
                           "throttling.bps-total-max=2000000,throttling.group=old", "-device", "virtio-blk-device,drive=d1",
                 "-drive", "if=none,id=d2,driver=null-co,size=1M,iops_rd=5", "-device", "virtio-blk-device,drive=d2,id=vdc",
                 "-device", "virtio-scsi-device", "-device", "scsi-cd,id=cd1") as m:
        c = m.qmp

        def limit(v={}, **kw):
            return c.call("block_set_io_throttle", {**ZERO, **v, **kw})
        d1 = inserted(c, "d1")
        assert (d1["drv"], d1["group"], d1["iops"], d1["bps"], d1["bps_max"], d1["bps_max_length"]) == \
            ("null-co", "old", 100, 1000000, 2000000, 1) and "iops_max" not in d1, d1
        assert (inserted(c, "d2")["group"], inserted(c, "d2")["iops_rd"]) == ("d2", 5)
        assert "group" not in inserted(c, inner)
        limit(id=inner, bps=8388608, iops=500, bps_max=0, iops_size=4096)
        n0 = inserted(c, inner)
        assert (n0["group"], n0["bps"], n0["iops"], n0["iops_size"]) == (inner, 8388608, 500, 4096)
        limit(id=inner, iops_rd=3, group="old")         # of another thread; the limits are those of the last who set them
        assert inserted(c, "d1")["iops_rd"] == 3 and inserted(c, "d1")["bps"] == 0
        limit(device="d1", iops_rd=4, iops_rd_max=8, iops_rd_max_length=2)
        n0 = inserted(c, inner)
        assert (n0["group"], n0["iops_rd"], n0["iops_rd_max"], n0["iops_rd_max_length"]) == ("old", 4, 8, 2)
        limit(id=inner)
        assert "group" not in inserted(c, inner) and inserted(c, "d1")["group"] == "old"
        assert "I/O throttling:   bps=0 bps_rd=0" in c.hmp("info block d1")
        c.hmp("block_set_io_throttle d2 1 0 0 0 0 0")
        assert inserted(c, "d2")["bps"] == 1
        fails(limit, text="Need exactly one of 'device' and 'id'")
        fails(limit, id="vdc", device="d2", text="Need exactly one of 'device' and 'id'")
        fails(limit, id="nope", cls="DeviceNotFound", text="Device 'nope' not found")
        fails(limit, id="cd1", iops=1, text="no medium")
        fails(limit, id="vdc", iops=-1, text="within [0, 1000000000000000]")
        fails(limit, id="vdc", iops=10**15 + 1, text="within [0, 1000000000000000]")
        fails(limit, id="vdc", iops=5, iops_rd=1, text="cannot be used at the same time")
        fails(limit, id="vdc", iops_max=5, text="require corresponding")
        fails(limit, id="vdc", iops=5, iops_max_length=0, text="the burst length cannot be 0")
        assert inserted(c, "vdc")["bps"] == 1
        # Objects.
        c.call("object-add", {"qom-type": "throttle-group", "id": "tg0", "limits": {"iops-total": 7}})
        path = {"path": "/objects/tg0"}
        assert {p["name"] for p in c.call("qom-list", path)} >= {"limits", "x-iops-total", "x-bps-write-max-length", "type"}
        assert c.call("qom-get", path, property="limits")["iops-total"] == 7
        assert c.call("qom-get", path, property="x-iops-total") == 7
        c.call("qom-set", path, property="limits", value={"bps-total": 100})
        assert c.call("qom-get", path, property="limits")["iops-total"] == 7
        fails(c.call, "qom-set", path, property="limits", value={"iops-read": 1}, text="same time")
        fails(c.call, "qom-set", path, property="limits", value={"nope": 1})
        fails(c.call, "qom-set", path, property="limits", value=5)
        fails(c.call, "qom-set", path, property="x-iops-total", value=12, text="cannot be set after initialization")
        limit(id=inner, iops_rd=9, group="tg0")
        assert c.call("qom-get", path, property="limits")["iops-read"] == 9
        fails(c.call, "object-del", id="tg0", text="in use")
        c.call("blockdev-add", {"driver": "throttle", "node-name": "t0", "throttle-group": "tg0",
                                "file": {"driver": "null-co", "size": 65536}})
        limit(id=inner)
        fails(c.call, "object-del", id="tg0", text="in use")
        c.call("blockdev-del", {"node-name": "t0"})
        c.call("object-del", id="tg0")


# ---- media

def test_media():
    with tempfile.TemporaryDirectory() as d:
        one, two = os.path.join(d, "one.iso"), os.path.join(d, "two.iso")
        make(one, "2M", "raw")
        make(two, "3M", "raw")
        with Machine("-object", "iothread,id=io1", "-device", "virtio-scsi-device,iothread=io1",
                     "-drive", f"if=none,id=d1,media=cdrom,format=raw,file={one}", "-device", "scsi-cd,drive=d1,id=scd1",
                     "-device", "scsi-cd,id=cd2", "-drive", "if=none,id=nobody",
                     "-blockdev", "driver=null-co,node-name=n0,size=1M", "-device", "virtio-blk-device,drive=n0,id=vda") as m:
            c = m.qmp

            def disk(name):
                return [b for b in c.call("query-block") if name in (b["device"], b.get("qdev"))][0]

            def moved(name, opened):
                e = c.wait_event("DEVICE_TRAY_MOVED", match=lambda x: x["id"] == name)
                assert e["data"]["tray-open"] is opened, e
                return e["data"]
            fails(c.call, "blockdev-open-tray", text="Need exactly one of 'device' and 'id'")
            fails(c.call, "blockdev-open-tray", id="scd1", device="d1", text="Need exactly one of 'device' and 'id'")
            for command in ("blockdev-open-tray", "blockdev-close-tray", "eject"):
                fails(c.call, command, id="vda", text="not removable")
                fails(c.call, command, id="nope", cls="DeviceNotFound", text="Device 'nope' not found")
                fails(c.call, command, device="nope", cls="DeviceNotFound", text="Device 'nope' not found")
            fails(c.call, "blockdev-remove-medium", id="scd1", text="Tray of device 'scd1' is not open")
            fails(c.call, "blockdev-insert-medium", {"id": "scd1", "node-name": "n0"}, text="Node 'n0' is already in use")
            fails(c.call, "blockdev-insert-medium", {"id": "scd1", "node-name": "nope"}, text="Node 'nope' not found")
            c.call("blockdev-open-tray", id="scd1")
            assert moved("scd1", True)["device"] == "d1" and disk("d1")["tray_open"] and disk("d1")["inserted"]["file"] == one
            c.call("blockdev-open-tray", id="scd1")
            c.call("blockdev-add", {"driver": "raw", "node-name": "m1", "read-only": True, "file": {"driver": "file", "filename": two}})
            fails(c.call, "blockdev-insert-medium", {"id": "scd1", "node-name": "m1"}, text="already is a medium")
            c.call("blockdev-remove-medium", id="scd1")
            c.call("blockdev-remove-medium", id="scd1")
            assert "inserted" not in disk("d1") and one not in [n["file"] for n in by_name(c).values()]
            c.call("blockdev-insert-medium", {"id": "scd1", "node-name": "m1"})
            fails(c.call, "blockdev-insert-medium", {"id": "cd2", "node-name": "m1"}, text="already in use")
            c.call("blockdev-close-tray", id="scd1")
            moved("scd1", False)
            c.call("blockdev-close-tray", id="scd1")
            assert not c.events and disk("d1")["inserted"]["image"]["virtual-size"] == 3 << 20
            fails(c.call, "blockdev-del", {"node-name": "m1"}, text="in use")
            c.call("eject", id="scd1")
            moved("scd1", True)
            c.call("eject", device="d1")
            c.call("blockdev-del", {"node-name": "m1"})
            # A device without a drive; a node that is another thread's.
            c.call("blockdev-change-medium", id="cd2", filename=one)
            moved("cd2", True), moved("cd2", False)
            assert disk("cd2")["inserted"]["ro"] and disk("cd2")["inserted"]["drv"] == "raw", disk("cd2")
            fails(c.call, "blockdev-change-medium", id="cd2", filename="/nonexistent/x.iso", text="Could not open")
            fails(c.call, "blockdev-change-medium", id="cd2", filename=two, format="bogus", text="Unknown driver 'bogus'")
            fails(c.call, "blockdev-change-medium", id="vda", filename=two, text="not removable")
            assert disk("cd2")["inserted"]["file"] == one and not c.events
            c.call("blockdev-change-medium", {"device": "d1", "filename": two, "format": "raw", "read-only-mode": "read-only"})
            moved("scd1", False)
            # The console.
            c.hmp("eject d1")
            moved("scd1", True)
            assert "tray open" in c.hmp("info block d1")
            assert "Device 'nope' not found" in c.hmp("eject nope")
            c.hmp(f"change d1 {one} raw read-only")
            moved("scd1", False)
            assert f"): {one} (raw, read-only)" in c.hmp("info block d1"), c.hmp("info block d1")
            assert "not removable" in c.hmp(f"change vda {one}")
            c.call("device_del", id="cd2")
            # Limits and counts stay with the drive.
            c.call("block_set_io_throttle", {**ZERO, "id": "scd1", "iops": 5})
            c.call("blockdev-change-medium", id="scd1", filename=two)
            assert disk("d1")["inserted"]["iops"] == 5


def test_threshold():
    """A job writes beyond it."""
    with tempfile.TemporaryDirectory() as d:
        for n in ("a", "b"):
            make(os.path.join(d, n), "1M", "raw")
        with open(os.path.join(d, "a"), "r+b") as f:
            f.write(b"x" * (1 << 20))
        with Machine("-blockdev", f"driver=file,node-name=a,filename={d}/a", "-blockdev", f"driver=file,node-name=b,filename={d}/b") as m:
            c = m.qmp
            fails(c.call, "block-set-write-threshold", {"node-name": "nope", "write-threshold": 5})
            c.call("block-set-write-threshold", {"node-name": "b", "write-threshold": 70000})
            assert by_name(c)["b"]["write_threshold"] == 70000
            c.call("blockdev-mirror", {"device": "a", "target": "b", "job-id": "j", "sync": "full"})
            c.wait_event("BLOCK_JOB_READY")
            e = c.wait_event("BLOCK_WRITE_THRESHOLD")["data"]
            assert e["node-name"] == "b" and e["write-threshold"] == 70000 and e["amount-exceeded"] > 0, e
            assert by_name(c)["b"]["write_threshold"] == 0
            c.call("block-job-cancel", device="j", force=True)
            c.wait_event("BLOCK_JOB_CANCELLED")


def damage(image, entry):
    """The first entry of a qcow2 image's first L2 table."""
    with open(image, "r+b") as f:
        f.seek(40)
        f.seek(int.from_bytes(f.read(8), "big"))
        f.seek(int.from_bytes(f.read(8), "big") & 0x00fffffffffffe00)
        f.write(entry.to_bytes(8, "big"))


def test_corrupt_images():
    with tempfile.TemporaryDirectory(prefix="lyre-disks-") as d:
        for name, entry in (("read", 1 << 63 | 0x50200), ("write", 1 << 63 | 0x10000)):
            img = f"{d}/{name}.qcow2"
            subprocess.run([IMG, "create", "-q", "-f", "qcow2", img, "1M"], check=True)
            subprocess.run([IO, "-c", "write 0 64k", img], check=True, stdout=subprocess.DEVNULL)
            damage(img, entry)
        with Machine("-blockdev", f"driver=qcow2,node-name=r,file.driver=file,file.filename={d}/read.qcow2",
                     "-blockdev", f"driver=qcow2,node-name=w,file.driver=file,file.filename={d}/write.qcow2") as m:
            c = m.qmp
            assert "Input/output error" in c.hmp('qemu-io r "read 0 512"')
            e = c.wait_event("BLOCK_IMAGE_CORRUPTED")["data"]
            assert (e["device"], e["node-name"], e["fatal"]) == ("", "r", True) or (e["node-name"], e["fatal"]) == ("r", False), e
            # The data's place is that of a table: nothing is written there.
            assert "Input/output error" in c.hmp('qemu-io w "write 0 64k"')
            e = c.wait_event("BLOCK_IMAGE_CORRUPTED")["data"]
            assert (e["node-name"], e["fatal"], e["offset"]) == ("w", True, 0x10000) and "overlaps" in e["msg"], e
        info = json.loads(subprocess.run([IMG, "info", "--output=json", f"{d}/write.qcow2"], check=True, stdout=subprocess.PIPE).stdout)
        assert info["format-specific"]["data"]["corrupt"] is True, info


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
