# SPDX-License-Identifier: MIT
"""A second monitor of random-commands that steers at the same time, in a thread: things of its own come and go, and at what
the first one has it tugs: deletes it, pauses and cancels its jobs, stops, resets. What may be gone by it is in `ops.doubt`."""
import random
import threading

from client import Client, QmpError


class Racer(threading.Thread):
    def __init__(self, path, ops, seed):
        super().__init__(daemon=True)
        self.c, self.ops, self.rng = Client(path), ops, random.Random(seed)
        self.leave, self.wrong, self.serial, self.done = threading.Event(), None, 0, 0

    def run(self):
        kinds = sorted(n for n in dir(self) if n.startswith("do_"))
        try:
            while not self.leave.is_set():
                getattr(self, self.rng.choice(kinds))()
                self.c.events.clear()
                self.leave.wait(self.rng.random() * 0.01)
        except (OSError, EOFError, AssertionError, ValueError) as e:
            self.wrong = f"the second monitor: {type(e).__name__} {e}"

    def end(self):
        self.leave.set()
        self.join(120)
        if self.is_alive():
            self.wrong = "the second monitor waits for an answer"
        self.c.close()
        return self.wrong

    # ---- what it does

    def say(self, command, **args):
        self.ops.m.note("race " + command, args)
        try:
            ret = self.c.call(command, args)
            self.done += 1
            return ret
        except QmpError as e:
            self.ops.m.note("race   " + str(e))
            return None

    def name(self):
        self.serial += 1
        return f"race{self.serial}"

    def one_of(self, things):
        things = sorted(list(things))
        return self.rng.choice(things) if things else None

    def doubtful(self, things):
        """One that may be gone by what follows."""
        x = self.one_of(things)
        if x:
            self.ops.doubt.add(x)
        return x

    def do_own_node(self):
        n = self.name()
        self.say("blockdev-add", **{"driver": "null-co", "node-name": n, "size": 1 << 20, "read-zeroes": True})
        self.say("block-dirty-bitmap-add", node=n, name="b")
        self.say("block_resize", **{"node-name": n, "size": 1 << 21})
        over = self.one_of(self.ops.nodes)
        if over and self.rng.random() < 0.5:
            j = self.name()
            self.say("blockdev-backup", **{"job-id": j, "device": over, "target": n, "sync": "full"})
            self.say("block-job-cancel", device=j)
        self.forget("blockdev-del", "node-name", n)

    def forget(self, command, key, name):
        """Until it is gone: what uses it comes to an end."""
        for _ in range(1000):
            try:
                self.c.call(command, {key: name})
                return
            except QmpError as e:
                if "not found" in e.desc or "find" in e.desc or e.cls == "DeviceNotFound":
                    return
                for j in self.c.call("query-jobs"):
                    if j["id"].startswith("race"):
                        self.say("job-cancel", id=j["id"])
                        self.say("job-dismiss", id=j["id"])
            self.leave.wait(0.01)

    def do_own_object(self):
        o = self.name()
        self.say("object-add", **{"qom-type": self.rng.choice(("iothread", "rng-random", "throttle-group")), "id": o})
        self.say("qom-list", path=f"/objects/{o}")
        self.forget("object-del", "id", o)

    def do_own_stream(self):
        x = self.name()
        self.say("chardev-add", id=x, backend={"type": "ringbuf", "data": {"size": 64}})
        self.say("ringbuf-write", device=x, data="hello")
        self.forget("chardev-remove", "id", x)

    def do_own_net(self):
        n = self.name()
        self.say("netdev_add", type="user", id=n)
        self.say("set_link", name=n, up=False)
        self.forget("netdev_del", "id", n)

    def do_look(self):
        self.say(self.rng.choice(("query-block", "query-named-block-nodes", "query-blockstats", "query-jobs", "query-block-jobs", "query-pci",
                                  "query-chardev", "query-block-exports", "query-cpus-fast", "query-migrate", "query-memory-devices", "query-rx-filter")))
        self.say("human-monitor-command", **{"command-line": self.rng.choice(("info qtree", "info mtree", "info block", "info network", "info registers"))})
    do_look2 = do_look

    def do_job(self):
        j = self.one_of(self.ops.jobs)
        if j:
            self.say("job-" + self.rng.choice(("pause", "resume", "cancel", "complete", "finalize", "dismiss")), id=j)
    do_job2 = do_job

    def do_unplug(self):
        d = self.doubtful(self.ops.devices)
        if d:
            self.ops.going.add(d)
            self.say("device_del", id=d)

    def do_delete(self):
        things, command, key = self.rng.choice(((self.ops.nodes, "blockdev-del", "node-name"), (self.ops.objects, "object-del", "id"),
                                                (self.ops.netdevs, "netdev_del", "id"), (self.ops.chardevs, "chardev-remove", "id"),
                                                (self.ops.exports, "block-export-del", "id")))
        x = self.doubtful(things)
        if x and command == "netdev_del":       # a filter goes with it
            self.ops.doubt.update(o for o, k in list(self.ops.objects.items()) if k == "filter-dump")
        if x:
            self.say(command, **{key: x})

    def do_steer(self):
        self.ops.steered = True
        self.say(self.rng.choice(("stop", "cont", "cont", "system_reset", "inject-nmi", "migrate_cancel")))

    def do_snapshot(self):
        self.ops.steered = True
        if self.rng.random() < 0.2:
            self.say("human-monitor-command", **{"command-line": self.rng.choice(("savevm race", "loadvm race", "delvm race", "savevm s1"))})

    def do_property(self):
        d = self.one_of(self.ops.devices)
        if d:
            for p in self.say("qom-list", path=f"/machine/peripheral/{d}") or []:
                self.say("qom-get", path=d, property=p["name"])
