#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Our disassembly of random RISC-V words against GNU objdump's.

Both print some random words of every row of insn.tab, plainly and with
aliases. What this objdump does not know is counted, not compared, and so are
differences of taste (skip). Usage: disas.py [SEED] [WORDS]
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

OBJDUMP, AS = "riscv64-linux-gnu-objdump", "riscv64-linux-gnu-as"

# What binutils 2.40 knows beyond G and C; the object's attributes tell objdump.
MARCH = ("rv64imafdc_zicsr_zifencei_zba_zbb_zbc_zbs_zbkb_zbkc_zbkx_zknd_zkne_zknh_zicbom_zicbop_zicboz_"
         "zihintpause_zawrs_zfhmin_svinval")


def tidy(text):
    """One blank after the mnemonic, none around commas, no comments."""
    text = text.split("#")[0].split("<")[0].strip().lower()
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"\s*,\s*", ",", text)


def normal(text):
    """Numbers decimal."""
    return re.sub(r"(?<![\w.])-?(?:0x[0-9a-f]+|\d+)(?![\w.])", lambda m: str(int(m[0], 16 if "x" in m[0] else 10)), text)


def assemble(words, folder):
    """An object whose text is these words, in this order; 0 is what relative targets count from."""
    source, path = os.path.join(folder, "words.s"), os.path.join(folder, "words.o")
    with open(source, "w", encoding="ascii") as f:
        for length, word in words:
            f.write(f".{length}byte {word:#x}\n")
    subprocess.run([AS, f"-march={MARCH}", "-o", path, source], check=True)
    return path


def objdump(path, aliases):
    """Texts by address."""
    cmd = [OBJDUMP, "-D", "-j", ".text", path] + ([] if aliases else ["-M", "no-aliases"])
    out = subprocess.run(cmd, capture_output=True, text=True, check=True).stdout
    texts = {}
    for line in out.splitlines():
        m = re.match(r"\s*([0-9a-f]+):\s+[0-9a-f]+\s+(.*)", line)
        if m:
            texts[int(m[1], 16)] = m[2]
    return texts


def relative(text, at):
    """Jump targets: objdump counts from where the word stands, we from 0."""
    m = re.match(r"((?:c\.)?(?:j|jal|b(?:eq|ne|lt|ge|le|gt)\w*) (?:.*,)?)(?:0x)?([0-9a-f]+)$", text)
    return m[1] + str((int(m[2], 16) - at) % 2**64) if m else text


IMMEDIATE = re.compile(r"^(add|and|or|xor|sll|srl|sra|ror|bset|bclr|binv|bext)i(w?) ")


def skip(ours, theirs):
    """Why the texts may differ, or None."""
    if re.search(r"unknown|\.4byte|\.2byte|\.short|\.word|\.insn|^0x", theirs):
        return "unknown to objdump"
    if re.match(r"(csr|fs|fr|rd)\w* ", ours) and re.match(r"(csr|fs|fr|rd)\w* |unimp", theirs):
        return "another name of the CSR"
    if IMMEDIATE.sub(r"\1\2 ", ours) == theirs:
        return "the immediate form under the register form's name"
    if re.match(r"c\.(add|li|lui|slli|addi|srai|srai64|srli|srli64|mv|slli64|nop) ?", theirs) and re.search(" zero|64|nop", theirs):
        return "hints"
    if re.match(r"add (\w+),\1,0$", theirs):
        return "hints"
    if re.match(r"add \w+,zero,\w+$", theirs) and ours.startswith("mv "):
        return "mv, which objdump says of c.mv alone"
    if re.match(r"b(set|clr|inv|ext)i? .*,\d{20}$", theirs):
        return "a mistake of objdump 2.40: it does not cut the bit number out"
    if ours.startswith("ntl.") or ours == "c.nop":
        return "hints"
    return None


def main():
    if not shutil.which(OBJDUMP) or not shutil.which(AS):
        print(f"{OBJDUMP} or {AS} is not installed")
        return 77
    seed = int(sys.argv[1], 0) if len(sys.argv) > 1 else 1     # spelling differs by tool: new seeds by hand
    per_row = sys.argv[2] if len(sys.argv) > 2 else "40"
    build = os.environ.get("LYRE_BUILD", "build")
    out = subprocess.run([os.path.join(build, "tests/unit/test_riscv_insn"), "--list", str(seed), per_row],
                         capture_output=True, text=True, check=True).stdout
    rows = [line.split("\t") for line in out.splitlines()]
    words = [(int(r[1]), int(r[2], 16)) for r in rows]
    print(f"seed {seed}: {len(rows)} words")
    same, bad, skipped, compared = 0, {}, {}, set()
    with tempfile.TemporaryDirectory() as folder:
        path = assemble(words, folder)
        for column, aliases in ((3, False), (4, True)):
            theirs, at = objdump(path, aliases), 0
            for r, (length, _) in zip(rows, words):
                a = normal(relative(tidy(r[column]), 0))
                b = normal(relative(tidy(theirs.get(at, "nothing")), at))
                at += length
                why = None if a == b else skip(a, b)
                if a == b:
                    same += 1
                    compared.add(r[0])
                elif why:
                    skipped[why] = skipped.get(why, 0) + 1
                else:
                    bad.setdefault((r[0], aliases), []).append((r[2], a, b))
    for (row, aliases), cases in sorted(bad.items()):
        for word, a, b in cases[:2]:
            print(f"{row}: {word}: ours '{a}', objdump '{b}'")
    for why, n in sorted(skipped.items()):
        print(f"{n} texts differ: {why}")
    alone = sorted({r[0] for r in rows} - compared - {k[0] for k in bad})
    print(f"{same} texts agree; rows that were never compared: {' '.join(alone)}")
    print(f"{len(compared)} passed, {len({k[0] for k in bad})} failed")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
