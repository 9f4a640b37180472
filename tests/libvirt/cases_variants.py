# SPDX-License-Identifier: MIT
"""Domains of other shapes, each made paused and let go on: what people have in their XML beside the usual disk and NIC.

A row: name -> (elements for <devices>, elements for <domain>, what the emulator's command line must hold). {dir} is the
test's folder; files that are named there are made by `files`.
"""
import base64
import os
import subprocess
import time

import debian
from domain import NAME, case
from rig import Failed

DISK = "<disk type='file' device='{kind}'><driver name='qemu' type='{fmt}'{more}/><source file='{{dir}}/{file}'/><target dev='{dev}' bus='{bus}'/>{inside}</disk>"


def disk(file="x.raw", fmt="raw", more="", dev="vdx", bus="virtio", kind="disk", inside=""):
    return DISK.format(file=file, fmt=fmt, more=more, dev=dev, bus=bus, kind=kind, inside=inside)


VARIANTS = {
    "cache": (disk(more=" cache='none' io='native' discard='unmap' detect_zeroes='unmap'"), "", '"direct":true'),
    "uring": (disk(more=" cache='writeback' io='io_uring'"), "", "io_uring"),
    "writethrough": (disk(more=" cache='writethrough'"), "", '"write-cache":"off"'),
    "unsafe": (disk(more=" cache='unsafe'"), "", '"no-flush":true'),
    "werror": (disk(more=" error_policy='stop' rerror_policy='report'"), "", '"werror":"stop"'),
    "copy-on-read": (disk(more=" copy_on_read='on'"), "", "copy-on-read"),
    "readonly": (disk(inside="<readonly/>"), "", '"read-only":true'),
    "shareable": (disk(inside="<shareable/>", more=" cache='none'"), "", '"share-rw":true'),
    "iothread": (disk(more=" iothread='1' queues='2'"), "<iothreads>1</iothreads>", '"iothread":"iothread1"'),
    "throttled": (disk(inside="<iotune><total_iops_sec>1000</total_iops_sec></iotune>"), "", "virtio-disk"),
    "blockio": (disk(inside="<blockio logical_block_size='4096' physical_block_size='4096'/>"), "", '"logical_block_size":4096'),
    "boot order": (disk(inside="<boot order='1'/>"), "", '"bootindex":1'),
    "scsi": (disk(dev="sdb", bus="scsi", inside="<vendor>LYRE</vendor><product>DISK</product><wwn>5000c50015ea71ab</wwn>"), "", "scsi-hd"),
    "cd of a file": (disk(dev="sdb", bus="scsi", kind="cdrom"), "", "scsi-cd"),
    "slice": ("<disk type='file'><driver name='qemu' type='raw'/><source file='{dir}/x.raw'><slices>"
              "<slice type='storage' offset='1048576' size='1048576'/></slices></source><target dev='vdx' bus='virtio'/></disk>", "", '"offset":1048576'),
    "encrypted": (disk("x.luks", inside="<encryption format='luks'><secret type='passphrase' uuid='6c797265-0000-4000-8000-00000000000a'/></encryption>"),
                  "", '"keyid":"masterKey0"'),
    "by nbd": ("<disk type='network'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'>"
               "<host transport='unix' socket='{dir}/disk.sock'/></source><target dev='vdx' bus='virtio'/></disk>", "", '"driver":"nbd"'),
    "9p": ("<filesystem type='mount' accessmode='mapped'><source dir='{dir}'/><target dir='share'/></filesystem>", "", "virtio-9p-pci"),
    "watchdog": ("<watchdog model='i6300esb' action='poweroff'/>", "", "i6300esb"),
    "tcp serial": ("<serial type='tcp'><source mode='bind' host='127.0.0.1' service='5557'/><protocol type='telnet'/></serial>", "", "telnet=on"),
    "file serial": ("<serial type='file'><source path='{dir}/second.log'/></serial>", "", "/dev/fdset/"),
    "channels": ("<channel type='pty'><target type='virtio' name='a'/></channel><channel type='unix'><source mode='bind' path='{dir}/c.sock'/>"
                 "<target type='virtio' name='b'/></channel>", "", '"name":"b"'),
    "virtio console": ("<console type='pty'><target type='virtio' port='1'/></console>", "", "virtconsole"),
    "nic queues": ("<interface type='user'><model type='virtio'/><driver rx_queue_size='512' queues='1'><host csum='off'/></driver></interface>", "", '"rx_queue_size":512'),
    "link down": ("<interface type='user'><model type='virtio'/><link state='down'/></interface>", "", "virtio-net-pci"),
    "tap": ("<interface type='ethernet'><target dev='lyretap'/><model type='virtio'/><mtu size='1400'/></interface>", "", '"host_mtu":1400'),
    "rng": ("<rng model='virtio'><rate bytes='1024' period='1000'/><backend model='builtin'/></rng>", "", "rng-builtin"),
    "transitional": ("<rng model='virtio-non-transitional'><backend model='random'>/dev/random</backend></rng>", "", "virtio-rng-pci-non-transitional"),
    "pci bridge": ("<controller type='pci' model='pcie-to-pci-bridge'/>", "", "pcie-pci-bridge"),
    "vmcoreinfo": ("", "<features><vmcoreinfo state='on'/></features>", "vmcoreinfo"),
    "localtime": ("", "<clock offset='localtime'/>", "base=localtime"),
    "another time": ("", "<clock offset='variable' adjustment='-3600' basis='utc'/>", "base=20"),
    "boot menu": ("", "<os><type arch='riscv64' machine='virt'>hvm</type><bootmenu enable='yes' timeout='100'/></os>", "menu=on"),
    "flash": ("", "<os><type arch='riscv64' machine='virt'>hvm</type><loader readonly='yes' type='pflash'>{dir}/code.fd</loader>"
              "<nvram>{dir}/vars.fd</nvram></os>", "pflash0=libvirt-pflash0-format"),
    "title": ("", "<title>a title, with = and ,</title><metadata/>", "guest="),
    "commandline": ("", "<commandline xmlns='http://libvirt.org/schemas/domain/qemu/1.0'><arg value='-d'/><arg value='guest_errors'/></commandline>", "guest_errors"),
}


