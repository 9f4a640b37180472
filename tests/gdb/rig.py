# SPDX-License-Identifier: MIT
"""What the tests of the debugger's stub share: the guest made and started, a
client of gdb's remote protocol, real gdb with a list of commands."""
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(os.environ.get("LYRE_BUILD", os.path.join(HERE, "../../build")))
LYRE = os.path.join(BUILD, "lyre-system-riscv64")
CC = next((c for c in ("riscv64-linux-gnu-gcc", "riscv64-unknown-elf-gcc") if shutil.which(c)), None)
GDB = next((g for g in ("gdb-multiarch", "riscv64-unknown-elf-gdb") if shutil.which(g)), None)
FLAGS = ["-march=rv64gc", "-mabi=lp64d", "-mcmodel=medany", "-g", "-O1", "-fno-pic", "-no-pie", "-ffreestanding",
         "-nostdlib", "-static", "-Wl,--build-id=none", "-Wl,-Ttext=0x80001000", "-Wl,-z,norelro"]
WAIT = 60               # seconds after which something is stuck


def skip(why):
    print(why)
    sys.exit(77)


def connect(path, ended):
    """To a socket that a machine is about to make."""
    until = time.monotonic() + WAIT
    while True:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(path)
            return s
        except OSError:
            s.close()
            if time.monotonic() > until or ended():
                raise
            time.sleep(0.02)


class Guest:
    """guest.c, compiled, and its symbols."""

    def __init__(self, folder):
        if not CC:
            skip("there is no RISC-V compiler for the guest")
        self.elf = os.path.join(folder, "guest.elf")
        subprocess.run([CC, *FLAGS, "-o", self.elf, os.path.join(HERE, "guest.c")], check=True)
        nm = subprocess.run([re.sub("gcc$", "nm", CC), self.elf], check=True, capture_output=True, text=True)
        self.symbols = {f[2]: int(f[0], 16) for f in (line.split() for line in nm.stdout.splitlines()) if len(f) == 3}

    def __getitem__(self, name):
        return self.symbols[name]


