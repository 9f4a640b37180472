#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the words that stand in *.S of this folder against what the assembler makes.

    assemble.py              check: differences are failures
    assemble.py --update     write the words into the files

Every test is assembled and linked alone, at the address where
tests/unit/test_riscv_code.c puts it.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

AS, LD, OBJCOPY = (f"riscv64-linux-gnu-{t}" for t in ("as", "ld", "objcopy"))
ADDRESS = 0x7FFF1000
MARCH = ("rv64imafdc_zicsr_zifencei_zba_zbb_zbc_zbs_zbkb_zbkc_zbkx_zknd_zkne_zknh_zicbom_zicbop_zicboz_"
         "zihintpause_zawrs_zfhmin_svinval")
HERE = os.path.dirname(os.path.abspath(__file__))


def words(source, folder, where):
    """The words of a test, as the decoder will see them."""
    s, o, x, b = (os.path.join(folder, "t." + e) for e in ("s", "o", "x", "b"))
    with open(s, "w", encoding="ascii") as f:
        f.write(".globl _start\n_start:\n" + source)
    for cmd in ([AS, f"-march={MARCH}", "-mno-relax", "-o", o, s],
                [LD, "--no-relax", "-Ttext", hex(ADDRESS), "-o", x, o],
                [OBJCOPY, "-O", "binary", "-j", ".text", x, b]):
        r = subprocess.run(cmd, capture_output=True, text=True)
        if r.returncode:
            sys.exit(f"{where}: {r.stderr}")
    with open(b, "rb") as f:
        code = f.read()
    out, at = [], 0
    while at < len(code):
        n = 4 if code[at] & 3 == 3 else 2
        out.append(code[at:at + n][::-1].hex())
        at += n
    return out


def code_lines(out):
    return ["    # code: " + " ".join(out[n:n + 8]) + "\n" for n in range(0, len(out), 8)]


def process(path, folder, update):
    """(tests, failures) of a file."""
    with open(path, encoding="ascii") as f:
        parts = re.split(r"(?m)^(?=[ \t]*# test:)", f.read())
    tests = bad = 0
    for n, part in enumerate(parts[1:], 1):
        tests += 1
        name = part.split()[2]
        lines = part.splitlines(keepends=True)
        there = [w for line in lines if "# code:" in line for w in line.split(":")[1].split()]
        source = "".join(line for line in lines if not line.lstrip().startswith("#"))
        want = words(source, folder, f"{path}: {name}")
        if there == want:
            continue
        if not update:
            print(f"{path}: {name}: the words differ from the source; assemble.py --update writes them")
            bad += 1
            continue
        body = [line for line in lines if "# code:" not in line]
        while body and not body[-1].strip():
            body.pop()
        parts[n] = "".join(body + code_lines(want)) + "\n"
    if update:
        with open(path, "w", encoding="ascii") as f:
            f.write("".join(parts).rstrip("\n") + "\n")
    return tests, bad


def main():
    if not all(shutil.which(t) for t in (AS, LD, OBJCOPY)):
        print("no cross assembler (binutils-riscv64-linux-gnu)")
        return 77
    update, tests, bad = "--update" in sys.argv, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted(glob.glob(os.path.join(HERE, "*.S"))):
            t, b = process(path, folder, update)
            tests, bad = tests + t, bad + b
    print(f"{tests - bad} passed, {bad} failed")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
