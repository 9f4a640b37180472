# SPDX-License-Identifier: MIT
"""A QMP client of a screen: commands and their answers, events as they come, over a unix socket."""
import json
import socket
import time

from guest import GuestError


class QmpError(GuestError):
    """An answer that is an error; `kind` is its class."""

    def __init__(self, name, error):
        super().__init__(f"QMP {name}: {error.get('desc')}")
        self.kind = error.get("class")


class Qmp:
    def __init__(self, path, alive, seconds=10):
        """`alive`: called while it waits for the socket; raises when the emulator has ended."""
        self.events, self.buffer = [], b""
        self.sock = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + seconds
        while True:
            try:
                self.sock.connect(path)
                break
            except OSError as e:
                alive()
                if time.monotonic() > end:
                    raise GuestError(f"no QMP at {path}: {e.strerror}") from e
                time.sleep(0.02)
        self.greeting = self.read(seconds)
        self("qmp_capabilities")

    def read(self, seconds):
        """The next message, or None."""
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            self.sock.settimeout(max(0.0001, end - time.monotonic()))
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return None
            if not data:
                raise GuestError("QMP: the connection was closed")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def __call__(self, name, seconds=30, **arguments):
        """Runs a command, names with - written with _; its answer."""
        arguments = {k.replace("_", "-"): v for k, v in arguments.items()}
        self.sock.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            m = self.read(end - time.monotonic())
            if m is None:
                break
            if "event" in m:
                self.events.append(m)
            elif "error" in m:
                raise QmpError(name, m["error"])
            elif "return" in m:
                return m["return"]
        raise GuestError(f"QMP {name}: no answer within {seconds:g} s")

    def take_events(self, seconds=0.0):
        """All events that have come by now, and those of the next seconds if there are none."""
        while True:
            m = self.read(0 if self.events else seconds)
            if m is None:
                break
            if "event" in m:
                self.events.append(m)
        out, self.events = self.events, []
        return out

    def close(self):
        self.sock.close()
