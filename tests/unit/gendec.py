#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tools/gendec refuses tables with mistakes, and says which."""
import os
import subprocess
import sys
import tempfile

SRC = os.environ.get("LYRE_SRC", ".")
HEAD = """%prefix rv
%member rd rs1 rs2 imm
%field imm = imm:signed  nzimm = imm:signed:nonzero  shamt = imm
"""
GOOD = """add  0000000 rs2:5 rs1:5 000 rd:5 0110011  R  "add {rd}, {rs1}, {rs2}"
addi imm[11:0] rs1:5 000 rd:5 0010011      I  "addi {rd}, {rs1}, {imm}"
c.addi 000 nzimm[5] rd:5 nzimm[4:0] 01     CI "c.addi {rd}, {nzimm}"  if c  = addi rs1=rd
"""
# (what is added, what the complaint says; None: fine)
CASES = [
    ("", None),
    ('nop 0000000 00000 00000 000 00000 0110011 R "nop"  over add', None),
    ('twin 0000000 rs2:5 rs1:5 000 rd:5 0110011 R "twin"', "can be the same word"),
    ('part 0000000 00001 rs1:5 000 rd:5 0110011 R "part"', "can be the same word"),
    ('sub 0100000 rs2:5 rs1:5 000 rd:5 0110011 R "sub"  over add', "do not overlap"),
    ('wide 000 rs2:5 rs1:5 000 rd:5 0110011 X "wide"  over add', "28 bits, not 16 or 32"),
    ('add 0100000 rs2:5 rs1:5 000 rd:5 0110011 R "add"', "a second row 'add'"),
    ('sub 0100000 rs3:5 rs1:5 000 rd:5 0110011 R "sub"', "unknown field 'rs3'"),
    ('sub 0100000 rs1:5 rs2:5 000 rd:5 0110011 R "sub"', "stands at bit"),
    ('sub 0100000 rs2:5 rs1:5 000 rd:5 0110001 R "sub"', "ends in 11"),
    ('c.nop 000 0 rd:5 00000 01 CI "c.nop" = addi rs1=0', "leaves imm open"),
    ('c.nop 000 0 rd:5 00000 01 CI "c.nop" = addi rs1=0 imm=0', None),
    ('c.x 001 nzimm[5] rd:5 nzimm[4:0] 01 CI "c.x" = addi rd=0 rs1=0', "fixes a field that it has"),
    ('sub 0100000 rs2:5 rs1:5 000 rd:5 0110011 R "sub"  with imm!=3', "which it does not have"),
    ('sub 0100000 rs2:5 rs1:5 000 rd:5 0110011 R "sub"  over plus', "no row 'plus'"),
    ('alias x "x" = addi rx=0', "no member 'rx'"),
]


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "insn.tab")
        for text, want in CASES:
            with open(path, "w", encoding="ascii") as f:
                f.write(HEAD + GOOD + text + "\n")
            r = subprocess.run([sys.executable, os.path.join(SRC, "tools/gendec"), path, "--check"],
                               capture_output=True, text=True)
            if (r.returncode == 0) == (want is None) and (want or "") in r.stderr and "Traceback" not in r.stderr:
                passed += 1
            else:
                failed += 1
                print(f"{text}\n  want: {want}\n  got {r.returncode}: {r.stderr.strip()}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
