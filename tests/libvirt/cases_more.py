# SPDX-License-Identifier: MIT
"""What people do beside the daily: jobs looked at and taken back, threads pinned, events followed, guests that panic, machines that
move to another libvirtd. What these do is in their first lines.
"""
import json
import os
import re
import shutil
import subprocess
import time

import debian
import rig
from cases_disks import PUSH, backup, job_end, uses
from domain import MIB, NAME, case
from rig import Failed

QEMU_NS = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"


def until(d, what, true, seconds=30):
    end = time.monotonic() + seconds * d.t
    while not true():
        if time.monotonic() > end:
            raise Failed(what)
        time.sleep(0.05)


@case("monitor")
def monitor(d):
    """QMP and the console for commands through virsh."""
    d.expect("query-status", d.virsh("qemu-monitor-command", NAME, '{"execute": "query-status"}'), '"status": ?"running"')
    d.expect("query-name", d.virsh("qemu-monitor-command", NAME, "--pretty", "query-name"), f'"name": "{NAME}"')
    d.expect("info status", d.virsh("qemu-monitor-command", NAME, "--hmp", "info status"), "VM status: running")
    d.expect("info block", d.virsh("qemu-monitor-command", NAME, "--hmp", "info", "block"), "vda.qcow2|vda\\d+.qcow2|\\.qcow2|\\.raw")


@case("refused")
def refused(d):
    """What this machine has not is refused in words, and the domain goes on."""
    for words, why in ((("screenshot", NAME), "no screens"), (("inject-nmi", NAME), "NMI"), (("vncdisplay", NAME), "VNC"),
                       (("setvcpus", NAME, 1, "--live"), "hotpluggable vcpus"), (("setvcpus", NAME, 9, "--live"), "greater than max"),
                       (("dompmwakeup", NAME), "wake-?up"), (("attach-disk", NAME, d.path("nowhere"), "vdq"), "No such file")):
        d.expect(words[0], d.virsh(*words, fails=True), why)
    d.expect("the guest", d.ask("echo here"), "here")


@case("events")
def events(d):
    """`virsh event` and `qemu-monitor-event` tell of what happens."""
    heard, qmp = (subprocess.Popen(["virsh", "-c", rig.URI, *words, "--loop", "--timeout", "60"], stdout=subprocess.PIPE, text=True)
                  for words in (("event", NAME, "--all"), ("qemu-monitor-event", NAME)))
    try:
        time.sleep(0.5)                 # nothing tells when they listen
        for _ in range(3):
            d.virsh("suspend", NAME)
            d.virsh("resume", NAME)
        d.virsh("domblkthreshold", NAME, "vda", 65536)
        d.ask("dd if=/dev/urandom of=/dev/vda bs=64k count=40 seek=300 conv=fsync 2>/dev/null")
        said = ""
        end = time.monotonic() + 30 * d.t
        while not all(w in said for w in ("Suspended", "Resumed", "block-threshold")):
            if time.monotonic() > end:
                raise Failed(f"virsh event: {said}")
            said += heard.stdout.readline()
        if "STOP" not in qmp.stdout.readline() + qmp.stdout.readline():
            raise Failed("qemu-monitor-event says no STOP")
    finally:
        for p in heard, qmp:
            p.kill()
            p.wait()


@case("pin")
def pin(d):
    """vCPUs, I/O threads and all others are threads that can be put on a CPU of the host."""
    d.virsh("iothreadadd", NAME, 3, "--live")
    for words in ("vcpupin", NAME, 1, 0), ("iothreadpin", NAME, 3, 0), ("emulatorpin", NAME, 0):
        d.virsh(*words, "--live")
    cpus = json.loads(d.virsh("qemu-monitor-command", NAME, '{"execute": "query-cpus-fast"}'))["return"]
    with open(f"/proc/{cpus[1]['thread-id']}/status") as f:
        allowed = re.search(r"Cpus_allowed_list:\s*(\S+)", f.read())[1]
    if allowed != "0":
        raise Failed(f"the thread of CPU 1 may run on {allowed}")
    d.expect("vcpupin", d.virsh("vcpupin", NAME), "1 +0$")
    d.expect("vcpuinfo", d.virsh("vcpuinfo", NAME), "CPU time: +[0-9.]+s")
    d.virsh("iothreaddel", NAME, 3, "--live")
    everywhere = f"0-{os.cpu_count() - 1}"
    for words in ("vcpupin", NAME, 1), ("emulatorpin", NAME):
        d.virsh(*words, everywhere, "--live")


