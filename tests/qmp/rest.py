#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What no other script here comes by: jobs by their other names, and the console's own way to what QMP does."""
import os
import socket
import tempfile

from client import Machine, fails, main
from jobs import Disk, make, node


def slow_job(d, **more):
    """A mirror to "copy" that takes its time."""
    if not os.path.exists(d.path("copy.qcow2")):
        make(d.path("copy.qcow2"))
        node(d.c, "copy", d.path("copy.qcow2"))
    d.c.call("blockdev-mirror", {"device": "top", "target": "copy", "job-id": "j", "sync": "full", "speed": 65536, **more})


def status(d):
    return {j["id"]: j["status"] for j in d.c.call("query-jobs")}


def test_pause():
    with Disk() as d:
        slow_job(d)
        for prefix, key in (("job-", "id"), ("block-job-", "device")):
            d.c.call(prefix + "pause", {key: "j"})
            d.status("j", "paused")
            fails(d.c.call, prefix + "pause", {key: "j"}, text="already")
            d.c.call(prefix + "resume", {key: "j"})
            d.status("j", "running")
            fails(d.c.call, prefix + "resume", {key: "j"})
        d.c.call("block-job-cancel", device="j", force=True)
        d.c.wait_event("BLOCK_JOB_CANCELLED")
        for prefix, key, cls in (("job-", "id", "GenericError"), ("block-job-", "device", "DeviceNotActive")):
            fails(d.c.call, prefix + "pause", {key: "j"}, cls=cls, text="not found")


def test_complete_finalize_dismiss():
    with Disk() as d:
        slow_job(d, **{"auto-finalize": False, "auto-dismiss": False})
        d.c.call("block-job-set-speed", device="j", speed=0)
        d.c.wait_event("BLOCK_JOB_READY")
        fails(d.c.call, "block-job-finalize", id="j")
        d.c.call("block-job-complete", device="j")
        assert d.c.wait_event("BLOCK_JOB_PENDING")["data"] == {"type": "mirror", "id": "j"}
        fails(d.c.call, "block-job-dismiss", id="j")
        d.c.call("block-job-finalize", id="j")
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        assert status(d) == {"j": "concluded"}
        d.c.call("block-job-dismiss", id="j")
        assert status(d) == {}


def test_console_jobs():
    with Disk() as d:
        slow_job(d)
        for line in ("block_job_set_speed j 32768", "block_job_pause j"):
            assert d.c.hmp(line) == "", line
        d.status("j", "paused")
        assert d.c.hmp("block_job_resume j") == ""
        d.status("j", "running")
        assert d.c.hmp("block_job_set_speed j 0") == ""
        d.c.wait_event("BLOCK_JOB_READY")
        assert d.c.hmp("block_job_complete j") == ""
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        d.c.call("blockdev-add", {"driver": "null-co", "node-name": "null", "size": 4 << 20})
        d.c.call("blockdev-mirror", {"device": "copy", "target": "null", "job-id": "k", "sync": "full", "speed": 65536})
        assert d.c.hmp("block_job_cancel -f k") == ""
        d.c.wait_event("BLOCK_JOB_CANCELLED")
        assert "not found" in d.c.hmp("block_job_cancel k")


def test_drive_mirror():
    with Disk() as d:
        d.c.call("drive-mirror", {"device": "top", "target": d.path("m.qcow2"), "format": "qcow2", "sync": "full", "job-id": "m"})
        d.c.wait_event("BLOCK_JOB_READY")
        d.c.call("block-job-cancel", device="m")
        d.c.wait_event("BLOCK_JOB_COMPLETED")
        assert os.path.exists(d.path("m.qcow2"))
        fails(d.c.call, "drive-mirror", {"device": "top", "target": d.path("n"), "mode": "existing", "sync": "full"})


def test_change_backing_file():
    with Disk() as d:
        d.c.call("change-backing-file", {"device": "top", "image-node-name": "top", "backing-file": "elsewhere.qcow2"})
        fails(d.c.call, "change-backing-file", {"device": "top", "image-node-name": "nope", "backing-file": "x"})


def test_console_disks():
    with Disk() as d:
        path = d.path("nbd")
        d.c.call("nbd-server-start", {"addr": {"type": "unix", "data": {"path": path}}})
        assert d.c.hmp("nbd_server_add -w top name") == ""
        assert [x["id"] for x in d.c.call("query-block-exports")] == ["name"]
        assert d.c.hmp("nbd_server_remove name") == ""
        d.c.wait_event("BLOCK_EXPORT_DELETED")
        assert d.c.hmp("nbd_server_stop") == "" and not os.path.exists(path)


def test_console_resize():
    with tempfile.TemporaryDirectory() as d:
        make(d + "/disk")
        with Machine("-drive", f"if=none,id=d,format=qcow2,file={d}/disk", "-device", "virtio-blk-device,drive=d") as m:
            assert m.qmp.hmp("block_resize d 8M") == ""
            assert m.qmp.call("query-block")[0]["inserted"]["image"]["virtual-size"] == 8 << 20
            assert "Error" in m.qmp.hmp("block_resize nope 8M")


def test_console_machine():
    with Machine() as m:
        c = m.qmp
        for line, event in (("cont", "RESUME"), ("stop", "STOP"), ("system_reset", "RESET"), ("system_powerdown", "POWERDOWN")):
            assert c.hmp(line) == "", line
            c.wait_event(event)
        assert c.hmp("migrate_cancel") == ""
        assert "Error" in c.hmp("migrate_incoming tcp:127.0.0.1:0")
        assert "Waiting for gdb connection" in c.hmp(f"gdbserver unix:{m.dir}/gdb,server=on,wait=off")
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{m.dir}/gdb")
        assert "Disabled" in c.hmp("gdbserver none")
        assert c.call("query-current-machine") == {"wakeup-suspend-support": False}
        c.hmp("quit")
        assert m.process.wait(60) == 0


def test_console_parts():
    with tempfile.TemporaryDirectory() as d, Machine("-device", "pcie-root-port,id=rp", "-device", "virtio-balloon-pci,id=b") as m:
        c = m.qmp
        assert c.hmp("device_add virtio-rng-pci,id=r,bus=rp") == ""
        assert "r (child" in c.hmp("qom-list /machine/peripheral")
        c.hmp("cont")
        assert c.hmp("device_del r") == ""
        c.wait_event("DEVICE_DELETED")
        assert c.hmp("object_add secret,id=s,data=x") == "" and c.hmp("object_del s") == ""
        assert "not found" in c.hmp("object_del s")
        assert c.hmp("qom-set /machine/peripheral/b guest-stats-polling-interval 3") == ""
        assert c.call("qom-get", path="/machine/peripheral/b", property="guest-stats-polling-interval") == 3
        assert c.hmp("chardev-add ringbuf,id=x,size=64") == ""
        assert c.hmp("ringbuf_write x hello there") == ""
        assert "hello there" in c.hmp("ringbuf_read x 64")
        assert c.hmp("chardev-remove x") == "" and "not found" in c.hmp("chardev-remove x")
        assert c.hmp("chardev-send-break serial0") == ""
        assert c.hmp("netdev_add user,id=n") == ""
        for line in (f"hostfwd_add n unix:{d}/port-:22", f"hostfwd_remove n unix:{d}/port", "set_link n off", "set_link n on", "netdev_del n"):
            assert "Error" not in c.hmp(line), (line, c.hmp(line))


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
