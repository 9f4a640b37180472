# SPDX-License-Identifier: MIT
"""Using a Debian guest as a user does: log in on the console and by ssh, look at units, address and
CPUs, install packages; and judging what is on its disk afterwards.

The functions take a run: something with `guest` (guest.py), `args` (guests: the folder made by
tests/guests/make-debian), `port` (forwarded to the guest's ssh, or None), `smp`, and `mark(phase)`.
Seconds are deadlines, already multiplied by --patience; `t` is that factor.
"""
import gzip
import os
import shutil
import socket
import subprocess

from guest import GuestError, dies_with_us

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.environ.get("LYRE_SRC") or os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("LYRE_BUILD") or os.path.join(SRC, "build")
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
GUESTS = os.environ.get("LYRE_GUESTS") or os.path.join(CACHE, "lyre", "guests")
EMULATOR = os.path.join(BUILD, "lyre-system-riscv64")
PEER = "qemu-system-riscv64"
PROMPT = r"root@guest:~# "

# name: (options of the emulator for the drive d, the disk's name in the guest)
BUSES = {
    "virtio-blk-pci": (["-device", "virtio-blk-pci,drive=d"], "vda"),
    "virtio-blk-device": (["-device", "virtio-blk-device,drive=d"], "vda"),
    "nvme": (["-device", "nvme,drive=d,serial=lyre0"], "nvme0n1"),
    "virtio-scsi-pci": (["-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,drive=d,bus=s.0"], "sda"),
    "virtio-scsi-device": (["-device", "virtio-scsi-device,id=s", "-device", "scsi-hd,drive=d,bus=s.0"], "sda"),
}


class Missing(Exception):
    """Something that the scenario needs is not on this host."""


def need(*path):
    p = os.path.join(*path)
    if not os.path.exists(p):
        raise Missing(f"{p} is not there (tests/guests/make-debian)")
    return p


def image_tool():
    for tool in os.path.join(BUILD, "lyre-img"), "lyre-img", "qemu-img":
        if shutil.which(tool):
            return tool
    raise Missing("neither lyre-img nor qemu-img is there")


def make_overlay(backing, overlay):
    subprocess.run([image_tool(), "create", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", overlay], check=True)


def newc(name, data):
    """An entry of a cpio archive (newc)."""
    head = "070701" + "".join(f"{v:08X}" for v in (1, 0o100755 if data else 0, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    out = head.encode() + name.encode() + b"\0"
    out += b"\0" * (-len(out) % 4) + data
    return out + b"\0" * (-len(out) % 4)


def add_to_initrd(guests, path, *files):
    """The busybox guest's own initrd, and behind it an archive of these files for its root folder."""
    with open(need(guests, "riscv64", "initrd.gz"), "rb") as old, open(path, "wb") as new:
        new.write(old.read())
        for file in files:
            with open(file, "rb") as f:
                new.write(gzip.compress(newc(os.path.basename(file), f.read())))
        new.write(gzip.compress(newc("TRAILER!!!", b"")))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def last_word(text):
    return (text.split() or ["nothing"])[-1]


# --- on the console ----------------------------------------------------------------------------------


def command(g, text, seconds):
    """Types a command to the shell on the console; returns what it said."""
    g.type(text + "; echo \"<\"status $?\">\"\n")
    begin = g.seen
    m = g.wait(r"<status (\d+)>", seconds)
    if m[1] != "0":
        raise GuestError(f"'{text}' ended with status {m[1]}")
    g.wait(PROMPT, seconds)
    return g.text[begin:m.start()]


def log_in(run, t):
    g = run.guest
    g.wait(r"Linux version 6\.", 60 * t)
    run.mark("kernel")
    g.wait(r"guest login: ", 300 * t)
    run.mark("login")
    g.type("root\n")
    g.wait(PROMPT, 60 * t)
    # plain lines from here on: no width to wrap at, no colours
    command(g, "stty -echo cols 500; export TERM=dumb PAGER=cat", 20 * t)


def check_units(g, t):
    state = command(g, "systemctl is-system-running --wait || true", 180 * t)
    failed = command(g, "systemctl list-units --failed --plain --no-legend", 60 * t)
    if "running" not in state:
        raise GuestError(f"systemctl is-system-running: {last_word(state)}; failed: {failed.strip()[-200:]}")


def check_cpus(g, t, smp):
    n = last_word(command(g, "nproc", 20 * t))
    if n != str(smp):
        raise GuestError(f"the guest sees {n} CPUs, not {smp}")


def check_address(g, t):
    command(g, "for i in $(seq 60); do ip -4 -o addr show eth0 | grep -q 'inet 10.0.2.15/24' && break; "
               "sleep 1; done; ip -4 -o addr show eth0 | grep 'inet 10.0.2.15/24'", 90 * t)
    command(g, "ip route | grep 'default via 10.0.2.2'", 20 * t)


# --- by ssh ------------------------------------------------------------------------------------------


def ssh(run, text, seconds):
    """A command by ssh, through the forwarded port; returns what it said."""
    argv = ["ssh", "-i", need(run.args.guests, "debian", "ssh-key"), "-p", str(run.port), "-F", "none",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, int(seconds))}", "root@127.0.0.1", text]
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, preexec_fn=dies_with_us)
    try:
        run.guest.while_reading(p, seconds)
    except subprocess.TimeoutExpired as e:
        raise GuestError(f"ssh: '{text}' took longer than {seconds:g} s") from e
    if p.returncode:
        raise GuestError(f"ssh: '{text}' ended with status {p.returncode}: {p.output.strip()[-300:]}")
    return p.output


APT = "DEBIAN_FRONTEND=noninteractive apt-get -qq -y"


def install_package(run, t):
    """A package from the archive; one that an earlier run has installed is purged first."""
    package = run.args.package
    has = f"dpkg-query -W -f '${{Status}}' {package}"
    ssh(run, f"if {has} 2>&1 | grep -q installed; then {APT} purge {package}; fi", 100 * t)
    ssh(run, "apt-get -qq update", 300 * t)
    run.mark("update")
    out = ssh(run, f"{APT} --no-install-recommends install {package} && {has}", 300 * t)
    if "install ok installed" not in out:
        raise GuestError(f"{package} is not installed: {out.strip()[-200:]}")
    run.mark("install")


# --- afterwards --------------------------------------------------------------------------------------


def judge_disk(overlay):
    """What is on the overlay after the end: a sound image, and a sound file system."""
    tool, raw = image_tool(), overlay + ".raw"
    try:
        for argv in ([tool, "check", "-q", overlay], [tool, "convert", "-O", "raw", overlay, raw],
                     ["e2fsck", "-f", "-n", raw]):
            p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if p.returncode:
                raise GuestError(f"{' '.join(argv[:2])}: status {p.returncode}: {p.stdout.strip()[-400:]}")
    finally:
        if os.path.exists(raw):
            os.unlink(raw)
