#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every command of query-qmp-schema with missing, unknown and wrong arguments: each is refused, in QEMU's words.

Places are walked to the bottom: members of members, elements of lists, every case of unions, every alternative. At each
place every kind of JSON is put that does not belong there. Members that the program's own tables tell (devices, nodes,
networks) are checked by who takes them, in his words; the machine must refuse them or live with them. Ranges of numbers
are not in query-qmp-schema: they come from monitor/schema. Nothing that is refused may have run: `quit` is among them.
"""
import glob
import importlib.machinery
import importlib.util
import os
import tempfile

from client import SRC, Machine, QmpError, fails, main, no_record

# One value of each kind of JSON.
KINDS = {"string": "no-such-value", "int": 7, "number": 1.5, "boolean": True, "null": None, "object": {"bogus": 1}, "array": [[]]}
ACCEPTS = {"string": {"string"}, "int": {"int"}, "number": {"int", "number"}, "boolean": {"boolean"}, "null": {"null"},
           "value": set(KINDS)}
WORDS = {"string": "string", "int": "integer", "boolean": "boolean", "number": "number", "null": "null", "array": "array",
         "object": "object"}
RIGHT = {"string": "no-such-thing", "int": 1, "boolean": True, "number": 1.5, "null": None, "value": 1}
OPEN_WORDS = ("is unexpected", "has no", "bogus", "nvalid")
# What a right call of an open type has beyond what must be there; how what it made is taken away.
MORE = {"BlockdevOptions": {"node-name": "n"}}
UNDO = {"blockdev-add": ("blockdev-del", "node-name"), "netdev_add": ("netdev_del", "id"), "object-add": ("object-del", "id"),
        "device_add": ("device_del", "id"), "chardev-add": ("chardev-remove", "id")}
TAGS = ("driver", "type", "qom-type")
# They would end the machine.
NEVER = {"quit"}


def gensch():
    path = os.path.join(SRC, "tools/gensch")
    loader = importlib.machinery.SourceFileLoader("gensch", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gensch", loader))
    loader.exec_module(module)
    return module


class Files:
    """What monitor/schema says and query-qmp-schema doesn't: ranges of numbers, which types are open."""

    def __init__(self):
        g = gensch()
        decls = g.parse(sorted(glob.glob(os.path.join(SRC, "monitor/schema/*.sch"))))
        self.ranges, self.open = {}, set()
        for d in decls:
            owner = f"q_obj_{d.name}-arg" if d.kind == "command" else d.name
            if d.kind == "open":
                self.open.add(d.name)
            for m in d.members:
                inner = m.type.strip("[]")
                if inner in g.INTS:
                    self.ranges[owner, m.name] = (inner, *g.INTS[inner])


class Place:
    """Somewhere in a command's arguments: put(value) gives arguments that are right but for the value there."""

    def __init__(self, at, type_, put, told=False, number=None):
        self.at, self.type, self.put = at, type_, put
        self.told = told                # below an open type: by the program's tables
        self.range = number


def sample(s, type_, depth=0):
    """Some value of that type: what must be there, and no more."""
    t = s.all[type_]
    kind = t["meta-type"]
    if kind == "builtin":
        return RIGHT[t["json-type"]]
    if kind == "enum":
        return t["members"][0]["name"]
    if kind == "array":
        return [sample(s, t["element-type"], depth + 1)] if depth < 4 else []
    if kind == "alternate":
        return sample(s, t["members"][0]["type"], depth + 1)
    v = {m["name"]: sample(s, m["type"], depth + 1) for m in t["members"] if "default" not in m}
    v.update({} if depth else MORE.get(type_, {}))
    for case in t.get("variants", []):
        if v.get(t["tag"]) == case["case"]:
            v.update(sample(s, case["type"], depth + 1))
    return v


