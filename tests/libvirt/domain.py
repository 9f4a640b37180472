# SPDX-License-Identifier: MIT
"""The domain of libvirt-test: its XML, its files, its guest on the other end of `virsh console`."""
import json
import os
import re
import subprocess
import time

import debian
from guest import Guest, GuestError
from rig import URI, Failed

NAME = "lyre"
MIB = 1 << 20
XML = """<domain type='qemu'>
  <name>{name}</name>
  <uuid>6c797265-0000-4000-8000-000000000001</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='riscv64' machine='virt'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>console=ttyS0 quiet net.ifnames=0 run="sh /libvirt-guest"</cmdline>
  </os>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
      <serial>lyre-vda</serial>
    </disk>
    <controller type='scsi' model='virtio-scsi'/>
    <disk type='file' device='cdrom'><target dev='sda' bus='scsi'/><readonly/></disk>
    <interface type='user'>
      <mac address='52:54:00:00:00:01'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'><log file='{folder}/serial.log' append='on'/></serial>
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <memballoon model='virtio'><stats period='1'/></memballoon>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <controller type='usb' model='none'/>
    <controller type='pci' model='pcie-root'/>
{ports}  </devices>
</domain>
"""
# libvirt counts root ports by the devices there are; these are for what comes later.
PORTS = "".join(f"    <controller type='pci' index='{n}' model='pcie-root-port'/>\n" for n in range(1, 11))
CASES = {}                              # name -> (function, state it begins in, QMP commands it needs, why not), in order


def case(name, state="running", needs=(), peer=None):
    """`needs`: without these commands of the emulator it is left away. `peer`: why QEMU 7.2 cannot pass it."""
    def add(function):
        CASES[name] = function, state, needs, peer
        return function
    return add


