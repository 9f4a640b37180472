# SPDX-License-Identifier: MIT
"""More operations of random-commands: rarer devices, media, what happens on what, clients of exports and of the debugger's stub,
the console's lines. See random_ops.py for what an operation is."""
import os
import socket
import subprocess

from client import BUILD

IO = os.path.join(BUILD, "lyre-io")
MIB = 1 << 20
KINDS = ("i6300esb", "pvpanic-pci", "virtio-9p-pci", "virtio-console", "x3130-upstream", "nvme-ns", "virtio-rng-pci-transitional",
         "virtio-net-pci-non-transitional", "pcie-pci-bridge")
LINES = ("info mtree -f", "x/4i $pc", "x/2gx $sp", "xp/8xw 0x80000000", "print $pc+4", "sum 0x80000000 4096", "log none", "info registers -a",
         "info snapshots", "info block -v", "info block -n", "info tlb", "info mem", "gpa2hva 0x80000000", "gva2gpa 0x80000000", "cpu 1", "cpu 0",
         "i/w 0x10", "trace-event nothing on", "help device_add", "info roms", "sendkey a", "boot_set n", "announce_self", "info nothing", "xp/c 0",
         "print 1/0", "xp/1000000000b 0", "x/s 0", "qom-list /", "info qom-tree", "device_add help", "singlestep on", "singlestep off")


