# SPDX-License-Identifier: MIT
"""What the tests of disks share: a machine with two images over each other, images made, written, compared; jobs waited for."""
import os
import subprocess
import tempfile

from client import BUILD, Machine

IMG, IO = os.path.join(BUILD, "lyre-img"), os.path.join(BUILD, "lyre-io")


def make(path, size="4M", *more, fmt="qcow2"):
    subprocess.run([IMG, "create", "-q", "-f", fmt, *more, path, *([size] if size else [])], check=True, stdout=subprocess.DEVNULL)


def put(path, pattern, at, length, fmt="qcow2"):
    subprocess.run([IO, "-f", fmt, "-c", f"write -q -P {pattern} {at} {length}", path], check=True, stdout=subprocess.DEVNULL)


def holds(path, pattern, at, length, *more):
    """The image has that byte there, as one sees it who opens it on its own."""
    done = subprocess.run([IO, "-U", "-r", *more, "-c", f"read -P {pattern} {at} {length}", path], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "verification failed" not in done.stdout


def same(a, b, *fmt):
    return subprocess.run([IMG, "compare", *fmt, a, b], stdout=subprocess.DEVNULL, check=False).returncode == 0


def info(path):
    import json
    return json.loads(subprocess.run([IMG, "info", "-U", "--output=json", path], check=True, capture_output=True, text=True).stdout)


def stored(path):
    """The bitmaps that the image holds, by name."""
    return {b["name"]: b for b in info(path)["format-specific"]["data"].get("bitmaps", [])}


def sound(path):
    return subprocess.run([IMG, "check", "-q", path], check=False).returncode == 0


def node(c, name, path, driver="qcow2", **more):
    c.call("blockdev-add", {"driver": driver, "node-name": name, "file": {"driver": "file", "filename": path}, **more})


class Disk:
    """A machine with base <- top on a virtio disk, node "top"; `thread`: the name of an I/O thread that the disk is in."""

    def __init__(self, *args, check=True, thread=None):
        self.dir = tempfile.TemporaryDirectory()
        self.base, self.top, self.whole = self.path("base.qcow2"), self.path("top.qcow2"), self.path("whole.qcow2")
        make(self.base)
        put(self.base, 1, 0, "1M")
        make(self.top, None, "-b", self.base, "-F", "qcow2")
        put(self.top, 2, "512k", "1M")
        subprocess.run([IMG, "convert", "-O", "qcow2", self.top, self.whole], check=True)
        self.m = Machine("-blockdev", f"driver=qcow2,node-name=base,file.driver=file,file.filename={self.base}",
                         "-blockdev", f"driver=qcow2,node-name=top,file.driver=file,file.filename={self.top},backing=base",
                         *(["-object", f"iothread,id={thread}"] if thread else []),
                         "-device", "virtio-blk-device,drive=top,id=vda,share-rw=on" + (f",iothread={thread}" if thread else ""), *args, check=check)
        self.c = self.m.qmp

    def path(self, name):
        return os.path.join(self.dir.name, name)

    def write(self, target, pattern, at, length):
        """As the guest would: through the node."""
        said = self.c.hmp(f'qemu-io {target} "write -P {pattern} {at} {length}"')
        assert "wrote" in said or not said, said

    def new(self, name, size="4M", *more, **options):
        """An empty image, opened as a node of that name."""
        make(self.path(name + ".qcow2"), size, *more)
        node(self.c, name, self.path(name + ".qcow2"), **options)
        return self.path(name + ".qcow2")

    def status(self, job, what):
        return self.c.wait_event("JOB_STATUS_CHANGE", match=lambda d: d["id"] == job and d["status"] == what)

    def completed(self, job):
        e = self.c.wait_event("BLOCK_JOB_COMPLETED", match=lambda d: d["device"] == job)
        assert "error" not in e["data"], e
        return self.status(job, "null")

    def bitmaps(self, name="top"):
        nodes = {n["node-name"]: n for n in self.c.call("query-named-block-nodes", flat=True)}
        return {b["name"]: b for b in nodes[name].get("dirty-bitmaps", [])}

    def inserted(self, device="vda"):
        return [b for b in self.c.call("query-block") if device in b.get("qdev", "")][0]["inserted"]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, tb):
        ended = self.m.close()
        self.dir.cleanup()
        assert ended or kind
