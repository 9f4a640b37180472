# SPDX-License-Identifier: MIT
"""virt-install makes the domain: what people type to have a machine. Debian's, of the package virtinst; without it these are left away."""
import os
import re
import shutil
import subprocess

import debian
import rig
from domain import case
from rig import Failed

NAME = "made"
USUAL = ("--name", NAME, "--virt-type", "qemu", "--arch", "riscv64", "--machine", "virt", "--memory", "256", "--graphics", "none",
         "--osinfo", "detect=on,require=off", "--network", "user", "--console", "pty", "--noautoconsole")


def virt_install(d, *words, seen=(), console=None):
    """Makes a domain; `seen`: what its command line holds; `console`: what its guest says. It is gone afterwards."""
    p = subprocess.run(["virt-install", "--connect", rig.URI, *USUAL, *words], capture_output=True, text=True, timeout=120 * d.t,
                       stdin=subprocess.DEVNULL, check=False)
    try:
        if p.returncode:
            raise Failed(f"virt-install {' '.join(words)}: {p.stderr.strip()}")
        with open(f"/var/log/libvirt/qemu/{NAME}.log") as f:
            line = f.read().rpartition("LC_ALL=C")[2]
        for what in seen:
            d.expect("the command line", line, re.escape(what))
        if console:
            d.connect("console", NAME, "--force")
            d.guest.wait(console, 90 * d.t)
        d.expect("domstate", d.virsh("domstate", NAME), "running")
    finally:
        d.disconnect()
        if NAME in d.virsh("list", "--all", "--name").split():
            d.virsh("destroy", NAME)
        if NAME in d.virsh("list", "--all", "--name").split():
            d.virsh("undefine", NAME, "--nvram")


@case("virt-install", "any")
def install(d):
    """--import with a kernel, --location, --cdrom, --pxe, firmware in flash: domains are made and run."""
    if not shutil.which("virt-install"):
        d.note = "left away: no virt-install (package virtinst)"
        return
    disk = d.image("made", "16M")
    kernel = debian.need(d.args.guests, "riscv64", "kernel")
    with open(d.path("made.iso"), "wb") as f:
        f.truncate(4 << 20)
    virt_install(d, "--import", "--disk", f"{disk},bus=virtio", "--rng", "/dev/urandom", "--boot",
                 f"kernel={kernel},initrd={d.initrd},kernel_args='console=ttyS0 quiet run=\"sh /libvirt-guest\"'",
                 seen=["-kernel " + kernel, "virtio-blk-pci", "virtio-rng-pci"], console="= ready")
    virt_install(d, "--location", f"{os.path.dirname(os.path.dirname(kernel))},kernel=riscv64/kernel,initrd=riscv64/initrd.gz", "--disk", disk,
                 "--extra-args", "console=ttyS0", seen=["-kernel /var/lib/libvirt/boot/", "-append console=ttyS0"], console="Linux version")
    virt_install(d, "--cdrom", d.path("made.iso"), "--disk", disk, seen=['"driver":"scsi-cd"', '"bootindex":1'])
    virt_install(d, "--pxe", "--disk", disk, seen=['"bootindex":1'])
    code = os.path.join(d.args.guests, "debian", "edk2-code.fd")
    if os.path.exists(code) and not d.args.peer:
        virt_install(d, "--import", "--disk", disk, "--boot", f"loader={code},loader.readonly=yes,loader.type=pflash,"
                     f"nvram.template={code.replace('code', 'vars')}", seen=["pflash0=libvirt-pflash0-format"], console="BdsDxe|UEFI")
