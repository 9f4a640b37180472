# SPDX-License-Identifier: MIT
"""A small QMP client, a machine without a guest to talk to, and a schema that answers are checked by."""
import array
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

BUILD = os.path.abspath(os.environ.get("LYRE_BUILD", "build"))
SRC = os.path.abspath(os.environ.get("LYRE_SRC", "."))
LYRE = os.path.join(BUILD, "lyre-system-riscv64")


class Record:
    """What this program has seen done: commands that succeeded, lines of the console, events. `coverage` reads it."""

    def __init__(self):
        self.seen, self.on = set(), True
        self.path = os.path.join(BUILD, "qmp-seen", os.path.basename(sys.argv[0]))

    def add(self, kind, name):
        self.seen.add(f"{kind} {name}")

    def save(self):
        if not self.on or not os.path.isdir(BUILD):
            return
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in sorted(self.seen))
        os.replace(self.path + ".new", self.path)


RECORD = Record()


def no_record():
    """For programs that call what comes along: that is no test of what it does."""
    RECORD.on = False


class QmpError(Exception):
    def __init__(self, error):
        super().__init__(f"{error['class']}: {error['desc']}")
        self.cls, self.desc = error["class"], error["desc"]


class Client:
    """One connection. Answers and events are told apart; a call waits for its own answer."""

    def __init__(self, path, negotiate=True, timeout=60, pretty=False):
        self.pretty = pretty
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.buf, self.events, self.ids, self.schema = b"", [], itertools.count(1), None
        self.greeting = self.read()
        if negotiate:
            self.call("qmp_capabilities")

    def read(self):
        """The next message, whatever it is, on one line or several."""
        while True:
            try:
                text = self.buf.decode().lstrip()
                v, end = json.JSONDecoder().raw_decode(text) if self.pretty else (None, 0)
                if end:
                    self.buf = text[end:].encode()
                    return v
            except ValueError:
                pass
            if not self.pretty:
                break
            self.more()
        while b"\n" not in self.buf:
            self.more()
        line, self.buf = self.buf.split(b"\n", 1)
        return json.loads(line)

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the monitor has closed the connection")
        self.buf += data

    def send_raw(self, data, fds=()):
        if fds:
            self.sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        else:
            self.sock.sendall(data)

    def answer(self):
        """The next answer; events on the way are kept."""
        while True:
            m = self.read()
            if "event" in m:
                self.events.append(m)
            else:
                return m

    def call(self, name, args=None, /, fds=(), **kw):
        args = dict(args or {}, **{k.replace("_", "-"): v for k, v in kw.items()})
        ident = next(self.ids)
        self.send_raw(json.dumps({"execute": name, "arguments": args, "id": ident}).encode() + b"\n", fds)
        m = self.answer()
        if m.get("id") != ident:
            raise AssertionError(f"{name}: the answer is to another question: {m}")
        if "error" in m:
            raise QmpError(m["error"])
        RECORD.add("command", name)
        if self.schema:
            self.schema.check_return(name, m["return"])
        return m["return"]

    def hmp(self, line):
        said = self.call("human-monitor-command", command_line=line).replace("\r\n", "\n")
        if not said.startswith(("Error", "unknown command")):
            RECORD.add("line", line)
        return said

    def wait_event(self, name, timeout=60, match=lambda data: True):
        end = time.monotonic() + timeout
        while True:
            for e in self.events:
                if e["event"] == name and match(e.get("data", {})):
                    self.events.remove(e)
                    RECORD.add("event", name)
                    if self.schema:
                        self.schema.check_event(e)
                    return e
            if time.monotonic() > end:
                raise AssertionError(f"no event {name}; there were {[e['event'] for e in self.events]}")
            self.sock.settimeout(max(0.05, end - time.monotonic()))
            try:
                m = self.read()
            except socket.timeout:
                continue
            finally:
                self.sock.settimeout(60)
            self.events.append(m)

    def close(self):
        self.sock.close()


