# SPDX-License-Identifier: MIT
"""A libvirtd of our own, with nothing of the host's: its files, its network and its processes are in
namespaces that end with the test (namespaces(7)).

`alone()` starts the program again as the second process of new namespaces; the first one reaps what libvirtd
leaves behind and ends with it. `Libvirt` is the daemon and `virsh`; its log holds the dialogue with the emulator,
from which `dialogue` reads what was sent, what came, and when. Left out: anything but the QEMU driver.
"""
import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from datetime import datetime

CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x40000000, 0x20000000       # sched.h
MS_REC, MS_PRIVATE = 0x4000, 0x40000                                            # sys/mount.h
LIBC = ctypes.CDLL(None, use_errno=True)
PRIVATE = "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt", "/var/log/libvirt", "/run/libvirt", os.path.realpath("/var/lock")
QEMU_CONF = """user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
LIBVIRTD_CONF = """log_filters = "1:qemu.qemu_monitor 1:qemu.qemu_process 3:*"
log_outputs = "1:file:{log}"
"""
URI = "qemu:///system"


class Failed(Exception):
    """What did not happen, in a line or more."""


def mount(what, where, kind, flags=0):
    if LIBC.mount(what.encode(), where.encode(), kind.encode(), ctypes.c_ulong(flags), None) < 0:
        raise OSError(ctypes.get_errno(), f"cannot mount {kind} at {where}: {os.strerror(ctypes.get_errno())}")


def reap_until(child):
    """The first process of the namespace: what loses its parent becomes ours. When it ends, so does all in it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def alone():
    """Goes on in namespaces of its own; returns there a folder that goes with them. None: this host allows none.

    What is mounted is mounted in there, so nothing of it is left, however the test ends. Killed by SIGKILL it leaves
    the folder.
    """
    if LIBC.unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID) < 0:
        return None
    folder = tempfile.mkdtemp(prefix="lyre-libvirt-")
    alive, ours = os.pipe()
    first = os.fork()
    if first:
        os.close(alive)
        for s in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
            signal.signal(s, lambda *_: os.kill(first, signal.SIGKILL))     # and all of the namespace with it
        _, status = os.waitpid(first, 0)
        shutil.rmtree(folder, ignore_errors=True)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    LIBC.prctl(1, signal.SIGKILL)
    os.close(ours)
    if select.select([alive], [], [], 0)[0]:        # the other end went before we asked to be told
        os._exit(1)
    second = os.fork()
    if second:
        reap_until(second)
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc")
    mount("sysfs", "/sys", "sysfs")
    for private in PRIVATE:
        os.makedirs(private, exist_ok=True)
        mount("tmpfs", private, "tmpfs")
    os.makedirs("/var/lib/libvirt/boot")            # virt-install puts kernels there
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return folder


class Second:
    """Another libvirtd beside the first one, as on another host: for a migration. Its folders are in a namespace of its own."""

    def __init__(self, first):
        self.folder = os.path.join(first.folder, "second")
        run = os.path.join(self.folder, "run")
        os.makedirs(run)
        with open(os.path.join(self.folder, "libvirtd.conf"), "w") as f:
            f.write("host_uuid = \"6c797265-0000-4000-8000-0000000000ff\"\n")
        folders = "; ".join(f"mount -t tmpfs tmpfs {p}" for p in PRIVATE if p not in ("/run/libvirt", "/etc/libvirt"))
        env = " ".join(f"{k}={v}" for k, v in first.env.items())
        command = f"{folders}; mount --bind {run} /run/libvirt; exec env -i {env} /usr/sbin/libvirtd -f {self.folder}/libvirtd.conf -p {self.folder}/pid"
        self.process = subprocess.Popen(["unshare", "--mount", "sh", "-ec", command], stdin=subprocess.DEVNULL, stdout=first.out, stderr=first.out)
        self.uri = f"qemu+unix:///system?socket={run}/libvirt-sock"
        wait_for_virsh(self.uri, self.process)

    def virsh(self, *words):
        p = subprocess.run(["virsh", "-c", self.uri, *words], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
        if p.returncode:
            raise Failed(f"the other virsh {' '.join(words)}: {p.stderr.strip()}")
        return p.stdout

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


def wait_for_virsh(uri, process):
    end = time.monotonic() + 60
    while True:
        p = subprocess.run(["virsh", "-c", uri, "uri"], capture_output=True, text=True, check=False)
        if p.returncode == 0:
            return
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"libvirtd does not start: {p.stderr.strip()}")
        time.sleep(0.1)


class Libvirt:
    def __init__(self, folder, programs):
        """`programs`: name on libvirtd's PATH -> file."""
        self.folder, self.log = folder, os.path.join(folder, "libvirtd.log")
        path = os.path.join(folder, "bin")
        os.mkdir(path)
        for name, file in programs.items():
            os.symlink(file, os.path.join(path, name))
        with open("/etc/libvirt/qemu.conf", "w") as f:
            f.write(QEMU_CONF)
        with open("/etc/libvirt/libvirtd.conf", "w") as f:
            f.write(LIBVIRTD_CONF.format(log=self.log))
        # /usr/bin is left away: each emulator there would be probed.
        self.env = {"PATH": f"{path}:/usr/sbin:/sbin", "HOME": folder, "LC_ALL": "C"}
        self.out = open(os.path.join(folder, "libvirtd.out"), "w")
        # Its usual place, /run, is the host's: another one may be there, and two of these tests.
        pidfile = os.path.join(folder, "libvirtd.pid")
        self.process = subprocess.Popen(["/usr/sbin/libvirtd", "-p", pidfile], env=self.env, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out)
        wait_for_virsh(URI, self.process)

    def virsh(self, *words, fails=False, seconds=120, **kw):
        """Runs virsh; its output. `fails`: whether it must say no; then what it says."""
        words = [str(w) for w in words]
        try:
            p = subprocess.run(["virsh", "-c", URI, *words], capture_output=True, text=True, timeout=seconds, check=False,
                               stdin=subprocess.DEVNULL, **kw)
        except subprocess.TimeoutExpired:
            raise Failed(f"virsh {' '.join(words)}: no end within {seconds} s") from None
        if self.process.poll() is not None:
            raise Failed(f"virsh {' '.join(words)}: libvirtd ended with status {self.process.returncode}")
        if (p.returncode != 0) != fails:
            raise Failed(f"virsh {' '.join(words)}: status {p.returncode}: {(p.stderr or p.stdout).strip()}")
        return p.stderr if fails else p.stdout

    def define(self, xml, what="define", *more):
        path = os.path.join(self.folder, "last.xml")
        with open(path, "w") as f:
            f.write(xml)
        return self.virsh(what, *more, path)

    def mark(self):
        """A place in the log."""
        return os.path.getsize(self.log)

    def dialogue(self, since=0):
        """[(seconds, True if sent, text)] from there on."""
        out = []
        with open(self.log, errors="replace") as f:
            f.seek(since)
            for line in f:
                m = re.match(r"(\S+ [\d:.]+)\+0000: .*QEMU_MONITOR_(SEND_MSG|RECV_REPLY|RECV_EVENT): mon=\S+ (?:msg|reply|event)=(.*)", line)
                if m:
                    out.append((datetime.fromisoformat(m[1]).timestamp(), m[2] == "SEND_MSG", m[3]))
        return out

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.out.close()