class Domain:
    def __init__(self, lv, args, img):
        self.lv, self.args, self.img, self.folder = lv, args, img, lv.folder
        self.t = args.patience
        self.guest = None               # `virsh console`
        self.note = ""                  # what a case wants to say
        self.disks = 0
        self.disk = self.image("vda")
        self.initrd = os.path.join(self.folder, "initrd")
        boot = os.path.dirname(os.path.abspath(debian.__file__))
        debian.add_to_initrd(args.guests, self.initrd, os.path.join(boot, "slots.sh"),
                             os.path.join(os.path.dirname(os.path.abspath(__file__)), "libvirt-guest"))

    # --- files

    def path(self, name):
        return os.path.join(self.folder, name)

    def image(self, name, size="64M", fmt="qcow2"):
        path = self.path(f"{name}.{fmt}")
        self.tool("create", "-q", "-f", fmt, path, size)
        return path

    def tool(self, *words):
        p = subprocess.run([self.img, *words], capture_output=True, text=True, check=False)
        if p.returncode:
            raise Failed(f"{os.path.basename(self.img)} {' '.join(words)}: {p.stderr.strip()}")
        return p.stdout

    def block(self, path, where):
        """The text that the 4 KiB block `where` of an image begins with."""
        out = self.path("look.raw")
        self.tool("convert", "-U", "-O", "raw", path, out)
        with open(out, "rb") as f:
            f.seek(where * 4096)
            return f.read(4096).split(b"\n")[0].decode("ascii", "replace").strip("\0")

    def expect_block(self, path, where, text):
        if self.block(path, where) != text:
            raise Failed(f"{os.path.basename(path)}, block {where}: '{self.block(path, where)}', not '{text}'")

    # --- libvirt

    def virsh(self, *words, **kw):
        return self.lv.virsh(*words, **kw)

    def xml(self, disk=None):
        return XML.format(name=NAME, kernel=debian.need(self.args.guests, "riscv64", "kernel"), initrd=self.initrd,
                          emulator=self.args.emulator, disk=disk or self.disk, folder=self.folder, ports=PORTS)

    def define(self):
        self.lv.define(self.xml())

    def state(self):
        return self.virsh("domstate", NAME).strip()

    def commands(self):
        said = self.virsh("qemu-monitor-command", NAME, '{"execute": "query-commands"}')
        return [c["name"] for c in json.loads(said)["return"]]

    def want_state(self, *states, seconds=30):
        end = time.monotonic() + seconds * self.t
        while self.state() not in states:
            if time.monotonic() > end:
                raise Failed(f"the domain is '{self.state()}', not '{states[0]}'")
            time.sleep(0.05)

    def connect(self, *words):
        """`virsh console`, or `virsh start --console`."""
        self.disconnect()
        self.guest = Guest(["virsh", "-c", URI, *(words or ("console", NAME, "--force"))])

    def disconnect(self):
        if self.guest:
            self.guest.close()
            self.guest = None

    def start(self, *flags):
        self.connect("start", NAME, "--console", *flags)
        self.guest.wait("GUEST READY", 90 * self.t)
        self.guest.wait("= ready", 30 * self.t)
        self.guest.wait("# ", 10 * self.t)

    def reconnect(self):
        """To a guest that was brought back: its shell answers."""
        self.connect()
        self.guest.wait("Escape character", 30 * self.t)
        # QEMU 7.2 does not save the timer's count: a guest that was brought back stands for as long as it had run.
        end = time.monotonic() + (400 if self.args.peer else 60) * self.t
        while True:                     # what is typed before virsh has set the terminal is lost, and nothing tells when
            try:
                self.ask("true", 2)
                return
            except GuestError:
                if self.guest._reap() or time.monotonic() > end:
                    raise

    def ensure_defined(self):
        if NAME not in self.virsh("list", "--all", "--name").split():
            self.define()

    def ensure_running(self):
        self.ensure_defined()
        state = self.state()
        if state == "paused":
            self.virsh("resume", NAME)
        elif state != "running":
            self.start()
        if not self.guest or self.guest._reap():
            self.reconnect()

    def recover(self):
        """After a case that failed: the next one begins with nothing, and the disk it had."""
        self.disconnect()
        for words in ("destroy", NAME), ("undefine", NAME, "--managed-save", "--snapshots-metadata", "--checkpoints-metadata"):
            try:
                self.lv.virsh(*words)
            except Failed:
                pass
        self.disks += 1                 # what failed may use the old one
        self.disk = self.image(f"vda{self.disks}")

    # --- the guest

    def ask(self, command, seconds=30):
        """Runs it in the guest's shell; what it said."""
        g = self.guest
        g.type(f'echo "=""<="; {command}; echo =$?=\n')
        g.wait("=<=\\s", seconds * self.t)
        begin = g.seen
        m = g.wait(r"=(\d+)=", seconds * self.t)
        said = g.text[begin:m.start()].replace("\r", "").strip()
        if m[1] != "0":
            raise GuestError(f"'{command}' ended with status {m[1]}: {said}")
        return said

    def said(self, pattern, seconds=30):
        return self.guest.wait(pattern, seconds * self.t)

    def write(self, where, text, disk="/dev/vda"):
        """A block that begins with text, at block `where` of the guest's disk."""
        self.ask(f"(echo {text}; dd if=/dev/zero bs=4k count=1 2>/dev/null) | head -c 4096 | "
                 f"dd of={disk} bs=4k seek={where} conv=notrunc,fsync 2>/dev/null")

    def read(self, where, disk="/dev/vda"):
        return self.ask(f"dd if={disk} bs=4k skip={where} count=1 iflag=direct 2>/dev/null | head -n 1 | tr -d '\\000'")

    def expect_read(self, where, text, disk="/dev/vda"):
        said = self.read(where, disk)
        if said != text:
            raise Failed(f"the guest reads '{said}' in block {where} of {disk}, not '{text}'")

    def expect(self, what, got, pattern):
        if not re.search(pattern, got, re.M):
            raise Failed(f"{what} says no '{pattern}': {got.strip()[:800]}")

    def close(self):
        self.disconnect()
        try:
            self.lv.virsh("destroy", NAME)
        except Failed:
            pass
