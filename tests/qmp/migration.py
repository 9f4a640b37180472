#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Migration by QMP, each way: who has the disk, states and events, cancel, failures, limits; no guest."""
import os
import re
import socket
import tempfile
import time

from client import Machine, fails, main
from jobs import make


class Pair:
    """A machine with a disk and some memory that is not zero; a second one, of the same disk, is waited for."""

    def __init__(self, bytes_=1 << 20, form="qcow2", start=False, drive=False):
        self.dir = tempfile.TemporaryDirectory()
        self.img, blob = self.path("disk"), self.path("blob")
        if form == "qcow2":
            make(self.img)
        else:
            with open(self.img, "wb") as f:
                f.truncate(1 << 20)
        with open(blob, "wb") as f:
            f.write(os.urandom(bytes_))
        disk = ["-blockdev", f"driver=file,node-name=f,filename={self.img},auto-read-only=on", "-blockdev", f"driver={form},node-name=d,file=f"]
        if drive:
            disk = ["-drive", f"if=none,id=d,format={form},file={self.img},throttling.iops-total=100000"]
        self.args = ["-m", "128", *disk, "-device", "virtio-blk-device,drive=d,id=vda",
                     "-device", f"loader,file={blob},addr=0x80000000,force-raw=on"]
        self.machines = []
        self.a = self.machine(start=start)
        self.b = None

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def machine(self, *more, start=False):
        m = Machine(*self.args, *more, start=start)
        self.machines.append(m)
        return m

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        ended = [m.close() for m in self.machines]
        self.dir.cleanup()
        assert all(ended) or kind


def until(c, *states):
    """Waits until it is in one of these; what query-migrate says then."""
    end = time.monotonic() + 60
    while True:
        info = c.call("query-migrate")
        if info.get("status") in states:
            return info
        assert time.monotonic() < end, info
        time.sleep(0.01)


def arrived(m):
    until(m.qmp, "completed")
    assert m.qmp.call("query-status")["status"] != "inmigrate"


def send(p, uri, fds=None):
    c = p.a.qmp
    c.call("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    c.call("migrate", uri=uri, detach=True)
    info = until(c, "completed", "failed")
    assert info["status"] == "completed", info
    for status in ("setup", "active", "completed"):
        c.wait_event("MIGRATION", match=lambda d, s=status: d["status"] == s)
    c.wait_event("MIGRATION_PASS", match=lambda d: d["pass"] == 1)
    ram = info["ram"]
    assert ram["total"] >= 128 << 20 and ram["transferred"] >= 1 << 20 and ram["duplicate"] > 1000 and ram["dirty-sync-count"] >= 2, ram
    assert ram["normal-bytes"] == ram["normal"] * 4096 and ram["page-size"] == 4096 and info["downtime"] >= 0, info


def handed_over(p):
    """The disk is the second's; the first has it again when that one has ended."""
    arrived(p.b)
    assert p.b.qmp.hmp("savevm there") == ""
    assert p.a.qmp.hmp("savevm here") != ""
    fails(p.a.qmp.call, "cont", text="lock")
    assert p.a.qmp.call("query-status")["status"] == "postmigrate"
    assert p.b.qmp.call("query-block")[0]["inserted"]["ro"] is False
    p.b.qmp.call("cont")
    p.b.qmp.call("stop")
    p.b.qmp.call("quit")
    p.b.process.wait(20)
    p.a.qmp.call("cont")
    p.a.qmp.call("stop")
    assert " there " in p.a.qmp.hmp("info snapshots")
    assert p.a.qmp.hmp("savevm here") == ""


def test_unix():
    with Pair() as p:
        uri = "unix:" + p.path("way")
        p.b = p.machine("-incoming", uri)
        assert p.b.qmp.call("query-status")["status"] == "inmigrate"
        send(p, uri)
        handed_over(p)


def test_drive():
    """Nodes within each other, with a filter above."""
    with Pair(drive=True) as p:
        p.b = p.machine("-incoming", "unix:" + p.path("way"))
        send(p, "unix:" + p.path("way"))
        handed_over(p)


def test_raw_and_tcp():
    with Pair(form="raw") as p:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        p.b = p.machine("-incoming", f"tcp:127.0.0.1:{port}")
        send(p, f"tcp:127.0.0.1:{port}")
        arrived(p.b)
        fails(p.a.qmp.call, "cont", text="lock")


def test_defer():
    with Pair() as p:
        uri = "unix:" + p.path("way")
        fails(p.a.qmp.call, "migrate-incoming", uri=uri, text="-incoming")
        p.b = p.machine("-incoming", "defer")
        assert p.b.qmp.call("query-status")["status"] == "inmigrate"
        fails(p.b.qmp.call, "migrate-incoming", uri="nope:1", text="nope")
        p.b.qmp.call("migrate-incoming", uri=uri)
        fails(p.b.qmp.call, "migrate-incoming", uri=uri, text="")
        p.b.qmp.call("cont")                    # it shall run when it is here
        send(p, uri)
        arrived(p.b)
        fails(p.b.qmp.call, "migrate-incoming", uri=uri, text="-incoming")


def test_file():
    with Pair() as p:
        f = p.path("state")
        with open(f, "wb") as h:
            h.write(b"x" * 5000)
        send(p, f"file:{f},offset=4096")
        p.b = p.machine("-incoming", f"file:{f},offset=4096")
        handed_over(p)


def test_a_node_comes_after_it():
    """While the disks are the other side's a node is opened, its file with it; then the machine goes on here after all."""
    with Pair() as p:
        c, img = p.a.qmp, p.path("more")
        make(img)
        c.call("migrate", uri="file:" + p.path("stream"))
        until(c, "completed")
        c.call("blockdev-add", {"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": img}})
        c.call("cont")
        c.call("block_resize", {"node-name": "n", "size": 8 << 20})