@case("dirtyrate")
def dirtyrate(d):
    """How much memory the guest writes is measured."""
    d.virsh("domdirtyrate-calc", NAME, "--seconds", 1)
    until(d, "no end of the measurement", lambda: "calc_status=2" in d.virsh("domstats", NAME, "--dirtyrate"))
    d.expect("domstats", d.virsh("domstats", NAME, "--dirtyrate"), "dirtyrate.megabytes_per_second=\\d+")


@case("reboot")
def reboot(d):
    """By the agent: the guest boots again, in the same process."""
    domain = d.virsh("domid", NAME)
    d.virsh("reboot", NAME, "--mode", "agent")
    for what in "GUEST READY", "= ready", "# ":
        d.said(what, 90)
    if d.virsh("domid", NAME) != domain:
        raise Failed("it is another domain")


@case("blockjob")
def blockjob(d):
    """A copy is looked at, slowed, taken back; another one is pivoted to afterwards."""
    copy = d.path("job.qcow2")
    d.virsh("blockcopy", NAME, "vda", "--dest", copy, "--format", "qcow2", "--transient-job", "--bandwidth", 1)
    d.expect("blockjob", d.virsh("blockjob", NAME, "vda", "--raw"), "type=Block Copy")
    d.virsh("blockjob", NAME, "vda", "--bandwidth", 5)
    d.expect("blockjob", d.virsh("blockjob", NAME, "vda", "--raw"), "bandwidth=5$")
    d.virsh("blockjob", NAME, "vda", "--abort")
    d.expect("blockjob", d.virsh("blockjob", NAME, "vda"), "No current block job")
    uses(d, d.disk)
    os.unlink(copy)
    d.virsh("blockcopy", NAME, "vda", "--dest", copy, "--format", "qcow2", "--transient-job", "--wait")
    d.write(120, "mirrored")
    d.virsh("blockjob", NAME, "vda", "--pivot")
    uses(d, copy)
    d.write(121, "pivoted")
    d.expect_block(copy, 120, "mirrored")
    d.disk = copy


@case("quiesce")
def quiesce(d):
    """File systems are frozen by the agent, for a snapshot too, and thawed."""
    d.expect("domfsfreeze", d.virsh("domfsfreeze", NAME), "1 filesystem")
    d.said("= frozen")
    d.virsh("domfsthaw", NAME)
    d.said("= thawed")
    top = d.path("quiet.qcow2")
    d.virsh("snapshot-create-as", NAME, "quiet", "--disk-only", "--quiesce", "--no-metadata", "--diskspec", f"vda,file={top}")
    d.said("= frozen")
    d.said("= thawed")
    d.disk = top


@case("external-delete")
def external_delete(d):
    """A snapshot on disk that libvirt has in its books: its revert is refused by libvirt, its overlay is merged down with the job."""
    base, top = d.disk, d.path("booked.qcow2")
    d.virsh("snapshot-create-as", NAME, "booked", "--disk-only", "--diskspec", f"vda,file={top}")
    d.expect("snapshot-info", d.virsh("snapshot-info", NAME, "booked"), "Location: +external")
    d.virsh("snapshot-revert", NAME, "booked", fails=True)
    d.write(122, "kept")
    d.virsh("snapshot-delete", NAME, "booked", "--metadata")
    d.virsh("blockcommit", NAME, "vda", "--active", "--shallow", "--wait")
    d.expect("blockjob", d.virsh("blockjob", NAME, "vda", "--raw"), "type=Active Block Commit")
    d.virsh("blockjob", NAME, "vda", "--pivot")
    uses(d, base)
    d.write(123, "flushed")
    d.expect_block(base, 122, "kept")


@case("snapshot-tree")
def snapshot_tree(d):
    """Two of them, back to the first one, paused; both deleted as parent and child."""
    d.ask("me=first")
    d.virsh("snapshot-create-as", NAME, "t1")
    d.ask("me=second")
    d.virsh("snapshot-create-as", NAME, "t2")
    d.expect("snapshot-parent", d.virsh("snapshot-parent", NAME, "t2"), "^t1$")
    d.virsh("snapshot-revert", NAME, "t1", "--paused")
    d.want_state("paused")
    d.virsh("resume", NAME)
    d.reconnect()
    d.expect("the guest", d.ask("echo $me"), "^first$")
    d.virsh("snapshot-delete", NAME, "t1", "--children")
    d.expect("snapshot-list", d.virsh("snapshot-list", NAME, "--name"), "^$")