def files(d):
    d.tool("create", "-q", "-f", "raw", d.path("x.raw"), "16M")
    d.tool("create", "-q", "-f", "raw", d.path("code.fd"), "32M")
    d.tool("create", "-q", "-f", "raw", d.path("vars.fd"), "32M")
    with open(d.path("key"), "w") as f:
        f.write("a passphrase")
    d.tool("create", "-q", "-f", "luks", "--object", f"secret,id=k,file={d.path('key')}", "-o", "key-secret=k,iter-time=10", d.path("x.luks"), "16M")
    d.lv.define("<secret ephemeral='no' private='no'><uuid>6c797265-0000-4000-8000-00000000000a</uuid></secret>", "secret-define")
    d.virsh("secret-set-value", "6c797265-0000-4000-8000-00000000000a", "--base64", base64.b64encode(b"a passphrase").decode())


def nbd_server(d):
    tool = os.path.join(debian.BUILD, "lyre-nbd")
    d.tool("create", "-q", "-f", "raw", d.path("y.raw"), "16M")
    p = subprocess.Popen([tool, "-t", "-e", "0", "-f", "raw", "-x", "x", "-k", d.path("disk.sock"), d.path("y.raw")])
    end = time.monotonic() + 60
    while not os.path.exists(d.path("disk.sock")) and time.monotonic() < end:
        time.sleep(0.02)
    return p


def variant(d, name):
    devices, more, said = VARIANTS[name]
    xml = d.xml(d.image("other", "16M")).replace(f"<name>{NAME}</name>", "<name>other</name>").replace("-000000000001</uuid>", "-000000000002</uuid>")
    xml = xml.replace("</devices>", devices.replace("{dir}", d.folder) + "</devices>")
    xml = xml.replace("<devices>", more.replace("{dir}", d.folder) + "<devices>", 1) if more else xml
    if "<os>" in more:
        xml = xml[:xml.index("<os>")] + xml[xml.index("</os>") + 5:]
    d.lv.define(xml, "create", "--paused")
    try:
        with open("/var/log/libvirt/qemu/other.log") as f:
            line = f.read().rpartition("LC_ALL=C")[2].replace("\\\n", "")
        if said not in line:
            raise Failed(f"the command line has no '{said}'")
        d.virsh("resume", "other")
        d.expect("domstate", d.virsh("domstate", "other"), "running")
    finally:
        d.virsh("destroy", "other")


@case("variants", "any")
def variants(d):
    """Domains of other shapes begin: caches, errors, throttles, SCSI, encryption, NBD, 9p, channels, NICs, clocks, flash."""
    files(d)
    wrong = []
    server = nbd_server(d)
    try:
        for name in VARIANTS:
            if name == "tap" and not os.path.exists("/dev/net/tun") or name == "flash" and d.args.peer:    # 7.2 has no pflash0
                continue
            try:
                variant(d, name)
            except Failed as e:
                wrong.append(f"{name}: {e}")
    finally:
        server.kill()
        server.wait()
    d.note = f"{len(VARIANTS) - len(wrong)} of {len(VARIANTS)}"
    if wrong:
        raise Failed("\n  ".join([f"{len(wrong)} of {len(VARIANTS)} do not begin"] + wrong))
