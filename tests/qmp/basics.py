#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The protocol itself, and the commands about the machine as a whole, devices, objects, streams and nodes."""
import os
import random
import signal
import socket
import subprocess
import tempfile
import time

from client import SRC, Machine, QmpError, fails, main


def test_greeting():
    with Machine() as m:
        q = m.qmp.greeting["QMP"]
        assert q["version"]["qemu"]["major"] >= 6 and q["version"]["package"].startswith("lyre"), q
        assert q["capabilities"] == ["oob"], q


def test_negotiation():
    with Machine() as m:
        m.qmp.close()
        c = m.connect(negotiate=False)
        fails(c.call, "query-status", cls="CommandNotFound", text="Expecting capabilities negotiation")
        fails(c.call, "nonsense", cls="CommandNotFound", text="The command nonsense has not been found")
        fails(c.call, "qmp_capabilities", {"enable": ["x"]}, text="does not accept value 'x'")
        c.call("qmp_capabilities", {"enable": ["oob"]})
        fails(c.call, "qmp_capabilities", cls="CommandNotFound", text="already complete")
        fails(c.call, "nonsense", cls="CommandNotFound", text="The command nonsense has not been found")
        c.send_raw(b'{"exec-oob": "query-status", "id": "a"}\n')
        assert "does not support OOB" in c.answer()["error"]["desc"]


def test_wire():
    with Machine() as m:
        c = m.qmp
        c.send_raw(b'{"execute": "query-name", "id": {"a": [1, null]}}')        # no newline is needed
        assert c.answer() == {"return": {}, "id": {"a": [1, None]}}
        for part in (b'{"exe', b'cute":"query-na', b'me"}'):
            c.send_raw(part)
        assert c.answer() == {"return": {}}
        c.send_raw(b"{'execute': 'query-name', 'id': 'it\\'s \"so\"'}")
        assert c.answer()["id"] == "it's \"so\""
        c.send_raw(b'{"execute":"query-name"}{"execute":"query-name","id":2}')
        assert c.answer() == {"return": {}} and c.answer()["id"] == 2
        for wrong, text in ((b"[1]", "must be a JSON object"), (b'{"execute":5}', "'execute' must be a string"),
                            (b'{"execute":"stop","arguments":[]}', "'arguments' must be an object"),
                            (b'{"execute":"stop","x":1}', "'x' is unexpected"), (b"{}", "lacks member 'execute'"),
                            (b'{"execute": nonsense}', "JSON parse error"), (b'{"a" "b"}', "JSON parse error"),
                            (b'{"a":1,"a":2}', "JSON parse error"), (b"]", "JSON parse error"), (b"nonsense\n", "JSON parse error"),
                            (b'"x\\u0000"', "JSON parse error"), (b"\xff", "JSON parse error"), (b'{"x":"\xfe"}', "JSON parse error")):
            c.send_raw(wrong)
            e = c.answer()["error"]
            assert e["class"] == "GenericError" and text in e["desc"], (wrong, e)
        c.send_raw(b"[" * 1025 + b"1" + b"]" * 1025 + b'{"execute":"query-name"}')
        assert "nested" in c.answer()["error"]["desc"]
        assert c.answer() == {"return": {}}
        c.send_raw(b'{"execute": "query-')
        c.send_raw(b"\xff")
        assert "error" in c.answer()
        c.call("query-name")


def test_long_message():
    with Machine() as m:
        m.qmp.sock.settimeout(60)
        m.qmp.send_raw(b'{"execute":"query-name","id":"')
        for _ in range(65):
            m.qmp.send_raw(b"x" * (1 << 20))
        m.qmp.send_raw(b'"}{"execute":"query-name","id":2}')
        assert "too long" in m.qmp.answer()["error"]["desc"]
        assert m.qmp.answer()["id"] == 2