def places(s, files, place, above=()):
    """That place, and all below it."""
    yield place
    t = s.all[place.type]
    kind = t["meta-type"]
    if place.type in above:
        return
    above += (place.type,)
    if kind == "array":
        yield from places(s, files, Place(place.at + "[0]", t["element-type"], lambda v: place.put([v]), place.told, place.range), above)
    elif kind == "alternate":
        for m in t["members"]:
            yield from list(places(s, files, Place(place.at, m["type"], place.put, place.told), above))[1:]
    elif kind == "object":
        whole = sample(s, place.type)
        yield from members(s, files, place, t, whole, above)
        for case in t.get("variants", []):
            cased = {**{k: v for k, v in whole.items() if k in {m["name"] for m in t["members"]}}, t["tag"]: case["case"]}
            cased.update(sample(s, case["type"]))
            yield from members(s, files, place, s.all[case["type"]], cased, above)


def members(s, files, place, t, whole, above):
    for m in t["members"]:
        name = m["name"]
        told = place.told or (place.type in files.open and (t["name"], name) not in declared(s, files, place.type))
        inner = Place((place.at + "." if place.at else "") + name, m["type"],
                      lambda v, name=name: place.put({**whole, name: v}), told, files.ranges.get((t["name"], name)))
        inner.optional = "default" in m
        inner.without = lambda name=name: place.put({k: v for k, v in whole.items() if k != name})
        yield from places(s, files, inner, above)


def declared(s, files, type_):
    """Members of an open type that its schema file has itself, and so checks."""
    if not hasattr(files, "own"):
        g = gensch()
        decls = g.parse(sorted(glob.glob(os.path.join(SRC, "monitor/schema/*.sch"))))
        files.own = {d.name: {(d.name, m.name) for m in d.members} for d in decls if d.kind == "open"}
    return files.own.get(type_, set())


def kinds_of(s, type_):
    """The kinds of JSON that a type takes."""
    t = s.all[type_]
    kind = t["meta-type"]
    if kind == "builtin":
        return ACCEPTS[t["json-type"]]
    if kind == "alternate":
        return set().union(*(kinds_of(s, m["type"]) for m in t["members"]))
    return {"enum": {"string"}}.get(kind, {kind})


def word_for(s, type_):
    t = s.all[type_]
    kind = t["meta-type"]
    if kind == "builtin":
        return WORDS[t["json-type"]]
    return {"enum": "string", "alternate": t["name"]}.get(kind, WORDS.get(kind))


def lenient(s, place, kind):
    """Texts of tables may be booleans and numbers of QEMU's; lists of texts may be one."""
    t = s.all[place.type]
    return "[" in place.at or (t["meta-type"] == "array" and kind == "string") or (
        t.get("json-type") == "string" or t["meta-type"] == "enum") and kind in ("int", "boolean")


class Judge:
    """Calls that must be refused, counted; what is told by tables may be refused in any words, or taken."""

    def __init__(self, m, fresh):
        self.m, self.n, self.fresh = m, 0, fresh

    def call(self, name, args):
        return (self.fresh if name == "qmp_capabilities" else self.m.qmp).call(name, args)

    def refused(self, name, args, place, *texts):
        self.n += 1
        e = fails(self.call, name, args)
        for text in texts:
            assert text in e.desc, f"{name} {args}: {e.desc!r} has no {text!r}"

    def lives(self, name, args):
        """Refused or taken: an answer, and something that says why. What runs scripts of the host is not tried, nor what libslirp
        never frees."""
        if args.get("type") in ("tap", "bridge") or "tftp-server-name" in args:
            return
        self.n += 1
        try:
            self.call(name, args)
            if name in UNDO:
                undo, key = UNDO[name]
                self.call(undo, {key: args[key]})
        except QmpError as e:
            assert e.desc, f"{name} {args}"

    def end(self):
        assert self.m.qmp.call("query-status")["status"] in ("prelaunch", "paused"), "it runs"
        print(f"# {self.n} wrong calls")


def all_places(s, files, name, c):
    return places(s, files, Place("", c["arg-type"], lambda v: v))


def each(fn):
    """fn(judge, schema, name, place) for every place of every command."""
    files = Files()
    with tempfile.TemporaryDirectory() as d, Machine("-qmp", f"unix:{d}/fresh,server=on,wait=off") as m:
        s, judge = m.qmp.schema, Judge(m, m.connect(f"{d}/fresh", negotiate=False))
        for name, c in s.commands.items():
            for place in all_places(s, files, name, c):
                fn(judge, s, name, place)
        judge.end()


