# SPDX-License-Identifier: MIT
"""The operations of random-commands: each does one valid thing to a running machine, and notes in the model what must hold now.

An operation calls `self.do(command, ..)`: errors that it names by `may` are fine, others end the run. Commands that the
schema does not have are not tried. Nothing here waits for the guest: what it answers later comes as an event (`on_event`).
"""
import os
import re
import subprocess

from client import BUILD, QmpError
from random_more import MoreOps

IMG = os.path.join(BUILD, "lyre-img")
MIB = 1 << 20
PORTS = 6
IMAGES = 8
# What any command may answer while something else goes on with its subject.
BUSY = (r"in use|busy|is used|node '.*' is|locked|[Cc]onflict|not allowed|permission|still has|in the process of|"
        r"is being|already|read-only|[Pp]ermission|in turn|another|dump in process")


class Failure(Exception):
    """What must not be, in a sentence."""


class Ops(MoreOps):
    BUSY = BUSY

    def __init__(self, m, rng, folder, guest):
        self.m, self.c, self.rng, self.dir, self.guest = m, m.qmp, rng, folder, guest
        self.have = set(self.c.schema.commands)
        self.serial = 0
        self.nodes, self.devices, self.going = {}, {}, set()
        self.objects, self.netdevs, self.chardevs, self.jobs = {}, {}, {}, {}
        self.bitmaps, self.snapshots, self.exports = set(), set(), set()
        self.nbd = False
        self.images = [self.make_image(i) for i in range(IMAGES)]
        self.errors, self.done = {}, {}
        self.clients = []               # of exports: processes
        self.doubt = set()              # names of what another monitor may have deleted
        self.steered = False            # by another monitor too: nobody knows whether it runs
        self.ops = sorted(n[3:] for n in dir(self) if n.startswith("op_"))

    # ---- what operations are made of

    def make_image(self, i):
        path = os.path.join(self.dir, f"image{i}")
        form = "raw" if i % 4 == 3 else "qcow2"
        args = [] if form == "raw" else ["-o", "cluster_size=" + self.rng.choice(("4k", "64k"))]
        subprocess.run([IMG, "create", "-q", "-f", form, *args, path, "4M"], check=True)
        return path, form

    def name(self, prefix):
        self.serial += 1
        return f"{prefix}{self.serial}"

    def pick(self, of):
        of = sorted(x for x in of if self.nodes.get(x, {}).get("kind") != "proto")       # who writes there breaks the format
        return self.rng.choice(of) if of else None

    def flip(self, p=0.5):
        return self.rng.random() < p

    def do(self, command, args=None, may=BUSY, fds=()):
        """Its answer; None: it was refused in a way that is fine."""
        if command not in self.have:
            return None
        self.m.note(command, args)
        try:
            ret = self.c.call(command, args or {}, fds=fds)
            self.done[command] = self.done.get(command, 0) + 1
            return ret
        except QmpError as e:
            key = command + ": " + re.sub(r"\d+", "N", e.desc)
            self.errors[key] = self.errors.get(key, 0) + 1
            self.m.note("  " + str(e))
            # Also a bus of what may be gone, which is called ID.0.
            if any(f"'{x}{end}" in f"{args} {e.desc}" for x in list(self.doubt) for end in "'.") or \
                    self.doubt and re.search("not found|cannot find|race", e.desc):
                return None
            if not re.search(may, e.desc) and e.cls not in ("DeviceNotFound", "DeviceNotActive"):
                raise Failure(f"{command} {args}: {e}") from e
            return None

    def hmp(self, line, may=BUSY):
        self.m.note("hmp", line)
        said = self.c.hmp(line)
        self.done["hmp " + line.split()[0]] = self.done.get("hmp " + line.split()[0], 0) + 1
        if said.startswith("Error"):
            key = f"hmp {line.split()[0]}: " + re.sub(r"\d+", "N", said.strip())
            self.errors[key] = self.errors.get(key, 0) + 1
            if not re.search(may, said):
                raise Failure(f"{line}: {said}")
        return said

    def take_events(self):
        for e in self.c.events:
            self.c.schema.check_event(e)
            self.m.note("  event " + e["event"], e.get("data"))
            self.on_event(e["event"], e.get("data", {}))
        self.c.events.clear()

    def on_event(self, name, data):
        if name == "DEVICE_DELETED" and "device" in data:
            gone = data["device"]
            if gone not in self.devices:
                raise Failure(f"DEVICE_DELETED of {gone}, which was not there")
            if not self.leaving(gone):
                raise Failure(f"DEVICE_DELETED of {gone}, which nobody unplugged")
            self.going.discard(gone)
            del self.devices[gone]
        elif name == "JOB_STATUS_CHANGE" and data["status"] == "null":
            self.jobs.pop(data["id"], None)

    def believe(self, listed):
        """After others have deleted things: what is listed is there."""
        nets = self.c.hmp("info network")
        self.netdevs = {n: k for n, k in self.netdevs.items() if n not in self.doubt or f"{n}:" in nets}
        self.exports &= {x["id"] for x in self.c.call("query-block-exports")}
        for x in self.doubt:
            for have, kind in ((self.objects, "objects"), (self.devices, "devices"), (self.chardevs, "chardevs"), (self.nodes, "nodes")):
                if x in have and x not in listed[kind]:
                    del have[x]
        self.bitmaps = {b for b in self.bitmaps if b[0] in self.nodes}
        self.doubt.clear()

    def leaving(self, d):
        """Was it, or what it is plugged into, unplugged?"""
        on = self.devices[d].get("on") if d in self.devices else None
        return d in self.going or d not in self.devices or bool(on) and self.leaving(on)

    # ---- nodes

    def free_images(self):
        used = {n["image"] for n in self.nodes.values()}
        return [i for i in self.images if i[0] not in used]

    def add_node(self, kind, image, args, may=""):
        name = args.setdefault("node-name", self.name("n"))
        if self.do("blockdev-add", args, BUSY + may) is not None:
            self.nodes[name] = {"kind": kind, "image": image}
            return name
        return None

    def op_node_null(self):
        self.add_node("null", None, {"driver": self.rng.choice(("null-co", "null-aio")), "size": self.rng.choice((1, 4, 64)) * MIB,
                                     "read-zeroes": True, "read-only": self.flip(0.2)})

    def op_node_file(self):
        images = self.free_images()
        if not images or len(self.nodes) > 20:
            return None
        path, form = self.rng.choice(images)
        args = {"driver": form, "file": {"driver": "file", "filename": path}}
        if self.flip(0.3):
            args["read-only"] = self.flip()
        if self.flip(0.3):
            args["detect-zeroes"] = self.rng.choice(("off", "on"))
            args["discard"] = self.rng.choice(("unmap", "ignore"))
        if self.flip(0.3):
            args["cache"] = {"direct": self.flip(0.2), "no-flush": self.flip()}
        if form == "qcow2":
            args.update({"backing": None} if self.flip(0.2) else {}, **({"lazy-refcounts": True} if self.flip(0.2) else {}))
        return self.add_node("file", path, args)

    def op_node_split(self):
        """The protocol's node by itself, then the format's on it."""
        images = self.free_images()
        if not images:
            return
        path, form = self.rng.choice(images)
        below = self.add_node("proto", path, {"driver": "file", "filename": path})
        if below:
            self.add_node("file", path, {"driver": form, "file": below})

    def op_node_filter(self):
        on = self.pick(self.nodes)
        kind = self.rng.choice(("copy-on-read", "throttle", "compress", "raw", "preallocate"))
        if not on:
            return
        args = {"driver": kind, "file": on}
        if kind == "throttle":
            group = self.pick(o for o, k in self.objects.items() if k == "throttle-group")
            if not group:
                return
            args["throttle-group"] = group
        self.add_node("filter", None, args, "|not supported for")

    def op_node_del(self):
        n = self.rng.choice(sorted(self.nodes)) if self.nodes else None
        if n and self.do("blockdev-del", {"node-name": n}) is not None:
            self.node_gone(n)

    def node_gone(self, n):
        del self.nodes[n]
        self.bitmaps = {b for b in self.bitmaps if b[0] != n}

    def op_node_reopen(self):
        n = self.pick(self.nodes)
        if n and self.nodes[n]["kind"] == "file":
            path = self.nodes[n]["image"]
            form = dict(self.images).get(path)
            self.do("blockdev-reopen", {"options": [{"driver": form, "node-name": n, "read-only": self.flip(0.3), "file": {
                "driver": "file", "filename": path}, "cache": {"no-flush": self.flip()}}]}, BUSY + "|cannot|Cannot|reopen|change|missing")

    def op_resize(self):
        n = self.pick(self.nodes)
        if n:
            self.do("block_resize", {"node-name": n, "size": self.rng.choice((1, 4, 5, 8, 16)) * MIB}, BUSY + "|shrink|resiz|support|grow|smaller")

    def op_overlay(self):
        n, over = self.pick(self.nodes), self.pick(self.nodes)
        if n and over and n != over:
            self.do("blockdev-snapshot", {"node": n, "overlay": over}, BUSY + "|backing|overlay|itself|below|format|loop|cycle")

    def op_io_throttle(self):
        d = self.pick(d for d, k in self.devices.items() if k.get("node"))
        if d:
            iops = self.rng.choice((0, 0, 50, 1000))
            self.do("block_set_io_throttle", {"id": d, "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": iops, "iops_rd": 0, "iops_wr": 0},
                    BUSY + "|has no medium|no medium|is going")

    # ---- jobs and bitmaps

    def job_args(self, name):
        a = {"job-id": name}
        if self.flip(0.3):
            a["auto-dismiss"] = False
        if self.flip(0.2):
            a["auto-finalize"] = False
        if self.flip(0.3):
            a["speed"] = self.rng.choice((0, 65536, MIB))
        return a

    JOB_MAY = BUSY + (r"|same|bytes|itself|backing|below|base|chain|size|larger|smaller|not supported|cannot|Cannot|bitmap|image|no medium|"
                      "needs|format|loop|writ|zero")

    def start(self, command, args):
        if len(self.jobs) > 12:
            return
        a = dict(self.job_args(self.name("j")), **args)
        self.take_events()
        self.jobs[a["job-id"]] = {"dismiss": a.get("auto-dismiss", True), "args": a}
        if self.do(command, a, self.JOB_MAY) is None:
            self.jobs.pop(a["job-id"], None)

    def op_job_mirror(self):
        n, t = self.pick(self.nodes), self.pick(self.nodes)
        if n and t and n != t:
            self.start("blockdev-mirror", {"device": n, "target": t, "sync": self.rng.choice(("full", "top", "none")),
                                           **({"copy-mode": "write-blocking"} if self.flip(0.3) else {})})

    def op_job_backup(self):
        n, t, b = self.pick(self.nodes), self.pick(self.nodes), self.pick(self.bitmaps)
        if n and t and n != t:
            self.start("blockdev-backup", {"device": n, "target": t, "sync": self.rng.choice(("full", "top", "none"))})
        if b and t and self.flip():
            sync = self.rng.choice(("incremental", "bitmap"))
            mode = "on-success" if sync == "incremental" else self.rng.choice(("on-success", "never", "always"))
            self.start("blockdev-backup", {"device": b[0], "target": t, "sync": sync, "bitmap": b[1], "bitmap-mode": mode})

    def op_job_stream(self):
        n, b = self.pick(self.nodes), self.pick(self.nodes)
        if n:
            self.start("block-stream", {"device": n, **({"base-node": b} if self.flip(0.3) else {})})

    def op_job_commit(self):
        n, b = self.pick(self.nodes), self.pick(self.nodes)
        if n:
            self.start("block-commit", {"device": n, **({"base-node": b} if self.flip(0.3) else {})})

    def op_job_create(self):
        if len(self.jobs) > 12:
            return
        i, name = self.rng.randrange(3), self.name("c")
        path = os.path.join(self.dir, f"created{i}")
        self.jobs[name] = {"dismiss": False, "args": {}}
        if self.do("blockdev-create", {"job-id": name, "options": {"driver": "file", "filename": path, "size": self.rng.choice((0, MIB))}}) is None:
            del self.jobs[name]

    def op_job_control(self):
        j = self.pick(self.jobs)
        verb = self.rng.choice(("job-pause", "job-resume", "job-cancel", "job-complete", "job-finalize", "job-dismiss"))
        if j:
            self.do(verb, {"id": j}, BUSY + "|not found|cannot accept|can't|cannot|Cannot|not paused|state|not ready")
        if j and self.flip(0.3):
            verb = self.rng.choice(("pause", "resume", "cancel", "complete"))
            self.do(f"block-job-{verb}", {"device": j}, BUSY + "|cannot accept|cannot|paused|state|not ready|can't")
            self.do("block-job-set-speed", {"device": j, "speed": self.rng.choice((0, 4096, MIB))}, BUSY + "|cannot accept|cannot|state")
    op_job_control2 = op_job_control3 = op_job_control

    def op_bitmap_add(self):
        n = self.pick(self.nodes)
        if n and len(self.bitmaps) < 10:
            b = (n, self.name("b"))
            if self.do("block-dirty-bitmap-add", {"node": n, "name": b[1], "persistent": self.flip(0.4), "disabled": self.flip(0.2),
                                                  **({"granularity": 4096} if self.flip() else {})},
                       BUSY + "|persistent|store|bitmaps|support") is not None:
                self.bitmaps.add(b)

    def op_bitmap_change(self):
        b, o = self.pick(self.bitmaps), self.pick(self.bitmaps)
        if not b:
            return
        verb = self.rng.choice(("remove", "clear", "enable", "disable", "merge"))
        args = {"node": b[0], "name": b[1]}
        if verb == "merge":
            args = {"node": b[0], "target": b[1], "bitmaps": [{"node": o[0], "name": o[1]}]}
        if self.do(f"block-dirty-bitmap-{verb}", args, BUSY + "|not found|size|granularity|thread|itself|readonly|merge") is not None and verb == "remove":
            self.bitmaps.discard(b)

    def op_transaction(self):
        actions, made = [], set()
        for _ in range(self.rng.randint(1, 4)):
            b, n, o = self.pick(self.bitmaps), self.pick(self.nodes), self.pick(self.nodes)
            kind = self.rng.choice(("add", "clear", "enable", "disable", "merge", "overlay", "backup", "abort"))
            if kind == "add" and n:
                made.add((n, self.name("b")))
                actions.append(("block-dirty-bitmap-add", {"node": n, "name": f"b{self.serial}"}))
            elif kind in ("clear", "enable", "disable") and b:
                actions.append((f"block-dirty-bitmap-{kind}", {"node": b[0], "name": b[1]}))
            elif kind == "merge" and b:
                actions.append(("block-dirty-bitmap-merge", {"node": b[0], "target": b[1], "bitmaps": [b[1]]}))
            elif kind == "overlay" and n and o and n != o and self.flip(0.3):
                actions.append(("blockdev-snapshot", {"node": n, "overlay": o}))
            elif kind == "backup" and n and o and n != o and len(self.jobs) < 8:
                name = self.name("j")
                self.jobs[name] = {"dismiss": True, "args": {}}
                actions.append(("blockdev-backup", {"job-id": name, "device": n, "target": o, "sync": "full"}))
            elif kind == "abort" and self.flip(0.3):
                actions.append(("abort", {}))
        if not actions:
            return
        args = {"actions": [{"type": t, "data": d} for t, d in actions]}
        if self.flip(0.2):
            args["properties"] = {"completion-mode": "grouped"}
        if self.do("transaction", args, self.JOB_MAY + "|abort|Abort|not found|completion-mode") is not None:
            self.bitmaps |= made
        else:
            for t, d in actions:
                self.jobs.pop(d.get("job-id"), None)

    # ---- devices

    def free_port(self):
        used = {d.get("port") for d in self.devices.values()}
        ports = [p for p in range(PORTS) if p not in used]
        return self.rng.choice(ports) if ports else None

    def plug(self, args, may=BUSY, **facts):
        name = args.setdefault("id", self.name("d"))
        # It may go as soon as it came, when the slot has no power: the event must find it.
        self.devices[name] = facts
        if self.do("device_add", args, may) is None:
            self.devices.pop(name, None)
            return None
        return name

    def op_plug_disk(self):
        port, node = self.free_port(), self.pick(self.nodes)
        kind = self.rng.choice(("virtio-blk-pci", "nvme", "virtio-scsi-pci"))
        if port is None or not node:
            return
        args = {"driver": kind, "bus": f"rp{port}"}
        thread = self.pick(o for o, k in self.objects.items() if k == "iothread")
        if thread and kind != "nvme" and self.flip():
            args["iothread"] = thread
        may = BUSY + "|write|size|thread|block size|no medium|multiple"
        if kind == "virtio-scsi-pci":
            top = self.plug(args, may, port=port)
            if top:
                self.plug({"driver": self.rng.choice(("scsi-hd", "scsi-cd")), "bus": top + ".0", "drive": node}, may, on=top, node=node)
            return
        args["drive"] = node
        if kind == "nvme":
            args["serial"] = "s"
        elif self.flip(0.2):
            args["share-rw"] = True
        self.plug(args, may, port=port, node=node)

    def op_plug_nic(self):
        port, net = self.free_port(), self.pick(self.netdevs)
        if port is not None and net:
            self.plug({"driver": "virtio-net-pci", "bus": f"rp{port}", "netdev": net}, port=port, netdev=net)

    def op_plug_other(self):
        port = self.free_port()
        kind = self.rng.choice(("virtio-rng-pci", "virtio-serial-pci", "virtio-balloon-pci", "pci-bridge", "edu"))
        if port is None:
            return
        args = {"driver": kind, "bus": f"rp{port}"}
        rng = self.pick(o for o, k in self.objects.items() if k == "rng-random")
        if kind == "pci-bridge":
            args["chassis_nr"] = 9
        if kind == "virtio-rng-pci" and rng:
            args["rng"] = rng
        may = BUSY + "|one balloon|does not|cannot|only"
        top = self.plug(args, may, port=port)
        chardev = self.pick(self.chardevs)
        if top and kind == "virtio-serial-pci" and chardev:
            self.plug({"driver": "virtserialport", "bus": top + ".0", "chardev": chardev, "name": "org.x"}, may, on=top)

    def op_unplug(self):
        d = self.pick(self.devices)
        if d:
            self.going.add(d)
            self.do("device_del", {"id": d}, BUSY + "|unplug|not found|process|removed with")
    op_unplug2 = op_unplug

    # ---- objects, networks, characters

    def op_object_add(self):
        kind = self.rng.choice(("iothread", "secret", "throttle-group", "rng-random", "filter-dump"))
        args = {"qom-type": kind, "id": self.name("o")}
        if len(self.objects) > 8:
            return
        if kind == "filter-dump":
            net = self.pick(self.netdevs)
            if not net:
                return
            args.update(netdev=net, file=os.path.join(self.dir, "capture"))
        args.update({"secret": {"data": "x"}, "throttle-group": {
            "limits": {"iops-total": self.rng.choice((0, 100, 10000))}}}.get(kind, {}))
        if self.do("object-add", args, BUSY) is not None:
            self.objects[args["id"]] = kind

    def op_object_del(self):
        o = self.pick(self.objects)
        if o and self.do("object-del", {"id": o}) is not None:
            del self.objects[o]

    def op_netdev_add(self):
        kind = self.rng.choice(("user", "user", "hubport", "dgram", "stream"))
        args = {"type": kind, "id": self.name("e")}
        if len(self.netdevs) > 6:
            return
        sock = os.path.join(self.dir, args["id"])
        args.update({"user": {"hostfwd": [{"str": f"unix:{sock}-:22"}]} if self.flip(0.2) else {}, "hubport": {"hubid": self.rng.randrange(2)},
                     "dgram": {"local": {"type": "unix", "path": sock}, "remote": {"type": "unix", "path": sock + "r"}},
                     "stream": {"server": True, "addr": {"type": "unix", "path": sock}}}[kind])
        if self.do("netdev_add", args, BUSY + "|zero|port") is not None:
            self.netdevs[args["id"]] = kind

    def op_netdev_del(self):
        n = self.pick(self.netdevs)
        if n and self.do("netdev_del", {"id": n}) is not None:
            del self.netdevs[n]
            # A filter goes with what it filters.
            listed = {p["name"] for p in self.c.call("qom-list", path="/objects")}
            self.objects = {o: k for o, k in self.objects.items() if k != "filter-dump" or o in listed}

    def op_set_link(self):
        n = self.pick(list(self.netdevs) + [d for d, k in self.devices.items() if k.get("netdev")])
        if n:
            self.do("set_link", {"name": n, "up": self.flip()})

    def op_chardev_add(self):
        kind, name = self.rng.choice(("null", "ringbuf", "socket", "file", "pty", "pipe", "udp")), self.name("x")
        data = {"ringbuf": {"size": 4096}, "file": {"out": os.path.join(self.dir, "chars")},
                "socket": {"server": True, "wait": False, "addr": {"type": "unix", "data": {"path": os.path.join(self.dir, name)}}},
                "udp": {"remote": {"type": "inet", "data": {"host": "127.0.0.1", "port": "9"}}}}.get(kind, {})
        if kind == "pipe" or len(self.chardevs) > 6:
            return
        if self.do("chardev-add", {"id": name, "backend": {"type": kind, "data": data}}) is not None:
            self.chardevs[name] = kind

    def op_chardev_use(self):
        x = self.pick(self.chardevs)
        if not x:
            return
        if self.chardevs[x] == "ringbuf":
            self.do("ringbuf-write", {"device": x, "data": "hello" * self.rng.randint(1, 2000)})
            self.do("ringbuf-read", {"device": x, "size": self.rng.choice((1, 100, 65536))})
        self.do("chardev-send-break", {"id": x}, BUSY + "|not|no device")
        if self.flip(0.3) and self.do("chardev-change", {"id": x, "backend": {"type": "null", "data": {}}}, BUSY + "|support|change|not") is not None:
            self.chardevs[x] = "null"

    def op_chardev_del(self):
        x = self.pick(self.chardevs)
        if x and self.do("chardev-remove", {"id": x}) is not None:
            del self.chardevs[x]

    def op_fds(self):
        r, w = os.pipe()
        try:
            self.do("getfd", {"fdname": "f"}, fds=[r])
            self.do("closefd", {"fdname": "f"})
            s = self.do("add-fd", {}, fds=[w])
            self.do("query-fdsets")
            self.do("remove-fd", {"fdset-id": s["fdset-id"]})
        finally:
            os.close(r)
            os.close(w)

    # ---- the machine

    def op_stop(self):
        if self.do("stop") is not None and not self.steered:
            status = self.c.call("query-status")
            if status["running"]:
                raise Failure(f"stop, and it is {status}")

    def op_cont(self):
        if self.do("cont", may="Resetting|required|in the middle|[Mm]igrat|wait|cannot have permission|is read-only|Failed to get .* lock") is not None:
            status = self.c.call("query-status")
            moving = (self.do("query-migrate") or {}).get("status") in ("setup", "active", "device", "completed")
            if not self.steered and not moving and not status["running"] and status["status"] not in ("shutdown", "guest-panicked", "io-error", "postmigrate",
                                                                                       "finish-migrate"):
                raise Failure(f"cont, and it is {status}")
    op_cont2 = op_cont3 = op_cont

    def op_reset(self):
        if self.flip(0.3 if self.guest else 1):
            self.do("system_reset")

    def op_powerdown(self):
        self.do("system_powerdown")

    def op_nmi(self):
        self.do("inject-nmi", may="NMI|nmi|support|not")

    def op_savevm(self):
        if self.guest and not self.flip(0.3):
            return
        name = self.rng.choice(("s1", "s2", "s3"))
        verb = self.rng.choice(("savevm", "savevm", "loadvm", "loadvm", "delvm"))
        said = self.hmp(f"{verb} {name}", self.SNAP)
        if not said.startswith("Error"):
            {"savevm": self.snapshots.add, "delvm": self.snapshots.discard, "loadvm": lambda n: None}[verb](name)
        if verb == "loadvm" and said.startswith("Error"):
            self.do("system_reset")

    SNAP = BUSY + (r"|snapshot|Snapshot|device|state|disk|not saved|has no|no disk|migrat|job|mounted|enabled|cannot be|plugged|section|machine")

    def op_snapshot_job(self):
        kind = self.rng.choice(("save", "load", "delete"))
        n = self.pick(n for n, k in self.nodes.items() if k["kind"] == "file")
        if not n or f"snapshot-{kind}" not in self.have:
            return
        name = self.name("j")
        args = {"job-id": name, "tag": self.rng.choice(("t1", "t2")), "devices": [n]}
        if kind != "delete":
            args["vmstate"] = n
        self.jobs[name] = {"dismiss": False, "args": {}}
        if kind == "load":
            self.do("stop")
        if self.do(f"snapshot-{kind}", args, self.SNAP) is None:
            self.jobs.pop(name, None)

    def op_migrate(self):
        path = os.path.join(self.dir, "stream")
        if self.guest and not self.flip(0.3):
            return
        self.do("migrate-set-capabilities", {"capabilities": [{"capability": "events", "state": self.flip()}]}, BUSY + "|migrat")
        self.do("migrate-set-parameters", {"max-bandwidth": self.rng.choice((0, MIB, 100 * MIB)), "downtime-limit": self.rng.choice((1, 300))},
                BUSY + "|migrat")
        if self.do("migrate", {"uri": self.rng.choice((f"file:{path}", f"exec:cat >{path}", "exec:true", f"unix:{self.dir}/nobody"))},
                   self.SNAP + "|connect|No such|write|Broken|pipe") is not None and self.flip(0.3):
            self.do("migrate_cancel")

    def op_migrate_cancel(self):
        self.do("migrate_cancel")
        self.do("query-migrate")

    def op_dump(self):
        if self.flip(0.2):
            self.do("dump-guest-memory", {"paging": False, "protocol": f"file:{self.dir}/dump", **({"detach": True} if self.flip() else {})},
                    BUSY + "|dump|migrat")

    def op_nbd(self):
        if not self.nbd:
            ok = self.do("nbd-server-start", {"addr": {"type": "unix", "data": {"path": os.path.join(self.dir, "nbd")}}})
            self.nbd = ok is not None or self.nbd
        elif self.flip(0.2):
            if self.do("nbd-server-stop") is not None:
                self.nbd, self.exports = False, set()
        n, x = self.pick(self.nodes), self.pick(self.exports)
        if self.nbd and n:
            name = self.name("p")
            if self.do("block-export-add", {"type": "nbd", "id": name, "node-name": n, "name": name, "writable": self.flip(0.3)},
                       BUSY + "|writ|permission|not running") is not None:
                self.exports.add(name)
        if x and self.flip() and self.do("block-export-del", {"id": x}) is not None:
            self.exports.discard(x)

    def op_tray(self):
        d = self.pick(d for d, k in self.devices.items() if k.get("node"))
        if d:
            verb = self.rng.choice(("blockdev-open-tray", "blockdev-close-tray", "blockdev-remove-medium"))
            self.do(verb, {"id": d}, BUSY + "|not removable|[Tt]ray|removable|no medium|not have")

    def op_hmp(self):
        line = self.rng.choice(self.m.pages)
        self.m.note("hmp", line)
        self.c.hmp(line)
    op_hmp2 = op_hmp

    def op_query(self):
        self.do(self.rng.choice(self.m.queries), may=".")
    op_query2 = op_query

    def op_qom(self):
        for path in ("/", "/machine", "/machine/peripheral", "/objects", "/chardevs", "/machine/unattached"):
            if self.flip(0.3):
                self.do("qom-list", {"path": path}, may=".")
        d = self.pick(self.devices)
        if d:
            for p in self.do("qom-list", {"path": f"/machine/peripheral/{d}"}, may=".") or []:
                if self.flip(0.2):
                    self.do("qom-get", {"path": d, "property": p["name"]}, may=".")
