#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every command of query-qmp-schema with missing, unknown and wrong arguments: each is refused, in QEMU's words."""
from client import Machine, QmpError, fails, main

# What a type is not; a value for it.
WRONG = {"string": 5, "int": "x", "boolean": 1, "number": "x", "null": 1}
WORDS = {"string": "string", "int": "integer", "boolean": "boolean", "number": "number", "null": "null"}
RIGHT = {"string": "no-such-thing", "int": 1, "boolean": True, "number": 1.5, "null": None, "value": 1}
# They would end the machine, or wait.
NEVER = {"quit"}


def sample(s, type_, depth=0):
    """Some value of that type."""
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
    v = {}
    for m in t["members"]:
        if "default" not in m:
            v[m["name"]] = sample(s, m["type"], depth + 1)
    for case in t.get("variants", []):
        if v.get(t["tag"]) == case["case"]:
            v.update(sample(s, case["type"], depth + 1))
    return v


def wrong_for(s, type_):
    """A value that the type does not take, and what the message expects; None: it takes all."""
    t = s.all[type_]
    kind = t["meta-type"]
    if kind == "builtin":
        return (WRONG[t["json-type"]], WORDS[t["json-type"]]) if t["json-type"] in WRONG else None
    if kind == "enum":
        return "no-such-value", "does not accept value 'no-such-value'"
    return 5 if kind != "alternate" else [[]], {"array": "array", "object": "object"}.get(kind, "")


def test_missing():
    with Machine() as m:
        s = m.qmp.schema
        for name, c in s.commands.items():
            t = s.all[c["arg-type"]]
            whole = sample(s, c["arg-type"])
            for member in t["members"]:
                if "default" not in member and name not in NEVER:
                    part = {k: v for k, v in whole.items() if k != member["name"]}
                    fails(m.qmp.call, name, part, text=f"Parameter '{member['name']}' is missing")


def test_unknown():
    with Machine() as m:
        s = m.qmp.schema
        for name, c in s.commands.items():
            if name in NEVER:
                continue
            args = dict(sample(s, c["arg-type"]), bogus=1)
            if "features" in c and "json-cli" in c["features"] or "tag" in s.all[c["arg-type"]]:
                fails(m.qmp.call, name, args)       # who takes it says so in its own words
            else:
                fails(m.qmp.call, name, args, cls="CommandNotFound" if name == "qmp_capabilities" else "GenericError",
                      text=None if name == "qmp_capabilities" else "Parameter 'bogus' is unexpected")


def test_wrong_type():
    with Machine() as m:
        s = m.qmp.schema
        for name, c in s.commands.items():
            whole = sample(s, c["arg-type"])
            for member in s.all[c["arg-type"]]["members"]:
                wrong = wrong_for(s, member["type"])
                if name in NEVER or name == "qmp_capabilities" or not wrong:
                    continue
                text = wrong[1] if "accept" in wrong[1] else f"for '{member['name']}', expected: {wrong[1]}"
                fails(m.qmp.call, name, dict(whole, **{member["name"]: wrong[0]}), text=text)


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
    main([test_missing, test_unknown, test_wrong_type, test_samples, test_no_arguments_needed])