def test_device_deleted():
    """A slot without power lets go at once, once the vCPUs have come by."""
    with Machine("-device", "pcie-root-port,id=rp", "-device", "pcie-root-port,id=rp2") as m:
        c = m.qmp
        c.call("device_add", driver="virtio-scsi-pci", id="s0", bus="rp")
        c.call("cont")
        c.call("device_del", id="s0")
        assert c.wait_event("DEVICE_DELETED")["data"] == {"path": "/machine/peripheral/s0/virtio-backend"}
        assert c.wait_event("DEVICE_DELETED")["data"] == {"device": "s0", "path": "/machine/peripheral/s0"}
        fails(c.call, "device_del", id="s0", cls="DeviceNotFound")
        c.call("device_add", driver="virtio-rng-pci", id="s0", bus="rp")
        c.call("device_del", id="s0")
        assert c.wait_event("DEVICE_DELETED")["data"] == {"path": "/machine/peripheral/s0/virtio-backend"}
        assert c.wait_event("DEVICE_DELETED")["data"]["device"] == "s0"


def test_second_peer():
    with Machine() as m:
        m.qmp.send_raw(b'{"execute": "query-')
        m.qmp.close()
        c = m.connect(negotiate=False)
        fails(c.call, "query-name", cls="CommandNotFound")
        c.call("qmp_capabilities")


def test_several_monitors():
    with tempfile.TemporaryDirectory() as d:
        a, b = os.path.join(d, "a"), os.path.join(d, "b")
        with Machine("-chardev", f"socket,id=c0,path={a},server=on,wait=off", "-mon", "chardev=c0,mode=control,id=m0,pretty=on",
                     "-qmp-pretty", f"unix:{b},server=on,wait=off") as m:
            one, two = m.connect(a, pretty=True), m.connect(b, pretty=True)
            m.qmp.call("cont")
            m.qmp.wait_event("RESUME")
            for pretty in (one, two):
                pretty.wait_event("RESUME")


def test_status():
    with Machine() as m:
        c = m.qmp
        assert c.call("query-status") == {"running": False, "singlestep": False, "status": "prelaunch"}
        c.call("cont")
        c.wait_event("RESUME")
        assert c.call("query-status")["status"] == "running"
        c.call("stop")
        c.wait_event("STOP")
        c.call("stop")
        assert c.call("query-status")["status"] == "paused"
        c.call("system_reset")
        assert c.wait_event("RESET")["data"] == {"guest": False, "reason": "host-qmp-system-reset"}
        c.call("system_powerdown")
        c.wait_event("POWERDOWN")
        assert not [e for e in c.events if e["event"] in ("STOP", "RESUME")], c.events


def test_quit():
    m = Machine()
    m.qmp.call("quit")
    assert m.qmp.wait_event("SHUTDOWN")["data"] == {"guest": False, "reason": "host-qmp-quit"}
    assert m.process.wait(10) == 0 and m.close()


def test_signal():
    m = Machine()
    m.process.terminate()
    assert m.qmp.wait_event("SHUTDOWN")["data"] == {"guest": False, "reason": "host-signal"}
    assert m.process.wait(10) == 0 and m.close()


def test_signals():
    """Who is impatient doesn't kill what ends already."""
    m = Machine("-device", "virtio-rng-pci")
    end = time.monotonic() + 60
    while m.process.poll() is None and time.monotonic() < end:
        m.process.send_signal(random.choice((signal.SIGTERM, signal.SIGHUP)))
    assert m.process.wait(10) == 0, m.process.returncode
    assert m.close()


