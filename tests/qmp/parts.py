#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands about what a machine consists of and what it does when something happens: CPU models, PCI, NICs, memory, actions,
displays that are not there, statistics; what is sent out of band. Answers and errors are those that clients know."""
import os
import subprocess
import time

from client import LYRE, Machine, fails, main


def test_cpu_models():
    with Machine() as m:
        c = m.qmp

        def expand(name, kind="full", **props):
            model = {"name": name, **({"props": props} if props else {})}
            v = c.call("query-cpu-model-expansion", type=kind, model=model)["model"]
            assert v["name"] == name
            return v["props"]
        full = expand("rv64")
        assert full["zba"] is True and full["smaia"] is False and all(isinstance(v, bool) for v in full.values())
        static = expand("rv64", "static")
        assert static == {k: v for k, v in full.items() if v}
        assert expand("rv64", zba=False)["zba"] is False and expand("rv64", zbs=True, migratable=False)["zbs"] is True
        assert set(expand("max", "static")) > set(static)
        # what is said is what -cpu help says
        text = subprocess.run([LYRE, "-cpu", "help"], capture_output=True, text=True, check=True).stdout
        assert all(f"  {name} " in text for name in full), text
        for kw, text in (({"name": "no-such"}, "no CPU model"), ({"name": "rv64", "props": {"zzz": True}}, "no property"),
                         ({"name": "rv64", "props": {"zba": 1}}, "expected: boolean"), ({"name": "rv64", "props": 5}, "expected: object"),
                         ({"name": "rv64", "props": {"i": False}}, "cannot be off"), ({"name": "rv64", "props": {"a,b": True}}, "unexpected")):
            fails(c.call, "query-cpu-model-expansion", type="full", model=kw, text=text)

        def compare(a, b):
            v = c.call("query-cpu-model-comparison", modela=a, modelb=b)
            return v["result"], v["responsible-properties"]
        rv64, less = {"name": "rv64"}, {"name": "rv64", "props": {"zba": False}}
        assert compare(rv64, rv64) == ("identical", [])
        assert compare(rv64, less) == ("superset", ["zba"]) and compare(less, rv64) == ("subset", ["zba"])
        assert compare(less, {"name": "rv64", "props": {"zbb": False}})[0] == "incompatible"
        fails(c.call, "query-cpu-model-comparison", modela=rv64, modelb={"name": "x"}, text="no CPU model")
        v = c.call("query-cpu-model-baseline", modela={"name": "max"}, modelb=less)["model"]["props"]
        assert v == {k: on and expand("max")[k] for k, on in expand("rv64", zba=False).items()}
        fails(c.call, "query-cpu-model-baseline", modela={"name": "x"}, modelb=rv64, text="no CPU model")


def test_cpu_plug():
    with Machine() as m:
        fails(m.qmp.call, "query-hotpluggable-cpus", text="The feature 'query-hotpluggable-cpus' is not enabled")
        fails(m.qmp.call, "device_add", driver="rv64-riscv-cpu", id="c1", text="Parameter 'driver' expects a pluggable device type")
        assert "expects a pluggable device type" in m.qmp.hmp("device_add rv64-riscv-cpu,id=c1")


def test_memory():
    with Machine("-m", "64M") as m:
        c = m.qmp
        assert c.call("query-memory-devices") == [] and c.hmp("info memory-devices") == ""
        dev, = c.call("query-memdev")
        assert (dev["id"], dev["size"], dev["policy"]) == ("riscv_virt_board.ram", 64 << 20, "default"), dev
        assert "memory backend: riscv_virt_board.ram\n  size:  67108864\n" in c.hmp("info memdev")
        path = os.path.join(m.dir, "mem")

        def saved():
            with open(path, "rb") as f:
                return f.read()
        c.call("memsave", val=0x1000, size=16, filename=path)
        rom = saved()
        assert len(rom) == 16 and rom != bytes(16)
        c.call("pmemsave", val=0x1000, size=16, filename=path)
        assert saved() == rom
        c.call("pmemsave", val=0x80000000, size=200000, filename=path)
        assert saved()[-4096:] == bytes(4096)
        for cmd in ("memsave", "pmemsave"):
            assert c.hmp(f"{cmd} 0x1000 8 \"{path}\"") == "" and saved() == rom[:8]
            fails(c.call, cmd, val=0x90000000000, size=16, filename=path, text="Invalid addr 0x0000090000000000/size 16 specified")
            fails(c.call, cmd, val=0x1000, size=-1, filename=path, text="Invalid parameter 'size'")
            fails(c.call, cmd, val=0x1000, size=1, filename="/nowhere/x", text="Could not open '/nowhere/x': No such file")
            fails(c.call, cmd, val=0x10000000, size=1, filename=path, text="Invalid addr")      # a device
        fails(c.call, "memsave", val=0x1000, size=1, filename=path, cpu_index=7, text="Parameter 'cpu-index' expects a CPU number")


def test_dirty_rate():
    with Machine("-m", "64M") as m:
        c = m.qmp
        assert c.call("query-dirty-rate")["status"] == "unstarted"
        assert c.hmp("info dirty_rate").endswith("Dirty rate: (not ready)\n")
        for kw, text in (({"calc-time": 0}, "calc-time is out of range[1, 60]."), ({"calc-time": 61}, "out of range"),
                         ({"calc-time": 1, "sample-pages": 127}, "sample-pages is out of range[128, 16384]."),
                         ({"calc-time": 1, "mode": "dirty-ring"}, "mode dirty-ring is not enabled, use other method instead."),
                         ({"calc-time": 1, "mode": "x"}, "does not accept value 'x'")):
            fails(c.call, "calc-dirty-rate", kw, text=text)
        assert "not enabled" in c.hmp("calc_dirty_rate -r 1") and "Either" in c.hmp("calc_dirty_rate -r -b 1")
        assert "[Please use 'info dirty_rate' to check results]" in c.hmp("calc_dirty_rate 1 200")
        v = c.call("query-dirty-rate")
        assert (v["status"], v["sample-pages"], v["mode"], v["calc-time"]) == ("measuring", 200, "page-sampling", 1), v
        fails(c.call, "calc-dirty-rate", calc_time=1, text="already being measured")
        end = time.monotonic() + 60
        while c.call("query-dirty-rate")["status"] == "measuring" and time.monotonic() < end:
            time.sleep(0.1)
        assert c.call("query-dirty-rate")["dirty-rate"] == 0
        assert c.hmp("info dirty_rate").endswith("Dirty rate: 0 (MB/s)\n")
        c.call("calc-dirty-rate", calc_time=60)         # and the machine ends meanwhile


def test_stats():
    with Machine() as m:
        c = m.qmp
        for kw in ({"target": "vm"}, {"target": "vcpu"}, {"target": "vcpu", "vcpus": ["/machine/cpu[0]"]},
                   {"target": "vm", "providers": [{"provider": "kvm", "names": ["x"]}]}):
            assert c.call("query-stats", kw) == []
        assert c.call("query-stats-schemas") == [] == c.call("query-stats-schemas", provider="kvm")
        fails(c.call, "query-stats", target="x", text="does not accept value 'x'")
        fails(c.call, "query-stats", text="Parameter 'target' is missing")
        fails(c.call, "query-stats-schemas", provider="x", text="does not accept value 'x'")
        assert c.hmp("info stats vm") == "" and "invalid stats target" in c.hmp("info stats x")


def test_actions():
    """Each is obeyed: a reset that ends the machine, a power-off that does not."""
    with Machine() as m:
        c = m.qmp
        c.call("set-action", reboot="shutdown", shutdown="pause", panic="none", watchdog="inject-nmi")
        c.call("set-action")
        c.call("watchdog-set-action", action="pause")
        assert c.hmp("watchdog_action none") == "" and "does not accept value 'zz'" in c.hmp("watchdog_action zz")
        for name in ("reboot", "shutdown", "panic", "watchdog"):
            fails(c.call, "set-action", {name: "zz"}, text="does not accept value 'zz'")
        fails(c.call, "watchdog-set-action", action="zz", text="does not accept value 'zz'")
        c.call("cont")
        c.call("system_reset")
        assert c.wait_event("SHUTDOWN")["data"]["reason"] == "host-qmp-system-reset"
        assert c.call("query-status")["status"] == "shutdown"       # -no-shutdown, as it were
        c.call("set-action", reboot="reset")
        c.call("system_reset")
        c.wait_event("RESET")
        fails(c.call, "inject-nmi", text="this feature or command is not currently supported")
        assert "not currently supported" in c.hmp("nmi")
        fails(c.call, "system_wakeup", text="wake-up from suspend is not supported by this guest")
        assert "not supported" in c.hmp("system_wakeup")


def test_balloon():
    with Machine("-m", "64M", "-device", "virtio-balloon-pci") as m:
        c = m.qmp
        assert c.call("query-balloon") == {"actual": 64 << 20} and c.hmp("info balloon") == "balloon: actual=64\n"
        c.call("balloon", value=32 << 20)
        assert c.hmp("balloon 48") == ""
        for bad in (0, -5):
            fails(c.call, "balloon", value=bad, text="Parameter 'target' expects a size")
    with Machine() as m:
        fails(m.qmp.call, "query-balloon", cls="DeviceNotActive", text="No balloon device has been activated")
        fails(m.qmp.call, "balloon", value=1 << 20, cls="DeviceNotActive")
        assert "No balloon device" in m.qmp.hmp("balloon 10") and "No balloon device" in m.qmp.hmp("info balloon")


def test_rx_filter():
    with Machine("-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,id=net0,mac=52:54:00:00:00:07", "-device", "virtio-rng-pci,id=r") as m:
        c = m.qmp
        f, = c.call("query-rx-filter")
        assert [f] == c.call("query-rx-filter", name="net0")
        assert f["main-mac"] == "52:54:00:00:00:07" and f["promiscuous"] and f["broadcast-allowed"] and f["unicast"] == "normal", f
        fails(c.call, "query-rx-filter", name="zz", text="invalid net client name: zz")
        fails(c.call, "query-rx-filter", name="n0", text="net client(n0) isn't a NIC")
        fails(c.call, "query-rx-filter", name="r", text="net client(r) isn't a NIC")
        c.call("announce-self", initial=50, max=550, rounds=5, step=10)
        c.call("announce-self", initial=50, max=550, rounds=5, step=10, interfaces=["net0"], id="x")
        fails(c.call, "announce-self", text="Parameter 'initial' is missing")
        assert c.hmp("announce_self") == "" == c.hmp("announce_self net0,zz x")
    with Machine() as m:
        assert m.qmp.call("query-rx-filter") == []
        fails(m.qmp.call, "query-rx-filter", name="zz", text="invalid net client name: zz")


def test_pci():
    with Machine("-device", "virtio-rng-pci,id=r,addr=2", "-device", "pcie-root-port,id=rp,addr=3", "-device", "nvme,serial=1,bus=rp") as m:
        bus, = m.qmp.call("query-pci")
        host, rng, port = bus["devices"]
        assert host["class_info"] == {"class": 0x600, "desc": "Host bridge"} and host["id"]["vendor"] == 0x1b36, host
        assert rng["qdev_id"] == "r" and rng["slot"] == 2 and rng["irq_pin"] == 1 and rng["id"]["vendor"] == 0x1af4, rng
        assert [r["address"] for r in rng["regions"]] == [-1] * len(rng["regions"]) and rng["regions"]
        assert port["pci_bridge"]["bus"]["secondary"] == 0 and "devices" not in port["pci_bridge"], port
        text = m.qmp.hmp("info pci")
        assert "  Bus  0, device   0, function 0:\n    Host bridge: PCI device 1b36:" in text and '      id "r"\n' in text, text
        assert "      BUS 0.\n      secondary bus 0.\n" in text, text
    with Machine() as m:
        assert len(m.qmp.call("query-pci")[0]["devices"]) == 1


def test_no_display():
    with Machine() as m:
        c = m.qmp
        c.call("send-key", keys=[{"type": "qcode", "data": "a"}, {"type": "number", "data": 30}], hold_time=10)
        c.call("send-key", keys=[])
        fails(c.call, "send-key", keys=[{"type": "qcode", "data": "foo"}], text="does not accept value 'foo'")
        fails(c.call, "send-key", keys=[{"type": "qcode"}], text="is missing")
        key = {"type": "key", "data": {"down": True, "key": {"type": "qcode", "data": "a"}}}
        fails(c.call, "input-send-event", events=[key], text="VM not running")
        fails(c.call, "input-send-event", events=[], device="zz", cls="DeviceNotFound", text="Device 'zz' not found")
        c.call("cont")
        fails(c.call, "input-send-event", events=[key], text="Input handler not found for event type key")
        fails(c.call, "input-send-event", events=[{"type": "abs", "data": {"axis": "x", "value": 1}}], text="event type abs")
        c.call("input-send-event", events=[])
        for line in ("sendkey a", "sendkey ctrl-alt-delete", "sendkey 0x1e", "sendkey a-b-c 100", "mouse_move 1 1", "mouse_button 1"):
            assert c.hmp(line) == "", line
        assert "invalid parameter: foo" in c.hmp("sendkey foo") and "Did you mean 'delete'?" in c.hmp("sendkey ctrl-delet")
        assert "Mouse at index '0' not found" in c.hmp("mouse_set 0")
        path = os.path.join(m.dir, "s")
        fails(c.call, "screendump", filename=path, text="There is no console to take a screendump from")
        fails(c.call, "screendump", filename=path, device="zz", cls="DeviceNotFound", text="Device 'zz' not found")
        fails(c.call, "screendump", filename=path, head=1, text="'head' must be specified together with 'device'")
        fails(c.call, "screendump", filename=path, format="gif", text="does not accept value 'gif'")
        assert not os.path.exists(path) and "no console" in c.hmp(f"screendump {path}")
        assert c.call("query-mice") == [] and c.hmp("info mice") == "No mouse devices connected\n"
        assert c.call("query-vnc") == {"enabled": False} and c.hmp("info vnc") == "None\n"
        assert c.call("query-vnc-servers") == [] and c.call("query-display-options") == {"type": "none"}
        fails(c.call, "set_password", protocol="vnc", password="x", text="Could not set password")
        fails(c.call, "set_password", protocol="vnc", password="x", connected="fail", text="must be 'keep'")
        fails(c.call, "set_password", protocol="spice", password="x", cls="DeviceNotActive", text="SPICE is not in use")
        fails(c.call, "set_password", protocol="foo", password="x", text="Parameter 'protocol' does not accept value 'foo'")
        fails(c.call, "expire_password", protocol="vnc", time="never", text="Could not set password expire time")
        fails(c.call, "expire_password", protocol="spice", time="never", cls="DeviceNotActive")
        fails(c.call, "change-vnc-password", password="x", text="Could not set password")
        assert "Could not set password" in c.hmp("set_password vnc x") and "does not accept" in c.hmp("set_password vnc x foo")
        assert "expire time" in c.hmp("expire_password vnc never")
        fails(c.call, "add_client", protocol="vnc", fdname="x", text="File descriptor named 'x' has not been found")
        for protocol, cls in (("vnc", "GenericError"), ("spice", "DeviceNotActive"), ("zz", "GenericError")):
            r, w = os.pipe()
            c.call("getfd", fdname="x", fds=[w])
            os.close(w)
            fails(c.call, "add_client", protocol=protocol, fdname="x", cls=cls)
            assert os.read(r, 1) == b"", "the descriptor is not closed"
            os.close(r)
        fails(c.call, "client_migrate_info", protocol="spice", hostname="x", cls="DeviceNotActive")
        fails(c.call, "client_migrate_info", protocol="vnc", hostname="x", text="Parameter 'protocol' expects 'spice'")
        assert "USB support not enabled" in c.hmp("info usb") and "USB" in c.hmp("info usbhost")
        assert c.hmp("info tpm") == "" == c.hmp("info capture") and c.hmp("info spice") == "Server: disabled\n"
        assert "no capture 3" in c.hmp("stopcapture 3") and "Audiodev 'foo' not found" in c.hmp("wavcapture /tmp/x foo")


def test_none():
    with Machine("-device", "virtio-serial-pci,id=s", "-chardev", "null,id=c", "-device", "virtserialport,chardev=c,id=p,bus=s.0,name=x") as m:
        c = m.qmp
        assert c.call("query-pr-managers") == [] == c.call("query-tpm") and c.call("query-replay") == {"mode": "none", "icount": 0}
        assert {"name": "socket"} in c.call("query-chardev-backends")
        fails(c.call, "query-vm-generation-id", text="this feature or command is not currently supported")
        fails(c.call, "query-acpi-ospm-status", text="command is not supported, missing ACPI device")
        # an agent's port is open when the agent has opened it
        assert {v["label"]: v["frontend-open"] for v in c.call("query-chardev")}["c"] is False


def test_out_of_band():
    with Machine() as m:
        oob = {n for n, c in m.qmp.schema.commands.items() if c.get("allow-oob")}
        assert {"migrate-pause", "migrate-recover"} <= oob, oob
        m.qmp.send_raw(b'{"exec-oob": "migrate-pause"}\n')
        assert "'exec-oob' is unexpected" in m.qmp.answer()["error"]["desc"]
        m.qmp.close()
        c = m.connect(negotiate=False)
        c.call("qmp_capabilities", enable=["oob"])
        c.send_raw(b'{"exec-oob": "migrate-pause", "id": "o"}\n')
        e = c.answer()
        assert e["id"] == "o" and e["error"]["desc"] == "migrate-pause is currently only supported during postcopy-active state", e
        c.send_raw(b'{"exec-oob": "query-status"}\n')
        assert c.answer()["error"]["desc"] == "The command query-status does not support OOB"
        c.send_raw(b'{"exec-oob": "migrate-pause", "execute": "query-status"}\n')
        assert "clashes" in c.answer()["error"]["desc"]
        fails(c.call, "migrate-recover", uri="unix:/x", text="Migrate recover can only be run when postcopy is paused.")
        fails(c.call, "migrate-start-postcopy", text="Enable postcopy with migrate_set_capability")
        fails(c.call, "migrate-continue", state="pre-switchover", text="Migration not in expected state: none")
        for line in ("migrate_pause", "migrate_recover unix:/x", "migrate_start_postcopy", "migrate_continue device"):
            assert c.hmp(line).startswith("Error: "), line


if __name__ == "__main__":
    main([test_cpu_models, test_cpu_plug, test_memory, test_dirty_rate, test_stats, test_actions, test_balloon, test_rx_filter, test_pci,
          test_no_display, test_none, test_out_of_band])