class Schema:
    """query-qmp-schema's answer: values are checked by it."""

    def __init__(self, infos):
        self.all = {i["name"]: i for i in infos if i["meta-type"] != "event"}
        self.events = {i["name"]: i for i in infos if i["meta-type"] == "event"}
        self.commands = {n: i for n, i in self.all.items() if i["meta-type"] == "command"}

    def members(self, name):
        return self.all[name].get("members", [])

    def check(self, type_, v, at):
        t = self.all[type_]
        kind = t["meta-type"]
        getattr(self, "check_" + kind)(t, v, at)

    def check_builtin(self, t, v, at):
        ok = {"string": isinstance(v, str), "boolean": isinstance(v, bool), "value": True, "null": v is None,
              "int": isinstance(v, int) and not isinstance(v, bool), "number": isinstance(v, (int, float))}[t["json-type"]]
        assert ok, f"{at}: {v!r} is no {t['name']}"

    def check_enum(self, t, v, at):
        assert v in [m["name"] for m in t["members"]], f"{at}: {v!r} is no value of {t['name']}"

    def check_array(self, t, v, at):
        assert isinstance(v, list), f"{at}: {v!r} is no list"
        for i, e in enumerate(v):
            self.check(t["element-type"], e, f"{at}[{i}]")

    def check_alternate(self, t, v, at):
        for m in t["members"]:
            try:
                return self.check(m["type"], v, at)
            except AssertionError:
                pass
        raise AssertionError(f"{at}: {v!r} is none of {t['name']}")

    def object_members(self, t, v):
        members = list(t["members"])
        if "tag" in t:
            for case in t["variants"]:
                if case["case"] == v.get(t["tag"]):
                    members += self.object_members(self.all[case["type"]], v)
        return members

    def check_object(self, t, v, at):
        assert isinstance(v, dict), f"{at}: {v!r} is no object"
        members = {m["name"]: m for m in self.object_members(t, v)}
        for name, m in members.items():
            assert name in v or "default" in m, f"{at}.{name} is missing"
            if name in v:
                self.check(m["type"], v[name], f"{at}.{name}")
        for name in v:
            assert name in members, f"{at}.{name} is not in the schema"

    def check_return(self, command, v):
        self.check(self.all[command]["ret-type"], v, command)

    def check_event(self, e):
        assert e["event"] in self.events, f"event {e['event']} is not in the schema"
        self.check(self.events[e["event"]]["arg-type"], e.get("data", {}), e["event"])


class Machine:
    """lyre-system-riscv64 with a monitor, standing (-S) and without a guest."""

    def __init__(self, *args, start=False, check=True, fds=(), serial="null", env=None):
        self.dir = tempfile.mkdtemp(prefix="lyre-qmp-")
        self.path = os.path.join(self.dir, "qmp.sock")
        argv = [LYRE, "-M", "virt", "-display", "none", "-serial", serial, "-bios", "none", "-nic", "none",
                "-qmp", f"unix:{self.path},server=on,wait=off"]
        self.stderr = open(os.path.join(self.dir, "stderr"), "w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(argv + ([] if start else ["-S"]) + list(args), stdin=subprocess.DEVNULL, cwd=self.dir, pass_fds=fds, env=dict(os.environ, **(env or {})),
                                        stdout=subprocess.DEVNULL, stderr=self.stderr)
        self.clients = []
        self.qmp = self.connect()
        if check:
            self.qmp.schema = Schema(self.qmp.call("query-qmp-schema"))

    def connect(self, path=None, **kw):
        end = time.monotonic() + 60
        while True:
            try:
                c = Client(path or self.path, **kw)
                self.clients.append(c)
                return c
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"the machine did not start: {self.said()}") from None
                time.sleep(0.02)

    def said(self):
        self.stderr.seek(0)
        return self.stderr.read()

    def close(self):
        """Ends it; True when that went well."""
        if self.stderr.closed:
            return True
        for c in self.clients:
            c.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = -1
        said = self.said()
        self.stderr.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        if status or "Sanitizer" in said:
            print(said)
        return status == 0 and "Sanitizer" not in said

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        ended = self.close()
        assert ended or kind, "the machine did not end well"


def fails(fn, *args, cls="GenericError", text=None, **kw):
    """fn must fail, with that class and that text in it."""
    try:
        v = fn(*args, **kw)
    except QmpError as e:
        assert e.cls == cls, f"{args}: the class is {e.cls}, not {cls} ({e.desc})"
        assert text is None or text in e.desc, f"{args}: {e.desc!r} has no {text!r}"
        return e
    raise AssertionError(f"{args} {kw}: it went well: {v}")


def main(tests):
    """Runs functions test_*; the last line is the sum."""
    bad = 0
    only = sys.argv[1:]
    tests = [t for t in tests if not only or t.__name__ in only]
    if not os.path.exists(LYRE):
        print(f"{LYRE} is not built")
        sys.exit(77)
    for t in tests:
        try:
            t()
        except Exception as e:      # noqa: every failure is told, the next test runs
            bad += 1
            traceback.print_exc(file=sys.stdout)
            print(f"FAILED {t.__name__}: {type(e).__name__}: {e}")
    if not only and not bad:
        RECORD.save()
    print(f"{len(tests) - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)
