# SPDX-License-Identifier: MIT
"""From the first look at the emulator to a running guest whose devices come and go. What these do is in their first lines."""
import os
import re
import subprocess
import time

import probe
from domain import MIB, NAME, case
from rig import Failed


# --- before there is a machine


@case("domcapabilities", "any")
def domcapabilities(d):
    """The emulator is taken, and offers disks by virtio and I/O threads."""
    said = d.virsh("domcapabilities", "--emulatorbin", d.args.emulator, "--arch", "riscv64", "--machine", "virt", "--virttype", "qemu")
    for what in "<domain>qemu", "<machine>virt", "<arch>riscv64", "<value>virtio<", "<iothreads supported='yes'/>":
        d.expect("domcapabilities", said, what)


@case("capabilities", "any")
def capabilities(d):
    """An emulator on PATH is found by its name."""
    said = d.virsh("capabilities")
    for what in "<arch name='riscv64'>", "<machine maxCpus='\\d+'>virt<", "<domain type='qemu'/>", "<disksnapshot default='on'":
        d.expect("capabilities", said, what)


@case("probe", "any")
def probing(d):
    """What the first look at an emulator cost: commands, bytes, time; under 200 kB."""
    commands, size, seconds = probe.measure(d)
    d.note = f"{commands} commands, {size / 1000:.0f} kB of answers, {seconds * 1000:.0f} ms, load {os.getloadavg()[0]:.1f}"
    if size > 200000 and not d.args.peer:
        raise Failed(f"the answers have {size} bytes")


@case("define", "any")
def define(d):
    """The domain is taken, and its XML comes back with addresses."""
    d.define()
    said = d.virsh("dumpxml", NAME)
    d.expect("dumpxml", said, "<address type='pci'")
    d.expect("list", d.virsh("list", "--all"), f"{NAME} +shut off")


@case("start", "any")
def start(d):
    """The guest boots to its shell."""
    d.ensure_defined()
    d.start()
    d.want_state("running")


@case("console")
def console(d):
    """What is typed at `virsh console` reaches the guest, a long line too; the log file has what it said."""
    d.expect("the guest", d.ask("uname -m"), "riscv64")
    d.expect("the guest", d.ask("echo " + "0123456789" * 30 + " | wc -c"), "^301$")
    with open(d.path("serial.log"), errors="replace") as f:
        d.expect("serial.log", f.read(), "GUEST READY")


# --- a running machine


@case("suspend")
def suspend(d):
    """The guest stands: nothing it prints comes."""
    d.ask("(while true; do echo =t=; sleep 0.1; done) & echo $! >/tmp/ticks")
    d.said("=t=")
    d.virsh("suspend", NAME)
    d.want_state("paused")
    for _ in range(5):
        d.guest._read(0.05)
    before = len(d.guest.text)
    d.guest._read(0.5)
    if len(d.guest.text) != before:
        raise Failed("the guest goes on")


@case("resume")
def resume(d):
    """It goes on."""
    d.virsh("suspend", NAME)
    d.virsh("resume", NAME)
    d.want_state("running")
    d.ask("[ ! -e /tmp/ticks ] || kill $(cat /tmp/ticks)")


@case("reset")
def reset(d):
    """The guest boots again in the same process."""
    pid = d.virsh("domid", NAME)
    d.virsh("reset", NAME)
    d.said("GUEST READY", 90)
    d.said("= ready")
    d.said("# ")
    if d.virsh("domid", NAME) != pid:
        raise Failed("it is another domain")


@case("info")
def info(d):
    """dominfo, domblklist, domblkinfo, domiflist, vcpucount, domdisplay, domtime's kin say what is in the XML."""
    d.expect("dominfo", d.virsh("dominfo", NAME), "State: +running")
    d.expect("dominfo", d.virsh("dominfo", NAME), "CPU\\(s\\): +2")
    d.expect("domblklist", d.virsh("domblklist", NAME), "vda +" + d.disk)
    d.expect("domblkinfo", d.virsh("domblkinfo", NAME, "vda"), f"Capacity: +{64 * MIB}")
    d.expect("domiflist", d.virsh("domiflist", NAME), "user +- +virtio +52:54:00:00:00:01")
    d.expect("vcpucount", d.virsh("vcpucount", NAME, "--live", "--active"), "2")


@case("domblkstat")
def domblkstat(d):
    """Requests and bytes of the guest are counted."""
    def writes():
        said = d.virsh("domblkstat", NAME, "vda")
        return [int(re.search(rf"vda {key} (\d+)", said)[1]) for key in ("wr_req", "wr_bytes", "flush_operations", "rd_req")]
    before = writes()
    d.write(3, "counted")
    d.read(3)
    after = writes()
    if any(a <= b for a, b in zip(after, before)):
        raise Failed(f"writes, bytes, flushes, reads: {before}, then {after}")