def test_names():
    with Machine("-name", "guest=vm1", "-uuid", "12345678-9abc-def0-1234-56789abcdef0", "-smp", "3") as m:
        c = m.qmp
        assert c.call("query-name") == {"name": "vm1"}
        assert c.call("query-uuid")["UUID"] == "12345678-9abc-def0-1234-56789abcdef0"
        assert c.call("query-target") == {"arch": "riscv64"}
        assert c.call("query-kvm") == {"enabled": False, "present": False}
        cpus = c.call("query-cpus-fast")
        assert [i["cpu-index"] for i in cpus] == [0, 1, 2]
        for i in cpus:
            assert os.path.isdir(f"/proc/{m.process.pid}/task/{i['thread-id']}"), i
            assert c.call("qom-get", path=i["qom-path"], property="type") == "rv64-riscv-cpu"
        virt = [i for i in c.call("query-machines") if i["name"] == "virt"][0]
        assert virt["default-ram-id"] == "riscv_virt_board.ram" and virt["default-cpu-type"] == "rv64-riscv-cpu"
        names = {i["name"] for i in c.call("query-commands")}
        assert names == set(c.schema.commands)


def test_tree():
    with Machine("-device", "pcie-root-port,id=rp1", "-device", "virtio-rng-pci,id=r0,bus=rp1", "-device", "virtio-balloon-pci,id=b0") as m:
        c = m.qmp

        def names(path):
            return {p["name"]: p["type"] for p in c.call("qom-list", path=path)}
        assert names("/")["machine"] == "child<virt-machine>"
        assert names("/machine/peripheral")["r0"] == "child<virtio-rng-pci>"
        assert names("/machine/peripheral/r0")["virtio-backend"] == "child<virtio-rng-device>"
        assert "device[0]" in names("/machine/unattached")
        assert c.call("qom-get", path="/machine/peripheral/r0", property="realized") is True
        assert c.call("qom-get", path="r0", property="max-bytes") > 0
        assert c.call("qom-get", path="/machine/peripheral/r0/virtio-backend", property="type") == "virtio-rng-device"
        assert c.call("qom-get", path="/machine", property="usb") is False
        fails(c.call, "qom-get", path="/machine/peripheral/r0", property="nope", text="Property 'virtio-rng-pci.nope' not found")
        fails(c.call, "qom-get", path="/machine/x", property="nope", cls="DeviceNotFound", text="Device '/machine/x' not found")
        fails(c.call, "qom-set", path="r0", property="max-bytes", value=5, text="after it was realized")
        c.call("qom-set", path="/machine/peripheral/b0", property="guest-stats-polling-interval", value=5)
        assert c.call("qom-get", path="/machine/peripheral/b0", property="guest-stats-polling-interval") == 5
        c.call("qom-get", path="/machine/peripheral/b0", property="guest-stats")
        fails(c.call, "qom-set", path="/machine/peripheral/b0", property="guest-stats-polling-interval", value=-1)
        assert names("/machine/peripheral/rp1/rp1") == {"type": "string", "realized": "bool", "child[0]": "link<virtio-rng-pci>"}
        assert c.call("qom-get", path="/machine/peripheral/rp1/rp1", property="child[0]") == "/machine/peripheral/r0"
        fails(c.call, "qom-get", path="/machine/peripheral/rp1/rp1", property="child[1]", text="not found")
        everything_is_readable(c, "/")


def everything_is_readable(c, path):
    """What is listed at a path of the tree, and below."""
    for row in c.call("qom-list", path=path):
        if row["type"].startswith("child<"):
            everything_is_readable(c, path.rstrip("/") + "/" + row["name"])
        else:
            c.call("qom-get", path=path, property=row["name"])