class MoreOps:
    # ---- devices

    def op_plug_more(self):
        kind, port = self.rng.choice(KINDS), self.free_port()
        if port is None:
            return
        args, may = {"driver": kind, "bus": f"rp{port}"}, self.BUSY + "|only|cannot|not fit|does not|while the machine runs"
        if kind == "x3130-upstream":
            up = self.plug(args, may, port=port)
            down = up and self.plug({"driver": "xio3130-downstream", "bus": up, "chassis": self.serial % 200 + 20, "slot": 1}, may, on=up)
            if down:
                self.plug({"driver": "virtio-rng-pci", "bus": down}, may, on=down)
        elif kind == "nvme-ns":
            node, top = self.pick(self.nodes), self.plug({"driver": "nvme", "bus": f"rp{port}", "serial": "n"}, may, port=port)
            if top and node:
                self.plug({"driver": "nvme-ns", "bus": top, "drive": node, "nsid": self.rng.randint(1, 3)}, may + "|write|namespace|size|bus|medium",
                          on=top, node=node)
        elif kind == "virtio-console":
            top, chardev = self.plug(dict(args, driver="virtio-serial-pci", max_ports=3), may, port=port), self.pick(self.chardevs)
            if top and chardev:
                self.plug({"driver": "virtconsole", "bus": top + ".0", "chardev": chardev}, may, on=top)
        elif kind == "pcie-pci-bridge":
            top = self.plug(args, may, port=port)
            if top:
                self.plug({"driver": "virtio-balloon-pci", "bus": top, "addr": "2"}, may + "|balloon|bus|slot", on=top)
        elif kind == "virtio-9p-pci":
            self.plug(dict(args, fsdev="share", mount_tag="share"), may, port=port)
        elif kind == "virtio-net-pci-non-transitional":
            net = self.pick(self.netdevs)
            if net:
                self.plug(dict(args, netdev=net), may, port=port, netdev=net)
        else:
            self.plug(args, may, port=port)

    # ---- disks

    def op_medium(self):
        d, n = self.pick(d for d, k in self.devices.items() if k.get("node")), self.pick(self.nodes)
        if not d or not n:
            return
        may = self.BUSY + "|removable|[Tt]ray|medium|not have|inserted|is open|block size|cannot|does not|locked"
        what = self.rng.choice(("eject", "insert", "change", "line"))
        if what == "eject":
            self.do("eject", {"id": d, "force": self.flip()}, may)
        elif what == "insert":
            self.do("blockdev-insert-medium", {"id": d, "node-name": n}, may)
        elif what == "change":
            self.do("blockdev-change-medium", {"id": d, "filename": self.images[3][0], "format": "raw", "read-only-mode": "read-only"}, may)
        else:
            self.hmp(f"eject -f {d}", may + "|not found|find")

    def op_drive_backup(self):
        n = self.pick(self.nodes)
        if n:
            path = os.path.join(self.dir, f"backup{self.rng.randrange(2)}")
            self.start("drive-backup", {"device": n, "target": path, "sync": self.rng.choice(("full", "top", "none")),
                                        "format": self.rng.choice(("raw", "qcow2"))})

    def op_snapshot_sync(self):
        n = self.pick(self.nodes)
        if n and len(self.nodes) < 20:
            path, over = os.path.join(self.dir, f"over{self.serial}"), self.name("n")
            # It belongs to who uses the disk: with nobody there it is gone at once.
            self.do("blockdev-snapshot-sync", {"node-name": n, "snapshot-file": path, "snapshot-node-name": over, "format": "qcow2"},
                    self.JOB_MAY + "|overlay")

    def op_snapshot_internal(self):
        n = self.pick(self.nodes)
        if n:
            verb = self.rng.choice(("", "delete-"))
            self.do(f"blockdev-snapshot-{verb}internal-sync", {"device": n, "name": self.rng.choice("xy")}, self.JOB_MAY + "|snapshot|Snapshot|read only")

    def op_change_backing(self):
        """Another name for the same: any other would make an image that cannot be opened."""
        n = self.pick(self.nodes)
        names = [x["backing_file"] for x in self.c.call("query-named-block-nodes", flat=True) if x.get("node-name") == n and x.get("backing_file")]
        if names:
            self.do("change-backing-file", {"device": n, "image-node-name": n, "backing-file": names[0]}, self.JOB_MAY + "|not find")

    def op_watch_node(self):
        n, d = self.pick(self.nodes), self.pick(d for d, k in self.devices.items() if k.get("node"))
        if n:
            self.do("block-set-write-threshold", {"node-name": n, "write-threshold": self.rng.choice((0, MIB))}, self.BUSY + "|support")
        if d:
            self.do("block-latency-histogram-set", {"id": d, **({"boundaries": [10, 100]} if self.flip() else {})}, self.BUSY + "|medium")
            self.hmp(f"qemu-io {self.devices[d]['node']} \"{self.rng.choice(('read', 'write -z', 'discard'))} 0 64k\"", ".")

    def op_export_use(self):
        """Somebody reads and writes an export; it may vanish under him."""
        x = self.pick(self.exports)
        self.clients = [p for p in self.clients if p.poll() is None]
        if not x or len(self.clients) > 2 or self.flip():
            return
        what = self.rng.choice((["read 0 1M", "read 1M 512k"], ["write 0 64k", "flush"], ["map"], ["read 0 512"] * 20))
        self.m.note("export client", [x, what])
        args = [IO, "-f", "raw"] + ([] if "write" in what[0] else ["-r"]) + [a for c in what for a in ("-c", c)]
        self.clients.append(subprocess.Popen([*args, f"nbd+unix:///{x}?socket={os.path.join(self.dir, 'nbd')}"], stdin=subprocess.DEVNULL,
                                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def end_clients(self):
        for p in self.clients:
            p.kill()
            p.wait()
        self.clients = []

    # ---- the machine

    def op_set_action(self):
        self.do("set-action", {k: self.rng.choice(v) for k, v in (
            ("reboot", ("reset", "shutdown")), ("shutdown", ("pause",)), ("panic", ("pause", "none", "shutdown")),
            ("watchdog", ("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"))) if self.flip()}, self.BUSY + "|support|not|cannot")
        self.do("watchdog-set-action", {"action": self.rng.choice(("reset", "pause", "none"))}, self.BUSY + "|support")

    def op_save_memory(self):
        path = os.path.join(self.dir, "saved")
        self.do("pmemsave", {"val": 0x80000000, "size": self.rng.choice((1, 4096, MIB)), "filename": path}, self.BUSY)
        self.do("memsave", {"val": 0x80000000, "size": 4096, "filename": path, "cpu-index": self.rng.randrange(2)}, self.BUSY + "|addr|[Mm]emory|CPU")

    def op_dirty_rate(self):
        if self.flip(0.2):
            self.do("calc-dirty-rate", {"calc-time": 1, **({"mode": self.rng.choice(("page-sampling", "dirty-bitmap"))} if self.flip() else {})},
                    self.BUSY + "|measur|rate|migrat|not enabled")
        self.do("query-dirty-rate")

    def op_balloon(self):
        self.do("balloon", {"value": self.rng.choice((8, 16, 32)) * MIB}, self.BUSY + "|balloon|No |size")
        d = self.pick(self.devices)
        if d:
            self.do("qom-set", {"path": d, "property": "guest-stats-polling-interval", "value": self.rng.randrange(3)}, ".")

    def op_qom_set(self):
        o = self.pick(self.objects)
        if o and self.objects[o] == "throttle-group":
            self.do("qom-set", {"path": o, "property": "limits", "value": {"iops-total": self.rng.choice((0, 10, 5000))}}, self.BUSY + "|propert")
        elif o and self.objects[o] == "iothread":
            self.do("qom-set", {"path": o, "property": "poll-max-ns", "value": self.rng.choice((0, 1000))}, self.BUSY + "|propert|support")

    def op_announce(self):
        self.do("announce-self", {"initial": 1, "max": 2, "rounds": 2, "step": 1}, self.BUSY)
        self.do("query-stats", {"target": self.rng.choice(("vm", "vcpu"))}, ".")
        self.do("send-key", {"keys": [{"type": "qcode", "data": "a"}]}, ".")

    def op_lines(self):
        self.hmp(self.rng.choice(LINES), ".")
    op_lines2 = op_lines

    def op_debugger(self):
        """Somebody looks on by the stub: it stops the machine, and lets it go on or just vanishes."""
        if not self.flip(0.2):
            return
        path = os.path.join(self.dir, "gdb")
        self.hmp(f"gdbserver unix:{path},server=on,wait=off", ".")
        self.steered = True
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(20)
        try:
            s.connect(path)
            for _ in range(self.rng.randint(1, 6)):
                body = self.rng.choice((b"?", b"g", b"m80000000,40", b"vCont;c", b"vCont;s:1", b"Z0,80000010,4", b"z0,80000010,4", b"Z2,80100000,8", b"qXfer:features:read:target.xml:0,800",
                                        b"D", b"vMustReplyEmpty", b"qRcmd,696e666f206a6974", b"Hg0", b"T1", b"qfThreadInfo", b"X80100000,2:ab"))
                s.sendall(b"$" + body + b"#%02x" % (sum(body) & 255))
                if self.flip():
                    s.settimeout(0.05)
                    s.recv(4096)
                if self.flip(0.2):
                    s.sendall(b"\x03")
        except OSError as e:
            self.m.note(f"  {e}")
        s.close()
        if self.flip():
            self.hmp("gdbserver none", ".")