@case("domstats")
def domstats(d):
    """State, CPUs, balloon, network, disks with their nodes."""
    said = d.virsh("domstats", NAME)
    for what in "state.state=1", "vcpu.current=2", "balloon.current=262144", "block.count=2", "block.0.name=vda", "block.0.wr.reqs=\\d+", \
            f"block.0.capacity={64 * MIB}", "net.count=1":
        d.expect("domstats", said, what)


@case("setmem")
def setmem(d):
    """The balloon takes memory from the guest and gives it back; dommemstat says so, with the guest's numbers."""
    d.virsh("setmem", NAME, "200M", "--live")
    end = time.monotonic() + 30 * d.t
    while not re.search("^actual 204800$", d.virsh("dommemstat", NAME), re.M):
        if time.monotonic() > end:
            raise Failed("dommemstat: " + d.virsh("dommemstat", NAME))
        time.sleep(0.1)
    for what in "^unused \\d+", "^available \\d+", "^usable \\d+", "^rss \\d+", "^last_update [1-9]":
        d.expect("dommemstat", d.virsh("dommemstat", NAME), what)
    d.virsh("setmem", NAME, "256M", "--live")


@case("agent")
def agent(d):
    """The channel is connected, and what is sent there is answered by the guest."""
    d.expect("dumpxml", d.virsh("dumpxml", NAME), "guest_agent.0' state='connected'")
    d.expect("guest-ping", d.virsh("qemu-agent-command", NAME, '{"execute":"guest-ping"}'), '"return"')


@case("domif-setlink")
def setlink(d):
    """The guest's NIC loses its carrier, and has it again."""
    d.ask("ip link set eth0 up")
    for state, carrier in ("down", "0"), ("up", "1"):
        d.virsh("domif-setlink", NAME, "52:54:00:00:00:01", state)
        d.ask(f"i=0; while [ $(cat /sys/class/net/eth0/carrier) != {carrier} ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; [ $i -lt 100 ]")
        d.expect("domif-getlink", d.virsh("domif-getlink", NAME, "52:54:00:00:00:01"), state)


@case("blockresize")
def blockresize(d):
    """The disk grows under the guest, which sees it."""
    size = 80 * MIB
    d.virsh("blockresize", NAME, "vda", f"{size}B")
    d.ask(f"i=0; while [ $(cat /sys/block/vda/size) != {size // 512} ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; [ $i -lt 100 ]")
    d.expect("domblkinfo", d.virsh("domblkinfo", NAME, "vda"), f"Capacity: +{size}")


@case("blkdeviotune")
def blkdeviotune(d):
    """Limits are set, read back, and lifted."""
    d.virsh("blkdeviotune", NAME, "vda", "--total-iops-sec", 500, "--total-bytes-sec", 8 * MIB, "--live")
    said = d.virsh("blkdeviotune", NAME, "vda")
    d.expect("blkdeviotune", said, "total_iops_sec *: *500$")
    d.expect("blkdeviotune", said, f"total_bytes_sec *: *{8 * MIB}$")
    d.write(4, "slow")
    d.virsh("blkdeviotune", NAME, "vda", "--total-iops-sec", 0, "--total-bytes-sec", 0, "--live")
    d.expect("blkdeviotune", d.virsh("blkdeviotune", NAME, "vda"), "total_iops_sec *: *0$")


# --- things that come and go


@case("attach-disk")
def attach_disk(d):
    """A disk is plugged while the guest runs, written to, unplugged: the bytes are in its file; and once more."""
    image = d.image("vdb", "16M")
    for n in range(2):
        d.virsh("attach-disk", NAME, image, "vdb", "--targetbus", "virtio", "--subdriver", "qcow2", "--live")
        d.said("= on \\d+")
        d.ask("i=0; while [ ! -b /dev/vdb ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; [ -b /dev/vdb ]")
        d.expect("domblklist", d.virsh("domblklist", NAME), "vdb +" + image)
        if n:
            d.expect_read(5, "plugged0", "/dev/vdb")
        d.write(5, f"plugged{n}", "/dev/vdb")
        d.virsh("detach-disk", NAME, "vdb", "--live")
        d.said("= off \\d+")
        gone(d, "domblklist", "vdb")
    d.expect_block(image, 5, "plugged1")


def gone(d, command, name):
    end = time.monotonic() + 30 * d.t
    while re.search(name, d.virsh(command, NAME)):
        if time.monotonic() > end:
            raise Failed(f"{command} still lists {name}")
        time.sleep(0.1)


