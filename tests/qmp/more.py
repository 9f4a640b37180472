#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Single commands that no other file has: streams that change their other end, the device tree, the guest's clock, addresses."""
import os
import socket
import struct
import tempfile
import time

from client import Machine, fails, main

RAM = 0x80000000


def code(d, *words):
    """The arguments that load and start these instructions."""
    with open(f"{d}/code", "wb") as f:
        f.write(struct.pack(f"<{len(words)}I", *words))
    return ["-m", "16M", "-device", f"loader,file={d}/code,addr={RAM:#x},force-raw=on"]


def read(path, enough):
    """What is in the file once `enough` says so."""
    end = time.monotonic() + 60
    while True:
        with open(path, "rb") as f:
            data = f.read()
        if enough(data) or time.monotonic() > end:
            return data
        time.sleep(0.02)


def test_chardev_change():
    # the guest writes A to its UART again and again
    talks = (0x100002b7, 0x04100313, 0x00628023, 0xffdff06f)     # lui t0,0x10000; li t1,'A'; sb t1,(t0); j -4
    with tempfile.TemporaryDirectory() as d:
        with Machine(*code(d, *talks), "-chardev", f"file,id=s,path={d}/one", "-chardev", "null,id=idle", "-chardev", "null,id=m,mux=on",
                     serial="chardev:s") as m:
            q = m.qmp
            change = lambda id_, **backend: q.call("chardev-change", {"id": id_, "backend": backend})     # noqa: E731
            null = {"type": "null", "data": {}}
            q.call("cont")
            assert read(f"{d}/one", lambda b: len(b) > 1000).startswith(b"AAAA")
            assert change("s", type="file", data={"out": f"{d}/two"}) == {}
            assert read(f"{d}/two", lambda b: len(b) > 1000).startswith(b"AAAA")
            s, = [v for v in q.call("query-chardev") if v["label"] == "s"]
            assert s["frontend-open"] and "file" in s["filename"], s
            # nothing has changed when the new one cannot be
            fails(change, "s", type="file", data={"out": f"{d}/none/x"}, text="none/x")
            size = os.path.getsize(f"{d}/two")
            assert len(read(f"{d}/two", lambda b: len(b) > size)) > size
            assert change("s", type="socket", data={"addr": {"type": "unix", "data": {"path": f"{d}/sock"}}, "server": True, "wait": False}) == {}
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(60)
                s.connect(f"{d}/sock")
                assert s.recv(4).startswith(b"A")
            assert {"type": "chardev", "id": "s"} in q.call("query-yank")
            pty = change("s", type="pty", data={})["pty"]
            assert pty.startswith("/dev/pts/")
            assert q.hmp(f"chardev-change s file,path={d}/three") == ""
            assert read(f"{d}/three", lambda b: len(b) > 1000).startswith(b"AAAA")
            assert {"type": "chardev", "id": "s"} not in q.call("query-yank")
            change("idle", **null)
            q.call("chardev-remove", id="idle")
            fails(change, "idle", **null, text="Chardev 'idle' does not exist")
            fails(change, "m", **null, text="Mux device hotswap not supported yet")
            monitor = [v["label"] for v in q.call("query-chardev") if "unix" in v["filename"]][0]
            fails(change, monitor, **null, text="Chardev user does not support chardev hotswap")
            fails(change, "s", type="socket", data={"addr": {"type": "unix", "data": {"path": f"{d}/w"}}, "wait": True}, text="does not wait")
            assert q.hmp("chardev-change s null,mux=on").startswith("Error: Mux device hotswap")
            assert q.hmp("chardev-change s nonsense").startswith("Error: ")
            q.call("system_reset")
            q.wait_event("RESET")
            size = os.path.getsize(f"{d}/three")
            assert len(read(f"{d}/three", lambda b: len(b) > size)) > size
            assert [v["label"] for v in q.call("query-chardev")].count("s") == 1


def test_device_tree():
    with tempfile.TemporaryDirectory() as d:
        with Machine() as m:
            m.qmp.call("dumpdtb", filename=f"{d}/a")
            assert m.qmp.hmp(f"dumpdtb {d}/b") == ""
            for name in "ab":
                with open(f"{d}/{name}", "rb") as f:
                    tree = f.read()
                assert struct.unpack_from(">II", tree) == (0xd00dfeed, len(tree)) and b"riscv-virtio" in tree
            fails(m.qmp.call, "dumpdtb", filename=f"{d}/none/a", text="Error saving FDT to file")
        with Machine("-M", "none") as m:
            fails(m.qmp.call, "dumpdtb", filename=f"{d}/c", text="This machine doesn't have a FDT")


def test_clock():
    """The guest sets its clock to 1970: it is behind by as much as has gone since."""
    # lui t0,0x101; li t1,1; sw t1,4(t0) (high); sw t1,0(t0) (low); j .
    with tempfile.TemporaryDirectory() as d:
        with Machine(*code(d, 0x001012b7, 0x00100313, 0x0062a223, 0x0062a023, 0x0000006f)) as m:
            m.qmp.call("cont")
            data = m.qmp.wait_event("RTC_CHANGE")["data"]
            assert abs(time.time() + data["offset"]) < 100, data
            assert m.qmp.call("qom-get", path=data["qom-path"], property="type") == "goldfish_rtc", data


