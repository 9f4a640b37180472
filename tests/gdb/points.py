#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Places to stop that are harder than others, packet by packet: several on one
address, in code that the guest writes, bytes that a device stores; and a stub
that a running machine's console starts. On both engines."""
import os
import re
import subprocess
import sys
import tempfile
import time

from rig import BUILD, CSR, PRIV, WAIT, Client, Guest, Machine, at_start, run

folder = tempfile.TemporaryDirectory(prefix="lyre-gdb-")
guest = Guest(folder.name)


def one_address(engine):
    """A software and a hardware breakpoint, and a watchpoint, each of which lives as long as it was told to."""
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        c.no_ack()
        at_start(c, guest)
        where = guest["store"]
        for kind in "01":
            c.ok(f"Z{kind},{where:x},2")
        stop = c.resume()
        assert "swbreak" in stop and c.pc() == where, stop
        c.ok(f"z0,{where:x},2")                     # the hardware one is left
        c.resume("vCont;s")
        stop = c.resume()
        assert "hwbreak" in stop and c.pc() == where, stop
        c.ok(f"Z1,{where:x},2")                     # setting and taking away twice is once
        c.ok(f"z1,{where:x},2")
        c.ok(f"z1,{where:x},2")
        c.ok(f"Z0,{guest['load']:x},2")
        c.resume()
        assert c.pc() == guest["load"]
        # Reads and writes of the same bytes, watched apart: what one is taken away, the other stays.
        watched = guest["watched"]
        c.ok(f"z0,{guest['load']:x},2")
        c.ok(f"Z2,{watched:x},8")
        c.ok(f"Z3,{watched:x},8")
        c.ok(f"Z3,{watched:x},8")
        assert "rwatch" in c.resume()               # load
        stop = c.resume()
        assert "watch" in stop or "rwatch" in stop, stop        # swap_in does both
        c.ok(f"z2,{watched:x},8")
        stop = c.resume()
        assert "rwatch" in stop and guest["load"] <= c.pc() < guest["load"] + 20, stop
        c.ok(f"z3,{watched:x},8")
        at_start(c, guest, "turn")


def rewritten(engine):
    """Breakpoints in code that is not there yet, and that the guest writes again and again."""
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        c.no_ack()
        at_start(c, guest)
        c.write(guest["mode"], b"\6\0\0\0")
        code, total = guest["rewritten"], 0
        for at in (code, code + 2):
            c.ok(f"Z0,{at:x},2")
        for n in range(20):
            c.resume()
            assert c.pc() == code and c.read(code, 4) == bytes([1 | (n & 15) << 2, 0x45, 0x82, 0x80]), (n, hex(c.pc()))
            c.resume("vCont;s")
            assert c.pc() == code + 2 and c.reg(10) == n & 15, (n, hex(c.pc()), c.reg(10))
            c.resume()                              # it stands on one
            assert c.pc() == code + 2
            c.resume("vCont;s")
            total += n & 15
        for at in (code, code + 2):
            c.ok(f"z0,{at:x},2")
        # Without them it runs on, with the right instructions.
        c.ok(f"Z0,{guest['rewrite']:x},2")
        for n in range(20, 40):
            c.resume()
            assert c.pc() == guest["rewrite"] and c.reg(10) == n and c.word(guest["sum"]) == total, (n, total)
            total += n & 15
            c.resume("vCont;s")
        # The debugger writes over it, too: gdb's inferior calls and `compile` do.
        c.ok(f"z0,{guest['rewrite']:x},2")
        c.ok(f"Z0,{code:x},2")
        c.resume()
        c.write(code, bytes.fromhex("7d45"))        # li a0, 31
        c.resume("vCont;s")
        assert c.pc() == code + 2 and c.reg(10) == 31


