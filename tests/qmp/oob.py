#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Out of band: what a client asks with exec-oob is answered while a command holds up the main thread."""
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time

from client import BUILD, Machine, fails, main


def oob_client(m):
    c = m.connect(negotiate=False)
    assert c.greeting["QMP"]["capabilities"] == ["oob"]
    c.call("qmp_capabilities", enable=["oob"])
    return c


def send(c, name, ident, oob=False, **args):
    c.send_raw(json.dumps({"exec-oob" if oob else "execute": name, "arguments": args, "id": ident}).encode() + b"\n")


class Held:
    """A command that holds up the main thread until it is let go: a dump into a pipe that nobody reads."""

    def __init__(self, c):
        self.c = c
        self.r, w = os.pipe()
        c.call("getfd", fdname="dump", fds=[w])
        os.close(w)
        send(c, "dump-guest-memory", "dump", paging=False, protocol="fd:dump")
        select.select([self.r], [], [], 60)         # it writes, and has not got far

    def let_go(self):
        with open(self.r, "rb") as f:
            while f.read(1 << 20):
                pass


def no_oob_machine():
    """The monitor that Machine has opened for itself makes room: a server has one peer."""
    m = Machine("-m", "16M")
    m.qmp.close()
    return m


def test_answers_meanwhile():
    with no_oob_machine() as m:
        c = oob_client(m)
        held = Held(c)
        send(c, "query-status", "s")
        for i in range(20):
            send(c, "migrate-pause", i, oob=True)
            a = c.answer()
            assert a["id"] == i and "postcopy-active" in a["error"]["desc"], a
        send(c, "query-status", "no", oob=True)
        a = c.answer()
        assert a["id"] == "no" and a["error"] == {"class": "GenericError", "desc": "The command query-status does not support OOB"}, a
        send(c, "nonsense", "none", oob=True)
        a = c.answer()
        assert a["id"] == "none" and a["error"]["class"] == "CommandNotFound", a
        send(c, "migrate-recover", "args", oob=True)
        a = c.answer()
        assert a["id"] == "args" and "uri" in a["error"]["desc"], a
        held.let_go()
        # in their order, errors too
        assert c.answer() == {"return": {}, "id": "dump"}
        assert c.answer()["id"] == "s"
        c.call("query-name")


def test_order():
    """What is not out of band is answered in order, also what is no command at all."""
    with no_oob_machine() as m:
        c = oob_client(m)
        held = Held(c)
        for i in range(6):
            c.send_raw(b'{"execute": nonsense}' if i % 3 == 2 else b'{"execute":"query-name","id":%d}' % i)
        send(c, "migrate-pause", "first", oob=True)
        assert c.answer()["id"] == "first"
        held.let_go()
        assert c.answer()["id"] == "dump"
        assert [c.answer().get("id", "none") for _ in range(6)] == [0, 1, "none", 3, 4, "none"]


def test_queue_is_bounded():
    """More than 8 are not read until one is done: a client that sends on and on is made to wait, and nothing is lost."""
    with no_oob_machine() as m:
        c = oob_client(m)
        held = Held(c)
        c.sock.setblocking(False)
        n, text = 0, json.dumps({"execute": "query-name", "id": 1}).encode() + b" " * 1000
        rest = b""
        while True:
            try:
                rest = rest or text
                rest = rest[c.sock.send(rest):]
                n += not rest
            except BlockingIOError:
                if not select.select([], [c.sock], [], 0.5)[1]:
                    break
        assert n < 4000, n
        c.sock.settimeout(60)
        held.let_go()
        if len(rest) < len(text):
            c.sock.sendall(rest)
            n += 1
        assert c.answer()["id"] == "dump"
        for _ in range(n):
            assert c.answer() == {"return": {}, "id": 1}


def test_peer_leaves():
    """What a client has asked is forgotten with it; the next one is not told, and begins without oob."""
    with no_oob_machine() as m:
        c = oob_client(m)
        held = Held(c)
        for i in range(5):
            send(c, "query-name", i)
        send(c, "migrate-pause", "seen", oob=True)
        assert c.answer()["id"] == "seen"
        c.close()
        d = m.connect(negotiate=False)          # greeted although the main thread is held up
        fails(d.call, "query-name", cls="CommandNotFound")
        d.send_raw(b'{"execute":"qmp_capabilities","id":"hello"}')
        assert d.answer() == {"return": {}, "id": "hello"}
        d.send_raw(b'{"execute":"query-name","id":"mine"}{"exec-oob":"migrate-pause"}')
        held.let_go()
        assert d.answer() == {"return": {}, "id": "mine"}
        assert "'exec-oob' is unexpected" in d.answer()["error"]["desc"]
        fails(d.call, "getfd", fdname="a", text="No file descriptor supplied")
        for _ in range(30):
            d.call("query-status")


