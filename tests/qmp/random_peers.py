# SPDX-License-Identifier: MIT
"""Other monitors of random-commands: one that floods and does not read, ones that hang up in the midst of a command or an
answer, a console that is typed at. Whatever they do, the first monitor's answers come."""
import json
import os
import socket
import time

HELLO = b'{"execute":"qmp_capabilities"}'
ASKED = ("query-status", "query-block", "query-named-block-nodes", "query-qmp-schema", "query-chardev", "query-jobs", "query-cpus-fast",
         "qom-list-types", "query-command-line-options")


class Peers:
    def __init__(self, rng, folder, note):
        self.rng, self.dir, self.note, self.open = rng, folder, note, {}

    def peer(self, name):
        """Its connection: an old one at times."""
        s = self.open.get(name)
        if not s:
            s = self.open[name] = socket.socket(socket.AF_UNIX)
            s.settimeout(20)
            s.connect(os.path.join(self.dir, name))
            if name != "h":
                self.say(name, HELLO)
        return s

    def say(self, name, data):
        """What it takes at once; the rest is not said."""
        s = self.open[name]
        s.setblocking(False)
        try:
            s.send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        s.settimeout(20)

    def read(self, name, most):
        s = self.open[name]
        s.setblocking(False)
        try:
            while most > 0:
                data = s.recv(min(most, 65536))
                if not data:
                    break
                most -= len(data)
        except (BlockingIOError, ConnectionResetError):
            pass

    def hang_up(self, name):
        s = self.open.pop(name, None)
        if s:
            s.close()

    def play(self):
        what = self.rng.choice(("flood", "half", "drop", "read", "console", "wrong", "schema"))
        name = "h" if what == "console" else self.rng.choice("bc")
        self.note(f"peer {name} {what}")
        self.peer(name)
        if what == "flood":
            self.say(name, b"".join(json.dumps({"execute": self.rng.choice(ASKED), "id": i}).encode() for i in range(self.rng.randint(1, 400))))
        elif what == "half":
            self.say(name, b'{"execute":"query-named-bl')
            if self.rng.random() < 0.5:
                self.hang_up(name)
        elif what == "drop":
            self.say(name, b'{"execute":"query-qmp-schema"}{"execute":"stop"}{"execute":"cont"}')
            self.hang_up(name)
        elif what == "schema":
            self.say(name, b'{"execute":"query-qmp-schema"}' * 20)
        elif what == "read":
            self.read(name, self.rng.choice((1, 1000, 1 << 24)))
        elif what == "wrong":
            self.say(name, self.rng.choice((b"\xff", b"]]]", b"{'a'", b"[" * 2000, b'"' + b"x" * 100000, b"\0" * 100, b'{"execute":"nope"}')))
        elif what == "console":
            self.say(name, self.rng.choice((b"info status\n", b"help\n", b"info qtree\r", b"\x1b[A\n", b"inf\t\t\n", b"sendke", b"x/10i 0\n", b"\xff\xfe\n", b"\x04",
                                            b"info mtree\n" * 50)))
            if self.rng.random() < 0.3:
                self.hang_up(name)

    def end(self):
        for name in list(self.open):
            self.hang_up(name)
        time.sleep(0.01)