def stored_by_device(engine):
    """virtio-rng stores to watched bytes: by virtual and physical address, and by the stub's own command."""
    with Machine(guest, "-device", "virtio-rng-device", engine=engine) as m:
        c = Client(m)
        c.no_ack()
        at_start(c, guest)
        c.write(guest["mode"], b"\5\0\0\0")
        where = guest["random"]

        def met(addr, name="watch"):
            c.send("vCont;c")
            text = c.packet()
            assert text[0] == "O", text
            said = bytes.fromhex(text[1:]).decode()
            assert "a device stored" in said and f"{where:#x}" in said, said
            stop = c.stop()
            assert stop["signal"] == 5 and (not name or int(stop[name], 16) == addr), stop
            was = c.read(where, 64)
            assert was != bytes(64)
            c.write(where, bytes(64))               # the debugger's own stores are nobody's concern

        c.ok(f"Z2,{where + 8:x},4")
        met(where + 8)
        met(where + 8)
        c.ok(f"z2,{where + 8:x},4")
        c.ok("Qqemu.PhyMemMode:1")
        c.ok(f"Z4,{where - 1:x},2")
        met(where, "awatch")
        c.ok(f"z4,{where - 1:x},2")
        c.ok("Qqemu.PhyMemMode:0")
        # Reads, and bytes beside: never.
        c.ok(f"Z3,{where:x},8")
        c.ok(f"Z2,{where + 64:x},8")
        for _ in range(3):
            at_start(c, guest, "random_in")
        c.ok(f"z3,{where:x},8")
        c.ok(f"z2,{where + 64:x},8")
        assert c.monitor(f"pwatch {where:#x} 1").endswith(f"{where:#x}-{where:#x}\n")
        met(where, None)
        met(where, None)
        assert re.match(r"\d+: write of", c.monitor("pwatch"))
        number = c.monitor("pwatch").split(":")[0]
        c.monitor(f"pwatch -d {number}")
        at_start(c, guest, "random_in")
        at_start(c, guest, "random_in")
        # The ring's index: the vCPU's own stores and the device's, each told as what it is.
        c.ok(f"Z2,{guest['ring'] + 16:x},20")
        c.send("vCont;c")
        assert c.packet().startswith("T05")         # avail, by the vCPU
        c.send("vCont;c")
        text = c.packet()
        while text[0] != "O":
            c.send("vCont;c")
            text = c.packet()
        assert "watch" in c.stop()
        c.ok("D;1")
        c.close()
        c = Client(m)                               # a debugger that is gone left none
        first = c.word(guest["counter"])
        c.run_until(lambda: c.word(guest["counter"]) > first + 3000)


def inferiors():
    """One kind of CPU is one inferior: process 1. Others are refused, whoever asks."""
    with Machine(guest, cpus=2) as m:
        c = Client(m)
        assert c.ask("qfThreadInfo") == "mp1.1,p1.2" and c.ask("qAttached:1") == "1"
        for bad in ("vAttach;2", "vAttach;", "vAttach;zz", "vKill;2", "D;2", "D;zz", "Hgp2.1", "Hcp2.-1", "Tp2.1", "vCont;c:p2.-1",
                    "vCont;s:p1.3", "qAttached:2", "qThreadExtraInfo,p2.1"):
            a = c.ask(bad)
            assert a[:1] == "E" and len(a) == 3, (bad, a)
        for good in ("Hgp0.0", "Hgp1.0", "Hgp1.2", "Hcp1.-1", "Hc-1", "Hg0", "Tp1.2", "T2"):
            c.ok(good)
        assert "thread" in c.resume("vCont;s:p1.1") and c.ask("?").startswith("T05thread:p1.1;")
        assert c.resume("vCont;s:p1.2")["cpu"] == 1
        # All of the process, and all of all.
        at_start(c, guest)
        c.run_until(lambda: True, "vCont;c:p1.-1")
        c.run_until(lambda: True, "vCont;c:p-1.-1")
        # A client that doesn't know of processes gets plain numbers.
        c.close()
        c = Client(m, "swbreak+")
        assert c.ask("qfThreadInfo") == "m1,2" and c.ask("qC") == "QC1" and c.ask("?")[3:].startswith("thread:1;")
        assert 'id="2"' in c.ask("qXfer:threads:read::0,1000")
        # Non-stop mode is refused, as it was not offered.
        assert not any(s.startswith("QNonStop") for s in c.supported)
        assert c.ask("QNonStop:1")[:1] in ("", "E")
        c.ok("QNonStop:0")
        c.ok("D")
        c.close()