def test_wrong_type():
    def one(judge, s, name, place):
        if not place.at:
            return
        for kind, value in KINDS.items():
            if kind in kinds_of(s, place.type):
                continue
            if place.told and lenient(s, place, kind):
                judge.lives(name, place.put(value))
            else:
                judge.refused(name, place.put(value), place, f"Invalid parameter type for '{place.at}', expected: {word_for(s, place.type)}")
    each(one)


def test_enums():
    def one(judge, s, name, place):
        if s.all[place.type]["meta-type"] != "enum":
            return
        for value in ("no-such-value", ""):
            if place.told and not value and place.at in TAGS:
                judge.refused(name, place.put(value), place)
            else:
                judge.refused(name, place.put(value), place, f"'{place.at.split('.')[-1]}'" if "." not in place.at else place.at,
                              f"does not accept value '{value}'")
    each(one)


def test_ranges():
    """Every number whose type has bounds, at its bounds' other sides; others far out."""
    def one(judge, s, name, place):
        t = s.all[place.type]
        if t["meta-type"] != "builtin" or t["json-type"] != "int":
            return
        kind, low, high = place.range or ("int", -2**63, 2**63 - 1)
        for value in (low - 1, high + 1):
            if place.told and -2**63 <= value < 2**63:
                judge.lives(name, place.put(value))
            elif not -2**63 <= value < 2**63:
                judge.refused(name, place.put(value), place, f"Invalid parameter type for '{place.at}', expected: integer")
            else:
                judge.refused(name, place.put(value), place, f"Parameter '{place.at}' expects {kind}")
    each(one)


def test_missing():
    def one(judge, s, name, place):
        if not place.at or getattr(place, "optional", True) or place.at.endswith("]"):
            return
        if place.told:
            judge.lives(name, place.without())
        else:
            judge.refused(name, place.without(), place, f"Parameter '{place.at}' is missing")
    each(one)


def test_unknown():
    """One member too many, in every object there is."""
    files = Files()

    def one(judge, s, name, place):
        if s.all[place.type]["meta-type"] != "object":
            return
        at = (place.at + "." if place.at else "") + "bogus"
        args = place.put(dict(sample(s, place.type), bogus=1))
        if place.told or place.type in files.open:
            judge.refused(name, args, place)        # who takes it says so in its own words
        else:
            judge.refused(name, args, place, f"Parameter '{at}' is unexpected")
    each(one)


def test_open_members():
    """What is told by tables: each case with everything that it must have, and one unknown member, which is named."""
    files = Files()
    with Machine() as m:
        s = m.qmp.schema
        for name, c in s.commands.items():
            t = s.all[c["arg-type"]]
            if c["arg-type"] not in files.open or "variants" not in t:
                continue
            for case in t["variants"]:
                args = {**sample(s, c["arg-type"]), t["tag"]: case["case"], **sample(s, case["type"]), "bogus-member": 1}
                e = fails(m.qmp.call, name, args)
                print(f"# {name} {case['case']}: {e.desc}") if os.environ.get("V") else None
        m.qmp.call("query-status")


def test_samples():
    """Right types, senseless values: an answer of the schema or an error, and the machine lives."""
    with Machine() as m:
        for name, c in m.qmp.schema.commands.items():
            if name in NEVER:
                continue
            try:
                m.qmp.call(name, sample(m.qmp.schema, c["arg-type"]))
            except QmpError:
                pass
        m.qmp.call("query-status")


def test_no_arguments_needed():
    with Machine() as m:
        for name, c in m.qmp.schema.commands.items():
            if name.startswith("query-") and all("default" in a for a in m.qmp.schema.members(c["arg-type"])):
                try:
                    m.qmp.call(name)
                except QmpError as e:
                    assert e.cls != "CommandNotFound", name


if __name__ == "__main__":
    no_record()
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