def test_negotiation_in_one_piece():
    with no_oob_machine() as m:
        c = m.connect(negotiate=False)
        c.send_raw(b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}'
                   b'{"execute":"query-name","id":1}{"exec-oob":"migrate-pause","id":2}{"execute":"query-name","id":3}')
        assert "return" in c.answer()
        ids = [c.answer()["id"] for _ in range(3)]
        assert sorted(ids) == [1, 2, 3] and ids.index(1) < ids.index(3), ids


def test_descriptors():
    with no_oob_machine() as m:
        c = oob_client(m)
        a, b = socket.socketpair()
        c.call("getfd", fdname="x", fds=[a.fileno()])
        c.call("add-fd", {"fdset-id": 3}, fds=[a.fileno()])
        fails(c.call, "add-fd", text="No file descriptor supplied")
        c.call("closefd", fdname="x")
        c.call("remove-fd", {"fdset-id": 3})
        a.close()
        b.settimeout(60)
        assert b.recv(1) == b""                 # no copy of it is left
        # sent along with the command before the one that takes it
        a, b = socket.socketpair()
        c.send_raw(b'{"execute":"query-name"}{"execute":"getfd","arguments":{"fdname":"y"}}', [a.fileno()])
        assert c.answer() == {"return": {}} and c.answer() == {"return": {}}


def test_events_and_others():
    """Events go on to a monitor that has moved, and one beside it works as ever."""
    with tempfile.TemporaryDirectory() as d:
        with Machine("-m", "16M", "-qmp", f"unix:{d}/b,server=on,wait=off") as m:
            c = m.connect(f"{d}/b", negotiate=False)
            c.call("qmp_capabilities", enable=["oob"])
            m.qmp.call("cont")
            c.wait_event("RESUME")
            c.call("stop")
            c.wait_event("STOP")
            m.qmp.wait_event("STOP")
            held = Held(m.qmp)
            send(c, "migrate-pause", 1, oob=True)
            assert c.answer()["id"] == 1
            held.let_go()
            assert m.qmp.answer()["id"] == "dump"
            m.qmp.call("cont")
            c.wait_event("RESUME")
            send(c, "quit", "q")
            assert c.answer() == {"return": {}, "id": "q"}
            c.wait_event("SHUTDOWN")
            assert m.process.wait(60) == 0


def test_shared_with_a_console():
    """A mux stays in the main thread: the protocol is the same, in turn."""
    with tempfile.TemporaryDirectory() as d:
        with Machine("-chardev", f"socket,id=c,path={d}/b,server=on,wait=off,mux=on", "-mon", "c,mode=control") as m:
            c = m.connect(f"{d}/b", negotiate=False)
            c.call("qmp_capabilities", enable=["oob"])
            c.call("query-name")
            send(c, "migrate-pause", 1, oob=True)
            assert c.answer()["id"] == 1


# ---- yank

CHARDEV, NODE, MIGRATION = ({"type": "chardev", "id": "c"}, {"type": "block-node", "node-name": "n"}, {"type": "migration"})


def oob_call(c, name, args=None):
    """Its answer, checked; also in the coverage's list, by the client's own way of calling."""
    c.send_raw(json.dumps({"exec-oob": name, "arguments": args or {}, "id": name}).encode() + b"\n")
    while True:
        a = c.answer()
        if a["id"] == name:
            return a
        c.others = getattr(c, "others", []) + [a]


def test_oob_commands():
    with Machine() as m:
        assert {n for n, c in m.qmp.schema.commands.items() if c.get("allow-oob")} == {"migrate-pause", "migrate-recover", "yank",
                                                                                       "query-yank"}


