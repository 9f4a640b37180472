#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The stub, packet by packet: each answer, on both engines and with several
CPUs; debuggers that lie, repeat themselves and vanish."""
import sys
import tempfile
import time

from rig import CSR, PRIV, WAIT, Client, Guest, Machine, at_start, attach_until, run

folder = tempfile.TemporaryDirectory(prefix="lyre-gdb-")
guest = Guest(folder.name)


def framing():
    with Machine(guest) as m:
        c = Client(m, None)
        c.raw(b"garbage+++\x03\x00\xff")
        c.raw(b"$?#00")
        assert c.byte() == b"-"
        c.raw(b"$?#zz")
        assert c.byte() == b"-"
        c.raw(b"$qXfer:features:$?#3f")             # the second packet begins in the first
        assert c.byte() == b"+" and c.packet().startswith("T05")
        c.raw(b"-")                                 # say that again
        assert c.packet().startswith("T05")
        assert c.ask("vMustReplyEmpty") == "" and c.ask("") == "" and c.ask("\x00") == ""
        for n in range(256):
            if chr(n) not in "$#}kDRcCsSvHmxMXpPgG?!ZzqQT":
                assert c.ask(chr(n)) == "", n
        c.no_ack()
        c.raw(b"$?#00")
        assert c.silent()
        assert c.ask("?").startswith("T05")
        c.send("M80000000,20000:" + "00" * 0x20000)     # more than PacketSize
        assert c.packet() == "E16"
        assert c.ask("?").startswith("T05")
        for bad in ("m", "mx", "m1", "m1,", "m1,2,3", "m11111111111111111,1", "M1,2", "M1,2:0", "M1,2:00", "M1,2:zzzz", "X1,5:abc",
                    "p", "pzz", "P0", "P0=", "P0=12", "G00", "Z", "Z0", "Z0,", "Z0,1", "Z9999999999999999999,1,1", "Hx", "Hg", "Hgp",
                    "Hg99", "T", "T99", "T0", "vCont;", "vCont;c:", "vCont;x", "vCont;r1", "vCont;r1,2:p2.1", "vCont;C", "C", "Szz",
                    "qRcmd,0", "qRcmd,zz", "qThreadExtraInfo,99", "qXfer:features:read:target.xml:", "qXfer:features:read:no:0,1",
                    "Qqemu.sstep=9", "Qqemu.PhyMemMode:2"):
            a = c.ask(bad)
            assert a == "" or (a[0] == "E" and len(a) == 3), (bad, a)
        assert c.ask("Z7,1,1") == "" and c.ask("vUnknown;1") == "" and c.ask("qUnknown") == "" and c.ask("QUnknown") == ""


def features():
    with Machine(guest, cpus=2) as m:
        c = Client(m)
        size = int(next(s for s in c.supported if s.startswith("PacketSize="))[11:], 16)
        assert size >= 65536 and "qXfer:features:read+" in c.supported and "multiprocess+" in c.supported
        xml, off = "", 0
        while True:
            piece = c.ask(f"qXfer:features:read:target.xml:{off:x},777")
            xml, off = xml + piece[1:], off + len(piece) - 1
            if piece[0] == "l":
                break
        for word in ("<architecture>riscv:rv64<", "org.gnu.gdb.riscv.cpu", "org.gnu.gdb.riscv.fpu", "org.gnu.gdb.riscv.csr",
                     "org.gnu.gdb.riscv.virtual", 'name="pc" bitsize="64" regnum="32"', 'name="mstatus"', 'name="pmpaddr15"',
                     'name="fcsr"', f'name="priv" bitsize="64" regnum="{PRIV}"'):
            assert word in xml, word
        assert "</target>" in xml and 'name="seed"' not in xml
        everything = c.ask("qXfer:memory-map:read::0,fff0")
        assert everything[0] == "l" and 'type="rom" start="0x1000"' in everything
        assert c.ask("qXfer:memory-map:read::fffffffff,10") == "l"
        threads = c.ask("qXfer:threads:read::0,fff0")
        assert 'id="p1.1" core="0"' in threads and 'id="p1.2" core="1"' in threads
        assert c.ask("qfThreadInfo") == "mp1.1,p1.2" and c.ask("qsThreadInfo") == "l"
        assert bytes.fromhex(c.ask("qThreadExtraInfo,p1.2")).startswith(b"CPU#1 [")
        assert c.ask("qAttached:1") == "1" and c.ask("qC") == "QCp1.1" and c.ask("Tp1.2") == "OK" and c.ask("Tp1.3") == "E03"
        assert c.ask("vCont?") == "vCont;c;C;s;S;t;r" and c.ask("qqemu.sstepbits") == "ENABLE=1,NOIRQ=2,NOTIMER=4"
        assert c.ask("qqemu.sstep") == "0x7"
        c.ok("Qqemu.sstep=1")
        assert c.ask("qqemu.sstep") == "0x1" and c.ask("qqemu.PhyMemMode") == "0"
        # lldb's: what the machine is, what registers are for, what is mapped where.
        assert c.ask("qHostInfo") == f"triple:{b'riscv64-unknown-unknown-elf'.hex()};ptrsize:8;endian:little;"
        assert 'regnum="32" type="code_ptr" group="general" generic="pc"' in xml and 'dwarf_regnum="4864"' in xml
        assert c.ask("qMemoryRegionInfo:80001000") == "start:80001000;size:3fff000;permissions:rwx;"
        assert c.ask("qMemoryRegionInfo:10") == "start:10;size:ff0;" and c.ask("qMemoryRegionInfo:") == "E16"
        assert c.ask("qMemoryRegionInfo:ffffffffffffffff") == "start:ffffffffffffffff;size:1;"
        assert "VM status: paused" in c.monitor("info status") and "pwatch" in c.monitor("help") and c.monitor("no-such-word")
        assert "no Linux" in c.monitor("kaslr") and "no VMCOREINFO" in c.monitor("vmcoreinfo")
        c.write(0x80800123, b"OSRELEASE=6.1.0\nPAGESIZE=4096\nKERNELOFFSET=1c200000\n\0")
        assert c.monitor("kaslr") == "Linux 6.1.0, moved by 0x1c200000\nsymbol-file vmlinux -o 0x1c200000\n"
        assert "PAGESIZE=4096" in c.monitor("vmcoreinfo")
        c.write(0x80800123, b"OSRELEASE=6.12\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff91402000\nNUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n\0")
        assert c.monitor("kaslr") == "Linux 6.12, moved by 0x11400000\nsymbol-file vmlinux -o 0x11400000\n"
        c.write(0x80800123, b"OSRELEASE=6.1.0\nPAGESIZE=4096\nKERNELOFFSET=0\n\0")
        assert c.monitor("kaslr") == "Linux 6.1.0 is where it was linked to\n"


def registers(engine):
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        at_start(c, guest)
        every = bytes.fromhex(c.ask("g"))
        assert len(every) == 33 * 8 and int.from_bytes(every[-8:], "little") == guest["ready"]
        every = bytearray(every)
        every[8 * 10:8 * 11] = (0x1122334455667788).to_bytes(8, "little")
        every[0:8] = b"\xff" * 8
        c.ok("G" + every.hex())
        assert c.reg(10) == 0x1122334455667788 and c.reg(0) == 0
        assert c.reg(33 + 3) == 0
        c.set_reg(33 + 3, 0x3ff8000000000000)
        assert c.reg(33 + 3) == 0x3ff8000000000000
        assert c.reg(CSR + 0xf14) == 0 and c.reg(CSR + 0x305) == guest["trap_entry"] and c.reg(PRIV) == 3
        c.set_reg(CSR + 0x340, 0xabcdef)                    # mscratch
        c.set_reg(CSR + 0xf14, 5)                           # mhartid is read-only
        assert c.reg(CSR + 0x340) == 0xabcdef and c.reg(CSR + 0xf14) == 0
        mstatus = c.reg(CSR + 0x300)
        c.set_reg(CSR + 0x300, mstatus | 8)
        assert c.reg(CSR + 0x300) == mstatus | 8 and c.reg(CSR + 0x100) == (mstatus | 8) & 0x80000003000de762
        c.set_reg(CSR + 0x300, mstatus)
        for n in range(33 + 32, 65 + 4097):                 # whatever number: an answer, and the guest lives
            a = c.ask(f"p{n:x}")
            assert a == "E0e" or len(a) == 16, (n, a)
        assert c.ask("p9999") == "E0e" and c.ask("P9999=0000000000000000") == "E16"
        c.set_reg(PRIV, 1)
        assert c.reg(PRIV) == 1
        c.set_reg(PRIV, 2)                                  # there is none
        assert c.reg(PRIV) == 1
        c.set_reg(PRIV, 3)
        # No code and no memory is needed where it stops: gdb's calls return to stacks.
        for nowhere in (0x123456789abcde, 0x40000000):
            c.ok(f"Z0,{nowhere:x},2")
            c.set_reg(1, nowhere)
            c.set_reg(32, guest["add"])
            assert "swbreak" in c.resume() and c.pc() == nowhere and c.reg(CSR + 0x342) == 0, hex(nowhere)
            c.ok(f"z0,{nowhere:x},2")
        # A function called by hand: its registers, its pc, its return.
        c.set_reg(10, 40)
        c.set_reg(11, 2)
        c.set_reg(1, guest["ready"])
        c.ok(f"Z0,{guest['ready']:x},2")
        c.set_reg(32, guest["add"])
        c.resume()
        assert c.pc() == guest["ready"] and c.reg(10) == 42


def memory(engine):
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        at_start(c, guest)
        where = guest["bytes"]
        data = bytes(range(256)) * 40                       # across pages, with all bytes
        c.write(where + 100, data)
        assert c.read(where + 100, len(data)) == data
        blob = data.replace(b"}", b"}]").replace(b"#", b"}\x03").replace(b"$", b"}\x04").replace(b"*", b"}\x0a")
        c.ok(f"X{where:x},0:")
        c.send(f"X{where:x},{len(data):x}:".encode() + blob)
        assert c.packet() == "OK" and c.read(where, len(data)) == data
        assert c.ask(f"x{where:x},{len(data):x}") == "b" + data.decode("latin1")
        assert c.ask("m123456789abcdef0,8") == "E0e" and c.ask("mffffffffffffffff,8") == "E0e"
        assert c.ask("M123456789abcdef0,1:00") == "E0e"
        # The end of memory: what there is.
        assert len(c.read(0x84000000 - 16, 64)) == 16
        # ROM can be written, devices be asked.
        boot = c.read(0x1000, 4)
        c.write(0x1000, b"\1\2\3\4")
        assert c.read(0x1000, 4) == b"\1\2\3\4"
        c.write(0x1000, boot)
        assert c.read(0x10000005, 1)[0] & 0x60 == 0x60      # the UART's line status: it may send
        first = c.word(0x0200bff8)                          # mtime: stands while the machine does
        time.sleep(0.05)
        assert c.word(0x0200bff8) == first
        # Code: a changed instruction is what runs. li a0, 7; ret
        c.write(guest["add"], bytes.fromhex("1d458280"))
        c.set_reg(1, guest["ready"])
        c.set_reg(32, guest["add"])
        c.ok(f"Z0,{guest['ready']:x},2")
        c.resume()
        assert c.reg(10) == 7


def virtual(engine):
    """Supervisor mode, and an address that exists only through page tables."""
    alias = 0x3000000000 - 0x80000000
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        at_start(c, guest)
        c.write(guest["mode"], b"\3\0\0\0")
        assert c.ask(f"m{guest['watched'] + alias:x},8") == "E0e"
        at_start(c, guest, "supervisor")
        assert c.reg(PRIV) == 1 and c.reg(CSR + 0x180) >> 60 == 8
        assert c.ask(f"qMemoryRegionInfo:{0x80000000 + alias:x}") == f"start:{0x80000000 + alias:x};size:40000000;permissions:rwx;"
        assert c.ask(f"qMemoryRegionInfo:{0xc0000000:x}") == f"start:c0000000;size:{0x3000000000 - 0xc0000000:x};"
        c.write(guest["watched"] + alias, b"\x11" * 8)
        assert c.word(guest["watched"]) == 0x1111111111111111
        c.ok("Qqemu.PhyMemMode:1")
        assert c.ask(f"m{guest['watched'] + alias:x},8") == "E0e" and c.word(guest["watched"]) == 0x1111111111111111
        c.ok("Qqemu.PhyMemMode:0")
        # A watchpoint by virtual address sees only that one; by physical address both.
        c.ok(f"Z2,{guest['watched'] + alias:x},8")
        stop = c.resume()
        assert int(stop["watch"], 16) == guest["watched"] + alias and c.word(guest["watched"]) == 0x66
        c.ok(f"z2,{guest['watched'] + alias:x},8")
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        at_start(c, guest)
        c.write(guest["mode"], b"\3\0\0\0")
        at_start(c, guest, "supervisor")
        c.ok("Qqemu.PhyMemMode:1")
        c.ok(f"Z2,{guest['watched']:x},8")
        for value in (0x55, 0x66):
            stop = c.resume()
            assert int(stop["watch"], 16) == guest["watched"] and c.word(guest["watched"]) == value, (stop, value)
        c.ok("Qqemu.PhyMemMode:0")
        c.ok(f"z2,{guest['watched']:x},8")
        at_start(c, guest, "turn")
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        at_start(c, guest)
        c.write(guest["mode"], b"\3\0\0\0")
        at_start(c, guest, "supervisor")
        for bad in ("pwatch x", "pwatch 1 0", "pwatch 1 2 z", "pwatch -d", "pwatch -d 7", "pwatch 0xffffffffffffffff 2"):
            assert "pwatch " in c.monitor(bad), bad
        assert "no physical" in c.monitor("pwatch")
        assert c.monitor(f"pwatch {guest['watched']:#x} 4 rw").startswith("1: access of physical")
        assert c.monitor("pwatch").startswith("1: access")
        for va in (guest["watched"], guest["watched"] + alias):
            c.send("vCont;c")
            text = c.packet()
            assert text[0] == "O" and f"virtual {va:#x}" in bytes.fromhex(text[1:]).decode(), text
            assert "watch" not in c.stop()
        assert c.monitor("pwatch -d 1") == "" and "no physical" in c.monitor("pwatch")
        at_start(c, guest, "turn")


def breakpoints(engine):
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        c.no_ack()
        # Many that are never met, one that is, before the guest has run at all.
        for n in range(300):
            c.ok(f"Z{n & 1},{0xffffffff80000000 + 4 * n:x},4")
        c.ok(f"Z1,{guest['turn']:x},2")
        stop = c.resume()
        assert "hwbreak" in stop and c.pc() == guest["turn"]
        before = c.word(guest["counter"])
        c.resume("vCont;s")
        assert c.pc() != guest["turn"]
        c.resume()
        assert c.pc() == guest["turn"] and c.word(guest["counter"]) == before + 1
        assert c.resume()["signal"] == 5 and c.word(guest["counter"]) == before + 1     # stands on it: stops at once
        c.ok(f"z1,{guest['turn']:x},2")
        # Into the midst of a loop that runs in chained units, again and again; in it, behind it, at the same place twice.
        for n in range(30):
            c.send("vCont;c")
            time.sleep(0.005)
            c.raw(b"\x03")
            stop = c.stop()
            assert stop["signal"] == 2, stop
            name = ("turn", "leaf", "store", "load")[n % 4]
            c.ok(f"Z0,{guest[name]:x},2")
            c.ok(f"Z0,{guest[name]:x},2")
            if c.pc() == guest[name]:
                c.resume("vCont;s")
            c.resume()
            assert c.pc() == guest[name]
            c.ok(f"z0,{guest[name]:x},2")
            c.ok(f"z0,{guest[name]:x},2")


def watchpoints(engine):
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        c.no_ack()
        at_start(c, guest)
        at_start(c, guest, "leaf")             # other was written: its page has been used
        watched = guest["watched"]

        def met(kind, at, n=8, addr=None):
            stop = c.resume()
            assert kind in stop and int(stop[kind], 16) == (watched if addr is None else addr), stop
            assert guest[at] <= c.pc() < guest[at] + 40, (hex(c.pc()), at)

        c.ok(f"Z2,{watched:x},8")
        met("watch", "store")
        met("watch", "swap_in")
        met("watch", "store")
        c.ok(f"z2,{watched:x},8")
        c.ok(f"Z3,{watched:x},8")
        met("rwatch", "load")
        met("rwatch", "swap_in")        # an atomic operation reads as well
        c.ok(f"z3,{watched:x},8")
        c.ok(f"Z4,{watched:x},8")
        met("awatch", "store")
        met("awatch", "load")
        met("awatch", "swap_in")
        c.ok(f"z4,{watched:x},8")
        # A byte of it; bytes beside it; a range that begins before and ends behind.
        c.ok(f"Z2,{watched + 3:x},1")
        met("watch", "store", addr=watched + 3)
        c.ok(f"z2,{watched + 3:x},1")
        # A store across two pages, of which either byte is watched.
        edge = guest["bytes"] + 4096
        for addr, n, first in ((edge - 1, 1, edge - 1), (edge + 3, 1, edge + 3), (edge - 100, 4096, edge - 4)):
            c.ok(f"Z2,{addr:x},{n:x}")
            stop = c.resume()
            assert int(stop["watch"], 16) == first, (stop, hex(first))
            assert guest["misaligned"] <= c.pc() < guest["misaligned"] + 40
            c.ok(f"z2,{addr:x},{n:x}")
        # In a step too: to the store itself, then over it.
        at_start(c, guest, "store")
        c.ok(f"Z2,{watched:x},8")
        for _ in range(8):
            stop = c.resume("vCont;s")
            if "watch" in stop:
                break
        assert "watch" in stop
        c.ok(f"z2,{watched:x},8")
        # A device's registers.
        c.write(guest["mode"], b"\2\0\0\0")
        c.ok("Z2,2004000,8")
        stop = c.resume()
        assert int(stop["watch"], 16) == 0x2004000 and guest["timer_in"] <= c.pc() < guest["timer_in"] + 60


def steps(engine):
    with Machine(guest, engine=engine) as m:
        c = Client(m)
        c.no_ack()
        at_start(c, guest)
        # Into an exception: the first instruction of its handler; and out of it.
        c.write(guest["mode"], b"\1\0\0\0")
        at_start(c, guest, "fault_here")
        c.resume("vCont;s")
        assert c.pc() == guest["trap_entry"] and c.reg(CSR + 0x342) == 5 and c.reg(CSR + 0x341) == guest["fault_here"]
        # A range: all of a function but what it calls.
        at_start(c, guest, "middle")
        stop = c.resume(f"vCont;r{guest['middle']:x},{guest['turn']:x}:p1.1")
        assert c.pc() == guest["leaf"], hex(c.pc())
        # .. and a breakpoint in it.
        at_start(c, guest, "middle")
        c.ok(f"Z0,{guest['leaf'] + 4:x},2")
        stop = c.resume(f"vCont;r{guest['leaf'] - 64:x},{guest['turn']:x}:p1.1")
        assert c.pc() == guest["leaf"] + 4, hex(c.pc())
        c.ok(f"z0,{guest['leaf'] + 4:x},2")
        # wfi takes one step; the timer is due, and waits until interrupts are wanted.
        c.write(guest["mode"], b"\2\0\0\0")
        at_start(c, guest, "wait_here")
        c.resume("vCont;s")
        assert c.pc() == guest["wait_here"] + 4
        c.write(0x2004000, bytes(8))
        for n in range(1, 3):
            c.resume("vCont;s")
        assert c.word(guest["ticks"]) == 0 and c.pc() != guest["trap_entry"]
        c.ok("Qqemu.sstep=1")
        c.resume("vCont;s")
        assert guest["trap_entry"] <= c.pc() < guest["trap_entry"] + 8, hex(c.pc())
        c.ok("Qqemu.sstep=7")
        # A range that never ends is interrupted.
        c.send(f"vCont;r{0x80000000:x},{0x81000000:x}:p1.1")
        assert c.silent(0.1)
        c.raw(b"\x03")
        assert c.stop()["signal"] == 2
        # sret.
        c.write(guest["mode"], b"\3\0\0\0")
        at_start(c, guest, "sret_here")
        assert c.reg(PRIV) == 3
        c.resume("vCont;s")
        assert c.pc() == guest["supervisor"] and c.reg(PRIV) == 1
        # s and c by their old names, from an address.
        at_start(c, guest, "turn")
        c.ok("Hcp1.1")
        stop = c.resume("s")
        assert stop["signal"] == 5
        c.ok(f"Z0,{guest['leaf'] + 4:x},2")
        stop = c.resume(f"c{guest['leaf']:x}")
        assert c.pc() == guest["leaf"] + 4
        assert c.resume(f"C05;{guest['leaf']:x}")["signal"] == 5


def clock_in_steps():
    """The guest's clock stands while it is stepped, unless it shall not."""
    with Machine(guest) as m:
        c = Client(m)
        at_start(c, guest)
        first = c.word(0x0200bff8)
        for _ in range(20):
            c.resume("vCont;s")
        assert c.word(0x0200bff8) == first
        c.run_until(lambda: c.word(0x0200bff8) - first > 100000)        # 10 ms
        c.ok("Qqemu.sstep=3")
        first = c.word(0x0200bff8)
        c.resume("vCont;s")
        assert c.word(0x0200bff8) > first