def test_tree_of_cpus_and_objects():
    with Machine("-cpu", "rv64,zbb=off", "-object", "secret,id=s,data=geheim", "-object", '{"qom-type":"iothread","id":"t","poll-grow":3}',
                 "-object", "filter-dump,id=f,netdev=n,file=/dev/null", "-netdev", "user,id=n", "-object", "rng-builtin,id=r") as m:
        c = m.qmp
        cpu = c.call("query-cpus-fast")[0]["qom-path"]
        listed = {p["name"] for p in c.call("qom-list", path=cpu)}
        assert {"zba", "zbb", "c", "realized"} <= listed and "g" not in listed
        assert [c.call("qom-get", path=cpu, property=p) for p in ("zba", "zbb", "realized", "hotplugged")] == [True, False, True, False]
        fails(c.call, "qom-set", path=cpu, property="zba", value=False, text="cannot be changed")
        fails(c.call, "qom-get", path=cpu, property="zzz", text="Property 'rv64-riscv-cpu.zzz' not found")
        assert c.call("qom-get", path="/objects/t", property="poll-grow") == 3
        assert c.call("qom-get", path="/objects/t", property="poll-max-ns") == 32768
        c.call("qom-set", path="/objects/t", property="poll-max-ns", value=5000)
        assert c.call("qom-get", path="/objects/t", property="poll-max-ns") == 5000
        thread = c.call("query-iothreads")[0]
        assert (thread["id"], thread["poll-max-ns"], thread["poll-grow"], thread["poll-shrink"]) == ("t", 5000, 3, 0), thread
        fails(c.call, "qom-set", path="/objects/t", property="poll-max-ns", value="much", text="Invalid parameter type for 'poll-max-ns'")
        fails(c.call, "qom-set", path="/objects/t", property="nope", value=1, text="Property 'iothread.nope' not found")
        assert c.call("qom-get", path="/objects/f", property="netdev") == "n"
        assert c.call("qom-get", path="/objects/f", property="maxlen") == 65536
        fails(c.call, "qom-set", path="/objects/f", property="netdev", value="m", text="cannot be changed")
        # A secret is told to nobody.
        assert "data" not in {p["name"] for p in c.call("qom-list", path="/objects/s")}
        fails(c.call, "qom-get", path="/objects/s", property="data", text="not readable")
        assert c.call("qom-get", path="/objects/s", property="format") == "raw"
        everything_is_readable(c, "/")


def test_types():
    with Machine() as m:
        c = m.qmp
        types = {t["name"]: t for t in c.call("qom-list-types")}
        for t in ("virtio-blk-pci", "virtio-net-pci", "pcie-root-port", "tcg-accel", "virt-machine", "rv64-riscv-cpu", "secret", "iothread"):
            assert t in types, t
        assert "device" not in types and "device" in {t["name"] for t in c.call("qom-list-types", abstract=True)}
        cpus = {t["name"] for t in c.call("qom-list-types", implements="riscv-cpu")}
        assert "max-riscv-cpu" in cpus and "virtio-blk-pci" not in cpus
        for t in types:
            c.call("qom-list-properties", typename=t)
        props = {p["name"]: p for p in c.call("device-list-properties", typename="virtio-blk-pci")}
        assert props["drive"]["type"] == "drive" and props["num-queues"]["type"].startswith("uint"), props
        assert isinstance(props["share-rw"]["default-value"], bool)
        fails(c.call, "device-list-properties", typename="nope", cls="DeviceNotFound", text="Device 'nope' not found")
        fails(c.call, "qom-list-properties", typename="nope", cls="DeviceNotFound", text="Class 'nope' not found")
        c.call("qom-list-properties", typename="memory-backend-file")


def test_hotplug():
    with Machine("-device", "pcie-root-port,id=rp1") as m:
        c = m.qmp
        fails(c.call, "device_add", driver="nope", text="there is no device 'nope'")
        fails(c.call, "device_add", driver="virtio-rng-pci", id="r0", bus="pcie.0")
        fails(c.call, "device_add", driver="virtio-rng-pci", id="r0", bus="rp1", bogus=1, text="bogus")
        c.call("device_add", driver="virtio-rng-pci", id="r0", bus="rp1")
        fails(c.call, "device_add", driver="virtio-rng-pci", id="r0", bus="rp1")
        assert "r0" in {p["name"] for p in c.call("qom-list", path="/machine/peripheral")}
        fails(c.call, "device_del", id="nope", cls="DeviceNotFound", text="Device 'nope' not found")
        try:
            c.call("device_del", id="r0")           # the guest is asked; there is none
        except QmpError:
            pass