def test_host_addresses():
    with tempfile.TemporaryDirectory() as d, Machine(*code(d, 0x0000006f)) as m:
        m.qmp.call("cont")
        m.qmp.call("stop")
        said = m.qmp.hmp(f"gpa2hpa {RAM:#x}")
        for good in (f"Host physical address for {RAM:#x} (riscv_virt_board.ram) is 0x", "Error: Page not present", "Error: the host does not say",
                     "Error: Cannot open"):
            if said.startswith(good):
                break
        else:
            raise AssertionError(said)
        assert m.qmp.hmp("gpa2hpa 0x100000").startswith("Error: Memory at address 0x100000 is not RAM")
        assert m.qmp.hmp("gpa2hpa 0x9000000000").startswith("Error: No memory is mapped")


def test_virtio():
    with Machine("-m", "16M", "-object", "iothread,id=io", "-blockdev", "driver=null-co,node-name=n,size=1M,read-zeroes=on",
                 "-device", "virtio-blk-pci,id=disk,drive=n,iothread=io", "-device", "virtio-rng-device,id=r",
                 "-device", "virtio-net-pci,mac=52:54:00:12:34:56") as m:
        q = m.qmp
        found = {v["path"]: v["name"] for v in q.call("x-query-virtio")}
        disk, rng = "/machine/peripheral/disk/virtio-backend", "/machine/peripheral/r"
        assert sorted(found.values()) == ["virtio-blk", "virtio-net", "virtio-rng"] and found[disk] == "virtio-blk" and found[rng], found
        for path, name in found.items():
            s = q.call("x-query-virtio-status", path=path)
            assert s["name"] == name and not s["started"] and not s["broken"] and s["status"] == {"statuses": []}, s
            assert s["guest-features"] == {"transports": [], "dev-features": []}, s
            offered = [t.split(":")[0] for t in s["host-features"]["transports"]]
            assert "VIRTIO_F_EVENT_IDX" in offered and "unknown-dev-features" not in s["host-features"], s
            for i in range(s["num-vqs"]):
                v = q.call("x-query-virtio-queue-status", path=path, queue=i)
                assert v["queue-index"] == i and v["vring-num-default"] >= v["vring-num"] and not v["inuse"] and not v["vring-desc"], v
            fails(q.call, "x-query-virtio-queue-status", path=path, queue=s["num-vqs"], text="Invalid virtqueue number")
        assert "VIRTIO_BLK_F_FLUSH" in q.call("x-query-virtio-status", path=disk)["host-features"]["dev-features"]
        for wrong in ("/machine", "/machine/none", "disk"):
            fails(q.call, "x-query-virtio-status", path=wrong, text="is not a VirtIODevice")
            fails(q.call, "x-query-virtio-queue-status", path=wrong, queue=0, text="is not a VirtIODevice")
        assert f"{disk} [virtio-blk]\n" in q.hmp("info virtio")
        said = q.hmp(f"info virtio-status {disk}")
        assert "VIRTIO_F_VERSION_1" in said and "VIRTIO_BLK_F_SEG_MAX" in said and "device-id                2\n" in said, said
        assert "vring-desc               0x0000000000000000\n" in q.hmp(f"info virtio-queue-status {disk} 0")


def test_preconfig():
    """Before the machine begins: what is early is answered, the rest is refused by name, a console too."""
    too_early = "is permitted only after machine initialization has completed"
    with tempfile.TemporaryDirectory() as d:
        args = [*code(d, 0x0000006f), "-preconfig", "-monitor", f"unix:{d}/m,server=on,wait=off"]
        with Machine(*args, start=True) as m:
            q = m.qmp
            assert q.call("query-status") == {"running": False, "singlestep": False, "status": "prelaunch"}
            q.call("query-commands")
            q.call("object-add", {"qom-type": "iothread", "id": "t"})
            for late in ("cont", "stop", "system_reset", "query-cpus-fast", "query-machines"):
                fails(q.call, late, text=f"The command '{late}' {too_early}")
            fails(q.call, "human-monitor-command", command_line="help", text=too_early)
            fails(q.call, "nonsense", cls="CommandNotFound")
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(60)
                s.connect(f"{d}/m")

                def say(line, until):
                    s.sendall(line + b"\n")
                    said = b""
                    while until not in said:
                        said += s.recv(4096)
                say(b"info status", b"VM status: paused (prelaunch)")
                say(b"info block", b"Command 'info block' not available until machine initialization has completed.")
                say(b"help", b"exit_preconfig")
                say(b"exit_preconfig", b"(lyre) ")
                q.wait_event("RESUME")
                say(b"exit_preconfig", b"only before machine initialization")
            assert q.call("query-status")["status"] == "running"
            fails(q.call, "x-exit-preconfig", text="The command is permitted only before machine initialization")
        with Machine(*args) as m:               # -S too
            m.qmp.call("x-exit-preconfig")
            m.qmp.call("query-cpus-fast")
            assert m.qmp.call("query-status")["status"] == "prelaunch"
            m.qmp.call("cont")
            m.qmp.wait_event("RESUME")
        with Machine(*args) as m:
            m.qmp.call("quit")
            assert m.process.wait(60) == 0


if __name__ == "__main__":
    main([test_chardev_change, test_device_tree, test_clock, test_host_addresses, test_virtio, test_preconfig])
