#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The console for people: pages of `info`, memory and expressions, commands that refuse by name; lines typed at a terminal,
completion, history, Ctrl-A c. What a line's editor draws, tests/unit/test_edit.c looks at."""
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile

import guest
from client import BUILD, LYRE, Machine, fails, main

IMG = os.path.join(BUILD, "lyre-img")


class Guest(Machine):
    """A machine whose guest uses page tables and stands."""

    def __init__(self, *args):
        path, load = guest.write()
        super().__init__(*load, *args)
        guest.forget(path)
        guest.settle(self.qmp)


def says(m, line, text):
    out = m.qmp.hmp(line)
    assert text in out if text else not out, f"{line}: {out!r} has no {text!r}"


def test_memory():
    with Guest() as m:
        h = m.qmp.hmp
        assert h("info mem") == guest.MAPPED
        tlb = h("info tlb").splitlines()
        assert len(tlb) == 7 and tlb[3].startswith("0000000080005000 0000000080020000 0000000000001000 rw---ad"), tlb
        for line, text in (("x/2xw 0x80005000", "0000000080005000: 0x6c6c6548 0x22202c6f\n"),
                           ("xp/2xw 0x80020000", "0000000080020000: 0x6c6c6548 0x22202c6f\n"),
                           ("x/xg 0x80005000", "0000000080005000: 0x22202c6f6c6c6548\n"),
                           ("x/4xb 0x80005000", "0000000080005000: 0x48 0x65 0x6c 0x6c\n"),
                           ("x/3dh 0x80005000", "0000000080005000:  25928  27756  11375\n"),
                           ("x/2ub 0x80005000", "0000000080005000:  72 101\n"), ("x/2ob 0x80005000", "0000000080005000: 0110 0145\n"),
                           ("x/3c 0x80005000", "0000000080005000: 'H' 'e' 'l'\n"),
                           ("x/2c 0x80005000+13", "000000008000500d: '\"' '\\n'\n"),
                           ("x/s 0x80005000", "0000000080005000: \"Hello, \\\"world\\\"\\n\"\n"),
                           ("x/2s 0x80005000", "0000000080005010: \"\"\n"),
                           ("x/2i $pc-4", "0x0000000040000030:  30200073          mret\n0x0000000040000034:  0000006f          j 0x40000034\n"),
                           ("xp /1xw 0x80020000", "0x6c6c6548"), ("x 0x80005000", "0000000080005000: 0x6c6c6548\n"),
                           ("x/1xw 0x80004000", "0000000080004000: Cannot access memory\n"),
                           ("x/1i 0x80004000", "Cannot access memory"), ("x/s 0x80004000", "Cannot access memory"),
                           ("x/8xb 0x80006ffc", "0x00 0x00 0x00 0x00 Cannot access memory\n"),
                           ("x/4q 0", "invalid char in format: 'q'"), ("x/9999999xb 0", "too much"), ("x", "addr is missing"),
                           ("gva2gpa 0x80005004", "gpa: 0x80020004\n"), ("gva2gpa 0x80004000", "Unmapped\n"),
                           ("gva2hva 0x80005000", "Host virtual address for 0x80005000 (riscv_virt_board.ram) is 0x"),
                           ("gva2hva 0x80004000", "No memory is mapped at address 0x80004000"),
                           ("gpa2hva 0x80020000", "(riscv_virt_board.ram) is 0x"), ("gpa2hva 0x100000", "is not RAM"),
                           ("gpa2hva 0x9000000000", "No memory is mapped at address 0x9000000000")):
            says(m, line, text)
        # the checksum is that of the program
        path = os.path.join(m.dir, "text")
        with open(path, "wb") as f:
            f.write(guest.TEXT)
        want = subprocess.run(["sum", path], capture_output=True, text=True, check=True).stdout.split()[0]
        assert h(f"sum 0x80020000 {len(guest.TEXT)}") == want + "\n"
        says(m, "sum 0x9000000000 1", "Cannot access memory")
        says(m, f"memsave 0x80005000 16 {m.dir}/saved", "")
        with open(os.path.join(m.dir, "saved"), "rb") as f:
            assert f.read() == guest.TEXT
        says(m, f"memsave 0x80006000 8192 {m.dir}/saved", "Invalid addr")
        # devices are read as the guest would
        says(m, "xp/1xw 0x2004000", "0000000002004000: 0x")
        for line in ("i/xb 0x60", "o/b 0x60 1"):
            says(m, line, "no I/O ports")
        m.qmp.call("cont")              # and while it runs
        assert h("info mem") == guest.MAPPED