def test_yank_chardev():
    with tempfile.TemporaryDirectory() as d:
        with Machine("-chardev", f"socket,id=c,path={d}/c,server=on,wait=off", "-device", "virtio-serial-device",
                     "-device", "virtconsole,chardev=c") as m:
            q = m.qmp
            monitor, = [v for v in q.call("query-yank") if v != CHARDEV]
            assert monitor["type"] == "chardev" and CHARDEV in q.call("query-yank")
            assert q.call("yank", instances=[]) == {}
            for wrong in ({"type": "chardev", "id": "none"}, NODE, MIGRATION):
                fails(q.call, "yank", instances=[CHARDEV, wrong], cls="DeviceNotFound", text="Instance not found")
            fails(q.call, "yank", instances=[{"type": "chardev"}], text="'instances[0].id' is missing")
            fails(q.call, "yank", instances=[{"type": "x"}], text="does not accept value 'x'")
            q.call("yank", instances=[CHARDEV])             # nobody is there
            for _ in range(2):
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(60)
                s.connect(f"{d}/c")
                q.call("query-name")                        # it has been accepted by now, or will be, and cut
                q.call("yank", instances=[CHARDEV])
                while True:
                    try:
                        s.settimeout(0.2)
                        assert s.recv(1) == b""
                        break
                    except socket.timeout:
                        q.call("yank", instances=[CHARDEV])
                s.close()
            q.call("chardev-add", {"id": "x", "backend": {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": f"{d}/x"}},
                                                                                   "server": True, "wait": False}}})
            assert {"type": "chardev", "id": "x"} in q.call("query-yank")
            q.call("chardev-remove", id="x")
            assert {"type": "chardev", "id": "x"} not in q.call("query-yank")


def test_yank_disk():
    """A server that does not answer any more holds up a command, and with it the main thread, until its node is yanked."""
    with tempfile.TemporaryDirectory() as d:
        with open(f"{d}/disk", "wb") as f:
            f.truncate(1 << 20)
        server = subprocess.Popen([os.path.join(BUILD, "lyre-nbd"), "-f", "raw", "-k", f"{d}/nbd", "-t", f"{d}/disk"])
        try:
            with no_oob_machine() as m:
                c = oob_client(m)
                node = {"driver": "nbd", "node-name": "n", "server": {"type": "unix", "path": f"{d}/nbd"}, "reconnect-delay": 300}
                end = time.monotonic() + 60
                while not os.path.exists(f"{d}/nbd") and time.monotonic() < end:
                    time.sleep(0.02)
                c.call("blockdev-add", node)
                assert NODE in oob_call(c, "query-yank")["return"]
                assert "read 512/512" in c.hmp('qemu-io n "read 0 512"')
                server.send_signal(signal.SIGSTOP)
                send(c, "human-monitor-command", "read", **{"command-line": 'qemu-io n "read 0 512"'})
                assert NODE in oob_call(c, "query-yank")["return"]
                assert not getattr(c, "others", None)
                assert oob_call(c, "yank", {"instances": [NODE]}) == {"return": {}, "id": "yank"}
                a = c.others[0] if getattr(c, "others", None) else c.answer()
                assert a["id"] == "read" and "Input/output error" in a["return"], a
                # it stays cut off: no request waits for 300 s
                assert "Input/output error" in c.hmp('qemu-io n "read 0 512"')
                c.call("blockdev-del", {"node-name": "n"})
                assert NODE not in oob_call(c, "query-yank")["return"]
                server.send_signal(signal.SIGCONT)
                c.call("blockdev-add", node)
                assert "read 512/512" in c.hmp('qemu-io n "read 0 512"')
        finally:
            server.send_signal(signal.SIGCONT)
            server.terminate()
            server.wait(60)


def test_yank_migration():
    for way in ("unix", "exec"):
        with tempfile.TemporaryDirectory() as d:
            with Machine("-m", "64M") as m:
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(f"{d}/to")
                listener.listen(1)
                c = m.qmp
                assert MIGRATION not in c.call("query-yank")
                c.call("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
                c.call("migrate", uri=f"unix:{d}/to" if way == "unix" else "exec:exec sleep 1000")
                c.wait_event("MIGRATION", match=lambda e: e["status"] == "active")
                assert MIGRATION in c.call("query-yank")
                c.call("yank", instances=[MIGRATION])
                c.wait_event("MIGRATION", match=lambda e: e["status"] == "failed")
                assert c.call("query-migrate")["error-desc"]
                assert MIGRATION not in c.call("query-yank")
                listener.close()


if __name__ == "__main__":
    main([test_answers_meanwhile, test_order, test_queue_is_bounded, test_peer_leaves, test_negotiation_in_one_piece, test_descriptors,
          test_events_and_others, test_shared_with_a_console, test_oob_commands, test_yank_chardev, test_yank_disk, test_yank_migration])