def test_what_could_not_write():
    """Meanwhile as before: a node that would write to one that is read-only, or is another's, is refused when it is added, and not by cont."""
    with Pair() as p:
        c, img = p.a.qmp, p.path("more")
        make(img)
        make(p.path("other"))
        c.call("blockdev-add", {"driver": "file", "node-name": "rw", "filename": img})
        c.call("blockdev-add", {"driver": "file", "node-name": "ro", "filename": p.path("other"), "read-only": True})
        c.call("blockdev-add", {"driver": "qcow2", "node-name": "q", "file": "rw"})
        c.call("migrate", uri="file:" + p.path("stream"))
        until(c, "completed")
        for driver, file, why in (("preallocate", "ro", "read-only"), ("qcow2", "ro", "read-only"), ("qcow2", "rw", "")):
            fails(c.call, "blockdev-add", {"driver": driver, "node-name": "n", "file": file}, text=why)
        c.call("blockdev-add", {"driver": "qcow2", "node-name": "n", "file": "ro", "read-only": True})
        c.call("cont")


def test_exec():
    with Pair() as p:
        f = p.path("state")
        send(p, f"exec:gzip -1 > {f}")
        p.b = p.machine("-incoming", f"exec:gzip -dc {f}")
        handed_over(p)


def test_fd():
    with Pair() as p:
        a, b = socket.socketpair()
        p.b = p.machine("-incoming", "defer")
        p.b.qmp.call("getfd", fdname="way", fds=[b.fileno()])
        p.b.qmp.call("migrate-incoming", uri="fd:way")
        p.a.qmp.call("getfd", fdname="way", fds=[a.fileno()])
        a.close()
        b.close()
        fails(p.a.qmp.call, "migrate", uri="fd:nope", text="nope")
        send(p, "fd:way")
        handed_over(p)


def test_fd_of_a_file():
    """As libvirt saves: a descriptor of a file with something of its own before."""
    with Pair() as p:
        f = p.path("state")
        with open(f, "wb") as h:
            h.write(b"head" * 1024)
            h.flush()
            p.a.qmp.call("getfd", fdname="migrate", fds=[h.fileno()])
        send(p, "fd:migrate")
        with open(f, "rb") as h:
            h.seek(4096)
            p.b = p.machine("-incoming", "defer")
            p.b.qmp.call("getfd", fdname="in", fds=[h.fileno()])
            p.b.qmp.call("migrate-incoming", uri="fd:in")
        handed_over(p)