class Machine:
    """The emulator with the guest, and a socket for its stub."""

    def __init__(self, guest, *args, cpus=1, engine="jit", start=False, stub=True):
        self.folder = tempfile.mkdtemp(prefix="lyre-gdb-")
        self.path = os.path.join(self.folder, "gdb")
        self.process = subprocess.Popen(
            [LYRE, "-M", "virt", "-m", "64M", "-smp", str(cpus), "-bios", "none", "-kernel", guest.elf, "-display", "none",
             "-serial", "null", "-nic", "none", "-accel", f"tcg,engine={engine}",
             "-monitor", f"unix:{self.path}.mon,server=on,wait=off", *(["-gdb", f"unix:{self.path}"] if stub else []),
             *([] if start else ["-S"]), *args], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def console(self):
        """A function that has the console do a line, and returns what it said."""
        s = self.connect(self.path + ".mon")

        def until_prompt():
            text = b""
            while not text.endswith(b"(lyre) "):
                assert select.select([s], [], [], WAIT)[0], f"the console says nothing behind {text!r}"
                text += s.recv(65536)
            return text.decode()

        def line(what):
            s.sendall(what.encode() + b"\n")
            return until_prompt()
        until_prompt()
        return line

    def connect(self, path=None):
        return connect(path or self.path, lambda: self.process.poll() is not None)

    def ends(self):
        return self.process.wait(WAIT)

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.stderr = self.process.stderr.read().decode()
        self.process.stderr.close()
        if failed and self.stderr:
            print(f"-- what the emulator said:\n{self.stderr}--")
        assert failed or not re.search("runtime error|Sanitizer", self.stderr), self.stderr
        shutil.rmtree(self.folder, ignore_errors=True)


class Client:
    """One debugger's end of the protocol, a packet at a time."""

    def __init__(self, machine, features="multiprocess+;swbreak+;hwbreak+"):
        self.socket = machine.connect()
        self.acks = True
        self.have = b""
        if features is not None:
            self.supported = self.ask(f"qSupported:{features}").split(";")

    def raw(self, data):
        self.socket.sendall(data)

    @staticmethod
    def frame(body):
        body = body.encode("latin1") if isinstance(body, str) else body
        return b"$" + body + b"#%02x" % (sum(body) & 0xff)

    def byte(self, wait=WAIT):
        while not self.have:
            if not select.select([self.socket], [], [], wait)[0]:
                raise TimeoutError("the stub says nothing")
            self.have = self.socket.recv(65536)
            if not self.have:
                raise EOFError("the stub closed the connection")
        c, self.have = self.have[:1], self.have[1:]
        return c

    def silent(self, seconds=0.2):
        return not self.have and not select.select([self.socket], [], [], seconds)[0]

    def send(self, body):
        self.raw(self.frame(body))
        if self.acks:
            c = self.byte()
            assert c == b"+", f"{body!r}: {c!r} instead of an acknowledgement"

    def packet(self, wait=WAIT):
        """The next packet's data as latin1 text, escapes undone."""
        while (c := self.byte(wait)) != b"$":
            assert c in b"+", f"{c!r} between packets"
        body = b""
        while (c := self.byte()) != b"#":
            body += c
        said = int(self.byte() + self.byte(), 16)
        assert said == sum(body) & 0xff, "checksum"
        if self.acks:
            try:
                self.raw(b"+")
            except OSError:     # it was the last packet, and the machine has ended
                pass
        return re.sub(rb"}(.)", lambda m: bytes([m[1][0] ^ 0x20]), body, flags=re.S).decode("latin1")

    def ask(self, body, wait=WAIT):
        self.send(body)
        return self.packet(wait)

    def ok(self, body):
        answer = self.ask(body)
        assert answer == "OK", f"{body!r}: {answer!r}"

    def no_ack(self):
        self.ok("QStartNoAckMode")
        self.acks = False

    def stop(self, wait=WAIT):
        """A stop reply as {what: value}, "signal" and "thread" (an index) among it."""
        return self.parse_stop(self.packet(wait))

    @staticmethod
    def parse_stop(text):
        assert text[0] == "T", text
        parts = dict(p.split(":", 1) for p in text[3:].rstrip(";").split(";"))
        parts["signal"] = int(text[1:3], 16)
        parts["cpu"] = int(parts["thread"].split(".")[-1], 16) - 1
        return parts

    def resume(self, body="vCont;c"):
        self.send(body)
        return self.stop()

    def run_until(self, seen, how="vCont;c"):
        """Lets it run for moments until seen() holds: how long that takes is the host's affair."""
        until = time.monotonic() + WAIT
        while True:
            self.send(how)
            time.sleep(0.01)
            self.raw(b"\x03")
            stop = self.stop()
            if seen():
                return stop
            assert time.monotonic() < until, "it never came to that"

    def reg(self, n):
        return int.from_bytes(bytes.fromhex(self.ask(f"p{n:x}")), "little")

    def set_reg(self, n, value):
        self.ok(f"P{n:x}={value.to_bytes(8, 'little').hex()}")

    def pc(self):
        return self.reg(32)

    def read(self, addr, n):
        return bytes.fromhex(self.ask(f"m{addr:x},{n:x}"))

    def word(self, addr):
        return int.from_bytes(self.read(addr, 8), "little")

    def write(self, addr, data):
        self.ok(f"M{addr:x},{len(data):x}:{data.hex()}")

    def monitor(self, line):
        self.send("qRcmd," + line.encode().hex())
        text = ""
        while (p := self.packet()) != "OK":
            assert p[0] == "O", p
            text += bytes.fromhex(p[1:]).decode()
        return text

    def close(self):
        self.socket.close()


def at_start(c, guest, name="ready"):
    """Goes on to a function, to its next call if it stands there."""
    if c.pc() == guest[name]:
        c.resume("vCont;s")
    c.ok(f"Z0,{guest[name]:x},2")
    stop = c.resume()
    c.ok(f"z0,{guest[name]:x},2")
    assert stop["signal"] == 5 and "swbreak" in stop and c.pc() == guest[name], stop
    return stop


def attach_until(machine, seen):
    """Debuggers that come and leave the machine running, until one of them sees that."""
    until = time.monotonic() + WAIT
    while True:
        c = Client(machine)
        if seen(c):
            return c
        assert time.monotonic() < until, "it never came to that"
        c.ok("D;1")
        c.close()
        time.sleep(0.01)


CSR, PRIV = 65, 65 + 4096       # gdb's numbers


def run(cases):
    """Each (name, function): says which failed and why; the exit status."""
    import traceback
    bad = 0
    for name, case in cases:
        try:
            case()
        except Exception:           # noqa: any failure is one
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {name}")
            bad += 1
    print(f"{len(cases) - bad} passed, {bad} failed")
    return bad != 0