@case("attach-interface")
def attach_interface(d):
    """A NIC on the user network is plugged, has a card in the guest, and is unplugged."""
    xml = "<interface type='user'><mac address='52:54:00:00:00:02'/><model type='virtio'/></interface>"
    d.lv.define(xml, "attach-device", NAME, "--live")
    d.said("= on \\d+")
    d.ask("i=0; while [ ! -d /sys/class/net/eth1 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; ip link set eth1 up")
    d.expect("domiflist", d.virsh("domiflist", NAME), "52:54:00:00:00:02")
    d.virsh("detach-interface", NAME, "user", "--mac", "52:54:00:00:00:02", "--live")
    d.said("= off \\d+")
    gone(d, "domiflist", "52:54:00:00:00:02")


OTHERS = {      # what is plugged; whether a slot of the guest has to do with it
    "rng": ("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>", True),
    "channel": ("<channel type='unix'><source mode='bind' path='{dir}/plugged.sock'/><target type='virtio' name='lyre.test'/></channel>", False),
    "SCSI disk": ("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{image}'/><target dev='sdb' bus='scsi'/></disk>", False),
    "disk in an I/O thread": ("<disk type='file' device='disk'><driver name='qemu' type='qcow2' iothread='7'/><source file='{image}'/>"
                              "<target dev='vdc' bus='virtio'/></disk>", True),
    "SCSI controller": ("<controller type='scsi' model='virtio-scsi' index='3'/>", True),
}


@case("attach-others")
def attach_others(d):
    """Random numbers, channels, SCSI disks and controllers, disks in an I/O thread are plugged and unplugged."""
    image = d.image("other", "16M")
    d.virsh("iothreadadd", NAME, 7, "--live")
    for what, (xml, slot) in OTHERS.items():
        before = d.virsh("dumpxml", NAME)
        d.lv.define(xml.format(image=image, dir=d.folder), "attach-device", NAME, "--live")
        if slot:
            d.said("= on \\d+")
        d.ask("sleep 0.3")
        d.lv.define(xml.format(image=image, dir=d.folder), "detach-device", NAME, "--live")
        if slot:
            d.said("= off \\d+")
        end = time.monotonic() + 30 * d.t
        while d.virsh("dumpxml", NAME).count("<address") != before.count("<address"):
            if time.monotonic() > end:
                raise Failed(f"{what}: it is still there")
            time.sleep(0.1)
    d.virsh("iothreaddel", NAME, 7, "--live")


@case("attach-bridge")
def attach_bridge(d):
    """A NIC on a bridge of the host: a tap device whose descriptor is handed over while the guest runs; frames go through."""
    if not os.path.exists("/dev/net/tun"):
        d.note = "left away: no /dev/net/tun"
        return
    if not os.path.exists("/sys/class/net/lyre0"):
        for words in "link add lyre0 type bridge", "addr add 10.9.0.1/24 dev lyre0", "link set lyre0 up":
            subprocess.run(["ip", *words.split()], check=True)
    d.virsh("attach-interface", NAME, "bridge", "lyre0", "--mac", "52:54:00:00:00:03", "--model", "virtio", "--live")
    d.said("= on \\d+")
    d.ask("i=0; while [ ! -d /sys/class/net/eth1 ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; "
          "ip addr add 10.9.0.2/24 dev eth1; ip link set eth1 up")
    d.ask("i=0; while ! ping -c 1 -W 1 10.9.0.1 >/dev/null && [ $i -lt 20 ]; do i=$((i+1)); done; [ $i -lt 20 ]")
    tap = re.search(r"(\S+) +bridge", d.virsh("domiflist", NAME))[1]
    d.expect("domifstat", d.virsh("domifstat", NAME, tap), "rx_packets [1-9]")
    d.virsh("detach-interface", NAME, "bridge", "--mac", "52:54:00:00:00:03", "--live")
    d.said("= off \\d+")
    gone(d, "domiflist", "52:54:00:00:00:03")


@case("change-media", needs=["blockdev-open-tray"])
def change_media(d):
    """The CD is taken out, and another one put in: the guest sees none, then that."""
    disc = d.path("disc.iso")
    with open(disc, "wb") as f:
        f.write(b"a disc\n".ljust(2 * MIB, b"\0"))
    d.virsh("change-media", NAME, "sda", disc, "--insert", "--live")
    d.ask("i=0; while ! dd if=/dev/sr0 bs=2k count=1 2>/dev/null | grep -q 'a disc' && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; [ $i -lt 100 ]")
    d.virsh("change-media", NAME, "sda", "--eject", "--live")
    d.ask("i=0; while dd if=/dev/sr0 of=/dev/null bs=2k count=1 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done; [ $i -lt 100 ]")


@case("iothreads")
def iothreads(d):
    """A thread for disks comes, and goes."""
    d.virsh("iothreadadd", NAME, 5, "--live")
    d.expect("iothreadinfo", d.virsh("iothreadinfo", NAME), "^ 5 ")
    d.virsh("iothreaddel", NAME, 5, "--live")
    if re.search("^ 5 ", d.virsh("iothreadinfo", NAME), re.M):
        raise Failed("it is still there")