def wait_for(what):
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_cancelled_command():
    """A command that reads nothing, and what it has started, are gone when the migration is: asked to, or killed."""
    for trap in ("", "trap '' TERM; "):
        with Pair(8 << 20) as p:
            pids = p.path("pids")
            p.a.qmp.call("migrate", uri=f"exec:{trap}sleep 1000 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; wait; sleep 1000")
            wait_for(lambda: os.path.exists(pids))
            with open(pids, encoding="ascii") as f:
                both = f.read().split()
            assert len(both) == 2 and not any(gone(pid) for pid in both), both
            p.a.qmp.call("migrate_cancel")
            assert until(p.a.qmp, "cancelled")["status"] == "cancelled"
            wait_for(lambda pids=both: all(gone(pid) for pid in pids))


def test_cancel():
    """The other side does not read; the machine goes on here, with its disk, and may be sent again."""
    with Pair(8 << 20, start=True) as p:
        c = p.a.qmp
        c.call("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        assert c.call("query-migrate") == {}
        c.call("migrate_cancel")                # nothing to end
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(p.path("way"))
            s.listen(1)
            c.call("migrate", uri="unix:" + p.path("way"))
            c.wait_event("MIGRATION", match=lambda d: d["status"] == "active")
            info = c.call("query-migrate")
            assert info["status"] == "active" and info["expected-downtime"] >= 0 and "downtime" not in info, info
            fails(c.call, "migrate", uri="file:/dev/null", text="in progress")
            c.call("migrate_cancel")
            assert until(c, "cancelled")["status"] == "cancelled"
        for status in ("cancelling", "cancelled"):
            c.wait_event("MIGRATION", match=lambda d, s=status: d["status"] == s)
        assert c.call("query-status")["running"]
        assert c.hmp("savevm mine") == ""
        send(p, "file:" + p.path("state"))
        p.b = p.machine("-incoming", "file:" + p.path("state"))
        handed_over(p)


def test_failures():
    with Pair(8 << 20, start=True) as p:
        c = p.a.qmp
        for uri, text in (("", "no way"), ("rdma:x", "no way"), ("fd:", "''"), ("tcp:x", "no way"), ("unix:" + "x" * 200, "too long")):
            fails(c.call, "migrate", uri=uri, text=text)
        fails(c.call, "migrate", uri="file:/dev/null", blk=True, text="blk")
        for uri, text in (("unix:" + p.path("nobody"), "cannot connect"), ("file:/nowhere/x", "cannot open"), ("exec:false", "cannot send|failed"),
                          ("exec:head -c 100000 >/dev/null", "cannot send|failed"), ("tcp:127.0.0.1:1", "cannot connect")):
            c.call("migrate", uri=uri)
            info = until(c, "failed", "completed")
            assert info["status"] == "failed" and re.search(text, info["error-desc"]), (uri, info)
            assert c.call("query-status")["running"], uri
        assert c.hmp("savevm mine") == ""       # the disk is its own


def test_fails_at_the_very_end():
    """All but the end has gone: the disk was let go of, and comes back."""
    with Pair(start=True) as p:
        c = p.a.qmp
        whole = p.path("whole")
        c.call("migrate", uri=f"exec:cat > {whole}")
        until(c, "completed")
        c.call("cont")
        c.call("migrate", uri=f"exec:head -c {os.path.getsize(whole) - 40} >/dev/null; exit 3")
        assert until(c, "failed", "completed")["status"] == "failed"
        assert c.call("query-status")["running"]
        assert c.hmp("savevm mine") == ""


def test_what_comes_is_no_machine():
    with Pair() as p:
        for data in (b"", b"x" * 100, b"Lyre migration\n\0" + b"\1\0\0\0" + b"E" + bytes(15), b"Lyre migration\n\0" + b"\2\0\0\0"):
            m = p.machine("-incoming", "defer")
            with open(p.path("bad"), "wb") as f:
                f.write(data)
            m.qmp.call("migrate-incoming", uri="file:" + p.path("bad"))
            assert m.process.wait(20) == 1
            assert "-incoming" in m.said()
            m.clients[0].close()
            m.stderr.close()
            p.machines.remove(m)
            assert p.a.qmp.hmp("savevm mine") == ""     # nobody has taken the disk


def test_limits():
    with Pair(6 << 20) as p:
        c = p.a.qmp
        got = c.call("query-migrate-parameters")
        assert got["downtime-limit"] == 300 and got["max-bandwidth"] == 128 << 20, got
        c.call("migrate-set-parameters", {"max-bandwidth": 4 << 20, "downtime-limit": 1, "block-bitmap-mapping": []})
        got = c.call("query-migrate-parameters")
        assert got["downtime-limit"] == 1 and got["max-bandwidth"] == 4 << 20, got
        fails(c.call, "migrate-set-parameters", {"downtime-limit": 2000001}, text="downtime-limit")
        fails(c.call, "migrate-set-parameters", {"block-bitmap-mapping": [{"node-name": "d", "alias": "x", "bitmaps": []}]}, text="bitmap")
        fails(c.call, "migrate-set-parameters", {"max-bandwidth": -1}, text="max-bandwidth")
        c.call("migrate", uri="file:" + p.path("state"))
        info = until(c, "completed")
        assert info["total-time"] > 800, info   # 6 MiB at 4 MiB a second, from below
        known = [x["capability"] for x in c.call("query-migrate-capabilities")]
        c.call("migrate-set-capabilities", capabilities=[{"capability": x, "state": False} for x in known])
        fails(c.call, "migrate-set-capabilities", capabilities=[{"capability": "multifd", "state": True}], text="multifd")
        fails(c.call, "migrate-set-capabilities", capabilities=[{"capability": "nope", "state": True}], text="nope")


def test_a_job_is_in_the_way():
    with Pair() as p:
        c = p.a.qmp
        make(p.path("copy"))
        c.call("blockdev-add", {"driver": "qcow2", "node-name": "copy", "file": {"driver": "file", "filename": p.path("copy")}})
        c.call("blockdev-mirror", {"device": "d", "target": "copy", "job-id": "j", "sync": "full"})
        c.wait_event("BLOCK_JOB_READY")
        c.call("migrate", uri="file:" + p.path("state"))
        info = until(c, "failed", "completed")
        assert info["status"] == "failed" and "job 'j'" in info["error-desc"], info
        c.call("block-job-cancel", device="j")
        c.wait_event("BLOCK_JOB_COMPLETED")
        c.call("migrate", uri="file:" + p.path("state"))
        until(c, "completed")


def test_bitmaps_come_along():
    """A persistent bitmap is in the image, and is there where the machine goes on."""
    with Pair() as p:
        p.a.qmp.call("block-dirty-bitmap-add", {"node": "d", "name": "b", "persistent": True})
        send(p, "file:" + p.path("state"))
        p.b = p.machine("-incoming", "file:" + p.path("state"))
        arrived(p.b)
        maps = p.b.qmp.call("query-block")[0]["inserted"].get("dirty-bitmaps", [])
        assert [m["name"] for m in maps] == ["b"] and maps[0]["persistent"], maps


def test_bitmaps_are_away():
    """With the image its persistent bitmaps are the other side's: none is made, none changed, until cont."""
    with Pair() as p:
        c, add = p.a.qmp, "block-dirty-bitmap-add"
        c.call(add, {"node": "d", "name": "b", "persistent": True})
        send(p, "file:" + p.path("state"))
        fails(c.call, add, {"node": "d", "name": "late", "persistent": True}, text="handed over")
        c.call(add, {"node": "d", "name": "short"})
        c.call("cont")
        c.call(add, {"node": "d", "name": "late", "persistent": True})
        c.call("block-dirty-bitmap-clear", {"node": "d", "name": "b"})
        maps = c.call("query-block")[0]["inserted"]["dirty-bitmaps"]
        assert {m["name"] for m in maps} == {"b", "late", "short"}, maps


def test_run_states():
    """What the machine says of itself before, meanwhile and after, and what it may be asked to do then."""
    def status(c):
        return c.call("query-status")["status"]

    with Pair() as p:
        c, way = p.a.qmp, "file:" + p.path("state")
        c.call("stop")
        assert status(c) == "prelaunch"
        c.call("migrate", uri=way)
        until(c, "completed")
        assert status(c) == "postmigrate" and c.hmp("info status") == "VM status: paused (postmigrate)\n"
        fails(c.call, "migrate", uri=way, text="Can't migrate the vm that was paused due to previous migration")
        c.call("stop")
        assert status(c) == "postmigrate"
        c.call("system_reset")
        c.wait_event("RESET")
        assert status(c) == "prelaunch"
        c.call("cont")
        c.wait_event("RESUME")
        c.call("stop")
        c.wait_event("STOP")
        assert status(c) == "paused"
        c.call("system_reset")
        c.wait_event("RESET")
        assert status(c) == "prelaunch"
        # one that fails leaves it as it was
        c.call("migrate", uri="exec:exit 3")
        until(c, "failed")
        assert status(c) == "prelaunch"
        c.call("cont")
        c.wait_event("RESUME")
        c.call("migrate", uri=way)
        until(c, "completed")
        c.wait_event("STOP")
        c.call("quit")
        p.a.process.wait(60)
        # and at the other end: who said stop meanwhile finds it standing
        for words, end in (((), "running"), (("cont", "stop"), "paused"), (("stop", "cont"), "running")):
            b = p.machine("-incoming", "defer", start=True)
            assert status(b.qmp) == "inmigrate"
            b.qmp.call("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
            for w in words:
                b.qmp.call(w)
            assert status(b.qmp) == "inmigrate"
            b.qmp.call("migrate-incoming", uri=way)
            for s in ("setup", "active", "completed"):
                b.qmp.wait_event("MIGRATION", match=lambda d, s=s: d["status"] == s)
            assert status(b.qmp) == end
            b.qmp.call("quit")
            b.process.wait(60)


def on(c, name):
    c.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": True}])
    assert {"capability": name, "state": True} in c.call("query-migrate-capabilities")


def test_answer():
    """return-path: it is sent when the other side says so. One that takes all and says nothing has not got it."""
    with Pair(start=True) as p:
        c = p.a.qmp
        on(c, "return-path")
        for said in b"", b"A".ljust(16, b"\0"):
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(p.path("deaf"))
                s.listen(1)
                c.call("migrate", uri="unix:" + p.path("deaf"))
                other = s.accept()[0]
                tail = b""
                while len(tail) < 16 or tail[-16:-8] != b"E" + bytes(7):
                    got = other.recv(1 << 20)
                    assert got
                    tail = (tail + got)[-16:]
                other.sendall(said)
                other.close()
            info = until(c, "failed", "completed")
            assert info["status"] == "failed" and re.search("answer" if not said else "could not take it", info["error-desc"]), info
            assert c.call("query-status")["running"]
            os.unlink(p.path("deaf"))
        send(p, "file:" + p.path("state"))      # no way back: nobody is asked
        c.call("cont")
        uri = "unix:" + p.path("way")
        p.b = p.machine("-incoming", uri)
        send(p, uri)
        handed_over(p)


def test_late_activate():
    """late-block-activate: the disk is the first one's until the second one runs."""
    with Pair() as p:
        uri = "unix:" + p.path("way")
        p.b = p.machine("-incoming", "defer")
        on(p.b.qmp, "late-block-activate")
        p.b.qmp.call("migrate-incoming", uri=uri)
        send(p, uri)
        arrived(p.b)
        p.a.qmp.call("cont")
        p.a.qmp.call("stop")
        fails(p.b.qmp.call, "cont", text="lock")
        send(p, "file:" + p.path("state"))      # it lets go again
        p.b.qmp.call("cont")
        fails(p.a.qmp.call, "cont", text="lock")


def test_console():
    with Pair() as p:
        c = p.a.qmp
        assert "no way" in c.hmp("migrate -d nope")
        assert c.hmp(f"migrate -d file:{p.path('state')}") == ""
        until(c, "completed")


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
