#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Debian's kernel under real gdb. Its symbols come from the guest itself, by
/proc/kallsyms and `lyre gdb`; then the machine is reset and debugged from its
first instruction: start_kernel, a module's function that waits for its module,
a variable, calls into the kernel, and all of it left alone in the end."""
import os
import re
import subprocess
import sys
import tempfile

from rig import BUILD, GDB, LYRE, WAIT, run, skip

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../boot"))
from guest import Guest, GuestError      # noqa: E402

GUESTS = os.environ.get("LYRE_GUESTS", os.path.expanduser("~/.cache/lyre/guests"))
KERNEL, INITRD = (os.path.join(GUESTS, "riscv64", f) for f in ("kernel", "initrd.gz"))
NAMES = ("start_kernel", "do_init_module", "get_random_u32", "jiffies_64", "_stext", "schedule", "init_uts_ns", "handle_exception",
         "ret_from_exception", "do_trap_ecall_u", "__riscv_sys_getpid", "do_idle", "_printk")
BOOT = 150              # seconds for a boot on a busy host


def boot(folder, append, *args):
    return Guest([LYRE, "-M", "virt", "-m", "256M", "-nographic", "-nic", "none", "-kernel", KERNEL, "-initrd", INITRD,
                  "-append", "console=ttyS0 quiet " + append, "-gdb", f"unix:{folder}/gdb", *args], console="pipes")


def shell(g, line):
    """What a command in the guest's shell says."""
    g.type(f"{line}; echo EN''D\n")
    start = g.wait(r"EN''D\r?\n", BOOT).end()
    end = g.wait(r"^END\r?\n", BOOT).start()
    return g.text[start:end].replace("\r", "")


def write_symbols(folder, g):
    """kernel.txt as the kernel has it; loop.txt, the module's symbols from where it begins."""
    shell(g, "echo 0 > /proc/sys/kernel/kptr_restrict; echo 1 > /proc/sys/kernel/printk")
    said = shell(g, f"grep -wE '{'|'.join(NAMES)}|loop_add' /proc/kallsyms")
    lines = [line for line in said.splitlines() if re.match(r"[0-9a-f]{16} \w ", line)]
    base = int(re.search(r"^loop .*(0x\w+)", shell(g, "cat /proc/modules"), re.M)[1], 16)
    with open(f"{folder}/kernel.txt", "w", encoding="ascii") as f:
        f.write("".join(line + "\n" for line in lines if "[" not in line))
    with open(f"{folder}/loop.txt", "w", encoding="ascii") as f:
        for line in lines:
            if "[loop]" in line:
                addr, kind, name = line.split()[:3]
                f.write(f"{int(addr, 16) - base:016x} {kind} {name}\n")


def elf(path):
    """`lyre gdb` makes the ELF file, and says where it is."""
    said = subprocess.run([os.path.join(BUILD, "lyre"), "gdb", "--gdb", GDB, "--explain", path], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def session(folder, g, commands, *shows):
    with open(f"{folder}/script", "w", encoding="ascii") as f:
        f.write("set confirm off\nset pagination off\nset width 0\n" + "".join(line.strip() + "\n" for line in commands.strip().split("\n")))
    p = subprocess.Popen([os.path.join(BUILD, "lyre"), "gdb", "--gdb", GDB, "--at", f"{folder}/gdb", f"{folder}/kernel.txt", "--", "-nx", "-batch",
                          "-x", f"{folder}/script"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
    try:
        text, at = g.while_reading(p, 2 * BOOT).output, 0
    except subprocess.TimeoutExpired as e:
        print(e.output.decode(), g.text[-500:])
        raise
    for want in shows:
        found = re.compile(want).search(text, at)
        assert found, f"no '{want}' after:\n{text[:at]}\n-- in:\n{text[at:]}\n-- console:\n{g.text[-2000:]}"
        at = found.end()
    return text


def from_the_start():
    with tempfile.TemporaryDirectory(prefix="lyre-gdb-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        g = boot(folder, "nokaslr", "-smp", "2")
        try:
            g.wait("GUEST READY", BOOT)
            g.wait("# ", BOOT)
            write_symbols(folder, g)
            loop = elf(f"{folder}/loop.txt")
            session(folder, g, f"""
                monitor system_reset
                maintenance flush register-cache
                print/x $pc
                print $satp
                break start_kernel
                continue
                print $satp != 0
                print $priv
                backtrace
                info threads
                set breakpoint pending on
                break loop_add
                tbreak *do_init_module if $_streq((char *)$a0 + 24, "loop")
                continue
                set $p = (unsigned long *)$a0
                while !((*$p & 0xfff) == 0 && *$p && $p[2] == $a0)
                  set $p = $p + 1
                end
                add-symbol-file {loop} -o *$p
                continue
                backtrace 1
                print ((unsigned (*)(void))get_random_u32)() != ((unsigned (*)(void))get_random_u32)()
                delete
                watch *(unsigned long *)&jiffies_64
                continue
                continue
                delete
                break schedule
                continue
                finish
                delete
                monitor kaslr
                monitor vmcoreinfo
                tbreak __riscv_sys_getpid
                detach
                """, "0x1000", "= 0", r"Breakpoint 1 at 0xffffffff", r"Breakpoint 1, 0x\w+ in start_kernel", "= 1", "= 1", "#0 .*start_kernel",
                    r"Thread 1.2", r"loop_add.*pending|Breakpoint 2 .loop_add. pending", r"hit Temporary breakpoint 3, 0x\w+ in do_init_module",
                    r"hit Breakpoint 2, 0x\w+ in loop_add", "#0 .* loop_add", r"= 1\b", "Hardware watchpoint 4", "New value", "New value",
                    r"Breakpoint 5, 0x\w+ in schedule", r"0xffffffff\w+ in", r"Linux 6\S+ is where it was linked to", "KERNEL_LINK", "detached")
            g.wait("GUEST READY", BOOT)
            g.wait("# ", BOOT)
            assert shell(g, "echo $((6*7))").strip() == "42"
            g.check_health()
        finally:
            g.close()


if not GDB:
    skip("gdb-multiarch is not installed")
if not (os.path.exists(KERNEL) and os.path.exists(INITRD)):
    skip("there is no guest: tests/guests/make-guests")
sys.exit(run([("from_the_start", from_the_start)]))