def threads(engine):
    with Machine(guest, cpus=4, engine=engine) as m:
        c = Client(m)
        c.no_ack()
        at_start(c, guest)

        def beats():
            return [c.word(guest["beats"] + 8 * n) for n in range(4)]

        c.run_until(lambda: all(beats()[1:]))
        for n in range(1, 4):
            c.ok(f"Hgp1.{n + 1}")
            assert c.reg(CSR + 0xf14) == n and guest["others"] <= c.pc() < guest["timer_in"], hex(c.pc())
        # One alone runs; the others stand where they were.
        was = beats()
        c.run_until(lambda: beats()[2] > was[2], "vCont;c:p1.3")
        now = beats()
        assert now[1] == was[1] and now[3] == was[3], (was, now)
        # One steps while the others run; one steps and all others stand.
        stop = c.resume("vCont;s:p1.4;c")
        assert stop["cpu"] == 3
        was = beats()
        for _ in range(20):
            assert c.resume("vCont;s:p1.2")["cpu"] == 1
        now = beats()
        assert now[1] > was[1] and now[2:] == was[2:], (was, now)
        # A breakpoint that three of them meet: each says so in its turn, and none twice before it has moved.
        c.ok(f"Z0,{guest['beat_here']:x},2")
        seen, until = set(), time.monotonic() + WAIT
        while seen != {1, 2, 3} and time.monotonic() < until:
            stop = c.resume()
            c.ok(f"Hgp1.{stop['cpu'] + 1}")
            assert c.pc() == guest["beat_here"], stop
            seen.add(stop["cpu"])
            c.ok(f"z0,{guest['beat_here']:x},2")
            assert c.resume(f"vCont;s:p1.{stop['cpu'] + 1}")["cpu"] == stop["cpu"]
            c.ok(f"Z0,{guest['beat_here']:x},2")
        assert seen == {1, 2, 3}, seen
        c.ok(f"z0,{guest['beat_here']:x},2")
        # A watchpoint that hart 2 alone meets.
        c.ok(f"Z2,{guest['beats'] + 16:x},8")
        for _ in range(5):
            stop = c.resume()
            assert stop["cpu"] == 2 and int(stop["watch"], 16) == guest["beats"] + 16, stop
        assert c.ask("vCont;t") == "E16"