def test_dump_by_virtual_addresses():
    from dump import Core, dump
    with Guest() as m:
        c = Core(dump(m, "core", paging=True))
        assert c.read(0x80005000, len(guest.TEXT), virtual=True) == guest.TEXT
        assert c.read(0xffffffffc0020000, 5, virtual=True) == b"Hello" == c.read(0x80020000, 5)
        maps = {(h[3], h[4], h[5]) for h in c.loads}
        assert (guest.HOME, guest.RAM, 64 << 20) in maps and (0x80600000, 0x80200000, 0x200000) in maps, maps
        pcs = [struct.unpack_from("<Q", n[2], 112)[0] for n in c.notes if n[1] == 1]
        assert pcs == [guest.HOME + 13 * 4]
        if shutil.which("gdb-multiarch"):
            out = subprocess.run(["gdb-multiarch", "-nx", "-batch", "-ex", f"core-file {m.dir}/core", "-ex", "x/s 0x80005000",
                                  "-ex", "x/i $pc"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
            assert "Hello, " in out.stdout and re.search(r"=> 0x40000034:\s+j\s+0x40000034", out.stdout), out


def test_expressions():
    with Machine("-smp", "2") as m:
        for line, text in (("p 1+2*3", "0x7"), ("p/d (1+2)*3", "9"), ("p/d 5%3", "2"), ("p 5&3|8^1", "0x8"), ("p ~0", "0xffffffffffffffff"),
                           ("p/d -1", "-1"), ("p/u -1", "18446744073709551615"), ("p/o 8", "010"), ("p/c 65", "'A'"), ("p/d 'a'", "97"),
                           ("p 1<<4", "0x10"), ("p 0x100>>4", "0x10"), ("p 1<<64", "0x0"), ("print $pc", "0x1000"), ("p $PC+4", "0x1004"),
                           ("p $mstatus", "0xa00000000"), ("p - - 3", "0x3"), ("p/d 010", "8")):
            assert m.qmp.hmp(line) == text + "\n", (line, m.qmp.hmp(line))
        for line, text in (("p $zz", "unknown register"), ("p (1+2", "')' expected"), ("p 1/0", "division by zero"), ("p 1%0", "division by zero"),
                           ("p !1", "invalid char '!' in expression"), ("p 12ab", "invalid char 'a'"), ("p 'ab", "terminating"),
                           ("p", "expr is missing"), ("p 1 2", "more words than it takes"), ("p " + "(" * 100, "nested too deeply"),
                           ("p 1+", "unexpected end of expression"), ("p/s 1", "no text"), ("p $", "unknown register")):
            says(m, line, text)


def test_pages():
    with Machine("-smp", "2", "-device", "virtio-rng-pci,id=r", "-object", "iothread,id=io0", "-name", "it", "-netdev", "user,id=n0",
                 "-uuid", "12345678-1234-1234-1234-123456789abc") as m:
        for line, text in (("info mtree", "0000000000100000-0000000000100fff (prio 0, i/o): riscv.sifive.test\n"),
                           ("info mtree -f", "0000000000100000-0000000000100fff (i/o): riscv.sifive.test\n"),
                           ("info mtree -f -d -o", "(i/o): riscv.sifive.plic owner:{dev path=/machine/unattached/device["),
                           ("info mtree -f -d", "  Dispatch\n"), ("info mtree -o -D", "(prio 0, i/o): riscv.sifive.plic owner:{dev path="),
                           ("info qtree", 'bus: main-system-bus\n  type System\n  dev: '), ("info qtree", "    mmio 000000000c000000/0000000000600000\n"),
                           ("info registers", "ft0  0000000000000000  ft1  "), ("info qtree", 'dev: virtio-rng-pci, id "r"'), ("info qom-tree", "/r (virtio-rng-pci)"),
                           ("info registers", "pc 0000000000001000"), ("info registers -a", "CPU#1"), ("info registers 1", "CPU#1"),
                           ("info registers 5", "CPU#5 not available"), ("info cpus", "* CPU #0: thread_id="),
                           ("info mem", "No translation or protection\n"), ("info tlb", "No translation or protection\n"),
                           ("info pic", "  hart 1 S: threshold 0, line 0, enabled\n"), ("info irq", "IRQ statistics for riscv.sifive.plic:\n  none yet\nIRQ statistics for CPU 0:\n  none yet\n"),
                           ("info roms", "addr=0000000000001000 size=0x"), ("info ramblock", "    riscv_virt_board.ram    4 KiB  0x"),
                           ("info numa", "0 nodes\n"), ("info status", "VM status: paused (prelaunch)\n"), ("info version", "lyre"),
                           ("info name", "it\n"), ("info uuid", "12345678-1234-1234-1234-123456789abc\n"), ("info iothreads", "io0:\n  thread_id="),
                           ("info memory-devices", ""), ("info memory_size_summary", "base memory: "), ("info network", "n0: type=user"),
                           ("info usernet", "Hub -1 (n0):\n"), ("info chardev", "filename="), ("info jit", "translation"), ("info block", ""),
                           ("info snapshots", "There is no snapshot available.\n"), ("info migrate", ""), ("info migrate_parameters", "downtime-limit: 300 ms\n"),
                           ("info migrate_capabilities", "events: off\n"), ("info history", ""), ("info trace-events", "serial : state 0\n"),
                           ("info qdm", 'name "virtio-rng-pci", bus pci, alias "virtio-rng"'), ("info virtio", "/machine/peripheral/r/virtio-backend [virtio-rng]\n"),
                           ("info hotpluggable-cpus", "not enabled"), ("info kvm", "kvm support: not compiled\n"), ("info replay", "not active"),
                           ("info opcount", "not counted"), ("info profile", "not compiled"), ("info sync-profile", "sync-profile is off\n"),
                           ("info vm-generation-id", "not currently supported"), ("info", "info mtree [-f] [-d] [-o] [-D]"), ("info nonsense", "unknown command: 'info nonsense'"),
                           ("help", "x[/fmt] addr"), ("help info mem", "info mem "), ("help q", "quit|q "), ("?", "info ..."),
                           ("help nonsense", "unknown command"), ("help dump-guest-memory", "[-p] [-d] [-z]")):
            says(m, line, text)
        assert m.qmp.hmp("info registers").count("CPU#") == 1 and m.qmp.hmp("info registers -a").count("CPU#") == 2
        for cpu in (0, 1):
            out = m.qmp.call("human-monitor-command", command_line="info cpus", cpu_index=cpu)
            assert f"* CPU #{cpu}:" in out, out
        for name in ("irq", "jit", "numa", "ramblock", "roms"):
            assert m.qmp.call(f"x-query-{name}")["human-readable-text"] == m.qmp.hmp(f"info {name}"), name
        fails(m.qmp.call, "x-query-usb", text="USB support not enabled")


def test_interrupt_controllers():
    for aia, texts in (("aplic", ("aplic, domain of M: interrupts off, by wire\n", "aplic, domain of S", "  hart 1: delivery 0, threshold 0, line 0\n")),
                       ("aplic-imsic", ("aplic, domain of S: interrupts off, by message\n", "imsic, hart 1 S: delivery 0, threshold 0\n"))):
        with Machine("-smp", "2", "-M", f"virt,aia={aia}") as m:
            for text in texts:
                says(m, "info pic", text)


def test_tasks():
    with Machine("-netdev", "user,id=n0") as m:
        log = os.path.join(m.dir, "log")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        for line, text in (("cpu 5", "invalid CPU index"), ("cpu 0", ""), ("log foo", "nothing named 'foo'"), ("log none", ""), ("log help", "in_asm"),
                           ("logfile /nowhere/x", "No such file"), (f"logfile {log}", ""), ("trace-event foo on", 'unknown event "foo"'),
                           ("trace-event xx* on", ""), ("boot_set nc", "no function defined to set boot device list"), ("mce 1 2", "no machine checks"),
                           ("pcie_aer_inject_error a b", "no device here"), ("replay_break 1", "only in play mode"), ("singlestep on", "do not change"),
                           ("sync-profile", "sync-profile is off\n"), ("sync-profile on", "not measured"), ("exit_preconfig", "before machine initialization"),
                           ("getfd x", "SCM_RIGHTS"), ("closefd x", "File descriptor named 'x' not found"), ("migrate_set_parameter downtime-limit 100", ""),
                           ("info migrate_parameters", "downtime-limit: 100 ms\n"), ("migrate_set_parameter max-bandwidth 10", ""),
                           ("info migrate_parameters", "max-bandwidth: 10485760 bytes/second\n"), ("migrate_set_parameter foo 1", "Parameter 'foo' is unexpected"),
                           ("migrate_set_capability events on", ""), ("info migrate_capabilities", "events: on\n"),
                           ("migrate_set_capability foo on", "does not accept value 'foo'"), (f"hostfwd_add tcp:127.0.0.1:{port}-:22", ""),
                           ("info usernet", "HOST_FORWARD"), ("hostfwd_add nonsense", "Error"), ("stop now", "more words than it takes"),
                           ("nonsense", "unknown command: 'nonsense'"), ("# a comment", ""), ("device_add", "args is missing")):
            says(m, line, text)
        # traces: the same by QMP
        c = m.qmp
        c.call("trace-event-set-state", name="seri*", enable=True)
        assert c.call("trace-event-get-state", name="serial") == [{"name": "serial", "state": "enabled", "vcpu": False}]
        assert "serial : state 1\n" in c.hmp("info trace-events ser*") and c.hmp("trace-event serial off") == ""
        assert c.call("trace-event-get-state", name="serial")[0]["state"] == "disabled"
        assert c.call("trace-event-get-state", name="zz*") == []
        for name in ("trace-event-get-state", "trace-event-set-state"):
            fails(c.call, name, {"name": "nope", **({"enable": True} if "set" in name else {})}, text='unknown event "nope"')
        # the log is where logfile says, and moves
        c.hmp("log exec,nochain")
        c.call("cont")
        for _ in range(6000):
            if os.path.getsize(log):
                break
        c.call("stop")
        assert os.path.getsize(log)
        other = os.path.join(m.dir, "other")
        c.hmp(f"logfile {other}")
        c.hmp("log none")
        assert os.path.exists(other)


class Terminal:
    """Somebody who types at a monitor's socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(path)
        self.until("(lyre) ")

    def until(self, text):
        out = b""
        while not out.endswith(text.encode()):
            data = self.sock.recv(1)
            assert data, out
            out += data
        return out.decode().replace("\r\n", "\n")

    def type(self, keys, text):
        self.sock.sendall(keys.encode())
        return self.until(text)

    def line(self, keys):
        """Types a line; what it answers."""
        return self.type(keys + "\r", "\n(lyre) ").split("\n", 1)[1][:-len("(lyre) ")]


def test_terminal():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "mon")
        files = os.path.join(d, "files")
        os.mkdir(files)
        for name in ("alpha", "alps", "beta"):
            open(os.path.join(files, name), "w", encoding="ascii").close()
        with Machine("-smp", "2", "-monitor", f"unix:{path},server=on,wait=off", "-device", "virtio-rng-pci,id=rng7", "-object", "rng-random,id=obj7",
                     "-netdev", "user,id=net7", "-drive", "if=none,id=disk7,driver=null-co") as m:
            t = Terminal(path)
            assert "VM status: paused (prelaunch)" in t.line("info status")
            assert "VM status" in t.line("\x1b[A") and "VM status" in t.line("info stXX\x1b[D\x1b[D\x0batus")
            assert t.line("info history") == "0: 'info status'\n1: 'info status'\n2: 'info history'\n".replace("0: 'info status'\n1", "0", 1) \
                .replace("2: 'info history'", "1: 'info history'")
            t.line("cpu 1")
            assert "* CPU #1" in t.line("info cpus") and "CPU#1" in t.line("info registers")
            # completion: what is typed, what it becomes
            for keys, whole in (("inf", "info "), ("info uui", "info uuid "), ("hel", "help "), ("help dump-g", "help dump-guest-memory "),
                                ("help info uui", "help info uuid "), ("device_del rn", "device_del rng7 "), ("netdev_del ne", "netdev_del net7 "),
                                ("object_del ob", "object_del obj7 "), ("set_link ne", "set_link net7 "), ("block_resize dis", "block_resize disk7 "),
                                ("device_add virtio-rn", "device_add virtio-rng"), ("device_add virtio-rng-pci,rn", "device_add virtio-rng-pci,rng="),
                                ("device_add virtio-rng-pci,rng=ob", "device_add virtio-rng-pci,rng=obj7"),
                                ("device_add virtio-blk-pci,drive=dis", "device_add virtio-blk-pci,drive=disk7"),
                                ("device_add virtio-rng-pci,bus=pc", "device_add virtio-rng-pci,bus=pcie.0"),
                                ("object_add iot", "object_add iothread"), ("netdev_add us", "netdev_add user"),
                                ("netdev_add user,hostf", "netdev_add user,hostfwd="), ("chardev-add ringb", "chardev-add ringbuf"),
                                ("qom-list /mach", "qom-list /machine"), ("qom-list /machine/peripheral/rn", "qom-list /machine/peripheral/rng7"),
                                ("qom-get /machine/peripheral/rng7 add", "qom-get /machine/peripheral/rng7 addr "),
                                ("log in_", "log in_asm "), ("log int,ex", "log int,exec "), ("trace-event ser", "trace-event serial "),
                                ("trace-event serial of", "trace-event serial off "), ("sendkey ctrl-del", "sendkey ctrl-delete"),
                                ("watchdog_action pow", "watchdog_action poweroff "), ("p $mstatu", "p $mstatus"), ("x/4xw $sep", "x/4xw $sepc"),
                                (f"dump-guest-memory {files}/be", f"dump-guest-memory {files}/beta "), (f"logfile {files}/al", f"logfile {files}/alp"),
                                (f"logfile {d}/fil", f"logfile {files}/"), ("migrate_set_parameter dow", "migrate_set_parameter downtime-limit "),
                                ("migrate_set_capability ev", "migrate_set_capability events "), ("dump-guest-memory -p -z", "dump-guest-memory -p -z ")):
                # what stands in the line is seen from the history: '#' makes it a comment
                t.sock.sendall((keys + "\t").encode())
                t.line("\x01#\x05")
                lines = t.line("info history").splitlines()
                assert len(lines) > 1, (keys, lines)
                last = lines[-2].split("'", 1)[1][:-1]
                assert last == "#" + whole, (keys, last)
            out = t.type("info me\t\t", "(lyre) info mem")
            assert "mem " in out and "memdev" in out and "memory-devices" in out, out
            t.sock.sendall(b"\x15")
            # another one comes: the history is still there
            t.sock.close()
            t = Terminal(path)
            assert "'info history'" in t.line("info history")
            t.line("quit\x17")
            t.sock.sendall(b"quit\r")
            assert m.process.wait(60) == 0


def test_switch():
    """Ctrl-A c: from the guest's console to the monitor and back."""
    p = subprocess.Popen([LYRE, "-M", "virt", "-nographic", "-bios", "none", "-nic", "none", "-S"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = b""

    def until(text):
        nonlocal seen
        while text not in seen:
            data = os.read(p.stdout.fileno(), 4096)
            assert data, seen
            seen += data
        seen = seen[seen.index(text) + len(text):]

    def type_(keys):
        p.stdin.write(keys)
        p.stdin.flush()
    type_(b"\x01c")
    until(b"monitor - type 'help' for more information\r\n(lyre) ")
    type_(b"info statu\t\r")
    until(b"VM status: paused (prelaunch)\r\n(lyre) ")
    type_(b"\x01c\x01c")            # away and back
    until(b"(lyre) ")
    type_(b"info name\r")
    until(b"(lyre) ")
    type_(b"\x01\x01X\r")           # Ctrl-A twice is a Ctrl-A
    until(b"unknown command: 'X'")
    type_(b"\x01x")
    assert p.wait(60) == 0


def test_disks_in_older_words():
    """Lines that say with other words what QMP's commands say."""
    with tempfile.TemporaryDirectory(prefix="lyre-console-") as d:
        for name in ("a", "b"):
            subprocess.run([IMG, "create", "-q", "-f", "qcow2", f"{d}/{name}", "1M"], check=True)
        with Machine("-drive", f"if=none,id=a,file={d}/a,format=qcow2", "-device", "virtio-blk-device,drive=a",
                     "-device", "pcie-root-port,id=rp") as m:
            c = m.qmp
            assert "if=none" in c.hmp(f"drive_add 0 file={d}/b,id=b") and "needs an id" in c.hmp(f"drive_add 0 if=none,file={d}/b")
            assert c.hmp(f"drive_add -n 0 if=none,id=b,file={d}/b,format=qcow2") == "OK\n"
            assert "'b'" in c.hmp(f"drive_add 0 if=none,id=b,file={d}/b")
            assert "is in use by a device" in c.hmp("drive_del a") and "not found" in c.hmp("drive_del nope")
            assert not c.hmp("device_add nvme,serial=1,drive=b,id=n,bus=rp") and "in use" in c.hmp("drive_del b")
            assert c.hmp("drive_add 0 if=none,id=e,file=null-co://,format=raw") == "OK\n" and not c.hmp("drive_del e")
            assert "b" in c.hmp("info block") and "e (" not in c.hmp("info block")
            assert not c.hmp("snapshot_blkdev_internal a one") and "already" in c.hmp("snapshot_blkdev_internal a one")
            assert not c.hmp("snapshot_delete_blkdev_internal a one") and "one" in c.hmp("snapshot_delete_blkdev_internal a one")
            assert not c.hmp(f"snapshot_blkdev a {d}/over") and os.path.exists(f"{d}/over")
            assert f"{d}/over" in c.hmp("info block a")
            said = c.hmp(f"block_stream a 1M {d}/nope")
            assert f"{d}/nope" in said, said
            assert not c.hmp("block_stream a")
            c.wait_event("BLOCK_JOB_COMPLETED")
            assert not c.hmp(f"drive_backup -f a {d}/backup")
            c.wait_event("BLOCK_JOB_COMPLETED")
            assert "No such file" in c.hmp(f"drive_mirror -n a {d}/nowhere")
            assert not c.hmp(f"drive_mirror -n -f a {d}/backup qcow2")
            c.wait_event("BLOCK_JOB_READY")
            assert not c.hmp("block_job_cancel a")
            c.wait_event("BLOCK_JOB_COMPLETED")
            assert "block-commit" in c.hmp("commit all")
            assert "-a" in c.hmp(f"nbd_server_start -w unix:{d}/nbd") and "no address" in c.hmp("nbd_server_start nowhere")
            said = c.hmp(f"nbd_server_start -a -w unix:{d}/nbd")
            assert "write" in said, said           # devices have them for writing already; the server does not stay
            assert not c.hmp(f"nbd_server_start -a unix:{d}/nbd")
            info = subprocess.run([IMG, "info", f"nbd+unix:///a?socket={d}/nbd"], stdout=subprocess.PIPE, text=True, check=True).stdout
            assert "1 MiB" in info, info
            assert "already" in c.hmp(f"nbd_server_start unix:{d}/nbd2") and not c.hmp("nbd_server_stop")


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
