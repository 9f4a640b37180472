#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The schema and the console's commands beside those of qemu-system-riscv64 7.2, where it is installed.

What it has and we lack, or have in another shape, is listed in qemu-differences.txt with the reason; a difference that
is not listed fails, and so does a line there that no difference fits any more. Only its own machine is looked at: what
we have beside it is no difference.
"""
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
from client import LYRE, SRC, main, no_record     # noqa: E402

QEMU, VERSION = "qemu-system-riscv64", (7, 2)
LIST = os.path.join(SRC, "tests/qmp/qemu-differences.txt")


class Peer:
    """One of the two: its schema, its console's helps."""

    def __init__(self, program):
        argv = [program, "-M", "virt", "-display", "none", "-S", "-qmp", "stdio"]
        p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.p = p
        self.version = self.read()["QMP"]["version"]["qemu"]
        self.call("qmp_capabilities")
        schema = self.call("query-qmp-schema")
        self.types = {i["name"]: i for i in schema if i["meta-type"] != "event"}
        self.events = {i["name"]: i for i in schema if i["meta-type"] == "event"}
        self.commands = {n for n, i in self.types.items() if i["meta-type"] == "command"}
        self.lines, self.infos = self.names("help"), self.names("help info")
        self.call("quit")
        p.wait(60)

    def read(self):
        while True:
            m = json.loads(self.p.stdout.readline())
            if "event" not in m:
                return m

    def call(self, name, **args):
        self.p.stdin.write(json.dumps({"execute": name, "arguments": args}) + "\n")
        self.p.stdin.flush()
        return self.read()["return"]

    def names(self, line):
        """The commands in a help: the word or words that each line begins with."""
        found = set()
        for text in self.call("human-monitor-command", **{"command-line": line}).replace("\r", "").split("\n"):
            m = re.match(r"(info )?([a-z_][\w|-]*)(\[?/fmt\]?)?(\s|$)", text)
            if m and bool(m[1]) == (line == "help info"):
                found |= set(m[2].split("|"))
        return found


class Compared:
    def __init__(self, theirs, ours):
        self.q, self.l, self.found, self.seen = theirs, ours, [], set()
        self.names("command", theirs.commands - ours.commands)
        self.names("event", set(theirs.events) - set(ours.events))
        self.names("line", theirs.lines - ours.lines - {"info"})
        self.names("info", theirs.infos - ours.infos)
        for n in sorted(theirs.commands & ours.commands):
            a, b = theirs.types[n], ours.types[n]
            self.types(n, a["arg-type"], b["arg-type"], False)
            self.types(n + "->", a["ret-type"], b["ret-type"], True)
            if bool(a.get("allow-oob")) != bool(b.get("allow-oob")):
                self.differ(n, "out of band")
        for n in sorted(set(theirs.events) & set(ours.events)):
            self.types("event " + n, theirs.events[n]["arg-type"], ours.events[n]["arg-type"], True)

    def names(self, kind, missing):
        self.found += [f"{kind} {n}" for n in sorted(missing)]

    def differ(self, path, how):
        self.found.append(f"member {path}: {how}")

    def types(self, path, a, b, ret):
        """ret: they are told, not taken."""
        if (a, b) in self.seen:
            return
        self.seen.add((a, b))
        x, y = self.q.types[a], self.l.types[b]
        if x["meta-type"] != y["meta-type"]:
            self.differ(path, f"{y['meta-type']} for {x['meta-type']}")
        elif x["meta-type"] == "builtin":
            if x["json-type"] != y["json-type"] and y["json-type"] != "value":
                self.differ(path, f"{y['json-type']} for {x['json-type']}")
        elif x["meta-type"] == "enum":
            for v in sorted(set(x["values"]) - set(y.get("values") or [m["name"] for m in y["members"]])):
                self.differ(f"{path}={v}", "missing")
        elif x["meta-type"] == "array":
            self.types(path + "#", x["element-type"], y["element-type"], ret)
        elif x["meta-type"] == "object":
            self.objects(path, x, y, ret)

    def objects(self, path, x, y, ret):
        theirs, ours = ({m["name"]: m for m in t.get("members", [])} for t in (x, y))
        for n, m in theirs.items():
            if n not in ours:
                self.differ(f"{path}.{n}", "missing")
                continue
            optional = "default" in m, "default" in ours[n]
            if optional == ((False, True) if ret else (True, False)):
                self.differ(f"{path}.{n}", "optional here" if ret else "required here")
            self.types(f"{path}.{n}", m["type"], ours[n]["type"], ret)
        cases = {v["case"]: v["type"] for v in y.get("variants", [])}
        for v in x.get("variants", []):
            if v["case"] in cases:
                self.types(f"{path}+{v['case']}", v["type"], cases[v["case"]], ret)
            elif self.q.types[v["type"]].get("members"):
                self.differ(f"{path}+{v['case']}", "missing")


def known():
    """Patterns, each with the reason below which it stands."""
    with open(LIST, encoding="utf-8") as f:
        return [line.strip() for line in f if line.startswith(" ") and line.strip()]


def test_differences():
    found = Compared(Peer(QEMU), Peer(LYRE)).found
    patterns = known()
    assert len(set(patterns)) == len(patterns), "a line is there twice"
    new = [d for d in found if not any(fnmatch.fnmatchcase(d, p) for p in patterns)]
    stale = [p for p in patterns if not any(fnmatch.fnmatchcase(d, p) for d in found)]
    print("\n".join(f"# not in {os.path.basename(LIST)}: {d}" for d in new))
    print("\n".join(f"# no difference any more: {p}" for p in stale))
    assert not new and not stale, f"{len(new)} new differences, {len(stale)} stale lines"


if __name__ == "__main__":
    no_record()
    if not shutil.which(QEMU) or not os.path.exists(LYRE):
        print(f"{QEMU} is not installed")
        sys.exit(77)
    said = re.search(r"version (\d+)\.(\d+)", subprocess.run([QEMU, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout)
    if not said or (int(said[1]), int(said[2])) != VERSION:
        print(f"{QEMU} is another version than {VERSION}")
        sys.exit(77)
    main([test_differences])