def sessions():
    with Machine(guest, start=True) as m:
        c = attach_until(m, lambda c: c.word(guest["counter"]))         # attaching stops it
        assert c.ask("?").startswith("T02"), "interrupted"
        first = c.word(guest["counter"])
        assert c.word(guest["counter"]) == first
        c.ok(f"Z0,{guest['leaf']:x},2")
        c.ok(f"Z2,{guest['watched']:x},8")
        c.ok("D;1")
        c.close()                                   # it runs on, without breakpoints: a round has 1000 turns
        c = attach_until(m, lambda c: c.word(guest["counter"]) > first + 5000)
        # The same connection goes on after D.
        c.ok("D;1")
        assert c.ask("vAttach;1").startswith("T"), "attach"
        # Vanished in the midst of a packet, at a stop: it stands as it was left.
        first = c.word(guest["counter"])
        c.ok(f"Z0,{guest['leaf']:x},2")
        c.raw(b"$m8000")
        c.close()
        c = Client(m)
        assert c.word(guest["counter"]) == first
        # Vanished while it runs: it runs on, and its breakpoint is gone.
        c.ok(f"Z2,{guest['watched']:x},8")
        c.send("vCont;r80001000,80002000")
        c.close()
        c = attach_until(m, lambda c: c.word(guest["counter"]) > first + 5000)
        c.no_ack()
        assert c.ask("?").startswith("T02")
        # Packets for a machine that runs stop it.
        c.send("vCont;c")
        assert c.ask("qfThreadInfo") == "mp1.1"
        first = c.word(guest["counter"])
        assert c.word(guest["counter"]) == first
        # All at once, and none read: nothing is lost.
        c.raw(c.frame("g") * 3000)
        assert all(len(c.packet()) == 33 * 16 for _ in range(3000))
        c.send("k")
        assert m.ends() == 0