def started_late():
    """The console starts the stub, moves it and ends it, while the machine runs."""
    with Machine(guest, start=True, stub=False) as m:
        hmp = m.console()
        assert "Waiting for gdb connection on device" in hmp("gdbserver unix:" + m.path)
        c = Client(m)
        assert c.reg(PRIV) == 3 and c.ask("?").startswith("T02")
        c.ok(f"Z0,{guest['leaf']:x},2")
        assert c.resume()["signal"] == 5 and c.pc() == guest["leaf"]
        assert "paused" in hmp("info status")
        assert "served by this stub" in c.monitor("gdbserver none")
        assert "Disabled" in hmp("gdbserver none")  # that lets it go on
        assert "running" in hmp("info status")
        try:
            while c.byte():
                pass
        except (EOFError, ConnectionError):
            pass
        c.close()
        said = hmp("gdbserver nonsense:1")
        assert "nonsense" in said, said
        assert "running" in hmp("info status")
        assert "running" in hmp("info status")
        hmp("gdbserver unix:" + m.path)
        hmp("gdbserver unix:" + m.path + "2")       # it moves
        m.path += "2"
        c = Client(m)
        # The console stops and continues under the debugger's hands.
        c.send("vCont;c")
        hmp("stop")
        assert c.stop()["signal"] == 2
        c.send("vCont;c")
        hmp("system_reset")                         # it runs on, and nobody is told
        hmp("stop")
        assert c.stop()["signal"] == 2
        c.send("k")
        assert m.ends() == 0


def other_hands():
    """Snapshots, resets and the console's cont under a debugger's hands: no stop of theirs is told, no store is a device's."""
    disk = os.path.join(folder.name, "disk.qcow2")
    subprocess.run([os.path.join(BUILD, "lyre-img"), "create", "-q", "-f", "qcow2", disk, "64M"], check=True)
    with Machine(guest, "-drive", f"file={disk},if=none,id=d", "-device", "virtio-blk-device,drive=d", cpus=2) as m:
        hmp = m.console()
        c = Client(m)
        c.no_ack()
        at_start(c, guest)
        assert c.monitor("savevm one") == ""
        count = c.word(guest["counter"])
        c.ok(f"Z0,{guest['leaf']:x},2")
        c.ok(f"Z2,{guest['watched']:x},8")
        assert "swbreak" in c.resume() and c.pc() == guest["leaf"]
        assert c.monitor("loadvm one") == "" and c.pc() == guest["ready"] and c.word(guest["counter"]) == count
        assert "swbreak" in c.resume() and c.pc() == guest["leaf"]
        # A reset loads the program anew, over what is watched.
        c.ok(f"Z4,{guest['real']:x},8")
        assert c.monitor("system_reset") == ""
        until = time.monotonic() + WAIT
        while c.pc() != 0x1000:
            assert time.monotonic() < until, "there is no reset"
        assert "swbreak" in c.resume() and c.pc() == guest["leaf"]
        for point in (f"z4,{guest['real']:x},8", f"z2,{guest['watched']:x},8", f"z0,{guest['leaf']:x},2"):
            c.ok(point)
        # .. and while it runs.
        c.send("vCont;c")
        for line in ("savevm two", "loadvm one", "loadvm two"):
            hmp(line)
            assert "running" in hmp("info status") and not c.have
        c.raw(b"\x03")
        assert c.stop()["signal"] == 2
        # cont while gdb looks on: what is met meanwhile is told when it asks.
        c.ok(f"Z0,{guest['turn']:x},2")
        c.resume("vCont;s:p1.2")
        hmp("cont")
        until = time.monotonic() + WAIT
        while "paused" not in hmp("info status"):
            assert time.monotonic() < until, "it meets no breakpoint"
        assert c.silent() and c.ask("?").startswith("T05thread:p1.1;core:0;swbreak:;")
        c.ok(f"z0,{guest['turn']:x},2")
        # Ctrl-C is answered by one that ran, asleep or not.
        c.write(guest["mode"], b"\2\0\0\0")
        at_start(c, guest, "wait_here")
        c.run_until(lambda: c.word(guest["ticks"]))
        assert f"IRQ statistics for CPU 0:\n  7 (M timer): {c.word(guest['ticks'])}\n" in c.monitor("info irq")
        c.write(0x2004000, bytes(8))                # it may have come before the wfi, which then waits for ever
        at_start(c, guest, "wait_here")
        c.set_reg(CSR + 0x304, 0)
        for _ in range(3):
            c.send("vCont;c:p1.1")
            c.raw(b"\x03")
            stop = c.stop()
            assert stop["cpu"] == 0 and stop["signal"] == 2, stop
        c.send("k")
        assert m.ends() == 0