@case("backup-restart")
def backup_restart(d):
    """What changed is known beyond the end of the machine: a backup of changes after it."""
    part = d.path("since.qcow2")
    d.write(130, "unchanged")
    d.virsh("checkpoint-create-as", NAME, "over")
    d.virsh("destroy", NAME)
    d.start()
    d.write(131, "changed")
    d.virsh("backup-begin", NAME, backup(d, PUSH.format(since="<incremental>over</incremental>", file=part)))
    job_end(d, "the backup of changes")
    d.expect_block(part, 131, "changed")
    d.virsh("checkpoint-delete", NAME, "over")


def other_domain(d, xml):
    """The domain in another shape, booted."""
    d.disconnect()
    d.virsh("destroy", NAME)
    d.lv.define(xml)
    d.start()


def usual_domain(d):
    d.disconnect()
    if d.state() != "shut off":
        d.virsh("destroy", NAME)
    d.virsh("undefine", NAME, "--nvram")


@case("panic")
def panic(d):
    """A guest that panics is kept as it was, dumped, and its domain is crashed."""
    other_domain(d, d.xml().replace("<domain type='qemu'>", f"<domain type='qemu' {QEMU_NS}>").replace(
        "</domain>", "<on_crash>preserve</on_crash><qemu:commandline><qemu:arg value='-device'/><qemu:arg value='pvpanic-pci,addr=0x1f'/>"
        "</qemu:commandline></domain>"))
    d.guest.type("cd /sys/bus/pci/devices/0000:00:1f.0; echo 1 > enable; devmem $(head -n 1 resource | cut -d' ' -f1) 8 1\n")
    d.want_state("crashed")
    d.expect("domstate", d.virsh("domstate", NAME, "--reason"), "crashed \\(panicked\\)")
    core = d.path("panic.core")
    d.virsh("dump", NAME, core, "--memory-only")
    if os.path.getsize(core) < 256 * MIB:
        raise Failed("it does not hold all memory")
    os.unlink(core)
    usual_domain(d)


@case("dump-crash")
def dump_crash(d):
    """Dumped, and ended with that."""
    core = d.path("crash.core")
    d.virsh("dump", NAME, core, "--memory-only", "--crash")
    d.expect("domstate", d.virsh("domstate", NAME, "--reason"), "shut off \\(crashed\\)")
    os.unlink(core)


@case("acpi", peer="its board has no ACPI")
def acpi(d):
    """With firmware in flash the guest has ACPI: `virsh shutdown` presses its button."""
    code, variables = (os.path.join(d.args.guests, "debian", f) for f in ("edk2-code.fd", "edk2-vars.fd"))
    if not os.path.exists(code):
        d.note = "left away: no EDK2 (tests/guests/make-debian)"
        return
    shutil.copy(variables, d.path("acpi-vars.fd"))
    flash = f"<loader readonly='yes' type='pflash'>{code}</loader><nvram>{d.path('acpi-vars.fd')}</nvram>"
    other_domain(d, d.xml().replace("</initrd>", "</initrd>" + flash).replace("<memory unit='MiB'>256", "<memory unit='MiB'>512"))
    d.ask("[ -d /sys/firmware/acpi/tables ] && [ -d /sys/firmware/efi ]")
    pressed = "awk '/ACPI:Ged/ { n = $2 + $3 } END { exit !n }' /proc/interrupts"
    d.ask(f"grep -q ACPI:Ged /proc/interrupts; ! {pressed}")
    d.virsh("shutdown", NAME, "--mode", "acpi")
    # A guest that has no evdev module sees the button, and nobody there hears of it.
    if d.ask("ls /dev/input/event* 2>/dev/null | head -n 1"):
        d.want_state("shut off")
    else:
        d.ask(f"i=0; until {pressed} || [ $i = 100 ]; do sleep 0.1; i=$((i+1)); done; [ $i -lt 100 ]")
    usual_domain(d)


@case("migrate")
def migrate(d):
    """To another libvirtd, by TCP and by a socket, while the guest runs; its shell goes on there; and back."""
    d.ask("me=moved")
    there = rig.Second(d.lv)
    try:
        for uri in "tcp://127.0.0.1:49200", f"unix://{d.path('move.sock')}":
            d.disconnect()
            d.virsh("migrate", "--live", "--persistent", "--undefinesource", "--unsafe", NAME, there.uri, "--migrateuri", uri)
            if NAME in d.virsh("list", "--all", "--name").split():
                raise Failed("it is still here")
            there.virsh("migrate", "--live", "--persistent", "--undefinesource", "--unsafe", NAME, rig.URI, "--migrateuri", uri.replace("49200", "49201"))
            d.want_state("running")
            d.reconnect()
            d.expect("the guest", d.ask("echo $me"), "^moved$")
            d.write(132, "moved")
            d.expect_read(132, "moved")
    finally:
        there.close()
