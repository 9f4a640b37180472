#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Wrong command lines, as people write them: each ends with status 1 at once,
without a signal and with nothing on stdout, and says what is wrong, why, and
what to do about it.

A row is the command line and the words that have to be in the message: at least
the thing, the reason, the way out. In a line, {D} is a folder of files made
here, {PORT} a TCP port in use, {IDLE} and {QUIET} stand for a machine that
would otherwise run. One more case is one more row.

    wrong_lines.py [WORD...]      only rows whose line holds one of the words
    wrong_lines.py -v             with all messages, to read them"""
import gzip
import os
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

BUILD = os.environ.get("LYRE_BUILD", "build")
EMU = os.path.abspath(os.path.join(BUILD, "lyre-system-riscv64"))
QUICK = 10          # seconds, on a loaded machine

IDLE = "-bios {D}/idle.bin -display none"
QUIET = "-display none"

LINES = [
    # ---- the machine
    ("-M vrit", "-M", "no machine 'vrit'", "Did you mean 'virt'"),
    ("-M q35", "-M", "no machine 'q35'", "There are: none, virt"),
    ("-machine type=virtt", "virtt", "Did you mean 'virt'"),
    ("-M ''", "-M", "empty", "-M NAME"),
    ("-M", "-M", "needs an argument", "-M NAME"),
    ("-M virt,aclnt=on {IDLE}", "no property 'aclnt'", "Did you mean 'aclint'"),
    ("-M virt,aclint=maybe {IDLE}", "'aclint'", "'maybe'", "neither on nor off"),
    ("-M virt,aia=aplic-imsic,aia-guests=3 {IDLE}", "aia-guests=3", "hypervisor", "aia-guests=0"),
    ("-M virt,aia=aplic-imsic -cpu rv64,smaia=off {IDLE}", "riscv.imsic", "'smaia'", "smaia=off", "aia=aplic"),
    ("-M virt,aia=aplic-imsic -cpu rv64,x-aia=off {IDLE}", "'smaia'"),
    ("-M virt,aia=xyz {IDLE}", "'aia'", "'xyz'", "none, aplic"),
    ("-M virt,acpi=maybe {IDLE}", "'acpi'", "'maybe'", "auto, on, off"),
    ("-smbios type=9,slot=1 {IDLE}", "-smbios", "type=9", "file=FILE"),
    ("-smbios type=1,serail=1 {IDLE}", "-smbios", "'serail'", "'serial'"),
    ("-boot order=x {IDLE}", "-boot", "order=x", "order=dc"),
    ("-fw_cfg opt/x {IDLE}", "-fw_cfg", "file=", "string="),
    ("-drive if=pflash,format=raw,file={D}/low.elf {IDLE}", "virt.flash0", "32 MiB", "truncate -s"),
    ("-M virt,dumpdtb=/nonexistent/x.dtb {IDLE}", "dumpdtb", "/nonexistent/x.dtb", "No such file",
     "no folder '/nonexistent'"),
    # ---- the processor
    ("-cpu rv46 {IDLE}", "-cpu rv46", "no CPU model", "Did you mean 'rv64'"),
    ("-cpu cortex-a57 {IDLE}", "cortex-a57", "no CPU model", "-cpu help"),
    ("-cpu host {IDLE}", "'host'", "no CPU model", "-cpu help"),
    ("-cpu rv64,zbaa=on {IDLE}", "-cpu rv64", "no property 'zbaa'", "Did you mean 'zba'"),
    ("-cpu rv64,zba=perhaps {IDLE}", "zba=perhaps", "neither on nor off", "zba=off"),
    ("-cpu rv64,v=on {IDLE}", "extension 'v'", "not available yet", "v=off"),
    ("-cpu rv64,d=on,f=off {IDLE}", "'d'", "needs 'f'", "both off"),
    ("-cpu rv64,i=off {IDLE}", "'i'", "cannot be off", "leave i=off out"),
    ("-smp 0", "-smp 0", "at least one CPU"),
    ("-smp -1", "-smp -1", "not a number", "not negative"),
    ("-smp two", "-smp two", "'two' is not a number", "20, 0x14"),
    ("-smp 9999", "-smp 9999", "at most 4096"),
    ("-smp 600 {IDLE}", "-smp 600", "'virt'", "at most 512"),
    ("-smp 4,sockets=3", "make 3 CPUs, not 4", "product"),
    ("-smp 2,maxcpus=4", "maxcpus=4", "cannot be added", "Leave maxcpus away"),
    ("-smp 2,corse=2", "'corse'", "Did you mean 'cores'"),
    # ---- memory
    ("-m 0", "-m 0", "at least 1 MiB", "-m 512"),
    ("-m -512", "-m -512", "not a size", "512M"),
    ("-m 4GB", "'4GB' is not a size", "4G"),
    ("-m 16E", "-m 16E", "too large"),
    ("-m 100T {IDLE}", "109951162777600", "between 4096 and", "-m says"),
    ("-m 8388608T {IDLE}", "bytes large", "-m says"),
    ("-m 1 {IDLE}", "device tree", "overlap", "larger -m"),
    ("-m 512,slots=4,maxmem=1G", "cannot be added", "Leave slots and maxmem away"),
    # ---- kernels
    ("-kernel {D}/missing.img {QUIET}", "-kernel", "missing.img", "No such file", "the file is not"),
    ("-kernel {D}/idel.bin {QUIET}", "idel.bin", "No such file", "'idle.bin'"),
    ("-kernel nowhere/Image {QUIET}", "nowhere/Image", "No such file", "no folder 'nowhere'", "current folder"),
    ("-kernel {D}/idle.bin/Image {QUIET}", "Not a directory", "middle of the path"),
    ("-kernel {D} {QUIET}", "-kernel", "is a directory", "a file in it"),
    ("-kernel ''", "-kernel", "empty", "-kernel FILE"),
    ("-kernel -nographic", "-kernel", "no argument", "-kernel FILE"),
    ("-kernel {D}/empty {QUIET}", "-kernel", "is empty", "completely"),
    ("-kernel {D}/x86.elf {QUIET}", "x86.elf", "another machine: x86-64", "RISC-V"),
    ("-kernel {D}/arm64.elf {QUIET}", "another machine: AArch64", "RISC-V"),
    ("-kernel {D}/rv32.elf {QUIET}", "32-bit", "64-bit"),
    ("-kernel {D}/big-endian.elf {QUIET}", "big-endian", "little-endian"),
    ("-kernel {D}/header-cut.elf {QUIET}", "ends within the ELF header", "again"),
    ("-kernel {D}/segment-cut.elf {QUIET}", "beyond the end of the file", "again"),
    ("-kernel {D}/object.o {QUIET}", "not one to be run", "linked"),
    ("-kernel {D}/huge.elf {QUIET}", "more memory than there is", "-m"),
    ("-kernel {D}/low.elf {QUIET}", "the boot ROM", "overlap", "linked"),
    ("-kernel {D}/outside.elf {QUIET}", "the kernel", "nothing at 0x90000000000", "0x80000000-0x87ffffff"),
    ("-kernel {D}/arm64.img {QUIET}", "Linux kernel for AArch64", "architecture"),
    ("-kernel {D}/bzImage {QUIET}", "Linux kernel for x86", "architecture"),
    ("-kernel {D}/zboot.efi {QUIET}", "zboot", "packed by gzip", "tail -c +513"),
    ("-kernel {D}/Image.xz {QUIET}", "packed by xz", "xz -dk"),
    ("-kernel {D}/cut.gz {QUIET}", "cut.gz", "gzip data ends too early", "again"),
    ("-kernel {D}/bomb.gz {QUIET}", "unpacked", "more than the 128 MiB", "-m"),
    ("-kernel {D}/disk.qcow2 {QUIET}", "disk image", "-drive file="),
    ("-kernel {D}/300M {QUIET}", "300M", "more than the 128 MiB", "-m"),
    ("-kernel /dev/zero {QUIET}", "/dev/zero", "more than the 128 MiB", "-m"),
    ("-initrd {D}/idle.bin", "-initrd", "no -kernel", "Add -kernel"),
    ("-append quiet", "-append", "no -kernel", "Add -kernel"),
    ("-kernel {D}/idle.bin -initrd {D}/300M {QUIET}", "-initrd", "300M", "128 MiB", "-m"),
    ("-kernel {D}/idle.bin -initrd {D}/100M {QUIET}", "-initrd", "100M", "RAM ends at", "-m"),
    ("-kernel {D}/idle.bin -initrd {D}/nope.gz {QUIET}", "-initrd", "nope.gz", "No such file", "folder"),
    # ---- firmware, device tree
    ("-bios none {QUIET}", "-bios none", "nothing to run", "Add -kernel"),
    ("-bios non {QUIET}", "'non'", "No such file", "-bios none"),
    ("-bios {D} {QUIET}", "-bios", "is a directory", "a file in it"),
    ("-bios {D}/x86.elf {QUIET}", "-bios", "x86-64", "RISC-V"),
    ("-bios {D}/empty {QUIET}", "-bios", "is empty", "completely"),
    ("-dtb {D}/noise.dtb {IDLE}", "-dtb", "FDT_ERR_BADMAGIC", "dumpdtb"),
    ("-dtb {D}/cut.dtb {IDLE}", "-dtb", "FDT_ERR_TRUNCATED", "dtc"),
    ("-dtb {D}/empty {IDLE}", "-dtb", "0 bytes are too few", "dtc"),
    # ---- serial ports
    ("-serial stido {IDLE}", "'stido'", "no backend", "Did you mean 'stdio'"),
    ("-serial chardev:con {IDLE}", "'con'", "no chardev", "id=con"),
    ("-serial stdio -serial stdio {IDLE}", "-serial stdio", "used by", "mux=on"),
    ("-serial tcp:127.0.0.1:{PORT},server=on,wait=off {IDLE}", "{PORT}", "Address already in use", "another one"),
    ("-serial tcp:127.0.0.1:99999,server=on,wait=off {IDLE}", "no port 99999", "65535"),
    ("-serial tcp:127.0.0.1 {IDLE}", "'127.0.0.1' has no port", "tcp:HOST:PORT"),
    ("-serial tcp:127.0.0.1:1 {IDLE}", "127.0.0.1:1", "Connection refused", "server=on"),
    ("-serial unix:{D}/none {IDLE}", "{D}/none", "No such file", "server=on"),
    ("-serial unix:{D}/idle.bin,server=on,wait=off {IDLE}", "idle.bin", "in use", "no socket"),
    ("-serial unix:/nonexistent/s,server=on,wait=off {IDLE}", "No such file", "no folder '/nonexistent'"),
    ("-serial file:/nonexistent/out {IDLE}", "/nonexistent/out", "No such file", "no folder"),
    ("-serial file:{D} {IDLE}", "Is a directory", "path of a file"),
    ("-serial pipe:{D}/none {IDLE}", "none", "No such file", "mkfifo"),
    ("-serial vc {IDLE}", "no graphical console", "stdio"),
    ("-serial /dev/null {IDLE}", "/dev/null", "no serial port", "backend file"),
    ("-chardev sockte,id=a {IDLE}", "'sockte'", "Did you mean 'socket'"),
    ("-chardev null {IDLE}", "-chardev null", "no id", "id=NAME"),
    ("-chardev file,id=a,paht=/x {IDLE}", "'paht'", "Did you mean 'path'"),
    ("-chardev socket,id=a {IDLE}", "one address", "host=HOST,port=PORT"),
    # ---- accelerators
    ("-accel kvm {IDLE}", "'kvm'", "no accelerator", "-accel tcg"),
    ("-enable-kvm", "-enable-kvm", "not available", "-accel tcg"),
    ("-accel tcg,engine=foo {IDLE}", "'engine'", "'foo'", "jit, interp"),
    ("-accel tcg,thred=multi {IDLE}", "'thred'", "Did you mean 'thread'"),
    ("-accel tcg,tb-size=-1 {IDLE}", "'tb-size'", "not a size", "512M"),
    ("-accel tcg,thread=single {IDLE}", "thread=single", "not available", "-smp 1"),
    # ---- devices
    ("-device virtio-blk-device,drive=d {IDLE}", "virtio-blk-device", "no drive or block node 'd'", "id=d"),
    ("-device virtio-blk-device {IDLE}", "virtio-blk-device", "drive", "drive=ID"),
    ("-device virtio-blk-device,drive=d,num_queues=2 {IDLE}", "no property 'num_queues'", "'num-queues'"),
    ("-device scsi-hd,drive=d {IDLE}", "scsi-hd", "no SCSI bus"),
    ("-device nvme {IDLE}", "nvme", "serial property not set", "serial=TEXT"),
    ("-device e1000 {IDLE}", "'e1000'", "no device", "virtio-net-pci", "-device help"),
    ("-device virtio-gpu-pci {IDLE}", "'virtio-gpu-pci'", "no displays yet", "-nographic"),
    ("-device qemu-xhci {IDLE}", "'qemu-xhci'", "no USB yet"),
    ("-device ich9-ahci {IDLE}", "'ich9-ahci'", "virtio-blk-pci"),
    ("-M virt,foo=1 {IDLE}", "no property 'foo'", "mem-merge, memory-backend, aclint, aia"),
    ("-device loader {IDLE}", "-device loader", "needs file=", "loader,help"),
    ("-device loader,file={D}/idle.bin {IDLE}", "idle.bin", "needs addr=", "addr=0x"),
    ("-device loader,file={D}/idle.bin,adr=4 {IDLE}", "'adr'", "Did you mean 'addr'"),
    ("-device loader,file={D}/idle.bin,addr=zz {IDLE}", "'addr'", "'zz' is not a number", "0x14"),
    ("-device goldfish_rtc {IDLE}", "goldfish_rtc", "part of a board", "-device help"),
    # ---- logs
    ("-d in_ams {IDLE}", "-d", "'in_ams'", "Did you mean 'in_asm'"),
    ("-d everything {IDLE}", "-d", "'everything'", "-d help"),
    ("-D /nonexistent/log -d in_asm {IDLE}", "-D", "/nonexistent/log", "No such file", "no folder"),
    ("-D {D} -d in_asm {IDLE}", "-D", "Is a directory", "path of a file"),
    ("-D log.%s {IDLE}", "-D", "no name for a log file", "%d"),
    ("-dfilter 9..1 {IDLE}", "9..1", "empty", "FIRST..LAST"),
    ("-dfilter main {IDLE}", "'main'", "not a number", "FIRST..LAST"),
    ("-trace no_such {IDLE}", "'no_such'", "no trace point", "-trace help"),
    # ---- the rest
    ("-nographics", "-nographics", "no option", "Did you mean '-nographic'"),
    ("-kernel=Image", "-kernel=Image", "stands apart", "-kernel Image"),
    # ---- disks
    ("disk.img", "file=disk.img", "No such file", "current folder"),
    ("-hda disk.img", "file=disk.img", "No such file", "current folder"),
    ("-drive file=disk.img", "-drive file=disk.img", "No such file", "current folder"),
    ("-drive {D}/idle.bin {IDLE}", "-drive", "idle.bin"),
    ("-drive file={D}/idle.bin,format=qcow {IDLE}", "idle.bin", "qcow"),
    ("-drive file={D}/idle.bin,format=qcow3 {IDLE}", "'qcow3'", "Did you mean"),
    ("-drive file={D}/idle.bin,format=raw,fromat=raw {IDLE}", "'fromat'"),
    ("-drive file={D}/idle.bin,format=raw,serial=1 {IDLE}", "'serial'", "-device"),
    ("-drive file={D}/idle.bin,format=raw,if=virtoi {IDLE}", "'virtoi'", "virtio"),
    ("-drive file={D}/idle.bin,format=raw,if=ide {IDLE}", "if=ide", "no place", "if=virtio"),
    ("-drive file={D}/idle.bin,format=raw,cache=writeback2 {IDLE}", "'writeback2'", "directsync"),
    ("-drive file={D}/idle.bin,format=raw,id=1a {IDLE}", "'1a'", "begins with a letter"),
    ("-drive file={D}/idle.bin,format=raw,iops=1,iops_rd=2 {IDLE}", "throttling", "iops"),
    ("-drive file={D}/idle.bin,format=raw,readonly=on,copy-on-read=on {IDLE}", "copy-on-read", "read-only=on"),
    ("-hda {D}/idle.bin -hda {D}/idle.bin {IDLE}", "taken by drive 'virtio0'", "index="),
    ("-drive file={D}/idle.bin,format=raw -drive file={D}/idle.bin,format=raw {IDLE}", "idle.bin", "lock"),
    ("-blockdev driver=file,filename={D}/idle.bin {IDLE}", "'node-name'", "node-name=NAME"),
    ("-blockdev node-name=x {IDLE}", "'driver' is missing"),
    ("-blockdev {{ {IDLE}", "JSON"),
    ("-object secrte,id=a,data=x {IDLE}", "secrte", "'secret'"),
    ("-object iothread {IDLE}", "needs an id", "id=NAME"),
    ("-sd disk.img", "-sd", "not available", "virtio disk"),
    # ---- networks
    ("-netdev user", "-netdev user", "no id", "netdev=NAME"),
    ("-netdev usr,id=n", "-netdev usr", "there is no type", "'user'"),
    ("-netdev vde,id=n", "-netdev vde", "not available", "stream"),
    ("-netdev user,id=n,hostfwd=tcp:22-:22", "-netdev user", "no such rule", "tcp::2222-:22"),
    ("-netdev user,id=n,hosfwd=tcp::22-:22", "-netdev user", "there is no property", "'hostfwd'"),
    ("-nic usr", "-nic usr", "there is no type", "'user'"),
    ("-net nic,x=1", "-net nic", "no option", "x=1"),
    ("-net dump", "-net dump", "not available", "filter-dump"),
    ("-object filter-dump,id=f,netdev=n,file=/tmp/x", "-object", "no network backend", "-netdev user,id=n"),
    # ---- the rest
    ("-display gtk", "'gtk'", "no display", "-nographic"),
    ("-monitor nonsense:x", "-monitor nonsense", "no backend", "There are"),
    ("-qmp unix:/nonexistent/x,server=on,wait=off", "-qmp unix", "/nonexistent/x"),
    ("-mon chardev=nope", "-mon chardev=nope", "'nope'", "-chardev"),
    ("-mon mode=control", "-mon mode=control", "chardev"),
    ("-add-fd fd=999,set=1", "-add-fd", "not open"),
    ("-add-fd fd=1,set=1", "-add-fd", "3 or more"),
    ("-icount 3", "-icount", "not available", "Leave it out"),
    ("-rtc base=tomorrow {IDLE}", "'tomorrow'", "not a date", "localtime"),
    ("-rtc clock=sun {IDLE}", "'clock'", "'sun'", "host, rt, vm"),
    ("-uuid 5", "'5'", "no UUID", "1b4e28ba-"),
    ("-echr A", "'A'", "not a character's number", "Ctrl-A"),
    ("-pidfile /nonexistent/pid {IDLE}", "-pidfile", "No such file", "no folder"),
]


def elf(cls=2, data=1, machine=243, kind=2, addr=0x80000000, memsz=8, phnum=1):
    ident = b"\x7fELF" + bytes([cls, data, 1]) + bytes(9)
    head = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, addr, 64, 0, 0, 64, 56, phnum, 64, 0, 0)
    seg = struct.pack("<IIQQQQQQ", 1, 7, 0x1000, addr, addr, 8, memsz, 0x1000)
    return (head + seg).ljust(0x1000, b"\0") + bytes.fromhex("73005010 6ff0dfff")


def at(*pieces, size=4096):
    b = bytearray(size)
    for off, text in pieces:
        b[off:off + len(text)] = text
    return bytes(b)


def make_files(folder):
    noise = bytes(range(256)) * 8
    files = {
        "idle.bin": bytes.fromhex("73005010 6ff0dfff"),        # wfi; j back to it
        "empty": b"",
        "x86.elf": elf(machine=62), "arm64.elf": elf(machine=183), "rv32.elf": elf(cls=1),
        "big-endian.elf": elf(data=2), "header-cut.elf": elf()[:40], "segment-cut.elf": elf()[:0x800],
        "object.o": elf(kind=1, phnum=0), "huge.elf": elf(memsz=1 << 40), "low.elf": elf(addr=0x1000),
        "outside.elf": elf(addr=0x90000000000),
        "arm64.img": at((0, b"MZ"), (56, b"ARM\x64")), "bzImage": at((0x202, b"HdrS")),
        "zboot.efi": at((0, b"MZ\0\0zimg" + struct.pack("<II", 512, 3000)), (24, b"gzip")),
        "Image.xz": at((0, b"\xfd7zXZ\0")), "disk.qcow2": at((0, b"QFI\xfb")),
        "cut.gz": gzip.compress(noise)[:60], "bomb.gz": gzip.compress(bytes(200 << 20)),
        "noise.dtb": noise,
        "cut.dtb": struct.pack(">10I", 0xd00dfeed, 100000, 56, 80, 40, 17, 16, 0, 10, 10) + bytes(60),
    }
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
    for name, size in (("100M", 100 << 20), ("300M", 300 << 20)):
        with open(os.path.join(folder, name), "wb") as f:
            f.truncate(size)


def run(args, cwd, **more):
    began = time.monotonic()
    p = subprocess.run([EMU, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=QUICK, cwd=cwd, **more)
    return p.returncode, p.stdout.decode(), p.stderr.decode(), time.monotonic() - began


def complaint(args, words, folder, verbose, **more):
    """What is wrong about what the emulator did, or None."""
    try:
        status, out, errs, _ = run(args, folder, **more)
    except subprocess.TimeoutExpired:
        return f"it was not refused within {QUICK} s"
    if verbose:
        print(errs, end="")
    if status != 1:
        return f"status {status} (a negative one is a signal): {errs}"
    if out:
        return f"on stdout: {out}"
    if not errs.startswith("lyre-system-riscv64: "):
        return f"does not begin with the program's name: {errs}"
    missing = [w for w in words if w not in errs]
    return f"no {missing} in: {errs}" if missing else None


def check_line(line, words, folder, port, verbose):
    def fill(text):
        return text.replace("{D}", folder).replace("{PORT}", str(port))

    line = fill(line.replace("{IDLE}", IDLE).replace("{QUIET}", QUIET))
    if verbose:
        print(f"$ {line}")
    return complaint(shlex.split(line), [fill(w) for w in words], folder, verbose)


def check_unreadable(folder, verbose):
    """A file that this user may not read. Root may read all: then as another user, if that one can start the program."""
    path = os.path.join(folder, "secret.img")
    with open(path, "wb") as f:
        f.write(b"secret")
    os.chmod(path, 0o600 if os.geteuid() == 0 else 0)
    more = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        if run(["-version"], folder, **more)[0] != 0:
            raise OSError
    except OSError:
        return None
    return complaint(["-kernel", path, "-display", "none"], ["secret.img", "Permission denied", "mode is", "chmod"],
                     folder, verbose, **more)


def main():
    verbose = "-v" in sys.argv[1:]
    only = [a for a in sys.argv[1:] if a != "-v"]
    folder = tempfile.mkdtemp(prefix="lyre-wrong-")
    os.chmod(folder, 0o755)
    passed = failed = 0
    try:
        make_files(folder)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            results = [(line, check_line(line, words, folder, taken.getsockname()[1], verbose))
                       for line, *words in LINES if not only or any(o in line for o in only)]
        if not only:
            results.append(("-kernel UNREADABLE", check_unreadable(folder, verbose)))
        for line, what in results:
            passed += not what
            failed += bool(what)
            if what:
                print(f"FAILED {line}: {what}")
    finally:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