def the_end():
    with Machine(guest) as m:
        c = Client(m)
        at_start(c, guest)
        c.write(guest["mode"], b"\4\0\0\0")
        c.send("vCont;c")
        assert c.packet() == "W07;process:1" and m.ends() == 7
    with Machine(guest, "-no-shutdown") as m:
        c = Client(m, "swbreak+")
        at_start(c, guest)
        c.write(guest["mode"], b"\4\0\0\0")
        c.send("vCont;c")
        assert c.packet().startswith("T03thread:1;")
        c.send("vCont;c")                           # it cannot go on
        assert c.packet().startswith("T03")
        c.ok("vKill;1")
        assert m.ends() == 0


def reset():
    """A breakpoint outlives a reset of the machine."""
    with Machine(guest) as m:
        c = Client(m)
        at_start(c, guest)
        c.ok(f"Z0,{guest['ready']:x},2")
        c.send("R00")                               # has no answer
        until = time.monotonic() + WAIT
        while c.pc() != 0x1000:
            assert time.monotonic() < until, "there is no reset"
        c.resume()
        assert c.pc() == guest["ready"]


both = [(f"{f.__name__} {e}", lambda f=f, e=e: f(e)) for f in (registers, memory, virtual, breakpoints, watchpoints, steps, threads)
        for e in ("jit", "interp")]
sys.exit(run([(f.__name__, f) for f in (framing, features, clock_in_steps, sessions, the_end, reset)] + both))