def test_objects():
    with Machine() as m:
        c = m.qmp
        c.call("object-add", {"qom-type": "iothread", "id": "io1"})
        c.call("object-add", {"qom-type": "secret", "id": "s0", "data": "x"})
        c.call("object-add", {"qom-type": "rng-random", "id": "g0", "filename": "/dev/urandom"})
        fails(c.call, "object-add", {"qom-type": "secret", "id": "s0", "data": "x"})
        fails(c.call, "object-add", {"qom-type": "nope", "id": "s1"}, text="Parameter 'qom-type' does not accept value 'nope'")
        fails(c.call, "object-add", {"qom-type": "secret", "id": "s1", "bogus": 1})
        io = c.call("query-iothreads")
        assert [i["id"] for i in io] == ["io1"] and io[0]["thread-id"] > 0
        assert {p["name"] for p in c.call("qom-list", path="/objects")} == {"type", "io1", "s0", "g0"}
        for name in ("io1", "s0", "g0"):
            c.call("object-del", id=name)
        fails(c.call, "object-del", id="io1", text="object 'io1' not found")
        assert c.call("query-iothreads") == []


def test_chardevs():
    with Machine() as m:
        c = m.qmp
        assert c.call("chardev-add", id="n", backend={"type": "null", "data": {}}) == {}
        pty = c.call("chardev-add", id="p", backend={"type": "pty", "data": {}})["pty"]
        assert pty.startswith("/dev/pts/") and {"label": "p", "filename": f"pty:{pty}", "frontend-open": False} in c.call("query-chardev")
        path = os.path.join(m.dir, "s")
        c.call("chardev-add", id="s", backend={"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": path}}}})
        assert os.path.exists(path)
        c.call("chardev-add", id="t", backend={"type": "socket", "data": {"server": True, "addr": {
            "type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}}})
        with socket.socket(socket.AF_UNIX) as listens:           # as libvirt plugs channels
            listens.bind(os.path.join(m.dir, "listens"))
            listens.listen()
            c.call("getfd", {"fdname": "there"}, fds=[listens.fileno()])
        c.call("chardev-add", id="g", backend={"type": "socket", "data": {
            "addr": {"type": "fd", "data": {"str": "there"}}, "wait": False, "server": True}})
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(os.path.join(m.dir, "listens"))
        c.call("chardev-add", id="f", backend={"type": "file", "data": {"out": os.path.join(m.dir, "a,b"), "append": True}})
        assert os.path.exists(os.path.join(m.dir, "a,b"))
        c.call("chardev-add", id="r", backend={"type": "ringbuf", "data": {"size": 4096}})
        c.call("ringbuf-write", device="r", data="hello")
        assert c.call("ringbuf-read", device="r", size=100) == "hello"
        c.call("ringbuf-write", device="r", data="AAEC", format="base64")
        assert c.call("ringbuf-read", device="r", size=100, format="base64") == "AAEC"
        fails(c.call, "ringbuf-read", device="n", size=10)
        fails(c.call, "chardev-add", id="n", backend={"type": "null", "data": {}}, text="already exists")
        fails(c.call, "chardev-add", id="x", backend={"type": "nope", "data": {}}, text="does not accept value 'nope'")
        fails(c.call, "chardev-add", id="x", backend={"type": "null"}, text="Parameter 'backend.data' is missing")
        fails(c.call, "chardev-add", id="x", backend={"type": "file", "data": {"out": "/nonexistent/x"}})
        fails(c.call, "chardev-remove", id="serial0", text="busy")
        fails(c.call, "chardev-remove", id="compat_monitor0", text="busy")
        fails(c.call, "chardev-remove", id="nope", text="Chardev 'nope' not found")
        c.call("chardev-send-break", id="serial0")
        for name in "npstfr":
            c.call("chardev-remove", id=name)
        assert not os.path.exists(path)


def test_descriptors():
    with Machine() as m:
        c = m.qmp
        r, w = os.pipe()
        c.call("getfd", {"fdname": "a"}, fds=[r])
        c.call("getfd", {"fdname": "a"}, fds=[r])
        c.call("closefd", fdname="a")
        fails(c.call, "closefd", fdname="a", text="File descriptor named 'a' not found")
        fails(c.call, "getfd", fdname="a", text="No file descriptor supplied via SCM_RIGHTS")
        fails(c.call, "getfd", {"fdname": "1a"}, fds=[r])
        one = c.call("add-fd", {"opaque": "note"}, fds=[r])
        two = c.call("add-fd", {"fdset-id": one["fdset-id"]}, fds=[w])
        five = c.call("add-fd", {"fdset-id": 5}, fds=[w])
        assert five["fdset-id"] == 5 and two["fdset-id"] == one["fdset-id"]
        sets = {s["fdset-id"]: s["fds"] for s in c.call("query-fdsets")}
        assert sets[one["fdset-id"]] == [{"fd": one["fd"], "opaque": "note"}, {"fd": two["fd"]}], sets
        c.call("remove-fd", {"fdset-id": one["fdset-id"], "fd": one["fd"]})
        c.call("remove-fd", {"fdset-id": one["fdset-id"]})
        fails(c.call, "remove-fd", {"fdset-id": 1000}, text="not found")
        assert [s["fdset-id"] for s in c.call("query-fdsets")] == [5]
        os.close(r)
        os.close(w)


def test_nodes():
    with Machine("-drive", "if=none,id=d0,driver=null-co,size=1M", "-device", "virtio-blk-device,drive=d0,id=disk0",
                 "-blockdev", "driver=null-co,node-name=n1,size=2M", "-device", "virtio-blk-device,drive=n1,id=disk1") as m:
        c = m.qmp
        disks = c.call("query-block")
        assert [(d["device"], d["qdev"]) for d in disks] == [
            ("d0", "disk0"), ("", "disk1")], disks
        assert disks[1]["inserted"]["image"]["virtual-size"] == 2 << 20
        assert c.call("blockdev-add", {"driver": "null-co", "node-name": "n0", "size": 65536}) == {}
        fails(c.call, "blockdev-add", {"driver": "null-co", "node-name": "n0"}, text="Duplicate nodes with node-name='n0'")
        fails(c.call, "blockdev-add", {"driver": "null-co"}, text="'node-name' must be specified for the root node")
        fails(c.call, "blockdev-add", {"driver": "nope", "node-name": "x"}, text="does not accept value 'nope'")
        c.call("blockdev-add", {"driver": "raw", "node-name": "r0", "file": "n0"})
        fails(c.call, "blockdev-del", {"node-name": "n0"}, text="in use")
        fails(c.call, "blockdev-del", {"node-name": "n1"}, text="in use")
        fails(c.call, "blockdev-del", {"node-name": "nope"}, text="Failed to find node with node-name='nope'")
        nodes = {n["node-name"] for n in c.call("query-named-block-nodes", flat=True)}
        assert {"n0", "n1", "r0"} <= nodes
        c.call("blockdev-del", {"node-name": "r0"})
        c.call("blockdev-del", {"node-name": "n0"})


def test_qcow2_node():
    with tempfile.TemporaryDirectory() as d:
        img = os.path.join(os.environ.get("LYRE_BUILD", "build"), "lyre-img")
        base, top = os.path.join(d, "base.qcow2"), os.path.join(d, "top.qcow2")
        subprocess.run([img, "create", "-q", "-f", "qcow2", base, "1M"], check=True)
        subprocess.run([img, "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top], check=True)
        subprocess.run([img, "snapshot", "-c", "s1", top], check=True)
        with Machine() as m:
            c = m.qmp
            c.call("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": {"driver": "file", "filename": top}})
            n = [n for n in c.call("query-named-block-nodes") if n["node-name"] == "q"][0]
            assert n["backing_file"] == base and n["backing_file_depth"] == 1
            assert n["image"]["snapshots"][0]["name"] == "s1" and n["image"]["backing-image"]["filename"] == base
            assert n["image"]["format-specific"]["type"] == "qcow2"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_networks():
    with Machine("-netdev", "user,id=u0", "-device", "virtio-net-device,netdev=u0,id=nic0") as m:
        c = m.qmp
        c.call("netdev_add", {"type": "user", "id": "u1", "hostfwd": [{"str": "tcp:127.0.0.1:%d-:22" % free_port()}]})
        fails(c.call, "netdev_add", {"type": "user", "id": "u1"})
        fails(c.call, "netdev_add", {"type": "nope", "id": "u2"}, text="Parameter 'type' does not accept value 'nope'")
        fails(c.call, "netdev_add", {"type": "user", "id": "u2", "bogus": 1})
        fails(c.call, "netdev_del", id="x", cls="DeviceNotFound", text="Device 'x' not found")
        ours, theirs = socket.socketpair()
        c.call("getfd", {"fdname": "cable"}, fds=[theirs.fileno()])
        theirs.close()
        c.call("netdev_add", {"type": "socket", "id": "u2", "fd": "cable"})
        fails(c.call, "netdev_add", {"type": "socket", "id": "u3", "fd": "cable"}, text="named 'cable' has not been found")
        c.call("netdev_del", id="u2")
        assert ours.recv(1) == b""              # closed with it
        c.call("getfd", {"fdname": "file"}, fds=[0])
        fails(c.call, "netdev_add", {"type": "tap", "id": "u2", "fd": "file"}, text="is no tap device")
        for name in ("f1", "f2"):
            c.call("object-add", {"qom-type": "filter-dump", "id": name, "netdev": "u1", "file": os.path.join(m.dir, name)})
        c.call("object-del", id="f1")
        c.call("netdev_del", id="u1")           # what looked on at it goes along
        assert "f2" not in {p["name"] for p in c.call("qom-list", path="/objects")}
        c.call("set_link", name="u0", up=False)
        c.call("set_link", name="nic0", up=True)
        fails(c.call, "set_link", name="x", up=True, cls="DeviceNotFound", text="Device 'x' not found")


def test_console():
    with Machine() as m:
        c = m.qmp
        assert c.hmp("info status") == "VM status: paused (prelaunch)\n"
        assert "lyre" in c.hmp("info version")
        assert "Did you mean" in c.hmp("info statsu") and "unknown command" in c.hmp("nope")
        assert "It is: device_del id" in c.hmp("device_del")
        assert "set_link name up" in c.hmp("help set_link")
        assert "info status" in c.hmp("info")
        c.hmp("object_add secret,id=s0,data=x")
        assert c.hmp("qom-list /objects") == "type (string)\ns0 (child<secret>)\n"
        c.hmp("c")
        c.wait_event("RESUME")
        assert c.hmp('qom-get "/machine" usb') == "false\n"
        assert "quotation" in c.hmp('qom-get "/machine')


def test_doc():
    """docs/qmp.md is what the schema says."""
    import glob
    with tempfile.TemporaryDirectory() as d:
        out = os.path.join(d, "qmp.md")
        subprocess.run([os.path.join(SRC, "tools/gensch"), "--doc", out, *sorted(glob.glob(os.path.join(SRC, "monitor/schema/*.sch")))],
                       check=True)
        with open(out, encoding="utf-8") as a, open(os.path.join(SRC, "docs/qmp.md"), encoding="utf-8") as b:
            assert a.read() == b.read(), "make qmp-doc"


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
