#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libvirt's probe of an emulator: its command line, and the questions that it asks."""
import os
import signal
import subprocess
import tempfile
import time

from client import LYRE, Client, Machine, QmpError, Schema, fails, main


class Probe:
    """The machine "none", in the background; everything is there when the first process has ended."""

    def __init__(self, *args):
        self.dir = tempfile.TemporaryDirectory()
        path, pidfile = os.path.join(self.dir.name, "qmp.monitor"), os.path.join(self.dir.name, "qmp.pid")
        env = {"LC_ALL": "C", "PATH": os.environ["PATH"], "HOME": self.dir.name}
        self.run = subprocess.run([LYRE, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:tcg",
                                   "-qmp", f"unix:{path},server=on,wait=off", "-pidfile", pidfile, "-daemonize", *args],
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, env=env, check=False)
        self.pid = None
        if self.run.returncode == 0:
            with open(pidfile, encoding="ascii") as f:
                self.pid = int(f.read())
            self.qmp = Client(path)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            end = time.monotonic() + 5
            while os.path.exists(f"/proc/{self.pid}") and time.monotonic() < end:
                with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
                    if f.read().split()[2] == "Z":
                        break
                time.sleep(0.01)
        self.dir.cleanup()


def test_probe():
    with Probe() as p:
        c = p.qmp
        assert p.run.returncode == 0, p.run.stderr
        start, size = time.monotonic(), 0
        for name in ("query-version", "query-target", "query-qmp-schema", "query-commands", "query-kvm", "qom-list-types"):
            size += len(str(c.call(name)))
        for t in ("virtio-blk-pci", "virtio-net-pci", "pcie-root-port", "VGA", "virtio-gpu-pci", "virtio-balloon-pci", "nvdimm"):
            try:
                size += len(str(c.call("device-list-properties", typename=t)))
            except QmpError as e:
                assert e.cls == "DeviceNotFound"
        for t in ("memory-backend-file", "memory-backend-memfd", "none-machine", "virt-machine"):
            c.call("qom-list-properties", typename=t)
        machines = {m["name"] for m in c.call("query-machines")}
        assert machines == {"none", "virt"}, machines
        assert {d["typename"] for d in c.call("query-cpu-definitions")} >= {"rv64-riscv-cpu", "max-riscv-cpu"}
        assert c.call("query-tpm-models") == [] and c.call("query-tpm-types") == []
        options = {o["option"]: o["parameters"] for o in c.call("query-command-line-options")}
        assert {"machine", "device", "netdev", "chardev"} <= set(options) and options["machine"]
        assert len(c.call("query-command-line-options", option="machine")) == 1
        fails(c.call, "query-command-line-options", option="nope", text="invalid option name")
        assert c.call("query-cpus-fast") == []
        took = time.monotonic() - start
        assert size < 400000, size
        print(f"# {size} bytes, {took * 1000:.0f} ms")
        c.schema = Schema(c.call("query-qmp-schema"))
        c.call("cont")
        c.call("stop")
        c.call("system_reset")
        c.wait_event("RESET")


def test_fails_in_the_foreground():
    with Probe("-device", "nope") as p:
        assert p.run.returncode == 1 and "nope" in p.run.stderr, p.run
    with Probe("-chardev", "socket,id=x,path=/nonexistent/x,server=on,wait=off") as p:
        assert p.run.returncode == 1 and "/nonexistent" in p.run.stderr, p.run


def test_balloon():
    with Machine() as m:
        fails(m.qmp.call, "query-balloon", cls="DeviceNotActive", text="No balloon device has been activated")
        fails(m.qmp.call, "balloon", value=1 << 27, cls="DeviceNotActive")
        assert m.qmp.call("query-memory-size-summary")["base-memory"] == 128 << 20
    with Machine("-device", "virtio-balloon-pci", "-m", "256") as m:
        assert m.qmp.call("query-balloon") == {"actual": 256 << 20}
        m.qmp.call("balloon", value=200 << 20)
        fails(m.qmp.call, "balloon", value=0)
        assert m.qmp.hmp("info balloon") == "balloon: actual=256\n"


def test_pages():
    with Machine("-smp", "2", "-device", "pcie-root-port,id=rp", "-device", "virtio-rng-pci,bus=rp,id=r0", "-netdev", "user,id=u0",
                 "-device", "virtio-net-pci,netdev=u0") as m:
        c = m.qmp
        assert "serial" in c.hmp("info mtree")
        tree = c.hmp("info qtree")
        assert "bus: pcie.0" in tree and 'dev: virtio-rng-pci, id "r0"' in tree and "max-bytes" in tree, tree
        assert "peripheral" in c.hmp("info qom-tree") and "virtio-backend" in c.hmp("info qom-tree /machine/peripheral/r0")
        regs = c.hmp("info registers -a")
        assert "CPU#0" in regs and "CPU#1" in regs and "CPU#0" not in c.hmp("info registers 1")
        assert "not available" in c.hmp("info registers 2")
        assert "u0" in c.hmp("info network")
        assert "CPU #1" in c.hmp("info cpus")
        c.hmp("info jit")
        c.hmp("log guest_errors")
        assert "Error" in c.hmp("log nope")
        for page in c.hmp("info").splitlines():
            said = c.hmp(page.split("  ")[0].split(" [")[0])
            assert "unknown" not in said, (page, said)


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