def arriving():
    """A machine that is still to come from another one: it goes on when it is there, and not before; or stands then."""
    for goes in (True, False):
        where = os.path.join(folder.name, f"moves{goes}")
        with Machine(guest, "-incoming", f"unix:{where}", cpus=2, start=not goes) as there, Machine(guest, cpus=2) as here:
            hmp, c = there.console(), Client(there)
            c.no_ack()
            c.ok(f"Z0,{guest['leaf']:x},2")
            for _ in range(2):                      # Ctrl-C, and it is to stand again
                c.send("vCont;c")
                assert c.silent() and "inmigrate" in hmp("info status")
                c.raw(b"\x03")
                assert c.stop()["signal"] == 5          # it has not begun
            if goes:
                c.send("vCont;c")
            sender = Client(here)
            sender.no_ack()
            at_start(sender, guest)
            sender.ok("D;1")
            assert "Error" not in here.console()(f"migrate unix:{where}")
            if not goes:
                until = time.monotonic() + WAIT
                while "inmigrate" in hmp("info status"):
                    assert time.monotonic() < until, "it never came"
                assert "running" not in hmp("info status")
                c.send("vCont;c")
            assert "swbreak" in c.stop() and c.pc() == guest["leaf"]
            c.send("k")
            assert there.ends() == 0


def vanishing():
    """Debuggers that go in the midst of anything: a packet, an escape, an answer, a stop that is due. The next one finds a machine."""
    with Machine(guest, start=True) as m:
        for n, last in enumerate((b"$", b"$m8000", b"$X80001000,10:}", b"$?#", b"$?#3", b"$g#67" * 50, b"$vCont;c#a8\x03", b"$vCont;s#b8" * 5,
                                  b"$X80800000,fff0:" + b"}\x03" * 30000, b"$QStartNoAckMode#b0$Z0,80001000", b"\x03" * 100, b"")):
            c = Client(m, None if n & 1 else "multiprocess+")
            c.raw(last)
            c.close()
        c = Client(m)
        c.no_ack()
        assert c.ask("?").startswith("T") and len(c.ask("g")) == 33 * 16
        at_start(c, guest, "turn")
        # One that asks and never reads: the stub keeps little, and is there for the next.
        c.raw(c.frame("m80000000,ffff") * 400)
        c.close()
        c = Client(m)
        at_start(c, guest, "turn")


cases = [(f"{f.__name__} {e}", lambda f=f, e=e: f(e)) for f in (one_address, rewritten, stored_by_device) for e in ("jit", "interp")]
sys.exit(run(cases + [(f.__name__, f) for f in (inferiors, started_late, other_hands, arriving, vanishing)]))
